"""Where files of datasets can be."""

from __future__ import annotations

from synapsefs.errors import FolderError, InvalidPathError
from synapsefs.location import Location, Root, escape, id_of, unescape
from synapsefs.services.paths import name_problems

NAME_MAX = 255
TOP = 3
"""Segments of the highest directory that files can lie in: ``datasets/name/directory``."""


def validate_path(location: Location) -> None:
    """Refuse a path where no file can be.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    FolderError
        For a dataset itself.
    """
    validate_name(location.container, location.path)
    if not location.inner:
        raise FolderError("a file needs a name below its dataset", location.path)
    problems = name_problems(location.inner, Root.DATASETS, NAME_MAX)
    for segment in location.inner:
        written = escape(unescape(segment), Root.DATASETS)
        if written != segment and id_of(segment, Root.DATASETS) is None:
            problems.append(f"{segment!r} is written {written!r}")
    if problems:
        raise InvalidPathError("; ".join(problems), location.path)


def validate_name(segment: str, path: str) -> None:
    """Refuse a name that no dataset can have; the error names every rule that it breaks."""
    if id_of(segment) is None and (problems := name_problems([segment], Root.DATASETS, NAME_MAX)):
        raise InvalidPathError("; ".join(problems), path)
