"""Search criteria as SQL conditions.

What the full-text index can answer becomes a MATCH. Every other comparison is a
predicate in Python, which SQLite calls with the value of the field.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.datasets.faults import unprocessable
from synapsefs.server.datasets.records import decoded
from synapsefs.server.datasets.schema import SEARCHABLE_FIELDS
from synapsefs.wire.datasets.constants import Operator

if TYPE_CHECKING:
    from synapsefs.wire.datasets.requests import Criterion

Scalar = str | bool | float | int | None
Predicate = Callable[[Any], bool]

_FIELDS: Final = {
    **{
        name: f"e.{name}"
        for name in (
            "id",
            "short_alias",
            "name",
            "description",
            "status",
            "share_status",
            "user_id",
            "is_collection",
            "tags",
            "parent_id",
            "project_id",
            "dataset_id",
            "file_path",
            "storage_type",
            "content_type",
            "created_at",
            "modified_at",
        )
    },
    "content": "r.content",
    "size": "r.size",
    "md5": "r.md5",
    "version": "r.version",
}
MOST_WORDS: Final = 200
"""Distinct words of a text query that are looked for."""

MOST_CRITERIA: Final = 50
"""Criteria of one search; SQLite bounds the depth of an expression."""

_TRUE: Final = {"true": True, "false": False}
_LIST_FIELD: Final = "tags"
_METADATA: Final = "metadata."
_BOOLEAN_FIELD: Final = "is_collection"


@dataclass(frozen=True, slots=True)
class Condition:
    """One criterion in SQL.

    Parameters
    ----------
    sql
        Calls `function` when there is a `predicate`, else uses the parameter `function`.
    function
        A name that no other condition of the query has.
    predicate
        What SQLite has to call.
    match
        Full-text expression, for conditions without a predicate.
    """

    sql: str
    function: str
    predicate: Predicate | None = None
    match: str | None = None


def condition(criterion: Criterion, number: int) -> Condition:
    """Translate one criterion.

    Parameters
    ----------
    criterion
        What the client sent.
    number
        Its place among the criteria.

    Returns
    -------
    Condition
        False for a field that entries do not have.

    Raises
    ------
    Problem
        422 when the operator cannot be applied to the value.
    """
    name = f"criterion_{number}"
    if criterion.operator is Operator.FULLTEXT and criterion.field in SEARCHABLE_FIELDS:
        match = match_any(_texts(criterion), criterion.field)
        return Condition(_match_sql(name, match), name, match=match)
    predicate = _predicate(criterion)
    if criterion.field.startswith(_METADATA):
        key = criterion.field.removeprefix(_METADATA)
        return Condition(f"{name}(e.metadata)", name, _on_metadata(key, predicate))
    if criterion.field not in _FIELDS:
        return Condition("0", name)
    if criterion.field == _LIST_FIELD:
        predicate = _on_any(predicate)
    elif criterion.field == _BOOLEAN_FIELD:
        predicate = _on_boolean(predicate)
    return Condition(f"{name}({_FIELDS[criterion.field]})", name, predicate)


def words(text: str) -> list[str]:
    """Words of a text query, in lower case."""
    return re.findall(r"\w+", text.casefold())


def match_any(texts: list[str], field: str | None = None) -> str | None:
    """Return the full-text expression for any word of `texts`, None when there is no word."""
    distinct = dict.fromkeys(word for text in texts for word in words(text))
    quoted = [f'"{word}"' for word in itertools.islice(distinct, MOST_WORDS)]
    if not quoted:
        return None
    either = " OR ".join(quoted)
    return either if field is None else f"{{{field}}} : ({either})"


def _match_sql(name: str, match: str | None) -> str:
    if match is None:
        return "0"
    return f"e.seq IN (SELECT rowid FROM ds_search WHERE ds_search MATCH :{name})"  # noqa: S608


def _values(criterion: Criterion) -> list[Scalar]:
    value = criterion.value
    return list(value) if isinstance(value, list) else [value]


def _texts(criterion: Criterion) -> list[str]:
    return [str(value) for value in _values(criterion)]


def _predicate(criterion: Criterion) -> Predicate:
    operator = criterion.operator
    if operator in (Operator.EQUALS, Operator.IN):
        return _equal_to_any(_values(criterion))
    if operator is Operator.FULLTEXT:
        wanted = {word for text in _texts(criterion) for word in words(text)}
        return lambda value: value is not None and not wanted.isdisjoint(words(str(value)))
    if operator in _PARTS:
        return _part_of(_PARTS[operator], _texts(criterion))
    return _ordered(operator, _values(criterion))


_PARTS: Final[dict[Operator, Callable[[str, str], bool]]] = {
    Operator.CONTAINS: lambda text, part: part in text,
    Operator.STARTS_WITH: str.startswith,
    Operator.ENDS_WITH: str.endswith,
}


def _part_of(holds: Callable[[str, str], bool], parts: list[str]) -> Predicate:
    folded = [part.casefold() for part in parts]

    def predicate(value: Any) -> bool:
        if value is None:
            return False
        text = str(value).casefold()
        return any(holds(text, part) for part in folded)

    return predicate


def _equal_to_any(values: list[Scalar]) -> Predicate:
    wanted = {_comparable(value) for value in values}
    return lambda value: value is not None and _comparable(value) in wanted


def _ordered(operator: Operator, values: list[Scalar]) -> Predicate:
    bounds = [_comparable(value) for value in values]
    if len(bounds) != (2 if operator is Operator.BETWEEN else 1):
        raise unprocessable(f"Wrong number of values for {operator}")
    low, high = bounds[0], bounds[-1]

    def predicate(value: Any) -> bool:
        found = _comparable(value)
        if found is None or type(found) is not type(low) or type(low) is not type(high):
            return False
        if operator is Operator.GREATER_THAN:
            return bool(found > low)
        if operator is Operator.LESS_THAN:
            return bool(found < low)
        return bool(low <= found <= high)

    return predicate


def _comparable(value: Any) -> Any:
    """Return a number, a moment, or else the text itself."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    text = str(value)
    if text.lower() in _TRUE:
        return _TRUE[text.lower()]
    try:
        return float(text)
    except ValueError:
        return _moment(text)


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _moment(text: str) -> datetime | str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _on_any(predicate: Predicate) -> Predicate:
    return lambda listed: any(predicate(value) for value in decoded(listed) or ())


def _on_boolean(predicate: Predicate) -> Predicate:
    return lambda value: predicate(bool(value))


def _on_metadata(key: str, predicate: Predicate) -> Predicate:
    def found(text: str | None) -> bool:
        value = (decoded(text) or {}).get(key)
        values = value if isinstance(value, list) else [value]
        return any(predicate(one) for one in values)

    return found
