"""Tables of the collections service."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    meta TEXT NOT NULL DEFAULT 'null',
    caution TEXT NOT NULL DEFAULT '',
    access_level TEXT NOT NULL DEFAULT 'private',
    created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS collections_by_tenant ON collections (tenant, id);

CREATE TABLE IF NOT EXISTS specifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections (id),
    name TEXT NOT NULL,
    file_type TEXT NOT NULL,
    description TEXT,
    configuration TEXT NOT NULL DEFAULT 'null',
    extensions TEXT NOT NULL DEFAULT 'null',
    is_sequential INTEGER NOT NULL DEFAULT 0,
    is_required INTEGER NOT NULL DEFAULT 0,
    is_primary INTEGER NOT NULL DEFAULT 0,
    function_type TEXT,
    "index" INTEGER,
    UNIQUE (collection_id, name)
);

CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections (id),
    parent_id INTEGER NOT NULL DEFAULT 0,
    name TEXT NOT NULL,
    UNIQUE (collection_id, parent_id, name)
);

CREATE TABLE IF NOT EXISTS data_files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    sha1 TEXT NOT NULL,
    md5 TEXT NOT NULL,
    checksum TEXT NOT NULL,
    size INTEGER NOT NULL,
    name TEXT NOT NULL,
    created REAL NOT NULL,
    UNIQUE (tenant, sha256)
);
CREATE INDEX IF NOT EXISTS data_files_by_md5 ON data_files (tenant, md5);
CREATE INDEX IF NOT EXISTS data_files_by_sha1 ON data_files (tenant, sha1);
CREATE INDEX IF NOT EXISTS data_files_by_sha256 ON data_files (sha256);

CREATE TABLE IF NOT EXISTS units (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections (id),
    group_id INTEGER,
    meta TEXT NOT NULL,
    checksum TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS units_by_collection ON units (collection_id, id);
CREATE INDEX IF NOT EXISTS units_by_checksum ON units (collection_id, checksum);
CREATE INDEX IF NOT EXISTS units_by_group ON units (group_id);

CREATE TABLE IF NOT EXISTS unit_files (
    unit_id INTEGER NOT NULL REFERENCES units (id) ON DELETE CASCADE,
    specification_id INTEGER NOT NULL REFERENCES specifications (id),
    data_file_id INTEGER NOT NULL REFERENCES data_files (id),
    name TEXT NOT NULL,
    meta TEXT NOT NULL,
    PRIMARY KEY (unit_id, specification_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unit_files_by_specification ON unit_files (specification_id);
CREATE INDEX IF NOT EXISTS unit_files_by_data_file ON unit_files (data_file_id);

CREATE TABLE IF NOT EXISTS chunked_uploads (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    filename TEXT NOT NULL,
    total INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    created REAL NOT NULL,
    touched REAL NOT NULL,
    completed REAL,
    sha256 TEXT,
    sha1 TEXT,
    md5 TEXT
);

CREATE TABLE IF NOT EXISTS presigned_files (
    file_key TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    filename TEXT NOT NULL,
    parts INTEGER NOT NULL,
    created REAL NOT NULL,
    data_file_id INTEGER,
    is_new INTEGER
);
CREATE INDEX IF NOT EXISTS presigned_files_by_age ON presigned_files (created);
CREATE INDEX IF NOT EXISTS presigned_files_by_upload ON presigned_files (upload_id);
CREATE INDEX IF NOT EXISTS presigned_files_by_data_file ON presigned_files (data_file_id)
    WHERE data_file_id IS NOT NULL;
"""

IN_USE = (
    "EXISTS (SELECT 1 FROM chunked_uploads WHERE sha256 = :sha256)",
    """EXISTS (SELECT 1 FROM data_files f JOIN unit_files u ON u.data_file_id = f.id
               WHERE f.sha256 = :sha256)""",
    """EXISTS (SELECT 1 FROM data_files f JOIN presigned_files p ON p.data_file_id = f.id
               WHERE f.sha256 = :sha256)""",
)
"""Conditions in SQL under which an object is still needed.

A data file that no unit has does not count: nobody can reach it but by uploading it again.
"""
