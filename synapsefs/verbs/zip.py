"""Zipped directories on their way: packed into a spool before sending, unpacked after fetching."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from synapsefs.errors import AlreadyExistsError, InvalidRequestError
from synapsefs.local.walk import LocalItem
from synapsefs.local.zip import UnpackLimits, folder_name, pack, unpack
from synapsefs.sync import stoppable


@asynccontextmanager
async def packed(items: Sequence[LocalItem]) -> AsyncIterator[str]:
    """Zip a local tree into a temporary file that is there during the block; give its path.

    Raises
    ------
    InvalidRequestError
        When a file changes meanwhile, or has a name that cannot be unpacked everywhere.
    OSError
        When a file cannot be read or the temporary directory is full.
    """
    descriptor, path = tempfile.mkstemp(prefix="synapsefs-", suffix=".zip")
    try:
        with os.fdopen(descriptor, "w+b") as spool:
            await stoppable(partial(pack, items, spool))
        yield path
    finally:
        os.unlink(path)


def unpack_limits(option: Any) -> UnpackLimits | None:
    """Read the ``unzip`` option of ``get``: False, True, or limits of one's own.

    Raises
    ------
    InvalidRequestError
        For anything else.
    """
    if isinstance(option, UnpackLimits):
        return option
    if option is None or isinstance(option, bool):
        return UnpackLimits() if option else None
    raise InvalidRequestError("unzip is True, False or UnpackLimits(…)")


def unpacked_at(source: str, target: str) -> str:
    """Give the local folder for an archive: its target, less ``.zip`` where it has its own name."""
    folder, name = os.path.split(target)
    if name != source.rsplit("/", 1)[-1]:
        return target
    return os.path.join(folder, folder_name(name))


async def fetch_unpacked(
    fetch: Callable[[str], Awaitable[None]], target: str, limits: UnpackLimits, about: str
) -> None:
    """Fetch an archive and put its content in place as a folder, whole or not at all.

    Everything is done in a temporary folder beside the target, which is renamed at the end.

    Parameters
    ----------
    fetch
        Fetches the archive to a local path.
    target
        Local path of the folder to make; an empty folder may be there.
    limits
        How far the archive may grow.
    about
        Remote path to name in errors.

    Raises
    ------
    AlreadyExistsError
        When something is at ``target``.
    InvalidRequestError, TooLargeError, IntegrityError, UnsupportedError
        When the archive is none, or not safe to unpack, or damaged. Nothing is left of it.
    """
    await asyncio.to_thread(_require_free, target)
    above = os.path.dirname(target) or "."
    await asyncio.to_thread(os.makedirs, above, exist_ok=True)
    work = tempfile.mkdtemp(".part", ".synapsefs-", above)
    try:
        archive, folder = os.path.join(work, "archive"), os.path.join(work, "folder")
        await fetch(archive)
        await stoppable(partial(unpack, archive, folder, limits, about))
        await asyncio.to_thread(_put_in_place, folder, target)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))


def _require_free(target: str) -> None:
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise AlreadyExistsError("something is there: unpack to a new folder", target)


def _put_in_place(folder: str, target: str) -> None:
    try:
        os.rename(folder, target)
    except OSError as error:
        _require_free(target)
        raise error from None
