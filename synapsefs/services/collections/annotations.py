"""Metadata of data units, read and changed through their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapsefs.errors import UnsupportedError
from synapsefs.services.base import Entry


class UnitAnnotations:
    """What the service keeps of a unit besides its files."""

    async def read(self, entry: Entry) -> dict[str, Any]:
        """Give the unit's metadata."""
        raise UnsupportedError("not offered for collections", entry.location.path)

    async def change(self, entry: Entry, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Change the unit's metadata."""
        raise UnsupportedError("not offered for collections", entry.location.path)

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
