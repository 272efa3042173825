"""Instances in event loops, threads and processes: as data loaders use them."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from synapsefs import SynapseFileSystem
from tests.support.running import environment, python

FORKS = "ignore:This process:DeprecationWarning"
COUNT = 12


def content(number: int) -> bytes:
    return bytes([number]) * (1000 + number)


@pytest.fixture
def samples(fs: SynapseFileSystem, base: str) -> list[str]:
    files = {f"{base}/{number:03d}.bin": content(number) for number in range(COUNT)}
    fs.pipe(files)
    return list(files)


class Samples:
    """A data set as training code writes it: it holds a filesystem and is sent to workers."""

    def __init__(self, fs: SynapseFileSystem, paths: Sequence[str], base: str) -> None:
        self.fs = fs
        self.paths = paths
        self.base = base

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, bytes]:
        with self.fs.open(self.paths[index]) as file:
            data = file.read()
        self.fs.pipe_file(f"{self.base}/seen-{index}.bin", data)
        return os.getpid(), data


def work(samples: Samples, todo: Any, done: Any) -> None:
    """Do what a worker of a data loader does, until it is told to stop."""
    while (index := todo.get()) is not None:
        done.put((index, *samples[index]))


class Loader:
    """Workers with queues, which live for several epochs, as torch's ``DataLoader`` has them."""

    def __init__(self, samples: Samples, method: str, workers: int) -> None:
        context: Any = multiprocessing.get_context(method)
        self.samples = samples
        self.todo, self.done = context.Queue(), context.Queue()
        self.workers = [
            context.Process(target=work, args=(samples, self.todo, self.done), daemon=True)
            for _ in range(workers)
        ]
        for worker in self.workers:
            worker.start()

    def epoch(self) -> Iterator[tuple[int, int, bytes]]:
        for index in range(len(self.samples)):
            self.todo.put(index)
        for _ in range(len(self.samples)):
            yield self.done.get(timeout=60)

    def close(self) -> None:
        for _ in self.workers:
            self.todo.put(None)
        for worker in self.workers:
            worker.join(60)
            assert worker.exitcode == 0


@pytest.mark.filterwarnings(FORKS)
@pytest.mark.parametrize(
    ("method", "warm"),
    [("fork", True), ("fork", False), pytest.param("spawn", True, marks=pytest.mark.slow)],
)
def test_workers_of_a_data_loader(
    options: dict[str, Any], base: str, samples: list[str], method: str, warm: bool
) -> None:
    """The parent has used its instance or not; it and the workers read and write."""
    parent = SynapseFileSystem(**options, skip_instance_cache=True)
    if warm:
        assert parent.cat_file(samples[0]) == content(0)
    loader = Loader(Samples(parent, samples, base), method, workers=3)
    for _ in range(2):
        found = {}
        for index, pid, data in loader.epoch():
            found[index] = data
            assert pid != os.getpid()
            assert parent.cat_file(samples[index]) == content(index)
        assert found == {index: content(index) for index in range(COUNT)}
    loader.close()
    parent.invalidate_cache()
    seen = {f"{base}/seen-{index}.bin": content(index) for index in range(COUNT)}
    assert parent.cat(list(seen)) == seen


def read_by_url(path: str, options: dict[str, Any]) -> bytes:
    with fsspec.open(f"synapse://{path}", **options) as file:
        data: bytes = file.read()
    return data


@pytest.mark.filterwarnings(FORKS)
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_urls_in_a_pool(options: dict[str, Any], samples: list[str], method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(read_by_url, samples, [options] * COUNT))
    assert found == [content(number) for number in range(COUNT)]


@pytest.mark.filterwarnings(FORKS)
def test_a_child_of_a_child(fs: SynapseFileSystem, base: str, samples: list[str]) -> None:
    """Two forks deep, each level with the instance in use."""
    child = os.fork()
    if not child:
        code = 1
        try:
            assert fs.cat_file(samples[1]) == content(1)
            grandchild = os.fork()
            if not grandchild:
                fs.pipe_file(f"{base}/deep.bin", fs.cat_file(samples[2]))
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            assert fs.cat_file(samples[3]) == content(3)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fs.cat_file(f"{base}/deep.bin") == content(2)


