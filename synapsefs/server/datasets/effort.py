"""How much one search may ask for, and how long it may take."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from synapsefs.server.datasets.criteria import MOST_CRITERIA
from synapsefs.server.datasets.faults import unprocessable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from synapsefs.wire.datasets.requests import SearchRequest

SECONDS: Final = 5.0
"""Seconds that a search may take."""

BODY_LIMIT: Final = 1024 * 1024
"""Most bytes of the body of a search."""

MOST_TEXT: Final = 4096
"""Most characters of a text query, of one criterion's values, and of a field's name."""

MOST_FIELDS: Final = 20
"""Most fields that hits are marked in."""

MOST_DIMENSIONS: Final = 16_384
"""Most numbers of an embedding."""

STEPS: Final = 10_000
"""Instructions of SQLite between two looks at the clock."""

SEARCHES_AT_ONCE: Final = 2
SEARCHES: Final = web.AppKey("searches", asyncio.Semaphore)
"""Searches at a time: other requests need the threads that read, too."""


class Effort:
    """The time that is left for a search."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + SECONDS

    @property
    def is_spent(self) -> bool:
        """Whether there is none."""
        return time.monotonic() > self._deadline

    def check(self) -> None:
        """Give up a search that takes too long.

        Raises
        ------
        Problem
            422, when the time is over.
        """
        if self.is_spent:
            raise unprocessable("The search takes too long; narrow it")

    def limit(self, predicate: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """Return a predicate that looks at the clock first."""

        def limited(value: Any) -> bool:
            self.check()
            return predicate(value)

        return limited

    @contextmanager
    def limiting(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Give up what runs on a connection when the time is over.

        Raises
        ------
        Problem
            422, when it is.
        """
        connection.set_progress_handler(lambda: self.is_spent, STEPS)
        try:
            yield
        except sqlite3.OperationalError:
            self.check()
            raise
        finally:
            connection.set_progress_handler(None, 0)


def check_size(request: SearchRequest) -> None:
    """Refuse a search that asks for too much.

    Raises
    ------
    Problem
        422, when it does.
    """
    if len(request.criteria) > MOST_CRITERIA:
        raise unprocessable(f"At most {MOST_CRITERIA} criteria at once")
    if len(request.highlight_fields or ()) > MOST_FIELDS:
        raise unprocessable(f"At most {MOST_FIELDS} fields to highlight")
    texts = [request.text_query or ""]
    for criterion in request.criteria:
        values = criterion.value if isinstance(criterion.value, list) else [criterion.value]
        texts += [criterion.field, "".join(str(value) for value in values)]
    if any(len(text) > MOST_TEXT for text in texts):
        raise unprocessable(f"At most {MOST_TEXT} characters of text in a query or criterion")
