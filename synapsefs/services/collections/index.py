"""What a collection holds, as paths: the units of its listing arranged in a tree."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from synapsefs.location import split_suffix
from synapsefs.services.collections.order import Shown, Versions
from synapsefs.services.collections.unit import Unit, UnitFile
from synapsefs.services.index_cache import Index
from synapsefs.services.tree import DirectoryNode

LEFT_BEHIND = timedelta(hours=1)
"""How long ago somebody replaced a unit who then can no longer be about to delete it."""


class CollectionIndex(Index[int, Unit]):
    """A collection's units and the tree they make.

    Of several files with one path the newest has it. Older ones that it replaced (it was written
    through this package) are hidden and wait in :attr:`superseded` for deletion; older ones of
    other origin stay visible as ``stem@id.ext``.

    Attributes
    ----------
    unreconciled
        True when something was written here without knowing what it replaced.
    """

    def __init__(self, identifier: int) -> None:
        super().__init__(identifier)
        self.units: dict[int, Unit] = {}
        self.tree: DirectoryNode[UnitFile] = DirectoryNode()
        self.superseded: dict[int, Unit] = {}
        self.unreconciled = False
        self._written: set[int] = set()
        self._several: dict[tuple[str, ...], list[UnitFile]] = {}
        self._hidden: dict[int, dict[str, Unit]] = {}
        self._by_stem: dict[str, dict[int, Unit]] | None = None
        self._latest: datetime | None = None

    @property
    def may_be_gone(self) -> bool:
        """Whether this may be what is left of a collection: of one that is gone all is nothing."""
        return not self.units

    def arranged(self, listing: Collection[Unit], began: float) -> CollectionIndex:  # noqa: ARG002
        """Arrange a whole listing in a new index."""
        fresh = CollectionIndex(self.identifier)
        fresh._written, fresh._latest = set(self._written), self._latest
        for unit in sorted(listing, key=lambda unit: unit.identifier):
            fresh._add(unit)
        return fresh

    def _replay(self, changes: Mapping[int, Unit | None]) -> None:
        written = self._written & (self.units.keys() | changes.keys())
        for identifier, unit in changes.items():
            self.lose(identifier)
            if unit is not None:
                self._add(unit)
        self._written = written

    def merge(self, newest: Mapping[int, Unit], began: float) -> None:
        """Take the newest units, all of them down to some id, as they were at ``began`` or later.

        What is held from that id on and is not among them is gone.
        """
        meanwhile = self.changes.since(began)
        lowest = min(newest, default=0)
        for unit in [unit for unit in self.units.values() if unit.identifier >= lowest]:
            if unit.identifier not in newest and unit.identifier not in meanwhile:
                self._take_out(unit)
        for identifier in sorted(newest.keys() - meanwhile.keys()):
            self.take(newest[identifier])
        self.read_at = began

    def follow(self, own: Mapping[int, Unit], newest: Mapping[int, Unit], began: float) -> None:
        """Hold just these units: those written here, and the newest as they were at ``began``."""
        for identifier in [*(self.units.keys() - own.keys() - newest.keys())]:
            self.lose(identifier)
        for identifier in sorted(own.keys() - self.units.keys()):
            self._add(own[identifier])
        for identifier in sorted(newest):
            self.take(newest[identifier])
        self.read_at = began

    def take(self, unit: Unit) -> bool:
        """Hold a unit as the service has it now; say whether that is something else than before.

        Where only its metadata, groups or URLs are others, its record stays the same object. What
        was changed here after the service was asked is kept.
        """
        if self.changes.moment(unit.identifier) >= unit.seen:
            return False
        known = self.units.get(unit.identifier)
        if known is None or known.composition != unit.composition:
            if known is not None:
                self._take_out(known)
            self._add(unit)
            return True
        changed = known.meta != unit.meta
        known.meta, known.group, known.seen = unit.meta, unit.group, unit.seen
        for specification, file in unit.files.items():
            known.files[specification].url = file.url
        return changed

    def lose(self, identifier: int) -> None:
        """Forget a unit that the service has no more."""
        if identifier in self.units:
            self._take_out(self.units[identifier])

    def insert(self, unit: Unit) -> None:
        """Add a unit that was just written; the newest at a path takes it."""
        self.changes.note(unit.identifier, unit)
        self.unreconciled = self.unreconciled or self.loaded_at is None
        known = self.units.get(unit.identifier)
        if known is not None and known is not unit:
            self._take_out(known)
        self._written.add(unit.identifier)
        self._add(unit)
        self._forget_old()

    def _forget_old(self) -> None:
        """Keep little of what was written without a listing: one that is read later tells it."""
        for unit in self.changes.pop_excess():
            if self.loaded_at is None:
                self.lose(unit.identifier)

    def _add(self, unit: Unit) -> None:
        self.units[unit.identifier] = unit
        if unit.created and (self._latest is None or unit.created > self._latest):
            self._latest = unit.created
        for file in unit.files.values():
            self._place(file)
            if self._by_stem is not None:
                held = self._by_stem.setdefault(split_suffix(file.name)[0], {})
                held[unit.identifier] = unit

    def _place(self, file: UnitFile) -> None:
        segments, identifier = file.segments, file.unit.identifier
        several = self._several.get(segments)
        if several is None:
            there = self.tree.file(segments)
            if there is None or there.unit.identifier == identifier or there.segments != segments:
                self.tree.put(segments, file)
                return
            several = self._several[segments] = [there]
        several[:] = [*(other for other in several if other.unit.identifier != identifier), file]
        self._arrange(several)

    def _arrange(self, several: list[UnitFile]) -> None:
        """Show the files of one path where they belong."""
        order = Versions(several[0].version)
        for file in several[1:]:
            order.add(file.version)
        ours = [file for file in several if file.unit.marked]
        ours.sort(key=lambda file: file.unit.identifier not in self._written)
        for file in several:
            shown = order.shown(file.version)
            beside = self.tree.file(file.segments_with_id)
            if shown is Shown.PLAINLY:
                self.tree.put(file.segments, file)
            if shown is Shown.BESIDE:
                self.tree.put(file.segments_with_id, file)
            elif beside is file:
                self.tree.discard(file.segments_with_id)
            hidden = shown is Shown.NOWHERE
            newer = (other.unit for other in ours if other.version.follows(file.version))
            self._hide(file, next(newer) if hidden else None)

    def supersede(self, unit: Unit) -> None:
        """Take a replaced unit out of sight; it waits for its deletion."""
        if unit.identifier in self.units:
            self.superseded[unit.identifier] = self.units[unit.identifier]

    def _hide(self, file: UnitFile, successor: Unit | None) -> None:
        """Note what replaced a file; None where nothing did."""
        hidden = self._hidden.setdefault(file.unit.identifier, {})
        if successor is not None:
            hidden[file.specification] = successor
        elif hidden.pop(file.specification, None) is not None:
            self.superseded.pop(file.unit.identifier, None)
        if hidden.keys() >= file.unit.files.keys():
            self.superseded[file.unit.identifier] = file.unit

    def is_hidden(self, file: UnitFile) -> bool:
        """Say whether a newer file has replaced one."""
        return file.specification in self._hidden.get(file.unit.identifier, {})

    def deletable(self) -> list[Unit]:
        """Give the replaced units to delete: those replaced here, and what others left behind.

        What somebody else replaced lately, by the times of the service alone, is left to them:
        they may still take it back, and then need what was there.
        """

        def is_final(successor: Unit) -> bool:
            if successor.identifier in self._written:
                return True
            if successor.created is None or self._latest is None:
                return False
            return self._latest - successor.created > LEFT_BEHIND

        return [
            unit
            for unit in self.superseded.values()
            if all(map(is_final, self._hidden.get(unit.identifier, {}).values()))
        ]

    def invalidate(self) -> None:
        """Believe nothing, also not what seemed replaced: units were taken back."""
        self.loaded_at = None
        self.superseded = {}

    def remove(self, unit: Unit) -> None:
        """Take away a unit that was deleted; what it hid is shown again."""
        self.changes.note(unit.identifier, None)
        self._forget_old()
        self.lose(unit.identifier)

    def _take_out(self, unit: Unit) -> None:
        del self.units[unit.identifier]
        self.superseded.pop(unit.identifier, None)
        self._written.discard(unit.identifier)
        self._hidden.pop(unit.identifier, None)
        for file in unit.files.values():
            for segments in (file.segments, file.segments_with_id):
                there = self.tree.file(segments)
                if there is not None and there.unit is unit:
                    self.tree.discard(segments)
            several = self._several.get(file.segments)
            if several is not None:
                several[:] = [other for other in several if other.unit is not unit]
                self._arrange(several)
                if len(several) == 1:
                    del self._several[file.segments]
            if self._by_stem is not None:
                held = self._by_stem.get(split_suffix(file.name)[0], {})
                held.pop(unit.identifier, None)

    def of_path(self, segments: tuple[str, ...]) -> list[UnitFile]:
        """Give all files of a path, those that were replaced too."""
        several = self._several.get(segments)
        if several is not None:
            return list(several)
        file = self.tree.file(segments)
        return [file] if file is not None and file.segments == segments else []

    def replaced_by(self, file: UnitFile) -> list[UnitFile]:
        """Give the files of the same path that a file hides."""
        if not file.unit.marked:
            return []
        return [
            other
            for other in self.of_path(file.segments)
            if other is not file and file.version.follows(other.version)
        ]

    def at(self, segments: tuple[str, ...]) -> UnitFile | None:
        """Find a file by path, or by ``@<unit id>`` in its specification's folder.

        A name with an id, which listings give while a newer file has the plain one, goes on
        standing for that file.
        """
        there = self.tree.file(segments)
        if there is not None or not segments or "@" not in segments[-1]:
            return there
        stem, _, identifier = split_suffix(segments[-1])[0].rpartition("@")
        number = int(identifier) if identifier.isdecimal() and len(identifier) < 19 else None
        unit = None if number is None else self.units.get(number)
        for file in unit.files.values() if unit else ():
            if not stem and file.segments[0] == segments[0]:
                return file
            if stem and file.segments_with_id == segments and not self.is_hidden(file):
                return file
        return None

    def item(self, segments: tuple[str, ...]) -> UnitFile | DirectoryNode[UnitFile] | None:
        """Find what is at a path: a directory, where a file has the same name."""
        file, node = self.tree.at(segments)
        return node or file or self.at(segments)

    def with_stem(self, stem: str) -> list[Unit]:
        """Give the units that hold a file of this stem, oldest first."""
        if self._by_stem is None:
            self._by_stem = {}
            for unit in self.units.values():
                for file in unit.files.values():
                    held = self._by_stem.setdefault(split_suffix(file.name)[0], {})
                    held[unit.identifier] = unit
        return [unit for _, unit in sorted(self._by_stem.get(stem, {}).items())]
