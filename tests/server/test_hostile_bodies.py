"""Bodies, ranges and queries that mean harm: they are just data, or refused."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import itertools
import json
import time
import zipfile
from urllib.parse import quote

import aiohttp
import pytest

from synapsefs.wire.datasets.constants import (
    DATASETS_PATH,
    ENTRIES_PATH,
    LOGIN_PATH,
    SEARCH_PATH,
    SIMILARITY_PATH,
    WORKSPACES_PATH,
)

COLLECTIONS_BODIES = (
    "/data_units/",
    "/v2/data-collections/",
    "/v2/data-units/",
    "/v2/data-units/bulk-create/",
    "/v2/tokens/",
    "/users/login/",
    "/data_files/verify_checksums/",
)
DATASETS_BODIES = (
    LOGIN_PATH,
    ENTRIES_PATH,
    DATASETS_PATH,
    SEARCH_PATH,
    SIMILARITY_PATH,
    WORKSPACES_PATH,
)
SYNTAX = (
    "'",
    "' OR 1=1 --",
    '"; DROP TABLE units; --',
    "NEAR(a b)",
    'content : "x" OR *',
    "a* AND NOT ^b",
    "{name} : (",
    "%",
    "\\",
    "a\0b",
    "\x01\x1b[31m\x7f",
    "\u202e\ufeff\U0001f4a9",
    "../../secret",
)


# --- bodies --------------------------------------------------------------------------------

DEEP = {"arrays": "[" * 100_000 + "]" * 100_000, "objects": '{"a":' * 50_000 + "1" + "}" * 50_000}
BROKEN = {
    "empty": b"",
    "not JSON": b"{",
    "null": b"null",
    "a number": b"7",
    "a text": b'"x"',
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "half a character": b'{"name": "\\ud800"}',
    "a huge number": b'{"name": 1' + b"0" * 5000 + b"}",
    "twice": b'{"name": "a"}{"name": "b"}',
    "compressed": gzip.compress(b'{"name": "a"}'),
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "many": b"[" + b"0," * 300_000 + b"0]",
    **{f"deep {name}": text.encode() for name, text in DEEP.items()},
}


@pytest.mark.parametrize("body", BROKEN)
async def test_bodies_that_make_no_sense(victim, body):
    for path in COLLECTIONS_BODIES:
        headers = {**victim.collections, "Content-Type": "application/json"}
        began = time.monotonic()
        status, _ = await victim.send("POST", path, data=io.BytesIO(BROKEN[body]), headers=headers)
        short = path in {"/v2/tokens/", "/users/login/"} and len(BROKEN[body]) > 16_384
        assert status in ({413} if short else {400, 401, 404, 422}) or (
            path == "/v2/tokens/" and status == 201
        ), path
        assert time.monotonic() - began < 5
    for path in DATASETS_BODIES:
        headers = {**victim.datasets(), "Content-Type": "application/json"}
        status, _ = await victim.send("POST", path, data=io.BytesIO(BROKEN[body]), headers=headers)
        short = path == LOGIN_PATH and len(BROKEN[body]) > 16_384
        expected = {413} if short else {401, 422}
        assert status in expected or (path == SEARCH_PATH and status == 200), path


async def test_metadata_of_any_depth_comes_back_or_is_refused(victim):
    for depth in (10, 100, 150, 180, 190, 199, 250, 1000):
        deep = '{"a":' * depth + "1" + "}" * depth
        headers = {**victim.datasets(), "Content-Type": "application/json"}
        asked = f'{{"name": "x", "metadata": {deep}}}'.encode()
        status, body = await victim.send("POST", ENTRIES_PATH, data=asked, headers=headers)
        assert status == (201 if depth < 200 else 422), depth
        if status == 201:
            key = json.loads(body)["data_storage"]["id"]
            _, body = await victim.send("GET", f"{ENTRIES_PATH}/{key}", headers=headers)
            assert json.loads(body)["data_storage"]["metadata"] == json.loads(deep)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "x"])
async def test_encoded_bodies_are_not_unpacked(victim, encoding):
    bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
    headers = {"Content-Encoding": encoding}
    for path, who in (
        ("/data_units/", victim.collections),
        ("/data_files/", victim.collections),
        (ENTRIES_PATH, victim.datasets()),
        (LOGIN_PATH, {}),
    ):
        status, _ = await victim.send("POST", path, data=bomb, headers={**who, **headers})
        assert status == 415


async def test_archives_are_stored_as_they_are(victim, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.txt", "evil")
        archive.writestr("/evil.txt", "evil")
        archive.writestr("bomb", bytes(20_000_000))
    url = await victim.store(packed.getvalue(), "a.zip")
    assert await victim.send("GET", url) == (200, packed.getvalue())
    assert not list(tmp_path.rglob("*evil*"))
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) < 10_000_000


async def test_broken_forms(victim):
    types = ["", "; boundary=", "; boundary=" + "x" * 200, '; boundary="é"', "; boundary=b; x=c"]
    bodies = [b"", b"--", b"--b\r\n", b"--b--", b"\xff" * 100_000]
    for parameters, body in itertools.product(types, bodies):
        headers = {**victim.collections, "Content-Type": f"multipart/form-data{parameters}"}
        for path in ("/data_files/", "/chunked_upload/"):
            assert (await victim.send("POST", path, data=body, headers=headers))[0] == 400


async def test_forms_of_too_much(victim):
    headers = {**victim.collections, "Content-Type": "multipart/form-data; boundary=b"}
    field = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    for body in (
        field % (b"x" * 100_000, b""),
        field % (b"x", b"v" * 2_000_000) + b"--b--",
        b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        field % (b"x", b"v") * 20_000 + b"--b--",
    ):
        data = io.BytesIO(body)
        assert (await victim.send("POST", "/data_files/", data=data, headers=headers))[0] == 400


# --- ranges --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "span",
    [
        "",
        "bytes",
        "bytes ",
        "bytes 0-2/2",
        "bytes 2-0/3",
        "bytes -1-2/3",
        "bytes 0-2/*",
        "bytes */3",
        "bytes 0-1/3",
        "bytes 0-5/6",
        "bytes 0-99999999/100000000",
        "bytes 5-7/8",
        "bytes 0-2/3,4-5/6",
        "bytes 0-2/" + "9" * 5000,
        "bytes 0-999999999999999999/9999999999999999999",
        "items 0-2/3",
        "bytes \u0660-\u0662/\u0663",
    ],
)
async def test_lies_about_where_a_chunk_belongs(victim, span, tmp_path):
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"abc"), filename="a")
    headers = {**victim.collections, "Content-Range": span}
    status, _ = await victim.send("PUT", "/chunked_upload/", data=form, headers=headers)
    assert status == 400
    assert not list((tmp_path / "root/uploads").iterdir())


async def test_later_chunks_do_not_lie_either(victim):
    async def chunk(route, data, span):
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(data), filename="a")
        headers = {**victim.collections, "Content-Range": f"bytes {span}"}
        status, body = await victim.send("PUT", route, data=form, headers=headers)
        return status, json.loads(body)

    _, begun = await chunk("/chunked_upload/", b"abc", "0-2/6")
    route = f"/chunked_upload/{begun['id']}/"
    for data, span in (
        (b"xyz", "0-2/6"),
        (b"xyz", "1-3/6"),
        (b"xyz", "2-4/6"),
        (b"xyz", "4-6/7"),
        (b"x", "3-5/6"),
        (b"xyzxyz", "3-5/6"),
    ):
        assert (await chunk(route, data, span))[0] == 400
    assert (await chunk(route, b"def", "3-5/6"))[1]["offset"] == 6
    md5 = hashlib.md5(b"abcdef").hexdigest()
    wrong = {"md5": hashlib.md5(b"abcxyz").hexdigest()}
    assert (await victim.send("POST", route, json=wrong, headers=victim.collections))[0] == 400
    done = await victim.json("POST", route, {"md5": md5}, status=200, headers=victim.collections)
    assert await victim.send("GET", done["file"]) == (200, b"abcdef")


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("bytes=-0", (416,)),
        ("bytes=10-", (416,)),
        ("bytes=10-20", (416,)),
        ("bytes=999999999999999999-", (416,)),
        ("bytes=-999999999999999999", (206,)),
        ("bytes=0-999999999999999999", (206,)),
        ("bytes=" + "9" * 5000 + "-", (200,)),
        ("bytes=5-2", (200,)),
        ("bytes=-1-2", (200,)),
        ("bytes=0-0,0-0,0-0", (200,)),
        ("bytes=" + ",".join(["0-"] * 1500), (200,)),
        ("lines=0-1", (200,)),
        ("bytes=a-b", (200,)),
        ("bytes=\u0660-\u0662", (200,)),
    ],
)
async def test_ranges_of_all_kinds(victim, asked, answers):
    url = await victim.store(b"0123456789")
    status, body = await victim.send("GET", url, headers={"Range": asked})
    assert status in answers
    assert status == 416 or b"0123456789".startswith(body)


# --- syntax of databases -------------------------------------------------------------------


@pytest.mark.parametrize("text", SYNTAX)
async def test_syntax_is_just_text_in_names(victim, text):
    decoy = await victim.entry(name="decoy", content="a b x decoy")
    key = await victim.entry(name=text, content=f"words {text}", tags=[text], description=text)
    status, body = await victim.send("GET", f"{ENTRIES_PATH}/{key}", headers=victim.datasets())
    assert status == 200
    assert json.loads(body)["data_storage"]["name"] == text

    async def search(**query):
        status, body = await victim.send("POST", SEARCH_PATH, json=query, headers=victim.datasets())
        assert status == 200
        return [hit["id"] for hit in json.loads(body)]

    def criterion(operator, name="name"):
        return {"criteria": [{"field": name, "operator": operator, "value": text}]}

    assert await search(**criterion("equals")) == [key]
    assert await search(**criterion("in", "tags")) == [key]
    for operator in ("contains", "starts_with", "ends_with", "greater_than", "less_than"):
        await search(**criterion(operator))
    assert decoy not in await search(**criterion("fulltext", "tags"))
    await search(text_query=text, highlight=True)
    assert await search(criteria=[{"field": text, "operator": "equals", "value": "x"}]) == []
    metadata = [{"field": f"metadata.{text}", "operator": "equals", "value": "x"}]
    assert await search(criteria=metadata) == []


@pytest.mark.parametrize("text", SYNTAX)
async def test_syntax_is_just_text_in_queries(victim, text):
    await victim.json(
        "POST",
        "/v2/data-collections/",
        {
            "name": text,
            "category": "data",
            "file_specifications": [{"name": "data_1", "file_type": "data", "is_required": True}],
        },
        headers=victim.collections,
    )
    for path in (
        "/data_collections/?search=",
        "/data_units/?data_collection=",
        "/data_units/?search=",
        "/data_units/?ordering=",
        "/data_units/?page=",
        "/data_units/?page_size=",
        "/v2/data-units/?cursor=",
        "/v2/data-units/?sort=",
        "/v2/data-units/?per_page=",
        "/v2/data-units/?fields=",
        "/v2/data-files/?data_collection=",
        "/v2/data-collections/?search=",
        "/v2/schemas/file-specifications/?category=",
    ):
        status, _ = await victim.send("GET", path + quote(text), headers=victim.collections)
        assert status in {200, 400, 404}
    for path in ("{}", "x?version={}", "x?revision_id={}"):
        route = f"{ENTRIES_PATH}/{path.format(quote(text, safe=''))}"
        assert (await victim.send("GET", route, headers=victim.datasets()))[0] in {404, 422}
    status, body = await victim.send("GET", "/data_units/", headers=victim.collections)
    assert (status, json.loads(body)["count"]) == (200, 0)


@pytest.mark.parametrize(
    "position",
    [
        "[1, 2]",
        "[NaN, 1]",
        "[1e400, 1]",
        '["x", 1e30]',
        f'["x", {10**30}]',
        '["\\ud800", 1]',
        "[" * 5000,
        '[{"a": 1}, 1]',
        '["x", "1; DROP TABLE units"]',
    ],
)
async def test_forged_cursors(victim, position):
    cursor = base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")
    for path in ("/v2/data-units/", "/v2/data-files/", "/v2/data-collections/"):
        status, _ = await victim.send("GET", f"{path}?cursor={cursor}", headers=victim.collections)
        assert status in {200, 400}
    url = quote(f"http://evil.example/?cursor={cursor}", safe="")
    status, body = await victim.send(
        "GET", f"/v2/data-units/?cursor={url}", headers=victim.collections
    )
    assert b"evil" not in body


async def test_searches_of_too_much(victim):
    await victim.entry(name="n", metadata={"n": 10**400, "m": "nan"})
    million = " ".join(f"w{n}" for n in range(100_000))
    one = {"field": "metadata.n", "operator": "greater_than", "value": 1}
    for query, status in (
        ({"text_query": million}, 422),
        ({"text_query": "w " * 2048}, 200),
        ({"criteria": [{"field": "content", "operator": "fulltext", "value": million}]}, 422),
        ({"criteria": [{"field": "x" * 5000, "operator": "equals", "value": 1}]}, 422),
        ({"text_query": "x", "highlight": True, "highlight_fields": ["name"] * 30}, 422),
        ({"criteria": [one]}, 200),
        ({"criteria": [one] * 50}, 200),
        ({"criteria": [one] * 51}, 422),
        ({"criteria": [one] * 5000}, 422),
        ({"criteria": [{**one, "value": "nan"}]}, 200),
        ({"criteria": [{**one, "value": 10**400}]}, 200),
        ({"criteria": [], "limit": 10**30}, 422),
        ({"criteria": [], "limit": -1}, 422),
        ({"criteria": [], "offset": 10**30}, 400),
        ({"text_query": "x", "highlight_fragment_size": 10**30, "highlight": True}, 200),
    ):
        got, _ = await victim.send("POST", SEARCH_PATH, json=query, headers=victim.datasets())
        assert got == status, str(query)[:80]


async def test_long_searches_are_not_read(victim):
    body = io.BytesIO(json.dumps({"text_query": "x" * 1_100_000}).encode())
    headers = {**victim.datasets(), "Content-Type": "application/json"}
    assert (await victim.send("POST", SEARCH_PATH, data=body, headers=headers))[0] == 413


async def test_searches_that_take_too_long_are_given_up(victim, monkeypatch):
    """Others are answered meanwhile."""
    monkeypatch.setattr("synapsefs.server.datasets.effort.SECONDS", 0.2)
    for number in range(10):
        await victim.entry(name=f"n{number}", content="a" * 600_000)
    contains = {"field": "content", "operator": "contains"}
    worst = [{**contains, "value": f"{'a' * 150}{number}"} for number in range(50)]
    marks = [*worst[1:], {**contains, "value": "a"}]
    for query in ({"criteria": worst}, {"criteria": marks, "highlight": True}):
        asked = [
            asyncio.create_task(
                victim.send("POST", SEARCH_PATH, json=query, headers=victim.datasets())
            )
            for _ in range(3)
        ]
        path = "/data_collections/"
        assert (await victim.send("GET", path, headers=victim.collections))[0] == 200
        for status, body in await asyncio.gather(*asked):
            assert (status, b"takes too long" in body) == (422, True)
