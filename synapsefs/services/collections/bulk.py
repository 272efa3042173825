"""Many files together: content that the service has is not sent, the rest straight to the storage.

Files are read once for both checksums, a parcel in one visit to a thread. Small ones are kept until
they have gone. URLs are signed, and files confirmed, two hundred at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from synapsefs import concurrency, integrity, sync
from synapsefs.errors import IntegrityError, SynapseError
from synapsefs.http import Transport
from synapsefs.local.files import SMALL, look, open_binary, require_unchanged
from synapsefs.location import Location
from synapsefs.services.base import NewFile, Report, Staged
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import Origin
from synapsefs.services.collections.presigned import (
    MIN_PARTS,
    PresignedUploader,
    SignedParts,
    content_type,
    put_part,
    registered,
    to_presign,
)
from synapsefs.services.wireio import slice_of
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
Arrived = tuple[NewFile, str, Origin]

MD5, SHA1 = "md5", "sha1"
MAX_GROUP_FILES, MAX_GROUP_BYTES = constants.CHECKSUM_BATCH, 2**30
"""What is hashed before the service is asked which of it is there."""

MAX_KEPT = 2**26
"""Bytes of a group's small files that are kept in memory until they have gone."""

MAX_BATCH_FILES, MAX_BATCH_BYTES = constants.PRESIGN_BATCH, 2**28
"""What is signed and confirmed in one request: a thousand files are allowed, but URLs expire."""

GROUPS_AT_A_TIME = BATCHES_AT_A_TIME = READERS = 2
PARCEL, PARCEL_FILES = 2**23, 64
"""Bytes and files that one visit to a thread reads."""

SMALL_PER_LARGE = 4
"""How many small files are in flight for each large one: they wait for the distance only."""


@dataclass(slots=True)
class _Item:
    """A file, and what its only reading tells.

    Attributes
    ----------
    wanted
        Names of the checksums that are needed.
    keep
        Whether the content is kept until it has gone.
    sums
        The checksums; None where the file is not what was announced, which others will tell.
    """

    file: NewFile
    wanted: Sequence[str]
    keep: bool = False
    data: bytes | None = None
    status: os.stat_result | None = None
    sums: Mapping[str, str] | None = None

    @property
    def source(self) -> str:
        return str(self.file.source)

    @property
    def path(self) -> str:
        return self.file.location.path

    @property
    def md5(self) -> str:
        return (self.sums or {}).get(MD5, "")

    @property
    def sha1(self) -> str:
        return (self.sums or {}).get(SHA1, "")

    def read(self, check: Callable[[], None]) -> None:
        """Take the checksums, and the content where it is kept; it blocks."""
        check()
        digests = _Digests(self.wanted, check)
        try:
            self.status, self.data = look(self.source)
            if self.status.st_size == self.file.size:
                if self.data is not None:
                    digests.update(self.data)
                else:
                    with open(self.source, "rb") as opened:
                        integrity.hash_range(opened, digests, 0, self.file.size)
                self.sums = {digest.name: digest.hexdigest() for digest in digests.each}
        except (OSError, SynapseError) as error:
            logger.info("%s: %s", self.path, error)
        if not self.keep:
            self.data = None


class _Digests:
    """Several digests of one reading, which stops when nobody waits for it any more."""

    def __init__(self, names: Sequence[str], check: Callable[[], None]) -> None:
        self.each = [hashlib.new(name, usedforsecurity=False) for name in names]
        self._check = check

    def update(self, data: bytes) -> None:
        self._check()
        for digest in self.each:
            digest.update(data)


