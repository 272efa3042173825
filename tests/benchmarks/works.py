"""Which work there is, who does it, and what we want to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace

VERIFIED, PLAIN = "synapsefs, verified", "synapsefs, nothing to verify"
COLLECTIONS, DATASETS = "synapsefs, collections", "synapsefs, datasets"
PUT, WRITE = "synapsefs put_file", 'synapsefs open("wb")'
SYNAPSE, EDISON, HTTP = "synapse-sdk", "edison-client", "HTTPFileSystem"
PROTOTYPE = "prototype"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who does a work, and how.

    Attributes
    ----------
    label
        Name in the tables.
    kind, method
        Class in ``candidates`` or ``prototypes`` and its method.
    seed
        Name of what is downloaded, see ``fixture``.
    servers
        Where it can be measured.
    share
        Part of the small files that a slow one gets.
    """

    label: str
    kind: str
    method: str
    seed: str = ""
    servers: tuple[str, ...] = ("discard", "embedded")
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work.

    Attributes
    ----------
    name, title
        For the command line and the tables; the first candidate is what others are compared with.
    data
        ``large``, ``small``, ``columns`` or ``huge``.
    up
        Whether it uploads.
    unit
        What its figures are in; more is better but for ``× needed``.
    far
        Whether the server is far away.
    once
        Whether one run is enough.
    """

    name: str
    title: str
    data: str
    up: bool
    candidates: tuple[Candidate, ...]
    unit: str = "MB/s"
    far: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio to reach: ``ours`` to ``theirs``, or a bound where there is no other."""

    work: str
    ours: str
    theirs: str
    bound: float
    at_most: bool = False
    figure: str = "rate"


_DISCARD = ("discard",)
_S3 = ("s3",)

