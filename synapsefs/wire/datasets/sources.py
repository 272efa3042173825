"""What must be said of a source outside the service when it is registered."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synapsefs.wire.datasets.constants import ContentType, StorageType

Text = Annotated[str, Field(min_length=1)]


class _Source(BaseModel):
    """Further keys of the metadata pass as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage_type: str
    content_type: ContentType
    location: Text | None = None
    content_schema: Any = None


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class BucketMetadata(_Metadata):
    """A bucket, and what of it."""

    bucket_name: Text
    prefix: Text | None = None


class GcsSource(_Source):
    """An object of a bucket (``location``), or all objects with a prefix, or all of them."""

    storage_type: Literal["gcs"] = "gcs"
    content_type: Literal[ContentType.FILE, ContentType.DIRECTORY] = ContentType.DIRECTORY
    metadata: BucketMetadata

    @model_validator(mode="after")
    def _one_kind(self) -> "GcsSource":
        if self.location is not None and self.metadata.prefix is not None:
            raise ValueError("name a location (one object) or a prefix (many), not both")
        single = self.content_type is ContentType.FILE
        if single != (self.location is not None):
            raise ValueError("a file has a location, a directory has none")
        return self


class RowMetadata(_Metadata):
    """A row of a table."""

    table_name: Text
    row_id: Text | int


class RowSource(_Source):
    """A row of a PostgreSQL table, read as text."""

    storage_type: Literal["pg_table"] = "pg_table"
    content_type: ContentType = ContentType.TEXT
    metadata: RowMetadata


class TableMetadata(_Metadata):
    """A BigQuery table."""

    project_id: Text
    dataset_id: Text
    table_id: Text


class TableSource(_Source):
    """A BigQuery table, described only."""

    storage_type: Literal["bigquery"] = "bigquery"
    content_type: Literal[ContentType.BQ_TABLE, ContentType.BQ_DATASET] = ContentType.BQ_TABLE
    metadata: TableMetadata


class IndexSource(_Source):
    """An Elasticsearch index, described only."""

    storage_type: Literal["elastic_search"] = "elastic_search"
    content_type: Literal[ContentType.INDEX, ContentType.INDEX_W_EMBEDDINGS] = ContentType.INDEX
    metadata: _Metadata = _Metadata()


Source = GcsSource | RowSource | TableSource | IndexSource

SOURCES: Final[dict[str, type[Source]]] = {
    StorageType.GCS.value: GcsSource,
    StorageType.PG_TABLE.value: RowSource,
    StorageType.BIGQUERY.value: TableSource,
    StorageType.ELASTIC_SEARCH.value: IndexSource,
}
"""Models by storage type."""
