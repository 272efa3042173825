"""Commands that look: ls, info, cat, find, du and search."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from synapsefs.cli.base import Long, Paths, Source, command, print_entries, url, write_out
from synapsefs.errors import InvalidRequestError
from synapsefs.filesystem import SynapseFileSystem
from synapsefs.location import PROTOCOL


@command
def ls(fs: SynapseFileSystem, path: Source = f"{PROTOCOL}://", long: Long = False) -> None:
    """List a directory."""
    if long:
        print_entries(fs.ls(path, detail=True), details=True)
    else:
        print_entries(({"name": name} for name in fs.ls(path, detail=False)), details=False)


@command
def info(fs: SynapseFileSystem, paths: Paths) -> None:
    """Describe files or directories as JSON, one object each."""
    for path in fs.expand_path(paths):
        print(json.dumps(fs.info(path), indent=2, default=str))


@command
def cat(fs: SynapseFileSystem, paths: Paths) -> None:
    """Write files to standard output, one after the other."""
    write_out(fs, paths)


@command
def find(
    fs: SynapseFileSystem,
    path: Source,
    maxdepth: Annotated[int | None, typer.Option(min=1, help="Levels to go down.")] = None,
    long: Long = False,
) -> None:
    """List all files below a path."""
    fs.info(path, measure=False)
    infos = fs.find(path, maxdepth=maxdepth, detail=True, measure=long)
    print_entries(infos.values(), details=long)


@command
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
        print(f"{shown}\t{url(path)}")


@command
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
    hits = fs.search(path, query, criteria=criteria, match="any" if match_any else "all", size=size)
    print_entries(hits, details=long)


def _criterion(text: str) -> tuple[str, str, str | list[str]]:
    field, _, rest = text.partition(" ")
    operator, _, value = rest.partition(" ")
    if not value:
        raise InvalidRequestError("a criterion is 'field operator value'", text)
    several = operator in {"in", "between"}
    return field, operator, value.split(",") if several else value
