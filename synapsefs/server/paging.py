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
from synapsefs.wire.collections.constants import PAGE_SIZE, PER_PAGE

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
    order
        Columns that the list is ordered by, and whether largest values come first; the last one
        is ``id``.
    after
        Values of the last item of the page before.
    size
        Most items on the page.
    """

    order: tuple[tuple[str, bool], ...]
    after: list[Any] | None
    size: int

    def clauses(self) -> tuple[str, str, list[Any]]:
        """Return a condition, an ORDER BY with LIMIT for one item more, and their parameters."""
        words = [f"{column} {'DESC' if down else 'ASC'}" for column, down in self.order]
        order = f"ORDER BY {', '.join(words)} LIMIT {self.size + 1}"
        if self.after is None:
            return "1", order, []
        if len({down for _, down in self.order}) == 1:
            columns, marks = ", ".join(self._columns()), ", ".join("?" * len(self.order))
            sign = "<" if self.order[0][1] else ">"
            return f"({columns}) {sign} ({marks})", order, list(self.after)
        either, values = [], []
        for place, (column, down) in enumerate(self.order):
            equal = [f"{before} = ?" for before in self._columns()[:place]]
            either.append(" AND ".join([*equal, f"{column} {'<' if down else '>'} ?"]))
            values += self.after[: place + 1]
        return f"({' OR '.join(either)})", order, values

    def _columns(self) -> list[str]:
        return [column for column, _ in self.order]

    def page(
        self, request: web.Request, rows: Sequence[Any], shape: Callable[[Any], dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the items and the pagination of the page that `rows` begin."""
        shown, following = rows[: self.size], None
        if len(rows) > self.size:
            last = shown[-1]
            opaque = _encode([last[column] for column in self._columns()])
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
    order = _order(request.query.get("sort", "id"), sortable)
    given = request.query.get("cursor")
    if given and given.startswith(("http://", "https://")):
        given = parse_qs(urlsplit(given).query).get("cursor", [""])[-1]
    after = _decode(given, len(order)) if given else None
    return Cursor(order, after, size_asked(request, "per_page", PER_PAGE, most))


def _order(asked: str, sortable: dict[str, str]) -> tuple[tuple[str, bool], ...]:
    """Read ``sort``: names separated by commas, with a minus where largest values come first."""
    columns: dict[str, bool] = {}
    for name in asked.split(",")[: len(sortable) + 1]:
        column = sortable.get(name.removeprefix("-"))
        if column is None or column in columns:
            raise invalid("sort", "This list cannot be sorted by that.")
        columns[column] = name.startswith("-")
        if column == "id":
            break
    columns.setdefault("id", next(reversed(columns.values())))
    return tuple(columns.items())


def _only(request: web.Request, item: dict[str, Any]) -> dict[str, Any]:
    """Keep the keys that ``fields`` asks for."""
    asked = {name for value in request.query.getall("fields", []) for name in value.split(",")}
    return {key: value for key, value in item.items() if key in asked} if asked else item


def _encode(position: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _decode(text: str, count: int) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise invalid("cursor", "This cursor is not valid.") from None
    good = isinstance(values, list) and len(values) == count and isinstance(values[-1], int)
    if not good or not all(isinstance(value, (int, float, str)) for value in values):
        raise invalid("cursor", "This cursor is not valid.")
    return list(values)
