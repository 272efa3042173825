"""Models of the first generation of the collections service protocol."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from synapsefs.wire.collections.constants import (
    EXPIRATION_DEFAULT,
    EXPIRATION_RANGE,
    GROUP_NAME_MAX,
    PATH_MAX,
    PRESIGN_BATCH_MAX,
    PRESIGN_PROVIDERS,
)

ItemT = TypeVar("ItemT")
IntOrStr = int | str


def _listed(value: Any) -> Any:
    """Read a bare list as a page that holds all of it."""
    return {"count": len(value), "results": value} if isinstance(value, list) else value


def _object(value: Any) -> Any:
    """Read null as an empty object."""
    return {} if value is None else value


class Wire(BaseModel):
    """Base of all models: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Page(Wire, Generic[ItemT]):
    """One page of a first-generation list; ``next`` is an absolute URL or None."""

    count: int | None = None
    next: str | None = None
    previous: str | None = None
    results: list[ItemT] = Field(default_factory=list)


# --- collections ---------------------------------------------------------------------------


class FileSpecification(Wire):
    """What a unit of a collection may or must hold under one name."""

    name: str
    id: int | None = None
    file_type: str | None = None
    description: str | None = None
    configuration: Any = None
    extensions: list[str] | None = None
    is_sequential: bool | None = None
    is_required: bool | None = None
    is_primary: bool | None = None
    function_type: str | None = None
    index: int | None = None


class Collection(Wire):
    """A data collection; ``file_specifications`` may be ids only, unless expanded."""

    id: int
    name: str
    description: str | None = None
    category: str | None = None
    project: int | None = None
    meta: Any = None
    file_specifications: list[FileSpecification | int] | None = None
    created_at: datetime | None = None
    created: datetime | None = None

    @property
    def specifications(self) -> list[FileSpecification] | None:
        """The specifications, or None when the answer did not spell them out."""
        if self.file_specifications is None:
            return None
        full = [spec for spec in self.file_specifications if isinstance(spec, FileSpecification)]
        return full if len(full) == len(self.file_specifications) else None


CollectionPage = Page[Collection]

# --- data files ----------------------------------------------------------------------------


class DataFile(Wire):
    """A stored file, as direct upload and chunked registration answer it."""

    id: int
    checksum: str
    file: str | None = None
    size: int | None = Field(default=None, ge=0)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class DataFileFromChunks(Wire):
    """Body of ``POST data_files/`` that registers a finished chunked upload."""

    chunked_upload: IntOrStr
    meta: Any = None


class ChecksumQuery(Wire):
    """Body of ``POST data_files/verify_checksums/``."""

    checksums: list[str]


class ChecksumAnswer(Wire):
    """Which of the checksums asked for are known, as they were sent."""

    existing_checksums: list[str] = Field(default_factory=list)


class ChunkedUpload(Wire):
    """State of a chunked upload; also its finalise answer, where only ``id`` is certain."""

    id: IntOrStr
    url: str | None = None
    offset: int | None = None
    filename: str | None = None
    file: str | None = None
    checksum: str | None = None
    size: int | None = Field(default=None, ge=0)
    status: int | None = None
    created_at: str | None = None
    completed_at: str | None = None


class Finalise(Wire):
    """Body that finishes a chunked upload: the MD5 of the whole file in hex."""

    md5: str


class OffsetRefused(Wire):
    """Body of a 400 that tells where a chunked upload stands."""

    expected_offset: int
    detail: str | None = None
    provided_offset: int | None = None


# --- storages and presigned uploads --------------------------------------------------------


class Storage(Wire):
    """Where a tenant's files are kept."""

    id: int
    name: str = ""
    category: str = "internal"
    provider: str = ""
    configuration: Annotated[dict[str, Any], BeforeValidator(_object)] = Field(default_factory=dict)
    is_default: bool = False

    @property
    def presigns(self) -> bool:
        """Whether uploads to this storage can be presigned."""
        return self.provider.lower() in PRESIGN_PROVIDERS


StoragePage = Annotated[Page[Storage], BeforeValidator(_listed)]
"""A page of storages, or a bare list of them; parse it with a ``TypeAdapter``."""


class FileToPresign(Wire):
    """A file that a presigned upload is asked for; ``size`` in bytes."""

    filename: str = Field(min_length=1, max_length=PATH_MAX)
    size: int = Field(ge=0)
    content_type: str | None = None