DOWNLOAD = Work(
    "download",
    "Download of a large file",
    "large",
    False,
    (
        Candidate(VERIFIED, "Synapsefs", "get_file", "collection"),
        Candidate(PLAIN, "Synapsefs", "get_file", "unverified", _DISCARD),
        Candidate(DATASETS, "Synapsefs", "get_file", "dataset"),
        Candidate(HTTP, "HttpFs", "get_file", "collection"),
        Candidate("obstore", "Obstore", "get_file", "collection"),
        Candidate("requests, 1 MiB", "Requests", "get_file", "collection"),
        Candidate("raw aiohttp", "Prototype", "download", "collection"),
        Candidate("raw aiohttp, MD5", "Prototype", "download_verified", "collection"),
        Candidate(SYNAPSE, "SynapseSdk", "get_file", "collection"),
        Candidate(EDISON, "EdisonSdk", "get_file", "dataset"),
        Candidate("s3fs", "S3Fs", "get_file", servers=_S3),
    ),
)
CAT = Work(
    "cat",
    "`cat_file` of a large file",
    "large",
    False,
    (
        Candidate(VERIFIED, "Synapsefs", "cat", "collection"),
        Candidate(DATASETS, "Synapsefs", "cat", "dataset"),
        Candidate(HTTP, "HttpFs", "cat", "collection"),
        Candidate("obstore", "Obstore", "cat", "collection"),
        Candidate("requests", "Requests", "cat", "collection"),
        Candidate("raw aiohttp", "Prototype", "cat", "collection"),
        Candidate("s3fs", "S3Fs", "cat", servers=_S3),
    ),
)
READ = Work(
    "read",
    "`open().read` of a large file by 1 MiB",
    "large",
    False,
    (
        Candidate(VERIFIED, "Synapsefs", "read", "collection"),
        Candidate(DATASETS, "Synapsefs", "read", "dataset"),
        Candidate(HTTP, "HttpFs", "read", "collection"),
        Candidate("s3fs", "S3Fs", "read", servers=_S3),
    ),
)
UPLOAD_COLLECTIONS = Work(
    "upload-collections",
    "Upload of a large file, collections",
    "large",
    True,
    (
        Candidate(PUT, "Synapsefs", "put_file", "collection"),
        Candidate(WRITE, "Synapsefs", "open_wb", "collection"),
        Candidate(SYNAPSE, "SynapseSdk", "put_file", "collection"),
        Candidate(f"{SYNAPSE} bulk", "SynapseSdk", "put_file_bulk", "collection"),
        Candidate(f"{PROTOTYPE}, chunks", "Prototype", "upload_chunks", "collection"),
        Candidate(f"{PROTOTYPE}, presigned", "Prototype", "upload_presigned", "collection"),
        Candidate("raw aiohttp", "Prototype", "put_raw", "collection", _DISCARD),
        Candidate(HTTP, "HttpFs", "put_file", "collection", _DISCARD),
        Candidate("requests", "Requests", "put_file", "collection", _DISCARD),
        Candidate("s3fs", "S3Fs", "put_file", servers=_S3),
    ),
)
UPLOAD_DATASETS = Work(
    "upload-datasets",
    "Upload of a large file, datasets",
    "large",
    True,
    (
        Candidate(PUT, "Synapsefs", "put_file", "dataset"),
        Candidate(WRITE, "Synapsefs", "open_wb", "dataset"),
        Candidate(EDISON, "EdisonSdk", "put_file", "dataset"),
        Candidate(PROTOTYPE, "Prototype", "upload_parts", "dataset"),
    ),
)
PUT_COLLECTIONS = Work(
    "put-collections",
    "Upload of small files, collections",
    "small",
    True,
    (
        Candidate("synapsefs", "Synapsefs", "put", "collection"),
        Candidate(f"{SYNAPSE} bulk", "SynapseSdk", "put", "collection"),
        Candidate(f"{PROTOTYPE}, presigned", "Prototype", "put_presigned", "collection"),
        Candidate("s3fs", "S3Fs", "put", servers=_S3),
    ),
    unit="files/s",
)
PUT_DATASETS = Work(
    "put-datasets",
    "Upload of small files, datasets",
    "small",
    True,
    (
        Candidate("synapsefs", "Synapsefs", "put", "dataset"),
        Candidate(EDISON, "EdisonSdk", "put", "dataset", share=0.05),
        Candidate(f"{PROTOTYPE}, five requests", "Prototype", "put_entries", "dataset"),
    ),
    unit="files/s",
)
GET_COLLECTIONS = Work(
    "get-collections",
    "Download of small files, collections",
    "small",
    False,
    (
        Candidate("synapsefs", "Synapsefs", "get", "collection"),
        Candidate(HTTP, "HttpFs", "get", "collection"),
        Candidate("obstore", "Obstore", "get", "collection"),
        Candidate("raw aiohttp", "Prototype", "get", "collection"),
        Candidate(SYNAPSE, "SynapseSdk", "get", "collection"),
        Candidate("s3fs", "S3Fs", "get", servers=_S3),
    ),
    unit="files/s",
)
GET_DATASETS = Work(
    "get-datasets",
    "Download of small files, datasets",
    "small",
    False,
    (
        Candidate("synapsefs", "Synapsefs", "get", "dataset"),
        Candidate(HTTP, "HttpFs", "get", "dataset"),
        Candidate(EDISON, "EdisonSdk", "get", "dataset", share=0.05),
    ),
    unit="files/s",
)
FAR_UPLOAD = Work(
    "far-upload",
    "Upload of a large file, far away",
    "large",
    True,
    (
        Candidate(COLLECTIONS, "Synapsefs", "put_file", "collection", _DISCARD),
        Candidate(DATASETS, "Synapsefs", "put_file", "dataset", _DISCARD),
        Candidate(SYNAPSE, "SynapseSdk", "put_file", "collection", _DISCARD),
        Candidate(EDISON, "EdisonSdk", "put_file", "dataset", _DISCARD),
    ),
    far=True,
    once=True,
)
FAR_DOWNLOAD = Work(
    "far-download",
    "Download of a large file, far away",
    "large",
    False,
    (
        Candidate(COLLECTIONS, "Synapsefs", "get_file", "collection", _DISCARD),
        Candidate(DATASETS, "Synapsefs", "get_file", "dataset", _DISCARD),
        Candidate(SYNAPSE, "SynapseSdk", "get_file", "collection", _DISCARD),
        Candidate(EDISON, "EdisonSdk", "get_file", "dataset", _DISCARD),
    ),
    far=True,
    once=True,
)
FAR_PUT = replace(
    PUT_COLLECTIONS,
    name="far-put",
    title="Upload of small files, collections, far away",
    candidates=PUT_COLLECTIONS.candidates[:3],
    data="fewer",
    far=True,
)
FAR_GET = replace(
    GET_COLLECTIONS,
    name="far-get",
    title="Download of small files, collections, far away",
    candidates=GET_COLLECTIONS.candidates[:5],
    data="fewer",
    far=True,
)
WAYS = {
    "read_table(fs.open())": "open_read_table",
    'cache_type="none"': "open_without_cache",
    "pre_buffer": "open_pre_buffer",
    "read_table(filesystem=)": "path_read_table",
    "pandas by URL": "pandas_url",
    "open_parquet_file": "open_parquet",
}
COLUMNS = Work(
    "columns",
    "One of 20 columns of a Parquet file",
    "columns",
    False,
    tuple(
        Candidate(f"{name}: {way}", kind, method, "columns", _DISCARD)
        for way, method in WAYS.items()
        for name, kind in (("synapsefs", "Synapsefs"), (HTTP, "HttpFs"))
    ),
    unit="× needed",
    once=True,
)
MEMORY = Work(
    "memory",
    "Memory of a huge file",
    "huge",
    True,
    (
        Candidate("put_file, collections", "Synapsefs", "put_file", "collection", _DISCARD),
        Candidate('open("wb"), collections', "Synapsefs", "open_wb", "collection", _DISCARD),
        Candidate("put_file, datasets", "Synapsefs", "put_file", "dataset", _DISCARD),
        Candidate('open("wb"), datasets', "Synapsefs", "open_wb", "dataset", _DISCARD),
        Candidate("get_file, collections", "Synapsefs", "get_file", "huge", _DISCARD),
        Candidate(f"{EDISON} upload", "EdisonSdk", "put_file", "dataset", _DISCARD),
    ),
    once=True,
)
WORKS = {
    work.name: work
    for work in (
        DOWNLOAD,
        CAT,
        READ,
        UPLOAD_COLLECTIONS,
        UPLOAD_DATASETS,
        PUT_COLLECTIONS,
        PUT_DATASETS,
        GET_COLLECTIONS,
        GET_DATASETS,
        FAR_UPLOAD,
        FAR_DOWNLOAD,
        FAR_PUT,
        FAR_GET,
        COLUMNS,
        MEMORY,
    )
}
WRITING_SERVER = ("upload-collections", "upload-datasets", "put-collections", "put-datasets")
"""What is measured with the embedded server too, unless works are named."""

