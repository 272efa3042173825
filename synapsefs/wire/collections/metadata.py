"""Metadata of units: the JSON Schema that a collection may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from synapsefs.wire.collections.constants import META_EXTENSION, META_KEY, META_STEM

SCHEMA_KEY = "data_unit_meta_schema"
"""Key of a collection's ``meta`` under which it keeps the schema."""

UPLOADER_KEYS = frozenset({META_KEY, META_STEM, META_EXTENSION, "created_at"})
"""What the service's own uploader adds to every unit: no schema is asked about these, unless it
names them."""

MOST = 20
"""Problems of one unit that are told."""

MetadataChecker = Callable[[Mapping[str, Any] | None], list[str]]


def schema_in(collection_meta: Any) -> dict[str, Any] | None:
    """Give the schema that a collection's ``meta`` holds, or None."""
    found = collection_meta.get(SCHEMA_KEY) if isinstance(collection_meta, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else None


def schema_problem(schema: dict[str, Any]) -> str | None:
    """Say why a schema is none, or None when it is one."""
    from jsonschema import SchemaError  # noqa: PLC0415 - heavy, and seldom used
    from jsonschema.validators import validator_for  # noqa: PLC0415 - as above

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        return f"{SCHEMA_KEY} is no JSON Schema: {error.message}"
    return None


def metadata_checker(schema: Mapping[str, Any]) -> MetadataChecker:
    """Make the function that says what in a unit's metadata breaks a schema.

    References in the schema that lead out of it are never fetched.

    Parameters
    ----------
    schema
        A valid JSON Schema.

    Returns
    -------
    callable
        Takes metadata (None counts as empty) and gives a line for each problem.
    """
    from jsonschema.validators import validator_for  # noqa: PLC0415 - heavy, and seldom used
    from referencing import Registry  # noqa: PLC0415 - as above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

    named = schema.get("properties")
    hidden = UPLOADER_KEYS - set(named if isinstance(named, Mapping) else ())
    registry: Any = Registry()
    validator = validator_for(schema)(schema, registry=registry)

    def problems(meta: Mapping[str, Any] | None) -> list[str]:
        shown = {name: value for name, value in (meta or {}).items() if name not in hidden}
        try:
            errors = sorted(validator.iter_errors(shown), key=lambda error: error.json_path)
        except Unresolvable as error:
            return [f"{SCHEMA_KEY} refers to what it does not hold: {error.ref}"]
        return [f"{_place(error.absolute_path)}: {error.message}" for error in errors[:MOST]]

    return problems


def _place(steps: Iterable[object]) -> str:
    return ".".join(["meta", *map(str, steps)])