class BulkUploader:
    """Sends many files with few requests."""

    def __init__(
        self, api: CollectionsClient, transport: Transport, presigned: PresignedUploader
    ) -> None:
        self._api = api
        self._transport = transport
        self._presigned = presigned

    async def upload(
        self, files: Sequence[NewFile], report: Report, *, deferred: bool
    ) -> list[Arrived]:
        """Bring files to the service, as far as that goes together.

        Parameters
        ----------
        deferred
            Whether content that is there is sent all the same, since it is bound only later.

        Returns
        -------
        list
            Files that are there, each with the checksum by which it can be bound, and how it came
            there; the others are to be sent one by one.
        """
        options = self._transport.options
        upload = _BulkUpload(self._api, self._transport, self._presigned, report, deferred=deferred)
        if len(files) > options.max_concurrency:
            upload.offered = asyncio.ensure_future(
                self._presigned.is_offered(files[0].location.path)
            )
        groups = concurrency.batched(
            files, lambda file: file.size, most=MAX_GROUP_BYTES, count=MAX_GROUP_FILES
        )
        try:
            await concurrency.gather(map(upload.send, groups), GROUPS_AT_A_TIME)
        finally:
            if upload.offered is not None:
                upload.offered.cancel()
                await asyncio.gather(upload.offered, return_exceptions=True)
        return upload.arrived

    async def missing(self, staged: Sequence[Staged], error: SynapseError) -> list[Location]:
        """Say which files, bound by their checksums, were refused since their content is gone."""
        path = staged[0].location.path
        by_md5 = [item for item in staged if item.handle.origin == "known"]
        known = await existing(self._api, {item.handle.checksum for item in by_md5}, path)
        gone = [item for item in by_md5 if item.handle.checksum not in known]
        if not gone and "checksum" in str(error).lower():
            gone = list(staged)
        return [item.location for item in gone]


async def existing(api: CollectionsClient, md5s: set[str], path: str) -> set[str]:
    """Ask which content the service has; where it does not tell, none."""
    wanted, known = sorted(md5s), set[str]()
    try:
        for start in range(0, len(wanted), constants.CHECKSUM_BATCH):
            batch = wanted[start : start + constants.CHECKSUM_BATCH]
            known.update(await api.existing_checksums(batch, path))
    except SynapseError as error:
        logger.info("%s: the service does not tell what it has: %s", path, error)
    return known


