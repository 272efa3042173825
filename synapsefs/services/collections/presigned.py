"""A file straight to the service's storage, by URLs that the service signs.

A large one goes in parts, several at a time, hashed beside the sending; a later process sends those
that are missing while the URLs live.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import lru_cache
from typing import IO, Any

from pydantic import BaseModel, Field, ValidationError

from synapsefs import concurrency, integrity, sync
from synapsefs.checkpoint import HOPELESS, UploadCheckpoint
from synapsefs.errors import (
    ChangedError,
    ExpiredError,
    IntegrityError,
    SynapseError,
    UnreachableError,
)
from synapsefs.http import Body, Transport
from synapsefs.local.files import open_binary
from synapsefs.services.base import NewFile
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.wireio import slice_of
from synapsefs.sessions import SLICE
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
MIN_PARTS, MAX_PARTS = 4, 16
"""Parts of a file in flight at a time: more for as long as that makes it faster."""

PART_BUFFER = 4 * SLICE
"""Bytes of a part that are in memory at a time, on their way through the connection."""

HASH_STEP = 2**25
LIFETIME = constants.EXPIRATION_RANGE[1]
"""Seconds for which the URLs of parts are asked for: so long a later process may go on."""

MARGIN = 60.0
"""Seconds before its end from which on a signed URL is not used."""


class SignedParts(BaseModel):
    """Where the parts of a file go, as a checkpoint keeps it; a whole file is its only part.

    Attributes
    ----------
    upload_id
        Of the parts together; empty for a whole file.
    urls
        By part; they are secrets.
    expires
        When they do, in seconds since the epoch.
    arrived
        Of each part that has arrived its ETag, and the SHA-1 of the file up to the part's end.
    """

    file_key: str
    upload_id: str = ""
    part_size: int = Field(gt=0)
    urls: dict[int, str] = Field(repr=False)
    expires: float
    arrived: dict[int, tuple[str, str]] = {}

    @classmethod
    def of(cls, target: v1.PresignedFile, size: int, expires: float, path: str) -> SignedParts:
        """Read where a file of so many bytes goes."""
        spread = target.multipart
        if spread is None:
            urls = {1: target.presigned_url} if target.presigned_url else {}
            upload_id, part_size = "", max(size, 1)
        else:
            urls = {part.part_number: part.presigned_url for part in spread.parts}
            upload_id, part_size = spread.upload_id, max(spread.part_size, 1)
        if sorted(urls) != list(range(1, len(urls) + 1)) or len(urls) * part_size < size:
            raise IntegrityError("the service gave too few places for the parts", path)
        return cls(
            file_key=target.file_key,
            upload_id=upload_id,
            part_size=part_size,
            urls=urls,
            expires=expires,
        )

    @classmethod
    def saved_in(cls, saved: Mapping[str, Any], size: int) -> SignedParts | None:
        """Read what an earlier process saved; None where that is nothing of use."""
        try:
            parts = cls.model_validate(saved)
        except ValidationError:
            return None
        fits = (
            len(parts.urls) * parts.part_size >= size and parts.arrived.keys() <= parts.urls.keys()
        )
        return parts if fits and parts.upload_id else None

    def span(self, number: int, size: int) -> tuple[int, int]:
        """Give first byte and length of a part of a file of so many bytes."""
        start = (number - 1) * self.part_size
        return start, max(0, min(self.part_size, size - start))

    def to_confirm(self, sha1: str, size: int, etags: Mapping[int, str]) -> v1.FileToConfirm:
        """Say what the service wants to hear of the file once it has arrived."""
        parts = [v1.UploadedPart(part_number=n, etag=etags[n]) for n in sorted(etags)]
        spread = v1.UploadedParts(upload_id=self.upload_id, parts=parts) if self.upload_id else None
        return v1.FileToConfirm(file_key=self.file_key, checksum=sha1, size=size, multipart=spread)


class PresignedUploader:
    """The way around the service, where its storage can sign uploads."""

    def __init__(self, api: CollectionsClient, transport: Transport) -> None:
        self._api = api
        self._transport = transport
        self._offered: bool | None = None

    async def is_offered(self, path: str) -> bool:
        """Say whether the storage signs, which is asked once."""
        if self._offered is None:
            try:
                storages = await self._api.storages(path)
            except SynapseError as error:
                logger.info("%s: the service does not tell its storage: %s", path, error)
                return False
            default = [storage for storage in storages if storage.is_default] or storages
            self._offered = bool(default) and default[0].presigns
        return self._offered

    def failed(self, error: SynapseError) -> None:
        """Ask no more where the storage cannot be reached: that costs timeouts each time."""
        if isinstance(error, UnreachableError):
            self._offered = False

    async def upload(
        self, file: NewFile, checkpoint: UploadCheckpoint, report: Callable[[int], None]
    ) -> v1.DataFile | None:
        """Send a large local file.

        Returns
        -------
        DataFile or None
            None where it has to go by the service: the storage does not sign, gives no parts for
            a file that a later process may resume, or failed.

        Raises
        ------
        SynapseError
            Where the file can be resumed later; where resuming itself failed, one after which it
            starts over.
        """
        path = file.location.path
        parts = SignedParts.saved_in(checkpoint.saved, file.size)
        if parts is not None and parts.expires - MARGIN < time.time():
            checkpoint.start_over("the signed URLs have expired")
            parts = None
        resumed = parts is not None
        if parts is None:
            parts = await self._signed(file, path, in_parts=checkpoint.lasts)
        if parts is None:
            return None
        delivery = _Delivery(self._transport, file, parts, checkpoint, report)
        try:
            return await self._confirmed(path, await delivery.run())
        except SynapseError as error:
            if resumed and not isinstance(error, UnreachableError):
                if isinstance(error, HOPELESS):
                    raise
                raise ExpiredError(str(error), path) from None
            if checkpoint.lasts and delivery.etags and isinstance(error, UnreachableError):
                raise
            logger.info("%s: not straight to the storage: %s", path, error)
            self.failed(error)
            delivery.take_back()
            await sync.in_thread(checkpoint.forget)
            return None

    async def _signed(self, file: NewFile, path: str, *, in_parts: bool) -> SignedParts | None:
        if not await self.is_offered(path):
            return None
        asked = to_presign(file)
        try:
            answer = await self._api.presign([asked], path, lifetime=LIFETIME)
            expires = min(_seconds(answer.expires_at), time.time() + LIFETIME)
            parts = SignedParts.of(answer.files[0], file.size, expires, path)
        except SynapseError as error:
            logger.info("%s: not straight to the storage: %s", path, error)
            return None
        return None if in_parts and not parts.upload_id else parts

    async def _confirmed(self, path: str, sent: v1.FileToConfirm) -> v1.DataFile:
        results = await self._api.confirm([sent], path)
        return registered(sent, results[sent.file_key], path)


class _Delivery:
    """The parts of one file on their way."""

    def __init__(
        self,
        transport: Transport,
        file: NewFile,
        parts: SignedParts,
        checkpoint: UploadCheckpoint,
        report: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._file = file
        self._path = file.location.path
        self._parts = parts
        self._checkpoint = checkpoint
        self._report = report
        self._moved = self._reported = 0
        self._sums: dict[int, str] = {}
        self.etags = {number: etag for number, (etag, _) in parts.arrived.items()}

    async def run(self) -> v1.FileToConfirm:
        """Send what is missing, and hash all of it meanwhile."""
        if self._checkpoint.lasts and not self.etags:
            await self._checkpoint.note(**self._parts.model_dump(exclude={"arrived"}))
        for number in self.etags:
            self._tell(self._parts.span(number, self._file.size)[1])
        source = str(self._file.source)
        with await sync.in_thread(open_binary, source) as opened:
            missing = [number for number in self._parts.urls if number not in self.etags]
            work: list[Coroutine[Any, Any, None]] = [self._hash(source)]
            work += [self._send(opened, number) for number in missing]
            await concurrency.gather_growing(
                work, lambda: self._moved, 1 + MIN_PARTS, 1 + MAX_PARTS
            )
        sha1 = self._sums[max(self._sums)]
        return self._parts.to_confirm(sha1, self._file.size, self.etags)

    def take_back(self) -> None:
        """Tell that all of it will be sent again."""
        self._tell(-self._reported)

    def _tell(self, amount: int) -> None:
        self._reported += amount
        self._report(amount)

    async def _send(self, opened: IO[bytes], number: int) -> None:
        start, length = self._parts.span(number, self._file.size)
        body = slice_of(opened.fileno(), start, length, self._path, self._count)
        async with concurrency.shared().buffered.hold(min(PART_BUFFER, length)):
            etag = await put_part(self._transport, self._file, self._parts, number, body)
        self.etags[number] = etag
        await self._remember(number)
        self._tell(length)

    def _count(self, amount: int) -> None:
        self._moved += amount

    async def _hash(self, source: str) -> None:
        """Hash the file in order; what an earlier process sent of it must be the same."""
        digest = hashlib.sha1(usedforsecurity=False)
        with await sync.in_thread(open_binary, source) as opened:
            for number in sorted(self._parts.urls):
                start, length = self._parts.span(number, self._file.size)
                for step in range(start, start + length, HASH_STEP):
                    last = min(step + HASH_STEP, start + length)
                    await sync.in_thread(integrity.hash_range, opened, digest, step, last)
                self._sums[number] = digest.hexdigest()
                earlier = self._parts.arrived.get(number)
                if earlier is not None and earlier[1] != self._sums[number]:
                    raise ChangedError("the local file changed since it was sent in part", source)
                await self._remember(number)

    async def _remember(self, number: int) -> None:
        """Note a part that has both arrived and been hashed."""
        known = number in self._sums and number in self.etags
        if self._checkpoint.lasts and known and number not in self._parts.arrived:
            await self._checkpoint.note(arrived={number: (self.etags[number], self._sums[number])})


async def put_part(
    transport: Transport, file: NewFile, parts: SignedParts, number: int, body: Body
) -> str:
    """Send one part of a file; give its ETag."""
    kind = None if parts.upload_id else content_type(file.location.name)
    headers = {"Content-Type": kind} if kind else {}
    reply = await transport.put_object(parts.urls[number], body, headers, file.location.path)
    return reply.headers.get("ETag") or '""'


def _seconds(moment: str | None) -> float:
    try:
        return datetime.fromisoformat(moment or "").timestamp()
    except ValueError:
        return float("inf")


def to_presign(file: NewFile) -> v1.FileToPresign:
    """Say what the service wants to know of a file before it signs."""
    name = file.location.name
    return v1.FileToPresign.model_construct(
        filename=name, size=file.size, content_type=content_type(name)
    )


def content_type(name: str) -> str | None:
    """Give the media type of a file by its name."""
    return _type_of(".".join(("x", *name.rsplit(".", 2)[1:])))


@lru_cache(1024)
def _type_of(name: str) -> str | None:
    return mimetypes.guess_type(name)[0]


def registered(sent: v1.FileToConfirm, result: v1.ConfirmedFile, path: str) -> v1.DataFile:
    """Give the data file that a confirmed one has become.

    Raises
    ------
    IntegrityError
        Where the service refuses it, or has other bytes.
    """
    checksum = result.checksum or sent.checksum
    same = len(checksum) != len(sent.checksum) or checksum.lower() == sent.checksum
    if not (result.success and result.data_file_id is not None and same):
        raise IntegrityError(f"not confirmed by the service: {result.error}", path)
    return v1.DataFile(id=result.data_file_id, checksum=checksum)
