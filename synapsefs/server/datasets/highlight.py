"""Fragments of text around what a search was looking for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from synapsefs.server.datasets.criteria import MOST_WORDS, words
from synapsefs.wire.datasets import Operator

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.wire.datasets import SearchRequest

DEFAULT_FIELDS: Final = ("name", "description", "content")
_COLUMNS: Final = {"content": "full_content"}


def pattern(request: SearchRequest) -> re.Pattern[str] | None:
    """Return what to mark in the hits of a search, None when it names no text."""
    found = set(words(request.text_query or ""))
    for criterion in request.criteria:
        values = criterion.value if isinstance(criterion.value, list) else [criterion.value]
        texts = [value for value in values if isinstance(value, str) and value]
        if criterion.operator is Operator.FULLTEXT:
            found.update(word for text in texts for word in words(text))
        else:
            found.update(texts)
    if not found:
        return None
    longest_first = sorted(found, key=len, reverse=True)[:MOST_WORDS]
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def highlights(
    row: sqlite3.Row, request: SearchRequest, marked: re.Pattern[str] | None
) -> dict[str, list[str]]:
    """Return the fragments of each field of a hit.

    Parameters
    ----------
    row
        The hit, with ``full_content``.
    request
        Says which fields, how long and how many.
    marked
        What to wrap in ``<em>``.

    Returns
    -------
    dict
        Field to fragments; fields without any are left out.
    """
    if marked is None:
        return {}
    result = {}
    for field in request.highlight_fields or DEFAULT_FIELDS:
        column = _COLUMNS.get(field, field)
        text = row[column] if column in row.keys() else None  # noqa: SIM118 - a row is no mapping
        if isinstance(text, str) and (found := _fragments(text, request, marked)):
            result[field] = found
    return result


def _fragments(text: str, request: SearchRequest, marked: re.Pattern[str]) -> list[str]:
    fragments: list[str] = []
    size, end = request.highlight_fragment_size, 0
    for match in marked.finditer(text):
        if len(fragments) >= request.highlight_num_fragments:
            break
        if match.start() < end:
            continue
        start = max(end, match.start() - max(0, size - len(match.group())) // 2)
        end = max(start + size, match.end())
        fragments.append(marked.sub(r"<em>\g<0></em>", text[start:end]))
    return fragments