class _BulkUpload:
    """One call's files; after a failure the batches that follow are not tried.

    Attributes
    ----------
    arrived
        The files that are there.
    offered
        Says whether the storage signs; None where the files are so few that they go one by one.
    """

    def __init__(
        self,
        api: CollectionsClient,
        transport: Transport,
        presigned: PresignedUploader,
        report: Report,
        *,
        deferred: bool,
    ) -> None:
        self._api = api
        self._transport = transport
        self._presigned = presigned
        self._report = report
        self._deferred = deferred
        self._failed = False
        large = transport.options.max_concurrency
        self._small = min(SMALL_PER_LARGE * large, transport.options.max_connections)
        self._large = asyncio.Semaphore(large)
        self._batches = asyncio.Semaphore(BATCHES_AT_A_TIME)
        self.arrived: list[Arrived] = []
        self.offered: asyncio.Future[bool] | None = None

    async def send(self, files: Sequence[NewFile]) -> None:
        """Send a group of files."""
        items = [item for file in files if (item := self._item(file)).wanted]
        async with concurrency.shared().buffered.hold(_choose_kept(items)):
            parcels = concurrency.batched(
                items, lambda item: item.file.size, most=PARCEL, count=PARCEL_FILES
            )
            work = (sync.stoppable(partial(_read, parcel)) for parcel in parcels)
            await concurrency.gather(work, READERS)
            left = [item for item in items if item.sums is not None]
            if left and not self._deferred:
                left = await self._bind_known(left)
            left = [item for item in left if SHA1 in item.wanted]
            if not left or self.offered is None or not await self.offered:
                return
            batches = concurrency.batched(
                left, lambda item: item.file.size, most=MAX_BATCH_BYTES, count=MAX_BATCH_FILES
            )
            width = max(1, self._small // min(len(batches), BATCHES_AT_A_TIME))
            batch_work = (self._send_batch(batch, width) for batch in batches)
            await concurrency.gather(batch_work, BATCHES_AT_A_TIME)

    def _item(self, file: NewFile) -> _Item:
        """Say what is needed of a file: what it may be known by, and what it is confirmed by."""
        goes = self.offered is not None and 0 < file.size <= self._transport.options.block_size
        return _Item(file, (() if self._deferred else (MD5,)) + ((SHA1,) if goes else ()))

    async def _bind_known(self, items: Sequence[_Item]) -> list[_Item]:
        """Take what the service has already; give the others."""
        known = await existing(self._api, {item.md5 for item in items}, items[0].path)
        for item in items:
            if item.md5 in known:
                self.arrived.append((item.file, item.md5, "known"))
                self._report(item.file.size, 1)
        return [item for item in items if item.md5 not in known]

    async def _send_batch(self, items: Sequence[_Item], at_a_time: int) -> None:
        """Send a batch, or nothing of it."""
        async with self._batches:
            if not self._failed:
                await self._try_batch(items, at_a_time)

    async def _try_batch(self, items: Sequence[_Item], at_a_time: int) -> None:
        arrived: list[tuple[_Item, v1.FileToConfirm]] = []
        path = items[0].path
        try:
            answer = await self._api.presign([to_presign(item.file) for item in items], path)

            async def send(item: _Item, target: v1.PresignedFile) -> None:
                arrived.append((item, await self._put(item, target)))
                self._report(item.file.size, 1)

            work = (send(*pair) for pair in zip(items, answer.files, strict=True))
            await concurrency.gather(work, at_a_time)
            results = await self._api.confirm([sent for _, sent in arrived], path)
        except SynapseError as error:
            logger.info("%s: not straight to the storage: %s", path, error)
            self._failed = True
            self._presigned.failed(error)
            self._report(-sum(item.file.size for item, _ in arrived), -len(arrived))
            return
        for item, sent in arrived:
            try:
                file = registered(sent, results[sent.file_key], item.path)
                self.arrived.append((item.file, file.checksum, "presigned"))
            except IntegrityError as error:
                logger.info("%s", error)
                self._report(-item.file.size, -1)

    async def _put(self, item: _Item, target: v1.PresignedFile) -> v1.FileToConfirm:
        """Send one file; give what the service wants to hear of it."""
        if item.data is not None and target.presigned_url is not None:
            kind = content_type(item.file.location.name)
            headers = {"Content-Type": kind} if kind else {}
            await self._transport.put_object(target.presigned_url, item.data, headers, item.path)
            item.data = None
            return v1.FileToConfirm.model_construct(
                file_key=target.file_key, checksum=item.sha1, size=item.file.size, multipart=None
            )
        parts = SignedParts.of(target, item.file.size, 0.0, item.path)
        async with self._large:
            etags = await self._put_parts(item, parts)
        return parts.to_confirm(item.sha1, item.file.size, etags)

    async def _put_parts(self, item: _Item, parts: SignedParts) -> dict[int, str]:
        """Send a file that is not in memory; give the ETags of its parts."""
        with await sync.in_thread(open_binary, item.source) as opened:

            async def send(number: int) -> str:
                start, length = parts.span(number, item.file.size)
                body = slice_of(opened.fileno(), start, length, item.path)
                return await put_part(self._transport, item.file, parts, number, body)

            etags = await concurrency.gather(map(send, parts.urls), MIN_PARTS)
        if item.status is not None:
            await asyncio.to_thread(require_unchanged, item.status, item.source)
        return dict(zip(parts.urls, etags, strict=True))


def _choose_kept(items: Sequence[_Item]) -> int:
    """Mark the small files that are kept; give their bytes."""
    kept = 0
    for item in items:
        size = item.file.size
        item.keep = SHA1 in item.wanted and size <= SMALL and kept + size <= MAX_KEPT
        kept += size if item.keep else 0
    return kept


def _read(items: Sequence[_Item], check: Callable[[], None]) -> None:
    for item in items:
        item.read(check)
