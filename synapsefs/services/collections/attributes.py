"""Metadata of data units, read and changed through their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapsefs.errors import InvalidRequestError, UnsupportedError
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import Collection, CollectionCatalog
from synapsefs.services.collections.publish import UnitPublisher
from synapsefs.services.collections.schema import changed_metadata
from synapsefs.services.collections.unit import UnitFile
from synapsefs.services.shared import SharedChanges
from synapsefs.wire.collections import metadata

SETTABLE = ("access_level", "category", "description", "meta")
"""What can be changed of a collection. Its specifications cannot: those left out would go."""


class UnitAttributes:
    """Reads and changes what the service keeps of units and collections besides files."""

    def __init__(
        self, catalog: CollectionCatalog, publisher: UnitPublisher, changes: SharedChanges
    ) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._changes = changes

    async def read(self, entry: Entry) -> dict[str, Any]:
        """Give the metadata of a file's unit; of a collection what it says of itself."""
        if isinstance(entry.record, UnitFile):
            return entry.record.unit.own_meta
        if isinstance(entry.record, Collection):
            return await self._catalog.attributes(entry.record, entry.location.path)
        return {}

    async def change(self, entry: Entry, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Change the metadata of a file's unit, or a collection; what is not named stays."""
        path = entry.location.path
        if isinstance(entry.record, Collection):
            await self._catalog.change(entry.record, _settable(changes, path), path)
            return None
        if not isinstance(entry.record, UnitFile):
            raise UnsupportedError("only units have metadata to set, through their files", path)
        collection = await self._catalog.for_writing(entry.location)

        def changed(before: Mapping[str, Any]) -> dict[str, Any]:
            meta, problems = changed_metadata(before, changes, collection.rule)
            if problems:
                raise InvalidRequestError("; ".join(problems), path)
            return meta

        try:
            await self._publisher.set_metadata(collection, entry.record, changed, path)
        finally:
            self._changes.note(collection.identifier)
        return None

    async def copy_options(self, entry: Entry) -> Mapping[str, Any]:
        """Give what makes a collection like this one; a file's copy is bound with its metadata."""
        if not isinstance(entry.record, Collection):
            return {}
        return await self._catalog.settings(entry.record, entry.location.path)


def _settable(changes: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Check what is to be set of a collection; None removes a description or metadata.

    Raises
    ------
    UnsupportedError
        For what a collection does not have.
    InvalidRequestError
        For what it cannot be without.
    """
    if others := sorted(set(changes) - set(SETTABLE)):
        raise UnsupportedError(
            f"a collection has no {', '.join(others)}: {', '.join(SETTABLE)} can be set; "
            "metadata of units is set through their files",
            path,
        )
    lasting = [name for name in ("category", "access_level") if changes.get(name, "") is None]
    if lasting:
        raise InvalidRequestError(f"a collection always has {' and '.join(lasting)}", path)
    schema = metadata.schema_in(changes.get("meta"))
    if schema is not None and (problem := metadata.schema_problem(schema, checkable=False)):
        raise InvalidRequestError(f"meta: {problem}", path)
    return {
        name: "" if (name, value) == ("description", None) else value
        for name, value in changes.items()
    }
