"""Paths, limits and enumerated values of the datasets service."""

from enum import StrEnum
from typing import Final

LOGIN_PATH: Final = "/auth/login"
ENTRIES_PATH: Final = "/v0.1/data-storage/data-entries"
DATASETS_PATH: Final = "/v0.1/data-storage/datasets"
SEARCH_PATH: Final = "/v0.1/data-storage/search"
SIMILARITY_PATH: Final = "/v0.1/data-storage/similarity-search"
WORKSPACES_PATH: Final = "/v0.1/data-storage/workspaces"
PROVENANCE_PATH: Final = "/v0.1/data-storage/provenance/data-entries"
ORGANIZATIONS_PATH: Final = "/v0.1/organizations"
PROJECTS_PATH: Final = "/v0.1/projects"

LISTING_PATH: Final = "/_synapsefs/v1/datasets"
"""Route of the embedded server alone: every dataset the caller may see."""

CLIENT_HEADER: Final = "x-client"
CONTENT_MD5_HEADER: Final = "Content-MD5"

SMALL_TEXT_SUFFIXES: Final = frozenset({".txt", ".md", ".csv", ".json", ".yaml", ".yml"})
"""Suffixes (lower case) whose files may be stored as inline text."""

SMALL_TEXT_LIMIT: Final = 10 * 1024 * 1024
"""Bytes; inline text is strictly shorter than this."""

INLINE_LISTING_LIMIT: Final = 64 * 1024
"""UTF-8 bytes; longer text is left out of the entries of a dataset."""

MIN_PART_SIZE: Final = 5 * 1024 * 1024
"""Bytes; the storage behind the service may refuse smaller parts, the last one excepted."""

MAX_PARTS: Final = 10_000
REVISIONS_LIMIT_MAX: Final = 100
SEARCH_LIMIT_MAX: Final = 1000


class Status(StrEnum):
    """State of an entry."""

    PENDING = "pending"
    ACTIVE = "active"
    FAILED = "failed"
    DISABLED = "disabled"


class ShareStatus(StrEnum):
    """Who may read an entry besides its owner."""

    PRIVATE = "private"
    PUBLIC = "public"
    SHARED = "shared"


class StorageType(StrEnum):
    """Where the content of an entry lives."""

    BIGQUERY = "bigquery"
    GCS = "gcs"
    LINK = "link"
    PG_TABLE = "pg_table"
    RAW_CONTENT = "raw_content"
    ELASTIC_SEARCH = "elastic_search"


class ContentType(StrEnum):
    """What the content of an entry is."""

    BQ_DATASET = "bq_dataset"
    BQ_TABLE = "bq_table"
    TEXT = "text"
    TEXT_W_EMBEDDINGS = "text_w_embeddings"
    DIRECTORY = "directory"
    FILE = "file"
    INDEX = "index"
    INDEX_W_EMBEDDINGS = "index_w_embeddings"


class Operator(StrEnum):
    """How a search criterion compares."""

    EQUALS = "equals"
    CONTAINS = "contains"
    FULLTEXT = "fulltext"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    GREATER_THAN = "greater_than"
    LESS_THAN = "less_than"
    BETWEEN = "between"
    IN = "in"


class FilterLogic(StrEnum):
    """How search criteria combine."""

    AND = "AND"
    OR = "OR"
