"""The units of a collection as a table, in batches that all have one schema.

The listing goes to a temporary file page by page before the first batch is made: only then is it
known which types the metadata has, and which of several files of one name is the newest.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import filters_to_expression

from synapsefs.errors import ChangedError, InvalidRequestError
from synapsefs.location import PROTOCOL
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.columns import (
    NOTHING,
    PREFIX,
    arrow_type,
    declared,
    fitted,
    flattened,
    kind_of,
    unified,
)
from synapsefs.services.collections.groups import group_names
from synapsefs.services.collections.order import Shown, Version, Versions
from synapsefs.services.collections.pages import KEPT_CHANGING, LISTING_ATTEMPTS, PageCheck
from synapsefs.services.collections.unit import Unit, UnitFile, record_of
from synapsefs.wire.collections import v1

FIXED = ("id", "key", "groups", "created", "checksum")
IN_MEMORY = 8 * 2**20
"""Bytes of a listing that are held in memory; more go to a temporary file."""


@dataclass(slots=True)
class UnitListing:
    """A collection's units, gathered page by page.

    Attributes
    ----------
    collection
        Whose units they are.
    kinds
        The kind of each metadata column.
    foreign_groups
        Ids of groups whose names must be asked for.
    """

    collection: Collection
    kinds: dict[str, str] = field(default_factory=dict)
    foreign_groups: set[int] = field(default_factory=set)
    _seen: set[int] = field(default_factory=set)
    _versions: dict[int, Versions] = field(default_factory=dict)
    _folders: set[int] = field(default_factory=set)
    _several: dict[int, dict[int, Version]] = field(default_factory=dict)
    _spool: IO[bytes] = field(default_factory=partial(tempfile.SpooledTemporaryFile, IN_MEMORY))

    def add(self, units: Iterable[v1.Unit]) -> None:
        """Take one page; units that an earlier page had are passed over."""
        fresh = {unit.id: unit for unit in units if unit.id not in self._seen}
        self._seen.update(fresh)
        rows = [self._row(record_of(unit)) for unit in fresh.values()]
        self._spool.write(json.dumps(rows).encode() + b"\n")

    def _row(self, unit: Unit) -> dict[str, Any]:
        for file in unit.files.values():
            place = file.segments
            self._folders.update(hash(place[:depth]) for depth in range(2, len(place)))
            self._note(hash(place), file.version)
        meta = dict(flattened(unit.own_meta))
        for name, value in meta.items():
            self.kinds[name] = unified(self.kinds.get(name, NOTHING), kind_of(value))
        groups = unit.groups()
        if not groups and isinstance(unit.group, int):
            self.foreign_groups.add(unit.group)
        return {
            "id": unit.identifier,
            "key": unit.key,
            "groups": groups,
            "group": unit.group if isinstance(unit.group, int) else None,
            "created": unit.created.timestamp() if unit.created else None,
            "checksum": unit.checksum,
            "files": {name: file.name for name, file in unit.files.items()},
            "meta": meta,
        }

    def _note(self, place: int, version: Version) -> None:
        """Take a file; only where a path has several they are kept apart."""
        versions = self._versions.get(place)
        if versions is None:
            self._versions[place] = Versions(version)
            return
        several = self._several.setdefault(place, {versions.newest.unit: versions.newest})
        several[version.unit] = version
        versions.add(version)

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        """Give all pages again; units that others replaced are left out."""
        self._spool.seek(0)
        for line in self._spool:
            shown = []
            for row in json.loads(line):
                paths = self._paths(row)
                if paths or not row["files"]:
                    shown.append({**row, "files": paths})
            yield shown

    def _paths(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Give the URLs of a unit's files, as the filesystem names them."""
        unit = Unit(row["id"], {}, None)
        urls = {}
        for specification, name in row["files"].items():
            file = UnitFile(unit, specification, name, "", "", None)
            shown = self._shown(hash(file.segments), unit.identifier)
            if shown is Shown.NOWHERE:
                continue
            plain = shown is Shown.PLAINLY and hash(file.segments) not in self._folders
            segments = file.segments if plain else file.segments_with_id
            place = self.collection.location.child(*segments)
            urls[specification] = f"{PROTOCOL}://{place.path}"
        return urls

    def _shown(self, place: int, unit: int) -> Shown:
        version = self._several.get(place, {}).get(unit)
        return Shown.PLAINLY if version is None else self._versions[place].shown(version)

    def close(self) -> None:
        """Let go of the temporary file."""
        self._spool.close()


