"""Making files of a dataset appear and change, decided on what the service says at that time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

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
from synapsefs.location import Location
from synapsefs.remote_object import Content, Parts, fetch
from synapsefs.services.base import Staged
from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.cleanup import Sweeper, delete_quietly
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.folders import Folders, is_outdated
from synapsefs.services.datasets.index import DatasetIndex, creation_order
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import EntryAttributes
from synapsefs.services.datasets.paths import require_distinct
from synapsefs.services.datasets.revising import REUSABLE, MetadataChangedError, Revisions
from synapsefs.services.datasets.revising import text_entry as new_text
from synapsefs.services.datasets.upload import DatasetUpload, StagedObject, StagedText
from synapsefs.transport import Transport
from synapsefs.wire.datasets import constants

logger = logging.getLogger("synapsefs")
ATTEMPTS = 5


class StartUpload(Protocol):
    """Begins to send a file."""

    def __call__(self, location: Location, notes: EntryAttributes, *, new: bool) -> DatasetUpload:
        """Give an upload to an entry; with ``new`` to one that replaces nothing."""


@dataclass(slots=True, eq=False)
class _Published:
    """A file that has become visible.

    Attributes
    ----------
    dataset, record, staged
        Where, as what, and what was sent.
    parent
        Id of the directory that it was put into.
    new
        Whether it is an entry of its own rather than a revision.
    """

    dataset: Dataset
    record: StoredEntry
    staged: Staged
    parent: str | None
    new: bool


class EntryPublisher:
    """Publishes files, each new or as the next revision of what is there.

    What is there is listed once per call and dataset before anything is published, and once more
    after new entries were made: the service takes several of one name.

    Parameters
    ----------
    api, transport
        The service and the storage.
    folders, indexes
        What is there.
    start
        Begins to send a file again.
    """

    def __init__(
        self,
        api: DatasetsClient,
        transport: Transport,
        folders: Folders,
        indexes: Indexes,
        start: StartUpload,
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

        Parameters
        ----------
        staged
            The files.
        then
            Is done when all has been checked, and before anything is published.

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
        require_distinct(last)
        datasets = await self._checked(list(last.values()), since)
        if then is not None:
            await then()
        work = (
            self._publish(datasets[location.container], item, since)
            for location, item in last.items()
        )
        published = await concurrency.gather(work, self._at_a_time)
        for item in staged:
            if last[item.location] is not item and item.abandon is not None:
                await item.abandon()
        await self._settle(published)

    async def _checked(self, staged: Sequence[Staged], since: float) -> dict[str, Dataset]:
        """Check all places against what is there; give the datasets by their segment."""
        found: dict[str, Dataset] = {}
        for item in staged:
            location = item.location
            dataset, index = await self._folders.index(location, since)
            found[location.container] = dataset
            if item.exclusive and index.at(location.inner) is not None:
                raise AlreadyExistsError("there is a file already", location.path)
            await self._folders.require_free(index, location)
        return found

    async def _publish(self, dataset: Dataset, staged: Staged, since: float) -> _Published:
        location = staged.location
        above, about = location.inner[:-1], location.path
        async with self._writing.get((dataset.identifier, location.inner)):
            parent = await self._folders.ensure(dataset, above, about, since=since)
            try:
                return await self._make_visible(dataset, staged, parent, since)
            except (NotFoundError, InvalidRequestError, ConflictError) as error:
                if not is_outdated(error) or not isinstance(staged.handle, StagedText):
                    raise
                now = time.monotonic()
                again = await self._folders.ensure(dataset, above, about, since=now)
                if again == parent:
                    raise
                return await self._make_visible(dataset, staged, again, now)

    async def _make_visible(
        self, dataset: Dataset, staged: Staged, parent: str | None, since: float
    ) -> _Published:
        location = staged.location
        index = await self._indexes.get(dataset, newer_than=since)
        found = index.at(location.inner)
        while isinstance(found, StoredEntry):
            if staged.exclusive:
                raise AlreadyExistsError("there is a file already", location.path)
            try:
                record = await self._indexes.told(found, location.path)
            except NotFoundError:
                self._indexes.removed([found])
                found = index.at(location.inner)
            else:
                return await self._replace(dataset, index, record, staged, parent)
        if staged.base is not None:
            raise ChangedError("the file that was to be replaced is gone", location.path)
        made = await self._appear(dataset, index, staged, parent)
        return self._noted(_Published(dataset, made, staged, parent, new=True))

    def _noted(self, published: _Published) -> _Published:
        record, staged = published.record, published.staged
        if _is_of(record, staged):
            record.size, record.size_certain = staged.size, True
            if isinstance(staged.handle, StagedObject):
                record.md5 = staged.handle.md5
        record.dataset = published.dataset.identifier
        self._indexes.holding(record).put(record)
        return published

    async def _appear(
        self, dataset: Dataset, index: DatasetIndex, staged: Staged, parent: str | None
    ) -> StoredEntry:
        about = staged.location.path
        handle = staged.handle
        if isinstance(handle, StagedObject):
            if handle.purpose.source or handle.purpose.parent != parent:
                handle = await self._sent_again(staged, new=True)
            identifier = handle.response.data_storage.id
            if handle.hidden:
                tags = handle.notes.tag_list() or []
                await self._api.patch_entry(identifier, {"tags": tags}, about)
                handle.hidden = False
            active = {"status": constants.Status.ACTIVE.value}
            return from_response(await self._api.patch_entry(identifier, active, about))
        entry = new_text(dataset, staged, parent)
        known = set(index.records)

        async def create() -> StoredEntry:
            return from_response(await self._api.create_entry(entry, about, replay=False))

        async def look() -> StoredEntry | None:
            return await self._appeared_after_all(dataset, known, staged, handle.text)

        return await self._api.once(create, look)

    async def _appeared_after_all(
        self, dataset: Dataset, known: set[str], staged: Staged, text: str
    ) -> StoredEntry | None:
        """Look whether an entry exists although the answer to its creation was lost."""
        found = (await self._indexes.latest(dataset)).at(staged.location.inner)
        if not isinstance(found, StoredEntry) or found.identifier in known:
            return None
        fresh = await self._indexes.look(found, staged.location.path)
        return fresh if fresh.text == text else None

    async def _sent_again(self, staged: Staged, *, new: bool) -> StagedObject:
        """Send an object again, from the entry where it is to one that serves.

        An entry's name, directory and metadata cannot be changed.
        """
        about, old = staged.location.path, staged.handle
        identifier = old.response.data_storage.id
        await self._revisions.hide(old, about)
        await self._api.patch_entry(identifier, {"status": constants.Status.ACTIVE.value}, about)
        url = from_response(await self._api.entry(identifier, about)).url

        async def locate(renew: bool) -> str:
            fresh = from_response(await self._api.entry(identifier, about)).url if renew else url
            if not fresh:
                raise InvalidRequestError("the service gives no URL of what was sent", about)
            return fresh

        content = Content(about, old.revision, staged.size, old.md5, locate)
        upload = self._start(staged.location, old.notes, new=new)
        parts = Parts(upload.part_size, upload.write)
        try:
            held = min(2 * upload.part_size, staged.size)
            async with concurrency.shared().buffered.hold(held):
                await fetch(self._transport, content, 0, None, parts)
                await parts.end()
                again = await upload.finish()
            _require_same_bytes(again, staged)
        except BaseException:
            await upload.abort()
            raise
        await delete_quietly(self._api, identifier, about)
        staged.handle, staged.abandon = again.handle, again.abandon
        handle: StagedObject = again.handle
        return handle

    async def _replace(
        self,
        dataset: Dataset,
        index: DatasetIndex,
        record: StoredEntry,
        staged: Staged,
        parent: str | None,
    ) -> _Published:
        """Publish a revision; where the service has none, a new entry in the old one's place."""
        about = staged.location.path
        if record.kind == "directory":
            raise FolderError("there is a directory already", about)
        if record.connection is not None:
            rule = "nothing is written to a link or registered source: remove the entry first"
            raise UnsupportedError(rule, about)
        others = [*index.namesakes(record), *index.doubles(record)]
        take_place = partial(self._take_place, dataset, index, record, staged, parent)
        if staged.handle.notes.archive and not record.entry.is_collection:
            return await take_place()
        for attempt in range(ATTEMPTS):
            try:
                response = await self._revisions.publish(dataset, record, staged)
                break
            except MetadataChangedError:
                if staged.base is not None or attempt == ATTEMPTS - 1:
                    raise
                record = await self._indexes.look(record, about)
                await self._sent_again(staged, new=False)
            except REUSABLE as error:
                if staged.base is not None:
                    raise
                logger.info("%s: no revision, so a new entry: %s", about, error)
                return await take_place()
        await self._delete(others, about)
        tags = staged.handle.notes.tag_list()
        if tags is not None:
            response = await self._api.patch_entry(record.identifier, {"tags": tags}, about)
        made = from_response(response)
        return self._noted(_Published(dataset, made, staged, parent, new=False))

    async def _take_place(
        self,
        dataset: Dataset,
        index: DatasetIndex,
        record: StoredEntry,
        staged: Staged,
        parent: str | None,
    ) -> _Published:
        """Make a new entry where others are, saying the same; those are then deleted."""
        about = staged.location.path
        if staged.base is not None:
            await self._revisions.base(record, staged.base, about)
        staged.handle.notes = staged.handle.notes.over(record.said())
        made = await self._appear(dataset, index, staged, parent)
        others = [record, *index.namesakes(record), *index.doubles(record)]
        await self._delete([one for one in others if one.identifier != made.identifier], about)
        return self._noted(_Published(dataset, made, staged, parent, new=True))

    async def _delete(self, records: Iterable[StoredEntry], about: str) -> None:
        gone = {record.identifier: record for record in records}
        for identifier in gone:
            with contextlib.suppress(NotFoundError):
                await self._api.delete_entry(identifier, about)
        self._indexes.removed(gone.values())

    async def _settle(self, published: Sequence[_Published]) -> None:
        """Look once more where new entries were made, and clear away what is left of others."""
        since = time.monotonic()
        by_dataset: dict[str, list[_Published]] = {}
        for item in published:
            by_dataset.setdefault(item.dataset.identifier, []).append(item)
        for items in by_dataset.values():
            new = [item for item in items if item.new]
            if new:
                await self._fold(new, since)
            index = self._indexes.holding(items[0].record)
            await self._sweeper.sweep(index, items[0].staged.location.path)

    async def _fold(self, items: Sequence[_Published], since: float) -> None:
        """Let one entry have each name, of those that were made at the same time.

        That is the one created last, which all of their writers find out alike. The files are
        there: that this cannot be looked after is no failure of theirs.
        """
        about = items[0].staged.location.path
        try:
            index = await self._indexes.get(items[0].dataset, newer_than=since)
            lost = [item for item in items if _lost_its_folder(index, item)]
            work = (self._keep_newest(index, item) for item in items if item not in lost)
            await concurrency.gather(work, self._at_a_time)
        except SynapseError as error:
            logger.warning("%s: others of its name may be left beside it: %s", about, error)
            return
        await concurrency.gather(
            (self._move_into_folder(index, one) for one in lost), self._at_a_time
        )

    async def _keep_newest(self, index: DatasetIndex, item: _Published) -> None:
        record = index.records.get(item.record.identifier)
        if record is not None:
            same = [record, *index.namesakes(record)]
            newest = max(same, key=creation_order)
            others = [one for one in same if one is not newest]
            await self._delete(others, item.staged.location.path)

    async def _move_into_folder(self, index: DatasetIndex, item: _Published) -> None:
        """Make a file again in its directory, which was removed while the file appeared."""
        location, old = item.staged.location, item.record
        parent = await self._folders.ensure(item.dataset, location.inner[:-1], location.path)
        made = await self._appear(item.dataset, index, item.staged, parent)
        await self._delete([old], location.path)
        self._noted(replace(item, record=made, parent=parent))


def _is_of(made: StoredEntry, staged: Staged) -> bool:
    """Say whether an answer describes what was published, and not what somebody made of it since.

    An answer that was lost and asked for again may describe a later revision.
    """
    if made.number in {None, 0}:
        return True
    if isinstance(staged.handle, StagedObject):
        return bool(made.revision == staged.handle.revision)
    return made.text is None or made.text == staged.handle.text


def _lost_its_folder(index: DatasetIndex, item: _Published) -> bool:
    """Say whether the directory of a file was removed while the file appeared."""
    there = item.record.identifier in index.records
    return there and item.parent is not None and item.parent not in index.records


def _require_same_bytes(again: Staged, before: Staged) -> None:
    if not isinstance(again.handle, StagedObject) or again.handle.md5 != before.handle.md5:
        raise ChecksumError("the service does not hold what was sent", before.location.path)
