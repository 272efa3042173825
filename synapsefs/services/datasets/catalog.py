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
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar

from synapsefs import concurrency
from synapsefs.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
)
from synapsefs.location import Location, Root, id_of, unescape
from synapsefs.services.base import aware
from synapsefs.services.catalog import Catalog, Container
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.metadata import HIDDEN_TAG
from synapsefs.services.shared import CATALOG, NEVER, Expiry
from synapsefs.wire.datasets import answers, constants, requests

logger = logging.getLogger("synapsefs")
ROOT = Location((Root.DATASETS.value,))
CATALOGUE_NAME = ".synapsefs-catalogue"
CATALOGUE_LIMIT = 1000
AT_A_TIME = 8
MAX_NAMES = 1000
"""Names of which it is remembered when they were asked for."""
SEARCH_PAGES = 5
"""Pages of entries whose datasets are asked for their names."""
SEARCH_LAG = (0.4, 0.8, 1.2)
"""Seconds to wait between searches before a name counts as absent."""


@dataclass(slots=True, eq=False)
class Dataset(Container[str]):
    """A dataset."""

    root: ClassVar[Root] = Root.DATASETS
    kind: ClassVar[str] = "dataset"

    description: str = ""

    @property
    def details(self) -> dict[str, Any]:
        """The further keys of ``info``."""
        return {"id": self.identifier, "description": self.description}


