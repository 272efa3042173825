"""Files that are read: what their copies in other processes read, and who is at fault for what."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from synapsefs import (
    AccessDeniedError,
    ChangedError,
    ChecksumError,
    SynapseFileSystem,
    UnsupportedError,
)
from tests.support.liar import Answer, Liar, liar
from tests.support.observed import observed_server

PART = 2**20
LARGE = os.urandom(3 * PART + 5)


# --- awaited -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    with liar(tmp_path_factory.mktemp("lies")) as server:
        fs = SynapseFileSystem(**server.honest.options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.mkdir("datasets/d")
        fs.pipe({"collections/c/data_1/a.bin": LARGE, "datasets/d/a.bin": LARGE})
        yield server


def flipped(answer: Answer) -> None:
    if answer.is_object and answer.body:
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])


@pytest.mark.parametrize("path", ["collections/c/data_1/a.bin", "datasets/d/a.bin"])
@pytest.mark.parametrize("sizes", [[-1], [None], [PART, -1], [len(LARGE) - 1, 1]])
async def test_an_awaited_file_is_verified(lying: Liar, path: str, sizes: list[int]) -> None:
    async with SynapseFileSystem(**lying.options, asynchronous=True) as fs:
        with lying.lying(flipped):
            async with await fs.open_async(path, "rb") as file:
                with pytest.raises(ChecksumError) as raised:
                    for size in sizes:
                        await file.read(size)
                assert raised.value.filename == path
        async with await fs.open_async(path, "rb") as file:
            assert await file.read(10) + await file.read() == LARGE
            assert await file.read() == b""


async def test_an_awaited_reader_that_is_forgotten_says_nothing(lying: Liar) -> None:
    async with SynapseFileSystem(**lying.options, asynchronous=True) as fs:
        file = await fs.open_async("datasets/d/a.bin", "rb")
        await file.read(10)
        del file
        gc.collect()


async def test_an_awaited_writer_that_is_forgotten_warns(
    options: dict[str, Any], fs: SynapseFileSystem, base: str
) -> None:
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as one:
        file = await one.open_async(f"{base}/lost.bin", "wb")
        await file.write(b"lost")
        with pytest.warns(ResourceWarning, match="discarded"):
            del file
            gc.collect()
        assert await one._find(base) == []


async def test_an_asynchronous_instance_has_no_transactions(options: dict[str, Any]) -> None:
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
        with pytest.raises(UnsupportedError, match="_pipe"), fs.transaction:
            pass
        await fs._find("datasets")


# --- pickled -------------------------------------------------------------------------------


def test_a_pickled_reader_reads_the_version_that_was_opened(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    path = f"{base}/a.bin"
    another.pipe_file(path, b"the old content")
    with fs.open(path, "rb") as file:
        file.seek(4)
        unchanged = pickle.loads(pickle.dumps(file))
        assert unchanged.read() == b"old content"
        packed = pickle.dumps(file)
        another.pipe_file(path, b"THE NEW CONTENT")
        fs.invalidate_cache()
        SynapseFileSystem.clear_instance_cache()
        if base.startswith("datasets"):
            assert pickle.loads(packed).read() == b"old content"
        else:
            with pytest.raises(ChangedError) as raised:
                pickle.loads(packed)
            assert raised.value.filename == path
        assert file.read() == b"old content"


# --- written -------------------------------------------------------------------------------


def test_a_file_that_is_written_cannot_seek(fs: SynapseFileSystem, base: str) -> None:
    with fs.open(f"{base}/a.bin", "wb") as file:
        file.write(b"content")
        with pytest.raises(UnsupportedError, match="seek") as raised:
            file.seek(0)
        assert raised.value.filename == f"{base}/a.bin"
        assert not file.seekable()
    assert fs.cat_file(f"{base}/a.bin") == b"content"


@pytest.mark.parametrize("length", [6, 60])
def test_a_file_that_was_replaced_before_its_writer_knew(tmp_path: Path, length: int) -> None:
    """The answer to a publication is lost; the one to its repetition is about a later one."""
    path, rival = "datasets/d/a.bin", []

    @web.middleware
    async def losing(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        if request.method == "PATCH" and rival and "publish" in await request.text():
            fs, content = rival.pop()
            await asyncio.to_thread(fs.pipe_file, path, content)
            return web.json_response({"detail": "busy"}, status=503)
        return response  # type: ignore[no-any-return]

    with observed_server(tmp_path, losing) as server:
        fs, other = (
            SynapseFileSystem(**{**server.options, "retries": 2}, skip_instance_cache=True)
            for _ in range(2)
        )
        fs.mkdir("datasets/d")
        fs.pipe_file(path, b"zero")
        second = b"second" * (length // 6)
        rival.append((other, second))
        fs.pipe_file(path, b"first!", tags=["one"])
        assert rival == []
        for one in (fs, other):
            assert one.cat_file(path) == second
            one.get_file(path, str(tmp_path / "got"))
            assert (tmp_path / "got").read_bytes() == second


# --- copied --------------------------------------------------------------------------------


def refusing_the_second_part() -> Any:
    seen = []

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "PUT" and "chunked_upload" in request.path:
            seen.append(request.path)
            if len(seen) == 2:
                return web.json_response({"detail": "no more"}, status=403)
        return await handler(request)  # type: ignore[no-any-return]

    return middleware


def test_a_target_that_refuses_is_not_a_source_that_fails(tmp_path: Path) -> None:
    with observed_server(tmp_path, refusing_the_second_part()) as server:
        fs = SynapseFileSystem(**server.options, block_size=PART, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.mkdir("datasets/d")
        fs.pipe_file("datasets/d/a.bin", LARGE)
        with pytest.raises(AccessDeniedError, match="no more") as raised, server.watching() as seen:
            fs.cp_file("datasets/d/a.bin", "collections/c/data_1/a.bin")
        assert raised.value.filename == "collections/c/data_1/a.bin"
        assert len([one for one in seen if one.is_object and one.method == "GET"]) == 1
        assert fs.find("collections/c") == []


@pytest.mark.slow
def test_many_copies_between_services_do_not_wait_for_each_other(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """More files at a time than requests: each is read while its parts are sent on."""
    count, content = 80, os.urandom(2**18)
    more = {"block_size": 2**16, "max_concurrency": count, "skip_instance_cache": True}
    fs = SynapseFileSystem(**options, **more)
    source, target = f"datasets/s-{tmp_path.name}", f"collections/t-{tmp_path.name}"
    fs.mkdir(source)
    fs.mkdir(target)
    fs.pipe({f"{source}/{number}.bin": content for number in range(count)})
    fs.cp(f"{source}/", f"{target}/data_1/", recursive=True)
    assert len(fs.find(target)) == count
