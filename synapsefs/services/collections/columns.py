"""Metadata of units as columns: flattened, and each column of one type for all units.

====================================  ===================================================
values of a column                    its type
====================================  ===================================================
true, false                           bool
integers                              int64
integers and floats, or floats        double
texts                                 string
lists of one of these                 list of it
anything else, or mixed               string: texts as they are, all other values as JSON
====================================  ===================================================

Null fits all. Integers that a double, or 64 bits, cannot hold exactly count as "anything else"
where they would have to become one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

PREFIX = "meta"
NOTHING, BOOL, INT, LONG, FLOAT, TEXT, JSON = "null", "bool", "int", "long", "float", "text", "json"
_LIST = "list:"
_EXACT = 2**53
_INT64 = 2**63
_DECLARED = {"boolean": BOOL, "integer": INT, "number": FLOAT, "string": TEXT}


def flattened(meta: Mapping[str, Any], above: str = PREFIX) -> Iterator[tuple[str, Any]]:
    """Give the leaves of metadata by column name: ``{"box": {"x": 1}}`` is ``meta.box.x``.

    A key that holds a dot itself is written in quotes. Nulls and empty objects give nothing.
    """
    for key, value in meta.items():
        name = f'{above}."{key}"' if "." in key else f"{above}.{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, name)
        elif value is not None:
            yield name, value


def kind_of(value: Any) -> str:
    """Say what kind of column holds a value."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return INT if abs(value) <= _EXACT else LONG if -_INT64 <= value < _INT64 else JSON
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        return _list_kind(value)
    return NOTHING if value is None else JSON


def _list_kind(values: list[Any]) -> str:
    element = NOTHING
    for value in values:
        element = unified(element, kind_of(value))
    return JSON if element == JSON or element.startswith(_LIST) else _LIST + element


def unified(one: str, other: str) -> str:
    """Give the kind of column that holds values of two kinds."""
    pair = {one, other}
    if len(pair) == 1:
        return one
    if NOTHING in pair:
        return other if one == NOTHING else one
    if pair == {INT, FLOAT}:
        return FLOAT
    if pair == {INT, LONG}:
        return LONG
    if one.startswith(_LIST) and other.startswith(_LIST):
        element = unified(one.removeprefix(_LIST), other.removeprefix(_LIST))
        return JSON if element == JSON else _LIST + element
    return JSON


def declared(schema: Mapping[str, Any] | None, above: str = PREFIX) -> Iterator[tuple[str, str]]:
    """Give the columns that a JSON Schema names, with their kinds, where it tells them plainly."""
    properties = (schema or {}).get("properties")
    for key, rule in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(rule, Mapping):
            name = f'{above}."{key}"' if "." in key else f"{above}.{key}"
            kind = _declared_kind(rule)
            if kind is not None:
                yield name, kind
            yield from declared(rule, name)


def _declared_kind(rule: Mapping[str, Any]) -> str | None:
    types = rule.get("type")
    named = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    types = [name for name in named if name != "null"]
    if types == ["array"]:
        items = rule.get("items")
        element = _declared_kind(items) if isinstance(items, Mapping) else None
        return _LIST + element if element and not element.startswith(_LIST) else None
    return _DECLARED.get(types[0]) if len(types) == 1 else None


def arrow_type(kind: str) -> Any:
    """Give the Arrow type of a kind of column."""
    if kind.startswith(_LIST):
        return pa.list_(arrow_type(kind.removeprefix(_LIST)))
    plain = {BOOL: pa.bool_(), INT: pa.int64(), LONG: pa.int64(), FLOAT: pa.float64()}
    return plain.get(kind, pa.string())


def fitted(value: Any, kind: str) -> Any:
    """Give a value as its column holds it."""
    if value is None or (kind == JSON and isinstance(value, str)):
        return value
    if kind == JSON:
        return json.dumps(value, ensure_ascii=False)
    return float(value) if kind == FLOAT else value
