"""Search over entries, by text, by criteria and by embedding."""

from __future__ import annotations

import heapq
import math
from operator import mul
from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.datasets.access import VISIBLE
from synapsefs.server.datasets.criteria import Condition, condition, match_any
from synapsefs.server.datasets.effort import MOST_DIMENSIONS, check_size
from synapsefs.server.datasets.entries import COLUMNS
from synapsefs.server.datasets.faults import unprocessable
from synapsefs.server.datasets.records import decoded, encoded
from synapsefs.wire.datasets.constants import INLINE_LISTING_LIMIT, FilterLogic

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from synapsefs.server.datasets.access import Caller
    from synapsefs.server.datasets.effort import Effort
    from synapsefs.wire.datasets.requests import SearchRequest, SimilarityRequest

CONTENT: Final = f"CASE WHEN r.size <= {INLINE_LISTING_LIMIT} THEN r.content END AS content"
"""The text of an entry in lists, unless it is long."""

LISTING_TEXT: Final = 16 * 1024 * 1024
"""Most bytes of text in the listing of one dataset."""

NO_WORD: Final = '""'
"""Full-text expression that matches nothing."""

FROM: Final = "FROM ds_entries e LEFT JOIN ds_revisions r ON r.id = e.revision_id"


def in_dataset(
    connection: sqlite3.Connection, caller: Caller, dataset_id: str
) -> list[tuple[sqlite3.Row, str | None]]:
    """Entries of a dataset that the caller may see, oldest first, with their text.

    Parameters
    ----------
    connection
        Any connection.
    caller
        Who asks.
    dataset_id
        The dataset.

    Returns
    -------
    list of (sqlite3.Row, str or None)
        `COLUMNS`, and the text unless it is long or `LISTING_TEXT` bytes are there already.
    """
    rows = connection.execute(
        f"SELECT {COLUMNS} {FROM} WHERE e.dataset_id = :dataset AND {VISIBLE} ORDER BY e.seq",
        caller.parameters(dataset=dataset_id),
    ).fetchall()
    left, wanted = LISTING_TEXT, []
    for row in rows:
        if (
            row["sha256"] is None
            and row["size"] is not None
            and row["size"] <= min(left, INLINE_LISTING_LIMIT)
        ):
            left -= row["size"]
            wanted.append(row["revision_id"])
    found = connection.execute(
        """SELECT id, content FROM ds_revisions
           WHERE id IN (SELECT value FROM json_each(?))""",
        (encoded(wanted),),
    )
    texts = {revision["id"]: revision["content"] for revision in found}
    return [(row, texts.get(row["revision_id"])) for row in rows]


def created_by(
    connection: sqlite3.Connection, caller: Caller, users: list[str]
) -> list[sqlite3.Row]:
    """Entries that `users` created and the caller may see; `COLUMNS` and ``content``."""
    return connection.execute(
        f"""SELECT {COLUMNS}, {CONTENT} {FROM}
            WHERE e.user_id IN (SELECT value FROM json_each(:users)) AND {VISIBLE}
            ORDER BY e.seq""",  # noqa: S608 - constants
        caller.parameters(users=encoded(users)),
    ).fetchall()


def by_criteria(
    connection: sqlite3.Connection,
    caller: Caller,
    request: SearchRequest,
    until: str | None,
    effort: Effort,
) -> list[sqlite3.Row]:
    """Find entries by criteria and text, best first.

    Parameters
    ----------
    connection
        Any connection.
    caller
        Who asks; only what is visible is found.
    request
        What the client sent.
    until
        Leave out what changed after this moment; None for nothing.
    effort
        The time it may take.

    Returns
    -------
    list of sqlite3.Row
        `COLUMNS`, ``content``, ``full_content`` and ``score``.

    Raises
    ------
    Problem
        422 when an operator cannot be applied to its value, and when it asks for too much or
        takes too long.
    """
    check_size(request)
    conditions = [condition(one, place) for place, one in enumerate(request.criteria)]
    for one in conditions:
        if one.predicate is not None:
            connection.create_function(one.function, 1, effort.limit(one.predicate))
    text = (request.text_query or "").strip()
    text_match = match_any([text])
    matches = [one.match for one in conditions if one.match] + ([text_match] if text_match else [])
    parameters = caller.parameters(
        rank=" OR ".join(f"({match})" for match in matches),
        text=text_match or NO_WORD,
        until=until,
        limit=request.limit,
        offset=request.offset,
        **{one.function: one.match for one in conditions},
    )
    sql = _statement(conditions, request, ranked=bool(matches), text=text, until=until)
    with effort.limiting(connection):
        return connection.execute(sql, parameters).fetchall()


