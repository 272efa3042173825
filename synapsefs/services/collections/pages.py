"""Pages of a list that may change while they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from synapsefs.errors import IntegrityError

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
