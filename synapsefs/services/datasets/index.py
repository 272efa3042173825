"""What a dataset holds, as paths: its flat list of entries arranged by ``parent_id`` and name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from synapsefs.location import Root, escape, id_of, split_suffix, unescape, with_id
from synapsefs.services.base import aware
from synapsefs.services.datasets.entry import StoredEntry, keep_known, listed
from synapsefs.services.datasets.metadata import HIDDEN_TAG
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.datasets import answers, constants


class DatasetIndex:
    """A dataset's active entries as a tree.

    Of several entries with one name in one directory the newest has it; the others are listed as
    ``stem@id.ext``. Directories of one name, and texts of one name and equal content, are shown as
    one: they come of requests that were delivered twice, or of several writers at once.

    Parameters
    ----------
    dataset
        The dataset's id.

    Attributes
    ----------
    loaded_at
        When the last listing was complete (monotonic seconds); None when it is not to be used.
    read_at
        When the request for it began (monotonic seconds).
    load_seconds
        How long it took.
    internal
        Entries that are not shown: pending and disabled ones, and those of this package.
    latest
        The latest time in the listing, by the service's clock.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.tree: DirectoryNode[StoredEntry] = DirectoryNode()
        self.records: dict[str, StoredEntry] = {}
        self.paths: dict[str, tuple[str, ...]] = {}
        self.loaded_at: float | None = None
        self.read_at = float("-inf")
        self.load_seconds = 0.0
        self.internal: list[answers.Entry] = []
        self.latest: datetime | None = None
        self._aliases: dict[str, str] | None = None
        self._namesakes: dict[str, list[StoredEntry]] = {}
        self._changes: dict[str, tuple[float, StoredEntry | None]] = {}
        self._doubles: dict[str, list[StoredEntry]] = {}

    def doubles(self, record: StoredEntry) -> list[StoredEntry]:
        """Give the further entries that are shown as one with this one."""
        return self._doubles.get(record.identifier, [])

    def namesakes(self, record: StoredEntry) -> list[StoredEntry]:
        """Give the other files of the same name in the same directory."""
        return self._namesakes.get(record.identifier, [])

    def holding_others(self, directories: AbstractSet[str]) -> set[str]:
        """Give those of some directories that hold anything else, at any depth."""
        found: set[str] = set()
        for record in self.records.values():
            above = record.entry.parent_id
            if record.identifier not in directories:
                while above in directories and above not in found and above is not None:
                    found.add(above)
                    known = self.records.get(above)
                    above = known.entry.parent_id if known else None
        return found

    def age(self) -> float:
        """Seconds since the listing was read; infinite while it was not."""
        return float("inf") if self.loaded_at is None else time.monotonic() - self.loaded_at

    def fill(self, entries: Iterable[answers.Entry], began: float) -> None:
        """Take a whole listing that was begun at ``began`` (monotonic seconds)."""
        listing = list(entries)
        shown = [entry for entry in listing if _shown(entry)]
        self.internal = [entry for entry in listing if not _shown(entry)]
        moments = [moment for entry in listing if (moment := aware(entry.modified_at))]
        self.latest = max(moments, default=None)
        parents = frozenset(entry.parent_id for entry in shown if entry.parent_id)
        before, self.records = self.records, {}
        for entry in shown:
            record = listed(entry, parents)
            record.dataset, record.seen = self.dataset, began
            known = before.get(entry.id)
            if known is not None and known.entry.modified_at == entry.modified_at:
                keep_known(record, known)
            self.records[entry.id] = record
        self._changes = {i: change for i, change in self._changes.items() if change[0] >= began}
        for identifier, (_, changed) in self._changes.items():
            if changed is None:
                self.records.pop(identifier, None)
            else:
                self.records[identifier] = changed
        self._arrange()
        self.read_at, self.loaded_at = began, time.monotonic()
        self.load_seconds = self.loaded_at - began

    def put(self, record: StoredEntry) -> None:
        """Add an entry, or take what was learnt about one."""
        if record.entry.status != constants.Status.ACTIVE:
            return
        record.dataset = self.dataset
        self._aliases = None
        self._changes[record.identifier] = (time.monotonic(), record)
        self.records[record.identifier] = record
        if not self._put_in_place(record):
            self._arrange()

    def _put_in_place(self, record: StoredEntry) -> bool:
        """Place a record without arranging the whole tree; False where that takes more thought."""
        parent = record.entry.parent_id
        above = self.paths.get(parent) if parent in self.records else ()
        if above is None or not record.entry.name:
            return False
        place = (*above, escape(record.entry.name, Root.DATASETS))
        before = self.paths.get(record.identifier)
        file, folder = self.tree.file(place), self.tree.folder(place)
        if before not in {None, place} or (before is None and (file or folder)):
            return False
        if record.kind == "directory":
            if file is not None or record.pieces is not None:
                return False
            self.tree.make(place).record = record
        else:
            if folder is not None:
                return False
            self.tree.put(place, record)
        self.paths[record.identifier] = place
        return True

    def remove(self, identifiers: Iterable[str]) -> None:
        """Take entries away."""
        simple = True
        for identifier in identifiers:
            self._changes[identifier] = (time.monotonic(), None)
            record = self.records.pop(identifier, None)
            if record is not None:
                simple = self._remove_in_place(record) and simple
        if not simple:
            self._arrange()

    def _remove_in_place(self, record: StoredEntry) -> bool:
        """Take a file away without arranging the whole tree; False where that takes more."""
        self._aliases = None
        place = self.paths.get(record.identifier)
        if place is None or self.namesakes(record) or self.doubles(record):
            return False
        if self.tree.file(place) is not record or self.tree.folder(place) is not None:
            return False
        folder = self.tree.folder(place[:-1])
        if folder is None:
            return False
        del folder.files[place[-1]], self.paths[record.identifier]
        return True

    def _arrange(self) -> None:
        self.tree, self.paths, self._doubles = DirectoryNode(), {}, {}
        self._namesakes, self._aliases = {}, None
        below: dict[str | None, list[StoredEntry]] = {}
        for record in self.records.values():
            parent = record.entry.parent_id
            below.setdefault(parent if parent in self.records else None, []).append(record)
        _cut_cycles(below, self.records)
        waiting: list[tuple[list[str | None], tuple[str, ...]]] = [([None], ())]
        while waiting:
            parents, above = waiting.pop()
            children = [child for parent in parents for child in below.pop(parent, [])]
            found = self._arrange_children(children, above)
            waiting += [one for one in found if not below.keys().isdisjoint(one[0])]

    def _arrange_children(
        self, children: Iterable[StoredEntry], above: tuple[str, ...]
    ) -> list[tuple[list[str | None], tuple[str, ...]]]:
        """Place what one directory holds; give the ids and places that may hold more."""
        held: dict[str, list[StoredEntry]] = {}
        named: dict[tuple[str, str | None], list[StoredEntry]] = {}
        for record in sorted(children, key=_newest_first):
            name = escape(record.entry.name, Root.DATASETS) if record.entry.name else ""
            if name and record.kind != "directory":
                parent = record.entry.parent_id
                lost = None if parent in self.records else parent
                named.setdefault((name, lost), []).append(record)
            segment = name or f"@{escape(record.identifier)}"
            while segment in held and not _same(held[segment][0], record):
                segment = with_id(segment, record.identifier)
            held.setdefault(segment, []).append(record)
        for same in named.values():
            if len(same) > 1:
                for file in same:
                    self._namesakes[file.identifier] = [one for one in same if one is not file]
        for segment, records in held.items():
            place = (*above, segment)
            self.paths.update((record.identifier, place) for record in records)
            if records[0].kind == "directory":
                shown, *others = records[::-1]
                self.tree.make(place).record = shown
                for piece in shown.pieces or ():
                    self.tree.put((*place, *piece.segments), shown.part(piece))
            else:
                shown, *others = records
                self.tree.put(place, shown)
            if others:
                self._doubles[shown.identifier] = others
        return [
            ([record.identifier for record in records], (*above, segment))
            for segment, records in held.items()
        ]

    def _by_alias(self) -> dict[str, str]:
        """Give ids by short alias."""
        if self._aliases is None:
            records = self.records.values()
            self._aliases = {
                r.entry.short_alias: r.identifier for r in records if r.entry.short_alias
            }
        return self._aliases

    def canonical(self, segments: tuple[str, ...]) -> tuple[str, ...]:
        """Give the path that another one with an id in it means.

        That is ``@<entry id>``, ``@<short alias>``, or the ``stem@id.ext`` of an entry that was
        listed so and has the plain name now.
        """
        for depth in range(len(segments), 0, -1):
            key = id_of(segments[depth - 1], Root.DATASETS)
            if key is not None:
                known = self._by_alias().get(key.lower(), key.lower())
                place = self.paths.get(key) or self.paths.get(known)
                return (*place, *segments[depth:]) if place else segments
        for depth, segment in enumerate(segments, 1):
            if "@" in segment and not self._holds(segments[:depth]):
                place = self._listed_with_id(segments[:depth])
                return self.canonical((*place, *segments[depth:])) if place else segments
        return segments

    def _holds(self, segments: tuple[str, ...]) -> bool:
        return self.tree.file(segments) is not None or self.tree.folder(segments) is not None

    def _listed_with_id(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Give the path of the entry that was listed under a name with its id."""
        key = unescape(split_suffix(segments[-1])[0].rpartition("@")[2])
        record = self.records.get(key)
        if record is None or with_id(escape(record.entry.name, Root.DATASETS), key) != segments[-1]:
            return None
        place = self.paths.get(key)
        return place if place and place[:-1] == segments[:-1] else None

    def at(self, segments: tuple[str, ...]) -> StoredEntry | DirectoryNode[StoredEntry] | None:
        """Find a file or directory by path, ``@<entry id>`` or ``@<short alias>`` in it or not."""
        if not segments:
            return self.tree
        segments = self.canonical(segments)
        return self.tree.file(segments) or self.tree.folder(segments)


def _shown(entry: answers.Entry) -> bool:
    return entry.status == constants.Status.ACTIVE and HIDDEN_TAG not in (entry.tags or ())


def _cut_cycles(
    below: dict[str | None, list[StoredEntry]], records: Mapping[str, StoredEntry]
) -> None:
    """Move what lies in itself, directly or not, to the top: an entry of each cycle."""
    rooted: set[str] = set()
    for start in records:
        trail: dict[str, None] = {}
        here: str | None = start
        while here is not None and here in records and here not in rooted and here not in trail:
            trail[here] = None
            here = records[here].entry.parent_id
        if here is not None and here in trail:
            record = records[here]
            below[record.entry.parent_id].remove(record)
            below.setdefault(None, []).append(record)
        rooted.update(trail)


def creation_order(record: StoredEntry) -> tuple[float, str]:
    """Order entries by their creation, which unlike the last change stays the same."""
    created = aware(record.entry.created_at)
    return (created.timestamp() if created else 0.0, record.identifier)


def _newest_first(record: StoredEntry) -> tuple[float, str]:
    """Order by the last change: what was published last is what its writer was told is there."""
    changed = aware(record.entry.modified_at)
    return (-changed.timestamp() if changed else 0.0, record.identifier)


def _same(one: StoredEntry, other: StoredEntry) -> bool:
    """Say whether two entries of one name are shown as one."""
    if one.kind == other.kind == "directory":
        return one.pieces is None and other.pieces is None
    return one.text is not None and one.text == other.text
