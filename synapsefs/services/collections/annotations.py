"""Metadata of data units, read and changed through their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapsefs.errors import InvalidRequestError, UnsupportedError
from synapsefs.services.base import Entry
from synapsefs.services.collections.directory import CollectionDirectory, CollectionRecord
from synapsefs.services.collections.index import BoundFile
from synapsefs.services.collections.metadata import changed_metadata
from synapsefs.services.collections.publish import UnitPublisher


class UnitAnnotations:
    """What the service keeps of a unit besides its files.

    Parameters
    ----------
    directory, publisher
        The collections, and what changes units in them.
    """

    def __init__(self, directory: CollectionDirectory, publisher: UnitPublisher) -> None:
        self._directory = directory
        self._publisher = publisher

    async def read(self, entry: Entry) -> dict[str, Any]:
        """Give the metadata of a file's unit; of a collection what it says of itself."""
        if isinstance(entry.record, BoundFile):
            return entry.record.unit.own_meta
        return dict(entry.record.details) if isinstance(entry.record, CollectionRecord) else {}

    async def change(self, entry: Entry, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Change the metadata of a file's unit; what is not named stays."""
        about = entry.location.path
        if not isinstance(entry.record, BoundFile):
            raise UnsupportedError("only units have metadata to set, through their files", about)
        collection = await self._directory.for_writing(entry.location)

        def changed(before: Mapping[str, Any]) -> dict[str, Any]:
            meta, problems = changed_metadata(before, changes, collection.rule)
            if problems:
                raise InvalidRequestError("; ".join(problems), about)
            return meta

        await self._publisher.set_metadata(collection, entry.record.unit, changed, about)
        return None

    async def tags(self, entry: Entry) -> list[str]:
        """Refuse: units have no tags."""
        raise UnsupportedError("collections have no tags", entry.location.path)

    async def set_tags(self, entry: Entry, tags: Sequence[str]) -> None:  # noqa: ARG002
        """Refuse: units have no tags."""
        raise UnsupportedError("collections have no tags", entry.location.path)

    async def share(self, entry: Entry, status: str, accessors: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Refuse: the service shares by project and tenant."""
        raise UnsupportedError("collections are not shared one by one", entry.location.path)

    async def described(self, entry: Entry) -> Entry:
        """Give the entry: listings tell all."""
        return entry

    async def carried(self, entry: Entry) -> Mapping[str, Any]:  # noqa: ARG002
        """Give nothing: a copy binds the same file to a unit of its own."""
        return {}
