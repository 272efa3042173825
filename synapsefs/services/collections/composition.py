"""Which units a set of files makes: pure decisions, before anything is sent.

Files of equal stem in different specifications belong to one unit; two files of one
specification with the same stem and different suffixes belong to two.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synapsefs.errors import FolderError, InvalidPathError, InvalidRequestError, NotAFolderError
from synapsefs.location import Location, Root, escape_key, id_of, split_suffix, unescape
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.unit import MARK, Unit, folders_of, name_below
from synapsefs.wire.collections import constants, v1

MOST_REPLACED = 8
"""How many of the writes before it a unit names."""
UnitsWithStem = Callable[[str], Sequence[Unit]]


@dataclass(frozen=True, slots=True, eq=False)
class UnitOptions:
    """What a writer asks of the unit besides its files.

    Attributes
    ----------
    meta
        Metadata to set; other keys of a unit that is joined stay.
    groups
        Names of its groups, outermost first; the folders of its key where None.
    whole
        The files that share this wish are a unit of their own, which joins no other.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A data file that has arrived, and what its writer wishes of its unit.

    Attributes
    ----------
    sent
        False where only the checksum says which content it is: it was there already, or went
        straight to the storage.
    """

    checksum: str
    wish: UnitOptions | None = None
    sent: bool = True


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to bind: where it goes and, once sent, its checksum."""

    location: Location
    checksum: str = ""
    size: int | None = None
    wish: UnitOptions | None = None

    @property
    def specification(self) -> str:
        """Name of its file specification."""
        return self.location.specification

    @property
    def name(self) -> str:
        """Its path below the specification: key and suffix."""
        return name_below(self.location.inner)


@dataclass(slots=True)
class Draft:
    """A unit to create in place of ``base``, or a wholly new one.

    Attributes
    ----------
    names, checksums
        The files by specification.
    base
        The unit it replaces, if any.
    replaced
        Further units that it takes the place of.
    since
        Where files that are taken over were bound first.
    sources
        Further units that files are taken over from.
    meta, groups
        What its writers wished for.
    bound
        The specifications whose files are new.
    replaces
        Ids of the writes that it follows.
    """

    names: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    base: Unit | None = None
    replaced: Sequence[Unit] = ()
    since: dict[str, int] = field(default_factory=dict)
    sources: list[Unit] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    bound: set[str] = field(default_factory=set)
    replaces: tuple[str, ...] = ()
    write: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, unit: Unit) -> Draft:
        """Begin with what a unit holds."""
        names = {spec: file.name for spec, file in unit.files.items()}
        checksums = {spec: file.checksum for spec, file in unit.files.items()}
        since = {spec: unit.since(spec) for spec in unit.files}
        return cls(names, checksums, unit, since=since, groups=unit.own_groups)

    @property
    def changed(self) -> bool:
        """Whether a file was bound."""
        return bool(self.bound)

    @property
    def carries(self) -> bool:
        """Whether files of the unit it replaces are taken over as they were."""
        return bool(self.names.keys() - self.bound)

    @property
    def taken_from(self) -> set[int]:
        """The ids of the units that files are taken over from as they were."""
        if not self.carries:
            return set()
        held = [self.base, *self.sources] if self.base else self.sources
        return {unit.identifier for unit in held}

    def follow(self, units: Iterable[Unit]) -> None:
        """Note whose place it takes: requests that made those and arrive late come after it."""
        oldest_first = sorted(units, key=lambda unit: unit.identifier)
        writes = [write for unit in oldest_first for write in (*unit.replaces, unit.write) if write]
        self.replaces = tuple(dict.fromkeys(reversed(writes)))[:MOST_REPLACED]

    @property
    def held(self) -> list[Unit]:
        """The units that anything is taken over from, and those it replaces."""
        return [*([self.base] if self.base else ()), *self.sources, *self.replaced]

    def take_newest(self, units: Iterable[Unit]) -> None:
        """Take over the newest of each file: a unit may hold one that another has replaced."""
        for unit in units:
            for specification in self.names.keys() - self.bound:
                file = unit.files.get(specification)
                if file is None or not unit.mark or file.name != self.names[specification]:
                    continue
                if unit.since(specification) > self.since.get(specification, 0):
                    self.since[specification] = unit.since(specification)
                    self.checksums[specification] = file.checksum
                    self.sources.append(unit)

    def binds(self, file: PlannedFile) -> bool:
        """Say whether the file is one of those bound here."""
        here = self.names.get(file.specification) == file.name
        return here and file.specification in self.bound

    def bind(self, file: PlannedFile) -> None:
        """Put a file into the unit."""
        self.bound.add(file.specification)
        self.names[file.specification] = file.name
        self.checksums[file.specification] = file.checksum
        if file.wish is not None:
            self.meta |= file.wish.meta
            self.groups = file.wish.groups if file.wish.groups is not None else self.groups

    @property
    def key(self) -> str:
        """The unit's key, after the first of its files."""
        return split_suffix(next(iter(self.names.values())))[0]

    def metadata(self) -> dict[str, Any]:
        """Give the unit's metadata: that of the unit it replaces, and what was wished for."""
        return {**(self.base.own_meta if self.base else {}), **self.meta}

    def request(
        self, collection: int, primary: str | None, *, marked: bool = True
    ) -> v1.UnitToCreate:
        """Write the unit as the service wants it; ``marked`` with our own note in its metadata."""
        key, suffix = split_suffix(self.names.get(primary or "") or next(iter(self.names.values())))
        folders = folders_of(key)
        own: dict[str, Any] = {
            constants.META_KEY: key,
            constants.META_STEM: key.rsplit("/", 1)[-1],
            constants.META_EXTENSION: suffix.lower(),
        }
        mark: dict[str, Any] = {"write": self.write, "names": self.names}
        if self.carries:
            mark["since"] = {spec: self.since[spec] for spec in self.names.keys() - self.bound}
        if self.replaces:
            mark["replaces"] = list(self.replaces)
        if self.base is not None and self.base.edits:
            mark["edits"] = list(self.base.edits)
        if self.groups is not None and self.groups != folders:
            mark["groups"] = list(self.groups)
        groups = folders if self.groups is None else self.groups
        return v1.UnitToCreate(
            data_collection=collection,
            files={
                spec: v1.FileBinding(checksum=checksum, path=self.names[spec])
                for spec, checksum in self.checksums.items()
            },
            meta={**self.metadata(), **own, **({MARK: mark} if marked else {})},
            groups=list(groups) or None,
        )


