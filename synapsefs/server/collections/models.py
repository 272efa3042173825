"""Models of requests of the second generation that only a server reads."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from synapsefs.wire.collections.constants import (
    EXPIRATION_DEFAULT,
    EXPIRATION_RANGE,
    FILENAME_MAX,
    PATH_MAX,
    PRESIGN_BATCH_MAX,
    UNIT_BATCH,
)
from synapsefs.wire.collections.v1 import FileToConfirm, FileToPresign, GroupName, Wire


class GroupToCreate(Wire):
    """Body that creates a group."""

    name: GroupName


class FileToUpload(FileToPresign):
    """A file that an upload URL is asked for; this generation refuses empty files."""

    filename: str = Field(min_length=1, max_length=FILENAME_MAX)
    size: int = Field(ge=1)


class UploadQuery(Wire):
    """Body of an ``upload-urls`` request; ``expiration`` in seconds."""

    files: list[FileToUpload] = Field(min_length=1, max_length=PRESIGN_BATCH_MAX)
    expiration: int = Field(
        default=EXPIRATION_DEFAULT, ge=EXPIRATION_RANGE[0], le=EXPIRATION_RANGE[1]
    )


class FileToFinalise(FileToConfirm):
    """A file that was sent; this generation refuses empty files."""

    size: int = Field(ge=1)


class FinaliseQuery(Wire):
    """Body of a ``finalize-upload`` request."""

    files: list[FileToFinalise] = Field(min_length=1, max_length=PRESIGN_BATCH_MAX)


class FileReference(Wire):
    """A file of a unit to create in bulk, by its checksum."""

    checksum: str = Field(min_length=1)
    path: str | None = Field(default=None, max_length=PATH_MAX)


class BulkUnit(Wire):
    """A unit to create in bulk."""

    files: dict[str, FileReference]
    groups: list[GroupName] | None = None
    meta: dict[str, Any] | None = None


class BulkQuery(Wire):
    """Body of ``POST data-units/bulk-create/``."""

    data_collection: int
    units: list[BulkUnit] = Field(min_length=1, max_length=UNIT_BATCH)


class UnitChanges(Wire):
    """Body of a PATCH; only the keys that were sent count (``model_fields_set``)."""

    data_collection: int | None = None
    group: int | None = None
    meta: dict[str, Any] | None = None


class BareUnit(UnitChanges):
    """Body that creates or replaces a unit without touching files."""

    data_collection: int
