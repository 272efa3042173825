"""The collections service protocol (Synapse): constants, and models of both generations.

Parse answers with ``Model.model_validate_json`` or a :class:`pydantic.TypeAdapter`, whole pages
at once. Models ignore unknown keys, accept numeric strings for numbers and make optional what
only some deployments send.
"""
