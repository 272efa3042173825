"""Chunked uploads of the collections service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import aiohttp
import pytest

DATA = bytes(range(256)) * 40
MD5 = hashlib.md5(DATA).hexdigest()


async def begin(client, data=DATA, first=4000):
    return await client.chunk("/chunked_upload/", data[:first], 0, len(data))


async def test_streaming_without_a_known_total(client):
    state = await client.chunk("/chunked_upload/", DATA[:100], 0, 100)
    state = await client.chunk(state["url"], DATA[100:5000], 100, 5000)
    state = await client.chunk(state["url"], DATA[5000:], 5000, len(DATA))
    done = await client.call("POST", state["url"], json={"md5": MD5})
    assert done["status"] == 2
    assert done["checksum"] == MD5
    stored = await client.call(
        "POST", "/data_files/", json={"chunked_upload": state["id"]}, status=201
    )
    assert (await client.raw("GET", stored["file"]))[2] == DATA


async def test_wrong_offset_names_the_right_one(client):
    state = await begin(client)
    refused = await client.chunk(state["url"], DATA[5000:], 5000, len(DATA), status=400)
    assert refused["expected_offset"] == 4000
    assert refused["provided_offset"] == 5000
    assert (await client.call("GET", state["url"]))["offset"] == 4000
    refused = await client.chunk("/chunked_upload/", b"x", 5, 6, status=400)
    assert refused["expected_offset"] == 0


async def test_repeated_chunk(client):
    state = await begin(client)
    again = await client.chunk(state["url"], DATA[:4000], 0, len(DATA))
    assert again["offset"] == 4000
    await client.chunk(state["url"], b"x" * 4000, 0, len(DATA), status=400)


async def test_repeated_finalise(client):
    state = await client.chunk("/chunked_upload/", DATA, 0, len(DATA))
    first = await client.call("POST", state["url"], json={"md5": MD5})
    again = await client.call("POST", state["url"], json={"md5": MD5.upper()})
    assert first["completed_at"] == again["completed_at"]
    await client.call("POST", state["url"], json={"md5": "0" * 32}, status=400)
    await client.chunk(state["url"], b"x", len(DATA), len(DATA) + 1, status=400)


async def test_simultaneous_finalise(client):
    state = await client.chunk("/chunked_upload/", DATA, 0, len(DATA))
    calls = [client.call("POST", state["url"], json={"md5": MD5}) for _ in range(5)]
    assert len({done["completed_at"] for done in await asyncio.gather(*calls)}) == 1


async def test_wrong_checksum_can_be_corrected(client):
    state = await client.chunk("/chunked_upload/", DATA, 0, len(DATA))
    refused = await client.call("POST", state["url"], json={"md5": "0" * 32}, status=400)
    assert refused == {"detail": "checksum does not match"}
    await client.call("POST", state["url"], json={"md5": MD5})


async def test_continues_on_another_server_over_the_same_root(start):
    one, two = await start(), await start()
    state = await begin(one)
    path = f"/chunked_upload/{state['id']}/"
    assert (await two.call("GET", path))["offset"] == 4000
    await two.chunk(path, DATA[4000:9000], 4000, len(DATA))
    await one.chunk(path, DATA[9000:], 9000, len(DATA))
    done = await two.call("POST", path, json={"md5": MD5})
    assert (await one.raw("GET", done["file"]))[2] == DATA


@pytest.mark.parametrize(
    "header", ["", "bytes 0-9/*", "bytes 9-0/10", "bytes 0-10/10", "bytes 0-98/100"]
)
async def test_bad_ranges(client, header, tmp_path):
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 100, filename="file")
    headers = {"Content-Range": header} if header else {}
    await client.call("PUT", "/chunked_upload/", data=form, headers=headers, status=400)
    assert not list((tmp_path / "root/uploads").iterdir())


async def test_missing_part(client):
    form = aiohttp.FormData()
    form.add_field("other", b"x", filename="file")
    headers = {"Content-Range": "bytes 0-0/1"}
    refused = await client.call("PUT", "/chunked_upload/", data=form, headers=headers, status=400)
    assert refused == {"detail": "No chunk file was submitted"}


async def test_cut_connection_leaves_the_offset(client):
    state = await begin(client)
    host, _, port = client.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    head = (
        f"PUT /chunked_upload/{state['id']}/ HTTP/1.1\r\nHost: x\r\n"
        "Synapse-Access-Token: syn_test\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Range: bytes 4000-{len(DATA) - 1}/{len(DATA)}\r\nContent-Length: 9000\r\n\r\n"
    )
    writer.write(head.encode() + body + b"junk")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()
    await writer.wait_closed()
    state = await client.chunk(state["url"], DATA[4000:], 4000, len(DATA))
    await client.call("POST", state["url"], json={"md5": MD5})


async def test_expired(start):
    client = await start(upload_lifetime=0.2)
    state = await begin(client)
    await asyncio.sleep(0.3)
    assert await client.call("GET", state["url"], status=410) == {"detail": "Upload has expired"}
    await client.chunk(state["url"], DATA[4000:], 4000, len(DATA), status=410)


async def test_only_the_owner_sees_it(start):
    client = await start(tokens=("syn_test", "syn_other"))
    state = await begin(client)
    headers = {"Synapse-Access-Token": "syn_other"}
    assert (await client.raw("GET", state["url"], headers=headers))[0] == 404


async def test_whole_upload_in_one_call(client):
    form = aiohttp.FormData()
    form.add_field("md5", MD5)
    form.add_field("file", DATA, filename="whole.bin")
    done = await client.call("POST", "/chunked_upload/", data=form)
    assert (done["status"], done["offset"]) == (2, len(DATA))


async def test_strict(start):
    client = await start(strict=True)
    state = await begin(client)
    assert "expected_offset" in await client.chunk(
        state["url"], DATA[:4000], 0, len(DATA), status=400
    )
    await client.chunk(state["url"], DATA[4000:], 4000, len(DATA) + 1, status=400)
    empty = {"md5": hashlib.md5(b"").hexdigest()}
    await client.call("POST", "/chunked_upload/", json=empty, status=400)
    await client.chunk(state["url"], DATA[4000:], 4000, len(DATA))
    await client.call("POST", state["url"], json={"md5": MD5})


async def test_unfinished_is_no_data_file(client):
    state = await begin(client)
    for key in (state["id"], "unknown", 7):
        refused = await client.call(
            "POST", "/data_files/", json={"chunked_upload": key}, status=400
        )
        assert list(refused) == ["chunked_upload"]


async def test_moments_are_aware(client):
    state = await begin(client)
    assert state["created_at"].endswith("+00:00")
    assert str(time.gmtime().tm_year) in state["created_at"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_process_forked_meanwhile_does_not_hold_an_upload(client):
    state = await begin(client)
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    rest = DATA[4100:6000] + b"\r\n--b--\r\n"
    head = (
        f"PUT /chunked_upload/{state['id']}/ HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Synapse-Access-Token: syn_test\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Range: bytes 4000-5999/{len(DATA)}\r\n"
        f"Content-Length: {len(form) + 100 + len(rest)}\r\n\r\n"
    )
    writer.write(head.encode() + form + DATA[4000:4100])
    await writer.drain()
    await asyncio.sleep(0.2)
    gone, alive = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(alive)
        os.read(gone, 1)
        os._exit(0)
    try:
        writer.write(rest)
        assert b" 200 " in await reader.readline()
        async with asyncio.timeout(5):
            await client.chunk(state["url"], DATA[6000:], 6000, len(DATA))
    finally:
        os.close(alive)
        await asyncio.to_thread(os.waitpid, child, 0)
        os.close(gone)
        writer.close()
    await client.call("POST", state["url"], json={"md5": MD5})
