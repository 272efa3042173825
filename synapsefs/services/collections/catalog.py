"""Which collections there are: names and ids, with a short memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError

from synapsefs.errors import InvalidRequestError, NotFoundError
from synapsefs.location import Location, Root, escape, unescape
from synapsefs.services.base import aware
from synapsefs.services.catalog import Catalog, Container
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.paths import specification_of
from synapsefs.services.collections.schema import MetadataRule
from synapsefs.services.shared import CATALOG, Expiry
from synapsefs.wire.collections import metadata, v1, v2

DEFAULT_SPECIFICATION = {
    "name": "data_1",
    "file_type": "data",
    "is_required": True,
    "is_primary": True,
    "function_type": "main",
}
ROOT = Location((Root.COLLECTIONS.value,))


@dataclass(slots=True, eq=False, kw_only=True)
class Collection(Container[int]):
    """A collection.

    Attributes
    ----------
    specifications
        Its file specifications; none while they are not known.
    more
        What else the service tells of it.
    rule
        What it asks of its units' metadata; None while that is not known.
    """

    root: ClassVar[Root] = Root.COLLECTIONS
    kind: ClassVar[str] = "collection"

    specifications: list[v1.FileSpecification]
    more: dict[str, Any]
    rule: MetadataRule | None = None

    def __post_init__(self) -> None:
        Container.__post_init__(self)
        self.set_specifications(self.specifications)

    def set_specifications(self, specifications: list[v1.FileSpecification]) -> None:
        """Take its specifications: they are its directories."""
        self.specifications, self.is_whole = specifications, bool(specifications)
        self.directories = tuple((escape(spec.name, self.root),) for spec in specifications)

    @property
    def primary(self) -> str | None:
        """Name of the primary specification."""
        return next((spec.name for spec in self.specifications if spec.is_primary), None)

    @property
    def details(self) -> dict[str, Any]:
        """The further keys of ``info``."""
        specifications = [
            {
                "name": spec.name,
                "type": spec.file_type,
                "required": bool(spec.is_required),
                "primary": bool(spec.is_primary),
                "function": spec.function_type or None,
                "extensions": spec.extensions or [],
            }
            for spec in self.specifications
        ]
        return {"id": self.identifier, **self.more, "file_specifications": specifications}

    def keep_known(self, known: Collection) -> None:
        """Take from an earlier record what a listing leaves out."""
        self.set_specifications(self.specifications or known.specifications)
        self.rule = self.rule or known.rule


class CollectionCatalog(Catalog[int, Collection]):
    """Finds collections, and creates, changes and deletes them."""

    record = Collection

    def __init__(self, api: CollectionsClient, expiry: Expiry) -> None:
        super().__init__(expiry)
        self._api = api

    async def for_writing(self, location: Location) -> Collection:
        """Find a collection, with what it asks of its units' metadata."""
        collection = await self.find(location)
        if collection.rule is None:
            await self._complete(collection, location.path)
        return collection

    async def _complete(self, container: Collection, path: str) -> None:
        full = await self._api.collection(container.identifier, path)
        container.set_specifications(full.specifications or [])
        container.rule = MetadataRule(metadata.schema_in(full.meta))

    def _key(self, identifier: str) -> int:
        return int(identifier)

    def _age_of(self, container: Collection) -> int:
        return -container.identifier

    async def _fetch_all(self) -> list[Collection]:
        return [_record(item) for item in await self._api.collections()]

    async def _fetch(self, identifier: int, path: str) -> Collection:
        return _record(await self._api.collection(identifier, path))

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
        with _naming_rules(location.path):
            wanted = v2.CollectionToCreate.model_validate(settings).file_specifications
            if location.inner:
                specification_of(location, [v1.FileSpecification(name=s.name) for s in wanted])
            collection = await self._create(settings, location)
        self._add(collection)
        return collection

    async def _create(self, settings: Mapping[str, Any], location: Location) -> Collection:
        async def create() -> Collection:
            made = await self._api.create_collection(settings, location.path)
            specifications = made.file_specifications or []
            tells_all = all("extensions" in spec.model_fields_set for spec in specifications)
            return Collection(
                identifier=made.id,
                name=made.name,
                specifications=specifications if tells_all else [],
                created=aware(made.created),
                more=_more(made.description, made.category, None),
            )

        async def look() -> Collection | None:
            await self._list(time.monotonic())
            return self.known(location.container)

        return await self._api.once(create, look)

    async def attributes(self, record: Collection, path: str) -> dict[str, Any]:
        """Give what a collection says of itself at this moment."""
        try:
            detail = await self._api.detail(record.identifier, path)
        except NotFoundError:
            return dict(record.more)
        always = {"description": detail.description or "", "category": detail.category}
        given = {"access_level": detail.access_level, "meta": detail.meta}
        return {**record.more, **always, **{key: value for key, value in given.items() if value}}

    async def settings(self, record: Collection, path: str) -> dict[str, Any]:
        """Give the options that :meth:`create` makes a collection like this one with."""
        full = await self._api.collection(record.identifier, path)
        known = set(v2.SpecificationToCreate.model_fields)
        if not await self._api.announces_extras():
            known.remove("extensions")
        specifications = [
            spec.model_dump(include=known, exclude_none=True) for spec in full.specifications or []
        ]
        attributes = await self.attributes(record, path)
        attributes.pop("project", None)
        return {**attributes, "file_specifications": specifications}

    async def change(self, record: Collection, changes: Mapping[str, Any], path: str) -> None:
        """Change a collection's name or attributes; listings are read anew afterwards."""
        try:
            with _naming_rules(path):
                await self._api.change_collection(record.identifier, changes, path)
        finally:
            self._changes.note(CATALOG)
        record.rule = None
        self._discard(record.identifier)
        self.invalidate()

    async def delete(self, record: Collection) -> None:
        """Delete a collection with all its units."""
        try:
            await self._api.delete_collection(record.identifier, record.location.path)
        finally:
            self._changes.note_deletion(record.identifier)
        self._discard(record.identifier)


def _record(item: v1.Collection) -> Collection:
    tells_rule = "meta" in item.model_fields_set
    return Collection(
        identifier=item.id,
        name=item.name,
        specifications=item.specifications or [],
        created=aware(item.created_at or item.created),
        more=_more(item.description, item.category, item.project),
        rule=MetadataRule(metadata.schema_in(item.meta)) if tells_rule else None,
    )


def _more(description: str | None, category: str | None, project: int | None) -> dict[str, Any]:
    return {"description": description or "", "category": category, "project": project}


@contextlib.contextmanager
def _naming_rules(path: str) -> Iterator[None]:
    """Name every rule that the settings of a collection break."""
    try:
        yield
    except ValidationError as error:
        places = [".".join(map(str, problem["loc"])) for problem in error.errors()]
        problems = zip(places, error.errors(), strict=True)
        rules = "; ".join(f"{place}: {problem['msg']}" for place, problem in problems)
        raise InvalidRequestError(f"not a collection: {rules}", path) from None
