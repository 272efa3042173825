"""What a collection holds, as paths: the units of its listing arranged in a tree."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from synapsefs.location import (
    Root,
    escape,
    escape_key,
    id_of,
    split_suffix,
    unescape_key,
    with_id,
)
from synapsefs.services.base import aware
from synapsefs.services.tree import Folder
from synapsefs.wire import collections as wire

MARK = "synapsefs"
"""Key of a unit's metadata under which this package keeps what it must know again:
``write``, an id of the write; ``names``, each file's path below its specification; ``since``, the
units that the files were bound in first which were taken over from them."""


LEFT_BEHIND = timedelta(hours=1)
"""How long ago somebody replaced a unit who then can no longer be about to delete it."""


@dataclass(slots=True, eq=False)
class UnitRecord:
    """A data unit.

    Attributes
    ----------
    identifier
        The unit's id; a greater one is newer.
    meta
        Its metadata.
    created
        When it was made.
    checksum
        The service's checksum of its composition.
    group
        The innermost of its groups, in whatever form the service tells it: mostly an id.
    files
        Its files by specification name.
    """

    identifier: int
    meta: dict[str, Any]
    created: datetime | None
    checksum: str | None = None
    group: Any = None
    files: dict[str, BoundFile] = field(default_factory=dict)

    @property
    def mark(self) -> dict[str, Any]:
        """What this package noted when it wrote the unit; empty for foreign units."""
        found = self.meta.get(MARK)
        return found if isinstance(found, dict) else {}

    def since(self, specification: str) -> int:
        """Give the id of the unit in which one of its files was bound first.

        A file is newer than another of its path when that is greater: it may have been taken over
        into a newer unit by somebody who did not see the other.
        """
        noted = self.mark.get("since")
        first = noted.get(specification) if isinstance(noted, dict) else None
        return first if isinstance(first, int) and first < self.identifier else self.identifier

    @property
    def own_meta(self) -> dict[str, Any]:
        """Its metadata without what this package noted."""
        return {name: value for name, value in self.meta.items() if name != MARK}

    @property
    def own_groups(self) -> tuple[str, ...] | None:
        """The groups it was given apart from the folders of its key; None where it was not."""
        noted = self.mark.get("groups")
        return tuple(map(str, noted)) if isinstance(noted, list) else None

    @property
    def key(self) -> str:
        """Its key: what its metadata says, else the name of its first file without suffix."""
        noted = self.meta.get(wire.META_KEY)
        if isinstance(noted, str) and noted.strip("/"):
            return noted
        names = [file.name for file in self.files.values()]
        return split_suffix(names[0])[0] if names else f"unit-{self.identifier}"

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of its key."""
        return folders_of(self.key)

    def groups(self, names: Mapping[int, str] | None = None) -> tuple[str, ...]:
        """Give the names of its groups, outermost first.

        Of a unit from elsewhere the service tells just the innermost one, by an id that
        ``names`` resolves.
        """
        if self.own_groups is not None:
            return self.own_groups
        if self.mark:
            return self.folders
        group = self.group.get("name") if isinstance(self.group, dict) else self.group
        found = (names or {}).get(group) if isinstance(group, int) else group
        return (found,) if isinstance(found, str) and found else ()


def folders_of(key: str) -> tuple[str, ...]:
    """Give the folders of a key, outermost first."""
    return tuple(folder for folder in key.split("/")[:-1] if folder)


@dataclass(slots=True, eq=False)
class BoundFile:
    """A data file as one unit binds it under one specification."""

    unit: UnitRecord
    specification: str
    name: str
    checksum: str
    url: str
    size: int | None

    @property
    def age(self) -> tuple[int, int]:
        """Orders files of one path: the greatest is the newest."""
        return self.unit.since(self.specification), self.unit.identifier

    @property
    def segments(self) -> tuple[str, ...]:
        """Its path below the collection, as written when no newer file has the same."""
        return (
            escape(self.specification, Root.COLLECTIONS),
            *escape_key(self.name, Root.COLLECTIONS),
        )

    @property
    def segments_with_id(self) -> tuple[str, ...]:
        """Its path below the collection when a newer file holds the plain one."""
        *folders, last = self.segments
        return (*folders, with_id(last, str(self.unit.identifier)))


