"""Large files straight to the service's storage, by signed URLs, their parts in parallel."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
from typing import IO

from synapsefs import integrity, limits
from synapsefs.errors import IntegrityError, SynapseError
from synapsefs.services.base import Source
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.wireio import slice_of
from synapsefs.transport import Transport
from synapsefs.wire import collections as wire

logger = logging.getLogger("synapsefs")
PARTS_AT_A_TIME = 4


class DirectRoute:
    """The way around the service, where its storage can sign uploads.

    Parameters
    ----------
    api, transport
        The service and the storage.
    """

    def __init__(self, api: CollectionsApi, transport: Transport) -> None:
        self._api = api
        self._transport = transport
        self._offered: bool | None = None

    async def send(self, source: Source, name: str, about: str) -> wire.DataFile | None:
        """Send a whole local file.

        Returns
        -------
        DataFile or None
            None where it has to go by the service itself: the storage cannot sign, or failed.
        """
        sent: list[int] = []
        try:
            if not await self._is_offered(about):
                return None
            return await self._send(source, name, about, sent)
        except SynapseError as error:
            logger.info("%s: not straight to the storage: %s", about, error)
            source.progress(-sum(sent))
            return None

    async def _is_offered(self, about: str) -> bool:
        if self._offered is None:
            storages = await self._api.storages(about)
            chosen = [storage for storage in storages if storage.is_default] or storages
            self._offered = bool(chosen) and chosen[0].presigns
        return self._offered

    async def _send(self, source: Source, name: str, about: str, sent: list[int]) -> wire.DataFile:
        kind = mimetypes.guess_type(name)[0]
        wanted = wire.FileToPresign(filename=name, size=source.size, content_type=kind)
        target = await self._api.presign(wanted, about)
        with await asyncio.to_thread(open, source.path, "rb") as file:
            hashing = asyncio.ensure_future(asyncio.to_thread(_sha1, source))
            try:
                parts = await self._send_parts(file, source, target, kind, about, sent)
            finally:
                checksum = await hashing
        multipart = None
        if target.multipart is not None:
            multipart = wire.UploadedParts(upload_id=target.multipart.upload_id, parts=parts)
        confirmed = await self._api.confirm(
            wire.FileToConfirm(
                file_key=target.file_key,
                checksum=checksum,
                size=source.size,
                multipart=multipart,
            ),
            about,
        )
        if not confirmed.success or confirmed.data_file_id is None:
            raise IntegrityError(confirmed.error or "the service did not confirm the file", about)
        return wire.DataFile(id=confirmed.data_file_id, checksum=confirmed.checksum or checksum)

    async def _send_parts(
        self,
        file: IO[bytes],
        source: Source,
        target: wire.PresignedFile,
        kind: str | None,
        about: str,
        sent: list[int],
    ) -> list[wire.UploadedPart]:
        """Send one part to each URL; of a single URL, the whole file."""
        spread = target.multipart
        size = spread.part_size if spread else source.size
        urls = {part.part_number: part.presigned_url for part in spread.parts} if spread else {}
        if target.presigned_url is not None and not spread:
            urls = {1: target.presigned_url}
        if len(urls) * size < source.size or size <= 0:
            raise IntegrityError("the service gave too few places for the parts", about)
        headers = {"Content-Type": kind} if kind and not spread else {}

        async def send(number: int, url: str) -> wire.UploadedPart:
            start = (number - 1) * size
            length = min(size, source.size - start)
            body = slice_of(file.fileno(), start, length, about)
            reply = await self._transport.put_object(url, body, headers, about)
            sent.append(length)
            source.progress(length)
            return wire.UploadedPart(part_number=number, etag=reply.headers.get("ETag") or '""')

        work = (send(number, url) for number, url in sorted(urls.items()))
        return await limits.gather(work, PARTS_AT_A_TIME)


def _sha1(source: Source) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(source.path, "rb") as file:
        integrity.hash_range(file, digest, 0, source.size)
    return digest.hexdigest()
