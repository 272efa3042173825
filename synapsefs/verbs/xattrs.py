"""What is known of a file besides its bytes: attributes and tags."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from synapsefs.errors import ChangedError, InvalidRequestError, NotFoundError, error_path
from synapsefs.services.base import UNKNOWN_SIZE, Entry, NewFile
from synapsefs.transfer import copy_bytes
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.write import Writes

NO_TAGS = "collections have no tags"
ATTEMPTS = 5
"""How often a change of attributes is merged anew when somebody else was faster."""
SETTLING_SECONDS = 0.05
"""Time after which tags that others were replacing are read again, at least."""


@mirrored("getxattr", "getxattrs", "setxattrs", "get_tags", "put_tags")
class AttributeVerbs(Writes):
    """The verbs that read and set metadata, descriptions and tags.

    In datasets an attribute is a key of the entry's metadata, or ``description``; in collections
    a key of the metadata of the data unit that a file belongs to.
    """

    async def _attributed(self, path: str, *, refresh: bool = False) -> Entry:
        """Find what is at a path that may have attributes."""
        entry = await self._entry(path, refresh=refresh)
        if entry.location.root is None:
            raise InvalidRequestError("the root has no attributes", path)
        return entry

    async def _getxattr(self, path: str, name: str, **kwargs: Any) -> Any:
        """Give one attribute of a file or directory; None where there is none of that name."""
        return (await self._getxattrs(path)).get(name)

    async def _getxattrs(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Give all attributes of a file or directory by name."""
        entry = await self._attributed(path)
        with error_path(entry.location.path):
            return await (await self._service(entry.location)).attributes(entry)

    async def _setxattrs(
        self, path: str, metadata: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Set attributes and leave the others as they are; a value of None removes one.

        In datasets this publishes a revision of the file, so its bytes travel again, verified.
        When somebody else changes the file at the same time, the attributes are merged into what
        is there then.

        Parameters
        ----------
        path
            A file or directory.
        metadata, kwargs
            Attributes by name; ``metadata`` holds those whose names are no keywords.

        Returns
        -------
        dict
            All attributes as they are now.

        Raises
        ------
        ChangedError
            When others keep changing the file at the same time.
        UnsupportedError
            Where the service cannot change them: datasets themselves and directories in them.
        """
        changes = {**(metadata or {}), **kwargs}
        if not changes:
            raise InvalidRequestError("name at least one attribute", path)
        for _ in range(ATTEMPTS - 1):
            try:
                await self._set_attributes(path, changes)
                break
            except ChangedError:
                continue
        else:
            await self._set_attributes(path, changes)
        return await self._getxattrs(path)

    async def _set_attributes(self, path: str, changes: Mapping[str, Any]) -> None:
        entry = await self._attributed(path)
        service = await self._service(entry.location)
        with error_path(entry.location.path):
            options = await service.set_attributes(entry, changes)
            if options is not None:
                await self._rewrite(entry, options)

    async def _rewrite(self, entry: Entry, options: Mapping[str, Any]) -> None:
        """Write the bytes of the version that the options are based on anew.

        Raises
        ------
        ChangedError
            When another version is there by now.
        """
        path, base = entry.location.path, options["base_version"]
        service = await self._service(entry.location)
        rule = "somebody else replaced the file at the same time"
        try:
            content = await service.open(await self._entry_at(path, base))
        except NotFoundError as error:
            raise ChangedError(rule, path) from error
        if content.version != base:
            raise ChangedError(rule, path)
        file = NewFile(entry.location, memoryview(b""), UNKNOWN_SIZE, options=options)
        stage = partial(copy_bytes, content, service)
        await self._write([file], stage=stage, at_once=True)

    async def _get_tags(self, path: str) -> list[str]:
        """Give the tags of a file or directory in a dataset."""
        entry = await self._attributed(path)
        datasets = await self._datasets(entry.location, NO_TAGS)
        with error_path(entry.location.path):
            return await datasets.tags(entry)

    async def _put_tags(self, path: str, tags: Sequence[str], mode: str = "o") -> None:
        """Set the tags of a file or directory in a dataset.

        Parameters
        ----------
        mode
            ``o`` replaces what is there, ``m`` adds to it.

        Raises
        ------
        InvalidRequestError
            When the tags are no list of texts; nothing was sent.
        UnsupportedError
            Where the service has no tags: collections, and datasets themselves.
        """
        if mode not in {"o", "m"}:
            raise InvalidRequestError(f"mode is 'o' or 'm', not {mode!r}", path)
        entry = await self._attributed(path, refresh=True)
        datasets = await self._datasets(entry.location, NO_TAGS)
        with error_path(entry.location.path):
            if mode == "o":
                await datasets.set_tags(entry, tags)
            else:
                await self._add_tags(entry, tags)

    async def _add_tags(self, entry: Entry, tags: Sequence[str]) -> None:
        """Add tags, and again when somebody else replaced all tags at the same time.

        The service replaces tags unconditionally, so they are read once more when the request of
        another client at the same time must have arrived.
        """
        datasets, wanted = await self._datasets(entry.location, NO_TAGS), list(tags)
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            before = await datasets.tags(entry)
            await datasets.set_tags(entry, [*before, *(t for t in wanted if t not in before)])
            await asyncio.sleep(max(2 * (time.monotonic() - began), SETTLING_SECONDS))
            before = await datasets.tags(entry)
            if set(wanted) <= set(before):
                return
        raise ChangedError("somebody else keeps replacing the tags", entry.location.path)
