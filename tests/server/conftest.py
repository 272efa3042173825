"""Servers over real sockets, and a thin client for them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from synapsefs.server.app import Running, serve
from synapsefs.server.settings import ServerSettings
from synapsefs.wire.datasets.constants import LOGIN_PATH
from tests.support.victim import KEYS, SECRET_TOKEN, Victim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TOKEN, TENANT, API_KEY = "syn_test", "acme", "key_test"


@dataclass
class Client:
    """Calls one server with good credentials."""

    running: Running
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.running.url

    async def call(self, method: str, path: str, *, status: int | None = 200, **kwargs: Any) -> Any:
        """Send a request and return its JSON, its text, or None for no content."""
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, **kwargs) as response:
            body = await response.read()
            assert status in (None, response.status), (response.status, body)
            if response.content_type == "application/json":
                return await response.json()
            return body or None

    async def raw(self, method: str, url: str, **kwargs: Any) -> tuple[int, Any, bytes]:
        """Send a request without credentials and return status, headers and body."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, **kwargs) as response,
        ):
            return response.status, response.headers, await response.read()

    async def collection(self, *names: str, name: str = "one", **changes: Any) -> int:
        """Create a collection; the first specification is required."""
        specifications = [
            {"name": n, "file_type": "data", "is_required": i == 0, **changes}
            for i, n in enumerate(names or ("data_1",))
        ]
        body = {"name": name, "category": "data", "file_specifications": specifications}
        made = await self.call("POST", "/v2/data-collections/", json=body, status=201)
        return made["data"]["id"]

    async def upload(self, data: bytes, name: str = "a.bin") -> dict[str, Any]:
        """Upload a data file directly."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("file", io.BytesIO(data), filename=name)
        return await self.call("POST", "/data_files/", data=form, status=201)

    async def chunk(
        self, path: str, data: bytes, first: int, total: int, *, status: int | None = 200
    ) -> Any:
        """Send one chunk of a chunked upload."""
        form = aiohttp.FormData()
        form.add_field("filename", "a.bin")
        form.add_field("file", io.BytesIO(data), filename="file")
        headers = {"Content-Range": f"bytes {first}-{first + len(data) - 1}/{total}"}
        return await self.call("PUT", path, data=form, headers=headers, status=status)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that starts a server over one root, with given settings."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Client:
            given = {"tokens": (TOKEN,), "tenant": TENANT, "api_keys": (API_KEY,)}
            running = await serve(ServerSettings(root=tmp_path / "root", **(given | settings)))
            stack.push_async_callback(running.close)
            session = aiohttp.ClientSession(headers={"Synapse-Access-Token": TOKEN})
            await stack.enter_async_context(session)
            return Client(running, session)

        yield start


@pytest.fixture
async def client(start: Callable[..., Any]) -> Client:
    """Return a client of a server with the usual settings."""
    return await start()


@pytest.fixture
async def attack(start, tmp_path):
    """Start a server to attack; it must still be well in the end."""
    started = []

    async def attack(**settings):
        client = await start(**{"tokens": (SECRET_TOKEN,), "api_keys": KEYS} | settings)
        victim = Victim(client.url, str(tmp_path), client.session)
        client.session.headers.clear()
        started.append(victim)
        for key in KEYS:
            async with client.session.post(
                victim.url + LOGIN_PATH, json={"api_key": key}
            ) as response:
                victim.bearers.append((await response.json())["access_token"])
        return victim

    yield attack
    for victim in started:
        async with victim.session.get(victim.url + "/health/") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})


@pytest.fixture
async def victim(attack):
    return await attack()
