"""Fragments of text around what a search was looking for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from synapsefs.server.datasets.criteria import words
from synapsefs.wire.datasets.constants import Operator

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from synapsefs.server.datasets.effort import Effort
    from synapsefs.wire.datasets.requests import SearchRequest

DEFAULT_FIELDS: Final = ("name", "description", "content")

PIECE: Final = 4096
"""Characters that are searched for marks at a time."""

MOST_MARKED: Final = 100
"""Most characters of one text that is marked."""

MOST_TEXTS: Final = 50
"""Most texts that are marked."""

MOST_FRAGMENTS: Final = 100
MOST_SIZE: Final = 100_000
"""Most fragments of a field, and most characters of one."""

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
    longest_first = sorted(found, key=len, reverse=True)[:MOST_TEXTS]
    longest_first = [text[:MOST_MARKED] for text in longest_first]
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def highlights(
    row: sqlite3.Row, request: SearchRequest, marked: re.Pattern[str] | None, effort: Effort
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
    effort
        The time it may take.

    Returns
    -------
    dict
        Field to fragments; fields without any are left out.

    Raises
    ------
    Problem
        422 when it takes too long.
    """
    if marked is None:
        return {}
    result = {}
    for field in request.highlight_fields or DEFAULT_FIELDS:
        column = _COLUMNS.get(field, field)
        text = row[column] if column in row.keys() else None  # noqa: SIM118 - a row is no mapping
        if isinstance(text, str) and (found := _fragments(text, request, marked, effort)):
            result[field] = found
    return result


def _matches(text: str, marked: re.Pattern[str], effort: Effort) -> Iterator[re.Match[str]]:
    """Find what to mark, a piece of the text at a time: no other thread runs meanwhile."""
    for begin in range(0, len(text), PIECE):
        effort.check()
        for match in marked.finditer(text, begin, begin + PIECE + MOST_MARKED):
            if match.start() < begin + PIECE:
                yield match


def _fragments(
    text: str, request: SearchRequest, marked: re.Pattern[str], effort: Effort
) -> list[str]:
    fragments: list[str] = []
    size, end = min(request.highlight_fragment_size, MOST_SIZE), 0
    for match in _matches(text, marked, effort):
        if len(fragments) >= min(request.highlight_num_fragments, MOST_FRAGMENTS):
            break
        if match.start() < end:
            continue
        start = max(end, match.start() - max(0, size - len(match.group())) // 2)
        end = max(start + size, match.end())
        fragments.append(marked.sub(r"<em>\g<0></em>", text[start:end]))
    return fragments
