"""Pages of a list that may change while they are read."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import TypeAdapter

from synapsefs import concurrency
from synapsefs.errors import IntegrityError, NotFoundError
from synapsefs.http import Reply
from synapsefs.services.wireio import parsed
from synapsefs.wire.collections import v1

PAGES_AT_A_TIME = 8
PER_PAGE = 200

LISTING_ATTEMPTS = 6
"""How often a list is read whose items moved between pages meanwhile."""
KEPT_CHANGING = "the collection kept changing while it was listed: try again"
STALE_PAGES = 3
OVERLAP = 40
"""One item in so many is asked for twice, at the end of one page and the start of the next."""
SMALLEST_OVERLAPPING = 8
"""Pages with fewer items do not overlap."""


def overlapping(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Give numbers and sizes of pages that cover a list after its first page.

    Each begins before the one before it ends: when items that came earlier are deleted meanwhile,
    the others move up, and none is missed.

    Parameters
    ----------
    size
        Items of the first page, and of a page at most.
    count
        Items of the list.
    """
    end = size
    while end < count:
        first = end - max(1, size // OVERLAP)
        lengths = range(size, size - max(2, size // 8), -1)
        number, length = max(
            ((first // length + 1, length) for length in lengths),
            key=lambda page: page[0] * page[1],
        )
        if number * length <= end:
            return
        end = number * length
        yield number, length


class PageCheck:
    """Notices that a list changed so much, while its pages were read, that items may be missing."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._counts: list[int | None] = []
        self._results = 0
        self._last: int | None = None
        self._ordered = True
        self._joined = True

    def add(self, page: Any) -> None:
        """Take the next page."""
        numbers = [item.id for item in page.results]
        self._ordered = self._ordered and numbers == sorted(numbers)
        if self._last is not None:
            self._joined = self._joined and bool(numbers) and numbers[0] <= self._last
        if numbers:
            self._last = numbers[-1]
        self.seen.update(numbers)
        self._results += len(numbers)
        self._counts.append(page.count)

    @property
    def whole(self) -> bool:
        """Whether everything was seen that was there all the time.

        Pages in order of which each begins in the one before have no gap. Of others nothing may
        have changed.
        """
        if len(self._counts) < 2:
            return len(self.seen) >= (self._counts[0] or 0 if self._counts else 0)
        if self._ordered and self._joined:
            return True
        first, last = self._counts[0] or 0, self._counts[-1] or 0
        return first == last <= len(self.seen) == self._results


class LoopGuard:
    """Notices a listing that never ends because it goes in circles."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[int] = set()
        self._stale = 0

    def check(self, results: Sequence[Any]) -> None:
        """Look at the next page, which may repeat what an insertion meanwhile has moved there.

        Raises
        ------
        IntegrityError
            When several pages in a row hold nothing that was not on an earlier page.
        """
        fresh = {item.id for item in results} - self._seen
        self._seen |= fresh
        self._stale = 0 if fresh else self._stale + 1
        if self._stale >= STALE_PAGES:
            rule = "the service's listing repeats itself without an end"
            raise IntegrityError(rule, self._path)


Get = Callable[[str, str, Mapping[str, str]], Awaitable[Reply]]
"""Asks a route, in the name of a path, with parameters."""


class Pager:
    """Goes through the pages of the service's lists."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._takes_size = True

    async def numbered(
        self, route: str, params: Mapping[str, str], adapter: TypeAdapter[Any], path: str
    ) -> AsyncIterator[Any]:
        """Go through numbered pages; what changes meanwhile may be on two of them."""
        page = parsed(adapter, await self._get(route, path, params), path)
        yield page
        repeats = LoopGuard(path)
        repeats.check(page.results)
        query = query_of(page.next)
        if query.get("page") == "2" and page.count is not None and page.results:
            size, count = len(page.results), page.count
            if self._takes_size and "page_size" in query and size >= SMALLEST_OVERLAPPING:
                sizes = overlapping(size, count)
            else:
                sizes = ((number, 0) for number in range(2, -(-count // size) + 1))
            async for page in self._further(route, query, sizes, adapter, path):
                repeats.check(page.results)
                yield page
            query = query_of(page.next)
        while query:
            page = parsed(adapter, await self._get(route, path, query), path)
            repeats.check(page.results)
            yield page
            query = query_of(page.next)

    async def _further(
        self,
        route: str,
        query: dict[str, str],
        sizes: Iterator[tuple[int, int]],
        adapter: TypeAdapter[Any],
        path: str,
    ) -> AsyncIterator[Any]:
        """Get pages by number and size, 0 for the size that the query has; several at a time."""

        async def fetch(number: int, size: int) -> Any:
            asked = {**query, "page": str(number)} | ({"page_size": str(size)} if size else {})
            try:
                reply = await self._get(route, path, asked)
            except NotFoundError:
                return v1.Page[Any]()
            return parsed(adapter, reply, path)

        while batch := list(itertools.islice(sizes, PAGES_AT_A_TIME)):
            work = (fetch(number, size) for number, size in batch)
            pages = await concurrency.gather(work, PAGES_AT_A_TIME)
            for (_, size), page in zip(batch, pages, strict=True):
                if size and page.next and len(page.results) != size:
                    self._takes_size = False
                    yield v1.Page[Any](next=f"?{urlencode({**query, 'page': '2'})}")
                    return
                yield page
                if not page.results:
                    return

    async def by_cursor(
        self, route: str, params: Mapping[str, str], adapter: TypeAdapter[Any], path: str
    ) -> AsyncIterator[Any]:
        """Go through a list of the second generation; gives what each page holds."""
        params = {**params, "per_page": str(PER_PAGE)}
        repeats = LoopGuard(path)
        while True:
            page = parsed(adapter, await self._get(route, path, params), path)
            yield page.data
            cursor = page.meta.pagination.next_cursor if page.meta.pagination else None
            if not cursor:
                return
            repeats.check(page.data)
            params = {**params, "cursor": _cursor_value(cursor)}


def query_of(url: str | None) -> dict[str, str]:
    """Read the parameters of a URL; empty for None."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) if url else {}


def _cursor_value(cursor: str) -> str:
    return query_of(cursor).get("cursor", cursor) if cursor.startswith("http") else cursor
