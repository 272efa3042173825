"""Numbers and names that clients send are bounded before anything is made of them."""

from __future__ import annotations

import asyncio
import io
import json
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest

from synapsefs.wire.datasets.constants import ENTRIES_PATH

PRESIGN = "/data_files/presigned_upload/upload/"
TIB = 2**40


async def presign(victim, *sizes, collection=None, **body):
    files = [{"filename": f"{n}.bin", "size": size} for n, size in enumerate(sizes)]
    path = PRESIGN if collection is None else f"/v2/data-collections/{collection}/upload-urls/"
    return await victim.send(
        "POST", path, json={"files": files, **body}, headers=victim.collections
    )


@pytest.mark.parametrize("size", [10**17, 10**30, 1e17])
async def test_presigned_files_of_any_size_are_refused(victim, size):
    began = time.monotonic()
    for sizes in ((size,), (1, size)):
        status, _ = await presign(victim, *sizes)
        assert status == 413
    made = await victim.json(
        "POST",
        "/v2/data-collections/",
        {
            "name": "c",
            "category": "data",
            "file_specifications": [{"name": "data_1", "file_type": "data"}],
        },
        headers=victim.collections,
    )
    status, _ = await presign(victim, size, collection=made["data"]["id"])
    assert status == 413
    assert time.monotonic() - began < 5


async def test_presigned_files_obey_the_largest_file(attack):
    victim = await attack(max_file_size=1000)
    status, body = await presign(victim, 1001, 10**13, 1000)
    assert status == 200
    files = json.loads(body)["files"]
    assert [file["multipart"] for file in files] == [None] * 3
    sent = [
        (await victim.send("PUT", file["presigned_url"], data=b"x" * size))[0]
        for file, size in zip(files, (1001, 1001, 1000), strict=True)
    ]
    assert sent == [413, 413, 200]


async def test_many_large_files_get_larger_parts(victim):
    """The URLs of one answer are bounded, and other requests have their turn meanwhile."""
    asked = asyncio.create_task(presign(victim, *[TIB] * 100))
    status, body = await asked
    assert status == 200
    files = json.loads(body)["files"]
    parts = [file["multipart"] for file in files]
    assert sum(len(part["parts"]) for part in parts) <= 10_100
    assert all(len(part["parts"]) * part["part_size"] >= TIB for part in parts)
    status, body = await presign(victim, 10 * TIB)
    assert (status, len(json.loads(body)["files"][0]["multipart"]["parts"])) == (200, 10_000)


@pytest.mark.parametrize("expiration", [-1, 0, 59, 86_401, 10**30, "x", None, 1e300])
async def test_presigned_urls_expire(victim, expiration):
    assert (await presign(victim, 1, expiration=expiration))[0] == 400


@pytest.mark.parametrize("name", ["a" * 5000, "\u4e2d" * 1000])
async def test_names_that_no_url_gives_back_are_refused(victim, name):
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", io.BytesIO(b"x"), filename=name)
    status, _ = await victim.send("POST", "/data_files/", data=form, headers=victim.collections)
    assert status == 413
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", io.BytesIO(b"x"), filename=name)
    headers = {**victim.collections, "Content-Range": "bytes 0-0/1"}
    assert (await victim.send("PUT", "/chunked_upload/", data=form, headers=headers))[0] == 413
    entry = {"name": "x", "file_path": f"/home/u/{name}"}
    headers = victim.datasets()
    assert (await victim.send("POST", ENTRIES_PATH, json=entry, headers=headers))[0] == 413
    entry = {"name": name, "content": "x" * 100_000}
    assert (await victim.send("POST", ENTRIES_PATH, json=entry, headers=headers))[0] == 413
    key = await victim.entry(name="x", content="x")
    route = f"{ENTRIES_PATH}/{key}"
    draft = {"revision_id": "00000000-0000-4000-8000-000000000000", "name": name, "content": "y"}
    assert (await victim.send("PATCH", route, json=draft, headers=headers))[0] == 413


async def test_the_longest_name_comes_back(victim):
    name = "\u4e2d" * 255 + ".bin"
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", io.BytesIO(b"content"), filename=name)
    status, body = await victim.send("POST", "/data_files/", data=form, headers=victim.collections)
    assert status == 201
    assert await victim.send("GET", json.loads(body)["file"]) == (200, b"content")


async def test_a_signature_is_good_for_one_reading_of_its_fields(tmp_path, attack):
    """A name that holds line ends is not read as further fields."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "x").write_text("other")
    evil = bucket / "x\n9999999999\ncontent_type="
    evil.write_text("evil")
    owner = await attack(buckets={"b": str(bucket)})
    place = {"storage_type": "gcs", "content_type": "file", "location": evil.name}
    entry = {"name": "e", "existing_location": {**place, "metadata": {"bucket_name": "b"}}}
    made = await owner.json("POST", ENTRIES_PATH, entry, status=201, headers=owner.datasets())
    url = made["storage_locations"][0]["storage_config"]["signed_url"]
    query = dict(parse_qsl(urlsplit(url).query))
    bent = {
        "expires": "9999999999",
        "content_type": f"\n{query['expires']}",
        "signature": query["signature"],
    }
    parts = urlsplit(url)
    path = parts.path.partition("/x%0A")[0] + "/x"
    for changed in (bent, {**bent, "content_type": query["expires"]}):
        forged = parts._replace(path=path, query=urlencode(changed)).geturl()
        assert (await owner.send("GET", forged))[0] == 403


async def test_groups_and_specifications_are_bounded(client):
    specifications = [{"name": f"data_{n}", "file_type": "data"} for n in range(1001)]
    body = {"name": "c", "category": "data", "file_specifications": specifications}
    await client.call("POST", "/v2/data-collections/", json=body, status=400)
    collection = await client.collection()
    files = {"data_1": {"checksum": (await client.upload(b"x"))["checksum"]}}
    unit = {"data_collection": collection, "files": files, "groups": ["g"] * 101}
    await client.call("POST", "/data_units/", json=unit, status=400)
    unit["groups"] = ["g"] * 100
    await client.call("POST", "/data_units/", json=unit, status=201)