def record_of(unit: wire.Unit) -> UnitRecord:
    """Read a unit off the wire."""
    meta = unit.meta if isinstance(unit.meta, dict) else {}
    record = UnitRecord(unit.id, meta, aware(unit.created_at), unit.checksum, unit.group)
    for specification, file in unit.unit_files().items():
        if file.url or file.checksum:
            record.files[specification] = BoundFile(
                unit=record,
                specification=specification,
                name=_name_of(record, specification, file),
                checksum=(file.checksum or "").lower(),
                url=file.url or "",
                size=file.size,
            )
    return record


def _name_of(record: UnitRecord, specification: str, file: wire.UnitFile) -> str:
    """Find a file's path: our own note, the unit's key, the uploader's name, or the unit's id."""
    key = record.meta.get(wire.META_KEY) or record.meta.get(wire.META_STEM)
    noted = record.mark.get("names")
    own = noted.get(specification) if isinstance(noted, dict) else None
    if isinstance(own, str) and own and (not key or split_suffix(own)[0] == key):
        return own
    original = (file.original_name or "").replace("\\", "/").rsplit("/", 1)[-1]
    suffix = split_suffix(original)[1] or split_suffix(_last_of(file.url))[1]
    if isinstance(key, str) and key.strip("/"):
        return key + suffix
    return original or f"unit-{record.identifier}{suffix}"


def _last_of(url: str | None) -> str:
    return os.path.basename(unquote(urlsplit(url).path)) if url else ""