class UnitTable:
    """Turns a whole listing, and the names of groups by id, into record batches.

    Raises
    ------
    InvalidRequestError
        For a column that there is not, or a filter that fits none.
    """

    def __init__(
        self,
        listing: UnitListing,
        group_names: Mapping[int, str],
        columns: Sequence[str] | None,
        filters: Any,
    ) -> None:
        self._listing = listing
        self._group_names = group_names
        self._path = listing.collection.location.path
        rule = listing.collection.rule
        kinds = dict(listing.kinds)
        for name, kind in declared(rule.schema if rule else None):
            kinds[name] = unified(kinds.get(name, NOTHING), kind)
        self._kinds = {name: kinds[name] for name in sorted(kinds)}
        self._specifications = {
            _path_column(spec.name): spec.name for spec in listing.collection.specifications
        }
        self._schema = self._whole_schema()
        unknown = sorted(set(columns or ()) - set(self._schema.names))
        if unknown:
            raise InvalidRequestError(
                f"there is no column {', '.join(unknown)}; "
                f"there are {', '.join(self._schema.names)}",
                self._path,
            )
        self._columns = list(columns) if columns is not None else self._schema.names
        self._filter = _expression(filters)

    def _whole_schema(self) -> Any:
        types = {
            "id": pa.int64(),
            "key": pa.string(),
            "groups": pa.list_(pa.string()),
            "created": pa.timestamp("us", tz="UTC"),
            "checksum": pa.string(),
            **dict.fromkeys(self._specifications, pa.string()),
            **{name: arrow_type(kind) for name, kind in self._kinds.items()},
        }
        return pa.schema(list(types.items()))

    def batches(self) -> Iterator[Any]:
        """Give record batches, at least one, all of one schema."""
        empty = True
        for rows in self._listing.rows():
            for batch in self._chosen(rows):
                empty = False
                yield batch
        if empty:
            chosen = pa.schema([self._schema.field(name) for name in self._columns])
            yield pa.RecordBatch.from_pylist([], schema=chosen)

    def _chosen(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        arrays = [
            pa.array([self._value(row, name) for row in rows], self._schema.field(name).type)
            for name in self._schema.names
        ]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        if self._filter is not None:
            try:
                table = table.filter(self._filter)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
                words = f"the filter does not fit the columns: {error}"
                raise InvalidRequestError(words, self._path) from None
        yield from table.select(self._columns).to_batches()

    def _value(self, row: Mapping[str, Any], column: str) -> Any:
        if column in self._kinds:
            return fitted(row["meta"].get(column), self._kinds[column])
        if column in self._specifications:
            return row["files"].get(self._specifications[column])
        if column == "created":
            return None if row["created"] is None else round(row["created"] * 1_000_000)
        if column == "groups":
            return self._groups(row)
        return row[column]

    def _groups(self, row: Mapping[str, Any]) -> list[str]:
        """Give a unit's groups; one whose name the service does not tell as ``@id``."""
        if row["groups"] or row["group"] is None:
            return list(row["groups"])
        return [self._group_names.get(row["group"], f"@{row['group']}")]


def _path_column(specification: str) -> str:
    """Name the column of a specification's paths: after it, unless another column has the name."""
    taken = specification in FIXED or specification.startswith(f"{PREFIX}.")
    return f"path.{specification}" if taken else specification


def _expression(filters: Any) -> Any:
    if filters is None:
        return None
    return filters if isinstance(filters, pc.Expression) else filters_to_expression(filters)


async def unit_batches(
    api: CollectionsClient,
    collection: Collection,
    columns: Sequence[str] | None,
    filters: Any,
) -> AsyncIterator[Any]:
    """List a collection and give its units as record batches."""
    path = collection.location.path
    listing = UnitListing(collection)
    try:
        before: set[int] | None = None
        for _ in range(LISTING_ATTEMPTS):
            check = PageCheck()
            async for page in api.unit_pages(collection.identifier, path):
                check.add(page)
                await asyncio.to_thread(listing.add, page.results)
            if check.whole or before == check.seen:
                break
            before = check.seen
        else:
            raise ChangedError(KEPT_CHANGING, path)
        names = {}
        if listing.foreign_groups:
            names = await group_names(api, collection)
        table = await asyncio.to_thread(UnitTable, listing, names, columns, filters)
        batches = table.batches()
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield batch
    finally:
        listing.close()
