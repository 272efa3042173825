"""What a local folder holds, looked through before anything of it is sent."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synapsefs.errors import InvalidRequestError, NotAFolderError, enumerated
from synapsefs.local.ignore import Ignoring


@dataclass(frozen=True, slots=True)
class LocalItem:
    """A file or directory of a local tree.

    Attributes
    ----------
    parts
        Names from the tree's root down; empty for the root.
    status
        Of what it is, links followed.
    """

    parts: tuple[str, ...]
    path: str
    status: os.stat_result

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)


def local_tree(
    root: str, ignoring: Ignoring | None = None, passed_over: list[str] | None = None
) -> list[LocalItem]:
    """List a local directory with all it holds, links followed, in the order of names.

    Raises
    ------
    NotAFolderError
        When ``root`` is something else.
    InvalidRequestError
        One error that names everything that could not be sent: what cannot be read, links that
        lead nowhere or in a circle, pipes and devices, names that are no text. With
        ``passed_over`` these problems go there instead.
    """
    if not os.path.isdir(root):
        os.stat(root)
        raise NotAFolderError("a local folder is wanted", root)
    problems: list[str] = [] if passed_over is None else passed_over
    items = [LocalItem((), root, os.stat(root))]
    items += _below(items[0], ignoring or Ignoring(), (), problems)
    if problems and passed_over is None:
        raise InvalidRequestError(enumerated(problems), root)
    return items


def _below(
    folder: LocalItem,
    ignoring: Ignoring,
    above: Sequence[tuple[int, int]],
    problems: list[str],
) -> Iterator[LocalItem]:
    here = (*above, (folder.status.st_dev, folder.status.st_ino))
    ignoring = ignoring.inside(folder.path, len(folder.parts))
    try:
        names = sorted(os.listdir(folder.path))
    except OSError as error:
        problems.append(f"{_shown(folder)}: {error.strerror}")
        return
    for name in names:
        item = _item(folder, name, ignoring, problems)
        if item is None:
            continue
        if item.folder and (item.status.st_dev, item.status.st_ino) in here:
            problems.append(f"{_shown(item)}: a link to a folder that it lies in")
            continue
        yield item
        if item.folder:
            yield from _below(item, ignoring, here, problems)


def _item(
    folder: LocalItem, name: str, ignoring: Ignoring, problems: list[str]
) -> LocalItem | None:
    """Look at one name; None for what is left out or cannot be sent."""
    parts, path = (*folder.parts, name), os.path.join(folder.path, name)
    status, lost = None, OSError()
    try:
        status = os.stat(path)
    except OSError as error:
        lost = error
    if ignoring.leaves_out(parts, folder=status is not None and stat.S_ISDIR(status.st_mode)):
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        problems.append(f"{'/'.join(parts)!a}: the name is not UTF-8")
        return None
    if status is None:
        dangling = os.path.islink(path) and not os.path.exists(path)
        why = "a link that leads nowhere" if dangling else lost.strerror
        problems.append(f"{'/'.join(parts)}: {why}")
        return None
    item = LocalItem(parts, path, status)
    if not item.folder and not stat.S_ISREG(item.status.st_mode):
        problems.append(f"{_shown(item)}: neither a file nor a folder")
        return None
    if not os.access(path, os.R_OK):
        problems.append(f"{_shown(item)}: not readable")
        return None
    return item


def _shown(item: LocalItem) -> str:
    return "/".join(item.parts) or "."
