"""Whose a transaction is, and what it publishes of what it was given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError, NotAFolderError, UnsupportedError

PATIENCE = 20


def in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Do something in another thread, and raise what it raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(*arguments)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def write_all(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"put")
    fs.pipe_file(f"{base}/piped.bin", b"piped")
    fs.put_file(str(tmp_path / "local"), f"{base}/put.bin")
    with fs.open(f"{base}/opened.bin", "wb") as file:
        file.write(b"opened")


def test_another_threads_files_are_not_in_it(fs, another, base, tmp_path):
    """They are published at once, and stay when the transaction fails."""
    with pytest.raises(RuntimeError, match="stop"), fs.transaction:
        fs.pipe_file(f"{base}/mine.bin", b"mine")
        in_thread(write_all, fs, base, tmp_path)
        assert another.cat_file(f"{base}/opened.bin") == b"opened"
        raise RuntimeError("stop")
    another.invalidate_cache()
    assert [path.rpartition("/")[2] for path in another.find(base)] == [
        "opened.bin", "piped.bin", "put.bin",
    ]  # fmt: skip


def test_each_thread_has_its_own(fs, another, base):
    with fs.transaction:
        fs.pipe_file(f"{base}/one.bin", b"1")

        def other() -> None:
            with fs.transaction:
                fs.pipe_file(f"{base}/two.bin", b"2")
                assert another.find(base) == []

        in_thread(other)
        another.invalidate_cache()
        assert another.find(base) == [f"{base}/two.bin"]
    another.invalidate_cache()
    assert another.find(base) == [f"{base}/one.bin", f"{base}/two.bin"]


def test_another_task_is_not_in_it(fs, another, base):
    """Tasks of one thread that call synchronously, as in a notebook."""

    async def work() -> None:
        opened, written = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            with pytest.raises(RuntimeError, match="stop"), fs.transaction:
                fs.pipe_file(f"{base}/lost.bin", b"1")
                opened.set()
                await written.wait()
                raise RuntimeError("stop")

        async def second() -> None:
            await opened.wait()
            fs.pipe_file(f"{base}/kept.bin", b"2")
            written.set()

        await asyncio.gather(first(), second())

    asyncio.run(work())
    assert another.find(base) == [f"{base}/kept.bin"]


def test_started_and_ended_by_calls(fs, another, base):
    fs.start_transaction()
    fs.pipe_file(f"{base}/a.bin", b"a")
    assert another.find(base) == []
    with pytest.raises(InvalidRequestError, match="no transaction"):
        in_thread(fs.end_transaction)
    fs.end_transaction()
    another.invalidate_cache()
    assert another.find(base) == [f"{base}/a.bin"]
    fs.pipe_file(f"{base}/b.bin", b"b")
    assert another.cat_file(f"{base}/b.bin") == b"b"


def test_two_do_not_nest(fs, base):
    """The inner one would publish or forget what the outer one holds."""
    with fs.transaction:
        fs.pipe_file(f"{base}/a.bin", b"a")
        with pytest.raises(InvalidRequestError, match="nest"), fs.transaction:
            pass
    assert fs.cat_file(f"{base}/a.bin") == b"a"


def test_not_on_an_asynchronous_instance(options):
    """It says so before anything is written, not at its end."""

    async def work() -> None:
        async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
            with pytest.raises(UnsupportedError, match="asynchronous"), fs.transaction:
                pytest.fail("it began")

    asyncio.run(work())


def test_instances_have_their_own(fs, another, base):
    with fs.transaction:
        another.pipe_file(f"{base}/a.bin", b"a")
        assert fs.cat_file(f"{base}/a.bin") == b"a"


@pytest.mark.parametrize("name", ["a.bin", "a.txt"])
@pytest.mark.parametrize("before", [False, True], ids=["new", "there"])
def test_a_path_that_is_written_twice_is_the_last_file(fs, another, base, tmp_path, name, before):
    path = f"{base}/{name}"
    if before:
        another.pipe_file(path, b"before")
    (tmp_path / "local").write_bytes(b"third and last")
    with fs.transaction:
        fs.pipe_file(path, b"first")
        with fs.open(path, "wb") as file:
            file.write(b"second, a longer one")
        fs.put_file(str(tmp_path / "local"), path)
    another.invalidate_cache()
    assert another.find(base) == [path]
    assert another.cat_file(path) == b"third and last"
    assert another.du(base) == len(b"third and last")
    another.rm(path)
    assert another.find(base, refresh=True) == []


@pytest.mark.parametrize("ways", [("pipe", "pipe"), ("open", "pipe"), ("pipe", "open")])
def test_a_file_and_a_directory_of_one_name(fs, another, base, ways):
    def write(way: str, path: str) -> None:
        if way == "pipe":
            fs.pipe_file(path, b"\xff")
            return
        with fs.open(path, "wb") as file:
            file.write(b"\xff")

    for first, second in (("x", "x/y"), ("x/y", "x")):
        with pytest.raises(NotAFolderError) as caught, fs.transaction:
            write(ways[0], f"{base}/{first}")
            write(ways[1], f"{base}/{second}")
        assert caught.value.filename == f"{base}/x"
        assert another.find(base, refresh=True) == []