class CollectionIndex:
    """A collection's units and the tree they make.

    Of several files with one path the newest has it. Older ones that it replaced (it was written
    through this package) are hidden and wait in :attr:`superseded` for deletion; older ones of
    other origin stay visible as ``stem@id.ext``.

    Attributes
    ----------
    unreconciled
        True when something was written here without knowing what it replaced.
    """

    def __init__(self) -> None:
        self.units: dict[int, UnitRecord] = {}
        self.tree: Folder[BoundFile] = Folder()
        self.superseded: dict[int, UnitRecord] = {}
        self._successors: dict[int, UnitRecord] = {}
        self._written: set[int] = set()
        self.loaded_at: float | None = None
        self.load_seconds = 0.0
        self.unreconciled = False
        self._changes: dict[int, tuple[float, UnitRecord | None]] = {}
        self._hidden: dict[int, set[str]] = {}
        self._by_stem: dict[str, list[UnitRecord]] | None = None

    def age(self) -> float:
        """Seconds since the listing was read; infinite while it was not."""
        return float("inf") if self.loaded_at is None else time.monotonic() - self.loaded_at

    def fill(self, units: Mapping[int, UnitRecord], began: float) -> None:
        """Take a whole listing that was begun at ``began`` (monotonic seconds).

        What was written or removed here meanwhile is kept, whether the listing saw it or not.
        """
        meanwhile = {i: change for i, change in self._changes.items() if change[0] >= began}
        self._changes = meanwhile
        listed = {**units, **{i: unit for i, (_, unit) in meanwhile.items() if unit is not None}}
        self.units, self.tree = {}, Folder()
        self._unhide()
        self._by_stem = None
        for identifier in sorted(listed):
            if identifier not in meanwhile or meanwhile[identifier][1] is not None:
                self._add(listed[identifier])
        self.loaded_at = time.monotonic()
        self.load_seconds = self.loaded_at - began
        self.unreconciled = False

    def insert(self, unit: UnitRecord) -> None:
        """Add a unit that was just written; the newest at a path takes it."""
        self._changes[unit.identifier] = (time.monotonic(), unit)
        self._written.add(unit.identifier)
        self.unreconciled = self.unreconciled or self.loaded_at is None
        self._add(unit)

    def _add(self, unit: UnitRecord) -> None:
        self.units[unit.identifier] = unit
        for file in unit.files.values():
            self._place(file)
            if self._by_stem is not None:
                self._by_stem.setdefault(split_suffix(file.name)[0], []).append(unit)

    def _place(self, file: BoundFile) -> None:
        there = self.tree.file(file.segments)
        if there is None or there.unit.identifier == file.unit.identifier:
            self.tree.put(file.segments, file)
            return
        older, newer = sorted((there, file), key=lambda found: found.age)
        self.tree.put(newer.segments, newer)
        if newer.unit.mark:
            self._hide(older, newer.unit)
        else:
            self.tree.put(older.segments_with_id, older)

    def supersede(self, unit: UnitRecord) -> None:
        """Take a replaced unit out of sight; it waits for its deletion."""
        if unit.identifier in self.units:
            self.superseded[unit.identifier] = unit

    def _hide(self, file: BoundFile, successor: UnitRecord) -> None:
        hidden = self._hidden.setdefault(file.unit.identifier, set())
        hidden.add(file.specification)
        self._successors[file.unit.identifier] = successor
        if hidden >= file.unit.files.keys():
            self.superseded[file.unit.identifier] = file.unit

    def _unhide(self) -> None:
        self.superseded, self._successors, self._hidden = {}, {}, {}

    def deletable(self) -> list[UnitRecord]:
        """Give the replaced units to delete: those replaced here, and what others left behind.

        What somebody else replaced lately is left to them: they may still take it back, and then
        need what was there.
        """
        return [
            unit
            for identifier, unit in self.superseded.items()
            if self._is_final(self._successors.get(identifier))
        ]

    def _is_final(self, successor: UnitRecord | None) -> bool:
        if successor is None or successor.identifier in self._written:
            return True
        return successor.created is not None and (
            datetime.now(UTC) - successor.created > LEFT_BEHIND
        )

    def distrust(self) -> None:
        """Believe nothing, also not what seemed replaced: units were taken back."""
        self.loaded_at = None
        self._unhide()

    def remove(self, unit: UnitRecord) -> None:
        """Take a unit away; where it hid another the listing must be read again."""
        self._changes[unit.identifier] = (time.monotonic(), None)
        if self.units.pop(unit.identifier, None) is None:
            return
        self.superseded.pop(unit.identifier, None)
        self._by_stem = None
        for file in unit.files.values():
            for segments in (file.segments, file.segments_with_id):
                found = self.tree.file(segments)
                if found is not None and found.unit is unit:
                    self.tree.discard(segments)

    def at(self, segments: tuple[str, ...]) -> BoundFile | None:
        """Find a file by path, or by ``@<unit id>`` in its specification's folder."""
        found = self.tree.file(segments)
        identifier = id_of(segments[-1], Root.COLLECTIONS) if segments else None
        if found is not None or identifier is None:
            return found
        unit = self.units.get(int(identifier))
        files = unit.files.values() if unit else ()
        return next((file for file in files if file.segments[0] == segments[0]), None)

    def versions(self, file: BoundFile) -> Iterator[UnitRecord]:
        """Give the units that hold a file of the same path, the newest one too."""
        for unit in self.with_stem(split_suffix(file.name)[0]):
            held = unit.files.get(file.specification)
            if held is not None and held.name == file.name:
                yield unit

    def with_stem(self, stem: str) -> list[UnitRecord]:
        """Give the units that hold a file of this stem, oldest first."""
        if self._by_stem is None:
            self._by_stem = {}
            for unit in self.units.values():
                for file in unit.files.values():
                    self._by_stem.setdefault(split_suffix(file.name)[0], []).append(unit)
        found = {unit.identifier: unit for unit in self._by_stem.get(stem, ())}
        return [found[identifier] for identifier in sorted(found)]


def name_below(segments: tuple[str, ...]) -> str:
    """Give a file's name (key and suffix) from its path below the collection."""
    return unescape_key(segments[1:])
