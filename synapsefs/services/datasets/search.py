"""Finding entries by text, by criteria and by embedding, and telling where they lie.

The service's search is ranked, lags behind by moments, and knows nothing of paths: its hits are
looked up in the indexes of their datasets, so that what was removed in between does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
PAGES = 20
"""Pages that are asked for at most, where hits lie outside the place that was asked about."""
AT_A_TIME = 8
_LOGIC = {"all": constants.FilterLogic.AND, "any": constants.FilterLogic.OR}
_HIGHLIGHTING = ("fields", "fragment_size", "num_fragments")


class Search:
    """Search over entries.

    Parameters
    ----------
    api
        The service.
    registry, indexes
        What is there.
    """

    def __init__(self, api: DatasetsClient, registry: DatasetCatalog, indexes: Indexes) -> None:
        self._api = api
        self._registry = registry
        self._indexes = indexes

    async def search(self, location: Location, wanted: Mapping[str, Any]) -> list[Entry]:
        """Find entries below a place, best first.

        Parameters
        ----------
        wanted
            ``query``, ``criteria``, ``match``, ``size``, ``highlight``.

        Raises
        ------
        InvalidRequestError
            For a criterion that makes no sense; nothing was sent.
        """
        about, size = location.path, _size(wanted, location.path)
        request = _request(wanted, size, about)
        scope = await self._scope(location)
        if scope and (request.filter_logic is constants.FilterLogic.AND or not request.criteria):
            one = requests.Criterion(
                field="dataset_id", operator=constants.Operator.EQUALS, value=scope.identifier
            )
            both = {"criteria": [*request.criteria, one], "filter_logic": constants.FilterLogic.AND}
            request = request.model_copy(update=both)
        place = _place(location, scope)
        found: list[Entry] = []
        for page in range(PAGES):
            asked = request.model_copy(update={"offset": page * request.limit})
            hits = await self._api.search(asked, about)
            found += await self._placed(hits, place)
            if len(found) >= size or len(hits) < request.limit:
                break
        return found[:size]

    async def similar(self, location: Location, wanted: Mapping[str, Any]) -> list[Entry]:
        """Find entries below a place by their embeddings, nearest first.

        Parameters
        ----------
        wanted
            ``embedding`` or ``like`` (an entry that has one), ``size``, ``min_score``, ``tags``.
        """
        about = location.path
        embedding = wanted.get("embedding")
        if embedding is None:
            embedding = await self._embedding(wanted["like"])
        scope = await self._scope(location)
        given = {
            "embedding": embedding,
            "size": _size(wanted, about),
            "min_score": wanted.get("min_score"),
            "dataset_id": scope.identifier if scope else None,
            "tags": wanted.get("tags"),
        }
        request = _built(requests.SimilarityRequest, given, about)
        hits = await self._api.similar(request, about)
        return await self._placed(hits, _place(location, scope))

    async def _embedding(self, like: Entry) -> list[float]:
        about = like.location.path
        found = from_response(await self._api.entry(like.record.identifier, about)).entry.embedding
        if not found:
            raise InvalidRequestError("this entry has no embedding to compare with", about)
        return found

    async def _scope(self, location: Location) -> Dataset | None:
        """Give the dataset to search in; at the root, learn their names."""
        if location.container:
            return await self._registry.find(location)
        await self._registry.all()
        return None

    async def _placed(self, hits: Sequence[answers.SearchHit], place: Location) -> list[Entry]:
        """Give the entries that hits stand for, as far as they are shown below a place."""
        named = {hit.dataset_id for hit in hits if hit.dataset_id}
        datasets = await concurrency.gather((self._dataset(one) for one in named), AT_A_TIME)
        known = {one.identifier: one for one in datasets if one is not None}
        indexes = {one: await self._indexes.get(known[one]) for one in known}
        for identifier in {h.dataset_id for h in hits if _missing(h, indexes)}:
            if identifier is not None:
                indexes[identifier] = await self._indexes.latest(known[identifier])
        found = []
        for hit in hits:
            dataset = known.get(hit.dataset_id or "")
            entry = _lone(hit) if dataset is None else _found(hit, dataset, indexes)
            if entry is not None and _lies_below(entry.location, place):
                more = {"score": hit.score, "highlights": hit.highlights}
                told = {name: value for name, value in more.items() if value is not None}
                found.append(replace(entry, details={**entry.details, **told}))
        return found

    async def _dataset(self, identifier: str) -> Dataset | None:
        """Give a dataset, or None where only single entries of it may be seen."""
        try:
            return await self._registry.find(ROOT.child(f"@{identifier}"))
        except (NotFoundError, AccessDeniedError):
            return None


def _place(location: Location, scope: Dataset | None) -> Location:
    return scope.location.child(*location.inner) if scope else ROOT


def _lies_below(location: Location, place: Location) -> bool:
    return location.segments[: len(place.segments)] == place.segments


def _missing(hit: answers.SearchHit, indexes: Mapping[str, DatasetIndex]) -> bool:
    index = indexes.get(hit.dataset_id or "")
    shown = hit.status == constants.Status.ACTIVE and HIDDEN_TAG not in (hit.tags or ())
    return index is not None and shown and hit.id not in index.paths


def _found(
    hit: answers.SearchHit, dataset: Dataset, indexes: Mapping[str, DatasetIndex]
) -> Entry | None:
    index = indexes[dataset.identifier]
    segments = index.paths.get(hit.id)
    return index.records[hit.id].entry_at(dataset.location.child(*segments)) if segments else None


def _lone(hit: answers.SearchHit) -> Entry | None:
    """Give an entry that lies in no dataset that may be seen: by its id."""
    if hit.status != constants.Status.ACTIVE or HIDDEN_TAG in (hit.tags or ()):
        return None
    response = answers.EntryResponse(data_storage=hit)
    record = replace(from_response(response), kind="file", url=None, text=None, size=None)
    return record.entry_at(ROOT.child(f"@{hit.id}"))


def _size(wanted: Mapping[str, Any], about: str) -> int:
    size = wanted.get("size")
    if not isinstance(size, int) or not 1 <= size <= constants.SEARCH_LIMIT_MAX:
        raise InvalidRequestError(f"size is from 1 to {constants.SEARCH_LIMIT_MAX}", about)
    return size


def _request(wanted: Mapping[str, Any], size: int, about: str) -> requests.SearchRequest:
    logic = _LOGIC.get(wanted.get("match", "all"))
    if logic is None:
        raise InvalidRequestError(f"match is 'all' or 'any', not {wanted['match']!r}", about)
    given = {
        "criteria": _criteria(wanted.get("criteria"), about),
        "limit": size,
        "filter_logic": logic,
        "text_query": wanted.get("query"),
        **_highlighting(wanted.get("highlight", False), about),
    }
    return _built(requests.SearchRequest, given, about)


def _criteria(given: Any, about: str) -> list[Any]:
    """Read criteria: ``{field: value}``, or a list of triples or of what the service takes."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [
            {"field": field, "operator": "in" if _several(value) else "equals", "value": value}
            for field, value in given.items()
        ]
    found: list[Any] = []
    for one in given:
        if isinstance(one, Mapping):
            found.append(dict(one))
        elif _several(one) and len(one) == 3:
            found.append(dict(zip(("field", "operator", "value"), one, strict=True)))
        else:
            raise InvalidRequestError("a criterion is (field, operator, value)", about)
    return found


def _several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _highlighting(given: Any, about: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {"highlight": bool(given)}
    unknown = sorted(set(given) - set(_HIGHLIGHTING))
    if unknown:
        raise InvalidRequestError(f"highlight takes no {unknown[0]!r}", about)
    return {"highlight": True, **{f"highlight_{name}": value for name, value in given.items()}}


def _built(make: Callable[..., M], given: Mapping[str, Any], about: str) -> M:
    try:
        return make(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = {f"{'.'.join(map(str, one['loc'][:3]))}: {one['msg']}" for one in found}
        raise InvalidRequestError("; ".join(sorted(problems)), about) from None
