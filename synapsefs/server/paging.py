"""Pages of lists: numbered in the first generation, by cursor in the second."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from synapsefs.server.objects import origin
from synapsefs.server.problems import invalid, not_found
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.collections import PAGE_SIZE, PER_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

PER_PAGE_MAX = 200
STRICT_PAGE_MAX = 100
STRICT_PER_PAGE_MAX = 50


@dataclass(frozen=True, slots=True)
class Numbered:
    """A page that was asked for by number.

    Parameters
    ----------
    number
        From 1.
    size
        Most items on it.
    """

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Items on the pages before."""
        return (self.number - 1) * self.size

    def answer(self, request: web.Request, count: int, results: Sequence[Any]) -> dict[str, Any]:
        """Return the body of the page.

        Raises
        ------
        Problem
            404, when it lies past the end.
        """
        if self.number > 1 and self.offset >= count:
            raise not_found("Invalid page.")
        more = self.offset + self.size < count
        return {
            "count": count,
            "next": link(request, page=self.number + 1) if more else None,
            "previous": link(request, page=self.number - 1) if self.number > 1 else None,
            "results": results,
        }


def numbered(request: web.Request) -> Numbered:
    """Read ``page`` and ``page_size``.

    Raises
    ------
    Problem
        404, when there can be no such page.
    """
    settings = request.app[SETTINGS]
    most = STRICT_PAGE_MAX if settings.strict else settings.page_size_max
    page = request.query.get("page") or "1"
    if not page.isdecimal() or not int(page[:12]) > 0 or len(page) > 9:
        raise not_found("Invalid page.")
    return Numbered(int(page), size_asked(request, "page_size", min(PAGE_SIZE, most), most))


def size_asked(request: web.Request, name: str, default: int, most: int) -> int:
    """Return a page size from the query, `default` when it makes no sense, at most `most`."""
    asked = request.query.get(name, "")
    if not asked.isdecimal() or not int(asked[:9]):
        return default
    return min(int(asked[:9]), most)


def link(request: web.Request, **changed: int | str) -> str:
    """Return the absolute URL of this request with some query parameters changed."""
    pairs = [(name, value) for name, value in request.query.items() if name not in changed]
    pairs += [(name, str(value)) for name, value in changed.items()]
    return f"{origin(request)}{request.rel_url.raw_path}?{urlencode(pairs)}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where in an ordered list a page of the second generation begins.

    Parameters
    ----------
    column
        What the list is ordered by; equal values are ordered by ``id``.
    descending
        Whether largest values come first.
    after
        Value and id of the last item of the page before.
    size
        Most items on the page.
    """

    column: str
    descending: bool
    after: tuple[Any, int] | None
    size: int

    def clauses(self) -> tuple[str, str, list[Any]]:
        """Return a condition, an ORDER BY with LIMIT for one item more, and their parameters."""
        sign, word = ("<", "DESC") if self.descending else (">", "ASC")
        condition = f"({self.column}, id) {sign} (?, ?)" if self.after else "1"
        order = f"ORDER BY {self.column} {word}, id {word} LIMIT {self.size + 1}"
        return condition, order, list(self.after or ())

    def page(
        self, request: web.Request, rows: Sequence[Any], shape: Callable[[Any], dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the items and the pagination of the page that `rows` begin."""
        shown, following = rows[: self.size], None
        if len(rows) > self.size:
            last = shown[-1]
            opaque = _encode([last[self.column], last["id"]])
            strict = request.app[SETTINGS].strict
            following = opaque if strict else link(request, cursor=opaque)
        pagination = {"next_cursor": following, "previous_cursor": None, "per_page": self.size}
        return [_only(request, shape(row)) for row in shown], pagination


def cursor(request: web.Request, sortable: dict[str, str]) -> Cursor:
    """Read ``cursor``, ``per_page`` and ``sort``.

    Parameters
    ----------
    request
        A cursor in it may be opaque, or a URL that carries one.
    sortable
        Columns by the names they may be sorted by.

    Raises
    ------
    Problem
        400, when the cursor or the order is not known.
    """
    most = STRICT_PER_PAGE_MAX if request.app[SETTINGS].strict else PER_PAGE_MAX
    name = request.query.get("sort", "id").partition(",")[0]
    column = sortable.get(name.lstrip("-"))
    if column is None:
        raise invalid("sort", "This list cannot be sorted by that.")
    given = request.query.get("cursor")
    if given and given.startswith(("http://", "https://")):
        given = parse_qs(urlsplit(given).query).get("cursor", [""])[-1]
    after = _decode(given) if given else None
    return Cursor(
        column, name.startswith("-"), after, size_asked(request, "per_page", PER_PAGE, most)
    )


def _only(request: web.Request, item: dict[str, Any]) -> dict[str, Any]:
    """Keep the keys that ``fields`` asks for."""
    asked = {name for value in request.query.getall("fields", []) for name in value.split(",")}
    return {key: value for key, value in item.items() if key in asked} if asked else item


def _encode(position: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _decode(text: str) -> tuple[Any, int]:
    try:
        value, number = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise invalid("cursor", "This cursor is not valid.") from None
    if not isinstance(number, int) or not isinstance(value, (int, float, str)):
        raise invalid("cursor", "This cursor is not valid.")
    return value, number
