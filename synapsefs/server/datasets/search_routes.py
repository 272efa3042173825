"""Routes of search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import highlight, index, search
from synapsefs.server.datasets.context import (
    answered,
    caller_of,
    is_strict,
    received,
    renderer_for,
)
from synapsefs.server.datasets.effort import BODY_LIMIT, SEARCHES, Effort
from synapsefs.server.datasets.records import now
from synapsefs.wire.datasets.requests import SearchRequest, SimilarityRequest

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web

STRICT_DELAY: Final = 1.0
"""Seconds until a strict server finds what has changed."""


async def search_entries(request: web.Request) -> web.Response:
    """Answer ``POST`` of a search with a bare array of entries."""
    caller, wanted = caller_of(request), await received(request, SearchRequest, BODY_LIMIT)
    until = now(STRICT_DELAY) if is_strict(request) else None
    await _catch_up(request.app)

    def look(connection: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[Any]]:
        effort = Effort()
        rows = search.by_criteria(connection, caller, wanted, until, effort)
        marked = highlight.pattern(wanted) if wanted.highlight else None
        return rows, [highlight.highlights(row, wanted, marked, effort) for row in rows]

    async with request.app[SEARCHES]:
        rows, marks = await request.app[DATABASE].read(look)
    renderer = renderer_for(request)
    hits = []
    for row, mark in zip(rows, marks, strict=True):
        hit = {**renderer.entry(row, content=row["content"]), "score": row["score"]}
        if wanted.highlight:
            hit["highlights"] = mark
        hits.append(hit)
    return answered(hits)


async def search_similar(request: web.Request) -> web.Response:
    """Answer ``POST`` of a search by embedding with a bare array of entries."""
    caller, wanted = caller_of(request), await received(request, SimilarityRequest, BODY_LIMIT)
    async with request.app[SEARCHES]:
        hits = await request.app[DATABASE].read(
            lambda db: search.by_embedding(db, caller, wanted, Effort())
        )
    renderer = renderer_for(request)
    return answered(
        [{**renderer.entry(row, content=row["content"]), "score": score} for row, score in hits]
    )


async def _catch_up(app: web.Application) -> None:
    database = app[DATABASE]
    behind = await database.read(index.is_behind)
    while behind:
        behind = await database.write(index.catch_up)
