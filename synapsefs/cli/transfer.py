"""Commands that move bytes and names: get, put, cp, mv, rm and mkdir."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from fsspec.callbacks import DEFAULT_CALLBACK, Callback, TqdmCallback

from synapsefs.cli.base import CHUNK, STANDARD, Paths, Source, command, printable, write_out
from synapsefs.errors import FolderError, InvalidRequestError
from synapsefs.filesystem import SynapseFileSystem
from synapsefs.verbs.expand import local_paths

Target = Annotated[str, typer.Argument(help="Where it goes.")]
LocalTarget = Annotated[str, typer.Argument(help="Where it goes; - is standard output.")]
LocalPaths = Annotated[
    list[str], typer.Argument(help="Local files, folders or patterns; - is standard input.")
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Folders with all they hold.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")]
Sync = Annotated[bool, typer.Option("--sync", help="Leave alone what is the same already.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; print what would be done.")
]
Resume = Annotated[
    bool | None, typer.Option("--resume/--no-resume", help="Go on with interrupted transfers.")
]


def _progress(quiet: bool) -> Callback:
    """Give a bar that counts bytes, where somebody can see it."""
    if quiet or not sys.stderr.isatty():
        return DEFAULT_CALLBACK
    return TqdmCallback(tqdm_kwargs={"unit": "B", "unit_scale": True, "unit_divisor": 1024})


def _one_or_all(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def _refuse_directories(is_directory: Callable[[str], bool], paths: Iterable[str]) -> None:
    """Do nothing at all when directories would be left out."""
    directories = [path for path in paths if is_directory(path)]
    if directories:
        more = f", and so are {len(directories) - 1} more" if len(directories) > 1 else ""
        raise FolderError(f"this is a directory{more}: add -r for all it holds", directories[0])


def _print_plan(plan: Sequence[Mapping[str, Any]] | None) -> None:
    for item in plan or ():
        print(f"{item['action']:>9}  {printable(item['source'])} -> {printable(item['target'])}")


def _refuse(**options: Any) -> None:
    """Refuse options that mean nothing for standard input and output."""
    for name, value in options.items():
        if value:
            option = name.replace("_", "-")
            raise InvalidRequestError(f"with - for a local file there is no --{option}", STANDARD)


def _put_standard_input(
    fs: SynapseFileSystem, sources: Sequence[str], target: str, quiet: bool
) -> None:
    if len(sources) > 1 or target.endswith("/"):
        raise InvalidRequestError("standard input is one file: name it in the target", target)
    with _progress(quiet) as callback, fs.open(target, "wb") as file:
        while block := sys.stdin.buffer.read(CHUNK):
            file.write(block)
            callback.relative_update(len(block))


@command
def get(
    fs: SynapseFileSystem,
    sources: Paths,
    target: LocalTarget,
    recursive: Recursive = False,
    quiet: Quiet = False,
    unzip: Annotated[bool, typer.Option("--unzip", help="Unpack zip archives to folders.")] = False,
    sync: Sync = False,
    dry_run: DryRun = False,
    resume: Resume = None,
) -> None:
    """Fetch files to disk, each verified and put in place whole."""
    if target == STANDARD:
        _refuse(recursive=recursive, unzip=unzip, sync=sync, dry_run=dry_run)
        write_out(fs, sources)
        return
    if not recursive:
        _refuse_directories(fs.isdir, fs.expand_path(sources))
    with _progress(quiet) as callback:
        plan = fs.get(
            _one_or_all(sources),
            target,
            recursive=recursive,
            callback=callback,
            unzip=unzip,
            sync=sync,
            dry_run=dry_run,
            resume=resume,
        )
    _print_plan(plan)


@command
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
    sync: Sync = False,
    dry_run: DryRun = False,
    resume: Resume = None,
) -> None:
    """Send files from disk; they appear together when all have arrived."""
    if STANDARD in sources:
        _refuse(recursive=recursive, as_collection=as_collection, sync=sync, dry_run=dry_run)
        _refuse(ignore=ignore, ignore_file=ignore_file, manifest=manifest)
        _put_standard_input(fs, sources, target, quiet)
        return
    if not recursive and not as_collection:
        _refuse_directories(os.path.isdir, local_paths(sources))
    with _progress(quiet) as callback:
        plan = fs.put(
            _one_or_all(sources),
            target,
            recursive=recursive,
            callback=callback,
            ignore_patterns=ignore or None,
            ignore_filename=ignore_file,
            manifest_filename=manifest,
            as_collection=as_collection,
            sync=sync,
            dry_run=dry_run,
            resume=resume,
        )
    _print_plan(plan)


@command
def cp(fs: SynapseFileSystem, source: Source, target: Target, recursive: Recursive = False) -> None:
    """Copy; within collections no byte moves."""
    if not recursive:
        _refuse_directories(fs.isdir, fs.expand_path(source))
    fs.copy(source, target, recursive=recursive)


@command
def mv(fs: SynapseFileSystem, source: Source, target: Target, recursive: Recursive = False) -> None:
    """Move: copy, then remove just what was copied."""
    if not recursive:
        _refuse_directories(fs.isdir, fs.expand_path(source))
    fs.mv(source, target, recursive=recursive)


@command
def rm(fs: SynapseFileSystem, paths: Paths, recursive: Recursive = False) -> None:
    """Remove files, and with --recursive folders, datasets and collections."""
    fs.rm(paths, recursive=recursive)


@command
def mkdir(fs: SynapseFileSystem, paths: Paths) -> None:
    """Make collections (with one file specification, data_1), datasets, or folders in datasets."""
    for path in paths:
        fs.mkdir(path)
