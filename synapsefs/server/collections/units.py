"""Data units in the catalogue: what binds data files to the specifications of a collection."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synapsefs.server.collections import catalogue, files
from synapsefs.server.objects import check_name
from synapsefs.server.problems import invalid, not_found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from synapsefs.server.collections.models import BulkUnit, FileReference
    from synapsefs.server.collections.validation import Checked
    from synapsefs.wire.collections.v1 import FileBinding, UnitToCreate


@dataclass(frozen=True, slots=True)
class _Bound:
    """A file of a unit that was found to be in order."""

    specification: sqlite3.Row
    data_file: sqlite3.Row
    name: str
    meta: str


class Creation:
    """Creates units of one collection in one transaction.

    Parameters
    ----------
    connection
        Inside a transaction.
    tenant
        Whose collection it is.
    collection
        Its id.
    checked
        The units' metadata, as it was checked.

    Raises
    ------
    Problem
        400, when the tenant has no such collection.
    SchemaChangedError
        The metadata was checked against another schema.
    """

    def __init__(
        self, connection: sqlite3.Connection, tenant: str, collection: int, checked: Checked
    ) -> None:
        self._connection = connection
        self._tenant = tenant
        self._collection = collection
        row = connection.execute(
            "SELECT id, meta FROM collections WHERE id = ? AND tenant = ?", (collection, tenant)
        ).fetchone()
        if row is None:
            raise invalid("data_collection", f"There is no data collection {collection}.")
        checked.require(row)
        listed = catalogue.specifications(connection, [collection])[collection]
        self._specifications = {row["name"]: row for row in listed}
        self._required = {row["name"] for row in listed if row["is_required"]}
        self._allowed = {row["name"]: _extensions(row["extensions"]) for row in listed}
        self._files: dict[str, sqlite3.Row] = {}

    def learn(self, units: Sequence[UnitToCreate | BulkUnit]) -> None:
        """Look up all the data files that `units` name."""
        wanted = {file.checksum for unit in units for file in unit.files.values()}
        self._files |= files.by_checksum(self._connection, self._tenant, wanted)

    def check(self, unit: UnitToCreate | BulkUnit) -> list[_Bound]:
        """Return the files of a unit.

        Raises
        ------
        Problem
            400, when a specification or checksum is unknown, a required one is missing, or a file
            has a type that its specification does not list.
        """
        if missing := sorted(self._required - unit.files.keys()):
            raise invalid("files", f"Required file specifications are missing: {missing}.")
        if not unit.files:
            raise invalid("files", "A data unit needs a file.")
        return [self._bind(name, file) for name, file in unit.files.items()]

    def insert(self, unit: UnitToCreate | BulkUnit, bound: Sequence[_Bound]) -> int:
        """Create a unit and return its id."""
        group = catalogue.group(self._connection, self._collection, unit.groups)
        key = self._connection.execute(
            """INSERT INTO units (collection_id, group_id, meta, checksum, created)
               VALUES (?, ?, ?, ?, ?)""",
            (self._collection, group, json.dumps(unit.meta), composition(bound), time.time()),
        ).lastrowid
        self._connection.executemany(
            "INSERT INTO unit_files VALUES (?, ?, ?, ?, ?)",
            [(key, f.specification["id"], f.data_file["id"], f.name, f.meta) for f in bound],
        )
        return key or 0

    def existing(self, bound: Sequence[_Bound]) -> int | None:
        """Return the newest unit of the collection with exactly these files."""
        row = self._connection.execute(
            "SELECT id FROM units WHERE collection_id = ? AND checksum = ? ORDER BY id DESC",
            (self._collection, composition(bound)),
        ).fetchone()
        return row["id"] if row else None

    def _bind(self, name: str, file: FileBinding | FileReference) -> _Bound:
        specification = self._specifications.get(name)
        if specification is None:
            raise invalid("files", f"The collection has no file specification {name!r}.")
        data_file = self._files.get(file.checksum)
        if data_file is None:
            raise invalid("files", f"No data file has the checksum {file.checksum}.")
        original = base_name(file.path or "") or data_file["name"]
        check_name(original)
        allowed = self._allowed[name]
        if allowed is not None and extension(original) not in allowed:
            raise invalid("files", f"{original!r} is no file type of {name!r}: {sorted(allowed)}.")
        meta = json.dumps(getattr(file, "meta", None) or {})
        return _Bound(specification, data_file, original, meta)


def composition(bound: Sequence[_Bound]) -> str:
    """Return the checksum of a unit, which depends on its files only."""
    lines = sorted(f"{f.specification['name']}:{f.data_file['sha256']}" for f in bound)
    return hashlib.sha1("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def base_name(path: str) -> str:
    """Return the last segment of a path of any system."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def extension(name: str) -> str:
    """Return the extension of a name in lower case, without its dot."""
    stem, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot and stem else ""


def get(connection: sqlite3.Connection, tenant: str, key: int) -> sqlite3.Row:
    """Return a unit.

    Raises
    ------
    Problem
        404, when the tenant has no such unit.
    """
    row: sqlite3.Row | None = connection.execute(
        """SELECT units.* FROM units JOIN collections ON collections.id = collection_id
           WHERE units.id = ? AND tenant = ?""",
        (key, tenant),
    ).fetchone()
    if row is None:
        raise not_found()
    return row


def files_of(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, list[sqlite3.Row]]:
    """Return the files of each unit, with what their specification and data file say."""
    found: dict[int, list[sqlite3.Row]] = {key: [] for key in keys}
    rows = connection.execute(
        """SELECT unit_id, unit_files.name, unit_files.meta, data_file_id, sha256, checksum,
               size, specifications.name AS specification, is_primary, file_type
           FROM unit_files JOIN specifications ON specifications.id = specification_id
               JOIN data_files ON data_files.id = data_file_id
           WHERE unit_id IN (SELECT value FROM json_each(?)) ORDER BY unit_id, specification_id""",
        (json.dumps(list(keys)),),
    )
    for row in rows:
        found[row["unit_id"]].append(row)
    return found


def insert_bare(
    connection: sqlite3.Connection, collection: int, group: int | None, meta: Any
) -> int:
    """Create a unit without files and return its id."""
    key = connection.execute(
        """INSERT INTO units (collection_id, group_id, meta, checksum, created)
           VALUES (?, ?, ?, ?, ?)""",
        (collection, group, json.dumps(meta), composition([]), time.time()),
    ).lastrowid
    return key or 0


def update(connection: sqlite3.Connection, key: int, values: Mapping[str, Any]) -> None:
    """Change columns of a unit; ``meta`` is given as an object."""
    for name, value in values.items():
        stored = json.dumps(value) if name == "meta" else value
        connection.execute(
            f"UPDATE units SET {name} = ? WHERE id = ?",  # noqa: S608 - our own names
            (stored, key),
        )


def delete(connection: sqlite3.Connection, tenant: str, key: int) -> None:
    """Delete a unit; its data files stay.

    Raises
    ------
    Problem
        404, when the tenant has no such unit.
    """
    get(connection, tenant, key)
    connection.execute("DELETE FROM units WHERE id = ?", (key,))


def _extensions(stored: str) -> frozenset[str] | None:
    listed = json.loads(stored)
    return frozenset(entry.lower().lstrip(".") for entry in listed) if listed else None
