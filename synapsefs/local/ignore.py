"""Which files of a local tree to leave out: ``.gitignore`` rules, by the ``pathspec`` library.

Of several patterns that speak of a path the last one decides. Patterns of the caller go before
those of ignore files, an ignore file in a deeper folder before one above, and all of them before
the defaults. What lies in a folder that is left out is never looked at, so no ``!pattern`` brings
it back: all as git does it.
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
class _Rules:
    """Patterns, and how many folders below the tree's root they begin to count."""

    depth: int
    spec: GitIgnoreSpec

    def verdict(self, parts: Sequence[str], *, folder: bool) -> bool | None:
        """Say whether a path is left out; None when no pattern speaks of it."""
        path = "/".join(parts[self.depth :])
        return self.spec.check_file(f"{path}/" if folder else path).include


@dataclass(frozen=True, slots=True)
class Ignoring:
    """What to leave out of one folder and those below it.

    Made by :func:`ignoring`, and taken down a tree by :meth:`inside`.

    Attributes
    ----------
    rules
        Patterns, the deciding ones first.
    above
        How many of ``rules`` go before any ignore file.
    filename
        Name of the ignore files; None to look for none.
    """

    rules: tuple[_Rules, ...] = field(default=(), repr=False)
    above: int = 0
    filename: str | None = None

    def inside(self, folder: str, depth: int) -> Ignoring:
        """Give what to leave out of a local folder, its own ignore file taken into account.

        Parameters
        ----------
        folder
            Local path.
        depth
            How many folders it lies below the tree's root.

        Raises
        ------
        InvalidRequestError
            For an ignore file that is not text or holds a pattern that means nothing.
        OSError
            When it cannot be read.
        """
        path = os.path.join(folder, self.filename) if self.filename else None
        if path is None or not os.path.isfile(path):
            return self
        try:
            with open(path, encoding="utf-8-sig") as file:
                spec = _spec(file.read().splitlines(), path)
        except UnicodeDecodeError as error:
            raise InvalidRequestError("the ignore file is not UTF-8", path) from error
        first, last = self.rules[: self.above], self.rules[self.above :]
        return Ignoring((*first, _Rules(depth, spec), *last), self.above, self.filename)

    def leaves_out(self, parts: Sequence[str], *, folder: bool) -> bool:
        """Say whether to leave out what lies in this folder.

        Parameters
        ----------
        parts
            Names from the tree's root down.
        folder
            Whether it is a folder, for patterns that end in ``/``.
        """
        for rules in self.rules:
            verdict = rules.verdict(parts, folder=folder)
            if verdict is not None:
                return verdict
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
        Name of files in the tree that hold such lines, each for its own folder.
    defaults
        Whether to leave out :data:`DEFAULTS` too, unless a pattern says otherwise.

    Raises
    ------
    InvalidRequestError
        For a pattern that means nothing, or a file name with a folder.
    """
    if isinstance(patterns, str | bytes):
        raise InvalidRequestError("ignore_patterns is a list of patterns, not one text")
    if filename is not None and (not filename or os.path.basename(filename) != filename):
        raise InvalidRequestError(f"ignore_filename is a name without folders, not {filename!r}")
    own = [_Rules(0, _spec(list(patterns), None))] if patterns else []
    last = [_Rules(0, _spec(DEFAULTS, None))] if defaults else []
    return Ignoring((*own, *last), len(own), filename)


def _spec(lines: Sequence[str], path: str | None) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only where something is left out

    wrong = []
    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, TypeError, AttributeError, re.error):
            where = f"line {number}: " if path else ""
            wrong.append(f"{where}{line!r} is no pattern")
    if wrong:
        raise InvalidRequestError("; ".join(wrong), path)
    return GitIgnoreSpec.from_lines(lines)