class DatasetCatalog(Catalog[str, Dataset]):
    """Finds datasets, and creates and deletes them.

    Parameters
    ----------
    named
        Ids by name, as the user configured them: these are always believed to be there.
    """

    record = Dataset

    def __init__(self, api: DatasetsClient, named: Mapping[str, str], expiry: Expiry) -> None:
        super().__init__(expiry)
        self._api = api
        self._named = frozenset(named.values())
        self._own = {i: Dataset(i, name) for name, i in named.items()}
        """Those that the user named, and those made here: search does not tell of all."""
        self._seen: dict[str, Dataset] = {}
        self._asked: dict[str, float] = {}
        """When names were asked for."""
        self._arrange(self._own.values())

    def _key(self, identifier: str) -> str:
        return identifier.lower()

    def _age_of(self, container: Dataset) -> tuple[float, str]:
        moment = container.created.timestamp() if container.created else float("inf")
        return (-moment, container.identifier)

    def _is_current(self, container: Dataset, location: Location, newer_than: float | None) -> bool:
        """Say whether a dataset need not be asked for anew.

        One that the user named is not asked for, nor one that was made here or is named by its id
        for what it holds: what it holds tells whether it is there.
        """
        if newer_than is None and container.identifier in self._named:
            return True
        if super()._is_current(container, location, newer_than):
            return True
        if newer_than is not None or not location.inner:
            return False
        if id_of(location.container, Root.DATASETS) is not None:
            return True
        own = container.identifier in self._own
        return own and self._changes.since(CATALOG) < container.as_of

    async def _fetch_all(self) -> Iterable[Dataset]:
        began = time.monotonic()
        if await self._api.announced():
            listed = {item.id: _record(item) for item in await self._api.listing(None)}
            self._drop(self._own.keys() - listed.keys(), began)
        else:
            listed = await self._catalogued()
        return {**listed, **self._own}.values()

    async def _fetch(self, identifier: str, path: str) -> Dataset:
        return _record((await self._api.dataset(identifier, path)).dataset)

    async def _find_by_name(
        self, location: Location, newer_than: float | None, *, patient: bool
    ) -> Dataset | None:
        name = unescape(location.container)
        waits = (0.0, *(SEARCH_LAG if patient else ()))
        for number, wait in enumerate(waits):
            await asyncio.sleep(wait)
            last_or_first = number in {0, len(waits) - 1}
            await self._ask(name, None if number else newer_than, others=last_or_first)
            dataset = self.known(location.container)
            if dataset is not None or await self._api.announced():
                return dataset
        return None

    async def _ask(self, name: str, newer_than: float | None, *, others: bool) -> None:
        """Ask which datasets have a name, unless that was done since this call or ``newer_than``.

        Parameters
        ----------
        others
            Search for one that another client created, where none is known.
        """
        called = time.monotonic() if newer_than is None else newer_than
        async with self._locks.get("list"):
            if self._asked.get(name, NEVER) >= called:
                return
            announced = await self._api.announced()
            with self._own_changes.reading() as began:
                if announced:
                    listed = {item.id: _record(item) for item in await self._api.listing(name)}
                    gone = {i for i, one in self._own.items() if one.name == name} - listed.keys()
                    rest = {i: one for i, one in self._by_id.items() if one.name != name}
                else:
                    listed, rest = await self._catalogued(), {}
                    known = {one.name for one in (*listed.values(), *self._own.values())}
                    if others and name not in known:
                        listed |= await self._of_other_clients(name)
                    gone = await self._gone(name)
            seconds = time.monotonic() - began
            if not announced:
                self.as_of, self._load_seconds = began, seconds
            self._drop(gone, began)
            records = {**rest, **listed, **self._own}
            self._replay(records, began)
            self._arrange(records.values())
            if len(self._asked) >= MAX_NAMES:
                self._asked.clear()
            self._asked[name] = began
            for dataset in self._by_id.values():
                if dataset.name == name or not announced:
                    dataset.as_of, dataset.load_seconds = began, seconds

    def _drop(self, gone: AbstractSet[str], began: float) -> None:
        """Forget what was made here and was gone at a moment."""
        for identifier in gone - self._named:
            if self._own_changes.moment(identifier) < began:
                self._own.pop(identifier, None)

    async def is_replaced(
        self, container: Dataset, location: Location, newer_than: float | None = None
    ) -> bool:
        """Ask whether another dataset has the name by now, after the service denied this one."""
        self._seen.pop(container.identifier, None)
        self._asked.pop(container.name, None)
        if container.identifier not in self._named:
            self._own.pop(container.identifier, None)
        self.as_of = container.as_of = NEVER
        return await super().is_replaced(container, location, newer_than)

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
        dataset = Dataset(made.id, made.name, description=made.description or "")
        if not await self._api.announced():
            await self._leave_catalogue(dataset, location.path)
        self._own[dataset.identifier] = dataset
        self._add(dataset)
        return dataset

    async def _create(
        self, name: str, description: str | None, identifier: str, path: str
    ) -> answers.Dataset | answers.DatasetCreated:
        async def create() -> answers.Dataset | answers.DatasetCreated:
            return await self._api.create_dataset(name, description, identifier, path)

        async def look() -> answers.Dataset | answers.DatasetCreated | None:
            try:
                return (await self._api.dataset(identifier, path)).dataset
            except NotFoundError:
                return None

        return await self._api.once(create, look)

    async def delete(self, record: Dataset) -> None:
        """Delete a dataset with all its entries."""
        try:
            await self._api.delete_dataset(record.identifier, record.location.path)
        finally:
            self._changes.note_deletion(record.identifier)
        self._own.pop(record.identifier, None)
        self._seen.pop(record.identifier, None)
        self._discard(record.identifier)

    async def _leave_catalogue(self, record: Dataset, path: str) -> None:
        note = json.dumps({"id": record.identifier, "name": record.name})
        entry = requests.EntryCreate(
            name=CATALOGUE_NAME,
            content=note,
            description=f"Dataset {record.name}",
            dataset_id=record.identifier,
            tags=[HIDDEN_TAG],
        )
        await self._api.create_entry(entry, path, replay=True)

    async def _gone(self, name: str) -> set[str]:
        """Ask for the datasets of a name that were made here: search does not tell of all."""
        own = [r for i, r in self._own.items() if r.name == name and i not in self._named]
        gone: set[str] = set()
        for record in own:
            try:
                await self._api.dataset(record.identifier, record.location.path)
            except NotFoundError:
                gone.add(record.identifier)
        return gone

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
        records = map(_catalogue_record, hits)
        return {record.identifier: record for record in records if record is not None}

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


def _record(item: answers.Dataset) -> Dataset:
    return Dataset(item.id, item.name, aware(item.created_at), description=item.description or "")


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
    return Dataset(hit.dataset_id, name, created=aware(hit.created_at))
