"""Two contents with one MD5: the second is refused, so that a checksum names one content."""

from __future__ import annotations

import hashlib
import io
import sqlite3

import pytest

FIRST = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
SECOND = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70"
)


def md5(data):
    return hashlib.md5(data).hexdigest()


def test_the_pair_collides():
    assert FIRST != SECOND
    assert md5(FIRST) == md5(SECOND)


async def put_directly(client):
    form = {"file": io.BytesIO(SECOND)}
    await client.call("POST", "/data_files/", data=form, status=409)


async def put_in_chunks(client):
    state = await client.chunk("/chunked_upload/", SECOND, 0, len(SECOND))
    await client.call("POST", state["url"], json={"md5": md5(SECOND)})
    body = {"chunked_upload": state["id"]}
    await client.call("POST", "/data_files/", json=body, status=409)


async def put_presigned(client):
    files = [{"filename": "b", "size": len(data)} for data in (SECOND, b"good")]
    path = "/data_files/presigned_upload"
    given = await client.call("POST", f"{path}/upload/", json={"files": files, "expiration": 60})
    sent = []
    for target, data in zip(given["files"], (SECOND, b"good"), strict=True):
        await client.raw("PUT", target["presigned_url"], data=data)
        key, sha1 = target["file_key"], hashlib.sha1(data).hexdigest()
        sent.append({"file_key": key, "checksum": sha1, "size": len(data)})
    for _ in range(2):
        answer = await client.call("POST", f"{path}/confirm_upload/", json={"files": sent})
        results = [(result["success"], result["error"]) for result in answer["results"]]
        assert results[0][0] is False
        assert "checksum" in results[0][1]
        assert results[1] == (True, None)


@pytest.mark.parametrize("put", [put_directly, put_in_chunks, put_presigned])
async def test_a_second_content_of_one_md5_is_refused(client, put):
    collection = await client.collection()
    first = await client.upload(FIRST)
    await put(client)
    unit = {"data_collection": collection, "files": {"data_1": {"checksum": md5(SECOND)}}}
    made = await client.call("POST", "/data_units/", json=unit, status=201)
    assert (await client.raw("GET", made["files"]["data_1"]["url"]))[2] == FIRST
    assert (await client.upload(FIRST))["id"] == first["id"]


async def test_a_collision_in_a_root_of_the_first_version_is_not_bound(client, tmp_path):
    collection = await client.collection()
    await client.upload(FIRST)
    connection = sqlite3.connect(tmp_path / "root/catalogue.sqlite3")
    sha1, sha256 = hashlib.sha1(SECOND).hexdigest(), hashlib.sha256(SECOND).hexdigest()
    connection.execute(
        """INSERT INTO data_files (tenant, sha256, sha1, md5, checksum, size, name, created)
           SELECT tenant, ?, ?, md5, md5, size, name, created FROM data_files""",
        (sha256, sha1),
    )
    connection.commit()
    connection.close()
    unit = {"data_collection": collection, "files": {"data_1": {"checksum": md5(FIRST)}}}
    await client.call("POST", "/data_units/", json=unit, status=400)
    body = {"checksums": [md5(FIRST), hashlib.sha1(FIRST).hexdigest()]}
    known = await client.call("POST", "/data_files/verify_checksums/", json=body)
    assert known["existing_checksums"] == body["checksums"][1:]
    unit["files"]["data_1"]["checksum"] = body["checksums"][1]
    made = await client.call("POST", "/data_units/", json=unit, status=201)
    assert (await client.raw("GET", made["files"]["data_1"]["url"]))[2] == FIRST
