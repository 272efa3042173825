"""What is over is collected: uploads, pending entries, and objects that nothing needs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import threading
import time

import pytest

from synapsefs.server import garbage, housekeeping
from synapsefs.server.blobs import BLOBS
from synapsefs.wire.datasets.constants import ENTRIES_PATH, LOGIN_PATH
from tests.support.running import python

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def client(start, tmp_path):
    """A server that has looked for garbage and will not do so again for long."""
    client = await start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "root" / housekeeping.STAMP).exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return client


@pytest.fixture
def collect(client, start):
    """Sweep and collect without waiting; give the number of objects removed."""

    async def collect():
        impatient = await start(upload_lifetime=0)
        await housekeeping.sweep(app_of(impatient))
        return await garbage.collect(app_of(impatient), grace=0)

    return collect


@pytest.fixture
async def bearer(client):
    answer = await client.call("POST", LOGIN_PATH, json={"api_key": "key_test"})
    return {"Authorization": f"Bearer {answer['access_token']}"}


def app_of(client):
    return client.running.runner.app


def stored(client):
    """Give the SHA-256 of all objects on disk."""
    objects = app_of(client)[BLOBS].path("00" * 32).parent.parent
    return {path.name for path in objects.glob("*/*")}


async def bind(client, collection, checksum):
    unit = {"data_collection": collection, "files": {"data_1": {"checksum": checksum}}}
    return (await client.call("POST", "/data_units/", json=unit, status=201))["id"]


async def test_content_of_a_deleted_unit_goes(client, collect):
    collection = await client.collection()
    checksum = (await client.upload(DATA))["checksum"]
    units = [await bind(client, collection, checksum) for _ in range(2)]
    for unit in units:
        assert await collect() == 0
        assert stored(client) == {SHA256}
        await client.call("DELETE", f"/v2/data-units/{unit}/", status=204)
    assert [await collect(), await collect()] == [1, 0]
    assert stored(client) == set()
    query = {"checksums": [checksum]}
    answer = await client.call("POST", "/data_files/verify_checksums/", json=query)
    assert answer == {"existing_checksums": []}
    again = (await client.upload(DATA))["checksum"]
    assert await bind(client, collection, again)


async def test_content_of_a_deleted_entry_goes(client, bearer, collect):
    key = await upload_entry(client, bearer)
    assert await collect() == 0
    await client.call("DELETE", f"{ENTRIES_PATH}/{key}", headers=bearer, status=204)
    assert await collect() == 1
    assert stored(client) == set()


async def upload_entry(client, bearer):
    body = {"name": "a.bin", "file_path": "a.bin"}
    created = await client.call("POST", ENTRIES_PATH, json=body, headers=bearer, status=201)
    path = f"{ENTRIES_PATH}/{created['data_storage']['id']}"
    part = base64_md5(DATA)
    begun = await client.call(
        "POST", f"{path}/multipart-upload/initiate", json={"part_hashes": [part]}, headers=bearer
    )
    assert (await client.raw("PUT", begun["part_urls"][0], data=DATA))[0] == 200
    done = {
        "upload_id": begun["upload_id"],
        "parts": [{"part_number": 1, "etag": "", "checksum": part}],
    }
    await client.call("POST", f"{path}/multipart-upload/complete", json=done, headers=bearer)
    await client.call("PATCH", path, json={"status": "active"}, headers=bearer)
    return created["data_storage"]["id"]


async def test_content_that_is_needed_elsewhere_stays(client, bearer, collect):
    key = await upload_entry(client, bearer)
    collection = await client.collection()
    unit = await bind(client, collection, (await client.upload(DATA))["checksum"])
    await client.call("DELETE", f"{ENTRIES_PATH}/{key}", headers=bearer, status=204)
    assert await collect() == 0
    read = await client.call("GET", f"/data_units/{unit}/")
    assert (await client.raw("GET", read["files"]["data_1"]["url"]))[2] == DATA


async def test_nothing_goes_early(client):
    await client.upload(DATA)
    age(client, SHA256)
    assert await garbage.collect(app_of(client)) == 0
    assert stored(client) == {SHA256}


async def test_what_is_asked_for_stays(client):
    """Content is old and bound to nothing; a client learns that it need not send it again."""
    collection = await client.collection()
    checksum = (await client.upload(DATA))["checksum"]
    age(client, SHA256)
    await garbage.collect(app_of(client))
    query = {"checksums": [checksum]}
    answer = await client.call("POST", "/data_files/verify_checksums/", json=query)
    assert answer == {"existing_checksums": [checksum]}
    assert app_of(client)[BLOBS].untouched(SHA256[:2], 10**9) == []
    assert await bind(client, collection, checksum)


def age(client, sha256):
    """Let an object look as if it had been stored a week ago."""
    path = app_of(client)[BLOBS].path(sha256)
    then = path.stat().st_mtime - 7 * 86400
    os.utime(path, (then, then))


async def test_storing_waits_for_a_removal_that_is_under_way(client):
    """A writer that comes while its content is removed stores it anew."""
    await client.upload(DATA)
    blobs = app_of(client)[BLOBS]
    removing, goes_on = threading.Event(), threading.Event()

    def confirm() -> bool:
        removing.set()
        return goes_on.wait(30)

    removal = asyncio.create_task(asyncio.to_thread(blobs.remove, SHA256, 1e12, confirm))
    await asyncio.to_thread(removing.wait, 30)
    upload = asyncio.create_task(client.upload(DATA))
    finished, _ = await asyncio.wait([upload], timeout=0.2)
    assert not finished
    goes_on.set()
    assert await removal
    file = await upload
    assert (await client.raw("GET", file["file"]))[2] == DATA


async def test_content_that_is_bound_at_the_last_moment_stays(client, monkeypatch):
    collection = await client.collection()
    checksum = (await client.upload(DATA))["checksum"]
    blobs, loop = app_of(client)[BLOBS], asyncio.get_running_loop()
    remove = blobs.remove

    def bind_first(*arguments):
        asyncio.run_coroutine_threadsafe(bind(client, collection, checksum), loop).result(30)
        return remove(*arguments)

    monkeypatch.setattr(blobs, "remove", bind_first)
    assert await garbage.collect(app_of(client), grace=0) == 0
    assert stored(client) == {SHA256}


@pytest.mark.slow
async def test_writers_and_collectors_at_once(start):
    """Two servers collect all the time, while units come and go: none ever lacks its content.

    Each content rests longer than the grace of the collectors before it is needed again.
    """
    first, second = await start(), await start()
    collection = await first.collection()
    began, complete, removed = time.monotonic(), [], []

    def content():
        return b"%d" % ((time.monotonic() - began) // 1 % 6)

    async def collect(client):
        while time.monotonic() < began + 18:
            removed.append(await garbage.collect(app_of(client), grace=2))

    async def write(client):
        while time.monotonic() < began + 18:
            data = content()
            unit = await bind(client, collection, (await client.upload(data))["checksum"])
            read = await client.call("GET", f"/data_units/{unit}/")
            assert (await client.raw("GET", read["files"]["data_1"]["url"]))[2] == data
            await client.call("DELETE", f"/v2/data-units/{unit}/", status=204)
            complete.append(unit)

    both = (first, second)
    await asyncio.gather(*map(collect, both), *(write(client) for client in both * 2))
    assert (len(complete) > 20, sum(removed) > 2) == (True, True)


async def test_a_crash_between_catalogue_and_file(client, collect, tmp_path):
    """The process dies when the catalogue has forgotten an object and its file is still there."""
    await client.upload(DATA)
    script = """
        import asyncio, os, sys
        from pathlib import Path
        from synapsefs.server import garbage
        from synapsefs.server.app import create_app
        from synapsefs.server.settings import ServerSettings

        async def main():
            app = create_app(ServerSettings(root=Path(sys.argv[1])))
            Path.unlink = lambda *_: os._exit(9)
            await garbage.collect(app, grace=0)

        asyncio.run(main())
    """
    died = await asyncio.to_thread(python, script, str(tmp_path / "root"))
    assert (died.returncode, stored(client)) == (9, {SHA256})
    assert await collect() == 1
    assert stored(client) == set()


async def test_pending_entries_and_their_parts_go(client, bearer, collect):
    body = {"name": "a.bin", "file_path": "a.bin"}
    made = await client.call("POST", ENTRIES_PATH, json=body, headers=bearer, status=201)
    path = f"{ENTRIES_PATH}/{made['data_storage']['id']}"
    hashes = {"part_hashes": [base64_md5(DATA), base64_md5(b"x")]}
    begun = await client.call(
        "POST", f"{path}/multipart-upload/initiate", json=hashes, headers=bearer
    )
    assert (await client.raw("PUT", begun["part_urls"][0], data=DATA))[0] == 200
    uploads = app_of(client)[BLOBS].uploads
    assert len(list(uploads.iterdir())) == 1
    await collect()
    assert list(uploads.iterdir()) == []
    await client.call("GET", path, headers=bearer, status=404)


async def test_expired_chunks_go(client, collect):
    await client.chunk("/chunked_upload/", DATA[:100], 0, 200)
    uploads = app_of(client)[BLOBS].uploads
    assert len(list(uploads.iterdir())) == 1
    await collect()
    assert list(uploads.iterdir()) == []


async def test_uploads_that_nobody_confirmed_go(client, collect):
    body = {"files": [{"filename": "a.bin", "size": len(DATA)}]}
    answer = await client.call("POST", "/data_files/presigned_upload/upload/", json=body)
    url = answer["files"][0]["presigned_url"]
    assert (await client.raw("PUT", url, data=DATA))[0] == 200
    state = await client.chunk("/chunked_upload/", b"chunk", 0, 5)
    md5 = hashlib.md5(b"chunk").hexdigest()
    await client.call("POST", state["url"], json={"md5": md5})
    assert stored(client) == {SHA256, hashlib.sha256(b"chunk").hexdigest()}
    assert await collect() == 2
    assert stored(client) == set()
    path = "/data_files/presigned_upload/confirm_upload/"
    sha1 = hashlib.sha1(DATA).hexdigest()
    late = {"file_key": answer["files"][0]["file_key"], "checksum": sha1, "size": len(DATA)}
    [result] = (await client.call("POST", path, json={"files": [late]}))["results"]
    assert (result["success"], result["data_file_id"]) == (False, None)


async def test_identical_content_is_stored_once(client):
    answer = await client.call("POST", LOGIN_PATH, json={"api_key": "key_test"})
    await upload_entry(client, {"Authorization": f"Bearer {answer['access_token']}"})
    for name in ("a.bin", "b.bin"):
        await client.upload(DATA, name)
    state = await client.chunk("/chunked_upload/", DATA, 0, len(DATA))
    md5 = hashlib.md5(DATA).hexdigest()
    await client.call("POST", state["url"], json={"md5": md5})
    assert stored(client) == {SHA256}
    assert list(app_of(client)[BLOBS].uploads.iterdir()) == []


def base64_md5(data):

    return base64.b64encode(hashlib.md5(data).digest()).decode()
