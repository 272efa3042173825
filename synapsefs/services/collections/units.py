"""Units as a whole: planned from files and metadata, described, listed."""

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
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.paths import validate_path
from synapsefs.services.collections.schema import NAMING_KEYS, settable_problems
from synapsefs.services.collections.unit import Unit
from synapsefs.wire.collections import constants, v1


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """A unit to be written: where each of its files goes, and its options."""

    collection: Collection
    key: str
    places: Mapping[str, Location]
    options: UnitOptions

    @property
    def write_options(self) -> dict[str, Any]:
        """Options for writing each of its files."""
        return {UNIT: self.options}


class Units:
    """Whole units of any collection: planned, described, listed."""

    def __init__(
        self, api: CollectionsClient, catalog: CollectionCatalog, indexes: Indexes
    ) -> None:
        self._api = api
        self._catalog = catalog
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
        """Plan a whole unit.

        Parameters
        ----------
        sources
            The local file name for each file specification; None for bytes.
        key
            The unit's key; groups and the stem of the primary file where None.
        problems
            What the caller found wrong already.

        Raises
        ------
        InvalidRequestError
            Naming the collection and everything that is wrong.
        """
        collection = await self._catalog.for_writing(location)
        meta = {} if meta is None else meta
        specs = {spec.name: spec for spec in collection.specifications}
        problems = [
            *problems,
            *_specification_problems(sources, specs),
            *_group_problems(groups),
            *_metadata_problems(meta, collection),
        ]
        key = key or _key_of(sources, collection, meta, groups)
        places: dict[str, Location] = {}
        for name, file in sources.items():
            if name in specs:
                suffix = _usual_suffix(specs[name]) if file is None else split_suffix(file)[1]
                below = escape_key(key + suffix, Root.COLLECTIONS)
                places[name] = collection.location.child(escape(name, Root.COLLECTIONS), *below)
                problems += _place_problems(places[name], collection)
        if problems:
            raise InvalidRequestError("; ".join(dict.fromkeys(problems)), collection.location.path)
        own = {name: value for name, value in meta.items() if name not in NAMING_KEYS}
        options = UnitOptions(own, None if groups is None else tuple(groups), whole=True)
        return UnitPlan(collection, key, places, options)

    def info(self, plan: UnitPlan) -> dict[str, Any]:
        """Describe a planned unit; without an id while it is not published."""
        index = self._indexes.held(plan.collection.identifier)
        for place in plan.places.values():
            file = index.at(place.inner)
            if file is not None:
                return _info(file.unit, plan.collection.location)
        paths = {name: place.path for name, place in plan.places.items()}
        return {"id": None, "key": plan.key, "paths": paths}

    async def batches(
        self, location: Location, columns: Sequence[str] | None, filters: Any
    ) -> AsyncIterator[Any]:
        """Give the units of a collection as record batches of one schema."""
        from synapsefs.services.collections.table import (  # noqa: PLC0415 - imports pyarrow
            unit_batches,
        )

        collection = await self._catalog.for_writing(location)
        async for batch in unit_batches(self._api, collection, columns, filters):
            yield batch


def _info(unit: Unit, collection: Location) -> dict[str, Any]:
    return {
        "id": unit.identifier,
        "key": unit.key,
        "collection": collection.path,
        "groups": list(unit.groups()),
        "created": unit.created,
        "meta": {n: value for n, value in unit.own_meta.items() if n not in NAMING_KEYS},
        "paths": {name: collection.child(*file.segments).path for name, file in unit.files.items()},
        "checksums": {name: file.checksum for name, file in unit.files.items()},
    }


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
    problems = settable_problems(meta)
    if not problems and collection.rule is not None:
        problems = collection.rule.problems(meta)
    return problems


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