def compose(
    files: Iterable[PlannedFile], units_with_stem: UnitsWithStem, known: UnitsWithStem | None = None
) -> list[Draft]:
    """Arrange files into units, joining and replacing those that are there.

    Parameters
    ----------
    files
        The files to bind.
    units_with_stem
        Gives the units to join.
    known
        Gives the units that files may be taken over from; the same where left out.
    """
    by_stem: dict[str, list[PlannedFile]] = {}
    whole: dict[int, list[PlannedFile]] = {}
    for file in files:
        if file.wish is not None and file.wish.whole:
            whole.setdefault(id(file.wish), []).append(file)
        else:
            by_stem.setdefault(split_suffix(file.name)[0], []).append(file)
    composed = [_whole_unit(group, units_with_stem) for group in whole.values()]
    for stem, group in by_stem.items():
        drafts = [Draft.of(unit) for unit in units_with_stem(stem)]
        for file in group:
            _draft_for(file, drafts).bind(file)
        changed = [draft for draft in drafts if draft.changed]
        for draft in changed:
            draft.take_newest((known or units_with_stem)(stem))
        composed += changed
    return composed


def _whole_unit(files: Sequence[PlannedFile], units_with_stem: UnitsWithStem) -> Draft:
    """Make a unit of just these files, in place of those that hold one of their paths."""
    draft = Draft()
    for file in files:
        draft.bind(file)
    draft.replaced = [
        unit
        for unit in units_with_stem(draft.key)
        if any(
            held.name == draft.names.get(specification)
            for specification, held in unit.files.items()
        )
    ]
    return draft


