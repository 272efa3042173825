"""Bytes on their way into the collections service.

A file of at most one part goes in one request. A longer one goes in chunks, in order, while it is
still being written; the MD5 of the whole is computed beside the sending.

The total in ``Content-Range`` is not known while a file is written. The service's library does not
look at it before the end, so each chunk names the total so far. Should a service insist on one
total, the file is spooled on disk and sent once it is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import IO, Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from synapsefs import integrity, sync
from synapsefs.checkpoint import UploadCheckpoint
from synapsefs.errors import (
    ChecksumError,
    ExpiredError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
)
from synapsefs.local.files import Spool
from synapsefs.location import Location
from synapsefs.services.base import NewFile, Staged
from synapsefs.services.collections.client import CHUNKED_ROUTE, CollectionsClient
from synapsefs.services.collections.composition import StagedFile, UnitOptions
from synapsefs.services.collections.presigned import PresignedUploader
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
RESYNC_ATTEMPTS = 4
HOPELESS = (NotFoundError, ExpiredError, InvalidRequestError)
_REFUSAL = TypeAdapter(v1.OffsetRefused)


class _SavedChunks(BaseModel):
    """What a checkpoint keeps: the upload, and the MD5 of the bytes that had arrived."""

    id: int | Annotated[str, Field(pattern=r"^[\w-]+$")]
    offset: int = Field(gt=0)
    md5: str

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> _SavedChunks | None:
        """Read it; None where there is nothing of the kind."""
        try:
            return cls.model_validate(saved) if saved else None
        except ValidationError:
            return None


class CollectionUpload:
    """One file on its way.

    Parameters
    ----------
    api, presigned
        The service, and the way past it.
    file
        Where it will appear, and its size where that is known beforehand.
    part_size
        Bytes of each part but the last.
    options
        What its unit shall carry.
    """

    smallest_part = 1

    def __init__(
        self,
        api: CollectionsClient,
        presigned: PresignedUploader,
        file: NewFile,
        part_size: int,
        options: UnitOptions | None,
    ) -> None:
        self.part_size = part_size
        self._api = api
        self._presigned = presigned
        self._new = file
        self._path = file.location.path
        self._options = options
        self._size = max(file.size, 0)
        self._sent = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file: v1.DataFile | None = None
        self._chunks: Chunks | None = None
        self._first: bytes | memoryview | None = None
        self._spool: IO[bytes] | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failure: SynapseError | None = None
        self._checkpoint: UploadCheckpoint | None = None

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part; it is hashed and sent while the caller fills the one after it."""
        await self._landed()
        self._flight = asyncio.ensure_future(self._take(part, last=last))
        if last:
            await self._landed()

    async def resume(self, checkpoint: UploadCheckpoint, report: Callable[[int], None]) -> int:
        """Send a large file straight to the storage, or resume its chunks; give the offset."""
        if self._size <= self.part_size:
            return 0
        self._checkpoint = checkpoint
        saved = _SavedChunks.of(checkpoint.saved)
        if saved is None:
            self._file = await self._presigned.upload(self._new, checkpoint, report)
            self._sent = self._size if self._file is not None else 0
            return self._sent
        chunks = Chunks(self._api, self._new.location)
        offset = await chunks.reopen(saved, self._size)
        if offset is None or not await asyncio.to_thread(self._hash, saved, offset):
            await sync.in_thread(checkpoint.start_over, "the earlier upload is gone")
            return 0
        self._chunks, self._sent = chunks, offset
        report(offset)
        return offset

    def _hash(self, saved: _SavedChunks, offset: int) -> bool:
        """Hash what was sent before; False where the file begins with other bytes by now."""
        digest = hashlib.md5(usedforsecurity=False)
        with open(str(self._new.source), "rb") as file:
            integrity.hash_range(file, digest, 0, saved.offset)
            if digest.hexdigest() != saved.md5:
                return False
            integrity.hash_range(file, digest, saved.offset, offset)
        self._md5 = digest
        return True

    async def finish(self) -> Staged:
        """Wait for the last part, compare checksums, and give the data file."""
        await self._landed()
        if self._spool is not None:
            await self._send_spooled(self._spool)
        if self._chunks is not None:
            self._file = await self._chunks.finish(self._md5.hexdigest())
        if self._file is None:
            raise IntegrityError("the file was finished without a last part", self._path)
        handle = StagedFile(self._file.checksum, self._options)
        return Staged(self._new.location, self._sent, self._new.exclusive, handle)

    async def abort(self) -> None:
        """Stop sending. The service has no route to end a chunked upload; it expires unseen."""
        if self._flight is not None and not self._flight.done():
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        if self._spool is not None:
            self._spool.close()
        self._first = self._flight = None

    async def suspend(self) -> None:
        """Stop sending; the service keeps what it has, for a day or so."""
        await self.abort()

    async def _landed(self) -> None:
        """Wait for the part on its way; it stays within reach of :meth:`abort` meanwhile."""
        if self._failure is not None:
            raise self._failure
        if self._flight is not None:
            try:
                await self._flight
            except SynapseError as error:
                self._failure = error
                raise
            self._flight = None

    async def _take(self, part: bytes | memoryview, *, last: bool) -> None:
        """Send a part, and hash it meanwhile."""
        if len(part) <= integrity.INLINE:
            self._md5.update(part)
            await self._send(part, last=last)
        else:
            hashing = asyncio.ensure_future(asyncio.to_thread(self._md5.update, part))
            try:
                await self._send(part, last=last)
            finally:
                await hashing
        self._sent += len(part)
        if self._file is not None:
            await self._compare(self._file.checksum, part)
        if self._checkpoint is not None and self._chunks is not None:
            await self._checkpoint.note(
                id=self._chunks.identifier, offset=self._sent, md5=self._md5.hexdigest()
            )

    async def _send(self, part: bytes | memoryview, *, last: bool) -> None:
        if last and self._sent == 0:
            name = self._new.location.name
            self._file = await self._api.create_data_file(part, name, self._path)
        elif self._spool is not None:
            await asyncio.to_thread(self._spool.write, part)
        else:
            await self._send_chunk(part, last=last)

    async def _send_chunk(self, part: bytes | memoryview, *, last: bool) -> None:
        if self._chunks is None:
            self._chunks = Chunks(self._api, self._new.location)
        total = self._size or self._sent + len(part)
        try:
            await self._chunks.send(part, self._sent, total)
        except InvalidRequestError:
            if self._size or self._first is None or self._sent != len(self._first):
                raise
            await self._spool_from_here(part)
        self._first = part if self._sent == 0 and not last and not self._size else None

    async def _spool_from_here(self, part: bytes | memoryview) -> None:
        logger.info("%s: the service wants the total first; spooling", self._path)
        self._spool = Spool()
        for piece in (self._first, part):
            await asyncio.to_thread(self._spool.write, piece or b"")
        self._chunks = self._first = None

    async def _send_spooled(self, spool: IO[bytes]) -> None:
        self._chunks, self._spool = Chunks(self._api, self._new.location), None
        with spool:
            for first in range(0, self._sent, self.part_size):
                await asyncio.to_thread(spool.seek, first)
                part = await asyncio.to_thread(spool.read, self.part_size)
                await self._chunks.send(part, first, self._sent)

    async def _compare(self, checksum: str, content: bytes | memoryview) -> None:
        """Compare what the service says it stored with the whole that was sent."""
        algorithm = constants.CHECKSUM_ALGORITHMS.get(len(checksum))
        own = self._md5.hexdigest()
        if algorithm in {"sha1", "sha256"}:
            own = (await asyncio.to_thread(hashlib.new, algorithm, content)).hexdigest()
        if algorithm and own != checksum.lower():
            raise ChecksumError("the service stored other bytes than were sent", self._path)


