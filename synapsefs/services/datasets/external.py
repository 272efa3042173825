"""Creating entries whose content lies outside the service: links and registered sources."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from synapsefs.errors import AlreadyExistsError, InvalidRequestError
from synapsefs.location import Location, unescape
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.folders import Folders
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import EntryAttributes
from synapsefs.services.datasets.paths import validate_path
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.datasets import constants, requests, sources

GS = "gs://"


class ExternalSources:
    """Creates links and registered sources."""

    def __init__(self, api: DatasetsClient, indexes: Indexes, folders: Folders) -> None:
        self._api = api
        self._indexes = indexes
        self._folders = folders

    async def link(self, location: Location, target: str, options: Mapping[str, Any]) -> None:
        """Create an entry that names a URL.

        Parameters
        ----------
        options
            ``instructions``, ``api_key``, and the attributes of any entry.

        Raises
        ------
        InvalidRequestError
            When the target is no URL.
        """
        options = dict(options)
        details = {name: options.pop(name, None) for name in ("instructions", "api_key")}
        attributes = EntryAttributes.of(options, location.path)
        parts = urlsplit(target) if isinstance(target, str) else None
        if parts is None or not (parts.scheme and (parts.netloc or parts.path)):
            raise InvalidRequestError("a link leads to a URL with a scheme", location.path)
        metadata = {**(attributes.metadata or {})}
        metadata |= {name: value for name, value in details.items() if value is not None}
        source = requests.LocationPayload(
            storage_type=constants.StorageType.LINK.value,
            content_type=constants.ContentType.TEXT.value,
            location=target,
            metadata=metadata or None,
        )
        await self._create(location, source, attributes, content=target)

    async def register(self, location: Location, source: Mapping[str, Any]) -> None:
        """Create an entry for a source that is there already.

        Parameters
        ----------
        source
            ``storage_type``, ``content_type``, ``metadata`` and ``location`` of the source, and
            ``description`` and ``tags`` of the entry.

        Raises
        ------
        InvalidRequestError
            One error that names everything that is missing or wrong; nothing was sent.
        """
        given = {name: value for name, value in source.items() if value is not None}
        names = [name for name in ("description", "tags") if name in given]
        options: dict[str, Any] = {name: given.pop(name) for name in names}
        attributes = EntryAttributes.of(options, location.path)
        model = _validated(given, location.path)
        payload = requests.LocationPayload(
            storage_type=model.storage_type,
            content_type=model.content_type.value,
            content_schema=model.content_schema,
            metadata=model.metadata.model_dump(exclude_none=True) or None,
            location=model.location,
        )
        many = isinstance(model, sources.GcsSource) and model.location is None
        await self._create(location, payload, attributes, is_collection=many)

    async def repeat(self, record: StoredEntry, location: Location, *, since: float) -> None:
        """Create an entry for the same source as another entry's, with the same attributes.

        Parameters
        ----------
        record, location
            The other entry, and where the new one goes.
        since
            As :meth:`Indexes.get` takes it.
        """
        metadata = {**(record.connection or {})}
        names = ("storage_type", "content_type", "location", "content_schema")
        known = {name: metadata.pop(name, None) for name in names}
        source = requests.LocationPayload(**known, metadata=metadata or None)
        content = known["location"] if record.storage_type == constants.StorageType.LINK else None
        await self._create(location, source, record.said(), content=content, since=since)

    async def _create(
        self,
        location: Location,
        source: requests.LocationPayload,
        attributes: EntryAttributes,
        *,
        content: str | None = None,
        is_collection: bool = False,
        since: float | None = None,
    ) -> None:
        path = location.path
        validate_path(location)
        since = time.monotonic() if since is None else since
        dataset, index = await self._folders.index(location, since)
        if index.at(location.inner) is not None:
            raise AlreadyExistsError("something is there already", path)
        entry = requests.EntryCreate(
            name=unescape(location.name),
            content=content,
            is_collection=is_collection,
            file_path=source.location if content is None else None,
            existing_location=source,
            dataset_id=dataset.identifier,
            parent_id=await self._folders.ensure(dataset, location.inner[:-1], path, since=since),
            **attributes.sent(),
        )

        async def create() -> str:
            return (await self._api.create_entry(entry, path, replay=False)).data_storage.id

        async def look() -> str | None:
            there = (await self._indexes.latest(dataset)).at(location.inner)
            record = there.record if isinstance(there, DirectoryNode) else there
            return record.identifier if record else None

        try:
            made = await self._api.once(create, look)
        finally:
            self._indexes.changes.note(dataset.identifier)
        index.put(from_response(await self._api.entry(made, path)))


def _validated(given: dict[str, Any], path: str) -> sources.Source:
    """Read what describes a source, a ``gs://`` location among it."""
    kind = given.get("storage_type")
    model = sources.SOURCES.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(sources.SOURCES)
        raise InvalidRequestError(f"storage_type is one of {known}, not {kind!r}", path)
    if model is sources.GcsSource:
        given = _of_bucket(given)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems = [f"{'.'.join(map(str, one['loc'])) or kind}: {one['msg']}" for one in details]
        raise InvalidRequestError("; ".join(problems), path) from None


def _of_bucket(given: dict[str, Any]) -> dict[str, Any]:
    """Take a ``gs://`` URL apart, and tell a file from a directory."""
    location, metadata = given.get("location"), given.get("metadata")
    if isinstance(location, str) and location.startswith(GS):
        bucket, _, key = location.removeprefix(GS).partition("/")
        metadata = {"bucket_name": bucket, **(metadata or {})}
        given = {**given, "location": key or None, "metadata": metadata}
    location = given.get("location")
    if isinstance(location, str) and location.endswith("/") and isinstance(metadata, dict):
        given = {**given, "location": None, "metadata": {"prefix": location, **metadata}}
    if "content_type" not in given:
        single = given.get("location")
        kind = constants.ContentType.FILE if single else constants.ContentType.DIRECTORY
        given = {**given, "content_type": kind}
    return given
