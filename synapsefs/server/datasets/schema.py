"""Tables of the datasets service.

An entry row says what the entry is; its name, content and bytes at each point
in time are its revisions, of which ``revision_id`` names the published one.
An upload's ``created_at`` is when it was last begun or completed.
The full-text index holds no text of its own: it reads the view ``ds_searchable``.
"""

from typing import Final

INDEXED_CHARACTERS: Final = 1_000_000
"""Characters of an entry's content that full-text search sees."""

SEARCHABLE_FIELDS: Final = ("name", "description", "content", "file_path", "tags")

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS ds_datasets (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    user_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    modified_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS ds_users (
    id TEXT PRIMARY KEY,
    is_owner INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS ds_projects (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS ds_entries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    short_alias TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    share_status TEXT NOT NULL,
    accessors TEXT,
    user_id TEXT NOT NULL,
    is_collection INTEGER NOT NULL,
    tags TEXT,
    metadata TEXT,
    embedding TEXT,
    parent_id TEXT,
    project_id TEXT,
    dataset_id TEXT,
    file_path TEXT,
    storage_type TEXT,
    content_type TEXT,
    location TEXT,
    location_metadata TEXT,
    content_schema TEXT,
    revision_id TEXT,
    generation INTEGER NOT NULL DEFAULT 0,
    indexed INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    modified_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ds_entries_dataset ON ds_entries (dataset_id);
CREATE INDEX IF NOT EXISTS ds_entries_parent ON ds_entries (parent_id);
CREATE INDEX IF NOT EXISTS ds_entries_unfinished ON ds_entries (created_at)
    WHERE status IN ('pending', 'failed');
CREATE INDEX IF NOT EXISTS ds_entries_unindexed ON ds_entries (seq) WHERE NOT indexed;
CREATE INDEX IF NOT EXISTS ds_entries_embedded ON ds_entries (seq) WHERE embedding IS NOT NULL;

CREATE TABLE IF NOT EXISTS ds_revisions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    entry_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    parent_revision_id TEXT,
    name TEXT NOT NULL,
    content TEXT,
    sha256 TEXT,
    sha1 TEXT,
    md5 TEXT,
    size INTEGER,
    storage_type TEXT NOT NULL,
    content_type TEXT NOT NULL,
    file_path TEXT,
    metadata TEXT,
    embedding TEXT,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    published_at TEXT,
    request_digest TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS ds_revisions_version ON ds_revisions (entry_id, version);
CREATE INDEX IF NOT EXISTS ds_revisions_blob ON ds_revisions (sha256) WHERE sha256 IS NOT NULL;

CREATE TABLE IF NOT EXISTS ds_uploads (
    id TEXT PRIMARY KEY,
    entry_id TEXT NOT NULL,
    part_hashes TEXT NOT NULL,
    created_at TEXT NOT NULL,
    sha256 TEXT,
    sha1 TEXT,
    md5 TEXT,
    size INTEGER
);
CREATE INDEX IF NOT EXISTS ds_uploads_entry ON ds_uploads (entry_id);
CREATE INDEX IF NOT EXISTS ds_uploads_blob ON ds_uploads (sha256) WHERE sha256 IS NOT NULL;

CREATE TABLE IF NOT EXISTS ds_objects (
    entry_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    size INTEGER,
    PRIMARY KEY (entry_id, position)
) WITHOUT ROWID;

CREATE VIEW IF NOT EXISTS ds_searchable AS
SELECT e.seq AS seq, e.name AS name, e.description AS description,
       substr(r.content, 1, {INDEXED_CHARACTERS}) AS content,
       e.file_path AS file_path, e.tags AS tags
FROM ds_entries e LEFT JOIN ds_revisions r ON r.id = e.revision_id;

CREATE VIRTUAL TABLE IF NOT EXISTS ds_search USING fts5(
    {", ".join(SEARCHABLE_FIELDS)}, content='ds_searchable', content_rowid='seq'
);
"""  # noqa: S608 - constants

IN_USE: Final = (
    "EXISTS (SELECT 1 FROM ds_revisions WHERE sha256 = :sha256)",
    "EXISTS (SELECT 1 FROM ds_uploads WHERE sha256 = :sha256)",
)
"""Conditions in SQL under which an object is still needed."""
