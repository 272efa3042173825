"""Which units a set of files makes: pure decisions, before anything is sent.

Files of equal stem in different specifications belong to one unit; two files of one
specification with the same stem and different suffixes belong to two.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from synapsefs.errors import InvalidRequestError
from synapsefs.location import Location, split_suffix, unescape_key
from synapsefs.services.collections.unit import MARK, Unit, UnitFile, folders_of
from synapsefs.wire.collections import constants, v1

MAX_REPLACED = 8
"""How many of the writes before it a unit names."""
UNIT = "unit"
"""The write option that makes files a unit of their own: its :class:`UnitOptions`."""
UnitsWithStem = Callable[[str], Sequence[Unit]]


@dataclass(frozen=True, slots=True, eq=False)
class UnitOptions:
    """What a writer asks of the unit besides its files.

    Other keys of ``meta`` of a unit that is joined stay. ``groups`` are names, outermost first; the
    folders of its key where None. Files that share ``whole`` options are a unit of their own.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    whole: bool = False


Origin = Literal["sent", "known", "presigned"]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A data file that has arrived, and what its writer asks of its unit.

    Attributes
    ----------
    origin
        How the service came to have it: whatever was not ``sent`` may be gone when it is bound.
    """

    checksum: str
    options: UnitOptions | None = None
    origin: Origin = "sent"


@dataclass(slots=True, eq=False)
class PlannedFile:
    """A file to bind: where it goes and, once sent, its checksum.

    ``name`` and ``stem`` are its path below the specification, with its suffix and without.
    """

    location: Location
    checksum: str = ""
    size: int | None = None
    options: UnitOptions | None = None
    specification: str = field(init=False)
    name: str = field(init=False)
    stem: str = field(init=False)

    def __post_init__(self) -> None:
        self.specification = self.location.specification
        self.name = unescape_key(self.location.inner[1:])
        self.stem = split_suffix(self.name)[0]


@dataclass(slots=True, eq=False)
class Draft:
    """A unit to create in place of ``base``, or a wholly new one.

    Its files are new ones and those taken over as they were, by specification. It also takes the
    place of the units ``replaced``. ``replaces`` are ids of the writes that ``write`` follows.
    """

    files: dict[str, UnitFile | PlannedFile] = field(default_factory=dict)
    base: Unit | None = None
    replaced: Sequence[Unit] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    replaces: tuple[str, ...] = ()
    write: str = field(default_factory=lambda: uuid.uuid4().hex)
    changed: bool = False

    @classmethod
    def of(cls, unit: Unit) -> Draft:
        """Begin with what a unit holds."""
        return cls(dict(unit.files), unit, groups=unit.own_groups)

    @property
    def new(self) -> list[PlannedFile]:
        """The files that are bound here."""
        return [file for file in self.files.values() if isinstance(file, PlannedFile)]

    @property
    def kept(self) -> dict[str, UnitFile]:
        """The files that are taken over as they were."""
        return {spec: file for spec, file in self.files.items() if isinstance(file, UnitFile)}

    @property
    def bases(self) -> list[Unit]:
        """The units that anything is taken over from."""
        if self.base is None:
            return []
        return list(dict.fromkeys([self.base, *(file.unit for file in self.kept.values())]))

    @property
    def key(self) -> str:
        """The unit's key, after the first of its files."""
        return split_suffix(next(iter(self.files.values())).name)[0]

    def metadata(self) -> dict[str, Any]:
        """Give the unit's metadata: that of the unit it replaces, and what was asked for."""
        return {**(self.base.own_meta if self.base else {}), **self.meta}

    def bind(self, file: PlannedFile) -> None:
        """Put a file into the unit."""
        self.changed = True
        self.files[file.specification] = file
        if file.options is not None:
            self.meta |= file.options.meta
            self.groups = file.options.groups if file.options.groups is not None else self.groups

    def follow(self, units: Iterable[Unit]) -> None:
        """Note whose place it takes: requests that made those and arrive late come after it."""
        newest_first = sorted(units, key=lambda unit: unit.identifier, reverse=True)
        writes = [write for unit in newest_first for write in (unit.write, *unit.replaces[::-1])]
        self.replaces = tuple(dict.fromkeys(filter(None, writes)))[:MAX_REPLACED]

    def request(self, collection: int, primary: str | None, *, marked: bool) -> v1.UnitToCreate:
        """Write the unit as the service wants it; ``marked`` with our own note in its metadata."""
        names = {spec: file.name for spec, file in self.files.items()}
        key, suffix = split_suffix(names.get(primary or "") or next(iter(names.values())))
        folders = folders_of(key)
        groups = folders if self.groups is None else self.groups
        meta: dict[str, Any] = {
            **self.metadata(),
            constants.META_KEY: key,
            constants.META_STEM: key.rsplit("/", 1)[-1],
            constants.META_EXTENSION: suffix.lower(),
        }
        if marked:
            mark: dict[str, Any] = {
                "write": self.write,
                "names": names,
                "since": {spec: file.since for spec, file in self.kept.items()},
                "replaces": list(self.replaces),
                "edits": list(self.base.edits) if self.base is not None else [],
            }
            meta[MARK] = {name: value for name, value in mark.items() if value}
            if groups != folders:
                meta[MARK]["groups"] = list(groups)
        return v1.UnitToCreate(
            data_collection=collection,
            files={
                spec: v1.FileBinding(checksum=file.checksum, path=file.name)
                for spec, file in self.files.items()
            },
            meta=meta,
            groups=list(groups) or None,
        )


