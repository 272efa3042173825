"""Large files come in several ranges where one connection is slow: right, once, and resumable."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem, concurrency, download, sync
from synapsefs.checkpoint import TransferKey
from synapsefs.errors import ChangedError, ChecksumError
from synapsefs.http import Transport
from synapsefs.integrity import PartDigests
from synapsefs.options import Options
from synapsefs.remote_object import RemoteObject
from tests.support.observed import ObservedServer, observed_server

KIB = 2**10
DATA = os.urandom(2**20 + 4321)
PATH = "datasets/d/large.bin"


@dataclass
class SlowStorage:
    """Answers for the storage, each connection at a bounded rate."""

    tag: str | None = '"one"'
    ranges: bool = True
    changes: bool = False
    seconds: float = 0.004
    under_way: int = 0
    most: int = 0
    sent: int = 0
    starts: list[int] = field(default_factory=list)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method != "GET" or not request.path.startswith("/_blob"):
            return await handler(request)  # type: ignore[no-any-return]
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        start, end = 0, len(DATA)
        headers = {"Accept-Ranges": "bytes"}
        if self.tag:
            headers["ETag"] = '"two"' if self.changes and len(self.starts) > 2 else self.tag
        if span and self.ranges:
            start, end = int(span[1]), int(span[2] or len(DATA) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(DATA)}"
        self.starts.append(start)
        response = web.StreamResponse(status=206 if "Content-Range" in headers else 200)
        response.headers.update(headers)
        response.content_length = end - start
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await response.prepare(request)
            for at in range(start, end, 4 * KIB):
                await asyncio.sleep(self.seconds)
                await response.write(DATA[at : min(at + 4 * KIB, end)])
                self.sent += min(4 * KIB, end - at)
        finally:
            self.under_way -= 1
        return response


@pytest.fixture
def storage() -> SlowStorage:
    return SlowStorage()


@pytest.fixture
def server(
    storage: SlowStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObservedServer]:
    monkeypatch.setattr(download, "LARGE", 256 * KIB)
    monkeypatch.setattr(download, "RANGE", 64 * KIB)
    monkeypatch.setattr(concurrency, "WINDOW", 0.04)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with observed_server(tmp_path / "root", storage.middleware) as running:
        yield running


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    options = {**server.options, "skip_instance_cache": True}
    fs = SynapseFileSystem(**options)
    fs.mkdir("datasets/d")
    fs.pipe_file(PATH, DATA)
    return SynapseFileSystem(**options, block_size=128 * KIB)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    return tmp_path / "local" / "large.bin"


def test_a_slow_link_is_filled(fs: SynapseFileSystem, storage: SlowStorage, target: Path) -> None:
    counted = Callback()
    fs.get_file(PATH, str(target), callback=counted)
    assert target.read_bytes() == DATA
    assert counted.value == len(DATA)
    assert 2 <= storage.most <= 16
    assert len(set(storage.starts)) == len(storage.starts), "a range came twice"
    assert storage.sent < 1.5 * len(DATA)
    assert os.listdir(target.parent) == [target.name]


def test_the_ranges_at_a_time_are_bounded(
    server: ObservedServer, fs: SynapseFileSystem, storage: SlowStorage, target: Path
) -> None:
    few = SynapseFileSystem(**server.options, max_concurrency=2, skip_instance_cache=True)
    few.get_file(PATH, str(target))
    assert target.read_bytes() == DATA
    assert storage.most <= 3, "two, and the first that is being closed"


def test_a_storage_that_ignores_ranges(
    fs: SynapseFileSystem, storage: SlowStorage, target: Path
) -> None:
    storage.ranges, storage.seconds = False, 0.001
    fs.get_file(PATH, str(target))
    assert target.read_bytes() == DATA
    assert len(storage.starts) <= 4, "no more ranges once it is known"


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_strong_tag_one_request_must_do(
    fs: SynapseFileSystem, storage: SlowStorage, target: Path, tag: str | None
) -> None:
    storage.tag, storage.seconds = tag, 0.001
    fs.get_file(PATH, str(target))
    assert target.read_bytes() == DATA
    assert storage.starts == [0]


def test_a_file_that_is_replaced_between_ranges(
    fs: SynapseFileSystem, storage: SlowStorage, target: Path
) -> None:
    target.write_bytes(b"before")
    storage.changes = True
    with pytest.raises(ChangedError) as raised:
        fs.get_file(PATH, str(target))
    assert raised.value.filename == PATH
    assert target.read_bytes() == b"before"
    assert os.listdir(target.parent) == [target.name]


class Failing(Callback):
    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self.value > len(DATA) * 2 // 3:
            raise RuntimeError("enough")


def test_what_has_arrived_is_not_fetched_again(
    fs: SynapseFileSystem, storage: SlowStorage, target: Path
) -> None:
    with pytest.raises(RuntimeError, match="enough"):
        fs.get_file(PATH, str(target), callback=Failing())
    assert not target.exists()
    storage.starts.clear()
    fs.get_file(PATH, str(target))
    assert target.read_bytes() == DATA
    assert min(storage.starts) > len(DATA) // 4
    assert os.listdir(target.parent) == [target.name]


def test_a_checksum_of_no_known_kind_is_not_compared(
    server: ObservedServer, fs: SynapseFileSystem, target: Path
) -> None:
    async def fetch() -> None:
        transport = Transport(Options())
        try:
            one = remote(transport, f"{server.url}/_blob/x", "", "no checksum")
            one.parts = None
            await download.download(one, str(target), lambda _: None)
        finally:
            await transport.aclose()

    sync.run(fs.loop, fetch())
    assert target.read_bytes() == DATA


def remote(transport: Transport, url: str, md5: str, checksum: str | None = None) -> RemoteObject:
    async def locate(renew: bool) -> str:
        return url

    parts = PartDigests(100 * KIB, md5)
    return RemoteObject(transport, PATH, "one", len(DATA), checksum, locate, parts=parts)


@pytest.mark.parametrize("wrong", [False, True])
def test_checksums_of_parts(server: ObservedServer, target: Path, wrong: bool) -> None:
    """A file of which the parts' MD5s are known is compared with these."""
    size = 100 * KIB
    parts = [hashlib.md5(DATA[at : at + size]).digest() for at in range(0, len(DATA), size)]
    md5 = hashlib.md5(b"".join(parts[wrong:])).hexdigest()
    loop = SynapseFileSystem(**server.options, skip_instance_cache=True).loop

    async def fetch() -> None:
        transport = Transport(Options())
        try:
            one = remote(transport, f"{server.url}/_blob/x", md5, "f" * 32)
            await download.download(one, str(target), lambda _: None)
        finally:
            await transport.aclose()

    if not wrong:
        sync.run(loop, fetch())
        assert target.read_bytes() == DATA
        return
    with pytest.raises(ChecksumError, match="md5"):
        sync.run(loop, fetch())
    assert os.listdir(target.parent) == []


def test_a_file_with_checksums_of_parts_is_resumed(
    server: ObservedServer, storage: SlowStorage, target: Path
) -> None:
    """It goes on in the middle of a part, whose checksum is of what both runs fetched."""
    size = 100 * KIB
    parts = [hashlib.md5(DATA[at : at + size]).digest() for at in range(0, len(DATA), size)]
    md5 = hashlib.md5(b"".join(parts)).hexdigest()
    loop = SynapseFileSystem(**server.options, skip_instance_cache=True).loop

    async def fetch(report: Any) -> None:
        transport = Transport(Options(block_size=128 * KIB))
        try:
            one = remote(transport, f"{server.url}/_blob/x", md5)
            await download.download(one, str(target), report, TransferKey("here", PATH))
        finally:
            await transport.aclose()

    with pytest.raises(RuntimeError, match="enough"):
        sync.run(loop, fetch(Failing().relative_update))
    storage.starts.clear()
    sync.run(loop, fetch(lambda _: None))
    assert target.read_bytes() == DATA
    assert min(storage.starts) > len(DATA) // 4
    assert os.listdir(target.parent) == [target.name]
