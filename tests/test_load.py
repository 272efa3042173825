"""Many clients at once: no error, no lost write, bounded memory, fair to all."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem
from tests.support.killable import nursery
from tests.support.process import descriptors, resident
from tests.support.running import environment
from tests.support.sizing import sized

MEMORY = 300 * 2**20
"""Bytes that the server may grow by; its helpers and caches have a bound."""

CLIENTS = """
import asyncio, hashlib, json, random, sys, time
from synapsefs import SynapseFileSystem

url, name, clients, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
SIZES = [0, 100, 5_000, 60_000, 300_000]

async def client(number, until):
    fs = SynapseFileSystem(url, asynchronous=True, skip_instance_cache=True, retries=1)
    chance = random.Random(f"{name}-{number}")
    written, waits, errors = {}, [], []
    turn = 0
    async with fs:
        while time.monotonic() < until:
            base = chance.choice(["collections/shared/data_1", "datasets/shared"])
            path = f"{base}/{name}-{number}-{turn % 40}.bin"
            data = chance.randbytes(chance.choice(SIZES))
            began = time.monotonic()
            try:
                await fs._pipe_file(path, data)
                written[path] = hashlib.sha256(data).hexdigest()
                if await fs._cat_file(path) != data:
                    errors.append(f"{path}: other bytes")
            except Exception as error:
                errors.append(repr(error))
            waits.append(time.monotonic() - began)
            turn += 1
    return {"written": written, "waits": waits, "errors": errors}

async def main():
    until = time.monotonic() + seconds
    return await asyncio.gather(*(client(number, until) for number in range(clients)))

print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    with nursery() as servers:
        pid, url = servers.start(tmp_path)
        try:
            yield url, pid
        finally:
            servers.kill(pid)


def run(url: str, processes: int, clients: int, seconds: float) -> list[dict[str, Any]]:
    """Let clients of several processes write and read; give what each of them saw."""
    each = [str(clients // processes), str(seconds)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENTS, url, f"p{number}", *each],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for number in range(processes)
    ]
    found: list[dict[str, Any]] = []
    for process in running:
        out, _ = process.communicate(timeout=seconds + 240)
        assert process.returncode == 0
        found += json.loads(out)
    return found


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [
        pytest.param(
            sized(32, 64),
            sized(15.0, 60.0),
            marks=[pytest.mark.slow, pytest.mark.timeout(600)],
            id="a minute",
        ),
        pytest.param(8, 1.0, id="a moment"),
    ],
)
def test_many_clients(server: tuple[str, int], clients: int, seconds: float) -> None:
    url, pid = server
    fs = SynapseFileSystem(url, skip_instance_cache=True)
    for container in ("collections/shared", "datasets/shared"):
        fs.mkdir(container)
    fs.pipe_file("collections/shared/data_1/first.bin", b"first")
    before = resident(pid)
    found = run(url, 1 + clients // 20, clients, seconds)
    grown = resident(pid) - before
    assert len(found) == clients
    assert [error for one in found for error in one["errors"]] == []

    written = {path: digest for one in found for path, digest in one["written"].items()}
    listed = set(fs.find("collections/shared")) | set(fs.find("datasets/shared"))
    assert listed == {*written, "collections/shared/data_1/first.bin"}
    stored = fs.cat(list(written))
    assert {path: hashlib.sha256(data).hexdigest() for path, data in stored.items()} == written

    assert grown < MEMORY
    deadline = time.monotonic() + 30
    while descriptors(pid) > 100:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    turns = [len(one["waits"]) for one in found]
    assert min(turns) >= 1
    assert min(turns) * 4 >= statistics.median(turns)
    longest = [max(one["waits"]) for one in found]
    assert max(longest) <= 10 * statistics.median(longest) + 1
