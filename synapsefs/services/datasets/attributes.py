"""Descriptions, metadata and tags of entries, read and changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapsefs.errors import InvalidRequestError, UnsupportedError
from synapsefs.services.base import ARCHIVE, Entry
from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import EntryAttributes, checked_tags
from synapsefs.wire.datasets import constants

DESCRIPTION = "description"


class EntryAttributeStore:
    """Reads and changes what the service keeps of an entry besides its content.

    A description and metadata come with the content: new ones are a new revision. Tags and who
    may read are changed alone.
    """

    def __init__(self, api: DatasetsClient, indexes: Indexes) -> None:
        self._api = api
        self._indexes = indexes

    async def read(self, entry: Entry) -> dict[str, Any]:
        """Give the metadata, and the description under that name, as they are at this moment."""
        if isinstance(entry.record, Dataset):
            await self._indexes.get(entry.record)
            description = entry.record.description
            return {DESCRIPTION: description} if description else {}
        if not isinstance(entry.record, StoredEntry):
            return {}
        record = await self._indexes.fetch(entry.record, entry.location.path)
        described = {DESCRIPTION: record.entry.description} if record.entry.description else {}
        return {**(record.connection or {}), **(record.metadata or {}), **described}

    async def change(self, entry: Entry, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the options with which a file is to be written anew on the version that is there.

        Raises
        ------
        UnsupportedError
            For a dataset or directory: the service sets theirs at their creation only.
        InvalidRequestError
            For attributes that the service cannot keep.
        """
        path = entry.location.path
        if entry.kind != "file":
            rule = "the service takes description and metadata of datasets and directories only"
            raise UnsupportedError(f"{rule} when they are made", path)
        record = await self._indexes.fetch(entry.record, path)
        if record.connection is not None or record.piece is not None:
            raise UnsupportedError("a registered source keeps what it was registered with", path)
        metadata = {**(record.metadata or {}), **changes}
        metadata.pop(DESCRIPTION, None)
        options: dict[str, Any] = {
            "metadata": {name: value for name, value in metadata.items() if value is not None},
        }
        if DESCRIPTION in changes:
            options[DESCRIPTION] = changes[DESCRIPTION] or ""
        EntryAttributes.of(options, path)
        return {**options, "base_version": record.version}

    async def tags(self, entry: Entry) -> list[str]:
        """Give an entry's tags as they are at this moment."""
        record = await self._indexes.fetch(_own_record(entry), entry.location.path)
        return list(record.entry.tags or ())

    async def set_tags(self, entry: Entry, tags: Sequence[str]) -> None:
        """Replace an entry's tags."""
        record = _own_record(entry)
        checked = checked_tags(tags, entry.location.path)
        await self._patch(record, {"tags": checked}, entry.location.path)

    async def share(self, entry: Entry, status: str, accessors: Mapping[str, Any]) -> None:
        """Say who may read an entry besides its owner."""
        path = entry.location.path
        if status not in set(constants.ShareStatus):
            known = ", ".join(constants.ShareStatus)
            raise InvalidRequestError(f"status is one of {known}, not {status!r}", path)
        named = {name: list(given) for name, given in accessors.items() if given is not None}
        if named and status != constants.ShareStatus.SHARED:
            raise InvalidRequestError("only what is 'shared' names users or organizations", path)
        changes = {"share_status": status, "permitted_accessors": named}
        await self._patch(_own_record(entry), changes, path)

    async def _patch(self, record: StoredEntry, changes: dict[str, Any], path: str) -> None:
        """Change what is not content."""
        try:
            response = await self._api.patch_entry(record.identifier, changes, path)
        finally:
            self._indexes.changes.note(record.dataset)
        changed = replace(from_response(response, record.dataset), kind=record.kind)
        self._indexes.holding(record).put(changed)

    async def with_details(self, entry: Entry) -> Entry:
        """Fetch an entry whose listing tells no types and no metadata."""
        if not isinstance(entry.record, StoredEntry):
            return entry
        record = await self._indexes.ensure_details(entry.record, entry.location.path)
        detailed = record.entry_at(entry.location)
        return detailed if detailed.size is not None else replace(detailed, size=entry.size)

    async def copy_options(self, entry: Entry) -> Mapping[str, Any]:
        """Give the options of a copy with the same description, tags and metadata.

        A directory or object of a registered source has none.
        """
        if not isinstance(entry.record, StoredEntry):
            return await self.read(entry)
        record = await self._indexes.ensure_details(entry.record, entry.location.path)
        if entry.kind == "directory" and record.connection is not None:
            return {}
        options = {
            DESCRIPTION: record.entry.description,
            "tags": record.entry.tags,
            "metadata": record.metadata,
            ARCHIVE: record.entry.is_collection,
        }
        return {name: value for name, value in options.items() if value}


def _own_record(entry: Entry) -> StoredEntry:
    if isinstance(entry.record, StoredEntry) and entry.record.piece is None:
        return entry.record
    if isinstance(entry.record, Dataset):
        raise UnsupportedError("datasets have no tags and are not shared", entry.location.path)
    raise UnsupportedError("this has no entry of its own", entry.location.path)
