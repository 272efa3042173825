"""A directory tree in memory: what a service's flat listing looks like as paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

R = TypeVar("R")


class DirectoryNode(Generic[R]):
    """A directory: its sub-directories and its files' records, by path segment.

    A name may stand for a directory and a file at once, as object stores allow.
    """

    __slots__ = ("files", "folders", "record")

    def __init__(self, record: R | None = None) -> None:
        self.folders: dict[str, DirectoryNode[R]] = {}
        self.files: dict[str, R] = {}
        self.record = record

    def folder(self, segments: tuple[str, ...]) -> DirectoryNode[R] | None:
        """Find a directory below this one."""
        return self.at(segments)[1]

    def file(self, segments: tuple[str, ...]) -> R | None:
        """Find a file's record below this directory."""
        return self.at(segments)[0]

    def at(self, segments: tuple[str, ...]) -> tuple[R | None, DirectoryNode[R] | None]:
        """Find the file and the directory of a path below this directory."""
        if not segments:
            return None, self
        here = self
        for segment in segments[:-1]:
            below = here.folders.get(segment)
            if below is None:
                return None, None
            here = below
        return here.files.get(segments[-1]), here.folders.get(segments[-1])

    def make(self, segments: tuple[str, ...]) -> DirectoryNode[R]:
        """Find or create a directory and those above it."""
        here = self
        for segment in segments:
            below = here.folders.get(segment)
            if below is None:
                below = here.folders[segment] = DirectoryNode()
            here = below
        return here

    def put(self, segments: tuple[str, ...], record: R) -> None:
        """Place a file, creating its directories."""
        self.make(segments[:-1]).files[segments[-1]] = record

    def discard(self, segments: tuple[str, ...]) -> None:
        """Take a file away, and the directories without a record that it leaves empty."""
        trail = [self]
        for segment in segments[:-1]:
            below = trail[-1].folders.get(segment)
            if below is None:
                return
            trail.append(below)
        trail[-1].files.pop(segments[-1], None)
        for depth in range(len(trail) - 1, 0, -1):
            here = trail[depth]
            if here.files or here.folders or here.record is not None:
                return
            del trail[depth - 1].folders[segments[depth - 1]]

    def children(self) -> Iterator[tuple[tuple[str, ...], DirectoryNode[R] | R]]:
        """Go through what lies directly in this directory: path segments, and node or record."""
        for name, node in self.folders.items():
            yield (name,), node
        for name, record in self.files.items():
            yield (name,), record

    def walk(self) -> Iterator[tuple[tuple[str, ...], DirectoryNode[R] | R]]:
        """Go through everything below this directory, as :meth:`children` does."""
        waiting: list[tuple[tuple[str, ...], DirectoryNode[R]]] = [((), self)]
        while waiting:
            path, here = waiting.pop()
            if here is not self:
                yield path, here
            for name, record in here.files.items():
                yield (*path, name), record
            waiting += [((*path, name), here.folders[name]) for name in reversed(here.folders)]


def is_empty(item: object) -> bool:
    """Say whether something is a directory that holds nothing, or nothing at all."""
    return item is None or (isinstance(item, DirectoryNode) and not item.files and not item.folders)
