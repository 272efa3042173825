"""What is no HTTP, too much or too slow: the server refuses it and stays up."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import socket
import time
from urllib.parse import urlsplit

import aiohttp
import pytest

from synapsefs.wire.datasets.constants import ENTRIES_PATH, LOGIN_PATH, SEARCH_PATH
from tests.support.victim import FILE_BEGINS, SECRET_TOKEN
from tests.support.wire import answer_of, connected, head, say

# --- HTTP ----------------------------------------------------------------------------------

NO_HTTP = {
    "two lengths": head("POST /auth/login", Content_Length="5")[:-2] + b"Content-Length: 6\r\n\r\n",
    "length and chunks": head("POST /auth/login", Content_Length="5", Transfer_Encoding="chunked"),
    "a negative length": head("POST /auth/login", Content_Length="-5"),
    "an endless length": head("POST /auth/login", Content_Length="9" * 30),
    "a length of words": head("POST /auth/login", Content_Length="five"),
    "a broken chunk": head("POST /auth/login", Transfer_Encoding="chunked") + b"ZZ\r\n",
    "a negative chunk": head("POST /auth/login", Transfer_Encoding="chunked") + b"-1\r\n",
    "an unknown coding": head("POST /auth/login", Transfer_Encoding="chunked, evil"),
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a folded header": b"GET /health/ HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a header": head("GET /health/", X="a\0b"),
    "two hosts": b"GET /health/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /health/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    "an evil host": head("GET /health/", Host='evil"><script>'),
    "nonsense": b"NONSENSE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no end of line": b"GET /health/ HTTP/1.1\rHost: x\r\r",
    "HTTP/9": b"GET /health/ HTTP/9.9\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": head("GET /health/", X="a" * 20_000),
    "many headers": head("GET /health/", **{f"X{n}": "a" for n in range(1000)}),
}


@pytest.mark.parametrize("said", NO_HTTP)
async def test_what_is_no_http(victim, said, caplog):
    token = "syn_shouted-by-mistake"
    with caplog.at_level(logging.DEBUG):
        status, answer = await say(victim.url, NO_HTTP[said].replace(b"NONSENSE", token.encode()))
    assert status in {400, 431}
    body = answer.partition(b"\r\n\r\n")[2]
    assert set(json.loads(body)) == {"detail"}
    for hidden in (b"Traceback", b"aiohttp", b"Python", token.encode(), b"evil"):
        assert hidden not in answer
    assert token not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_wrong_header_does_not_reach_the_log(victim, caplog):
    said = head("GET /data_collections/", Synapse_Access_Token=SECRET_TOKEN + "\0")
    with caplog.at_level(logging.DEBUG):
        status, answer = await say(victim.url, said)
    assert status == 400
    assert SECRET_TOKEN.encode() not in answer
    assert SECRET_TOKEN not in caplog.text


async def test_a_second_request_is_not_smuggled(victim):
    """What follows a refused request on its connection is not read as another one."""
    smuggled = head("DELETE /v2/data-collections/1/", Synapse_Access_Token=SECRET_TOKEN)
    first = head("POST /auth/login", Content_Length="0", Transfer_Encoding="chunked")
    _, answer = await say(victim.url, first + b"0\r\n\r\n" + smuggled)
    assert answer.count(b"HTTP/1.") == 1


async def test_methods_and_targets(victim):
    for line, answers in (
        ("GET http://evil.example/health/", {421}),
        ("OPTIONS *", {400, 404, 405}),
        ("CONNECT evil.example:80", {400, 404, 421}),
        ("TRACE /health/", {405}),
        ("EVIL /health/", {400, 405}),
    ):
        status, answer = await say(victim.url, head(line))
        assert status in answers, line
        assert b"evil" not in answer
    status, _ = await say(victim.url, head("GET /health/", Expect="nonsense"))
    assert status == 417


# --- too much and too slow -----------------------------------------------------------------


async def test_bodies_that_are_too_large(attack):
    victim = await attack(max_body_size=10_000)
    big = json.dumps({"name": "x" * 20_000}).encode()
    for path in ("/data_units/", "/v2/data-collections/", "/v2/tokens/"):
        headers = {**victim.collections, "Content-Type": "application/json"}
        assert (await victim.send("POST", path, data=big, headers=headers))[0] == 413
    for path in (ENTRIES_PATH, SEARCH_PATH, LOGIN_PATH):
        headers = {**victim.datasets(), "Content-Type": "application/json"}
        assert (await victim.send("POST", path, data=big, headers=headers))[0] == 413
    await victim.store(b"x" * 50_000)

    async def unannounced():
        for _ in range(10):
            yield b"[" * 10_000

    status, _ = await victim.send(
        "POST",
        "/data_units/",
        data=unannounced(),
        headers={**victim.collections, "Content-Type": "application/json"},
    )
    assert status == 413


async def test_files_that_are_too_large(attack, tmp_path):
    victim = await attack(max_file_size=1000)
    for chunked in (False, True):
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(b"x" * 1001), filename="a")
        headers = dict(victim.collections)
        if chunked:
            headers["Content-Range"] = "bytes 0-1000/1001"
        route = "/chunked_upload/" if chunked else "/data_files/"
        method = "PUT" if chunked else "POST"
        assert (await victim.send(method, route, data=form, headers=headers))[0] == 413
    for folder in ("objects", "staging", "uploads"):
        assert not [p for p in (tmp_path / "root" / folder).rglob("*") if p.is_file()]
    await victim.store(b"x" * 1000)


async def test_a_store_that_is_full(attack, tmp_path):
    victim = await attack(max_total_size=2_000_000)

    async def store(size, letter):
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(letter * size), filename="a")
        return await victim.send("POST", "/data_files/", data=form, headers=victim.collections)

    assert (await store(1_000_000, b"a"))[0] == 201
    status, body = await store(1_000_000, b"b")
    assert (status, json.loads(body)) == (507, {"detail": "There is no space left on the server."})
    both = await asyncio.gather(store(600_000, b"c"), store(600_000, b"d"))
    assert sorted(status for status, _ in both) == [201, 507]
    status, _ = await victim.send(
        "POST",
        ENTRIES_PATH,
        json={"name": "x", "content": "y" * 900_000},
        headers=victim.datasets(),
    )
    assert status == 507
    total = sum(p.stat().st_size for p in (tmp_path / "root").rglob("*") if p.is_file())
    assert total <= 2_000_000

    async def unannounced():
        yield b"{}"

    status, _ = await victim.send(
        "POST", "/data_units/", data=unannounced(), headers=victim.collections
    )
    assert status == 411
    for path in (tmp_path / "root/objects").glob("*/*"):
        path.unlink()
    assert (await store(1_000_000, b"e"))[0] == 201


async def test_heads_that_never_end(attack):
    victim = await attack(request_timeout=0.4)
    began = time.monotonic()
    silent = connected(victim.url)
    async with silent as (reader, _), connected(victim.url) as (slow, writer):
        writer.write(b"GET /health/ HTTP/1.1\r\nHost: x\r\n")

        async def drip():
            for number in itertools.count():
                writer.write(b"X-%d: y\r\n" % number)
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert (await answer_of(reader))[0] == 408
        assert (await answer_of(slow))[0] == 408
        dripping.cancel()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("pause", [0.05, 60])
async def test_bodies_that_never_end(attack, pause, tmp_path):
    victim = await attack(request_timeout=0.4)
    bodies = {
        "POST /data_files/": ("multipart/form-data; boundary=b", FILE_BEGINS),
        f"POST {LOGIN_PATH}": ("application/json", b'{"api_key": "'),
    }
    for line, (kind, begun) in bodies.items():
        async with connected(victim.url) as (reader, writer):
            headers = {
                "Content_Length": "100000",
                "Content_Type": kind,
                "Synapse_Access_Token": SECRET_TOKEN,
            }
            writer.write(head(line, **headers) + begun)

            async def drip(writer=writer):
                while True:
                    await asyncio.sleep(pause)
                    writer.write(b"x")

            dripping = asyncio.create_task(drip())
            status, answer = await answer_of(reader)
            dripping.cancel()
            assert status == 408
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
                "detail": "The body did not arrive in time."
            }
    assert not list((tmp_path / "root/staging").iterdir())


async def test_a_slow_but_steady_body_is_taken(attack):
    victim = await attack(request_timeout=0.4)
    data = b"x" * 40_000

    async def steady():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for start in range(0, len(data), 2000):
            await asyncio.sleep(0.06)
            yield data[start : start + 2000]
        yield b"\r\n--b--\r\n"

    headers = {**victim.collections, "Content-Type": "multipart/form-data; boundary=b"}
    status, body = await victim.send("POST", "/data_files/", data=steady(), headers=headers)
    assert status == 201
    assert await victim.send("GET", json.loads(body)["file"]) == (200, data)


ESTABLISHED = 1
BUSY = FILE_BEGINS + b"x" * 1000
"""The beginning of a body; what sends it is not idle."""


def uploading() -> bytes:
    """Begin a request whose body goes on for long."""
    given = {
        "Content_Length": "100000",
        "Content_Type": "multipart/form-data; boundary=b",
        "Synapse_Access_Token": SECRET_TOKEN,
    }
    return head("POST /data_files/", **given) + BUSY


async def until_served(url):
    """Ask until there is room."""
    deadline = time.monotonic() + 10
    while True:
        status, answer = await say(url, head("GET /health/"))
        if status == 200:
            return
        assert (status, b"Retry-After: 1\r\n" in answer) == (503, True)
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_connections_are_bounded(attack):
    victim = await attack(max_connections=10, max_connections_per_address=10)
    async with contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(victim.url)) for _ in range(10)]
        for _, writer in busy:
            writer.write(uploading())
            await writer.drain()
        await asyncio.sleep(0.3)
        status, answer = await say(victim.url, b"")
        assert status == 503
        assert b"Retry-After: 1\r\n" in answer
        for _, writer in busy:
            writer.transport.abort()
        await until_served(victim.url)


async def test_idle_connections_shut_nobody_out(attack):
    """The one that is idle for longest makes room, and who has begun a request keeps it."""
    victim = await attack(max_connections=20)
    async with contextlib.AsyncExitStack() as stack:
        busy = await stack.enter_async_context(connected(victim.url))
        busy[1].write(uploading())
        idle = [await stack.enter_async_context(connected(victim.url)) for _ in range(100)]
        assert (await say(victim.url, head("GET /health/")))[0] == 200
        assert await idle[0][0].read() == b""
        busy[1].write(b"x" * (100_000 - len(BUSY) - 9) + b"\r\n--b--\r\n")
        assert (await answer_of(busy[0]))[0] == 201


async def test_an_address_has_its_share(attack):
    victim = await attack(max_connections=100, max_connections_per_address=3)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await stack.enter_async_context(connected(victim.url))
            writer.write(uploading())
        await asyncio.sleep(0.3)
        assert (await say(victim.url, b""))[0] == 503
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", urlsplit(victim.url).port, local_addr=("127.0.0.2", 0)
        )
        writer.write(head("GET /health/"))
        assert (await answer_of(reader))[0] == 200
        writer.transport.abort()


def state_of(writer):
    """Give the state of a connection, as Linux numbers them."""
    connection = writer.get_extra_info("socket")
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells what was read")
@pytest.mark.parametrize("size", [900_000, 30_000_000])
async def test_answers_that_nobody_reads(attack, size):
    """They are given up; one that is read slowly is not."""
    victim = await attack(request_timeout=0.4)
    url = await victim.store(b"x" * size)
    async with contextlib.AsyncExitStack() as stack:
        writers = []
        for _ in range(2):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", urlsplit(url).port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
            stack.callback(writer.transport.abort)
            writer.write(head(f"GET {url.removeprefix(victim.url)}", Connection="keep-alive"))
            writers.append(writer)
        deadline = time.monotonic() + 10
        while state_of(writers[0]) == ESTABLISHED:
            assert len(await reader.readexactly(4000)) == 4000
            await asyncio.sleep(0.05)
            assert time.monotonic() < deadline
        assert state_of(writers[1]) == ESTABLISHED
        assert len(await reader.readexactly(4000)) == 4000


async def test_bodies_are_asked_for_once_their_sender_is_known(victim):
    url = await victim.store(b"x")
    waiting = {"Expect": "100-continue", "Content_Length": "10"}
    for line, status in (
        ("POST /data_files/", 401),
        ("POST /v0.1/data-storage/data-entries", 401),
        (f"PUT {url.removeprefix(victim.url)}", 403),
    ):
        async with connected(victim.url) as (reader, writer):
            writer.write(head(line, **waiting))
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
    async with connected(victim.url) as (reader, writer):
        form = FILE_BEGINS + b"x\r\n--b--\r\n"
        given = {
            "Content_Length": str(len(form)),
            "Content_Type": "multipart/form-data; boundary=b",
            "Synapse_Access_Token": SECRET_TOKEN,
            "Expect": "100-continue",
        }
        writer.write(head("POST /data_files/", **given))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(form)
        assert (await answer_of(reader))[0] == 201


async def test_a_client_that_goes_away_leaves_nothing(victim, tmp_path):
    for _ in range(20):
        async with connected(victim.url) as (_, writer):
            headers = {
                "Content_Length": "1000000",
                "Content_Type": "multipart/form-data; boundary=b",
                "Synapse_Access_Token": SECRET_TOKEN,
            }
            writer.write(head("POST /data_files/", **headers) + FILE_BEGINS + b"x" * 400_000)
            await writer.drain()
    staging = tmp_path / "root/staging"
    deadline = time.monotonic() + 5
    while list(staging.iterdir()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
