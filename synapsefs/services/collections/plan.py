"""Which units a set of files makes: pure decisions, before anything is sent.

Files of equal stem in different specifications belong to one unit; two files of one
specification with the same stem and different suffixes belong to two.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from synapsefs.errors import FolderError, InvalidPathError, InvalidRequestError
from synapsefs.location import Location, escape_key, split_suffix, unescape
from synapsefs.services.collections.index import MARK, UnitRecord, name_below
from synapsefs.wire import collections as wire

UnitsWithStem = Callable[[str], Sequence[UnitRecord]]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to bind: where it goes and, once sent, its checksum."""

    location: Location
    checksum: str = ""
    size: int | None = None

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
        Further units whose files it takes over.
    """

    names: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    base: UnitRecord | None = None
    changed: bool = False
    write: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, unit: UnitRecord) -> Draft:
        """Begin with what a unit holds."""
        names = {spec: file.name for spec, file in unit.files.items()}
        return cls(names, {spec: file.checksum for spec, file in unit.files.items()}, unit)

    def bind(self, file: NewFile) -> None:
        """Put a file into the unit."""
        self.changed = True
        self.names[file.specification] = file.name
        self.checksums[file.specification] = file.checksum

    def request(self, collection: int, primary: str | None) -> wire.UnitToCreate:
        """Write the unit as the service wants it."""
        lead = self.names.get(primary or "") or next(iter(self.names.values()))
        key, suffix = split_suffix(lead)
        folders = key.split("/")[:-1]
        carried = dict(self.base.meta) if self.base else {}
        own: dict[str, Any] = {
            wire.META_KEY: key,
            wire.META_STEM: key.rsplit("/", 1)[-1],
            wire.META_EXTENSION: suffix.lower(),
            MARK: {"write": self.write, "names": self.names},
        }
        return wire.UnitToCreate(
            data_collection=collection,
            files={
                spec: wire.FileBinding(checksum=checksum, path=self.names[spec])
                for spec, checksum in self.checksums.items()
            },
            meta={**carried, **own},
            groups=[folder for folder in folders if folder] or None,
        )


def compose(files: Iterable[NewFile], units_with_stem: UnitsWithStem) -> list[Draft]:
    """Arrange files into units, joining and replacing those that are there."""
    by_stem: dict[str, list[NewFile]] = {}
    for file in files:
        by_stem.setdefault(split_suffix(file.name)[0], []).append(file)
    composed: list[Draft] = []
    for stem, group in by_stem.items():
        drafts = [Draft.of(unit) for unit in units_with_stem(stem)]
        for file in group:
            _draft_for(file, drafts).bind(file)
        composed += [draft for draft in drafts if draft.changed]
    return composed


def _draft_for(file: NewFile, drafts: list[Draft]) -> Draft:
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
    drafts: Iterable[Draft], specifications: Sequence[wire.FileSpecification], about: str
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
            key = split_suffix(next(iter(draft.names.values())))[0]
            raise InvalidRequestError(
                f"unit {key!r} would lack the required specification{'s' * (len(missing) > 1)} "
                f"{', '.join(missing)}: write all its files together, with put(recursive=True) "
                "or in one transaction",
                about,
            )


def check_place(location: Location, specifications: Sequence[wire.FileSpecification]) -> None:
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
    location: Location, specifications: Sequence[wire.FileSpecification]
) -> wire.FileSpecification:
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
    if len(name) > wire.PATH_MAX:
        yield f"a path below its specification has at most {wire.PATH_MAX} characters"
    if any(len(unescape(segment)) > wire.GROUP_NAME_MAX for segment in location.inner[1:]):
        yield f"each name has at most {wire.GROUP_NAME_MAX} characters"
    if escape_key(name) != location.inner[1:]:
        yield f"slashes of a key are folders here; write it {'/'.join(escape_key(name))}"
    if location.name.startswith("@"):
        yield "'@' in front of a name addresses by id; write it %40"


def _broken_extension(location: Location, spec: wire.FileSpecification) -> Iterable[str]:
    allowed = {extension.lower().lstrip(".") for extension in spec.extensions or ()}
    suffix = split_suffix(unescape(location.name))[1].lower().lstrip(".")
    if allowed and suffix not in allowed:
        yield f"{spec.name} takes {', '.join(sorted(allowed))}, not {suffix or 'no suffix'!r}"
