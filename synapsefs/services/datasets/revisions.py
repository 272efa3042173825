"""Revisions of entries: which there are, and what a file was at one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from synapsefs.errors import FolderError, InvalidRequestError, NotFoundError
from synapsefs.services.base import Entry, aware
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import checksum_of, claim, is_size, unmarked
from synapsefs.services.datasets.sources import told_by
from synapsefs.wire.datasets import answers, constants

PAGE = constants.REVISIONS_LIMIT_MAX


class Revisions:
    """The revisions of entries.

    Parameters
    ----------
    api
        The service.
    indexes
        What is there.
    """

    def __init__(self, api: DatasetsClient, indexes: Indexes) -> None:
        self._api = api
        self._indexes = indexes

    async def revisions(self, entry: Entry, *, drafts: bool) -> list[dict[str, Any]]:
        """List the revisions of a file, newest first, page by page."""
        record, about = _filed(entry), entry.location.path
        found: list[answers.Revision] = []
        while True:
            page = await self._api.revisions(
                record.identifier, about, limit=PAGE, offset=len(found), drafts=drafts
            )
            found += page.revisions
            if len(page.revisions) < PAGE:
                current = page.current_revision_id
                return [_described(entry, one, one.id == current) for one in found]

    async def at(self, entry: Entry, version: str | int) -> Entry:
        """Give a file as it was.

        Parameters
        ----------
        version
            Id of the revision, as ``info`` and ``revisions`` tell it, or its number.

        Raises
        ------
        NotFoundError
            When there is no such revision.
        """
        record, about = _filed(entry), entry.location.path
        if isinstance(version, str) and "@" in version:
            return await self._as_listed(entry, record, version)
        if isinstance(version, bool) or not isinstance(version, int | str) or version == "":
            raise InvalidRequestError("a version is a revision's id or its number", about)
        which = "version" if isinstance(version, int) else "revision_id"
        found = await self._indexes.look_back(record, {which: str(version)}, about)
        if version not in {found.revision, found.number}:
            raise NotFoundError(f"there is no revision {version!r}", about)
        return found.entry_at(entry.location)

    async def _as_listed(self, entry: Entry, record: StoredEntry, version: str) -> Entry:
        """Give the newest, if it still is what a listing without revisions told."""
        fresh = await self._indexes.look(record, entry.location.path)
        if fresh.moment != version:
            raise NotFoundError(f"there is no revision {version!r}", entry.location.path)
        return replace(fresh, pinned=fresh.revision is not None).entry_at(entry.location)


def _filed(entry: Entry) -> StoredEntry:
    if entry.kind != "file" or not isinstance(entry.record, StoredEntry):
        raise FolderError("only files have revisions", entry.location.path)
    return entry.record


def _described(entry: Entry, revision: answers.Revision, current: bool) -> dict[str, Any]:
    snapshot, config = revision.snapshot, revision.snapshot.storage_location
    kept = {**(snapshot.metadata or {}), **(told_by(config) if config else {})}
    noted = claim(kept, version=revision.version, revision=revision.id)
    inline = snapshot.content is not None
    size: Any = len(snapshot.content.encode()) if snapshot.content is not None else kept.get("size")
    return {
        "name": entry.location.path,
        "type": "file",
        "size": size if is_size(size) else None,
        "version": revision.id,
        "revision": revision.version,
        "base_version": revision.parent_revision_id,
        "current": current,
        "created": aware(revision.created_at),
        "published": aware(revision.published_at),
        "created_by": revision.created_by,
        "checksum": None if inline else checksum_of(noted.size, noted.md5, noted.parts),
        "metadata": unmarked(kept, stored=not inline),
    }
