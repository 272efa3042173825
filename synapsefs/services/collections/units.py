"""Units as a whole: planned from files and metadata, described, and changed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs.errors import InvalidPathError, InvalidRequestError, SynapseError
from synapsefs.location import Location, Root, escape, escape_key, split_suffix
from synapsefs.services.collections.catalog import Collection, CollectionCatalog
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import UNIT, UnitOptions
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.paths import validate_path
from synapsefs.services.collections.schema import NAMING_KEYS, settable_problems
from synapsefs.services.collections.table import unit_batches
from synapsefs.services.collections.unit import Unit
from synapsefs.wire.collections import constants, v1


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """A unit to be written: where each of its files goes, and what it shall carry."""

    collection: Collection
    key: str
    places: Mapping[str, Location]
    wish: UnitOptions

    @property
    def write_options(self) -> dict[str, Any]:
        """What is said of each of its files at the write."""
        return {UNIT: self.wish}

    def info(self, index: CollectionIndex) -> dict[str, Any]:
        """Describe the unit; without an id while it is not there yet."""
        for place in self.places.values():
            found = index.at(place.inner)
            if found is not None:
                return unit_info(found.unit, self.collection)
        paths = {name: place.path for name, place in self.places.items()}
        return {"id": None, "key": self.key, "paths": paths}


class Units:
    """Units of any collection: planned, described, listed.

    Parameters
    ----------
    api, directory, indexes
        The service, its collections, and what they hold.
    """

    def __init__(
        self, api: CollectionsClient, directory: CollectionCatalog, indexes: Indexes
    ) -> None:
        self._api = api
        self._directory = directory
        self._indexes = indexes

    async def plan(
        self,
        location: Location,
        sources: Mapping[str, str | None],
        *,
        key: str | None,
        meta: Mapping[str, Any] | None,
        groups: Sequence[str] | None,
        problems: Sequence[str],
    ) -> UnitPlan:
        """Plan a whole unit, or raise one error with everything that is wrong with it."""
        collection = await self._directory.for_writing(location)
        return plan_unit(collection, sources, key=key, meta=meta, groups=groups, problems=problems)

    def info(self, plan: UnitPlan) -> dict[str, Any]:
        """Describe a planned unit; without its id while it is not published."""
        return plan.info(self._indexes.held(plan.collection.identifier))

    async def batches(
        self, location: Location, columns: Sequence[str] | None, filters: Any
    ) -> AsyncIterator[Any]:
        """Give the units of a collection as record batches of one schema."""
        collection = await self._directory.for_writing(location)
        async for batch in unit_batches(self._api, collection, columns, filters):
            yield batch


def unit_info(unit: Unit, collection: Collection) -> dict[str, Any]:
    """Describe a unit that is there."""
    place = collection.location
    return {
        "id": unit.identifier,
        "key": unit.key,
        "collection": place.path,
        "groups": list(unit.groups()),
        "created": unit.created,
        "meta": settable(unit),
        "paths": {name: place.child(*file.segments).path for name, file in unit.files.items()},
        "checksums": {name: file.checksum for name, file in unit.files.items()},
    }


def settable(unit: Unit) -> dict[str, Any]:
    """Give a unit's metadata without what follows from its files."""
    return {name: value for name, value in unit.own_meta.items() if name not in NAMING_KEYS}


def plan_unit(
    collection: Collection,
    sources: Mapping[str, str | None],
    *,
    key: str | None,
    meta: Mapping[str, Any] | None,
    groups: Sequence[str] | None,
    problems: Sequence[str],
) -> UnitPlan:
    """Plan a unit, or say everything that is wrong with it.

    Parameters
    ----------
    collection
        Where, with its specifications and metadata rule.
    sources
        The local file name for each file specification; None for bytes.
    key
        The unit's key; groups and the stem of the primary file where None.
    meta, groups
        What the unit shall carry.
    problems
        What the caller found wrong already.

    Raises
    ------
    InvalidRequestError
        Naming the collection and every problem.
    """
    found = list(problems)
    specs = {spec.name: spec for spec in collection.specifications}
    found += _specification_problems(sources, specs)
    found += _group_problems(groups)
    found += _metadata_problems(meta or {}, collection)
    key = key or _key_of(sources, collection, meta or {}, groups)
    places: dict[str, Location] = {}
    for name, file in sources.items():
        if name in specs:
            suffix = split_suffix(file)[1] if file is not None else _usual_suffix(specs[name])
            below = (escape(name, Root.COLLECTIONS), *escape_key(key + suffix, Root.COLLECTIONS))
            places[name] = collection.location.child(*below)
            found += _place_problems(places[name], collection)
    if found:
        raise InvalidRequestError("; ".join(dict.fromkeys(found)), collection.location.path)
    own = {name: value for name, value in (meta or {}).items() if name not in NAMING_KEYS}
    wish = UnitOptions(own, None if groups is None else tuple(groups), whole=True)
    return UnitPlan(collection, key, places, wish)


def _specification_problems(
    sources: Mapping[str, str | None], specs: Mapping[str, v1.FileSpecification]
) -> Iterator[str]:
    if not sources:
        yield "a unit needs a file"
    for name in sources:
        if name not in specs:
            yield f"{name!r} is no file specification; there are {', '.join(sorted(specs))}"
    for name, spec in specs.items():
        if spec.is_required and name not in sources:
            yield f"the required file specification {name} is missing"


def _group_problems(groups: Sequence[str] | None) -> Iterator[str]:
    if isinstance(groups, str):
        yield "groups is a list of names, outermost first"
        return
    for name in groups or ():
        if not isinstance(name, str) or not 0 < len(name) <= constants.GROUP_NAME_MAX:
            yield f"a group's name has 1 to {constants.GROUP_NAME_MAX} characters: {name!r}"


def _metadata_problems(meta: Any, collection: Collection) -> Iterable[str]:
    if not isinstance(meta, Mapping):
        return ["meta is a mapping"]
    found = list(settable_problems(meta))
    if not found and collection.rule is not None:
        found = collection.rule.problems(meta)
    return found


def _place_problems(place: Location, collection: Collection) -> Iterator[str]:
    try:
        validate_path(place, collection.specifications)
    except (InvalidPathError, SynapseError) as error:
        yield f"{place.path}: {error.strerror}"


def _key_of(
    sources: Mapping[str, str | None],
    collection: Collection,
    meta: Mapping[str, Any],
    groups: Sequence[str] | None,
) -> str:
    """Name a unit: by its metadata, else by its groups and its primary file."""
    given = meta.get(constants.META_KEY) if isinstance(meta, Mapping) else None
    if isinstance(given, str) and given.strip("/"):
        return given
    names = [sources.get(collection.primary or ""), *sources.values()]
    stem = next((split_suffix(name)[0] for name in names if name), None)
    folders = [] if isinstance(groups, str) else [str(group) for group in groups or ()]
    return "/".join([*folders, stem or f"unit-{uuid.uuid4().hex[:12]}"])


def _usual_suffix(spec: v1.FileSpecification) -> str:
    """Give bytes the first suffix that their specification lists."""
    listed = [extension.lstrip(".") for extension in spec.extensions or ()]
    return f".{listed[0]}" if listed else ""
