"""A server that speaks both protocols, throws uploads away, and serves memory without checks.

Run as ``python -m tests.benchmarks.discard``, it prints its URL. It answers as the real services
do: no sizes in listings, no route of our own. ``POST /_bench/attach {"directory": …}`` gives files
that were "uploaded" the content of the local files of the same base name.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from tests.benchmarks.http_server import Connection, Counts, Request, Response, StoredFile

MIB = 2**20
PART_SIZE = 100 * MIB
"""Presigned uploads above this size go in parts of it, as the real service has it."""

WHEN = "2026-01-01T00:00:00+00:00"
EXPIRES = "2099-01-01T00:00:00+00:00"
ENTRIES, DATASETS = "/v0.1/data-storage/data-entries", "/v0.1/data-storage/datasets"
Handler = Callable[..., "Response | Any"]


class Discard:
    """What the server knows: names and numbers, and the few files that it serves."""

    def __init__(self) -> None:
        self.url = ""
        self.counts = Counts()
        self._numbers = itertools.count(1)
        self._collections: dict[int, dict[str, Any]] = {}
        self._units: dict[int, dict[int, dict[str, Any]]] = {}
        self._uploads: dict[str, dict[str, Any]] = {}
        self._datasets: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._of_dataset: dict[str, list[str]] = {}
        self._files: dict[str, StoredFile] = {}
        self._routes: list[tuple[str, str, re.Pattern[str], Handler]] = []
        for name, handler in self._handlers().items():
            method, _, path = name.partition(" ")
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
            self._routes.append((name, method, re.compile(pattern + r"\Z"), handler))

    def _handlers(self) -> dict[str, Handler]:
        return {
            "GET /_blob/{key}/{name}": self.read,
            "HEAD /_blob/{key}/{name}": self.read,
            "PUT /_put/{key}/{number}": self.put,
            "POST /data_files/presigned_upload/upload/": self.presign,
            "POST /data_files/presigned_upload/confirm_upload/": self.confirm,
            "POST /data_files/verify_checksums/": lambda _: {"existing_checksums": []},
            "POST /data_files/": self.create_data_file,
            "POST /data_units/": self.create_units,
            "GET /data_units/": self.list_units,
            f"POST {ENTRIES}": self.create_entry,
            f"GET {ENTRIES}/{{key}}": lambda _, key: self.entry(key),
            f"PATCH {ENTRIES}/{{key}}": self.patch_entry,
            f"DELETE {ENTRIES}/{{key}}": self.delete_entry,
            f"POST {ENTRIES}/{{key}}/multipart-upload/initiate": self.initiate,
            f"POST {ENTRIES}/{{key}}/multipart-upload/complete": lambda _, key: {},
            f"POST {DATASETS}": self.create_dataset,
            f"GET {DATASETS}/{{key}}": self.dataset,
            "POST /v0.1/data-storage/search": lambda _: [],
            "POST /auth/login": lambda _: {"access_token": "bearer"},
            "GET /v0.1/organizations": lambda _: [{"name": "benchmark"}],
            "GET /health/": lambda _: {},
            "GET /storages/": lambda _: [_STORAGE],
            "GET /storages/{number}/": lambda _, number: _STORAGE,
            "PUT /chunked_upload/": self.chunk,
            "PUT /chunked_upload/{key}/": self.chunk,
            "POST /chunked_upload/": self.finish_chunks,
            "POST /chunked_upload/{key}/": self.finish_chunks,
            "GET /chunked_upload/{key}/": lambda _, key: self._uploads[key],
            "GET /data_collections/": self.list_collections,
            "GET /data_collections/{number}/": lambda _, number: self._collections[int(number)],
            "POST /v2/data-collections/": self.create_collection,
            "GET /v2/data-collections/{number}/": self.collection_detail,
            "GET /v2/data-files/": lambda _: _enveloped([]),
            "POST /_bench/attach": self.attach,
            "POST /_bench/reset": self.reset,
            "GET /_bench/counts": lambda _: asdict(self.counts),
        }

    def keeps(self, method: str, path: str) -> bool:
        """Say whether a body is needed: not that of an object."""
        return not path.startswith(("/_put/", "/chunked_upload/")) or method == "POST"

    def answer(self, request: Request) -> Response:
        own = request.path.startswith("/_bench/")
        if not own:
            self.counts.requests += 1
        for name, method, pattern, handler in self._routes:
            if method == request.method and (found := pattern.match(request.path)):
                if not own:
                    self.counts.routes[name] = self.counts.routes.get(name, 0) + 1
                self.url = f"http://{request.headers['host']}"
                try:
                    given = handler(request, **found.groupdict())
                except KeyError as missing:
                    return Response(404, {"detail": f"nothing is known of {missing}"})
                if isinstance(given, Response):
                    return given
                return Response(201 if method == "POST" else 200, given)
        sys.stderr.write(f"no route: {request.method} {request.path}\n")
        return Response(404, {"detail": "no such route"})

    # --- objects ---------------------------------------------------------------------------

    def read(self, request: Request, key: str, name: str) -> Response:
        file = self._files[key]
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{key}"'}
        headers["Content-Type"] = "application/octet-stream"
        start, end = 0, file.size
        asked = request.headers.get("range", "").removeprefix("bytes=")
        if not asked:
            return Response(200, None, headers, file, (start, end))
        first, _, last = asked.partition("-")
        start = int(first) if first else max(file.size - int(last), 0)
        end = min(int(last) + 1, file.size) if first and last else file.size
        if start >= file.size:
            return Response(416, None, {"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        return Response(206, None, headers, file, (start, end))

    def put(self, _: Request, key: str, number: str) -> Response:
        return Response(200, None, {"ETag": '"discarded"'})

    def _blob(self, key: str, name: str) -> str:
        return f"{self.url}/_blob/{key}/{quote(name)}?signature=none"

    def attach(self, request: Request) -> Any:
        directory, attached = json.loads(request.body)["directory"], 0
        names = set(os.listdir(directory))
        units = (unit for units in self._units.values() for unit in units.values())
        held = [file for unit in units for file in unit["files"].values()]
        for stored in [*held, *self._entries.values()]:
            name = stored.get("file_name_original") or stored.get("file_path") or ""
            name = PurePosixPath(name).name
            if name in names and stored["key"] not in self._files:
                self._files[stored["key"]] = StoredFile(f"{directory}/{name}")
                attached += 1
        return {"attached": attached}

    def reset(self, request: Request) -> Any:
        """Count anew, and forget the containers that are named."""
        forget = json.loads(request.body or b"{}")
        for number in forget.get("collections", ()):
            self._collections.pop(number), self._units.pop(number)
        for key in forget.get("datasets", ()):
            self._datasets.pop(key)
            for entry in self._of_dataset.pop(key):
                self._entries.pop(entry, None)
        counts = asdict(self.counts)
        for name, value in asdict(Counts()).items():
            setattr(self.counts, name, value)
        return counts

    # --- collections -----------------------------------------------------------------------

    def create_collection(self, request: Request) -> Any:
        asked, number = json.loads(request.body), next(self._numbers)
        specs = [{"id": number, **spec} for spec in asked["file_specifications"]]
        self._collections[number] = {
            "id": number,
            "name": asked["name"],
            "description": "",
            "category": asked["category"],
            "file_specifications": specs,
            "created_at": WHEN,
        }
        self._units[number] = {}
        return self.collection_detail(request, str(number))

    def collection_detail(self, _: Request, number: str) -> Any:
        more = {"category_display": "", "access_level": "private", "is_archived": False}
        more |= {"created": WHEN, "count_projects": 0, "tenant_id": 1, "meta": None}
        return _enveloped(self._collections[int(number)] | more | {"caution": "sensitive_content"})

    def list_collections(self, request: Request) -> Any:
        return self._page(request, list(self._collections.values()))

    def list_units(self, request: Request) -> Any:
        units = list(self._units[int(request.query["data_collection"])].values())
        if request.query.get("ordering") == "-id":
            units.reverse()
        page = self._page(request, units)
        page["results"] = [self._unit(unit) for unit in page["results"]]
        return page

    def _page(self, request: Request, items: list[Any]) -> dict[str, Any]:
        number, size = (int(request.query.get(n, d)) for n, d in (("page", 1), ("page_size", 100)))
        query = request.query | {"page": str(number + 1)}
        there_is_more = number * size < len(items)
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return {
            "count": len(items),
            "next": f"{self.url}{request.path}?{parameters}" if there_is_more else None,
            "previous": None,
            "results": items[(number - 1) * size : number * size],
        }

    def _unit(self, unit: dict[str, Any]) -> dict[str, Any]:
        files = {
            spec: {
                "url": self._blob(file["key"], file["file_name_original"]),
                "checksum": file["checksum"],
                "file_name_original": file["file_name_original"],
                "is_primary": True,
                "file_type": "data",
                "meta": {},
            }
            for spec, file in unit["files"].items()
        }
        return {**unit, "files": files}

    def create_units(self, request: Request) -> Any:
        asked = json.loads(request.body)
        made = [self._create_unit(unit) for unit in (asked if isinstance(asked, list) else [asked])]
        return made if isinstance(asked, list) else made[0]

    def _create_unit(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        files = {
            spec: {
                "checksum": file["checksum"],
                "file_name_original": PurePosixPath(file.get("path") or spec).name,
                "key": uuid.uuid4().hex,
            }
            for spec, file in asked["files"].items()
        }
        unit = {"id": number, "data_collection": asked["data_collection"], "files": files}
        unit |= {"meta": asked.get("meta"), "checksum": "0" * 40, "created_at": WHEN, "group": None}
        self._units[asked["data_collection"]][number] = unit
        return self._unit(unit)

    def create_data_file(self, request: Request) -> Any:
        number, kind = next(self._numbers), request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            boundary = kind.partition("boundary=")[2].strip('"').encode()
            # what is before the next delimiter and after the head of the part that is a file
            after = request.body.partition(b'name="file"')[2].partition(b"\r\n\r\n")[2]
            content = after[: after.rindex(b"\r\n--" + boundary + b"--")]
            checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
        else:
            checksum = self._uploads[str(json.loads(request.body)["chunked_upload"])]["checksum"]
        return {"id": number, "checksum": checksum}

    def chunk(self, request: Request, key: str = "") -> Any:
        key = key or uuid.uuid4().hex
        span = re.match(r"bytes (\d+)-(\d+)/(\d+)", request.headers["content-range"])
        assert span is not None
        upload = self._uploads.setdefault(key, {"id": key, "filename": "file", "status": 1})
        upload |= {"url": f"{self.url}/chunked_upload/{key}/", "offset": int(span[2]) + 1}
        return upload

    def finish_chunks(self, request: Request, key: str = "") -> Any:
        key = key or uuid.uuid4().hex
        upload = self._uploads.setdefault(key, {"id": key})
        upload |= {"checksum": json.loads(request.body)["md5"], "completed_at": WHEN, "status": 2}
        return upload

    def presign(self, request: Request) -> Any:
        return {
            "files": [self._presigned(file) for file in json.loads(request.body)["files"]],
            "expires_at": EXPIRES,
        }

    def _presigned(self, file: dict[str, Any]) -> dict[str, Any]:
        key, parts = uuid.uuid4().hex, -(-file["size"] // PART_SIZE)
        signed = {"filename": file["filename"], "file_key": key, "multipart": None}
        if parts <= 1:
            return {**signed, "presigned_url": f"{self.url}/_put/{key}/1?signature=none"}
        urls = [
            {"part_number": n, "presigned_url": f"{self.url}/_put/{key}/{n}?signature=none"}
            for n in range(1, parts + 1)
        ]
        multipart = {"upload_id": key, "part_size": PART_SIZE, "parts": urls}
        return {**signed, "presigned_url": None, "multipart": multipart}

    def confirm(self, request: Request) -> Any:
        asked = json.loads(request.body)["files"]
        results = [
            {
                "file_key": file["file_key"],
                "checksum": file["checksum"],
                "data_file_id": next(self._numbers),
                "success": True,
                "created": True,
                "error": None,
            }
            for file in asked
        ]
        return {"results": results, "created_count": len(results), "failed_count": 0}

    # --- datasets --------------------------------------------------------------------------

    def create_dataset(self, request: Request) -> Any:
        asked = json.loads(request.body)
        key = asked.get("id") or str(uuid.uuid4())
        self._datasets[key] = {
            "id": key,
            "name": asked["name"],
            "user_id": "user",
            "description": asked.get("description"),
            "created_at": WHEN,
            "modified_at": WHEN,
        }
        self._of_dataset[key] = []
        return self._datasets[key]

    def dataset(self, _: Request, key: str) -> Any:
        entries = (self._entries[each] for each in self._of_dataset[key] if each in self._entries)
        listed = [_shown(entry) for entry in entries]
        return {"dataset": self._datasets[key], "data_storage_entries": listed}

    def create_entry(self, request: Request) -> Any:
        asked, key = json.loads(request.body), str(uuid.uuid4())
        in_storage = "content" not in asked and bool(asked.get("file_path"))
        directory = "content" not in asked and not asked.get("file_path")
        if directory and not asked.get("parent_id") and not asked.get("dataset_id"):
            name = {"name": asked["name"]}
            made = self.create_dataset(Request("POST", "", {}, {}, json.dumps(name).encode()))
            asked["dataset_id"] = made["id"]
        state = "pending" if in_storage else "active"
        names = ("name", "description", "content", "tags", "parent_id", "project_id", "file_path")
        entry = {name: asked.get(name) for name in names}
        entry |= {"id": key, "status": state, "user_id": "user", "share_status": "private"}
        entry |= {"created_at": WHEN, "modified_at": WHEN, "is_collection": asked["is_collection"]}
        parent = self._entries.get(asked.get("parent_id"), {})
        entry |= {"dataset_id": asked.get("dataset_id") or parent.get("dataset_id")}
        entry |= {"key": uuid.uuid4().hex, "metadata": asked.get("metadata")}
        self._entries[key] = entry
        if entry["dataset_id"]:
            self._of_dataset[entry["dataset_id"]].append(key)
        return self.entry(key)

    def entry(self, key: str) -> Any:
        entry = self._entries[key]
        locations = []
        if entry["content"] is not None or entry["file_path"]:
            stored = entry["content"] is None
            config = {
                "storage_type": "gcs" if stored else "raw_content",
                "content_type": "file" if stored else "text",
                "metadata": entry["metadata"],
                "location": entry["file_path"],
                "signed_url": self._blob(entry["key"], entry["name"]) if stored else None,
            }
            location = {"id": key, "data_storage_id": key, "created_at": WHEN}
            locations.append({**location, "storage_config": config})
        revision = key if locations else None
        return {
            "data_storage": _shown(entry),
            "storage_locations": locations,
            "content": entry["content"],
            "revision_id": revision,
            "current_revision_id": revision,
            "version": 0,
            "revision_generation": 1,
        }

    def patch_entry(self, request: Request, key: str) -> Any:
        asked, entry = json.loads(request.body), self._entries[key]
        entry.update({name: asked[name] for name in ("status", "tags") if name in asked})
        return self.entry(key)

    def delete_entry(self, _: Request, key: str) -> Response:
        del self._entries[key]
        return Response(204)

    def initiate(self, request: Request, key: str) -> Any:
        count = len(json.loads(request.body)["part_hashes"])
        urls = [f"{self.url}/_put/{key}/{n}?signature=none" for n in range(1, count + 1)]
        return {"upload_id": key, "part_urls": urls}


_STORAGE = {
    "id": 1,
    "name": "storage",
    "category": "internal",
    "provider": "minio",
    "configuration": {},
    "is_default": True,
}


def _enveloped(data: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"request_id": "req_1"}
    if isinstance(data, list):
        meta["pagination"] = {"next_cursor": None, "previous_cursor": None, "per_page": 200}
    return {"data": data, "meta": meta}


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in {"key", "metadata"}}


async def serve() -> None:
    """Run the server until the process ends."""
    state = Discard()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(state.answer, state.keeps, state.counts), "127.0.0.1", 0, backlog=1024
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
