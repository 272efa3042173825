"""Data units as a whole: written with all their files, listed as a table."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import limits
from synapsefs.bridge import mirrored
from synapsefs.errors import UnsupportedError, concerning
from synapsefs.location import PROTOCOL, Location, Root
from synapsefs.services.base import Staged
from synapsefs.transfer import stage_bytes, stage_file
from synapsefs.verbs.writing import WritingVerbs, exclusive_by


@mirrored("put_unit")
class UnitVerbs(WritingVerbs):
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
        exclusive = exclusive_by(mode)
        location = collection_location(collection)
        service: Any = await self._service(location)
        contents = {name: _content(source) for name, source in files.items()}
        problems = await asyncio.to_thread(_local_problems, contents)
        names = {
            name: os.path.basename(source) if isinstance(source, str) else None
            for name, source in contents.items()
        }
        with concerning(location.path):
            plan = await service.plan_unit(
                location,
                names,
                key=key,
                meta=meta,
                groups=groups,
                exclusive=exclusive,
                problems=problems,
            )
        callback.set_size(await asyncio.to_thread(_total, contents.values()))
        work = [
            self._stage_content(plan.places[name], source, exclusive, callback)
            for name, source in contents.items()
        ]
        staged = plan.bind(await limits.gather(work, self.options.max_concurrency))
        await self._publish_or_defer(staged)
        found: dict[str, Any] = service.planned_info(plan)
        return found

    async def _stage_content(
        self, place: Location, source: Any, exclusive: bool, callback: Any
    ) -> Staged:
        service = await self._service(place)
        progress = callback.relative_update
        if isinstance(source, str):
            return await stage_file(
                service, source, place, exclusive=exclusive, progress=progress, options={}
            )
        staged = await stage_bytes(service, source, place, exclusive=exclusive, options={})
        progress(len(source))
        return staged


def collection_location(collection: str) -> Location:
    """Read a collection's name, path or URL.

    Raises
    ------
    UnsupportedError
        For what lies in the datasets service, or is not a collection itself.
    """
    named = collection.startswith((f"{PROTOCOL}:", f"{Root.COLLECTIONS}/", f"{Root.DATASETS}/"))
    location = Location.parse(collection if named else f"{Root.COLLECTIONS}/{collection}")
    if location.root is not Root.COLLECTIONS or len(location.segments) != 2:
        raise UnsupportedError("units are in a collection: name one", location.path)
    return location


def _content(source: Any) -> Any:
    """Give a local path as text, and bytes as a view of single bytes."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return memoryview(source).cast("B")


def _local_problems(contents: Mapping[str, Any]) -> list[str]:
    """Say which local files cannot be read."""
    found = []
    for name, source in contents.items():
        if isinstance(source, str):
            try:
                with open(source, "rb"):
                    pass
            except OSError as error:
                found.append(f"{name}: {source}: {error.strerror}")
    return found


def _total(contents: Iterable[Any]) -> int:
    return sum(
        os.path.getsize(source) if isinstance(source, str) else len(source) for source in contents
    )
