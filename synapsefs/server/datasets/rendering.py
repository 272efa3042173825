"""Rows of the catalogue as the JSON objects that go out."""

from __future__ import annotations

import posixpath
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.datasets.records import decoded
from synapsefs.server.digests import Blob
from synapsefs.wire.datasets.constants import ContentType, StorageType

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from synapsefs.server.datasets.entries import ObjectInSource

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Renderer:
    """Turns rows into JSON objects.

    Parameters
    ----------
    blob_url
        Signed URL that reads a blob under a file name.
    source_url
        Signed URL that reads the object `key` of the bucket of a registered source.
    strict
        Leave out what official answers lack.
    """

    blob_url: Callable[[Blob, str], str]
    source_url: Callable[[str, str], str]
    strict: bool

    def entry(self, row: sqlite3.Row, *, content: str | None) -> Json:
        """Return an entry, with `content` in its place."""
        entry = {
            **{name: row[name] for name in _PLAIN},
            "is_collection": bool(row["is_collection"]),
            "tags": decoded(row["tags"]),
            "embedding": decoded(row["embedding"]),
            "content": content,
        }
        if not self.strict:
            entry.update({name: row[name] for name in _EXTRA}, metadata=decoded(row["metadata"]))
        return entry

    def listed(self, row: sqlite3.Row, *, content: str | None) -> Json:
        """Return an entry as it stands in a dataset, without members that are null."""
        entry = self.entry(row, content=content)
        if not self.strict:
            entry["signed_url"] = self._signed_url(row)
        return {name: value for name, value in entry.items() if value is not None}

    def response(
        self, row: sqlite3.Row, objects: list[ObjectInSource], *, content: str | None
    ) -> Json:
        """Return an entry with its locations.

        Parameters
        ----------
        row
            The entry at one revision.
        objects
            What a registered collection consists of.
        content
            Its text, or None to leave it out.

        Returns
        -------
        dict
            A JSON object.
        """
        return {
            "data_storage": self.entry(row, content=content),
            "storage_locations": self._locations(row, objects),
            "content": content,
            "revision_id": row["revision_id"],
            "version": row["version"],
            "current_revision_id": row["current_revision_id"],
            "revision_generation": row["generation"],
        }

    def _locations(self, row: sqlite3.Row, objects: list[ObjectInSource]) -> list[Json]:
        if objects:
            return [self._object_location(row, found) for found in objects]
        if row["storage_type"] is None:
            return []
        config = {
            "storage_type": row["storage_type"],
            "content_type": row["content_type"],
            "content_schema": decoded(row["content_schema"]),
            "metadata": _metadata(row, row["location_metadata"] or row["metadata"]),
            "location": row["location"] or _own_location(row["id"], row),
            "signed_url": self._signed_url(row),
        }
        return [_location(row, "", config)]

    def _signed_url(self, row: sqlite3.Row) -> str | None:
        blob = blob_of(row)
        return None if blob is None else self.blob_url(blob, file_name(row))

    def _object_location(self, row: sqlite3.Row, found: ObjectInSource) -> Json:
        """Location of one object of a registered source."""
        metadata = decoded(row["location_metadata"]) or {}
        config = {
            "storage_type": StorageType.GCS.value,
            "content_type": ContentType.FILE.value,
            "content_schema": None,
            "metadata": {**metadata, "size": found.size},
            "location": found.key,
            "signed_url": self.source_url(str(metadata.get("bucket_name")), found.key),
        }
        return _location(row, found.key, config)


_PLAIN: Final = (
    "id",
    "name",
    "status",
    "user_id",
    "created_at",
    "modified_at",
    "share_status",
    "description",
    "parent_id",
    "project_id",
    "dataset_id",
    "file_path",
    "short_alias",
)
_EXTRA: Final = ("storage_type", "content_type", "size", "md5", "version", "current_revision_id")


def revision(row: sqlite3.Row) -> Json:
    """Return one revision in full."""
    config = {
        "storage_type": row["storage_type"],
        "content_type": row["content_type"],
        "metadata": _metadata(row, row["metadata"]),
        "location": _own_location(row["entry_id"], row),
    }
    snapshot = {
        "name": row["name"],
        "content": row["content"],
        "storage_location": config,
        "file_path": row["file_path"],
        "metadata": decoded(row["metadata"]),
        "embedding": decoded(row["embedding"]),
    }
    told = {name: row[name] for name in _REVISION}
    return {**told, "trajectory_id": None, "snapshot": snapshot}


_REVISION: Final = (
    "id",
    "entry_id",
    "version",
    "parent_revision_id",
    "created_by",
    "created_at",
    "published_at",
)
_DATASET: Final = ("id", "name", "user_id", "description", "created_at", "modified_at")


def dataset(row: sqlite3.Row) -> Json:
    """Return a dataset without its entries."""
    return {name: row[name] for name in _DATASET}


def blob_of(row: sqlite3.Row) -> Blob | None:
    """Return the blob of an entry or revision, None when it has none."""
    if row["sha256"] is None:
        return None
    return Blob(row["sha256"], row["sha1"], row["md5"], row["size"])


def file_name(row: sqlite3.Row) -> str:
    """Return the name that a file of this entry has when it is downloaded."""
    return base_name(row["file_path"] or "") or base_name(row["name"]) or "file"


def base_name(path: str) -> str:
    """Return the last part of a path of any platform."""
    return posixpath.basename(path.replace("\\", "/"))


def _location(row: sqlite3.Row, part: str, config: Json) -> Json:
    return {
        "id": str(uuid.uuid5(uuid.UUID(row["id"]), part)),
        "data_storage_id": row["id"],
        "created_at": row["created_at"],
        "storage_config": config,
    }


def _metadata(row: sqlite3.Row, text: str | None) -> Any:
    """Metadata of a location: what came with it, with the true size in place of a claimed one."""
    metadata = decoded(text)
    if row["sha256"] is None and not (isinstance(metadata, dict) and "size" in metadata):
        return metadata
    return metadata if row["size"] is None else {**(metadata or {}), "size": row["size"]}


def _own_location(key: str, row: sqlite3.Row) -> str | None:
    """Name of a blob in the service's own bucket."""
    return None if row["sha256"] is None else f"{key}/{file_name(row)}"
