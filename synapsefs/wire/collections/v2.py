"""Models of the second generation of the collections service protocol (``/v2/``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal

from pydantic import Field

from synapsefs.wire.collections.constants import (
    NAME_MAX,
    SPECIFICATION_PATTERN,
)
from synapsefs.wire.collections.v1 import (
    FileSpecification,
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


class Group(Wire):
    """A group of units."""

    id: int
    name: str
    data_collection_id: int | None = None


# --- data files ----------------------------------------------------------------------------


class StoredFile(Wire):
    """A data file as ``/v2/data-files/`` answers it; ``file_size`` in bytes."""

    id: int
    checksum: str
    file_size: int | None = Field(default=None, ge=0)
    created: datetime | None = None
    storage_id: int | None = None
    meta: Any = None
