"""Files straight to the service's storage, by URLs that the service signs and confirms together."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synapsefs import concurrency, integrity
from synapsefs.errors import IntegrityError, SynapseError, UnreachableError
from synapsefs.http import Transport
from synapsefs.local.files import look, require_unchanged
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.wireio import slice_of
from synapsefs.wire.collections import v1

logger = logging.getLogger("synapsefs")
Progress = Callable[[int], None]
PARTS_AT_A_TIME = 4
FILES_TOGETHER, BYTES_TOGETHER = 200, 2**28
"""What is signed and confirmed in one request: a thousand files are allowed, but URLs expire."""

BATCHES_AT_A_TIME = 2
PARCEL, PARCEL_FILES = 2**20, 8
"""Bytes and files that one visit to a thread reads."""


@dataclass(slots=True)
class Outgoing:
    """A local file on its way, and what was told of it.

    Attributes
    ----------
    path
        Where it is.
    size
        Bytes.
    name
        What the service calls it.
    about
        Path that errors name.
    progress
        Is told each number of bytes that arrived; a negative one when they are sent again.
    counter
        Is told each number of files that arrived, in the same way.
    """

    path: str
    size: int
    name: str
    about: str
    progress: Progress
    counter: Progress | None = None
    bytes_told: int = 0
    files_told: int = 0

    def tell(self, size: int, files: int = 0) -> None:
        """Tell that bytes, or the whole file, have arrived."""
        self.bytes_told += size
        self.files_told += files
        if size:
            self.progress(size)
        if files and self.counter is not None:
            self.counter(files)

    def take_back(self) -> None:
        """Tell that it is to be sent again."""
        self.tell(-self.bytes_told, -self.files_told)

    @property
    def content_type(self) -> str | None:
        """Media type by its name."""
        return mimetypes.guess_type(self.name)[0]


class PresignedUploader:
    """The way around the service, where its storage can sign uploads.

    Parameters
    ----------
    api, transport
        The service and the storage.
    """

    def __init__(self, api: CollectionsClient, transport: Transport) -> None:
        self._api = api
        self._transport = transport
        self._offered: bool | None = None

    async def send(self, files: Sequence[Outgoing]) -> list[v1.DataFile | None]:
        """Send whole local files.

        Returns
        -------
        list of DataFile or None
            None for each file that has to go by the service itself: the storage cannot sign, or
            failed.
        """
        delivery = _Delivery(self._api, self._transport)
        try:
            if not await self._is_offered(files[0].about):
                return [None] * len(files)
        except SynapseError as error:
            logger.info("%s: the service does not tell its storage: %s", files[0].about, error)
            return [None] * len(files)
        batches = concurrency.batched(
            files, lambda file: file.size, most=BYTES_TOGETHER, count=FILES_TOGETHER
        )
        sent = await concurrency.gather(map(delivery.send, batches), BATCHES_AT_A_TIME)
        if isinstance(delivery.failure, UnreachableError):
            self._offered = False
        return [file for batch in sent for file in batch]

    async def _is_offered(self, about: str) -> bool:
        if self._offered is None:
            storages = await self._api.storages(about)
            chosen = [storage for storage in storages if storage.is_default] or storages
            self._offered = bool(chosen) and chosen[0].presigns
        return self._offered


class _Delivery:
    """Batches of files; after a failure the batches that follow are not tried.

    Attributes
    ----------
    failure
        Why not; None when nothing failed.
    """

    def __init__(self, api: CollectionsClient, transport: Transport) -> None:
        self._api = api
        self._transport = transport
        self._slots = asyncio.Semaphore(transport.options.max_concurrency)
        self.failure: SynapseError | None = None

    async def send(self, files: Sequence[Outgoing]) -> list[v1.DataFile | None]:
        """Send a batch, or nothing of it."""
        try:
            if self.failure is None:
                return await self._send(files)
        except SynapseError as error:
            logger.info("%s: not straight to the storage: %s", files[0].about, error)
            self.failure = error
            for file in files:
                file.take_back()
        return [None] * len(files)

    async def _send(self, files: Sequence[Outgoing]) -> list[v1.DataFile | None]:
        about = files[0].about
        wanted = [
            v1.FileToPresign(filename=file.name, size=file.size, content_type=file.content_type)
            for file in files
        ]
        targets = await self._api.presign(wanted, about)
        batched = concurrency.batched(
            zip(files, targets, strict=True),
            lambda pair: pair[0].size,
            most=PARCEL,
            count=PARCEL_FILES,
        )
        at_a_time = self._transport.options.max_concurrency
        delivered = await concurrency.gather(map(self._deliver_all, batched), at_a_time)
        sent = {found.file_key: found for parcel in delivered for found in parcel if found}
        results = await self._api.confirm(list(sent.values()), about) if sent else {}
        return [
            _registered(file, sent[key], results[key]) if (key := target.file_key) in sent else None
            for file, target in zip(files, targets, strict=True)
        ]

    async def _deliver_all(
        self, pairs: Sequence[tuple[Outgoing, v1.PresignedFile]]
    ) -> list[v1.FileToConfirm | None]:
        """Send some files; None for each that is not what it was, or cannot be read."""
        looked = await asyncio.to_thread(lambda: [_Looked.at(file) for file, _ in pairs])

        async def deliver(number: int) -> v1.FileToConfirm | None:
            found = looked[number]
            if found is None:
                return None
            async with self._slots:
                sent = await self._deliver(*pairs[number], found)
            pairs[number][0].tell(0, 1)
            return sent

        return await concurrency.gather(map(deliver, range(len(pairs))), len(pairs))

    async def _deliver(
        self, file: Outgoing, target: v1.PresignedFile, looked: _Looked
    ) -> v1.FileToConfirm:
        """Send one file; give what the service wants to hear of it."""
        if looked.data is not None and target.presigned_url is not None:
            await self._put(target.presigned_url, looked.data, file)
            file.tell(file.size)
            return _to_confirm(file, target, looked.checksum, None)
        hashing = asyncio.ensure_future(asyncio.to_thread(_sha1, file))
        try:
            parts = await self._put_parts(file, target)
        finally:
            checksum = await hashing
        await asyncio.to_thread(require_unchanged, looked.found, file.path)
        return _to_confirm(file, target, checksum, parts)

    async def _put(self, url: str, data: bytes, file: Outgoing) -> None:
        kind = file.content_type
        headers = {"Content-Type": kind} if kind else {}
        await self._transport.put_object(url, data, headers, file.about)

    async def _put_parts(self, file: Outgoing, target: v1.PresignedFile) -> list[v1.UploadedPart]:
        """Send one part to each URL; of a single URL, the whole file."""
        spread = target.multipart
        size = spread.part_size if spread else file.size
        urls = {part.part_number: part.presigned_url for part in spread.parts} if spread else {}
        if target.presigned_url is not None and not spread:
            urls = {1: target.presigned_url}
        if len(urls) * size < file.size or size <= 0:
            raise IntegrityError("the service gave too few places for the parts", file.about)
        kind = None if spread else file.content_type
        headers = {"Content-Type": kind} if kind else {}
        with await asyncio.to_thread(open, file.path, "rb") as opened:

            async def send(number: int, url: str) -> v1.UploadedPart:
                start = (number - 1) * size
                length = min(size, file.size - start)
                body = slice_of(opened.fileno(), start, length, file.about)
                reply = await self._transport.put_object(url, body, headers, file.about)
                file.tell(length)
                return v1.UploadedPart(part_number=number, etag=reply.headers.get("ETag") or '""')

            work = (send(number, url) for number, url in sorted(urls.items()))
            return await concurrency.gather(work, PARTS_AT_A_TIME)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A file as it was found: its state, and where it is small its content and SHA-1."""

    found: os.stat_result
    data: bytes | None
    checksum: str

    @classmethod
    def at(cls, file: Outgoing) -> _Looked | None:
        """Look at a file; None where it is not what was announced, which others will tell."""
        try:
            found, data = look(file.path)
        except OSError as error:
            logger.info("%s: %s", file.about, error)
            return None
        if found.st_size != file.size:
            return None
        return cls(found, data, hashlib.sha1(data or b"", usedforsecurity=False).hexdigest())


def _sha1(file: Outgoing) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(file.path, "rb") as opened:
        integrity.hash_range(opened, digest, 0, file.size)
    return digest.hexdigest()


def _to_confirm(
    file: Outgoing,
    target: v1.PresignedFile,
    checksum: str,
    parts: list[v1.UploadedPart] | None,
) -> v1.FileToConfirm:
    multipart = None
    if target.multipart is not None:
        multipart = v1.UploadedParts(upload_id=target.multipart.upload_id, parts=parts or [])
    return v1.FileToConfirm(
        file_key=target.file_key, checksum=checksum, size=file.size, multipart=multipart
    )


def _registered(
    file: Outgoing, sent: v1.FileToConfirm, result: v1.ConfirmedFile
) -> v1.DataFile | None:
    """Give the data file that a confirmed one has become; None where the service refuses it."""
    checksum = result.checksum or sent.checksum
    same = len(checksum) != len(sent.checksum) or checksum.lower() == sent.checksum
    if result.success and result.data_file_id is not None and same:
        return v1.DataFile(id=result.data_file_id, checksum=checksum)
    logger.info("%s: not confirmed by the service: %s", file.about, result.error)
    file.take_back()
    return None
