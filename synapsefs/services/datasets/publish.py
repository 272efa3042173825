"""Making files of a dataset appear and change, decided on what the service says at that time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from synapsefs import concurrency
from synapsefs.concurrency import Locks
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    ChecksumError,
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.http import Transport
from synapsefs.integrity import PartDigests
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import NewFile, Staged
from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.cleanup import Sweeper, delete_quietly
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.folders import Folders, is_outdated
from synapsefs.services.datasets.index import DatasetIndex, creation_order
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.paths import TOP
from synapsefs.services.datasets.revising import (
    REUSABLE,
    MetadataChangedError,
    Revisions,
    text_entry,
)
from synapsefs.services.datasets.upload import DatasetUpload, StagedObject, StagedText
from synapsefs.services.paths import require_distinct
from synapsefs.wire.datasets import constants

logger = logging.getLogger("synapsefs")
ATTEMPTS = 5


@dataclass(slots=True, eq=False)
class _Publication:
    """A file that became visible as ``record``, a new entry in the directory ``parent`` or not."""

    dataset: Dataset
    staged: Staged
    parent: str | None
    record: StoredEntry
    new: bool


class EntryPublisher:
    """Publishes files, each new or as the next revision of what is there.

    What is there is listed once per call and dataset before anything is published, and once more
    after new entries were made: the service takes several of one name. ``start`` begins to send a
    file again; with ``new`` to an entry that replaces nothing.
    """

    def __init__(
        self,
        api: DatasetsClient,
        transport: Transport,
        folders: Folders,
        indexes: Indexes,
        start: Callable[..., DatasetUpload],
    ) -> None:
        self._api = api
        self._transport = transport
        self._folders = folders
        self._indexes = indexes
        self._start = start
        self._at_a_time = transport.options.max_concurrency
        self._revisions = Revisions(api, indexes)
        self._sweeper = Sweeper(api)
        self._writing: Locks[tuple[str, tuple[str, ...]]] = Locks()

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make files visible; of several for one path only the last.

        ``then`` is done when all has been checked, and before anything is published.

        Raises
        ------
        AlreadyExistsError
            When something is there that shall not be replaced.
        FolderError, NotAFolderError
            When a directory has the name, or a file is in the way; nothing was published then.
        ChangedError
            When what is there is not the version that a file shall replace.
        """
        since = time.monotonic()
        last = {item.location: item for item in staged}
        require_distinct(last, TOP)
        for location in [location for location, item in last.items() if item.exclusive]:
            _, index = await self._folders.index(location, since)
            if index.at(location.inner) is not None:
                raise AlreadyExistsError("there is a file already", location.path)
        datasets = await self._folders.check(last, since)
        if then is not None:
            await then()
        work = (
            self._publish(datasets[location.container][0], item, since)
            for location, item in last.items()
        )
        published = await concurrency.gather(work, self._at_a_time)
        for item in staged:
            if last[item.location] is not item and item.abandon is not None:
                await item.abandon()
        await self._settle(published)

    async def _publish(self, dataset: Dataset, staged: Staged, since: float) -> _Publication:
        """Make a file visible; once more, when its directory was made anew meanwhile."""
        above, path = staged.location.inner[:-1], staged.location.path
        async with self._writing.get((dataset.identifier, staged.location.inner)):
            parent = await self._folders.ensure(dataset, above, path, since=since)
            try:
                return await self._create_or_replace(dataset, staged, parent, since)
            except (NotFoundError, InvalidRequestError, ConflictError) as error:
                if not is_outdated(error) or not isinstance(staged.handle, StagedText):
                    raise
                since = time.monotonic()
                before = parent
                parent = await self._folders.ensure(dataset, above, path, since=since)
                if parent == before:
                    raise
            return await self._create_or_replace(dataset, staged, parent, since)

    async def _create_or_replace(
        self, dataset: Dataset, staged: Staged, parent: str | None, since: float
    ) -> _Publication:
        """Publish a new file, a revision, or a new entry in place of what has no revisions."""
        path = staged.location.path
        index = await self._indexes.get(dataset, newer_than=since)
        record = await self._replaced(index, staged)
        if record is None:
            made = await self._create(dataset, index, staged, parent)
            return self._note(_Publication(dataset, staged, parent, made, new=True))
        _, *others = _of_same_name(index, record)
        revised = await self._revise(dataset, record, staged)
        if revised is not None:
            await self._delete(others, path)
            tags = staged.handle.notes.tag_list()
            if tags is not None:
                response = await self._api.patch_entry(revised.identifier, {"tags": tags}, path)
                revised = from_response(response)
            return self._note(_Publication(dataset, staged, parent, revised, new=False))
        if staged.base is not None:
            await self._revisions.base(record, staged.base, path)
        staged.handle.notes = staged.handle.notes.over(record.said())
        made = await self._create(dataset, index, staged, parent)
        same = _of_same_name(index, record)
        await self._delete([one for one in same if one.identifier != made.identifier], path)
        return self._note(_Publication(dataset, staged, parent, made, new=True))

    async def _replaced(self, index: DatasetIndex, staged: Staged) -> StoredEntry | None:
        """Give the entry that a file replaces; None for a new file.

        Raises
        ------
        AlreadyExistsError, ChangedError, FolderError, UnsupportedError
            When there is something that it may not replace, or not what it is to replace.
        """
        path = staged.location.path
        entry = index.at(staged.location.inner)
        record: StoredEntry | None = None
        while record is None and isinstance(entry, StoredEntry):
            if staged.exclusive:
                raise AlreadyExistsError("there is a file already", path)
            try:
                record = await self._indexes.ensure_details(entry, path)
            except NotFoundError:
                self._indexes.removed([entry])
                entry = index.at(staged.location.inner)
        if record is None:
            if staged.base is not None:
                raise ChangedError("the file that was to be replaced is gone", path)
            return None
        if record.kind == "directory":
            raise FolderError("there is a directory already", path)
        if record.connection is not None:
            rule = "nothing is written to a link or registered source: remove the entry first"
            raise UnsupportedError(rule, path)
        return record

    async def _revise(
        self, dataset: Dataset, record: StoredEntry, staged: Staged
    ) -> StoredEntry | None:
        """Publish a revision; None where a new entry has to take the place of the old one."""
        path = staged.location.path
        if staged.handle.notes.archive and not record.entry.is_collection:
            return None
        for attempt in range(ATTEMPTS):
            try:
                return from_response(await self._revisions.publish(dataset, record, staged))
            except MetadataChangedError:
                if staged.base is not None or attempt == ATTEMPTS - 1:
                    raise
                record = await self._indexes.fetch(record, path)
                await self._send_again(staged, new=False)
            except REUSABLE as error:
                if staged.base is not None:
                    raise
                logger.info("%s: no revision, so a new entry: %s", path, error)
                break
        return None

    def _note(self, publication: _Publication) -> _Publication:
        """Note what is visible now in the index."""
        record, staged = publication.record, publication.staged
        if _is_of(record, staged):
            digest = staged.handle.digest if isinstance(staged.handle, StagedObject) else None
            record = record.with_digest(staged.size, digest)
        record = publication.record = replace(record, dataset=publication.dataset.identifier)
        self._indexes.holding(record).put(record)
        return publication

    async def _create(
        self, dataset: Dataset, index: DatasetIndex, staged: Staged, parent: str | None
    ) -> StoredEntry:
        """Make a new entry appear: of text in one request, of an object by its activation."""
        path, handle = staged.location.path, staged.handle
        if isinstance(handle, StagedObject):
            if handle.purpose.source or handle.purpose.parent != parent:
                handle = await self._send_again(staged, new=True)
            identifier = handle.response.data_storage.id
            if handle.hidden:
                tags = handle.notes.tag_list() or []
                await self._api.patch_entry(identifier, {"tags": tags}, path)
                handle.hidden = False
            active = {"status": constants.Status.ACTIVE.value}
            return from_response(await self._api.patch_entry(identifier, active, path))
        entry = text_entry(dataset, staged, parent)
        before = index.at(staged.location.inner)
        same = _of_same_name(index, before) if isinstance(before, StoredEntry) else ()
        known = {one.identifier for one in same}

        async def create() -> StoredEntry:
            return from_response(await self._api.create_entry(entry, path, replay=False))

        async def look() -> StoredEntry | None:
            """Look whether the entry exists although the answer to its creation was lost."""
            found = (await self._indexes.latest(dataset)).at(staged.location.inner)
            if not isinstance(found, StoredEntry) or found.identifier in known:
                return None
            fresh = await self._indexes.fetch(found, path)
            return fresh if fresh.text == handle.text else None

        return await self._api.once(create, look)

    async def _send_again(self, staged: Staged, *, new: bool) -> StagedObject:
        """Send an object again, from the entry where it is to one that serves.

        An entry's name, directory and metadata cannot be changed.
        """
        path, old = staged.location.path, staged.handle
        identifier = old.response.data_storage.id
        await self._revisions.hide(old, path)
        await self._api.patch_entry(identifier, {"status": constants.Status.ACTIVE.value}, path)
        url = from_response(await self._api.entry(identifier, path)).url

        async def locate(renew: bool) -> str:
            fresh = from_response(await self._api.entry(identifier, path)).url if renew else url
            if not fresh:
                raise InvalidRequestError("the service gives no URL of what was sent", path)
            return fresh

        file = NewFile(staged.location, memoryview(b""), staged.size)
        upload = self._start(file, old.notes, new=new)
        remote = RemoteObject(self._transport, path, old.revision, staged.size, None, locate)
        if isinstance(old.digest, PartDigests):
            remote.parts, upload.part_size = old.digest, old.digest.part_size
        else:
            remote.checksum = old.digest
        try:
            async with (
                concurrency.shared().buffered.hold(min(3 * upload.part_size, staged.size)),
                contextlib.aclosing(remote.cut(upload.part_size)) as parts,
            ):
                async for part, last in parts:
                    await upload.write(part, last=last)
                again = await upload.finish()
            handle = _same_object(again, old.digest)
        except BaseException:
            await upload.abort()
            raise
        await delete_quietly(self._api, identifier, path)
        staged.handle, staged.abandon = handle, again.abandon
        return handle

    async def _delete(self, records: Iterable[StoredEntry], path: str) -> None:
        doomed = {record.identifier: record for record in records}
        for identifier in doomed:
            with contextlib.suppress(NotFoundError):
                await self._api.delete_entry(identifier, path)
        self._indexes.removed(doomed.values())

    async def _settle(self, published: Sequence[_Publication]) -> None:
        """Look once more where new entries were made, and clear away what is left of others."""
        since = time.monotonic()
        by_dataset: dict[str, list[_Publication]] = {}
        for item in published:
            by_dataset.setdefault(item.dataset.identifier, []).append(item)
        for items in by_dataset.values():
            new = [item for item in items if item.new]
            if new:
                await self._keep_one_each(new, since)
            index = self._indexes.holding(items[0].record)
            await self._sweeper.sweep(index, items[0].staged.location.path)

    async def _keep_one_each(self, items: Sequence[_Publication], since: float) -> None:
        """Let one entry have each name, of those that were made at the same time.

        That is the one created last, which all of their writers find out alike. The files are
        there: that this cannot be looked after is no failure of theirs.
        """
        path = items[0].staged.location.path
        orphans = []
        try:
            index = await self._indexes.get(items[0].dataset, newer_than=since)
            for item in items:
                record = index.records.get(item.record.identifier)
                if record is None:
                    continue
                if item.parent is not None and item.parent not in index.records:
                    orphans.append(item)
                elif same := index.namesakes(record):
                    newest = max([record, *same], key=creation_order)
                    await self._delete([one for one in (record, *same) if one is not newest], path)
        except SynapseError as error:
            logger.warning("%s: others of its name may be left beside it: %s", path, error)
            return
        for item in orphans:
            await self._move_into_directory(index, item)

    async def _move_into_directory(self, index: DatasetIndex, item: _Publication) -> None:
        """Make a file again in its directory, which was removed while the file appeared."""
        location, old = item.staged.location, item.record
        item.parent = await self._folders.ensure(item.dataset, location.inner[:-1], location.path)
        item.record = await self._create(item.dataset, index, item.staged, item.parent)
        await self._delete([old], location.path)
        self._note(item)


def _of_same_name(index: DatasetIndex, record: StoredEntry) -> list[StoredEntry]:
    """Give an entry, its namesakes, and those that are shown as one with it."""
    return [record, *index.namesakes(record), *index.doubles(record)]


def _same_object(staged: Staged, digest: str | PartDigests) -> StagedObject:
    handle = staged.handle
    if not isinstance(handle, StagedObject) or handle.digest != digest:
        raise ChecksumError("the service does not hold what was sent", staged.location.path)
    return handle


def _is_of(made: StoredEntry, staged: Staged) -> bool:
    """Say whether an answer describes what was published, and not what somebody made of it since.

    An answer that was lost and asked for again may describe a later revision.
    """
    if made.number in {None, 0}:
        return True
    if isinstance(staged.handle, StagedObject):
        return bool(made.revision == staged.handle.revision)
    return made.text is None or made.text == staged.handle.text
