"""Finding entries by text, by criteria and by embedding, and where they lie.

The service's search is ranked, lags behind by moments, and knows nothing of paths: its hits are
looked up in the indexes of their datasets, so that what was removed in between does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from synapsefs import concurrency
from synapsefs.errors import AccessDeniedError, InvalidRequestError, NotFoundError
from synapsefs.location import Location
from synapsefs.services.base import Entry
from synapsefs.services.datasets.catalog import ROOT, Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import HIDDEN_TAG
from synapsefs.wire.datasets import answers, constants, requests

M = TypeVar("M", requests.SearchRequest, requests.SimilarityRequest)
MAX_PAGES = 20
"""Pages that are asked for at most, where hits lie outside the directory that is searched."""
AT_A_TIME = 8
_LOGIC = {"all": constants.FilterLogic.AND, "any": constants.FilterLogic.OR}
_HIGHLIGHTING = ("fields", "fragment_size", "num_fragments")


class Search:
    """Search over entries; a criterion that makes no sense is refused before anything is sent."""

    def __init__(self, api: DatasetsClient, catalog: DatasetCatalog, indexes: Indexes) -> None:
        self._api = api
        self._catalog = catalog
        self._indexes = indexes

    async def search(
        self,
        location: Location,
        query: str | None,
        criteria: Any,
        *,
        match: str,
        size: int,
        highlight: bool | Mapping[str, Any],
    ) -> list[Entry]:
        """Find entries below a path, best first; hits have ``score`` among their details."""
        path = location.path
        if match not in _LOGIC:
            raise InvalidRequestError(f"match is 'all' or 'any', not {match!r}", path)
        given = {
            "criteria": _criteria(criteria, path),
            "limit": _checked_size(size, path),
            "filter_logic": _LOGIC[match],
            "text_query": query,
            **_highlighting(highlight, path),
        }
        request = _validated(requests.SearchRequest, given, path)
        scope = await self._scope(location)
        if scope and (match == "all" or not request.criteria):
            one = requests.Criterion(
                field="dataset_id", operator=constants.Operator.EQUALS, value=scope.identifier
            )
            both = {"criteria": [*request.criteria, one], "filter_logic": constants.FilterLogic.AND}
            request = request.model_copy(update=both)
        entries: list[Entry] = []
        for page in range(MAX_PAGES):
            asked = request.model_copy(update={"offset": page * request.limit})
            hits = await self._api.search(asked, path)
            entries += await self._entries(hits, location, scope)
            if len(entries) >= size or len(hits) < request.limit:
                break
        return entries[:size]

    async def similar(
        self,
        location: Location,
        like: Entry | Sequence[float],
        *,
        size: int,
        min_score: float | None,
        tags: Sequence[str] | None,
    ) -> list[Entry]:
        """Find entries below a path, nearest first to an embedding or to that of an entry."""
        embedding = await self._embedding(like) if isinstance(like, Entry) else like
        scope = await self._scope(location)
        given = {
            "embedding": embedding,
            "size": _checked_size(size, location.path),
            "min_score": min_score,
            "dataset_id": scope.identifier if scope else None,
            "tags": tags,
        }
        request = _validated(requests.SimilarityRequest, given, location.path)
        hits = await self._api.similar(request, location.path)
        return await self._entries(hits, location, scope)

    async def _embedding(self, like: Entry) -> list[float]:
        path = like.location.path
        response = await self._api.entry(like.record.identifier, path)
        embedding = from_response(response).entry.embedding
        if not embedding:
            raise InvalidRequestError("this entry has no embedding to compare with", path)
        return embedding

    async def _scope(self, location: Location) -> Dataset | None:
        """Give the dataset to search in; at the root, learn their names."""
        if location.container:
            return await self._catalog.find(location)
        await self._catalog.all()
        return None

    async def _entries(
        self, hits: Sequence[answers.SearchHit], location: Location, scope: Dataset | None
    ) -> list[Entry]:
        """Give the entries that hits stand for, as far as they are shown below a path."""
        top = (scope.location.child(*location.inner) if scope else ROOT).segments
        named = {hit.dataset_id for hit in hits if hit.dataset_id}
        datasets = await concurrency.gather((self._dataset(one) for one in named), AT_A_TIME)
        known = {one.identifier: one for one in datasets if one is not None}
        indexes = await self._by_dataset(known, self._indexes.get)
        missing = {hit.dataset_id for hit in hits if _is_missing(hit, indexes)}
        late = {identifier: known[identifier] for identifier in known.keys() & missing}
        indexes |= await self._by_dataset(late, self._indexes.latest)
        entries = []
        for hit in hits:
            dataset = known.get(hit.dataset_id or "")
            entry = _listed(hit, dataset, indexes) if dataset else _alone(hit)
            if entry is not None and entry.location.segments[: len(top)] == top:
                more = {"score": hit.score, "highlights": hit.highlights}
                shown = {name: value for name, value in more.items() if value is not None}
                entries.append(replace(entry, details={**entry.details, **shown}))
        return entries

    async def _by_dataset(
        self,
        datasets: Mapping[str, Dataset],
        get: Callable[[Dataset], Coroutine[Any, Any, DatasetIndex]],
    ) -> dict[str, DatasetIndex]:
        indexes = await concurrency.gather(map(get, datasets.values()), AT_A_TIME)
        return dict(zip(datasets, indexes, strict=True))

    async def _dataset(self, identifier: str) -> Dataset | None:
        """Give a dataset, or None where only single entries of it may be seen."""
        try:
            return await self._catalog.find(ROOT.child(f"@{identifier}"))
        except (NotFoundError, AccessDeniedError):
            return None


def _is_shown(hit: answers.SearchHit) -> bool:
    return hit.status == constants.Status.ACTIVE and HIDDEN_TAG not in (hit.tags or ())


def _is_missing(hit: answers.SearchHit, indexes: Mapping[str, DatasetIndex]) -> bool:
    index = indexes.get(hit.dataset_id or "")
    return index is not None and _is_shown(hit) and hit.id not in index.paths


def _listed(
    hit: answers.SearchHit, dataset: Dataset, indexes: Mapping[str, DatasetIndex]
) -> Entry | None:
    index = indexes[dataset.identifier]
    segments = index.paths.get(hit.id)
    return index.records[hit.id].entry_at(dataset.location.child(*segments)) if segments else None


def _alone(hit: answers.SearchHit) -> Entry | None:
    """Give an entry that lies in no dataset that may be seen: by its id."""
    if not _is_shown(hit):
        return None
    response = answers.EntryResponse(data_storage=hit)
    record = replace(from_response(response), kind="file", url=None, text=None, size=None)
    return record.entry_at(ROOT.child(f"@{hit.id}"))


def _checked_size(size: Any, path: str) -> int:
    if not isinstance(size, int) or not 1 <= size <= constants.SEARCH_LIMIT_MAX:
        raise InvalidRequestError(f"size is from 1 to {constants.SEARCH_LIMIT_MAX}", path)
    return size


def _criteria(given: Any, path: str) -> list[Any]:
    """Read criteria: ``{field: value}``, or a list of triples or of what the service takes."""
    if isinstance(given, Mapping):
        given = [
            (name, "in" if _is_list(value) else "equals", value) for name, value in given.items()
        ]
    criteria: list[Any] = []
    for one in given or ():
        if isinstance(one, Mapping):
            criteria.append(dict(one))
        elif _is_list(one) and len(one) == 3:
            criteria.append(dict(zip(("field", "operator", "value"), one, strict=True)))
        else:
            raise InvalidRequestError("a criterion is (field, operator, value)", path)
    return criteria


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _highlighting(given: Any, path: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {"highlight": bool(given)}
    if unknown := sorted(set(given) - set(_HIGHLIGHTING)):
        raise InvalidRequestError(f"highlight takes no {unknown[0]!r}", path)
    return {"highlight": True, **{f"highlight_{name}": value for name, value in given.items()}}


def _validated(model: Callable[..., M], given: Mapping[str, Any], path: str) -> M:
    try:
        return model(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems = {f"{'.'.join(map(str, one['loc'][:3]))}: {one['msg']}" for one in details}
        raise InvalidRequestError("; ".join(sorted(problems)), path) from None
