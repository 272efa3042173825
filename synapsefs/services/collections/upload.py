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
from collections.abc import Mapping
from typing import IO, Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from synapsefs import integrity
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
from synapsefs.services.base import NewFile, Source, Staged
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import StagedFile, UnitOptions
from synapsefs.services.collections.presigned import PresignedUploader
from synapsefs.services.collections.sending import CHUNKED_ROUTE
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
RESYNC_ATTEMPTS = 4
HOPELESS = (NotFoundError, ExpiredError, InvalidRequestError)
_REFUSAL = TypeAdapter(v1.OffsetRefused)


class _Earlier(BaseModel):
    """What an earlier process noted: the upload, and the MD5 of the bytes that had arrived."""

    id: int | Annotated[str, Field(pattern=r"^[\w-]+$")]
    offset: int = Field(gt=0)
    md5: str


def _earlier(noted: Mapping[str, Any]) -> _Earlier | None:
    try:
        return _Earlier.model_validate(noted) if noted else None
    except ValidationError:
        return None


class CollectionUpload:
    """One file on its way.

    Parameters
    ----------
    api
        The service.
    location
        Where the file will appear.
    part_size
        Bytes of each part but the last.
    size
        Bytes in all where known beforehand.
    exclusive
        Whether publishing may replace nothing.
    wish
        What its unit shall carry.
    presigned
        The way straight to the storage.
    """

    smallest_part = 1

    def __init__(
        self,
        api: CollectionsClient,
        location: Location,
        *,
        part_size: int,
        size: int | None,
        exclusive: bool,
        wish: UnitOptions | None = None,
        presigned: PresignedUploader | None = None,
    ) -> None:
        self.part_size = part_size
        self._api = api
        self._location = location
        self._exclusive = exclusive
        self._wish = wish
        self._presigned = presigned
        self._size = size
        self._sent = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file: v1.DataFile | None = None
        self._chunks: Chunks | None = None
        self._first: bytes | memoryview | None = None
        self._spool: IO[bytes] | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failure: SynapseError | None = None
        self._memory: UploadCheckpoint | None = None

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part; it is hashed and sent while the caller fills the one after it."""
        await self._landed()
        self._flight = asyncio.ensure_future(self._take(part, last=last))
        if last:
            await self._landed()

    async def adopt(self, source: Source) -> int:
        """Take a large file straight to the storage, or continue where its chunks stopped."""
        if source.size <= self.part_size or source.memory is None:
            return 0
        earlier = _earlier(source.memory.saved)
        if earlier is None and self._presigned is not None:
            file = NewFile(self._location, source.path, source.size)
            self._file = await self._presigned.upload(file, source.memory, source.progress)
            if self._file is not None:
                self._sent = source.size
                return self._sent
        self._memory = source.memory
        if earlier is None:
            return 0
        chunks = Chunks(self._api, self._location)
        offset = await chunks.reopen(earlier, source.size)
        if offset is None or not await asyncio.to_thread(self._agree, source.path, earlier, offset):
            logger.info("%s: starting over: the earlier upload is gone", self._location.path)
            return 0
        self._chunks, self._sent = chunks, offset
        source.progress(offset)
        return offset

    def _agree(self, path: str, earlier: _Earlier, offset: int) -> bool:
        """Hash what was sent before; False where the file begins with other bytes by now."""
        digest = hashlib.md5(usedforsecurity=False)
        with open(path, "rb") as file:
            integrity.hash_range(file, digest, 0, earlier.offset)
            if digest.hexdigest() != earlier.md5:
                return False
            integrity.hash_range(file, digest, earlier.offset, offset)
        self._md5 = digest
        return True

    async def finish(self) -> Staged:
        """Wait for the last part, compare checksums, and give the data file."""
        await self._landed()
        about = self._location.path
        if self._spool is not None:
            await self._send_spooled()
        if self._chunks is not None:
            self._file = await self._chunks.finish(self._md5.hexdigest())
        if self._file is None:
            raise IntegrityError("the file was finished without a last part", about)
        return Staged(
            self._location, self._sent, self._exclusive, StagedFile(self._file.checksum, self._wish)
        )

    async def abort(self) -> None:
        """Stop sending. The service has no route to end a chunked upload; it expires unseen."""
        if self._flight is not None and not self._flight.done():
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        if self._spool is not None:
            self._spool.close()
        self._first = self._flight = None

    async def pause(self) -> None:
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
        whole = last and self._sent == 0
        if len(part) <= integrity.INLINE:
            self._md5.update(part)
            await (self._send_whole(part) if whole else self._send_part(part, last=last))
        else:
            hashing = asyncio.ensure_future(asyncio.to_thread(self._md5.update, part))
            try:
                await (self._send_whole(part) if whole else self._send_part(part, last=last))
            finally:
                await hashing
        self._sent += len(part)
        if whole and self._file is not None:
            await _compare(self._file.checksum, self._md5.hexdigest(), part, self._location)
        if self._memory is not None and self._chunks is not None:
            await self._memory.note(
                id=self._chunks.identifier, offset=self._sent, md5=self._md5.hexdigest()
            )

    async def _send_whole(self, part: bytes | memoryview) -> None:
        name = self._location.name
        self._file = await self._api.upload_file(part, name, self._location.path)

    async def _send_part(self, part: bytes | memoryview, *, last: bool) -> None:
        if self._spool is not None:
            await asyncio.to_thread(self._spool.write, part)
            return
        if self._chunks is None:
            self._chunks = Chunks(self._api, self._location)
        total = self._size or self._sent + len(part)
        try:
            await self._chunks.send(part, self._sent, total)
        except InvalidRequestError:
            if self._size or self._first is None or self._sent != len(self._first):
                raise
            await self._spool_from_here(part)
        self._first = part if self._sent == 0 and not last and not self._size else None

    async def _spool_from_here(self, part: bytes | memoryview) -> None:
        logger.info("%s: the service wants the total first; spooling", self._location.path)
        self._spool = Spool()
        for piece in (self._first, part):
            await asyncio.to_thread(self._spool.write, piece or b"")
        self._chunks = self._first = None

    async def _send_spooled(self) -> None:
        spool, self._spool = self._spool, None
        assert spool is not None  # noqa: S101 - the caller looked
        self._chunks = Chunks(self._api, self._location)
        with spool:
            for first in range(0, self._sent, self.part_size):
                await asyncio.to_thread(spool.seek, first)
                part = await asyncio.to_thread(spool.read, self.part_size)
                await self._chunks.send(part, first, self._sent)


class Chunks:
    """A chunked upload of the service: where it stands, and how to find out when that is unsure."""

    def __init__(self, api: CollectionsClient, location: Location) -> None:
        self._api = api
        self._about = location.path
        self._name = location.name
        self._url = CHUNKED_ROUTE
        self.identifier: int | str | None = None

    async def reopen(self, earlier: _Earlier, size: int) -> int | None:
        """Find an upload of an earlier process again; give its offset, None where it is lost."""
        try:
            state = await self._api.chunk_state(earlier.id, self._about)
        except HOPELESS:
            return None
        offset = size if state.completed_at and state.offset is None else state.offset
        if offset is None or not earlier.offset <= offset <= size:
            return None
        self.identifier = earlier.id
        self._url = f"{CHUNKED_ROUTE}{earlier.id}/"
        return offset

    async def send(self, part: bytes | memoryview, first: int, total: int) -> None:
        """Send one chunk, and whatever of it is still missing after a fault."""
        end = first + len(part)
        offset = first

        async def put() -> int:
            return await self._put(part[offset - first :], offset, total)

        async def look() -> int | None:
            nonlocal offset
            if self.identifier is None:
                return None
            state = await self._api.chunk_state(self.identifier, self._about)
            offset = self._within(state.offset, first, end)
            return offset if offset == end else None

        for _ in range(RESYNC_ATTEMPTS):
            offset = self._within(await self._api.once(put, look), first, end)
            if offset == end:
                return
        raise IntegrityError(f"the service stands at byte {offset}, not {end}", self._about)

    async def _put(self, rest: bytes | memoryview, offset: int, total: int) -> int:
        """Send what is left of a chunk; give the byte that the service stands at then."""
        try:
            state = await self._api.put_chunk(
                self._url, rest, self._name, offset, total, self._about
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
            words = f"the service stands at byte {offset}, not between {first} and {end}"
            raise IntegrityError(words, self._about)
        return offset

    async def finish(self, md5: str) -> v1.DataFile:
        """Finalise with the MD5 of the whole and turn the upload into a data file."""
        state = await self._api.once(lambda: self._finalise(md5), self._finalised)
        file = await self._api.register_chunks(state.id, self._about)
        if len(file.checksum) == len(md5) and file.checksum.lower() != md5:
            raise ChecksumError("the service stored other bytes than were sent", self._about)
        return file

    async def _finalise(self, md5: str) -> v1.ChunkedUpload:
        try:
            return await self._api.finalise_chunks(self._url, md5, self._about)
        except InvalidRequestError:
            state = await self._finalised()
            if state is None:
                raise
            return state

    async def _finalised(self) -> v1.ChunkedUpload | None:
        """Look whether the upload is complete already."""
        if self.identifier is None:
            return None
        state = await self._api.chunk_state(self.identifier, self._about)
        return state if state.completed_at else None


def _expected_offset(error: SynapseError) -> int | None:
    try:
        return _REFUSAL.validate_json(error.body).expected_offset
    except ValidationError:
        return None


async def _compare(
    checksum: str, md5: str, content: bytes | memoryview, location: Location
) -> None:
    """Compare what the service says it stored with what was sent."""
    algorithm = constants.CHECKSUM_ALGORITHMS.get(len(checksum))
    own = md5
    if algorithm in {"sha1", "sha256"}:
        own = (await asyncio.to_thread(hashlib.new, algorithm, content)).hexdigest()
    if algorithm and own != checksum.lower():
        raise ChecksumError("the service stored other bytes than were sent", location.path)