SCRIPT = """
import json, pickle, sys
fs = pickle.loads(sys.stdin.buffer.read())
base = sys.argv[1]
data = fs.cat_file(f"{base}/001.bin")
fs.pipe_file(f"{base}/from-outside.bin", data[::-1])
print(json.dumps({"size": fs.info(f"{base}/001.bin")["size"], "count": len(fs.find(base))}))
"""


def test_pickled_to_another_program(fs: SynapseFileSystem, base: str, samples: list[str]) -> None:
    assert fs.exists(samples[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, base],
        input=pickle.dumps(fs),
        capture_output=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {"size": len(content(1)), "count": COUNT + 1}
    assert done.stderr == b""
    assert fs.cat_file(f"{base}/from-outside.bin") == content(1)[::-1]


def test_an_open_file_in_another_thread(fs: SynapseFileSystem, samples: list[str]) -> None:
    with fs.open(samples[4]) as file, ThreadPoolExecutor(1) as pool:
        assert pool.submit(file.read).result() == content(4)


def test_threads_share_an_instance(fs: SynapseFileSystem, base: str, samples: list[str]) -> None:
    """Many threads at once, on an instance that none of them has used before."""
    start = threading.Barrier(16)

    def use(number: int) -> bytes:
        start.wait(30)
        fs.pipe_file(f"{base}/thread-{number}.bin", content(number))
        with fs.open(f"{base}/opened-{number}.bin", "wb") as file:
            file.write(content(number))
        assert fs.exists(f"{base}/thread-{number}.bin")
        return fs.cat_file(f"{base}/opened-{number}.bin") + fs.cat_file(samples[number % COUNT])

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(use, range(16)))
    assert found == [content(number) + content(number % COUNT) for number in range(16)]
    fs.invalidate_cache()
    assert len(fs.find(base)) == COUNT + 32


def test_a_loop_in_each_thread(options: dict[str, Any], samples: list[str]) -> None:
    shared = SynapseFileSystem(**options, asynchronous=True)

    async def read(path: str) -> bytes:
        async with await shared.open_async(path) as file:
            data: bytes = await file.read()
        assert await shared._cat_file(path) == data
        await shared.aclose()
        return data

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: asyncio.run(read(path)), samples))
    assert found == [content(number) for number in range(COUNT)]


def test_two_loops_one_after_the_other(
    options: dict[str, Any], base: str, samples: list[str]
) -> None:
    for turn in range(2):

        async def use(turn: int = turn) -> None:
            async with SynapseFileSystem(**options, asynchronous=True) as fs:
                await fs._pipe_file(f"{base}/{turn}.bin", content(turn))
                assert await fs._cat_file(f"{base}/{turn}.bin") == content(turn)
                found = await asyncio.gather(*map(fs._cat_file, samples))
            assert found == [content(number) for number in range(COUNT)]

        asyncio.run(use())


LOOPS = """
import asyncio, json, sys
import fsspec

async def use(name):
    fs = fsspec.filesystem("synapse", asynchronous=True, **json.loads(sys.argv[1]))
    await fs._pipe_file(f"{sys.argv[2]}/{name}.bin", name.encode())
    return (await fs._cat_file(f"{sys.argv[2]}/{name}.bin")).decode()

print(asyncio.run(use("one")), asyncio.run(use("two")))
"""


def test_two_loops_and_nothing_closed(options: dict[str, Any], base: str) -> None:
    """An instance from the cache meets another loop, its connections left to the first."""
    done = python(LOOPS, json.dumps(options), base)
    assert (done.returncode, done.stdout) == (0, "one two\n"), done.stderr


def test_sync_beside_async(
    options: dict[str, Any], fs: SynapseFileSystem, samples: list[str]
) -> None:
    """Synchronous calls from within a running loop's thread go on in the background thread."""

    async def mixed() -> tuple[bytes, bytes]:
        async with SynapseFileSystem(**options, asynchronous=True) as there:
            one = await there._cat_file(samples[5])
            other = await asyncio.to_thread(fs.cat_file, samples[5])
        return one, other

    assert asyncio.run(mixed()) == (content(5), content(5))
