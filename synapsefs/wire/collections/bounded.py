"""JSON Schema validators that give up after a number of steps.

A schema comes from whoever may change a collection or, for a client, from whoever runs the
service. Its patterns, and references that branch at every level, can ask for any amount of work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from synapsefs.wire.collections.patterns import Budget, PatternError, compiled

KEYWORD_STEPS: Final = 10
"""Steps that one keyword of a schema counts for; one step is a character of a pattern's text."""

REFERENCE_STEPS: Final = 60
"""Steps that a reference counts for, which has to be looked up."""

MAX_PATTERNS: Final = 100
"""Most patterns of a schema."""

Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]

_current = threading.local()


def errors_of(validator: Any, instance: Any, budget: Budget) -> list[Any]:
    """Return the errors of an instance.

    Parameters
    ----------
    validator
        Of a class that :func:`bounded` made.
    instance
        What is checked.
    budget
        The steps that may be taken.

    Raises
    ------
    BudgetError
        They are not enough.
    """
    _current.budget = budget
    try:
        return list(validator.iter_errors(instance))
    finally:
        del _current.budget


def why_unbounded(schema: Any) -> str | None:
    """Say what in a schema cannot be checked in bounded time, or None."""
    waiting, keys, count = [schema], set[str](), 0
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            keys |= {key for key in found if isinstance(key, str)}
            patterns = list(found["patternProperties"]) if _has(found, "patternProperties") else []
            if isinstance(found.get("pattern"), str):
                patterns.append(found["pattern"])
            count += len(patterns)
            if count > MAX_PATTERNS:
                return f"it has more than {MAX_PATTERNS} patterns"
            for pattern in patterns:
                try:
                    compiled(pattern)
                except PatternError as error:
                    return f"the pattern {pattern[:100]!r} cannot be used: {error}"
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    if "unevaluatedProperties" in keys and keys & {"patternProperties", "dependentSchemas"}:
        return "unevaluatedProperties cannot be used with patternProperties or dependentSchemas"
    return None


def _has(schema: Mapping[str, Any], keyword: str) -> bool:
    return isinstance(schema.get(keyword), Mapping)


@lru_cache(maxsize=16)
def bounded(validator: Any) -> Any:
    """Return the class of validators that is like `validator`, but for its bounds."""
    from jsonschema.validators import extend  # noqa: PLC0415 - heavy, and seldom used

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    keywords = {
        name: _counted(
            own.get(name, keyword),
            REFERENCE_STEPS if name.lower().endswith("ref") else KEYWORD_STEPS,
        )
        for name, keyword in validator.VALIDATORS.items()
    }
    return extend(validator, keywords)  # type: ignore[no-untyped-call]


def _counted(keyword: Keyword, least: int) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        steps = least
        if isinstance(value, list):
            steps += len(value)
        if isinstance(value, bool) and value and isinstance(instance, list):
            steps += _comparisons(instance)
        _current.budget.spend(steps)
        yield from keyword(validator, value, instance, schema) or ()

    return check


def _comparisons(instance: list[Any]) -> int:
    """Return how often elements are compared to see whether all differ."""
    kinds = {type(element) for element in instance}
    sortable = len(kinds) < 2 and kinds <= {str, int, float}
    return len(instance) if sortable else len(instance) ** 2


def _matches(pattern: str, text: str) -> bool:
    return compiled(pattern).search(text, _current.budget)


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError  # noqa: PLC0415 - heavy, and seldom used

    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, schema in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    from jsonschema import ValidationError  # noqa: PLC0415 - heavy, and seldom used

    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [
        name
        for name in instance
        if name not in named and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(additional, "object"):
        for name in others:
            yield from validator.descend(instance[name], additional, path=name)
    elif not additional and others:
        shown = ", ".join(repr(name) for name in sorted(others))
        verb = "was" if len(others) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({shown} {verb} unexpected)")
