"""Routes of search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import highlight, index, search
from synapsefs.server.datasets.context import (
    answered,
    caller_of,
    is_strict,
    received,
    renderer_for,
)
from synapsefs.server.datasets.records import now
from synapsefs.wire.datasets import SearchRequest, SimilarityRequest

if TYPE_CHECKING:
    from aiohttp import web

STRICT_DELAY: Final = 1.0
"""Seconds until a strict server finds what has changed."""


async def search_entries(request: web.Request) -> web.Response:
    """Answer ``POST`` of a search with a bare array of entries."""
    caller, wanted = caller_of(request), await received(request, SearchRequest)
    until = now(STRICT_DELAY) if is_strict(request) else None
    await _catch_up(request.app)
    rows = await request.app[DATABASE].read(
        lambda db: search.by_criteria(db, caller, wanted, until)
    )
    renderer, marked = renderer_for(request), highlight.pattern(wanted)
    hits = []
    for row in rows:
        hit = {**renderer.entry(row, content=row["content"]), "score": row["score"]}
        if wanted.highlight:
            hit["highlights"] = highlight.highlights(row, wanted, marked)
        hits.append(hit)
    return answered(hits)


async def search_similar(request: web.Request) -> web.Response:
    """Answer ``POST`` of a search by embedding with a bare array of entries."""
    caller, wanted = caller_of(request), await received(request, SimilarityRequest)
    hits = await request.app[DATABASE].read(lambda db: search.by_embedding(db, caller, wanted))
    renderer = renderer_for(request)
    return answered(
        [{**renderer.entry(row, content=row["content"]), "score": score} for row, score in hits]
    )


async def _catch_up(app: web.Application) -> None:
    database = app[DATABASE]
    behind = await database.read(index.is_behind)
    while behind:
        behind = await database.write(index.catch_up)