class Chunks:
    """A chunked upload of the service: where it stands, and how to find out when that is unsure."""

    def __init__(self, api: CollectionsClient, location: Location) -> None:
        self._api = api
        self._path = location.path
        self._name = location.name
        self._url = CHUNKED_ROUTE
        self.identifier: int | str | None = None

    async def reopen(self, saved: _SavedChunks, size: int) -> int | None:
        """Find an upload of an earlier process again; give its offset, None where it is lost."""
        try:
            state = await self._api.chunk_state(saved.id, self._path)
        except HOPELESS:
            return None
        offset = size if state.completed_at and state.offset is None else state.offset
        if offset is None or not saved.offset <= offset <= size:
            return None
        self.identifier = saved.id
        self._url = f"{CHUNKED_ROUTE}{saved.id}/"
        return offset

    async def send(self, part: bytes | memoryview, first: int, total: int) -> None:
        """Send one chunk, and whatever of it is still missing after a fault."""
        end = first + len(part)
        offset = first

        async def put() -> int:
            return await self._put(part[offset - first :], offset, total)

        async def fetch_offset() -> int | None:
            nonlocal offset
            if self.identifier is None:
                return None
            state = await self._api.chunk_state(self.identifier, self._path)
            offset = self._within(state.offset, first, end)
            return offset if offset == end else None

        for _ in range(RESYNC_ATTEMPTS):
            offset = self._within(await self._api.once(put, fetch_offset), first, end)
            if offset == end:
                return
        raise IntegrityError(f"the service stands at byte {offset}, not {end}", self._path)

    async def _put(self, rest: bytes | memoryview, offset: int, total: int) -> int:
        """Send what is left of a chunk; give the byte that the service stands at then."""
        try:
            state = await self._api.put_chunk(
                self._url, rest, self._name, offset, total, self._path
            )
        except InvalidRequestError as error:
            expected = _expected_offset(error)
            if expected in {None, offset}:
                raise
            return expected
        self.identifier = state.id
        self._url = state.url or f"{CHUNKED_ROUTE}{state.id}/"
        return state.offset if state.offset is not None else offset + len(rest)

    def _within(self, offset: int | None, first: int, end: int) -> int:
        """Refuse an offset from which this chunk cannot go on."""
        if offset is None or not first <= offset <= end:
            message = f"the service stands at byte {offset}, not between {first} and {end}"
            raise IntegrityError(message, self._path)
        return offset

    async def finish(self, md5: str) -> v1.DataFile:
        """Finalise with the MD5 of the whole and turn the upload into a data file."""
        state = await self._api.once(lambda: self._finalise(md5), self._finalised)
        chunks = v1.DataFileFromChunks(chunked_upload=state.id)
        file = await self._api.create_data_file(chunks, self._name, self._path)
        if len(file.checksum) == len(md5) and file.checksum.lower() != md5:
            raise ChecksumError("the service stored other bytes than were sent", self._path)
        return file

    async def _finalise(self, md5: str) -> v1.ChunkedUpload:
        try:
            return await self._api.finalise_chunks(self._url, md5, self._path)
        except InvalidRequestError:
            state = await self._finalised()
            if state is None:
                raise
            return state

    async def _finalised(self) -> v1.ChunkedUpload | None:
        """Look whether the upload is complete already."""
        if self.identifier is None:
            return None
        state = await self._api.chunk_state(self.identifier, self._path)
        return state if state.completed_at else None


def _expected_offset(error: SynapseError) -> int | None:
    try:
        return _REFUSAL.validate_json(error.body).expected_offset
    except ValidationError:
        return None
