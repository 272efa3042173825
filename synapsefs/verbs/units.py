"""Data units as a whole: written with all their files, listed as a table."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import sync
from synapsefs.errors import UnsupportedError, error_path
from synapsefs.local.files import local_size
from synapsefs.location import PROTOCOL, Location, Root
from synapsefs.services.base import NewFile
from synapsefs.verbs.calls import as_text, mirrored
from synapsefs.verbs.expand import size_of
from synapsefs.verbs.write import Writes, is_exclusive


@mirrored("put_unit", "units")
class UnitVerbs(Writes):
    """The verbs of the collections service that deal with units rather than files."""

    async def _put_unit(
        self,
        collection: str,
        files: Mapping[str, Any],
        meta: Mapping[str, Any] | None = None,
        groups: Sequence[str] | None = None,
        *,
        key: str | None = None,
        mode: str = "overwrite",
        callback: Any = DEFAULT_CALLBACK,
    ) -> dict[str, Any]:
        """Write one data unit with all its files and its metadata.

        Everything is checked before a byte is sent, and the unit appears with all its files or
        not at all. Inside ``fs.transaction`` it appears at the end, and has no id before.

        Parameters
        ----------
        collection
            The collection: its name, ``@<id>``, path or URL.
        files
            For each file specification a local path (``str`` or path object), or bytes.
        meta
            Metadata of the unit, which JSON can hold; checked against the collection's schema.
        groups
            Names of the groups it belongs to, outermost first; the folders of the key when left
            out.
        key
            Where the unit lies below each specification: folders and the stem of its files. When
            left out, ``meta["data_unit_key"]``, or the groups and the name of the primary file.
        mode
            ``overwrite`` puts it in the place of a unit that holds one of its paths; ``create``
            refuses to.
        callback
            Counts bytes.

        Returns
        -------
        dict
            ``id``, ``key``, ``paths`` and ``checksums`` by specification, ``collection``,
            ``groups``, ``created`` and ``meta``.

        Raises
        ------
        InvalidRequestError
            Naming every problem: missing or unknown specifications, suffixes, metadata, local
            files that cannot be read. Nothing was sent then.
        AlreadyExistsError
            With ``mode="create"``, when one of the paths is taken.
        """
        exclusive = is_exclusive(mode)
        location = collection_location(collection)
        collections = await self._collections(location)
        contents = {name: _content(source) for name, source in files.items()}
        problems = await asyncio.to_thread(_local_problems, contents)
        names = {
            name: os.path.basename(source) if isinstance(source, str) else None
            for name, source in contents.items()
        }
        with error_path(location.path):
            plan = await collections.plan_unit(
                location, names, key=key, meta=meta, groups=groups, problems=problems
            )
        sizes = await asyncio.to_thread(lambda: {n: _size(one) for n, one in contents.items()})
        new_files = [
            NewFile(plan.places[name], source, sizes[name], exclusive, plan.write_options)
            for name, source in contents.items()
        ]
        await self._check(new_files)
        await self._write(new_files, callback=callback)
        return collections.unit_info(plan)

    async def _units_batches(
        self, collection: str, columns: Sequence[str] | None = None, filters: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Give a collection's data units as Arrow record batches, at least one; see :meth:`units`.

        The whole listing is read first, to a temporary file: all batches have one schema, which
        the metadata of all units decides.
        """
        location = collection_location(collection)
        collections = await self._collections(location)
        with error_path(location.path):
            async for batch in collections.unit_batches(location, columns, filters):
                yield batch

    def units_batches(
        self, collection: str, columns: Sequence[str] | None = None, filters: Any = None
    ) -> Iterator[Any]:
        """Give a collection's data units as Arrow record batches; see :meth:`units`."""
        batches = self._units_batches(collection, columns, filters)

        async def following() -> Any:
            return await anext(batches, None)

        try:
            while (batch := sync.run(self.loop, following())) is not None:
                yield batch
        finally:
            sync.run(self.loop, batches.aclose())

    async def _units(
        self, collection: str, columns: Sequence[str] | None = None, filters: Any = None
    ) -> Any:
        """Give a collection's data units as an Arrow table.

        Its columns are ``id``, ``key``, ``groups``, ``created`` (UTC) and ``checksum`` of each
        unit, then for each file specification the ``synapse://`` URL of the unit's file or null,
        then the metadata, flattened: ``meta.box.x`` for ``{"box": {"x": …}}``. A metadata column
        has the type that holds the values of all units: integers with floats become floats, and
        what has no common type becomes text, with all but texts written as JSON. Types that the
        collection's JSON Schema declares count as one more value.

        Parameters
        ----------
        collection
            The collection: its name, ``@<id>``, path or URL.
        columns
            Names of the columns wanted, in this order; all when left out.
        filters
            A ``pyarrow.compute`` expression, such as ``pc.field("meta.label") == "cat"``, or a
            list of tuples as pandas and ``pyarrow.parquet`` take it.

        Returns
        -------
        pyarrow.Table
            A row for each unit.

        Raises
        ------
        InvalidRequestError
            For a column that there is not, or a filter that does not fit the columns.
        """
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only here

        batches = self._units_batches(collection, columns, filters)
        return pa.Table.from_batches([batch async for batch in batches])


def collection_location(collection: Any) -> Location:
    """Read a collection's name, path or URL.

    Raises
    ------
    UnsupportedError
        For what lies in the datasets service, or is not a collection itself.
    """
    collection = as_text(collection)
    named = collection.startswith((f"{PROTOCOL}:", f"{Root.COLLECTIONS}/", f"{Root.DATASETS}/"))
    location = Location.parse(collection if named else f"{Root.COLLECTIONS}/{collection}")
    if location.root is not Root.COLLECTIONS or len(location.segments) != 2:
        raise UnsupportedError("units are in a collection: name one", location.path)
    return location


def _content(source: Any) -> str | memoryview:
    """Give a local path as text, and bytes as a view of single bytes."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return memoryview(source).cast("B")


def _local_problems(contents: Mapping[str, Any]) -> list[str]:
    """Say which local files cannot be read."""
    problems = []
    for name, source in contents.items():
        if isinstance(source, str):
            try:
                if local_size(source) is not None or os.path.isdir(source):
                    with open(source, "rb"):
                        pass
            except OSError as error:
                problems.append(f"{name}: {source}: {error.strerror}")
    return problems


def _size(source: str | memoryview) -> int:
    return (size_of(source) or 0) if isinstance(source, str) else len(source)
