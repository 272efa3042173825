"""Signed object URLs."""

from __future__ import annotations

import contextlib
import hashlib
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapsefs.server.objects import byte_range, safe_name
from synapsefs.server.problems import Problem

BIG = bytes(range(256)) * 12_000


@pytest.fixture
async def small(client):
    return (await client.upload(b"0123456789", "a b.txt"))["file"]


async def test_whole_and_ranges(client, small):
    status, headers, body = await client.raw("GET", small)
    assert (status, body) == (200, b"0123456789")
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "text/plain"
    assert headers["ETag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    for asked, got in {
        "bytes=0-0": b"0",
        "bytes=3-": b"3456789",
        "bytes=-4": b"6789",
        "bytes=5-99": b"56789",
    }.items():
        status, headers, body = await client.raw("GET", small, headers={"Range": asked})
        assert (status, body) == (206, got)
        start = b"0123456789".index(got)
        assert headers["Content-Range"] == f"bytes {start}-{start + len(got) - 1}/10"


async def test_unsatisfiable_range(client, small):
    status, headers, body = await client.raw("GET", small, headers={"Range": "bytes=10-"})
    assert (status, headers["Content-Range"]) == (416, "bytes */10")
    assert b"<Code>InvalidRange</Code>" in body


async def test_range_is_ignored_for_another_version(client, small):
    headers = {"Range": "bytes=0-0", "If-Range": '"other"'}
    assert (await client.raw("GET", small, headers=headers))[0] == 200


async def test_large_objects(client):
    url = (await client.upload(BIG, "big.bin"))["file"]
    assert (await client.raw("GET", url))[2] == BIG
    headers = {"Range": "bytes=1000-2001999"}
    status, _, body = await client.raw("GET", url, headers=headers)
    assert (status, body) == (206, BIG[1000:2_002_000])


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "DELETE"])
async def test_signature_is_bound_to_the_method(client, small, method):
    assert (await client.raw(method, small))[0] == 403


async def test_signature_is_bound_to_the_object(client, small):
    other = (await client.upload(b"secret"))["file"]
    query = urlsplit(small).query
    status, _, body = await client.raw("GET", f"{other.partition('?')[0]}?{query}")
    assert status == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in body
    assert b"signature=" not in body
    assert (await client.raw("GET", small.partition("?")[0]))[0] == 403


async def test_urls_expire(start):
    client = await start(url_lifetime=-1)
    url = (await client.upload(b"x"))["file"]
    status, _, body = await client.raw("GET", url)
    assert status == 403
    assert b"<Code>AccessDenied</Code>" in body


async def test_missing_object(client, small, tmp_path):
    for path in (tmp_path / "root/objects").glob("*/*"):
        path.unlink()
    status, _, body = await client.raw("GET", small)
    assert status == 404
    assert b"NoSuchKey" in body


@pytest.mark.parametrize("name", ["ä.png", "100% #1?.x", "a+b;c.d", "'\".csv", "..", "日本.tar.gz"])
async def test_any_name_works(client, name):
    url = (await client.upload(name.encode(), name))["file"]
    assert (await client.raw("GET", url))[2] == name.encode()
    assert urlsplit(url).path.endswith(quote(safe_name(name)))


@given(st.text())
def test_safe_names_are_one_segment(name):
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set(safe) & set('/\\"\r\n\0')
    assert quote(safe)


@given(st.text(alphabet="bytes=-0123456789, "), st.integers(0, 100))
def test_ranges_stay_inside(header, size):
    with contextlib.suppress(Problem):
        found = byte_range(header, size)
        assert found is None or 0 <= found[0] < found[1] <= size
