"""Forms that mean harm cost no more than their bytes."""

from __future__ import annotations

import asyncio
import io
import json
import time
from urllib.parse import unquote, urlsplit

import pytest

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n"


async def send(victim, body):
    return await victim.send(
        "POST", "/data_files/", data=io.BytesIO(body), headers={**victim.collections, **FORM}
    )


@pytest.mark.parametrize(
    "parameters",
    [
        b'name="' + b"\\\\" * 32,
        b'name="' + b"\\" * 8000,
        b'name="' + b'\\"' * 4000,
        b"name" + b' = "' * 4000,
        b'; a="' * 3000,
        b"; a" * 5000,
        b"=;" * 8000,
        b" " * 15000 + b'"',
    ],
)
async def test_headers_of_parts_are_read_once(victim, parameters):
    """No header of 16 KiB keeps the server from its other clients."""
    answers = asyncio.create_task(send(victim, HEAD % parameters + b"x\r\n--b--"))
    began = time.monotonic()
    status, _ = await asyncio.wait_for(answers, 10)
    assert status == 400
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        (b'filename="a b.txt"', "a b.txt"),
        (b"filename=a.txt", "a.txt"),
        (b'filename="a;b=c.txt"', "a;b=c.txt"),
        (b'filename="a\\"b.txt"', 'a"b.txt'),
        (b'filename="a%22b.txt"', 'a"b.txt'),
        ('filename="größe.txt"'.encode(), "größe.txt"),
        (b"filename*=UTF-8''gr%C3%B6%C3%9Fe.txt; filename=\"x\"", "größe.txt"),
        (b'filename = "a.txt" ; other="x"', "a.txt"),
        (b'FILENAME="a.txt"', "a.txt"),
    ],
)
async def test_names_in_forms(victim, parameter, name):
    form = HEAD % (b"name=file; " + parameter) + b"content\r\n--b--"
    status, body = await send(victim, form)
    assert status == 201
    url = json.loads(body)["file"]
    status, answer = await victim.send("GET", url)
    assert (status, answer) == (200, b"content")
    assert unquote(urlsplit(url).path).rpartition("/")[2] == name.replace('"', "_")


async def test_fields_of_forms_are_bounded_together(victim):
    field = HEAD % b'name="f%d"' + b"%s\r\n"
    large = b"".join(field % (n, b"v" * 100_000) for n in range(20)) + b"--b--"
    assert (await send(victim, large))[0] == 400
    many = b"".join(field % (n, b"v") for n in range(101)) + b"--b--"
    assert (await send(victim, many))[0] == 400
    some = b"".join(field % (n, b"v") for n in range(99))
    file = HEAD % b'name="file"; filename="a"' + b"x\r\n--b--"
    assert (await send(victim, some + file))[0] == 201
