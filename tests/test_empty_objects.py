"""Empty files in an object storage that answers 416 to any range of them, as S3 and GCS do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from synapsefs import ChangedError, ChecksumError, SynapseFileSystem
from synapsefs.cli import main
from tests.support.observed import API_KEY, TOKEN, ObservedServer, observed_server

WORDS = "<Error><Code>InvalidRange</Code><ActualObjectSize>0</ActualObjectSize></Error>"


def refusing_ranges(headers: dict[str, str]) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/_blob") and "Range" in request.headers:
            return web.Response(status=416, text=WORDS, headers=headers)
        return await handler(request)  # type: ignore[no-any-return]

    return middleware


@pytest.fixture(
    scope="module",
    params=[(False, {}), (True, {}), (True, {"Content-Range": "bytes */0"})],
    ids=["sizes", "no sizes", "no sizes, but the storage's"],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObservedServer]:
    strict, headers = request.param
    root = tmp_path_factory.mktemp("empty")
    with observed_server(root, refusing_ranges(headers), strict=strict) as one:
        maker = SynapseFileSystem(**one.options, skip_instance_cache=True)
        maker.mkdir("collections/c")
        maker.mkdir("datasets/d")
        for base in ("collections/c/data_1", "datasets/d"):
            maker.pipe_file(f"{base}/empty.bin", b"")
            maker.pipe_file(f"{base}/full.bin", b"content")
        yield one


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
    fs.find("datasets")
    return fs


@pytest.fixture(params=["collections/c/data_1", "datasets/d"])
def path(request: pytest.FixtureRequest) -> str:
    return f"{request.param}/empty.bin"


def test_its_size_is_zero(fs: SynapseFileSystem, path: str) -> None:
    assert fs.size(path) == 0
    assert fs.info(path)["size"] == 0
    assert fs.sizes([path]) == [0]


def test_a_long_listing(
    server: ObservedServer, path: str, capfd: pytest.CaptureFixture[str], fs: SynapseFileSystem
) -> None:
    connection = ["--endpoint-url", server.url, "--token", TOKEN, "--datasets-token", API_KEY]
    with pytest.raises(SystemExit) as end:
        main(["ls", "-l", f"synapse://{path}", *connection])
    out, err = capfd.readouterr()
    assert (end.value.code, err) == (0, "")
    assert out.split()[0] == "0"


def test_it_reads_as_nothing(fs: SynapseFileSystem, path: str, tmp_path: Path) -> None:
    with fs.open(path, "rb") as file:
        assert file.read() == file.read(5) == b""
    assert fs.cat_file(path) == fs.cat(path) == b""
    assert fs.cat_file(path, 0, 10) == fs.cat_file(path, 5, 10) == fs.cat_file(path, -5) == b""
    assert fs.cat_ranges([path] * 3, [0, 5, -2], [10, 10, None]) == [b""] * 3
    assert fs.head(path) == fs.tail(path) == b""
    fs.get_file(path, str(tmp_path / "empty.bin"))
    assert (tmp_path / "empty.bin").read_bytes() == b""


async def test_it_reads_as_nothing_when_awaited(server: ObservedServer, path: str) -> None:
    async with SynapseFileSystem(
        **server.options, asynchronous=True, skip_instance_cache=True
    ) as fs:
        await fs._find("datasets")
        async with await fs.open_async(path, "rb") as file:
            assert await file.read() == b""


def test_what_is_not_empty_is_not_taken_for_it(fs: SynapseFileSystem, path: str) -> None:
    full = path.replace("empty", "full")
    with pytest.raises((ChangedError, ChecksumError)), fs.open(full, "rb") as file:
        file.read()
    assert fs.cat_file(full) == b"content"
