"""Models of the second generation of the collections service protocol (``/v2/``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal

from pydantic import Field

from synapsefs.wire.collections.constants import (
    EXPIRATION_DEFAULT,
    EXPIRATION_RANGE,
    FILENAME_MAX,
    NAME_MAX,
    PATH_MAX,
    PRESIGN_BATCH_MAX,
    SPECIFICATION_PATTERN,
    UNIT_BATCH,
)
from synapsefs.wire.collections.v1 import (
    FileSpecification,
    FileToConfirm,
    FileToPresign,
    GroupName,
    ItemT,
    Wire,
)

Category = Literal["image", "video", "audio", "text", "pcd", "data"]


class Pagination(Wire):
    """Where a list goes on; a cursor may be opaque or a full URL."""

    next_cursor: str | None = None
    previous_cursor: str | None = None
    per_page: int | None = None


class Meta(Wire):
    """The envelope's second half."""

    request_id: str | None = None
    pagination: Pagination | None = None


class Envelope(Wire, Generic[ItemT]):
    """A single object."""

    data: ItemT
    meta: Meta = Field(default_factory=Meta)


class ListEnvelope(Wire, Generic[ItemT]):
    """One page of a list."""

    data: list[ItemT]
    meta: Meta = Field(default_factory=Meta)


# --- collections ---------------------------------------------------------------------------


class SpecificationToCreate(Wire):
    """A file specification in a request; ``extensions`` is understood by our server only."""

    name: str = Field(pattern=f"^{SPECIFICATION_PATTERN}$")
    file_type: Category
    description: str | None = None
    configuration: Any = None
    is_sequential: bool = False
    is_required: bool = False
    is_primary: bool = False
    function_type: Literal["main", "sub", "meta", ""] | None = None
    index: int | None = None
    extensions: list[str] | None = None


class CollectionChanges(Wire):
    """Body of a PATCH; only the keys that were sent count (``model_fields_set``)."""

    name: str | None = Field(default=None, min_length=1, max_length=NAME_MAX)
    category: Category | None = None
    description: str | None = None
    meta: Any = None
    caution: Literal["sensitive_content", ""] | None = None
    access_level: Literal["public", "partially_public", "private"] | None = None
    file_specifications: list[SpecificationToCreate] | None = None


class CollectionToCreate(CollectionChanges):
    """Body of a POST or PUT."""

    name: str = Field(min_length=1, max_length=NAME_MAX)
    category: Category
    file_specifications: list[SpecificationToCreate]


class CollectionDetail(Wire):
    """A collection as ``/v2/data-collections/`` answers it; a list item lacks the later keys."""

    id: int
    name: str
    category: str | None = None
    category_display: str | None = None
    access_level: str | None = None
    is_archived: bool | None = None
    created: datetime | None = None
    count_projects: int | None = None
    tenant_id: int | None = None
    description: str | None = None
    meta: Any = None
    caution: str | None = None
    file_specifications: list[FileSpecification] | None = None


class GroupToCreate(Wire):
    """Body that creates a group."""

    name: GroupName


class Group(Wire):
    """A group of units."""

    id: int
    name: str
    data_collection_id: int | None = None


# --- uploads -------------------------------------------------------------------------------


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


# --- data units ----------------------------------------------------------------------------


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


class BulkResult(Wire):
    """What became of one unit: a new one, or an equal one that was there."""

    data_unit_id: int
    checksum: str | None = None
    created: bool = True


class BulkAnswer(Wire):
    """Answer to a bulk creation, in the order of the request."""

    results: list[BulkResult]
    created_count: int | None = None
    reused_count: int | None = None


class UnitChanges(Wire):
    """Body of a PATCH; only the keys that were sent count (``model_fields_set``)."""

    data_collection: int | None = None
    group: int | None = None
    meta: dict[str, Any] | None = None


class BareUnit(UnitChanges):
    """Body that creates or replaces a unit without touching files."""

    data_collection: int


class UnitDetail(Wire):
    """A unit as ``/v2/data-units/`` answers it: neither files nor names."""

    id: int
    data_collection_id: int
    checksum: str | None = None
    group_id: int | None = None
    meta: Any = None
    created: datetime | None = None


# --- data files ----------------------------------------------------------------------------


class StoredFile(Wire):
    """A data file as ``/v2/data-files/`` answers it; ``file_size`` in bytes."""

    id: int
    checksum: str
    file_size: int | None = Field(default=None, ge=0)
    created: datetime | None = None
    storage_id: int | None = None
    meta: Any = None


# --- errors --------------------------------------------------------------------------------


class FieldError(Wire):
    """One complaint about one field."""

    field: str | None = None
    message: str = ""


class ErrorBody(Wire):
    """The error inside an :class:`ErrorEnvelope`."""

    code: str = ""
    message: str = ""
    details: list[FieldError] | None = None
    status: int | None = None


class ErrorEnvelope(Wire):
    """Body of every error answer of this generation."""

    error: ErrorBody
    meta: Meta = Field(default_factory=Meta)
