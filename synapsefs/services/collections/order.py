"""Which of several files of one path is shown there: one rule for paths and for the table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum


class Shown(Enum):
    """Where a file is shown."""

    PLAINLY = "at its path"
    BESIDE = "as stem@id.ext"
    NOWHERE = "replaced"


@dataclass(frozen=True, slots=True)
class Version:
    """What orders a file among others of its path.

    Attributes
    ----------
    since, unit
        The unit in which it was bound first, and the one that holds it.
    marked, write, replaces
        Whether this package wrote that unit, by which write, and which writes that replaced.
    """

    since: int
    unit: int
    marked: bool = False
    write: str = ""
    replaces: Collection[str] = ()

    def follows(self, other: Version) -> bool:
        """Say whether this one is newer.

        That is what it says itself: a request that was held up may make a unit, with a greater id,
        of a write that was replaced long ago. Otherwise the one that was bound later is newer.
        """
        if other.write and other.write in self.replaces:
            return True
        if self.write and self.write in other.replaces:
            return False
        return (self.since, self.unit) > (other.since, other.unit)


class Versions:
    """All files of one path, of which ``newest`` is the newest."""

    __slots__ = ("_marked", "newest")

    def __init__(self, first: Version) -> None:
        self.newest = first
        self._marked = first if first.marked else None

    def add(self, version: Version) -> None:
        """Take another."""
        if version.follows(self.newest):
            self.newest = version
        if version.marked and (self._marked is None or version.follows(self._marked)):
            self._marked = version

    def shown(self, version: Version) -> Shown:
        """Say where one of them is shown: the newest at the path, others beside it.

        What one written by this package follows was replaced by it.
        """
        if version.unit == self.newest.unit:
            return Shown.PLAINLY
        replaced = self._marked is not None and self._marked.follows(version)
        return Shown.NOWHERE if replaced else Shown.BESIDE
