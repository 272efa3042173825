"""Which files of a local tree to leave out: ``.gitignore`` rules, by the ``pathspec`` library.

Of several patterns that match a path the last one decides. Patterns of the caller go before those
of ignore files, an ignore file in a deeper directory before one above, and all before the
defaults. Nothing below an excluded directory is included again, as in git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synapsefs.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

DEFAULTS = (".git", "__pycache__", "*.pyc", ".DS_Store", "node_modules")
"""What the datasets service's own client leaves out."""


@dataclass(frozen=True, slots=True)
class Ignoring:
    """What to leave out of one directory and those below it.

    Attributes
    ----------
    rules
        The deciding ones first: how many directories below the tree's root patterns begin to
        count, and the patterns.
    above
        How many of ``rules`` go before any ignore file.
    filename
        Name of the ignore files; None to look for none.
    """

    rules: tuple[tuple[int, GitIgnoreSpec], ...] = field(default=(), repr=False)
    above: int = 0
    filename: str | None = None

    def inside(self, directory: str, depth: int) -> Ignoring:
        """Add the ignore file of a local directory ``depth`` below the tree's root.

        Raises
        ------
        InvalidRequestError
            For an ignore file that is not text or holds a pattern that means nothing.
        OSError
            When it cannot be read.
        """
        path = os.path.join(directory, self.filename) if self.filename else None
        if path is None or not os.path.isfile(path):
            return self
        try:
            with open(path, encoding="utf-8-sig") as file:
                spec = _spec(file.read().splitlines(), path)
        except UnicodeDecodeError as error:
            raise InvalidRequestError("the ignore file is not UTF-8", path) from error
        first, last = self.rules[: self.above], self.rules[self.above :]
        return Ignoring((*first, (depth, spec), *last), self.above, self.filename)

    def leaves_out(self, parts: Sequence[str], *, folder: bool) -> bool:
        """Say whether to leave out what has these names from the tree's root down."""
        for depth, spec in self.rules:
            path = "/".join(parts[depth:])
            include = spec.check_file(f"{path}/" if folder else path).include
            if include is not None:
                return include
        return False


def ignoring(
    patterns: Iterable[str] | None = None, filename: str | None = None, *, defaults: bool = True
) -> Ignoring:
    """Read what a caller wants left out.

    Parameters
    ----------
    patterns
        Lines as in ``.gitignore``, relative to the tree's root.
    filename
        Name of files in the tree that hold such lines, each for its own directory.
    defaults
        Whether to leave out :data:`DEFAULTS` too, unless a pattern says otherwise.

    Raises
    ------
    InvalidRequestError
        For a pattern that means nothing, or a file name with a directory.
    """
    if isinstance(patterns, str | bytes):
        raise InvalidRequestError("ignore_patterns is a list of patterns, not one text")
    if filename is not None and (not filename or os.path.basename(filename) != filename):
        raise InvalidRequestError(f"ignore_filename is a name without folders, not {filename!r}")
    own = [(0, _spec(list(patterns), None))] if patterns else []
    last = [(0, _spec(DEFAULTS, None))] if defaults else []
    return Ignoring((*own, *last), len(own), filename)


def _spec(lines: Sequence[str], path: str | None) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only where something is left out

    wrong = []
    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, TypeError, AttributeError, re.error):
            wrong.append(f"{f'line {number}: ' if path else ''}{line!r} is no pattern")
    if wrong:
        raise InvalidRequestError("; ".join(wrong), path)
    return GitIgnoreSpec.from_lines(lines)
