"""Opening and reading again and again leaves nothing behind: no descriptor, task, or thread."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from synapsefs import SynapseFileSystem
from tests.support.killable import nursery
from tests.support.process import descriptors, resident, threads
from tests.support.sizing import sized

TOLERATED = 12
"""Connections and helper threads come and go; a leak would leave hundreds."""

MEMORY = 40 * 2**20


class Held(NamedTuple):
    """What this process and the server hold."""

    descriptors: int
    threads: int
    tasks: int
    memory: int
    server_descriptors: int
    server_threads: int
    server_memory: int


class Bench:
    """An instance over a server in a process of its own."""

    def __init__(self, url: str, pid: int) -> None:
        self.fs = SynapseFileSystem(url, skip_instance_cache=True)
        self.pid = pid
        self.paths = []
        for root, base in (("collections", "collections/c/data_1"), ("datasets", "datasets/d")):
            self.fs.mkdir("/".join(base.split("/")[:2]))
            self.paths += [f"{base}/{number}.bin" for number in range(5)]
            assert root in base
        self.fs.pipe({path: os.urandom(100_000) for path in self.paths})

    def held(self) -> Held:
        """Count, after everything that ends by itself has ended."""
        gc.collect()
        loop = self.fs.loop

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        running = asyncio.run_coroutine_threadsafe(tasks(), loop).result(30)
        return Held(
            descriptors(),
            threads(),
            running,
            resident(),
            descriptors(self.pid),
            threads(self.pid),
            resident(self.pid),
        )

    def cycle(self, number: int) -> None:
        """Open and read in one of the many ways."""
        path = self.paths[number % len(self.paths)]
        way = number % 6
        if way == 0:
            assert len(self.fs.cat_file(path)) == 100_000
        elif way == 1:
            with self.fs.open(path) as file:
                assert len(file.read()) == 100_000
        elif way == 2:
            with self.fs.open(path, block_size=4096) as file:
                file.seek(50_000)
                assert len(file.read(1000)) == 1000
        elif way == 3:
            file = self.fs.open(path)
            assert len(file.read(10)) == 10
            del file
        elif way == 4:
            assert not self.fs.exists(f"{path}.missing")
            with pytest.raises(FileNotFoundError):
                self.fs.open(f"{path}.missing")
        else:
            assert len(self.fs.cat_file(path, 5, 15)) == 10


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with nursery() as servers:
        pid, url = servers.start(tmp_path)
        try:
            yield Bench(url, pid)
        finally:
            servers.kill(pid)


def assert_no_leak(before: Held, after: Held) -> None:
    assert after.descriptors <= before.descriptors + TOLERATED
    assert after.threads <= before.threads + TOLERATED
    assert after.tasks <= before.tasks + TOLERATED
    assert after.server_descriptors <= before.server_descriptors + TOLERATED
    assert after.server_threads <= before.server_threads + TOLERATED
    assert after.memory <= before.memory + MEMORY
    assert after.server_memory <= before.server_memory + MEMORY


@pytest.mark.parametrize(
    "cycles",
    [300, pytest.param(sized(3_000, 10_000), marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_cycles_of_open_and_read(bench: Bench, cycles: int) -> None:
    for number in range(60):
        bench.cycle(number)
    before = bench.held()
    for number in range(cycles):
        bench.cycle(number)
    assert_no_leak(before, bench.held())


def test_failed_and_aborted_writes(bench: Bench) -> None:
    """Writers that raise, and ones that are discarded, hold nothing either."""

    def one(number: int) -> None:
        base = "collections/c/data_1" if number % 2 else "datasets/d"
        with (
            pytest.raises(RuntimeError),
            bench.fs.open(f"{base}/w.bin", "wb", block_size=2**18) as f,
        ):
            f.write(bytes(2**19))
            raise RuntimeError

    for number in range(10):
        one(number)
    before = bench.held()
    for number in range(60):
        one(number)
    assert_no_leak(before, bench.held())


def test_instances_that_come_and_go(bench: Bench) -> None:
    """An instance that nobody holds any more closes its connections."""
    options: dict[str, Any] = {"endpoint_url": bench.fs.settings.collections.url}

    def one() -> None:
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        assert len(fs.cat_file(bench.paths[0], 0, 10)) == 10

    for _ in range(5):
        one()
    before = bench.held()
    for _ in range(60):
        one()
    deadline = time.monotonic() + 20
    while bench.held().server_descriptors > before.server_descriptors + TOLERATED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert_no_leak(before, bench.held())
