"""What clients of the datasets service send."""

from typing import Annotated, Any

from pydantic import Field

from synapsefs.wire.datasets.base import Model
from synapsefs.wire.datasets.constants import MAX_PARTS, SEARCH_LIMIT_MAX, FilterLogic, Operator

Name = Annotated[str, Field(min_length=1)]


class LoginRequest(Model):
    """An API key in exchange for a bearer token."""

    api_key: str


class DatasetCreate(Model):
    """A new dataset."""

    name: Name
    description: str | None = None
    id: str | None = None


class LocationPayload(Model):
    """Where the content of a registered source or link already is."""

    storage_type: str
    content_type: str
    content_schema: Any = None
    metadata: Any = None
    location: str | None = None


class EntryCreate(Model):
    """A new entry; which members are set decides what it becomes."""

    name: Name
    description: str | None = None
    content: str | None = None
    embedding: list[float] | None = None
    is_collection: bool = False
    parent_id: str | None = None
    project_id: str | None = None
    dataset_id: str | None = None
    file_path: str | None = None
    existing_location: LocationPayload | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None


class PermittedAccessors(Model):
    """Who else may read a shared entry."""

    users: list[str] | None = None
    organizations: list[str] | None = None


class EntryPatch(Model):
    """A change of an entry; ``model_fields_set`` tells its kinds apart.

    A revision carries ``revision_id`` and ``base_revision_id``.
    """

    status: str | None = None
    tags: list[str] | None = None
    share_status: str | None = None
    permitted_accessors: PermittedAccessors | None = None
    revision_id: str | None = None
    base_revision_id: str | None = None
    content: str | None = None
    source_entry_id: str | None = None
    name: Name | None = None
    description: str | None = None
    publish: bool = True


class UploadInitiate(Model):
    """Base64 MD5 of every part, in order."""

    part_hashes: list[str] = Field(min_length=1, max_length=MAX_PARTS)


class PartDone(Model):
    """One part that the storage accepted."""

    part_number: int = Field(ge=1, le=MAX_PARTS)
    etag: str = ""
    checksum: str | None = None


class UploadComplete(Model):
    """All parts of an upload."""

    upload_id: str
    parts: list[PartDone]


class Criterion(Model):
    """One comparison of a search."""

    field: str
    operator: Operator
    value: str | bool | float | list[str | bool | float]


class SearchRequest(Model):
    """A search over the entries the caller may see."""

    criteria: list[Criterion] = Field(default_factory=list)
    limit: int = Field(default=10, ge=1, le=SEARCH_LIMIT_MAX)
    offset: int = Field(default=0, ge=0)
    filter_logic: FilterLogic = FilterLogic.OR
    text_query: str | None = None
    highlight: bool = False
    highlight_fields: list[str] | None = None
    highlight_fragment_size: int = Field(default=1000, ge=1)
    highlight_num_fragments: int = Field(default=3, ge=0)


class SimilarityRequest(Model):
    """A search by the cosine of embeddings."""

    embedding: list[float] = Field(min_length=1)
    size: int = Field(default=10, ge=1, le=SEARCH_LIMIT_MAX)
    min_score: float = 0.7
    dataset_id: str | None = None
    tags: list[str] | None = None
    user_id: str | None = None
    project_id: str | None = None
