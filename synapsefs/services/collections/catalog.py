"""Which collections there are: names and ids, with a short memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from synapsefs.concurrency import Locks
from synapsefs.errors import InvalidRequestError, NotFoundError
from synapsefs.location import Location, Root, escape, id_of, unescape, with_id
from synapsefs.services.base import Entry, aware
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.paths import specification_of
from synapsefs.services.collections.schema import MetadataRule
from synapsefs.services.shared import CATALOG, CatalogAge, SharedChanges
from synapsefs.wire.collections import metadata, v1, v2

DEFAULT_SPECIFICATION = {
    "name": "data_1",
    "file_type": "data",
    "is_required": True,
    "is_primary": True,
    "function_type": "main",
}
ROOT = Location((Root.COLLECTIONS.value,))


@dataclass(slots=True, eq=False)
class Collection:
    """A collection: its id, its segment in paths, its specifications.

    ``rule`` says what it asks of its units' metadata; None while that is not known.
    """

    identifier: int
    name: str
    segment: str
    specifications: list[v1.FileSpecification]
    created: datetime | None
    details: dict[str, Any]
    rule: MetadataRule | None = None

    @property
    def location(self) -> Location:
        """Its canonical place."""
        return ROOT.child(self.segment)

    @property
    def primary(self) -> str | None:
        """Name of the primary specification."""
        named = [spec.name for spec in self.specifications if spec.is_primary]
        return named[0] if named else None

    def entry(self) -> Entry:
        """Describe the collection as a directory."""
        specs = [_specification_info(spec) for spec in self.specifications]
        details = {"id": self.identifier, **self.details, "file_specifications": specs}
        return Entry(
            self.location,
            "directory",
            size=0,
            created=self.created,
            record=self,
            details=details,
            identity=("collection", self.identifier),
            is_container=True,
        )


def _specification_info(spec: v1.FileSpecification) -> dict[str, Any]:
    return {
        "name": spec.name,
        "type": spec.file_type,
        "required": bool(spec.is_required),
        "primary": bool(spec.is_primary),
        "function": spec.function_type or None,
        "extensions": spec.extensions or [],
    }


class CollectionCatalog:
    """Finds collections by name or ``@id``.

    Parameters
    ----------
    api
        The service.
    expiry, chosen_expiry
        Seconds for which a listing is believed, and whether the caller chose them; a name that it
        lacks is asked for at once.
    changes
        What other instances of this process changed.
    """

    def __init__(
        self, api: CollectionsClient, expiry: float, *, chosen_expiry: bool, changes: SharedChanges
    ) -> None:
        self._api = api
        self._changes = changes
        self._age = CatalogAge(expiry, changes, chosen_expiry=chosen_expiry)
        self._by_segment: dict[str, Collection] = {}
        self._by_id: dict[int, Collection] = {}
        self._own_changes: dict[int, tuple[float, Collection | None]] = {}
        self._locks: Locks[str] = Locks()

    async def all(self, *, refresh: bool = False) -> list[Collection]:
        """List every collection."""
        await self._read(refresh=refresh)
        return list(self._by_segment.values())

    async def find(self, location: Location, *, refresh: bool = False) -> Collection:
        """Find the collection that a path lies in, specifications included.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        began = time.monotonic()
        found = self.known(location.container)
        if found is None or refresh or self._age.is_expired(within=bool(location.inner)):
            identifier = id_of(location.container, Root.COLLECTIONS)
            if identifier is not None:
                return await self._by_identifier(int(identifier), location)
            await self._read(refresh=refresh)
            found = self.known(location.container)
            if found is None and self._age.as_of < began:
                await self._read(refresh=True)
                found = self.known(location.container)
        if found is None:
            name = unescape(location.container)
            raise NotFoundError(f"there is no collection {name!r}", location.path)
        if not found.specifications:
            await self._learn(found, location.path)
        return found

    async def for_writing(self, location: Location) -> Collection:
        """Find a collection, with what it asks of its units' metadata."""
        found = await self.find(location)
        if found.rule is None:
            await self._learn(found, location.path)
        return found

    async def _learn(self, record: Collection, about: str) -> None:
        """Read what the list of collections leaves out."""
        full = await self._api.collection(record.identifier, about)
        record.specifications = full.specifications or []
        record.rule = MetadataRule(metadata.schema_in(full.meta))

    async def replaced(self, record: Collection, location: Location) -> bool:
        """Look whether another collection has the name by now.

        Raises
        ------
        NotFoundError
            When none has.
        """
        return (await self.find(location, refresh=True)).identifier != record.identifier

    async def create(self, location: Location, options: Mapping[str, Any]) -> Collection:
        """Create a collection; ``options`` as the service's own creation call takes them.

        Raises
        ------
        InvalidRequestError
            For options that make no collection.
        InvalidPathError
            When the path leads into a specification that the collection would not have.
        """
        settings: dict[str, Any] = {
            "category": "data",
            "file_specifications": [DEFAULT_SPECIFICATION],
            **options,
            "name": unescape(location.container),
        }
        with _saying_rules(location.path):
            wanted = v2.CollectionToCreate.model_validate(settings).file_specifications
            if location.inner:
                specification_of(location, [v1.FileSpecification(name=s.name) for s in wanted])
            record = await self._create(settings, location)
        self._by_segment[record.segment] = self._by_id[record.identifier] = record
        self._own_changes[record.identifier] = (time.monotonic(), record)
        self._changes.created(record.identifier)
        return record

    async def _create(self, settings: Mapping[str, Any], location: Location) -> Collection:
        async def create() -> Collection:
            made = await self._api.create_collection(settings, location.path)
            return Collection(
                identifier=made.id,
                name=made.name,
                segment=escape(made.name, Root.COLLECTIONS),
                specifications=_whole_specifications(made),
                created=aware(made.created),
                details=_details(made.description, made.category, None),
            )

        async def look() -> Collection | None:
            await self._read(refresh=True)
            return self.known(location.container)

        return await self._api.once(create, look)

    async def attributes(self, record: Collection, about: str) -> dict[str, Any]:
        """Give what a collection says of itself at this moment."""
        try:
            detail = await self._api.detail(record.identifier, about)
        except NotFoundError:
            return dict(record.details)
        told = {"description": detail.description or "", "category": detail.category}
        more = {"access_level": detail.access_level, "meta": detail.meta}
        return {**record.details, **told, **{key: value for key, value in more.items() if value}}

    async def settings(self, record: Collection, about: str) -> dict[str, Any]:
        """Give the options that :meth:`create` makes a collection like this one with."""
        full = await self._api.collection(record.identifier, about)
        known = set(v2.SpecificationToCreate.model_fields)
        if not await self._api.announces_extras():
            known.remove("extensions")
        specifications = [
            spec.model_dump(include=known, exclude_none=True) for spec in full.specifications or []
        ]
        attributes = await self.attributes(record, about)
        attributes.pop("project", None)
        return {**attributes, "file_specifications": specifications}

    async def change(self, record: Collection, changes: Mapping[str, Any], about: str) -> None:
        """Change a collection's name or attributes; listings are read anew afterwards."""
        try:
            with _saying_rules(about):
                await self._api.change_collection(record.identifier, changes, about)
        finally:
            self._changes.note(CATALOG)
        record.rule = None
        self._by_segment.pop(record.segment, None)
        self._by_id.pop(record.identifier, None)
        self.forget()

    async def delete(self, record: Collection) -> None:
        """Delete a collection with all its units."""
        try:
            await self._api.delete_collection(record.identifier, record.location.path)
        finally:
            self._changes.deleted(record.identifier)
        self._own_changes[record.identifier] = (time.monotonic(), None)
        self._by_segment.pop(record.segment, None)
        self._by_id.pop(record.identifier, None)

    def forget(self) -> None:
        """Believe nothing that was read before."""
        self._age.forget()

    @property
    def as_of(self) -> float:
        """The moment (monotonic seconds) at which the collections were last listed."""
        return self._age.as_of

    def known(self, segment: str) -> Collection | None:
        """Give a collection by its segment in paths, without asking for it."""
        identifier = id_of(segment, Root.COLLECTIONS)
        if identifier is not None:
            return self._by_id.get(int(identifier))
        written = escape(unescape(segment), Root.COLLECTIONS)
        return self._by_segment.get(segment) or self._by_segment.get(written)

    async def _by_identifier(self, identifier: int, location: Location) -> Collection:
        found = _record(await self._api.collection(identifier, location.path))
        found.segment = f"@{identifier}"
        self._by_id[identifier] = found
        return found

    async def _read(self, *, refresh: bool) -> None:
        began = time.monotonic()
        async with self._locks.get("read"):
            if self._age.as_of >= began or not (refresh or self._age.is_expired()):
                return
            reading = time.monotonic()
            records = [_record(item) for item in await self._api.collections()]
            self._arrange(records, reading)
            self._age.read(reading)

    def _arrange(self, listed: Iterable[Collection], reading: float) -> None:
        """Take a listing that was begun at ``reading``; what was done here meanwhile is kept."""
        meanwhile = {i: change for i, change in self._own_changes.items() if change[0] >= reading}
        self._own_changes = meanwhile
        records = {record.identifier: record for record in listed}
        records.update({i: record for i, (_, record) in meanwhile.items() if record is not None})
        gone = {i for i, (_, record) in meanwhile.items() if record is None}
        before, self._by_segment = self._by_id, {}
        self._by_id = {}
        for identifier in sorted(records.keys() - gone, reverse=True):
            record = records[identifier]
            while record.segment in self._by_segment:
                record.segment = with_id(record.segment, str(identifier))
            known = before.get(identifier)
            if known is not None and not record.specifications:
                record.specifications = known.specifications
            if known is not None and record.rule is None:
                record.rule = known.rule
            self._by_segment[record.segment] = self._by_id[identifier] = record


def _record(item: v1.Collection) -> Collection:
    return Collection(
        identifier=item.id,
        name=item.name,
        segment=escape(item.name, Root.COLLECTIONS),
        specifications=item.specifications or [],
        created=aware(item.created_at or item.created),
        details=_details(item.description, item.category, item.project),
        rule=MetadataRule(metadata.schema_in(item.meta))
        if "meta" in item.model_fields_set
        else None,
    )


def _whole_specifications(made: v2.CollectionDetail) -> list[v1.FileSpecification]:
    """Take specifications from the answer to a creation, if it tells their extensions.

    Otherwise none, so that they are read when they are needed.
    """
    found = made.file_specifications or []
    return found if all("extensions" in spec.model_fields_set for spec in found) else []


def _details(description: str | None, category: str | None, project: int | None) -> dict[str, Any]:
    return {"description": description or "", "category": category, "project": project}


@contextlib.contextmanager
def _saying_rules(about: str) -> Iterator[None]:
    """Name every rule that what was given of a collection breaks."""
    try:
        yield
    except ValidationError as error:
        rules = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors())
        raise InvalidRequestError(f"not a collection: {rules}", about) from None


def _place(steps: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in steps)