class PresignQuery(Wire):
    """Body of a presign request; ``expiration`` in seconds."""

    files: list[FileToPresign] = Field(min_length=1, max_length=PRESIGN_BATCH_MAX)
    expiration: int = Field(
        default=EXPIRATION_DEFAULT, ge=EXPIRATION_RANGE[0], le=EXPIRATION_RANGE[1]
    )


class PresignedPart(Wire):
    """Where one part goes."""

    part_number: int
    presigned_url: str


class PresignedMultipart(Wire):
    """Where the parts of a large file go; ``part_size`` in bytes, the last may be shorter."""

    upload_id: str
    part_size: int
    parts: list[PresignedPart]


class PresignedFile(Wire):
    """Where one file goes: exactly one of ``presigned_url`` and ``multipart`` is set."""

    file_key: str
    filename: str | None = None
    presigned_url: str | None = None
    multipart: PresignedMultipart | None = None


class PresignAnswer(Wire):
    """Answer to a presign request, in the order of the request."""

    files: list[PresignedFile]
    expires_at: str | None = None


class UploadedPart(Wire):
    """A part that was sent, with the ETag it was answered with."""

    part_number: int
    etag: str = Field(min_length=1, max_length=255)


class UploadedParts(Wire):
    """All parts of one multipart upload."""

    upload_id: str
    parts: list[UploadedPart]


class FileToConfirm(Wire):
    """A file that was sent; ``checksum`` is hex MD5, SHA-1 or SHA-256, told by its length."""

    file_key: str = Field(max_length=PATH_MAX)
    checksum: str = Field(max_length=128)
    size: int
    multipart: UploadedParts | None = None


class ConfirmQuery(Wire):
    """Body of a confirm request."""

    files: list[FileToConfirm] = Field(min_length=1, max_length=PRESIGN_BATCH_MAX)


class ConfirmedFile(Wire):
    """What became of one confirmed file."""

    file_key: str
    checksum: str | None = None
    data_file_id: int | None = None
    success: bool = False
    created: bool | None = None
    error: str | None = None


class ConfirmAnswer(Wire):
    """Answer to a confirm request."""

    results: list[ConfirmedFile]
    created_count: int | None = None
    failed_count: int | None = None


# --- data units ----------------------------------------------------------------------------


class FileBinding(Wire):
    """A file of a unit to create, by its checksum; ``path`` is the uploader's own."""

    checksum: str = Field(min_length=1)
    path: str | None = None
    meta: Any = None


GroupName = Annotated[str, Field(min_length=1, max_length=GROUP_NAME_MAX)]


class UnitToCreate(Wire):
    """A unit to create with ``POST data_units/``; groups go from the outermost inwards."""

    data_collection: int
    files: dict[str, FileBinding]
    meta: dict[str, Any] | None = None
    groups: list[GroupName] | None = None


class UnitFile(Wire):
    """A file of a unit; only ``url`` is certain, and a null one means that nothing is there."""

    url: str | None = None
    id: int | None = None
    checksum: str | None = None
    size: int | None = Field(default=None, ge=0)
    file_name_original: str | None = None
    filename: str | None = None
    name: str | None = None
    path: str | None = None
    specification: str | None = None
    specification_name: str | None = None
    file_type: str | None = None
    is_primary: bool | None = None
    meta: Any = None

    @property
    def original_name(self) -> str | None:
        """Name or path that the file was uploaded with, under whichever key it came."""
        return self.file_name_original or self.filename or self.path or self.name


class Unit(Wire):
    """A data unit; use :meth:`unit_files`, since ``files`` has several forms."""

    id: int
    data_collection: int | None = None
    files: dict[str, UnitFile | str | None] | list[UnitFile] | None = None
    meta: Any = None
    checksum: str | None = None
    group: Any = None
    created_at: datetime | None = None

    def unit_files(self) -> dict[str, UnitFile]:
        """Return the files by the name of their specification.

        Returns
        -------
        dict
            Files that have a URL; entries of the list form that name no specification are left
            out.
        """
        if isinstance(self.files, list):
            named = ((f.specification or f.specification_name or f.name, f) for f in self.files)
            return {name: file for name, file in named if name and file.url}
        given = (self.files or {}).items()
        full = ((name, UnitFile(url=f) if isinstance(f, str) else f) for name, f in given)
        return {name: file for name, file in full if file is not None and file.url}


UnitPage = Page[Unit]
