"""Servers on free ports, and a bare HTTP client of the datasets service."""

import base64
import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings
from synapsefs.wire.datasets.answers import EntryResponse
from synapsefs.wire.datasets.constants import DATASETS_PATH, ENTRIES_PATH, LOGIN_PATH


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """One user of one server."""

    url: str
    session: aiohttp.ClientSession
    bearer: str
    app: Any = None

    async def call(self, method, path, body=None, **options):
        headers = {"Authorization": f"Bearer {self.bearer}", **options.pop("headers", {})}
        if body is not None:
            options["data"] = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        return await self.plain(method, self.url + path, headers=headers, **options)

    async def plain(self, method, url, **options):
        options.setdefault("allow_redirects", False)
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
        async with self.session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def create(self, name="entry", **members):
        answer = await self.call("POST", ENTRIES_PATH, {"name": name, **members})
        assert answer.status == 201, answer.body
        return EntryResponse.model_validate_json(answer.body)

    async def get(self, key, **query):
        answer = await self.call("GET", f"{ENTRIES_PATH}/{key}", params=query)
        assert answer.status == 200, answer.body
        return EntryResponse.model_validate_json(answer.body)

    async def status_of(self, key):
        return (await self.call("GET", f"{ENTRIES_PATH}/{key}")).status

    async def patch(self, key, **members):
        return await self.call("PATCH", f"{ENTRIES_PATH}/{key}", members)

    async def delete(self, key):
        return await self.call("DELETE", f"{ENTRIES_PATH}/{key}")

    async def dataset(self, name="dataset"):
        return (await self.call("POST", DATASETS_PATH, {"name": name})).json["id"]

    async def entries(self, dataset_id):
        answer = await self.call("GET", f"{DATASETS_PATH}/{dataset_id}")
        assert answer.status == 200, answer.body
        return answer.json["data_storage_entries"]

    async def initiate(self, key, parts):
        path = f"{ENTRIES_PATH}/{key}/multipart-upload/initiate"
        return await self.call("POST", path, {"part_hashes": [md5(part) for part in parts]})

    async def put(self, url, data):
        headers = {"Content-MD5": md5(data)}
        bare = ["Content-Type"]
        return await self.plain("PUT", url, data=data, headers=headers, skip_auto_headers=bare)

    async def complete(self, key, upload_id, parts, etags=None):
        named = [
            {"part_number": n, "etag": (etags or {}).get(n, ""), "checksum": md5(part)}
            for n, part in enumerate(parts, 1)
        ]
        path = f"{ENTRIES_PATH}/{key}/multipart-upload/complete"
        return await self.call("POST", path, {"upload_id": upload_id, "parts": named})

    async def upload(self, name, parts, **members):
        """Create an active file entry; returns its id."""
        key = (await self.create(name, file_path=f"/home/u/{name}", **members)).data_storage.id
        await self.send(key, parts)
        assert (await self.patch(key, status="active")).status == 200
        return key

    async def send(self, key, parts):
        begun = (await self.initiate(key, parts)).json
        etags = {}
        for number, (url, part) in enumerate(zip(begun["part_urls"], parts, strict=True), 1):
            answer = await self.put(url, part)
            assert answer.status == 200, answer.body
            etags[number] = answer.headers["ETag"]
        answer = await self.complete(key, begun["upload_id"], parts, etags)
        assert answer.status == 200, answer.body
        return begun["upload_id"]

    async def read(self, key, **options):
        """Read the bytes of an entry by its signed URL."""
        location = (await self.get(key)).storage_locations[0]
        return await self.plain("GET", location.storage_config.signed_url, **options)


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@pytest.fixture
async def serving(tmp_path):
    """Start a server and log in; call with settings and, for more users, their API keys."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, key="key_a", **settings):
            running = await serve(ServerSettings(root=tmp_path / "root", **settings))
            stack.push_async_callback(running.close)
            return replace(await login(running.url, key), app=running.runner.app)

        async def login(url, key):
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with session.post(url + LOGIN_PATH, json={"api_key": key}) as response:
                assert response.status == 200
                return Api(url, session, (await response.json())["access_token"])

        start.login = login
        yield start


@pytest.fixture
async def api(serving):
    return await serving()


@pytest.fixture
async def two_users(serving):
    first = await serving(api_keys=("key_a", "key_b"))
    return first, await serving.login(first.url, "key_b")
