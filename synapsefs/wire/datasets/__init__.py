"""The datasets service on the wire: paths, constants, requests and answers.

Enumerated values in answers are plain strings (compare with the constants),
ids are strings whatever JSON type the sender used, and timestamps may be naive
(then they mean UTC). A whole list is parsed by one ``model_validate_json`` of
the model that holds it.
"""
