"""A server to attack, and the strings that must not leak in a response."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from synapsefs.wire.datasets.constants import ENTRIES_PATH

SECRET_TOKEN = "syn_hostile-token"
KEYS = ("key_hostile-one", "key_hostile-two")
FILE_BEGINS = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"


@dataclass
class Victim:
    """A server, two of its users, and the strings that must never appear in a response."""

    url: str
    root: str
    session: aiohttp.ClientSession
    bearers: list[str] = field(default_factory=list)

    @property
    def collections(self):
        return {"Synapse-Access-Token": SECRET_TOKEN}

    def datasets(self, user=0):
        return {"Authorization": f"Bearer {self.bearers[user]}"}

    async def send(self, method, path, **options):
        """Send a request; check that the response discloses nothing."""
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(
            method, URL(url, encoded=True), allow_redirects=False, **options
        ) as response:
            body = await response.read()
        assert response.status < 500 or response.status == 507, (response.status, body[:500])
        assert response.headers["Server"] == "synapsefs"
        if response.status >= 400:
            self.check_refusal(url, response.content_type, body)
        return response.status, body

    def check_refusal(self, url, content_type, body):
        for hidden in (self.root, "Traceback", ".py", "sqlite", SECRET_TOKEN, *KEYS):
            assert hidden.encode() not in body
        assert b"signature=" not in body
        path = urlsplit(url).path
        if path.startswith("/_blob/"):
            assert content_type == "application/xml"
            assert b"<Code>" in body
            return
        assert content_type == "application/json"
        members = json.loads(body)
        if path.startswith("/v2/"):
            assert members["error"]["code"]
            assert members["error"]["message"]
        else:
            assert members

    async def json(self, method, path, body, *, status=None, headers):
        got, answer = await self.send(method, path, json=body, headers=headers)
        assert status in (None, got), (got, answer)
        return json.loads(answer)

    async def entry(self, user=0, **members):
        made = await self.json(
            "POST", ENTRIES_PATH, members, status=201, headers=self.datasets(user)
        )
        return made["data_storage"]["id"]

    async def store(self, data, name="a.bin"):
        """Upload a data file; give its signed URL."""
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(data), filename=name)
        status, body = await self.send("POST", "/data_files/", data=form, headers=self.collections)
        assert status == 201
        return json.loads(body)["file"]
