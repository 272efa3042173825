# The synchronous verbs, for type checkers: fsspec has no types, and makes them at run time.
# tests/typing holds this file to what the verbs take.

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack, overload

import pyarrow as pa
from fsspec.callbacks import Callback
from fsspec.mapping import FSMap
from typing_extensions import Buffer

from synapsefs.files import AsyncWriter, SynapseWriter
from synapsefs.local.zip import UnpackLimits
from synapsefs.readers import AsyncReader, SynapseReader
from synapsefs.wrappers import CompressedFile, TextFile

Path: TypeAlias = str | os.PathLike[str]
Paths: TypeAlias = Path | Sequence[Path]
Info: TypeAlias = dict[str, Any]
Version: TypeAlias = str | int
WriteMode: TypeAlias = Literal["overwrite", "create"]

class WriteOptions(TypedDict, total=False):
    description: str | None
    tags: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    embedding: Sequence[float] | None
    base_version: Version | None

class _TransferOptions(TypedDict, total=False):
    callback: Callback
    files_callback: Callback | None
    maxdepth: int | None
    batch_size: int | None
    resume: bool | None
    sync: bool
    dry_run: bool
    on_error: Literal["raise", "return"]

class GetOptions(_TransferOptions, total=False):
    version: Version | None
    unzip: bool | UnpackLimits | None
    outfile: Any

class PutOptions(_TransferOptions, WriteOptions, total=False):
    mode: WriteMode
    as_collection: bool
    ignore_patterns: Sequence[str] | None
    ignore_filename: str | None
    ignore_defaults: bool | None
    manifest_filename: str | None

class EntryOptions(TypedDict, total=False):
    description: str | None
    tags: Sequence[str] | None
    metadata: Mapping[str, Any] | None

class DirectoryOptions(EntryOptions, total=False):
    category: str
    file_specifications: Sequence[Mapping[str, Any]]
    id: str
    exist_ok: bool

class OpenOptions(WriteOptions, total=False):
    autocommit: bool
    cache_type: str | None
    size: int | None
    version: Version | None

class TextOptions(OpenOptions, total=False):
    encoding: str | None
    errors: str | None
    newline: str | None

class AsyncOpenOptions(WriteOptions, total=False):
    autocommit: bool
    block_size: int | None
    compression: None
    size: int | None
    version: Version | None

