"""A collection's units and their files, as they come off the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from synapsefs.integrity import ALGORITHMS
from synapsefs.location import Root, escape, escape_key, split_suffix, with_id
from synapsefs.services.base import aware
from synapsefs.services.collections.order import Version
from synapsefs.wire.collections import constants, v1

MARK = "synapsefs"
"""Key of a unit's metadata under which this package keeps what it must know again:
``write``, an id of the write; ``names``, each file's path below its specification; ``since``, the
units that the files were bound in first which were taken over from them; ``replaces``, the last
writes whose units it took the place of; ``edits``, ids of the last changes of its metadata."""

EMPTY_CHECKSUMS = frozenset(hashlib.new(name).hexdigest() for name in ALGORITHMS.values())
"""Checksums of files without a byte, of which storages answer no range."""


@dataclass(slots=True, eq=False)
class Unit:
    """A data unit; one with a greater id is newer.

    Attributes
    ----------
    meta
        Its metadata. It may change, but for what the mark in it says of the unit's files.
    checksum
        The service's checksum of its composition.
    group
        The innermost of its groups, in whatever form the service tells it: mostly an id.
    seen
        When the service was asked that told of it (monotonic seconds).
    marked
        Whether this package wrote it.
    write, replaces
        The id of the write that made it, empty for foreign units, and of those that it replaced.
    first_bound
        By specification, the units in which files were bound first that it took over.
    """

    identifier: int
    meta: dict[str, Any]
    created: datetime | None
    checksum: str | None = None
    group: Any = None
    files: dict[str, UnitFile] = field(default_factory=dict)
    seen: float = float("-inf")
    marked: bool = field(init=False, default=False)
    write: str = field(init=False, default="")
    replaces: tuple[str, ...] = field(init=False, default=())
    first_bound: Mapping[str, Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        mark = self.meta.get(MARK)
        if isinstance(mark, dict) and mark:
            self.marked = True
            write, since = mark.get("write"), mark.get("since")
            self.write = write if isinstance(write, str) else ""
            self.replaces = _texts(mark, "replaces") or ()
            self.first_bound = since if isinstance(since, dict) else None

    @property
    def mark(self) -> dict[str, Any]:
        """What this package noted when it wrote the unit; empty for foreign units."""
        mark = self.meta.get(MARK)
        return mark if isinstance(mark, dict) else {}

    @property
    def edits(self) -> tuple[str, ...]:
        """The ids of the last changes of its metadata."""
        return _texts(self.mark, "edits") or ()

    @property
    def composition(self) -> Any:
        """What it is made of: its files, and what orders them among others of their paths."""
        files = {spec: (file.name, file.checksum, file.since) for spec, file in self.files.items()}
        return files, self.marked, self.write, self.replaces

    @property
    def own_meta(self) -> dict[str, Any]:
        """Its metadata without what this package noted."""
        return {name: value for name, value in self.meta.items() if name != MARK}

    @property
    def own_groups(self) -> tuple[str, ...] | None:
        """The groups it was given apart from the folders of its key; None where it was not."""
        return _texts(self.mark, "groups")

    @property
    def key(self) -> str:
        """Its key: what its metadata says, else the name of its first file without suffix."""
        key = self.meta.get(constants.META_KEY)
        if isinstance(key, str) and key.strip("/"):
            return key
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
        if self.marked:
            return self.folders
        group = self.group.get("name") if isinstance(self.group, dict) else self.group
        name = (names or {}).get(group) if isinstance(group, int) else group
        return (name,) if isinstance(name, str) and name else ()


def _texts(mark: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = mark.get(name)
    return tuple(map(str, value)) if isinstance(value, list) else None


def folders_of(key: str) -> tuple[str, ...]:
    """Give the folders of a key, outermost first."""
    return tuple(folder for folder in key.split("/")[:-1] if folder)


@dataclass(slots=True, eq=False)
class UnitFile:
    """A data file as one unit binds it under one specification.

    Its ``name`` is key and suffix; ``segments`` are its path below the collection, as long as no
    newer file has the same.
    """

    unit: Unit
    specification: str
    name: str
    checksum: str
    url: str
    size: int | None
    segments: tuple[str, ...] = field(init=False)
    _version: Version | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        key = escape_key(self.name, Root.COLLECTIONS)
        self.segments = (escape(self.specification, Root.COLLECTIONS), *key)

    @property
    def since(self) -> int:
        """The id of the unit in which it was bound first.

        A file is newer than another of its path when that is greater: it may have been taken over
        into a newer unit by somebody who did not see the other.
        """
        return self.version.since

    @property
    def version(self) -> Version:
        """Orders it among the files of its path."""
        if self._version is None:
            unit = self.unit
            first: Any = unit.first_bound.get(self.specification) if unit.first_bound else None
            taken_over = isinstance(first, int) and first < unit.identifier
            since: int = first if taken_over else unit.identifier
            self._version = Version(since, unit.identifier, unit.marked, unit.write, unit.replaces)
        return self._version

    @property
    def segments_with_id(self) -> tuple[str, ...]:
        """Its path below the collection when a newer file holds the plain one."""
        *folders, last = self.segments
        return (*folders, with_id(last, str(self.unit.identifier)))


def record_of(unit: v1.Unit, seen: float = float("-inf")) -> Unit:
    """Read a unit off the wire; ``seen`` says when it was asked for."""
    meta = unit.meta if isinstance(unit.meta, dict) else {}
    record = Unit(unit.id, meta, aware(unit.created_at), unit.checksum, unit.group, seen=seen)
    for specification, file in unit.unit_files().items():
        checksum = (file.checksum or "").lower()
        name = _name_of(record, specification, file)
        size = 0 if checksum in EMPTY_CHECKSUMS else file.size
        record.files[specification] = UnitFile(
            record, specification, name, checksum, file.url or "", size
        )
    return record


def _name_of(record: Unit, specification: str, file: v1.UnitFile) -> str:
    """Find a file's path: our own note, the unit's key, the uploader's name, or the unit's id."""
    key = record.meta.get(constants.META_KEY) or record.meta.get(constants.META_STEM)
    names = record.mark.get("names")
    own = names.get(specification) if isinstance(names, dict) else None
    if isinstance(own, str) and own and (not key or split_suffix(own)[0] == key):
        return own
    original = (file.original_name or "").replace("\\", "/").rsplit("/", 1)[-1]
    suffix = split_suffix(original)[1]
    suffix = suffix or split_suffix(unquote(urlsplit(file.url or "").path))[1]
    if isinstance(key, str) and key.strip("/"):
        return key + suffix
    return original or f"unit-{record.identifier}{suffix}"
