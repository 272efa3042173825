"""What a dataset holds, as paths: its flat list of entries arranged by ``parent_id`` and name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from synapsefs.location import Root, escape, id_of, split_suffix, unescape, with_id
from synapsefs.services.base import aware
from synapsefs.services.datasets.entry import StoredEntry, listed
from synapsefs.services.datasets.metadata import HIDDEN_TAG
from synapsefs.services.index_cache import Index
from synapsefs.services.tree import DirectoryNode, is_empty
from synapsefs.wire.datasets import answers, constants


class DatasetIndex(Index[str, StoredEntry]):
    """A dataset's active entries as a tree.

    Of several entries with one name in one directory the newest has it; the others are listed as
    ``stem@id.ext``. Directories of one name, and texts of one name and equal content, are shown as
    one: they come of requests that were delivered twice, or of several writers at once.

    Attributes
    ----------
    records, paths
        What is shown, by id, and where.
    internal
        Entries that are not shown: pending and disabled ones, and those of this package.
    latest
        The latest time in the listing, by the service's clock.
    """

    def __init__(self, identifier: str) -> None:
        super().__init__(identifier)
        self.tree: DirectoryNode[StoredEntry] = DirectoryNode()
        self.records: dict[str, StoredEntry] = {}
        self.paths: dict[str, tuple[str, ...]] = {}
        self.undecided: dict[str, StoredEntry] = {}
        self.internal: list[answers.Entry] = []
        self.latest: datetime | None = None
        self._aliases: dict[str, str] = {}
        self._namesakes: dict[str, list[StoredEntry]] = {}
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

    def arranged(self, listing: Collection[answers.Entry], began: float) -> DatasetIndex:
        """Arrange a whole listing in a new index; what was learnt of its entries is kept."""
        fresh = DatasetIndex(self.identifier)
        shown = [entry for entry in listing if _shown(entry)]
        fresh.internal = [entry for entry in listing if not _shown(entry)]
        moments = [moment for entry in listing if (moment := aware(entry.modified_at))]
        fresh.latest = max(moments, default=None)
        parents = frozenset(entry.parent_id for entry in shown if entry.parent_id)
        for entry in shown:
            record = listed(entry, parents, self.identifier, began)
            known = self.records.get(entry.id)
            if known is not None and known.entry.modified_at == entry.modified_at:
                record = record.with_known(known)
            fresh.records[entry.id] = record
        fresh._arrange()
        return fresh

    def _replay(self, changes: Mapping[str, StoredEntry | None]) -> None:
        self._take_out([identifier for identifier, record in changes.items() if record is None])
        for record in changes.values():
            if record is not None:
                self._add(record)

    def put(self, record: StoredEntry) -> None:
        """Add an entry, or take what was learnt about one."""
        if record.entry.status != constants.Status.ACTIVE:
            return
        self.changes.note(record.identifier, record)
        self.changes.pop_excess()
        self._add(record)

    def learn_size(self, record: StoredEntry, size: int) -> None:
        """Keep the size of what has not changed since; no listing is older than that."""
        known = self.records.get(record.identifier)
        if known is None or known.own_version != record.own_version:
            return
        if record.piece is None:
            self._add(known.with_size(size))
        else:
            place = (*self.paths[record.identifier], *record.piece.segments)
            self.tree.put(place, record.with_size(size))

    def remove(self, identifiers: Iterable[str]) -> None:
        """Take entries away."""
        identifiers = list(identifiers)
        for identifier in identifiers:
            self.changes.note(identifier, None)
        self.changes.pop_excess()
        self._take_out(identifiers)

    def _add(self, record: StoredEntry) -> None:
        self.records[record.identifier] = record
        if self._put_in_place(record):
            self._note(record)
        else:
            self._arrange()

    def _note(self, record: StoredEntry) -> None:
        """Note what is looked up by other keys than paths."""
        if record.entry.short_alias:
            self._aliases[record.entry.short_alias] = record.identifier
        if record.kind is None:
            self.undecided[record.identifier] = record
        else:
            self.undecided.pop(record.identifier, None)

    def _put_in_place(self, record: StoredEntry) -> bool:
        """Place a record without arranging the whole tree; False where that takes more thought."""
        parent = record.entry.parent_id
        above = self.paths.get(parent) if parent in self.records else ()
        if above is None or not record.entry.name:
            return False
        place = (*above, escape(record.entry.name, Root.DATASETS))
        before = self.paths.get(record.identifier)
        file, node = self.tree.at(place)
        if before not in {None, place} or (before is None and (file or node)):
            return False
        if record.kind != "directory" and node is None:
            self.tree.put(place, record)
        elif record.kind == "directory" and file is None and record.pieces is None:
            self.tree.make(place).record = record
        else:
            return False
        self.paths[record.identifier] = place
        return True

    def _take_out(self, identifiers: Iterable[str]) -> None:
        simple = True
        for identifier in identifiers:
            record = self.records.pop(identifier, None)
            if record is not None:
                self.undecided.pop(identifier, None)
                if self._aliases.get(record.entry.short_alias or "") == identifier:
                    del self._aliases[record.entry.short_alias or ""]
                simple = simple and self._remove_in_place(record)
        if not simple:
            self._arrange()

    def _remove_in_place(self, record: StoredEntry) -> bool:
        """Take out what leaves the rest as it is; False where the tree is to be arranged anew."""
        path = self.paths.get(record.identifier)
        if path is None or self.namesakes(record) or self.doubles(record):
            return False
        file, node = self.tree.at(path)
        parent = self.tree.folder(path[:-1])
        if parent is None:
            return False
        if file is record and node is None:
            del parent.files[path[-1]]
        elif file is None and node is not None and node.record is record and is_empty(node):
            del parent.folders[path[-1]]
        else:
            return False
        del self.paths[record.identifier]
        return True

    def _arrange(self) -> None:
        self.tree, self.paths, self._doubles = DirectoryNode(), {}, {}
        self._namesakes, self._aliases, self.undecided = {}, {}, {}
        below: dict[str | None, list[StoredEntry]] = {}
        for record in self.records.values():
            self._note(record)
            parent = record.entry.parent_id
            below.setdefault(parent if parent in self.records else None, []).append(record)
        _cut_cycles(below, self.records)
        waiting: list[tuple[list[str | None], tuple[str, ...]]] = [([None], ())]
        while waiting:
            parents, above = waiting.pop()
            children = [child for parent in parents for child in below.pop(parent, [])]
            placed = self._arrange_children(children, above)
            waiting += [one for one in placed if not below.keys().isdisjoint(one[0])]

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

    def canonical(self, segments: tuple[str, ...]) -> tuple[str, ...]:
        """Give the path that another one with an id in it means.

        That is ``@<entry id>``, ``@<short alias>``, or the ``stem@id.ext`` of an entry that was
        listed so and has the plain name now.
        """
        if "@" not in "".join(segments):
            return segments
        for depth in range(len(segments), 0, -1):
            key = id_of(segments[depth - 1], Root.DATASETS)
            if key is not None:
                known = self._aliases.get(key.lower(), key.lower())
                place = self.paths.get(key) or self.paths.get(known)
                return (*place, *segments[depth:]) if place else segments
        for depth in range(1, len(segments) + 1):
            above = segments[:depth]
            if "@" in above[-1] and self.tree.at(above) == (None, None):
                place = self._listed_with_id(above)
                return self.canonical((*place, *segments[depth:])) if place else segments
        return segments

    def _listed_with_id(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Give the path of the entry that was listed under a name with its id."""
        key = unescape(split_suffix(segments[-1])[0].rpartition("@")[2])
        record, place = self.records.get(key), self.paths.get(key)
        if record is None or place is None or place[:-1] != segments[:-1]:
            return None
        name = with_id(escape(record.entry.name, Root.DATASETS), key)
        return place if name == segments[-1] else None

    def item(self, segments: tuple[str, ...]) -> StoredEntry | DirectoryNode[StoredEntry] | None:
        """Find a file or directory by path, ``@<entry id>`` or ``@<short alias>`` in it or not."""
        file, node = self.tree.at(self.canonical(segments))
        return file or node

    at = item


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
