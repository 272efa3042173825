"""Which datasets there are. The service cannot say, so several sources are merged.

An embedded server lists them. Elsewhere names come from what the user configured, from what this
instance created, and from a small catalogue entry that this package leaves in each dataset it
creates and finds again by search. Search lags and is ranked, so that listing is best effort;
``@<id>`` always asks the service itself. A name that none of these knows may be that of a dataset
which another client of this user created: search finds entries, their datasets tell their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from synapsefs import concurrency
from synapsefs.concurrency import Locks
from synapsefs.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
)
from synapsefs.location import Location, Root, escape, id_of, unescape, with_id
from synapsefs.services.base import Entry, aware
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.metadata import HIDDEN_TAG
from synapsefs.services.shared import NEVER, CatalogAge, SharedChanges
from synapsefs.wire.datasets import answers, constants, requests

logger = logging.getLogger("synapsefs")
ROOT = Location((Root.DATASETS.value,))
CATALOGUE_NAME = ".synapsefs-catalogue"
CATALOGUE_LIMIT = 1000
AT_A_TIME = 8
SEARCH_PAGES = 5
"""Pages of entries whose datasets are asked for their names."""
SEARCH_LAG = (0.4, 0.8, 1.2)
"""Seconds to wait between searches before a name counts as absent."""


@dataclass(slots=True, eq=False)
class Dataset:
    """A dataset: its id, name, and segment in paths."""

    identifier: str
    name: str
    segment: str
    description: str = ""
    created: datetime | None = None

    @property
    def location(self) -> Location:
        """Its canonical place."""
        return ROOT.child(self.segment)

    def entry(self) -> Entry:
        """Describe the dataset as a directory."""
        details = {"id": self.identifier, "description": self.description}
        return Entry(
            self.location,
            "directory",
            0,
            created=self.created,
            record=self,
            details=details,
            identity=("dataset", self.identifier),
            is_container=True,
        )


class DatasetCatalog:
    """Finds datasets by name or ``@id``.

    Parameters
    ----------
    api
        The service.
    named
        Ids by name, as the user configured them.
    expiry, chosen_expiry
        Seconds for which a listing is believed, and whether the caller chose them; a name that it
        lacks is asked for at once.
    changes
        What other instances of this process changed.
    """

    def __init__(
        self,
        api: DatasetsClient,
        named: Mapping[str, str],
        expiry: float,
        *,
        chosen_expiry: bool,
        changes: SharedChanges,
    ) -> None:
        self._api = api
        self._changes = changes
        self._age = CatalogAge(expiry, changes, chosen_expiry=chosen_expiry)
        self._ages = partial(CatalogAge, expiry, changes, chosen_expiry=chosen_expiry)
        self._named = frozenset(named.values())
        self._own = {
            identifier: Dataset(identifier, name, _segment(name))
            for name, identifier in named.items()
        }
        self._by_segment: dict[str, Dataset] = {}
        self._by_id: dict[str, Dataset] = {}
        self._seen: dict[str, Dataset] = {}
        self._age_of_name: dict[str, CatalogAge] = {}
        self._made_at: dict[str, float] = {}
        self._locks: Locks[str] = Locks()
        self._arrange({})

    async def all(self, *, refresh: bool = False) -> list[Dataset]:
        """List the datasets that are known."""
        if refresh or self._age.is_expired():
            await self._read(None)
        return list(self._by_segment.values())

    async def find(
        self, location: Location, *, refresh: bool = False, patient: bool = True
    ) -> Dataset:
        """Find the dataset that a path lies in.

        Parameters
        ----------
        patient
            Search again for a while before a name counts as absent.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        segment = location.container
        identifier = id_of(segment, Root.DATASETS)
        found, within = self.known(segment), bool(location.inner)
        if found is not None and not refresh and self._is_current(found, within=within):
            return found
        if identifier is not None:
            known_inside = found if within and not refresh else None
            return known_inside or await self._by_identifier(identifier, location)
        waits = (0.0, *(SEARCH_LAG if patient else ()))
        for number, wait in enumerate(waits):
            await asyncio.sleep(wait)
            await self._read(unescape(segment), others=number in {0, len(waits) - 1})
            found = self.known(segment)
            if found is not None or await self._api.announced():
                break
        if found is None:
            raise NotFoundError(f"there is no dataset {unescape(segment)!r}", location.path)
        return found

    async def create(self, location: Location, options: Mapping[str, Any]) -> Dataset:
        """Create a dataset; ``id`` and ``description`` may be given.

        Raises
        ------
        InvalidRequestError
            When the id is no UUID; nothing was sent.
        """
        name = unescape(location.container)
        try:
            identifier = str(uuid.UUID(str(options.get("id") or uuid.uuid4())))
        except ValueError:
            raise InvalidRequestError("the id of a dataset is a UUID", location.path) from None
        description = options.get("description")
        made = await self._create(name, description, identifier, location.path)
        record = Dataset(made.id, made.name, _segment(made.name), made.description or "")
        if not await self._api.announced():
            await self._leave_catalogue(record, location.path)
        self._own[record.identifier] = record
        self._made_at[record.identifier] = now = time.monotonic()
        self._age_of_name.setdefault(record.name, self._ages()).read(now)
        self._changes.created(record.identifier)
        self._arrange({**self._by_id, record.identifier: record})
        return self._by_id[record.identifier]

    async def _create(
        self, name: str, description: str | None, identifier: str, about: str
    ) -> answers.Dataset | answers.DatasetCreated:
        async def create() -> answers.Dataset | answers.DatasetCreated:
            return await self._api.create_dataset(name, description, identifier, about)

        async def look() -> answers.Dataset | answers.DatasetCreated | None:
            try:
                return (await self._api.dataset(identifier, about)).dataset
            except NotFoundError:
                return None

        return await self._api.once(create, look)

    async def delete(self, record: Dataset) -> None:
        """Delete a dataset with all its entries."""
        try:
            await self._api.delete_dataset(record.identifier, record.location.path)
        finally:
            self._changes.deleted(record.identifier)
        self._own.pop(record.identifier, None)
        self._seen.pop(record.identifier, None)
        left = {i: known for i, known in self._by_id.items() if i != record.identifier}
        self._arrange(left)

    async def replaced(self, record: Dataset, location: Location) -> bool:
        """Look whether another dataset has the name by now, after the service denied this one.

        Raises
        ------
        NotFoundError
            When none has.
        """
        self.doubt(record)
        return (await self.find(location, refresh=True)).identifier != record.identifier

    def doubt(self, record: Dataset) -> None:
        """Believe no longer that a dataset is there, unless the user named it."""
        self._seen.pop(record.identifier, None)
        if record.identifier not in self._named:
            self._own.pop(record.identifier, None)
        self.forget()

    def forget(self) -> None:
        """Believe nothing that was read before."""
        self._age.forget()
        self._age_of_name.clear()

    @property
    def as_of(self) -> float:
        """The moment (monotonic seconds) at which the datasets were last listed."""
        return self._age.as_of

    async def _leave_catalogue(self, record: Dataset, about: str) -> None:
        note = json.dumps({"id": record.identifier, "name": record.name})
        entry = requests.EntryCreate(
            name=CATALOGUE_NAME,
            content=note,
            description=f"Dataset {record.name}",
            dataset_id=record.identifier,
            tags=[HIDDEN_TAG],
        )
        await self._api.create_entry(entry, about, replay=True)

    def known(self, segment: str) -> Dataset | None:
        """Give a dataset by its segment in paths, without asking for it."""
        identifier = id_of(segment, Root.DATASETS)
        if identifier is not None:
            return self._by_id.get(identifier)
        return self._by_segment.get(segment) or self._by_segment.get(_segment(unescape(segment)))

    def _is_current(self, record: Dataset, *, within: bool) -> bool:
        """Say whether a dataset need not be asked for anew.

        One that the user named is not asked for, and one that was made here not for what it holds:
        what it holds tells whether it is there.
        """
        if record.identifier in self._named:
            return True
        if self._changes.is_deleted(record.identifier):
            self._own.pop(record.identifier, None)
            return False
        ages = [self._age, self._age_of_name.get(record.name, self._age)]
        if any(not age.is_expired(within=within) for age in ages):
            return True
        if not within or record.identifier not in self._own:
            return False
        made_at = self._made_at.get(record.identifier, NEVER)
        return self._changes.is_newest(max(made_at, *(age.as_of for age in ages)))

    async def _by_identifier(self, identifier: str, location: Location) -> Dataset:
        found = (await self._api.dataset(identifier, location.path)).dataset
        record = _record(found)
        record.segment = f"@{identifier}"
        self._by_id[identifier] = record
        self._age_of_name.setdefault(record.name, self._ages()).read(time.monotonic())
        return record

    async def _read(self, name: str | None, *, others: bool = False) -> None:
        """Read which datasets there are.

        Parameters
        ----------
        name
            Of this name, where the service can tell; None for all.
        others
            Search for one of this name that another client created, where none is known.
        """
        async with self._locks.get("read"):
            began = time.monotonic()
            if await self._api.announced():
                found = {item.id: _record(item) for item in await self._api.listing(name)}
                gone = [identifier for identifier in self._own if identifier not in found]
            else:
                found = await self._catalogued()
                known = {record.name for record in (*found.values(), *self._own.values())}
                if others and name is not None and name not in known:
                    found |= await self._of_other_clients(name)
                gone = await self._gone(name)
                name = None
            self._drop({i for i in gone if self._made_at.get(i, NEVER) < began}, name)
            age = self._age if name is None else self._age_of_name.setdefault(name, self._ages())
            age.read(began)
            self._arrange(found if name is None else {**self._without(name), **found})

    def _drop(self, gone: set[str], name: str | None) -> None:
        """Forget what was made here, has this name and is gone."""
        for identifier in gone - self._named:
            if name in {None, self._own[identifier].name}:
                del self._own[identifier]

    async def _gone(self, name: str | None) -> list[str]:
        """Ask for the datasets of a name that were made here: search does not tell of all."""
        own = [r for i, r in self._own.items() if r.name == name and i not in self._named]
        gone = []
        for record in own:
            try:
                await self._api.dataset(record.identifier, record.location.path)
            except NotFoundError:
                gone.append(record.identifier)
        return gone

    def _without(self, name: str) -> dict[str, Dataset]:
        return {i: known for i, known in self._by_id.items() if known.name != name}

    async def _catalogued(self) -> dict[str, Dataset]:
        """Read the catalogue entries that search finds; none where search is out of order."""
        criterion = requests.Criterion(
            field="tags", operator=constants.Operator.IN, value=[HIDDEN_TAG]
        )
        query = requests.SearchRequest(criteria=[criterion], limit=CATALOGUE_LIMIT)
        try:
            hits = await self._api.search(query)
        except SynapseError as error:
            if error.status in {401, 403}:
                raise
            return {}
        found: dict[str, Dataset] = {}
        for hit in hits:
            record = _catalogue_record(hit)
            if record is not None:
                found[record.identifier] = record
        return found

    async def _of_other_clients(self, name: str) -> dict[str, Dataset]:
        """Find datasets of exactly this name by what search finds in them.

        Only those in which this user has entries: other users' public ones never take a name.
        """
        hits: list[answers.SearchHit] = []
        for page in range(SEARCH_PAGES):
            query = requests.SearchRequest(limit=CATALOGUE_LIMIT, offset=page * CATALOGUE_LIMIT)
            try:
                hits += await self._api.search(query)
            except SynapseError as error:
                logger.info("datasets: search failed: %s", error)
                break
            if len(hits) < (page + 1) * CATALOGUE_LIMIT:
                break
        own = {hit.user_id for hit in hits if hit.share_status == constants.ShareStatus.PRIVATE}
        ids = {hit.dataset_id for hit in hits if hit.dataset_id and hit.user_id in own}
        new = [identifier for identifier in ids if identifier not in self._seen]
        await concurrency.gather(map(self._see, new), AT_A_TIME)
        return {i: self._seen[i] for i in ids if i in self._seen and self._seen[i].name == name}

    async def _see(self, identifier: str) -> None:
        """Learn the name of a dataset, which never changes."""
        with contextlib.suppress(NotFoundError, AccessDeniedError):
            answer = await self._api.dataset(identifier, "datasets")
            self._seen[identifier] = _record(answer.dataset)

    def _arrange(self, found: Mapping[str, Dataset]) -> None:
        self._by_id = {**found, **self._own}
        self._by_segment = {}
        for record in sorted(self._by_id.values(), key=_newest_first):
            record.segment = _segment(record.name) or f"@{escape(record.identifier)}"
            while record.segment in self._by_segment:
                record.segment = with_id(record.segment, record.identifier)
            self._by_segment[record.segment] = record


def _segment(name: str) -> str:
    return escape(name, Root.DATASETS)


def _newest_first(record: Dataset) -> tuple[float, str]:
    moment = record.created.timestamp() if record.created else float("inf")
    return (-moment, record.identifier)


def _record(item: answers.Dataset) -> Dataset:
    return Dataset(
        item.id, item.name, _segment(item.name), item.description or "", aware(item.created_at)
    )


def _catalogue_record(hit: answers.SearchHit) -> Dataset | None:
    if hit.name != CATALOGUE_NAME or HIDDEN_TAG not in (hit.tags or ()):
        return None
    try:
        note = json.loads(hit.content or "null")
    except ValueError:
        note = None
    name = note.get("name") if isinstance(note, dict) else None
    if not isinstance(name, str):
        name = (hit.description or "").removeprefix("Dataset ")
    if not hit.dataset_id or not name:
        return None
    return Dataset(hit.dataset_id, name, _segment(name), created=aware(hit.created_at))
