"""Uploads in signed parts go on in a later process with the parts that are missing."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from tests.support.clients import Clients, clients
from tests.support.observed import ObservedServer, Seen, observed_server
from tests.test_resume import KILL, Place, bytes_of_parts, content, rewrite, saved_in

PART = 200_000
SIZE = 5 * PART + 77
SIGNED = "/data_files/presigned_upload/upload/"
CONFIRM = "/data_files/presigned_upload/confirm_upload/"
SMALL = {"block_size": PART}


class Gate:
    """Lets only some parts through to the storage, and refuses the URLs of others."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.held: set[int] = set()
        self.arrived: list[int] = []

    @web.middleware
    async def __call__(self, request: web.Request, handler: Any) -> Any:
        if request.method != "PUT" or "/uploads/" not in request.path:
            return await handler(request)
        number = int(request.path.rpartition("/")[2])
        if number in self.refused:
            return web.Response(status=403)
        if number in self.held:
            await request.read()
            return web.Response(status=503)
        answer = await handler(request)
        self.arrived.append(number)
        return answer


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[ObservedServer]:
    settings = {"presign_threshold": PART, "presign_part_size": PART}
    root = tmp_path_factory.mktemp("root")
    with observed_server(root, middleware=gate.__call__, **settings) as found:
        yield found


@pytest.fixture(scope="module")
def nursery() -> Iterator[Clients]:
    with clients() as found:
        yield found


@pytest.fixture
def place(server: ObservedServer, nursery: Clients, tmp_path: Path, gate: Gate) -> Iterator[Place]:
    place = Place(server, nursery, "collections", tmp_path)
    place.options["block_size"] = PART
    yield place
    server.hook = None
    gate.refused, gate.held, gate.arrived = set(), set(), []


def kill_when(place: Place, route: str) -> None:
    """Kill the client as soon as it asks for something."""

    async def kill(seen: Seen) -> None:
        if seen.path == route:
            place.server.hook = None
            place.kill_client()

    place.server.hook = kill


def put_killed_after(place: Place, parts: int) -> None:
    """Put a file of six parts, and kill the client when so many have arrived."""
    assert place.put(fatal=KILL, at=parts * PART).killed
    assert len(saved_in(place.journals()[0])["urls"]) == 6


def test_a_later_process_sends_the_missing_parts(place: Place) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    put_killed_after(place, 3)
    with place.server.watching() as seen:
        second = place.put()
    assert second.error is None
    assert second.progress == SIZE
    assert not any(s.path in {SIGNED, "/storages/"} for s in seen)
    assert bytes_of_parts(seen) <= SIZE - 2 * PART
    assert [s.path for s in seen].count(CONFIRM) == 1
    place.assert_complete(data)


def test_killed_before_the_confirmation_no_byte_is_sent_again(place: Place) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    kill_when(place, CONFIRM)
    assert place.put().killed
    with place.server.watching() as seen:
        assert place.put().error is None
    assert bytes_of_parts(seen) == 0
    place.assert_complete(data)


def test_the_checkpoint_is_private_and_goes_with_the_upload(place: Place) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    put_killed_after(place, 2)
    [checkpoint] = place.journals()
    assert stat.S_IMODE(checkpoint.stat().st_mode) == 0o600
    assert stat.S_IMODE(checkpoint.parent.stat().st_mode) == 0o700
    urls = saved_in(checkpoint)["urls"].values()
    second = place.put()
    assert not any(second.says(url) for url in urls)
    place.assert_complete(data)


def expire(checkpoint: Path) -> None:
    facts = saved_in(checkpoint)
    rewrite(checkpoint, facts | {"expires": time.time() - 1})


def forge(checkpoint: Path) -> None:
    facts = saved_in(checkpoint)
    urls = {n: f"{url}0" for n, url in facts["urls"].items()}
    rewrite(checkpoint, facts | {"urls": urls})


def forget(checkpoint: Path) -> None:
    rewrite(checkpoint, saved_in(checkpoint) | {"file_key": "tenants/1/files/none"})


@pytest.mark.parametrize("spoil", [expire, forge, forget])
def test_what_the_storage_takes_no_more_starts_over(place: Place, spoil: Any) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    put_killed_after(place, 3)
    spoil(place.journals()[0])
    with place.server.watching() as seen:
        second = place.put()
    assert second.error is None
    assert second.says("starting over")
    assert second.progress == SIZE
    assert [s.path for s in seen].count(SIGNED) == 1
    assert not any(s.path.startswith("/chunked_upload/") for s in seen)
    place.assert_complete(data)


def test_a_file_that_changed_behind_its_times_starts_over(place: Place) -> None:
    place.local.write_bytes(content(SIZE))
    before = place.local.stat()
    put_killed_after(place, 3)
    data = b"other" + place.local.read_bytes()[5:]
    place.local.write_bytes(data)
    os.utime(place.local, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = place.put()
    assert second.error is None
    assert second.says("starting over")
    place.assert_complete(data)


def test_a_storage_that_refuses_from_the_first_part_on_is_passed_by(
    place: Place, gate: Gate
) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    gate.refused = set(range(1, 7))
    with place.server.watching() as seen:
        put = place.put()
    assert put.error is None
    assert put.progress == SIZE
    assert any(s.path.startswith("/chunked_upload/") for s in seen)
    place.assert_complete(data)


def test_no_url_is_logged_or_shown(
    place: Place,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Neither where all goes well, nor with the storage's refusals and faults in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place.local.write_bytes(content(SIZE))
    fs = SynapseFileSystem(**{**place.options, "retries": 1}, skip_instance_cache=True)
    with caplog.at_level(logging.DEBUG):
        fs.put_file(str(place.local), place.path)
        for gate.refused, gate.held in ({6}, set()), (set(), {5}):
            place.local.write_bytes(content(SIZE))
            fs.put_file(str(place.local), place.path)
    ours = [record for record in caplog.records if record.name == "synapsefs"]
    text = "\n".join(record.getMessage() + str(record.args) for record in ours)
    assert "straight to the storage" in text
    assert "/uploads/" not in text
    assert "expires=" not in text


def test_a_checkpoint_of_another_shape_starts_over(place: Place) -> None:
    data = content(SIZE)
    place.local.write_bytes(data)
    put_killed_after(place, 3)
    [checkpoint] = place.journals()
    facts = saved_in(checkpoint)
    rewrite(checkpoint, facts | {"part_size": 0, "urls": json.loads('{"1": 7}')})
    assert place.put().error is None
    place.assert_complete(data)
