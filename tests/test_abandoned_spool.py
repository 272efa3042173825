"""A file that was being spooled for a service that wants its total first leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings

PART = 64 * 1024


@pytest.mark.parametrize("steps", range(9, 24))
async def test_abandoned_at_any_moment(tmp_path: Path, steps: int) -> None:
    running = await serve(ServerSettings(root=tmp_path, strict=True))
    options = {"block_size": PART, "asynchronous": True, "skip_instance_cache": True}
    try:
        async with SynapseFileSystem(running.url, token="any", **options) as fs:
            await fs._mkdir("collections/c")
            file = await fs.open_async("collections/c/data_1/a.bin", "wb")
            await file.write(b"x" * (2 * PART + 1))
            for _ in range(steps):
                await asyncio.sleep(0)
            await file.discard()
            assert await fs._find("collections/c") == []
    finally:
        await running.close()
    gc.collect()