def compose(
    files: Iterable[PlannedFile],
    units_with_stem: UnitsWithStem | None,
    known: UnitsWithStem | None = None,
) -> list[Draft]:
    """Arrange files into units, joining and replacing those that are there.

    ``units_with_stem`` gives the units to join, None where files join none; ``known`` those that
    files may be taken over from, the same where left out.
    """
    by_stem: dict[str, list[PlannedFile]] = {}
    whole: dict[int, list[PlannedFile]] = {}
    for file in files:
        if file.options is not None and file.options.whole:
            whole.setdefault(id(file.options), []).append(file)
        else:
            by_stem.setdefault(file.stem, []).append(file)
    composed = [_whole_unit(group, units_with_stem) for group in whole.values()]
    for stem, group in by_stem.items():
        units = units_with_stem(stem) if units_with_stem is not None else ()
        drafts = [Draft.of(unit) for unit in units]
        _bind(group, drafts)
        drafts = [draft for draft in drafts if draft.changed]
        if units:
            _take_newest(drafts, known(stem) if known is not None else units)
        composed += drafts
    return composed


def _whole_unit(files: Sequence[PlannedFile], units_with_stem: UnitsWithStem | None) -> Draft:
    """Make a unit of just these files, in place of those that hold one of their paths."""
    draft = Draft()
    for file in files:
        draft.bind(file)
    names = {(file.specification, file.name) for file in files}
    draft.replaced = [
        unit
        for unit in (units_with_stem(draft.key) if units_with_stem else ())
        if any((held.specification, held.name) in names for held in unit.files.values())
    ]
    return draft


def _bind(files: Sequence[PlannedFile], drafts: list[Draft]) -> None:
    """Put files into the unit that holds their name, one that lacks their specification, or a new.

    Of several it is the newest, and rather one that another of the files was put into.
    """
    holding = {(spec, held.name): draft for draft in drafts for spec, held in draft.files.items()}
    lacking: dict[str, list[Draft]] = {}
    for file in files:
        draft = holding.get((file.specification, file.name))
        if draft is None:
            if file.specification not in lacking:
                lacks = [draft for draft in drafts if file.specification not in draft.files]
                lacking[file.specification] = lacks
            candidates = lacking[file.specification]
            newest_first = range(len(candidates) - 1, -1, -1)
            index = next((i for i in newest_first if candidates[i].changed), -1)
            if candidates:
                draft = candidates.pop(index)
            else:
                draft = Draft()
                drafts.append(draft)
                for specification in lacking.keys() - {file.specification}:
                    lacking[specification].append(draft)
        draft.bind(file)


def _take_newest(drafts: Iterable[Draft], units: Iterable[Unit]) -> None:
    """Take over the newest of each file: a unit may hold one that another has replaced."""
    newest: dict[tuple[str, str], UnitFile] = {}
    for unit in units:
        for specification, file in unit.files.items() if unit.marked else ():
            known = newest.get((specification, file.name))
            if known is None or file.since > known.since:
                newest[specification, file.name] = file
    for draft in drafts:
        for specification, kept in draft.kept.items():
            file = newest.get((specification, kept.name), kept)
            if file.since > kept.since:
                draft.files[specification] = file


def require_complete(
    drafts: Iterable[Draft], specifications: Sequence[v1.FileSpecification], path: str
) -> None:
    """Refuse units that lack a required specification; the error names them."""
    required = {spec.name for spec in specifications if spec.is_required}
    for draft in drafts:
        missing = sorted(required - draft.files.keys())
        if missing:
            several = "s" * (len(missing) > 1)
            raise InvalidRequestError(
                f"unit {draft.key!r} would lack the required specification{several} "
                f"{', '.join(missing)}: write all its files together, with put(recursive=True) "
                "or in one transaction",
                path,
            )