def _draft_for(file: PlannedFile, drafts: list[Draft]) -> Draft:
    """Choose the unit a file joins: the one that holds its name, one that lacks it, a new one."""
    newest_first = drafts[::-1]
    for draft in newest_first:
        if draft.names.get(file.specification) == file.name:
            return draft
    lacking = [draft for draft in newest_first if file.specification not in draft.names]
    for draft in [*(draft for draft in lacking if draft.changed), *lacking]:
        return draft
    drafts.append(Draft())
    return drafts[-1]


def require_complete(
    drafts: Iterable[Draft], specifications: Sequence[v1.FileSpecification], about: str
) -> None:
    """Refuse units that lack a required specification.

    Raises
    ------
    InvalidRequestError
        Naming the unit and the missing specifications.
    """
    required = {spec.name for spec in specifications if spec.is_required}
    for draft in drafts:
        missing = sorted(required - draft.names.keys())
        if missing:
            several = "s" * (len(missing) > 1)
            raise InvalidRequestError(
                f"unit {draft.key!r} would lack the required specification{several} "
                f"{', '.join(missing)}: write all its files together, with put(recursive=True) "
                "or in one transaction",
                about,
            )


def require_free(files: Sequence[PlannedFile], index: CollectionIndex | None = None) -> None:
    """Refuse a file where a directory is, and one below a file.

    Parameters
    ----------
    files
        What is to be written, of one collection.
    index
        What is there.

    Raises
    ------
    FolderError, NotAFolderError
        Naming the path.
    """
    wanted = {file.location.inner: file for file in files}
    for place, file in wanted.items():
        if index is not None and index.tree.folder(place) is not None:
            raise FolderError("this is a directory", file.location.path)
        for depth in range(2, len(place)):
            above = place[:depth]
            if above in wanted or (index is not None and index.of_path(above)):
                path = Location((*file.location.segments[:2], *above)).path
                raise NotAFolderError(f"{path} is a file, not a directory", file.location.path)


def check_place(location: Location, specifications: Sequence[v1.FileSpecification]) -> None:
    """Refuse a path where no file can be.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    FolderError
        For a collection or a file specification itself.
    """
    if not location.inner:
        raise FolderError("a file needs a file specification and a name below it", location.path)
    spec = specification_of(location, specifications)
    if len(location.inner) < 2:
        raise FolderError("a file needs a name below its file specification", location.path)
    broken = [*_broken_lengths(location), *_broken_extension(location, spec)]
    if broken:
        raise InvalidPathError("; ".join(broken), location.path)


def specification_of(
    location: Location, specifications: Sequence[v1.FileSpecification]
) -> v1.FileSpecification:
    """Find the file specification that a path lies in.

    Raises
    ------
    InvalidPathError
        Naming those that there are.
    """
    known = {spec.name: spec for spec in specifications}
    spec = known.get(location.specification)
    if spec is None:
        rule = f"{location.specification!r} is no file specification of this collection"
        raise InvalidPathError(f"{rule}, which has {', '.join(sorted(known))}", location.path)
    return spec


def _broken_lengths(location: Location) -> Iterable[str]:
    name = name_below(location.inner)
    if len(name) > constants.PATH_MAX:
        yield f"a path below its specification has at most {constants.PATH_MAX} characters"
    if any(len(unescape(segment)) > constants.GROUP_NAME_MAX for segment in location.inner[1:]):
        yield f"each name has at most {constants.GROUP_NAME_MAX} characters"
    written = escape_key(name, Root.COLLECTIONS)
    addressing = [one for one in location.inner[1:] if id_of(one, Root.COLLECTIONS) is not None]
    for segment in addressing:
        yield f"{segment!r} addresses by id; a name like that is written '%40{segment[1:]}'"
    if written != location.inner[1:] and not addressing:
        yield f"slashes of a key are folders here; write it {'/'.join(written)}"


def _broken_extension(location: Location, spec: v1.FileSpecification) -> Iterable[str]:
    allowed = {extension.lower().lstrip(".") for extension in spec.extensions or ()}
    suffix = split_suffix(unescape(location.name))[1].lower().lstrip(".")
    if allowed and suffix not in allowed:
        yield f"{spec.name} takes {', '.join(sorted(allowed))}, not {suffix or 'no suffix'!r}"