class SynchronousVerbs:
    async_impl: bool
    asynchronous: bool
    blocksize: int
    cachable: bool
    disable_throttling: bool
    mirror_sync_methods: bool
    sep: str
    storage_options: dict[str, Any]

    # --- listing
    @overload
    def ls(self, path: Path, detail: Literal[True] = True, refresh: bool = False) -> list[Info]: ...
    @overload
    def ls(self, path: Path, detail: Literal[False], refresh: bool = False) -> list[str]: ...
    @overload
    def ls(self, path: Path, detail: bool = True, refresh: bool = False) -> list[Any]: ...
    listdir = ls
    def info(
        self,
        path: Path,
        refresh: bool = False,
        measure: bool = True,
        version: Version | None = None,
    ) -> Info: ...
    stat = info
    def exists(self, path: Path) -> bool: ...
    lexists = exists
    def isfile(self, path: Path) -> bool: ...
    def isdir(self, path: Path) -> bool: ...
    @overload
    def find(
        self,
        path: Path,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: Literal[False] = False,
        measure: bool | None = None,
        refresh: bool = False,
    ) -> list[str]: ...
    @overload
    def find(
        self,
        path: Path,
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: Literal[True],
        measure: bool | None = None,
        refresh: bool = False,
    ) -> dict[str, Info]: ...
    @overload
    def find(
        self,
        path: Path,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        measure: bool | None = None,
        refresh: bool = False,
    ) -> Any: ...
    @overload
    def glob(
        self,
        path: Path,
        maxdepth: int | None = None,
        *,
        detail: Literal[False] = False,
        measure: bool | None = None,
        refresh: bool = False,
        withdirs: bool = True,
    ) -> list[str]: ...
    @overload
    def glob(
        self,
        path: Path,
        maxdepth: int | None = None,
        *,
        detail: Literal[True],
        measure: bool | None = None,
        refresh: bool = False,
        withdirs: bool = True,
    ) -> dict[str, Info]: ...
    @overload
    def glob(
        self,
        path: Path,
        maxdepth: int | None = None,
        *,
        detail: bool = False,
        measure: bool | None = None,
        refresh: bool = False,
        withdirs: bool = True,
    ) -> Any: ...
    @overload
    def walk(
        self,
        path: Path,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Literal["omit", "raise"] | Callable[[OSError], Any] = "omit",
        *,
        detail: Literal[False] = False,
        refresh: bool = False,
    ) -> Iterator[tuple[str, list[str], list[str]]]: ...
    @overload
    def walk(
        self,
        path: Path,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Literal["omit", "raise"] | Callable[[OSError], Any] = "omit",
        *,
        detail: Literal[True],
        refresh: bool = False,
    ) -> Iterator[tuple[str, dict[str, Info], dict[str, Info]]]: ...
    @overload
    def walk(
        self,
        path: Path,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Literal["omit", "raise"] | Callable[[OSError], Any] = "omit",
        *,
        detail: bool = False,
        refresh: bool = False,
    ) -> Iterator[tuple[str, Any, Any]]: ...
    @overload
    def du(
        self,
        path: Path,
        total: Literal[True] = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: bool = True,
        measure: bool | None = None,
        refresh: bool = False,
    ) -> int: ...
    @overload
    def du(
        self,
        path: Path,
        total: Literal[False],
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: bool = True,
        measure: bool | None = None,
        refresh: bool = False,
    ) -> dict[str, int]: ...
    @overload
    def du(
        self,
        path: Path,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: bool = True,
        measure: bool | None = None,
        refresh: bool = False,
    ) -> Any: ...
    disk_usage = du
    def size(self, path: Path) -> int | None: ...
    def sizes(self, paths: Sequence[Path], batch_size: int | None = None) -> list[int | None]: ...
    def created(self, path: Path) -> datetime: ...
    def modified(self, path: Path) -> datetime: ...
    def checksum(self, path: Path) -> str: ...
    def ukey(self, path: Path) -> str: ...
    def expand_path(
        self,
        path: Paths,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
    ) -> list[str]: ...
    def tree(
        self,
        path: str = "/",
        recursion_limit: int = 2,
        max_display: int = 25,
        display_size: bool = False,
        prefix: str = "",
        is_last: bool = True,
        first: bool = True,
        indent_size: int = 4,
    ) -> str: ...

    # --- reading
    @overload
    def cat(
        self,
        path: str | os.PathLike[str],
        recursive: Literal[False] = False,
        on_error: Literal["raise", "omit", "return"] = "raise",
        batch_size: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        version: Version | None = None,
    ) -> Any: ...
    @overload
    def cat(
        self,
        path: Paths,
        recursive: bool = False,
        on_error: Literal["raise", "omit", "return"] = "raise",
        batch_size: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        version: Version | None = None,
    ) -> dict[str, Any]: ...
    def cat_file(
        self,
        path: Path,
        start: int | None = None,
        end: int | None = None,
        version: Version | None = None,
    ) -> bytes: ...
    def cat_ranges(
        self,
        paths: list[str],
        starts: int | Sequence[int | None] | None,
        ends: int | Sequence[int | None] | None,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: Literal["raise", "return"] = "return",
    ) -> list[Any]: ...
    def head(self, path: Path, size: int = 1024) -> bytes: ...
    def tail(self, path: Path, size: int = 1024) -> bytes: ...
    def read_block(
        self, fn: Path, offset: int, length: int | None, delimiter: bytes | None = None
    ) -> bytes: ...
    def read_bytes(
        self,
        path: Path,
        start: int | None = None,
        end: int | None = None,
        *,
        version: Version | None = None,
    ) -> bytes: ...
    def read_text(
        self,
        path: Path,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        compression: str | None = None,
        version: Version | None = None,
    ) -> str: ...
    def get(
        self, rpath: Paths, lpath: Paths, recursive: bool = False, **kwargs: Unpack[GetOptions]
    ) -> Any: ...
    download = get
    def get_file(
        self,
        rpath: Path,
        lpath: Any,
        callback: Callback = ...,
        version: Version | None = None,
        resume: bool | None = None,
        *,
        outfile: Any = None,
    ) -> None: ...
    def sign(self, path: Path, expiration: int = 100) -> str: ...

    # --- writing
    def pipe(
        self,
        path: Path | Mapping[Path, Buffer],
        value: Buffer | None = None,
        batch_size: int | None = None,
        mode: WriteMode = "overwrite",
        **kwargs: Unpack[WriteOptions],
    ) -> None: ...
    def pipe_file(
        self,
        path: Path,
        value: Buffer,
        mode: WriteMode = "overwrite",
        **kwargs: Unpack[WriteOptions],
    ) -> None: ...
    def write_bytes(
        self,
        path: Path,
        value: Buffer,
        *,
        mode: WriteMode = "overwrite",
        **kwargs: Unpack[WriteOptions],
    ) -> None: ...
    def write_text(
        self,
        path: Path,
        value: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        compression: str | None = None,
        **kwargs: Unpack[WriteOptions],
    ) -> int: ...
    def put(
        self, lpath: Paths, rpath: Paths, recursive: bool = False, **kwargs: Unpack[PutOptions]
    ) -> Any: ...
    upload = put
    def put_file(
        self,
        lpath: Path,
        rpath: Path,
        mode: WriteMode = "overwrite",
        callback: Callback = ...,
        resume: bool | None = None,
        **kwargs: Unpack[WriteOptions],
    ) -> None: ...
    def touch(self, path: Path, truncate: bool = True) -> None: ...

    # --- opening
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["rb"] = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: None = None,
        **kwargs: Unpack[OpenOptions],
    ) -> SynapseReader: ...
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["wb", "xb"],
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: None = None,
        **kwargs: Unpack[OpenOptions],
    ) -> SynapseWriter: ...
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["r", "rt", "w", "wt", "x", "xt"],
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Unpack[TextOptions],
    ) -> TextFile: ...
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["rb", "wb", "xb"] = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        *,
        compression: str,
        **kwargs: Unpack[OpenOptions],
    ) -> CompressedFile: ...
    @overload
    def open(
        self,
        path: Path,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Unpack[TextOptions],
    ) -> Any: ...
    @overload
    async def open_async(
        self, path: Path, mode: Literal["rb"] = "rb", **kwargs: Unpack[AsyncOpenOptions]
    ) -> AsyncReader: ...
    @overload
    async def open_async(
        self, path: Path, mode: Literal["wb", "xb"], **kwargs: Unpack[AsyncOpenOptions]
    ) -> AsyncWriter: ...
    @overload
    async def open_async(
        self, path: Path, mode: str = "rb", **kwargs: Unpack[AsyncOpenOptions]
    ) -> Any: ...

    # --- namespace
    def mkdir(
        self, path: Path, create_parents: bool = True, **kwargs: Unpack[DirectoryOptions]
    ) -> None: ...
    makedir = mkdir
    def makedirs(self, path: Path, exist_ok: bool = False) -> None: ...
    mkdirs = makedirs
    def rm(
        self,
        path: Paths,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
    ) -> None: ...
    def delete(self, path: Paths, recursive: bool = False, maxdepth: int | None = None) -> None: ...
    def rm_file(self, path: Path) -> None: ...
    def rmdir(self, path: Path) -> None: ...
    def copy(
        self,
        path1: Paths,
        path2: Paths,
        recursive: bool = False,
        on_error: Literal["raise", "ignore"] | None = None,
        maxdepth: int | None = None,
        *,
        batch_size: int | None = None,
    ) -> None: ...
    cp = copy
    def cp_file(self, path1: Path, path2: Path) -> None: ...
    def mv(
        self,
        path1: Paths,
        path2: Paths,
        recursive: bool = False,
        maxdepth: int | None = None,
        *,
        batch_size: int | None = None,
        on_error: Literal["raise", "ignore"] | None = None,
    ) -> None: ...
    move = mv
    rename = mv
    def mv_file(self, path1: Path, path2: Path) -> None: ...

    # --- attributes
    def getxattr(self, path: Path, name: str) -> Any: ...
    def getxattrs(self, path: Path) -> dict[str, Any]: ...
    def setxattrs(
        self, path: Path, metadata: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]: ...
    def get_tags(self, path: Path) -> list[str]: ...
    def put_tags(self, path: Path, tags: Sequence[str], mode: Literal["o", "m"] = "o") -> None: ...

    # --- units
    def put_unit(
        self,
        collection: Path,
        files: Mapping[str, Path | Buffer],
        meta: Mapping[str, Any] | None = None,
        groups: Sequence[str] | None = None,
        *,
        key: str | None = None,
        mode: WriteMode = "overwrite",
        callback: Callback = ...,
    ) -> dict[str, Any]: ...
    def units(
        self, collection: Path, columns: Sequence[str] | None = None, filters: Any = None
    ) -> pa.Table: ...
    def units_batches(
        self, collection: Path, columns: Sequence[str] | None = None, filters: Any = None
    ) -> Iterator[pa.RecordBatch]: ...

    # --- datasets
    def revisions(self, path: Path, drafts: bool = False) -> list[dict[str, Any]]: ...
    def link(
        self,
        target: str,
        path: Path,
        instructions: str | None = None,
        api_key: str | None = None,
        **kwargs: Unpack[EntryOptions],
    ) -> Info: ...
    def register(
        self,
        path: Path,
        storage_type: Literal["gcs", "pg_table", "bigquery", "elastic_search"],
        content_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        location: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        content_schema: Any = None,
    ) -> Info: ...
    def search(
        self,
        path: Path = "datasets",
        query: str | None = None,
        criteria: Mapping[str, Any] | Sequence[tuple[str, str, Any]] | None = None,
        match: Literal["all", "any"] = "all",
        similar_to: str | Sequence[float] | None = None,
        size: int = 10,
        highlight: bool | Mapping[str, Any] = False,
        min_score: float | None = None,
        tags: Sequence[str] | None = None,
    ) -> list[Info]: ...
    def share(
        self,
        path: Path,
        status: Literal["private", "public", "shared"],
        users: Sequence[str] | None = None,
        organizations: Sequence[str] | None = None,
    ) -> Info: ...

    # --- instances
    @classmethod
    def clear_instance_cache(cls) -> None: ...
    @classmethod
    def current(cls) -> Self: ...
    @classmethod
    def from_dict(cls, dct: dict[str, Any]) -> Self: ...
    @classmethod
    def from_json(cls, blob: str) -> Self: ...
    def get_mapper(
        self,
        root: str = "",
        check: bool = False,
        create: bool = False,
        missing_exceptions: tuple[type[Exception], ...] | None = None,
    ) -> FSMap: ...
    def unstrip_protocol(self, name: str) -> str: ...
    def __getattr__(self, name: str) -> object: ...
