"""What the datasets service answers."""

from datetime import datetime
from typing import Any

from pydantic import Field

from synapsefs.wire.datasets.base import Model
from synapsefs.wire.datasets.constants import ShareStatus


class LoginAnswer(Model):
    """The bearer token of the ``/v0.1`` routes."""

    access_token: str


class Entry(Model):
    """A data storage entry.

    The members from ``metadata`` on are the embedded server's additions.
    ``size`` is in bytes (of the UTF-8 form for text), ``md5`` hexadecimal.
    """

    id: str
    name: str
    status: str
    user_id: str = ""
    created_at: datetime
    modified_at: datetime
    share_status: str = ShareStatus.PRIVATE.value
    description: str | None = None
    content: str | None = None
    embedding: list[float] | None = None
    is_collection: bool = False
    tags: list[str] | None = None
    parent_id: str | None = None
    project_id: str | None = None
    dataset_id: str | None = None
    file_path: str | None = None
    bigquery_schema: Any = None
    short_alias: str | None = None

    metadata: dict[str, Any] | None = None
    storage_type: str | None = None
    content_type: str | None = None
    size: int | None = Field(default=None, ge=0)
    md5: str | None = None
    version: int | None = None
    current_revision_id: str | None = None
    signed_url: str | None = None


class StorageConfig(Model):
    """Where one piece of an entry's content is; ``signed_url`` reads it."""

    storage_type: str
    content_type: str
    content_schema: Any = None
    metadata: Any = None
    location: str | None = None
    signed_url: str | None = None


class Location(Model):
    """One storage location of an entry."""

    id: str
    data_storage_id: str
    created_at: datetime
    storage_config: StorageConfig


class EntryResponse(Model):
    """An entry with its locations and the revision that was read."""

    data_storage: Entry
    storage_locations: list[Location] = Field(default_factory=list)
    content: str | None = None
    revision_id: str | None = None
    version: int = 0
    current_revision_id: str | None = None
    revision_generation: int = 0


class RevisionSnapshot(Model):
    """What an entry was at one revision."""

    name: str
    content: str | None = None
    storage_location: StorageConfig | None = None
    file_path: str | None = None
    metadata: dict[str, Any] | None = None
    embedding: list[float] | None = None


class Revision(Model):
    """One revision of an entry; a draft has no ``published_at``."""

    id: str
    entry_id: str
    version: int
    parent_revision_id: str | None = None
    snapshot: RevisionSnapshot
    created_by: str = ""
    trajectory_id: str | None = None
    created_at: datetime
    published_at: datetime | None = None


class RevisionList(Model):
    """The revisions of an entry, newest first."""

    entry_id: str
    current_revision_id: str | None = None
    revisions: list[Revision] = Field(default_factory=list)


class UploadInitiated(Model):
    """One signed PUT URL for every part, in order."""

    upload_id: str
    part_urls: list[str]


class DatasetCreated(Model):
    """The dataset that was created."""

    id: str
    name: str
    description: str | None = None


class Dataset(Model):
    """A dataset without its entries."""

    id: str
    name: str
    user_id: str = ""
    description: str | None = None
    created_at: datetime
    modified_at: datetime


class DatasetWithEntries(Model):
    """A dataset and, flat, its entries of every depth."""

    dataset: Dataset
    data_storage_entries: list[Entry] = Field(default_factory=list)


class DatasetListing(Model):
    """Every dataset the caller may see, newest first (embedded server only)."""

    datasets: list[Dataset] = Field(default_factory=list)


class SearchHit(Entry):
    """An entry that a search found."""

    score: float | None = None
    highlights: dict[str, list[str]] | None = None
