"""Collecting what fsspec would do file by file, so that it can be done together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Batch(Generic[T]):
    """Single-file work that a many-file verb gathers instead of doing at once.

    fsspec's many-file verbs decide which local path goes with which remote one, and then call the
    single-file verb for each pair. Inside :meth:`collecting` that call only notes the pair.
    """

    def __init__(self, name: str) -> None:
        self._items: ContextVar[list[T] | None] = ContextVar(name, default=None)

    @contextmanager
    def collecting(self) -> Iterator[list[T]]:
        """Gather what is added inside the block, in this task and those it starts."""
        items: list[T] = []
        token = self._items.set(items)
        try:
            yield items
        finally:
            self._items.reset(token)

    def add(self, item: T) -> bool:
        """Note an item; False when nobody is collecting."""
        items = self._items.get()
        if items is None:
            return False
        items.append(item)
        return True