def _statement(
    conditions: list[Condition],
    request: SearchRequest,
    *,
    ranked: bool,
    text: str,
    until: str | None,
) -> str:
    score = " + ".join(f"({one.sql})" for one in conditions) or "0"
    where = [VISIBLE]
    if conditions:
        glue = f" {FilterLogic(request.filter_logic)} "
        where.append(f"({glue.join(one.sql for one in conditions)})")
    if text:
        where.append("e.seq IN (SELECT rowid FROM ds_search WHERE ds_search MATCH :text)")
    if until:
        where.append("e.modified_at <= :until")
    join = ""
    if ranked:
        join = """LEFT JOIN (SELECT rowid AS seq, -bm25(ds_search) AS rank FROM ds_search
                             WHERE ds_search MATCH :rank) f ON f.seq = e.seq"""
        score = f"{score} + COALESCE(f.rank, 0)"
    full = "r.content" if request.highlight else "NULL"
    return f"""SELECT {COLUMNS}, {CONTENT}, {full} AS full_content, {score} AS score
               {FROM} {join} WHERE {" AND ".join(where)}
               ORDER BY score DESC, e.created_at DESC, e.seq DESC
               LIMIT :limit OFFSET :offset"""


def by_embedding(
    connection: sqlite3.Connection, caller: Caller, request: SimilarityRequest, effort: Effort
) -> list[tuple[sqlite3.Row, float]]:
    """Find the entries whose embeddings point the same way.

    Parameters
    ----------
    connection
        Any connection.
    caller
        Who asks; only what is visible is found.
    request
        What the client sent.
    effort
        The time it may take.

    Returns
    -------
    list of (sqlite3.Row, float)
        Entry and cosine, best first.

    Raises
    ------
    Problem
        422 when the embedding is too long, and when the search takes too long.
    """
    if len(request.embedding) > MOST_DIMENSIONS:
        raise unprocessable(f"At most {MOST_DIMENSIONS} numbers of an embedding")
    where = ["e.embedding IS NOT NULL", VISIBLE]
    where += [
        f"e.{name} = :{name}"
        for name in ("dataset_id", "project_id", "user_id")
        if getattr(request, name) is not None
    ]
    parameters = caller.parameters(
        dataset_id=request.dataset_id, project_id=request.project_id, user_id=request.user_id
    )
    rows = connection.execute(
        f"SELECT {COLUMNS}, {CONTENT} {FROM} WHERE {' AND '.join(where)}",
        parameters,
    )
    wanted = set(request.tags or ())

    def near() -> Iterator[tuple[sqlite3.Row, float]]:
        for row in rows:
            effort.check()
            if not wanted or not wanted.isdisjoint(decoded(row["tags"]) or ()):
                score = cosine(request.embedding, decoded(row["embedding"]))
                if score >= request.min_score:
                    yield row, score

    with effort.limiting(connection):
        return heapq.nlargest(request.size, near(), key=lambda hit: hit[1])


def cosine(left: list[float], right: list[Any]) -> float:
    """Return the cosine between two vectors; -1 when they cannot be compared."""
    if len(left) != len(right):
        return -1.0
    lengths = math.hypot(*left) * math.hypot(*right)
    return sum(map(mul, left, right)) / lengths if lengths else -1.0
