"""The smallest scripts that speak the protocols with the same integrity data, and do nothing else.

They retry nothing, resume nothing, look nothing up and tidy nothing: the limit of these protocols
in Python with aiohttp.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.benchmarks.job import Job

MIB = 2**20
CHUNK = 50 * MIB
PART = 10 * MIB
SMALL_AT_ONCE, PARTS_AT_ONCE, HASHERS = 32, 4, 2
BATCH = 1000
PIECES = 8
"""Pieces that one visit to a thread hashes."""
ENTRIES = "/v0.1/data-storage/data-entries"
BOUNDARY = "synapsefs-benchmark"


class Prototype:
    """One client."""

    needs = ()

    def __init__(self, url: str, datasets: Any = None) -> None:
        self.url = url

    # --- uploads ---------------------------------------------------------------------------

    def upload_chunks(self, job: Job) -> None:
        """Send chunks in order, with the MD5 of the whole file in a thread beside it."""
        asyncio.run(self._upload_chunks(job))

    async def _upload_chunks(self, job: Job) -> None:
        size, where = os.path.getsize(job.local), f"{self.url}/chunked_upload/"
        async with self._session() as session:
            hashing = asyncio.ensure_future(asyncio.to_thread(_digest, job.local, "md5", 0, size))
            for start in range(0, size, CHUNK):
                end = min(start + CHUNK, size)
                before, after = _form_around("file")
                headers = {
                    "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
                    "Content-Length": str(len(before) + end - start + len(after)),
                    "Content-Range": f"bytes {start}-{end - 1}/{size}",
                }
                body = _slices(job.local, start, end, before, after)
                where = (await _call(session, "PUT", where, data=body, headers=headers))["url"]
            checksum = (await hashing).hexdigest()
            done = await _call(session, "POST", where, json={"md5": checksum})
            body = {"chunked_upload": done["id"]}
            made = await _call(session, "POST", f"{self.url}/data_files/", json=body)
            await self._bind(session, job, [(made["checksum"], job.local)])

    def upload_presigned(self, job: Job) -> None:
        """Send parts to the storage, some at once, with the SHA-1 in a thread beside them."""
        asyncio.run(self._upload_presigned(job))

    async def _upload_presigned(self, job: Job) -> None:
        size = os.path.getsize(job.local)
        async with self._session() as session:
            hashing = asyncio.ensure_future(asyncio.to_thread(_digest, job.local, "sha1", 0, size))
            wanted = [{"filename": os.path.basename(job.local), "size": size}]
            (target,) = await self._presign(session, wanted)
            spread = target["multipart"] or {
                "part_size": size,
                "parts": [{"part_number": 1, "presigned_url": target["presigned_url"]}],
            }

            async def send(part: dict[str, Any]) -> None:
                start = (part["part_number"] - 1) * spread["part_size"]
                end = min(start + spread["part_size"], size)
                part["etag"] = await _put(session, part["presigned_url"], job.local, start, end)

            await _each(spread["parts"], send, PARTS_AT_ONCE)
            done = {"file_key": target["file_key"], "size": size}
            done["checksum"] = (await hashing).hexdigest()
            if target["multipart"]:
                parts = [
                    {name: p[name] for name in ("part_number", "etag")} for p in spread["parts"]
                ]
                done["multipart"] = {"upload_id": spread["upload_id"], "parts": parts}
            await self._confirm(session, [done])
            await self._bind(session, job, [(done["checksum"], job.local)])

    def upload_parts(self, job: Job) -> None:
        """Hash parts in two threads, then send four at a time."""
        asyncio.run(self._upload_parts(job))

    async def _upload_parts(self, job: Job) -> None:
        size = os.path.getsize(job.local)
        async with self._entry_session() as session:
            await self._store(session, job.local, size, job.dataset, PARTS_AT_ONCE)

    def put_presigned(self, job: Job) -> None:
        """Send small files to the storage, 32 at once; confirm and bind them by the thousand."""
        asyncio.run(self._put_presigned(job))

    async def _put_presigned(self, job: Job) -> None:
        paths = sorted(entry.path for entry in os.scandir(job.local))
        async with self._session() as session:
            for first in range(0, len(paths), BATCH):
                batch = paths[first : first + BATCH]
                wanted = [
                    {"filename": os.path.basename(p), "size": os.stat(p).st_size} for p in batch
                ]
                targets = await self._presign(session, wanted)
                done: list[dict[str, Any]] = []

                async def send(pair: tuple[str, dict[str, Any]]) -> None:
                    content = _read(pair[0])
                    checksum = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                    url = pair[1]["presigned_url"]
                    async with session.put(url, data=content, headers=_PLAIN) as answer:
                        answer.raise_for_status()
                    key = pair[1]["file_key"]
                    said = {"file_key": key, "checksum": checksum, "size": len(content)}
                    done.append(said)  # noqa: B023 - awaited in this round
                    bound.append((checksum, pair[0]))  # noqa: B023

                bound: list[tuple[str, str]] = []
                await _each(zip(batch, targets, strict=True), send, SMALL_AT_ONCE)
                await self._confirm(session, done)
                await self._bind(session, job, bound)

    def put_entries(self, job: Job) -> None:
        """Store small files by five requests each, 32 at once."""
        asyncio.run(self._put_entries(job))

    async def _put_entries(self, job: Job) -> None:
        paths = sorted(entry.path for entry in os.scandir(job.local))
        async with self._entry_session() as session:

            async def store(path: str) -> None:
                await self._store(session, path, os.stat(path).st_size, job.dataset, 1)

            await _each(paths, store, SMALL_AT_ONCE)

    # --- downloads -------------------------------------------------------------------------

    def download(self, job: Job) -> None:
        """Write what comes to a file."""
        asyncio.run(self._download(job, verify=False))

    def download_verified(self, job: Job) -> None:
        """Write what comes to a file, with its MD5 in a thread beside it."""
        asyncio.run(self._download(job, verify=True))

    async def _download(self, job: Job, *, verify: bool) -> None:
        digest, hashing = hashlib.md5(usedforsecurity=False), None
        pieces: list[bytes] = []

        def consume(taken: list[bytes]) -> None:
            for piece in taken:
                digest.update(piece)

        async with self._session() as session, session.get(job.urls[0]) as answer:
            answer.raise_for_status()
            with open(job.out, "wb") as file, ThreadPoolExecutor(1) as pool:
                async for piece in answer.content.iter_chunked(MIB):
                    file.write(piece)
                    if not verify:
                        continue
                    pieces.append(piece)
                    if len(pieces) >= PIECES:
                        if hashing is not None:
                            await asyncio.wrap_future(hashing)
                        hashing = pool.submit(consume, pieces)
                        pieces = []
                if hashing is not None:
                    await asyncio.wrap_future(hashing)
                consume(pieces)

    def cat(self, job: Job) -> None:
        """Read a file into memory."""
        asyncio.run(self._cat(job))

    async def _cat(self, job: Job) -> None:
        async with self._session() as session, session.get(job.urls[0]) as answer:
            assert len(await answer.read()) == job.size

    def get(self, job: Job) -> None:
        """Get small files, 32 at once."""
        os.mkdir(job.out)
        asyncio.run(self._get(job))

    async def _get(self, job: Job) -> None:
        async with self._session() as session:

            async def fetch(numbered: tuple[int, str]) -> None:
                async with session.get(numbered[1]) as answer:
                    answer.raise_for_status()
                    content = await answer.read()
                with open(f"{job.out}/{numbered[0]}", "wb") as file:
                    file.write(content)

            await _each(enumerate(job.urls), fetch, SMALL_AT_ONCE)

    def put_raw(self, job: Job) -> None:
        """Send a file, with no checksum."""
        asyncio.run(self._put_raw(job))

    async def _put_raw(self, job: Job) -> None:
        async with self._session() as session:
            await _put(session, job.put_url, job.local, 0, os.path.getsize(job.local))

    # --- what they share -------------------------------------------------------------------

    def _session(self, **headers: str) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=headers or {"Synapse-Access-Token": "Token t"},
            connector=aiohttp.TCPConnector(limit=64),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=MIB,
        )

    @asynccontextmanager
    async def _entry_session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with self._session() as session:
            login = await _call(session, "POST", f"{self.url}/auth/login", json={"api_key": "k"})
        async with self._session(Authorization=f"Bearer {login['access_token']}") as session:
            yield session

    async def _presign(self, session: Any, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        url = f"{self.url}/data_files/presigned_upload/upload/"
        answer = await _call(session, "POST", url, json={"files": wanted, "expiration": 3600})
        return answer["files"]

    async def _confirm(self, session: Any, done: list[dict[str, Any]]) -> None:
        url = f"{self.url}/data_files/presigned_upload/confirm_upload/"
        answer = await _call(session, "POST", url, json={"files": done})
        assert answer["failed_count"] == 0

    async def _bind(self, session: Any, job: Job, files: list[tuple[str, str]]) -> None:
        units = [
            {
                "data_collection": job.collection,
                "files": {"data_1": {"checksum": checksum, "path": os.path.basename(path)}},
            }
            for checksum, path in files
        ]
        await _call(session, "POST", f"{self.url}/data_units/", json=units)

    async def _store(self, session: Any, path: str, size: int, dataset: str, at_once: int) -> None:
        name = os.path.basename(path)
        body = {"name": name, "file_path": name, "dataset_id": dataset, "is_collection": False}
        made = await _call(session, "POST", self.url + ENTRIES, json=body)
        entry = f"{self.url}{ENTRIES}/{made['data_storage']['id']}"
        starts = range(0, max(size, 1), PART)
        ends = [min(start + PART, size) for start in starts]
        if size <= PART:
            content = _read(path)
            digests = [hashlib.md5(content, usedforsecurity=False)]
        else:
            slots = asyncio.Semaphore(HASHERS)

            async def digest(start: int, end: int) -> Any:
                async with slots:
                    return await asyncio.to_thread(_digest, path, "md5", start, end)

            digests = await asyncio.gather(*map(digest, starts, ends))
        hashes = [base64.b64encode(digest.digest()).decode() for digest in digests]
        begun = await _call(
            session, "POST", f"{entry}/multipart-upload/initiate", json={"part_hashes": hashes}
        )

        etags = [""] * len(hashes)

        async def send(number: int) -> None:
            url, headers = begun["part_urls"][number], {"Content-MD5": hashes[number], **_PLAIN}
            if size <= PART:
                async with session.put(url, data=content, headers=headers) as answer:
                    answer.raise_for_status()
                    etags[number] = answer.headers["ETag"]
            else:
                etags[number] = await _put(
                    session, url, path, starts[number], ends[number], headers
                )

        await _each(range(len(hashes)), send, at_once)
        parts = [
            {"part_number": number, "etag": etags[number - 1], "checksum": value}
            for number, value in enumerate(hashes, 1)
        ]
        body = {"upload_id": begun["upload_id"], "parts": parts}
        await _call(session, "POST", f"{entry}/multipart-upload/complete", json=body)
        await _call(session, "PATCH", entry, json={"status": "active"})


_PLAIN = {"Content-Type": "application/octet-stream"}


async def _call(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Any:
    async with session.request(method, url, **options) as answer:
        body = await answer.read()
        assert answer.status < 300, (method, url, answer.status, body[:300])
        return await answer.json()


async def _put(
    session: Any, url: str, path: str, start: int, end: int, headers: Any = _PLAIN
) -> str:
    """Send a part of a file; give its ETag."""
    headers = {**headers, "Content-Length": str(end - start)}
    async with session.put(url, data=_slices(path, start, end), headers=headers) as answer:
        answer.raise_for_status()
        return str(answer.headers["ETag"])


async def _slices(
    path: str, start: int, end: int, before: bytes = b"", after: bytes = b""
) -> AsyncIterator[bytes]:
    if before:
        yield before
    with open(path, "rb", buffering=0) as file:
        for at in range(start, end, MIB):
            yield os.pread(file.fileno(), min(MIB, end - at), at)
    if after:
        yield after


async def _each(items: Iterable[Any], work: Callable[[Any], Awaitable[None]], most: int) -> None:
    """Do something with each, some at once, with one task per worker."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(most)))


def _form_around(name: str) -> tuple[bytes, bytes]:
    before = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="filename"\r\n\r\n{name}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    )
    return before.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _digest(path: str, algorithm: str, start: int, end: int) -> Any:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        for at in range(start, end, MIB):
            digest.update(os.pread(file.fileno(), min(MIB, end - at), at))
    return digest
