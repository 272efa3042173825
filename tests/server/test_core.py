"""What both services stand on."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapsefs.server.blobs import BlobStore
from synapsefs.server.database import Database
from synapsefs.server.embedded import EmbeddedServer, embedded
from synapsefs.server.formdata import form_parts
from synapsefs.server.problems import Problem
from synapsefs.server.signing import SignatureRefusedError, Signer, load_secret

TABLE = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY);"


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "db", [TABLE])
    yield opened
    opened.close()


def insert(number):
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (number,)).lastrowid


def count(connection):
    return connection.execute("SELECT count(*) FROM t").fetchone()[0]


async def test_one_failing_write_does_not_undo_others(database):
    await database.write(insert(0))
    numbers = [*range(1, 100), 50]
    outcomes = await asyncio.gather(
        *(database.write(insert(n)) for n in numbers), return_exceptions=True
    )
    assert [type(o) for o in outcomes if not isinstance(o, int)] == [sqlite3.IntegrityError]
    assert await database.read(count) == 100


async def test_reading_cannot_write(database):
    await database.read(insert(1))
    assert await database.read(count) == 0


async def test_two_databases_over_one_file(database, tmp_path):
    other = Database(tmp_path / "db", [TABLE])
    await asyncio.gather(
        *(database.write(insert(n)) for n in range(50)),
        *(other.write(insert(n)) for n in range(50, 100)),
    )
    assert await other.read(count) == await database.read(count) == 100
    other.close()


def test_simultaneous_first_use_of_a_root(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        secrets = list(threads.map(lambda _: load_secret(tmp_path), range(8)))
        databases = list(threads.map(lambda _: Database(tmp_path / "db", [TABLE]), range(8)))
    assert len({secret.key for secret in secrets}) == 1
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert secrets[0].token not in repr(secrets[0])
    assert sorted(p.name for p in tmp_path.iterdir() if "." in p.name) == []
    for each in databases:
        each.close()


def test_signatures():
    signer = Signer("k")
    expires = int(time.time()) + 60
    good = signer.sign("GET", "/a", expires, x="1")
    signer.verify(good, "GET", "/a", expires, x="1")
    for method, path, when, claims in (
        ("PUT", "/a", expires, {"x": "1"}),
        ("GET", "/b", expires, {"x": "1"}),
        ("GET", "/a", expires + 1, {"x": "1"}),
        ("GET", "/a", expires, {"x": "2"}),
        ("GET", "/a", expires, {}),
    ):
        with pytest.raises(SignatureRefusedError):
            signer.verify(good, method, path, when, **claims)
    with pytest.raises(SignatureRefusedError, match="expired"):
        signer.verify(signer.sign("GET", "/a", 1), "GET", "/a", 1)


def test_bearer_tokens():
    signer = Signer("k")
    one, two = signer.issue("me", 60), signer.issue("me", 60)
    assert one != two
    assert signer.subject(one) == signer.subject(two) == "me"
    assert signer.subject(signer.issue("me", -1)) is None
    assert Signer("other").subject(one) is None
    for bad in ("", "x", f"{one}x", "é.é"):
        assert signer.subject(bad) is None


async def test_blobs_are_stored_once(tmp_path):
    store = BlobStore(tmp_path)

    async def pieces():
        for _ in range(50):
            yield b"x" * 100_000

    blobs = [await store.commit(await store.receive(pieces())) for _ in range(2)]
    assert blobs[0] == blobs[1]
    assert store.path(blobs[0].sha256).read_bytes() == b"x" * 5_000_000
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1
    store.close()


async def test_interrupted_stream_leaves_nothing(tmp_path):
    store = BlobStore(tmp_path)

    async def pieces():
        yield b"x" * 3_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(pieces())
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    store.close()


async def test_full_disk(client, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        form = aiohttp.FormData()
        form.add_field("file", b"abc", filename="a")
        body = await client.call("POST", "/data_files/", data=form, status=507)
        await client.chunk("/chunked_upload/", b"abc", 0, 3, status=507)
    assert body == {"detail": "There is no space left on the server."}
    for folder in ("objects", "staging", "uploads"):
        assert not [p for p in (tmp_path / "root" / folder).rglob("*") if p.is_file()]
    await client.upload(b"abc")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"synapse-access-token": "Token wrong"}, 401),
        ({"SYNAPSE-ACCESS-TOKEN": "syn_test"}, 200),
        ({"Synapse-Access-Token": "Token syn_test"}, 200),
        ({"Synapse-Access-Token": "Bearer syn_test", "Synapse-Tenant": "Token acme"}, 200),
        ({"Synapse-Access-Token": "syn_test", "Synapse-Tenant": "acme"}, 200),
        ({"Synapse-Access-Token": "syn_test", "Synapse-Tenant": "other"}, 403),
        ({"Authorization": "Token syn_test"}, 403),
        ({"Authorization": "Token syn_test", "SYNAPSE-Tenant": "acme"}, 200),
        ({"Synapse-Access-Token": "wrong", "Authorization": "Token syn_test"}, 401),
    ],
)
async def test_credentials(client, headers, status):
    got, _, body = await client.raw("GET", f"{client.url}/data_collections/", headers=headers)
    assert got == status
    assert b"syn_test" not in body
    assert b"wrong" not in body


async def test_without_tokens_anybody_may(start):
    client = await start(tokens=(), api_keys=())
    assert (await client.raw("GET", f"{client.url}/data_collections/"))[0] == 200


async def test_created_tokens_work_everywhere(start):
    one, two = await start(), await start()
    made = await one.call("POST", "/v2/tokens/", json={"description": "ci"}, status=201)
    headers = {"Synapse-Access-Token": made["data"]["token"]}
    assert (await two.raw("GET", f"{two.url}/data_collections/", headers=headers))[0] == 200


async def test_account(client):
    me = await client.call("GET", "/v2/users/me/")
    assert set(me["data"]) == {"id", "email", "name", "is_synapse_admin"}
    good = {"email": "a@b", "password": "syn_test"}
    assert await client.call("POST", "/users/login/", json=good) == {"token": "syn_test"}
    await client.call("POST", "/users/login/", json={**good, "password": "x"}, status=400)
    assert (await client.call("GET", "/v2/tenants/acme/"))["data"]["code"] == "acme"
    await client.call("GET", "/v2/tenants/other/", status=404)
    schemas = await client.call("GET", "/v2/schemas/file-specifications/?category=image")
    assert list(schemas["data"]["categories"]) == ["image"]
    await client.call("GET", "/v2/schemas/file-specifications/?category=nope", status=400)


async def test_unknown_routes_and_methods(client):
    for path in ("/nope", "/data_units", "/v2/data-units", "/data_units/x/"):
        await client.call("GET", path, status=404, allow_redirects=False)
    assert await client.call("GET", "/nope", status=404) == {"detail": "Not Found."}
    missing = await client.call("GET", "/v2/nope/", status=404)
    assert missing["error"]["code"] == "NOT_FOUND"
    for path in ("/health/", "/data_units/", "/v2/data-units/"):
        assert (await client.raw("HEAD", client.url + path))[0] == 405


async def test_announces_itself(client):
    status, headers, _ = await client.raw("GET", f"{client.url}/health/")
    assert (status, bool(headers["X-Synapsefs-Server"])) == (200, True)


async def test_embedded_is_one_per_root(tmp_path):
    one, two = embedded(tmp_path / "a"), embedded(tmp_path / "a")
    assert one is two
    other = EmbeddedServer(tmp_path / "a")
    assert (other.token, other.url != one.url) == (one.token, True)
    headers = {"Synapse-Access-Token": one.token}
    for server in (one, other):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/data_collections/", headers=headers) as response,
        ):
            assert response.status == 200
    other.close()
    other.close()
    one.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_embedded_after_fork(tmp_path):
    parent = embedded(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        server = embedded(tmp_path)
        os.write(writer, server.url.encode())
        server.close()
        os._exit(0)
    os.close(writer)
    url = os.read(reader, 100).decode()
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0
    assert url.startswith("http://")
    assert url != parent.url
    parent.close()


class _Request:
    """A form as it comes off the wire, in pieces of any size."""

    def __init__(self, body, size, boundary="b0und"):
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self.content = self
        self._pieces = [body[i : i + size] for i in range(0, len(body), size)]

    async def readany(self):
        return self._pieces.pop(0) if self._pieces else b""


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"\r\n--b0un", b"\r\n--b0und-", b"\r"])),
    st.integers(1, 40),
)
def test_forms_come_apart_again(values, size):
    values = [v for v in values if b"\r\n--b0und" not in b"\r\n" + v + b"\r\n"]
    head = b'--b0und\r\nContent-Disposition: form-data; name="%d"; filename="a%%22b"\r\n\r\n'
    body = b"".join(head % i + v + b"\r\n" for i, v in enumerate(values)) + b"--b0und--\r\n"

    announced = min(map(len, values), default=0)

    async def read(data):
        return [
            (part.name, part.filename, b"".join([piece async for piece in part.content]))
            async for part in form_parts(_Request(data, size), announced)
        ]

    assert asyncio.run(read(body)) == [(str(i), 'a"b', v) for i, v in enumerate(values)]
    with pytest.raises(Problem):
        asyncio.run(read(body[:-4]))


@pytest.mark.parametrize("refused", [None, errno.ENOSYS, errno.EXDEV])
def test_files_are_joined(tmp_path, monkeypatch, refused):
    store = BlobStore(tmp_path)
    pieces = [os.urandom(size) for size in (3_000_000, 0, 1, 2_000_001)]
    paths = [tmp_path / f"part-{number}" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        path.write_bytes(piece)

    def refuse(*_):
        raise OSError(refused, "not here")

    if refused:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    blob = store.join(paths)
    content = b"".join(pieces)
    assert store.path(blob.sha256).read_bytes() == content
    assert (blob.size, blob.md5) == (len(content), hashlib.md5(content).hexdigest())
    with pytest.raises(FileNotFoundError):
        store.join([*paths, tmp_path / "gone"])
    assert list((tmp_path / "staging").iterdir()) == []
    store.close()
