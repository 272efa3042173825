"""A small foreign datasets service, whose entries are chosen by the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

DATASET = "00000000-0000-4000-8000-000000000001"
MOMENT = "2024-01-01T00:00:00Z"


@dataclass
class ForeignServer:
    """Its address, and the content of its dataset."""

    url: str = ""
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """Options of a filesystem where its dataset is named ``d``."""
        return {
            "datasets_endpoint_url": self.url,
            "datasets_token": "key",
            "datasets": {"d": DATASET},
            "retries": 0,
            "skip_instance_cache": True,
        }

    def add(
        self, name: str, *, text: str | None = None, identifier: str = "", parent: str | None = None
    ) -> str:
        """Add a text file that contains its own name, or another text; give its id."""
        identifier = identifier or f"id-{len(self.entries)}"
        held = name if text is None else text
        self.entries.append(_entry(name, identifier, parent, held))
        return identifier

    def add_folder(self, name: str, *, identifier: str = "", parent: str | None = None) -> str:
        """Add a directory; give its id."""
        identifier = identifier or f"id-{len(self.entries)}"
        entry = {**_entry(name, identifier, parent, None), "content_type": "directory"}
        self.entries.append(entry)
        return identifier

    async def login(self, request: web.Request) -> web.Response:
        return web.json_response({"access_token": "bearer"})

    async def dataset(self, request: web.Request) -> web.Response:
        about = {"id": DATASET, "name": "d", "created_at": MOMENT, "modified_at": MOMENT}
        return web.json_response({"dataset": about, "data_storage_entries": self.entries})

    async def entry(self, request: web.Request) -> web.Response:
        for found in self.entries:
            if found["id"] == request.match_info["id"]:
                return web.json_response({"data_storage": found, "storage_locations": []})
        return web.json_response({"detail": "no such entry"}, status=404)


def _entry(name: str, identifier: str, parent: str | None, text: str | None) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": name,
        "status": "active",
        "created_at": MOMENT,
        "modified_at": MOMENT,
        "content": text,
        "parent_id": parent,
        "dataset_id": DATASET,
    }


@contextlib.contextmanager
def foreign_server() -> Iterator[ForeignServer]:
    """Run such a service in a thread of its own."""
    server = ForeignServer()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/auth/login", server.login)
        app.router.add_get("/v0.1/data-storage/datasets/{id}", server.dataset)
        app.router.add_get("/v0.1/data-storage/data-entries/{id}", server.entry)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
