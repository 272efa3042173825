"""What a server does on its own: it collects what is over, and closes its root at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from synapsefs.server import collections, datasets, garbage, parts
from synapsefs.server.blobs import BLOBS
from synapsefs.server.database import DATABASE
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import web

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
STAMP = "collected"
"""A file below the root whose time says when objects were last collected, by any process."""


async def keep_house(app: web.Application) -> AsyncIterator[None]:
    """Sweep now and then; close everything at the end."""
    sweeper = asyncio.create_task(_sweep_for_ever(app))
    yield
    sweeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeper
    app[BLOBS].close()
    app[DATABASE].close()


async def sweep(app: web.Application) -> None:
    """Forget uploads that are over, and entries that wait for one which never came."""
    blobs, lifetime = app[BLOBS], app[SETTINGS].upload_lifetime
    await parts.sweep_parts(app)
    await collections.sweep(app)
    await datasets.sweep(app)
    waiting = await parts.waiting_files(app)
    await blobs.run(lambda: blobs.sweep(lifetime, waiting))


async def _sweep_for_ever(app: web.Application) -> None:
    while True:
        try:
            await sweep(app)
            if await app[BLOBS].run(lambda: _is_due(app[SETTINGS].root / STAMP)):
                await garbage.collect(app)
        except Exception as error:
            if _is_exit(error):
                return
            log.exception("Collecting what is over failed")
        await asyncio.sleep(SWEEP_SECONDS)


def _is_exit(error: Exception) -> bool:
    """Say whether work was refused since the interpreter ends, which is about to end this too.

    It refuses threads and futures before it calls anybody who could stop in time.
    """
    return isinstance(error, RuntimeError) and str(error).endswith("interpreter shutdown")


def _is_due(stamp: Path) -> bool:
    """Say whether nobody has collected objects for a while, and begin a new while if so."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - stamp.stat().st_mtime < SWEEP_SECONDS:
            return False
    stamp.touch()
    return True
