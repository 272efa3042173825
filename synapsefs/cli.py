"""The command line: ``synapsefs serve``, and file commands over ``synapse://`` URLs.

Errors are one line on stderr and exit code 1; wrong usage is exit code 2.
"""

from __future__ import annotations

import asyncio
import csv
import inspect
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fsspec.callbacks import DEFAULT_CALLBACK, Callback, TqdmCallback

from synapsefs import bridge
from synapsefs._version import __version__
from synapsefs.errors import InvalidRequestError, scrub
from synapsefs.filesystem import SynapseFileSystem
from synapsefs.location import PROTOCOL

if TYPE_CHECKING:
    from synapsefs.server.settings import ServerSettings

CHUNK = 2**20

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Argument(help="A synapse:// URL.")]
Target = Annotated[str, typer.Argument(help="Where it goes.")]
Paths = Annotated[list[str], typer.Argument(help="synapse:// URLs; patterns too.")]
LocalPaths = Annotated[list[str], typer.Argument(help="Local files, folders or patterns.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Folders with all they hold.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")]
Long = Annotated[bool, typer.Option("--long", "-l", help="Sizes in bytes and times too.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        What stands behind the program's name; ``sys.argv`` when left out.
    """
    app(args=arguments, prog_name="synapsefs")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback(help="Data collections and datasets as files.")
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Take what stands before a command."""


# --- what the file commands share ----------------------------------------------------------


def _connect(
    endpoint_url: Annotated[
        str | None, typer.Option(help="Collections service: https://…, http://… or file:///dir.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="Its access token.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant code.")] = None,
    datasets_endpoint_url: Annotated[
        str | None, typer.Option(help="Datasets service; the same endpoint when left out.")
    ] = None,
    datasets_token: Annotated[str | None, typer.Option(help="Its API key.")] = None,
) -> SynapseFileSystem:
    """Make the filesystem; what is left out comes from where the filesystem itself looks."""
    return SynapseFileSystem(
        endpoint_url=endpoint_url,
        token=token,
        tenant=tenant,
        datasets_endpoint_url=datasets_endpoint_url,
        datasets_token=datasets_token,
    )


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose first parameter is the filesystem that the options describe."""
    connection = inspect.signature(_connect, eval_str=True).parameters
    _, *own = inspect.signature(function, eval_str=True).parameters.values()

    def run(**given: Any) -> None:
        with _reported():
            fs = _connect(**{name: given.pop(name) for name in connection})
            function(fs, **given)
            bridge.run(fs.loop, fs.aclose())

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *connection.values())
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(function.__name__, help=function.__doc__)(run)
    return function


@contextmanager
def _reported() -> Iterator[None]:
    """Turn an error into one line and an exit code; a reader who left ends the command quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"synapsefs: {_words(error)}", file=sys.stderr)
        raise typer.Exit(1) from None


def _words(error: OSError) -> str:
    text = str(error) or type(error).__name__
    if error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return _printable(" ".join(scrub(text).split()))


def _printable(name: str) -> str:
    """Write out what a terminal would obey rather than show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _url(path: str) -> str:
    return _printable(f"{PROTOCOL}://{path}")


def _print_entries(infos: Iterable[Mapping[str, Any]], *, details: bool) -> None:
    for info in infos:
        if details:
            size = "-" if info["type"] == "directory" else info["size"]
            time = f"{info['mtime']:%Y-%m-%d %H:%M:%S}" if info.get("mtime") else "-"
            print(f"{size!s:>12}  {time:>19}  {_url(info['name'])}")
        else:
            print(_url(info["name"]))


def _progress(quiet: bool) -> Callback:
    """Give a bar that counts bytes, where somebody can see it."""
    if quiet or not sys.stderr.isatty():
        return DEFAULT_CALLBACK
    return TqdmCallback(tqdm_kwargs={"unit": "B", "unit_scale": True, "unit_divisor": 1024})


def _one_or_all(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


# --- file commands -------------------------------------------------------------------------


@_command
def ls(fs: SynapseFileSystem, path: Source = f"{PROTOCOL}://", long: Long = False) -> None:
    """List a directory."""
    if long:
        _print_entries(fs.ls(path, detail=True), details=True)
    else:
        _print_entries(({"name": name} for name in fs.ls(path, detail=False)), details=False)


@_command
def info(fs: SynapseFileSystem, paths: Paths) -> None:
    """Describe files or directories as JSON, one object each."""
    for path in fs.expand_path(paths):
        print(json.dumps(fs.info(path), indent=2, default=str))


@_command
def cat(fs: SynapseFileSystem, paths: Paths) -> None:
    """Write files to standard output, one after the other."""
    for path in fs.expand_path(paths):
        with fs.open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, CHUNK)
    sys.stdout.buffer.flush()


@_command
def get(
    fs: SynapseFileSystem,
    sources: Paths,
    target: Target,
    recursive: Recursive = False,
    quiet: Quiet = False,
    unzip: Annotated[bool, typer.Option("--unzip", help="Unpack zip archives to folders.")] = False,
) -> None:
    """Fetch files to disk, each verified and put in place whole."""
    with _progress(quiet) as callback:
        fs.get(_one_or_all(sources), target, recursive=recursive, callback=callback, unzip=unzip)


@_command
def put(
    fs: SynapseFileSystem,
    sources: LocalPaths,
    target: Target,
    recursive: Recursive = False,
    quiet: Quiet = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A .gitignore line for what to leave out; may be repeated."),
    ] = None,
    ignore_file: Annotated[
        str | None, typer.Option(help="Name of ignore files in the folder, such as .gitignore.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(help="JSON or YAML file that describes files and folders.")
    ] = None,
    as_collection: Annotated[
        bool, typer.Option("--as-collection", help="Send the folder as one zip archive.")
    ] = False,
) -> None:
    """Send files from disk; they appear together when all have arrived."""
    with _progress(quiet) as callback:
        fs.put(
            _one_or_all(sources),
            target,
            recursive=recursive,
            callback=callback,
            ignore_patterns=ignore or None,
            ignore_filename=ignore_file,
            manifest_filename=manifest,
            as_collection=as_collection,
        )


@_command
def cp(fs: SynapseFileSystem, source: Source, target: Target, recursive: Recursive = False) -> None:
    """Copy; within collections no byte moves."""
    fs.copy(source, target, recursive=recursive)


@_command
def mv(fs: SynapseFileSystem, source: Source, target: Target, recursive: Recursive = False) -> None:
    """Move: copy, then remove just what was copied."""
    fs.mv(source, target, recursive=recursive)


@_command
def rm(fs: SynapseFileSystem, paths: Paths, recursive: Recursive = False) -> None:
    """Remove files, and with --recursive folders, datasets and collections."""
    fs.rm(paths, recursive=recursive)


@_command
def mkdir(fs: SynapseFileSystem, paths: Paths) -> None:
    """Make collections (with one file specification, data_1), datasets, or folders in datasets."""
    for path in paths:
        fs.mkdir(path)


@_command
def find(
    fs: SynapseFileSystem,
    path: Source,
    maxdepth: Annotated[int | None, typer.Option(min=1, help="Levels to go down.")] = None,
    long: Long = False,
) -> None:
    """List all files below a path."""
    fs.info(path, measure=False)
    found = fs.find(path, maxdepth=maxdepth, detail=True, measure=long)
    _print_entries(found.values(), details=long)


@_command
def du(
    fs: SynapseFileSystem,
    paths: Paths,
    human: Annotated[bool, typer.Option("--human", "-H", help="In KiB, MiB, …")] = False,
) -> None:
    """Sum up sizes in bytes."""
    from tqdm import tqdm  # noqa: PLC0415 - only where it is used

    for path in fs.expand_path(paths):
        total = fs.du(path)
        shown = tqdm.format_sizeof(total, "B", 1024) if human else total
        print(f"{shown}\t{_url(path)}")


@_command
def search(
    fs: SynapseFileSystem,
    query: Annotated[str | None, typer.Argument(help="Words to find.")] = None,
    path: Annotated[str, typer.Option("--in", help="A dataset or folder.")] = f"{PROTOCOL}://",
    where: Annotated[
        list[str] | None,
        typer.Option(help="'field operator value', such as 'tags equals raw'; may be repeated."),
    ] = None,
    match_any: Annotated[bool, typer.Option("--any", help="Any --where will do.")] = False,
    size: Annotated[int, typer.Option(min=1, help="Most hits.")] = 10,
    long: Long = False,
) -> None:
    """Find entries of datasets, best first."""
    criteria = [_criterion(text) for text in where or ()]
    match = "any" if match_any else "all"
    hits = fs.search(path, query, criteria=criteria, match=match, size=size)
    _print_entries(hits, details=long)


def _criterion(text: str) -> tuple[str, str, str | list[str]]:
    field, _, rest = text.partition(" ")
    operator, _, value = rest.partition(" ")
    if not value:
        raise InvalidRequestError("a criterion is 'field operator value'", text)
    several = operator in {"in", "between"}
    return field, operator, value.split(",") if several else value


@_command
def units(
    fs: SynapseFileSystem,
    path: Source,
    column: Annotated[
        list[str] | None, typer.Option(help="A column to show; may be repeated. All, if left out.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only units with NAME=VALUE (also != < <= > >=); may be repeated."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of JSON.")] = False,
) -> None:
    """List the data units of a collection with their files and metadata."""
    filters = [_condition(words) for words in where or ()] or None
    rows = csv.writer(sys.stdout, lineterminator="\n") if as_csv else None
    head = True
    for batch in fs.units_batches(path, columns=column or None, filters=filters):
        if rows is not None and head:
            rows.writerow(batch.schema.names)
        head = False
        for row in batch.to_pylist():
            if rows is None:
                print(json.dumps(row, ensure_ascii=False, default=str))
            else:
                rows.writerow([_cell(value) for value in row.values()])


def _cell(value: Any) -> Any:
    """Write a value for CSV: lists as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _condition(words: str) -> tuple[str, str, Any]:
    """Read ``NAME=VALUE``; a value that is JSON is what it says, any other a text."""
    found = re.fullmatch(r"([^=!<>]+)(==?|!=|<=?|>=?)(.*)", words)
    if found is None:
        raise InvalidRequestError("a condition is NAME=VALUE, or with != < <= > >=", words)
    name, operator, text = found.groups()
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return name.strip(), {"=": "=="}.get(operator, operator), value


# --- the server ----------------------------------------------------------------------------


@app.command()
def serve(
    root: Annotated[Path, typer.Option(help="Directory that holds everything; made if missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    token: Annotated[
        list[str] | None, typer.Option(help="Access token for collections; may be repeated.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant that the tokens belong to.")] = "default",
    api_key: Annotated[
        list[str] | None, typer.Option(help="API key for datasets; may be repeated.")
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(help="NAME=URL: a bucket to register from, as a folder or fsspec URL."),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            envvar="SYNAPSEFS_POSTGRES",
            show_envvar=True,
            help="DSN of a PostgreSQL database to register rows from.",
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=KEY_COLUMN: a table of it that may be read."),
    ] = None,
    max_file_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes of the largest file accepted.")
    ] = None,
    max_body_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes of the largest request that is no file.")
    ] = None,
    max_total_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes below the root at most.")
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(min=1, help="Connections at a time.")
    ] = None,
    request_timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds in which a request must move.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take the protocols at their strictest; no extras.")
    ] = False,
) -> None:
    """Serve collections and datasets over a directory until stopped; prints its URL.

    Without --token, anybody who reaches the port may use the collections, and without --api-key
    the datasets; an address that other machines reach needs both.
    """
    from synapsefs.server.settings import (  # noqa: PLC0415 - only where it is used
        LIFETIME,
        STRICT_SECONDS,
        ServerSettings,
    )

    with _reported():
        if not (token and api_key) and not _is_loopback(host):
            rule = "an address that other machines reach needs --token and --api-key"
            raise InvalidRequestError(rule, host)
        if table and not postgres:
            raise InvalidRequestError("tables need --postgres", table[0])
        lifetime = STRICT_SECONDS if strict else LIFETIME
        limits: dict[str, Any] = {
            "max_file_size": max_file_size,
            "max_body_size": max_body_size,
            "max_total_size": max_total_size,
            "max_connections": max_connections,
            "request_timeout": request_timeout,
        }
        settings = ServerSettings(
            root=root,
            tokens=tuple(token or ()),
            tenant=tenant,
            api_keys=tuple(api_key or ()),
            buckets=_named(bucket or ()),
            postgres=postgres,
            tables=tuple(table or ()),
            strict=strict,
            bearer_lifetime=lifetime,
            url_lifetime=lifetime,
            **{name: limit for name, limit in limits.items() if limit is not None},
        )
        asyncio.run(_serve(settings, host, port))


def _named(given: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` arguments."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or "/" in name:
            raise InvalidRequestError("a bucket is given as NAME=URL", text)
        found[name] = value
    return found


async def _serve(settings: ServerSettings, host: str, port: int) -> None:
    from synapsefs.server.app import serve as start  # noqa: PLC0415 - only where it is used

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = await start(settings, host, port)
    try:
        print(running.url, flush=True)
        await stop.wait()
    finally:
        await running.close()


def _is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name."""
    import ipaddress  # noqa: PLC0415 - only where it is used
    import socket  # noqa: PLC0415 - as above

    if not host:
        return False
    found = socket.getaddrinfo(host, None)
    return all(ipaddress.ip_address(str(item[4][0])).is_loopback for item in found)
