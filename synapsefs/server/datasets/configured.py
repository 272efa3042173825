"""Which external sources the server may read: buckets, tables of PostgreSQL, files of rows.

They come from the server's settings and from ``sources.json`` in its root, which goes first::

    {"buckets": {"<bucket>": "<folder or fsspec URL>",
                 "<another>": {"url": "<fsspec URL>", "options": {"<option>": "<value>"}}},
     "postgres": {"dsn": "postgresql://…", "tables": ["<table>", "<table>=<key column>"]},
     "tables": {"<table>": "<JSON file of row id to row>"}}

The file is read whenever it is needed, so that it can change while servers run. What is not named
cannot be reached.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from synapsefs.server.settings import ServerSettings

FILE: Final = "sources.json"


@dataclass(frozen=True, slots=True)
class BucketSource:
    """Where the objects of a bucket are.

    Parameters
    ----------
    url
        A folder or any URL that fsspec opens.
    options
        Arguments of its filesystem, such as credentials.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where the rows of a table are: in a database or in a JSON file, one of the two.

    Parameters
    ----------
    table
        Its name; in a database as the database's search path understands it.
    dsn
        The PostgreSQL database.
    key
        Column that identifies a row; None for the primary key.
    file
        A folder's path or fsspec URL of a JSON file.
    """

    table: str
    dsn: str | None = field(default=None, repr=False)
    key: str | None = None
    file: str | None = None


def bucket_source(settings: ServerSettings, name: str) -> BucketSource:
    """Find a bucket by name.

    Raises
    ------
    FileNotFoundError
        There is none of this name.
    """
    found = _file(settings.root).get("buckets", {}).get(name) or settings.buckets.get(name)
    if isinstance(found, str):
        return BucketSource(found)
    if isinstance(found, dict) and isinstance(found.get("url"), str):
        return BucketSource(found["url"], dict(found.get("options") or {}))
    raise FileNotFoundError(name)


def table_source(settings: ServerSettings, name: str) -> TableSource:
    """Find a table by name.

    Raises
    ------
    FileNotFoundError
        There is none of this name.
    """
    known = _file(settings.root)
    if isinstance(file := known.get("tables", {}).get(name), str):
        return TableSource(name, file=file)
    postgres = known.get("postgres") or {}
    for dsn, tables in (
        (postgres.get("dsn"), postgres.get("tables", ())),
        (settings.postgres, settings.tables),
    ):
        for allowed in tables if dsn else ():
            table, _, key = str(allowed).partition("=")
            if table == name:
                return TableSource(name, dsn=dsn, key=key or None)
    raise FileNotFoundError(name)


def _file(root: Path) -> dict[str, Any]:
    """Return what the file says; nothing when it is not there."""
    try:
        known = json.loads((root / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(known, dict):
        raise TypeError(f"{FILE} must hold a JSON object")
    return known