GOALS = (
    Goal("download", VERIFIED, HTTP, 0.8),
    Goal("download", PLAIN, HTTP, 1.0),
    Goal("cat", VERIFIED, HTTP, 1.0),
    Goal("read", VERIFIED, HTTP, 0.8),
    Goal("upload-collections", PUT, SYNAPSE, 2.0),
    Goal("upload-collections", WRITE, SYNAPSE, 1.6),
    Goal("upload-datasets", PUT, EDISON, 1.9),
    Goal("upload-datasets", WRITE, EDISON, 1.3),
    Goal("put-collections", "synapsefs", f"{PROTOTYPE}, presigned", 0.7),
    Goal("put-collections", "synapsefs", f"{SYNAPSE} bulk", 4.0),
    Goal("put-datasets", "synapsefs", f"{PROTOTYPE}, five requests", 0.85),
    Goal("put-datasets", "synapsefs", EDISON, 25.0),
    Goal("get-collections", "synapsefs", HTTP, 1.0),
    Goal("get-datasets", "synapsefs", HTTP, 0.6),
    Goal("far-upload", COLLECTIONS, SYNAPSE, 3.0),
    Goal("far-upload", COLLECTIONS, EDISON, 3.0),
    Goal("far-download", COLLECTIONS, SYNAPSE, 3.0),
    Goal("far-download", DATASETS, EDISON, 3.0),
    Goal("far-put", "synapsefs", f"{SYNAPSE} bulk", 4.0),
    Goal("far-get", "synapsefs", SYNAPSE, 4.0),
    *(Goal("columns", f"synapsefs: {way}", "", 1.05, at_most=True) for way in WAYS),
    Goal("import", "synapsefs", "", 40.0, at_most=True),
    *(
        Goal("memory", candidate.label, "", 200.0, at_most=True, figure="memory")
        for candidate in MEMORY.candidates
        if candidate.kind == "Synapsefs"
    ),
)
