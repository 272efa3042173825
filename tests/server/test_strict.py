"""The strictest reading of the protocols: what a strict server refuses, leaves out or delays."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from synapsefs.wire import SERVER_HEADER
from synapsefs.wire.datasets.constants import ENTRIES_PATH, LISTING_PATH, LOGIN_PATH, SEARCH_PATH

DATA = bytes(range(256)) * 40
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
async def client(start):
    return await start(strict=True)


@pytest.fixture
async def bearer(client):
    answer = await client.call("POST", LOGIN_PATH, json={"api_key": "key_test"})
    return {"Authorization": f"Bearer {answer['access_token']}"}


async def units(client, count):
    collection = await client.collection()
    checksum = (await client.upload(DATA))["checksum"]
    wanted = {"data_collection": collection, "files": {"data_1": {"checksum": checksum}}}
    await client.call("POST", "/data_units/", json=[wanted] * count, status=201)
    return collection


async def test_nothing_of_our_own(client, bearer):
    status, headers, _ = await client.raw("GET", f"{client.url}/health/")
    assert (status, SERVER_HEADER in headers) == (200, False)
    answer = await client.call("GET", LISTING_PATH, headers=bearer, status=404)
    assert answer == {"detail": "Not found."}


async def test_pages_are_short_and_cursors_opaque(client):
    collection = await units(client, 101)
    page = await client.call("GET", f"/data_units/?data_collection={collection}&page_size=1000")
    assert (page["count"], len(page["results"])) == (101, 100)
    path = f"/v2/data-units/?data_collection={collection}&per_page=200"
    first = await client.call("GET", path)
    cursor = first["meta"]["pagination"]["next_cursor"]
    assert (len(first["data"]), cursor.startswith("http")) == (50, False)
    second = await client.call("GET", f"{path}&cursor={cursor}")
    assert second["data"][0]["id"] == first["data"][-1]["id"] + 1


async def test_specifications_are_ids_unless_expanded(client):
    collection = await client.collection("a", "b")
    bare = await client.call("GET", f"/data_collections/{collection}/")
    [listed] = (await client.call("GET", "/data_collections/"))["results"]
    told = await client.call("GET", f"/data_collections/{collection}/?expand=file_specifications")
    ids = [each["id"] for each in told["file_specifications"]]
    assert bare["file_specifications"] == listed["file_specifications"] == ids
    assert [each["name"] for each in told["file_specifications"]] == ["a", "b"]


async def test_files_of_units_have_no_size(client):
    collection = await units(client, 1)
    page = await client.call("GET", f"/data_units/?data_collection={collection}")
    assert "size" not in page["results"][0]["files"]["data_1"]


async def test_chunks_are_not_repeated(client):
    state = await client.chunk("/chunked_upload/", DATA[:4000], 0, len(DATA))
    refused = await client.chunk(state["url"], DATA[:4000], 0, len(DATA), status=400)
    assert refused["expected_offset"] == 4000
    empty = {"md5": hashlib.md5().hexdigest()}
    assert await client.call("POST", "/chunked_upload/", json=empty, status=400)


async def test_urls_are_bound_and_short_lived(start):
    client = await start(strict=True, url_lifetime=2)
    wanted = {"filename": "a.bin", "size": len(DATA), "content_type": "application/zip"}
    body = {"files": [wanted], "expiration": 3600}
    answer = await client.call("POST", "/data_files/presigned_upload/upload/", json=body)
    url = answer["files"][0]["presigned_url"]
    lives = int(parse_qs(urlsplit(url).query)["expires"][0]) - time.time()
    assert 0 < lives <= 2
    right = {"Content-Type": "application/zip"}
    assert (await client.raw("PUT", url, data=DATA, headers={"Content-Type": "x/y"}))[0] == 403
    assert (await client.raw("POST", url, data=DATA, headers=right))[0] == 403
    assert (await client.raw("PUT", url, data=DATA, headers=right))[0] == 200
    read = (await client.upload(DATA))["file"]
    assert (await client.raw("HEAD", read))[0] == 403
    assert (await client.raw("GET", read))[0] == 200
    deadline = time.monotonic() + 20
    while (await client.raw("GET", read))[0] != 403:
        assert time.monotonic() < deadline


async def test_no_head_and_no_unknown_length(client, bearer):
    assert (await client.raw("HEAD", f"{client.url}/health/"))[0] == 405

    async def pieces():
        yield b'{"name": "x"}'

    options = {"headers": {**bearer, "Content-Type": "application/json"}, "status": 411}
    await client.call("POST", ENTRIES_PATH, data=pieces(), **options)


async def test_search_is_late(client, bearer):
    created = {"name": "late", "content": "x"}
    await client.call("POST", ENTRIES_PATH, json=created, headers=bearer, status=201)
    began = time.monotonic()
    wanted = {"criteria": [{"field": "name", "operator": "equals", "value": "late"}]}

    async def found():
        return await client.call("POST", SEARCH_PATH, json=wanted, headers=bearer)

    assert await found() == []
    while not await found():
        assert time.monotonic() < began + 20
    assert time.monotonic() - began > 0.5


async def test_what_is_below_a_folder_stays(client, bearer):
    folder = await client.call(
        "POST", ENTRIES_PATH, json={"name": "folder"}, headers=bearer, status=201
    )
    key = folder["data_storage"]["id"]
    body = {"name": "child", "content": "x", "parent_id": key}
    child = await client.call("POST", ENTRIES_PATH, json=body, headers=bearer, status=201)
    await client.call("DELETE", f"{ENTRIES_PATH}/{key}", headers=bearer, status=204)
    path = f"{ENTRIES_PATH}/{child['data_storage']['id']}"
    assert (await client.call("GET", path, headers=bearer))["data_storage"]["name"] == "child"
