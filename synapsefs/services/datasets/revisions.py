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
    """The revisions of entries."""

    def __init__(self, api: DatasetsClient, indexes: Indexes) -> None:
        self._api = api
        self._indexes = indexes

    async def revisions(self, entry: Entry, *, drafts: bool) -> list[dict[str, Any]]:
        """List the revisions of a file, newest first."""
        record, path = _file_record(entry), entry.location.path
        revisions: list[answers.Revision] = []
        while True:
            page = await self._api.revisions(
                record.identifier, path, limit=PAGE, offset=len(revisions), drafts=drafts
            )
            revisions += page.revisions
            if len(page.revisions) < PAGE:
                current = page.current_revision_id
                return [_info(path, one, is_current=one.id == current) for one in revisions]

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
        record, path = _file_record(entry), entry.location.path
        if isinstance(version, str) and "@" in version:  # from a listing without revisions
            now = await self._indexes.fetch(record, path)
            if now.moment != version:
                raise NotFoundError(f"there is no revision {version!r}", path)
            return replace(now, pinned=now.revision is not None).entry_at(entry.location)
        if isinstance(version, bool) or not isinstance(version, int | str) or version == "":
            raise InvalidRequestError("a version is a revision's id or its number", path)
        key = "version" if isinstance(version, int) else "revision_id"
        before = await self._indexes.fetch_revision(record, {key: str(version)}, path)
        if version not in {before.revision, before.number}:
            raise NotFoundError(f"there is no revision {version!r}", path)
        return before.entry_at(entry.location)


def _file_record(entry: Entry) -> StoredEntry:
    if entry.kind != "file" or not isinstance(entry.record, StoredEntry):
        raise FolderError("only files have revisions", entry.location.path)
    return entry.record


def _info(path: str, revision: answers.Revision, *, is_current: bool) -> dict[str, Any]:
    content, config = revision.snapshot.content, revision.snapshot.storage_location
    metadata = {**(revision.snapshot.metadata or {}), **(told_by(config) if config else {})}
    note = claim(metadata, version=revision.version, revision=revision.id)
    checksum = checksum_of(note.size, note.md5, note.parts) if content is None else None
    size: Any = metadata.get("size") if content is None else len(content.encode())
    return {
        "name": path,
        "type": "file",
        "size": size if is_size(size) else None,
        "version": revision.id,
        "revision": revision.version,
        "base_version": revision.parent_revision_id,
        "current": is_current,
        "created": aware(revision.created_at),
        "published": aware(revision.published_at),
        "created_by": revision.created_by,
        "checksum": checksum,
        "metadata": unmarked(metadata, stored=content is None),
    }
