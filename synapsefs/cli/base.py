"""What all commands share: the application, the connection, and how things are shown."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from synapsefs import sync
from synapsefs._version import __version__
from synapsefs.errors import InvalidRequestError, scrub
from synapsefs.filesystem import SynapseFileSystem
from synapsefs.location import PROTOCOL

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CHUNK = 2**20
STANDARD = "-"
"""Names standard input or output where a local file is asked for."""

Source = Annotated[str, typer.Argument(help="A synapse:// URL.")]
Paths = Annotated[list[str], typer.Argument(help="synapse:// URLs; patterns too.")]
Long = Annotated[bool, typer.Option("--long", "-l", help="Sizes in bytes and times too.")]


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


def connect(
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
    try:
        return SynapseFileSystem(
            endpoint_url=endpoint_url,
            token=token,
            tenant=tenant,
            datasets_endpoint_url=datasets_endpoint_url,
            datasets_token=datasets_token,
        )
    except TypeError as error:
        raise InvalidRequestError(str(error)) from None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose first parameter is the filesystem that the options describe."""
    connection = inspect.signature(connect, eval_str=True).parameters
    _, *own = inspect.signature(function, eval_str=True).parameters.values()

    def run(**given: Any) -> None:
        with reported():
            fs = connect(**{name: given.pop(name) for name in connection})
            function(fs, **given)
            sync.run(fs.loop, fs.aclose())

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *connection.values())
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(function.__name__, help=function.__doc__)(run)
    return function


@contextmanager
def reported() -> Iterator[None]:
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
    return printable(" ".join(scrub(text).split()))


def printable(name: str) -> str:
    """Write out what a terminal would obey rather than show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def url(path: str) -> str:
    """Write a path as a URL."""
    return printable(f"{PROTOCOL}://{path}")


def write_out(fs: SynapseFileSystem, paths: list[str]) -> None:
    """Write files to standard output, one after the other."""
    for path in fs.expand_path(paths):
        with fs.open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, CHUNK)
    sys.stdout.buffer.flush()


def print_entries(infos: Iterable[Mapping[str, Any]], *, details: bool) -> None:
    """Write a line for each entry, with size and time if so asked."""
    for info in infos:
        if details:
            size = "-" if info["type"] == "directory" else info["size"]
            time = f"{info['mtime']:%Y-%m-%d %H:%M:%S}" if info.get("mtime") else "-"
            print(f"{size!s:>12}  {time:>19}  {url(info['name'])}")
        else:
            print(url(info["name"]))
