"""Metadata of units: the JSON Schema that a collection may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from synapsefs.wire.collections.bounded import bounded, errors_of, why_unbounded
from synapsefs.wire.collections.constants import META_EXTENSION, META_KEY, META_STEM
from synapsefs.wire.collections.patterns import Budget, BudgetError

SCHEMA_KEY = "data_unit_meta_schema"
"""Key of a collection's ``meta`` under which it keeps the schema."""

UPLOADER_KEYS = frozenset({META_KEY, META_STEM, META_EXTENSION, "created_at"})
"""What the service's own uploader adds to every unit: no schema is asked about these, unless it
names them."""

MESSAGE_MAX = 1000
"""Characters of a problem that are shown."""

MOST = 20
"""Problems of one unit that are told."""

STEPS = 2_000_000
"""Steps that checking may take at once: a second or two."""

STEPS_PER_UNIT = 50_000
"""Steps that are allowed anew with each unit that is checked."""

_TOO_MUCH = "checking takes too long"

MetadataChecker = Callable[[Mapping[str, Any] | None], list[str]]


def schema_in(collection_meta: Any) -> dict[str, Any] | None:
    """Give the schema that a collection's ``meta`` holds, or None."""
    schema = collection_meta.get(SCHEMA_KEY) if isinstance(collection_meta, Mapping) else None
    return dict(schema) if isinstance(schema, Mapping) else None


def schema_problem(schema: dict[str, Any], *, checkable: bool = True) -> str | None:
    """Say why a schema is none, or None when it is one.

    Parameters
    ----------
    schema
        What should be a JSON Schema.
    checkable
        Whether it is also wrong when it cannot be checked in bounded time.
    """
    from jsonschema.validators import validator_for  # noqa: PLC0415 - heavy, and seldom used

    if checkable and (reason := why_unbounded(schema)):
        return f"{SCHEMA_KEY}: {reason}"
    kind = bounded(validator_for(schema))
    try:
        errors = errors_of(kind(kind.META_SCHEMA), schema, Budget(STEPS))
    except (BudgetError, RecursionError):
        return f"{SCHEMA_KEY}: {_TOO_MUCH}"
    return f"{SCHEMA_KEY} is no JSON Schema: {_shorten(errors[0].message)}" if errors else None


def metadata_checker(schema: Mapping[str, Any]) -> MetadataChecker:
    """Make the function that says what in a unit's metadata breaks a schema.

    References in the schema that lead out of it are never fetched. What takes too many steps, or
    cannot be checked in bounded time, counts as a problem.

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
    validator = bounded(validator_for(schema))(schema, registry=registry)
    reason = why_unbounded(schema)
    budget = Budget(STEPS)

    def problems(meta: Mapping[str, Any] | None) -> list[str]:
        shown = {name: value for name, value in (meta or {}).items() if name not in hidden}
        if reason is not None:
            return [f"{SCHEMA_KEY}: {reason}"]
        budget.left = min(STEPS, max(0, budget.left) + STEPS_PER_UNIT)
        try:
            errors = errors_of(validator, shown, budget)
            errors.sort(key=lambda error: error.json_path)
        except (BudgetError, RecursionError):
            return [f"{SCHEMA_KEY}: {_TOO_MUCH}"]
        except Unresolvable as error:
            return [f"{SCHEMA_KEY} refers to what it does not hold: {error.ref}"]
        return [
            f"{_place(error.absolute_path)}: {_shorten(error.message)}" for error in errors[:MOST]
        ]

    return problems


def _shorten(message: str) -> str:
    """Leave out the middle of a message that repeats a long value."""
    half = MESSAGE_MAX // 2
    return message if len(message) <= MESSAGE_MAX else f"{message[:half]}…{message[-half:]}"


def _place(steps: Iterable[object]) -> str:
    return ".".join(["meta", *map(str, steps)])
