"""Writing bytes and local files: pipe, put and touch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs.errors import InvalidRequestError, NotFoundError, UnsupportedError, error_path
from synapsefs.local.manifest import METADATA, Said
from synapsefs.local.zip import SUFFIX
from synapsefs.location import Location, Root
from synapsefs.services.base import ARCHIVE, NewFile, Staged, write_options
from synapsefs.transfer import stage_bytes
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.each import TransferOptions, send_each
from synapsefs.verbs.expand import LocalTree, Pairs, pairs_to_put, said_of, tree_to_put
from synapsefs.verbs.plan import UNCHANGED
from synapsefs.verbs.resolving import plain, require_one_each, require_separate, warn_left_out
from synapsefs.verbs.sending import SendingVerbs, new_size, with_options
from synapsefs.verbs.zip import packed


@mirrored("pipe", "pipe_file", "put", "put_file", "touch")
class WritingVerbs(SendingVerbs):
    """The verbs that send bytes: all arrive and are verified before any becomes visible."""

    async def _pipe_file(
        self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Write bytes to a file.

        Parameters
        ----------
        path
            Where.
        value
            Bytes-like.
        mode
            ``overwrite``, or ``create`` to refuse to replace what is there.
        kwargs
            ``description``, ``tags``, ``metadata`` and ``base_version`` in datasets, as for
            :meth:`open`.

        Raises
        ------
        AlreadyExistsError
            With ``create``, when something is there.
        ChangedError
            When the file is not what ``base_version`` says.
        """
        await self._pipe({path: value}, mode=mode, **kwargs)

    async def _pipe(
        self,
        path: str | Mapping[str, Any],
        value: Any = None,
        batch_size: int | None = None,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Write bytes to one path, or to several given as a mapping, which appear together."""
        options = write_options(kwargs)
        values = {path: value} if isinstance(path, str) else path
        exclusive = exclusive_by(mode)
        places = {plain(Location.parse(name)): content for name, content in values.items()}
        await self._validate(*[(place, options) for place in places])
        work = [self._stage_bytes(place, places[place], exclusive, options) for place in places]
        await self._stage_and_publish(work, batch_size)

    async def _stage_bytes(
        self, place: Location, value: Any, exclusive: bool, options: Mapping[str, Any]
    ) -> Staged:
        service = await self._service(place)
        return await stage_bytes(service, value, place, exclusive=exclusive, options=options)

    async def _put(self, lpath: Any, rpath: Any, recursive: bool = False, **kwargs: Any) -> Any:
        """Send local files or trees.

        All places are checked before the first byte goes, and all files appear together when all
        have arrived: in collections as whole units. ``callback`` counts bytes. Links are followed.
        ``mode`` and ``resume`` are those of :meth:`put_file`.

        Parameters
        ----------
        lpath, rpath, recursive, kwargs
            As for all fsspec filesystems.
        kwargs
            For one local folder: ``ignore_patterns``, lines as in ``.gitignore``;
            ``ignore_filename``, the name of files in the tree that hold such lines;
            ``ignore_defaults``, whether to leave out ``.git``, ``__pycache__``, ``*.pyc``,
            ``.DS_Store`` and ``node_modules`` too, which is so when either of the others is given.
            ``as_collection=True`` sends the folder as one zip archive. In datasets,
            ``manifest_filename`` names a JSON or YAML file with descriptions and metadata of the
            files and folders; ``description``, ``tags`` and ``metadata`` are said of every file.
            ``sync=True`` leaves files alone whose content is there already, by size, then by
            checksum; nothing is deleted. ``dry_run=True`` sends nothing. ``on_error="return"`` goes
            on after failures: files appear although others cannot be sent. ``files_callback``
            counts files.

        Returns
        -------
        list, dict or None
            With ``dry_run`` a list of dictionaries with ``source``, ``target``, ``action``
            (``create``, ``replace`` or ``unchanged``) and ``size``; with ``on_error="return"`` a
            dictionary of remote paths, each with None or the exception that befell it.

        Raises
        ------
        InvalidRequestError
            For a place where no file can be, units that would lack a required file, and local
            trees of which something cannot be sent: one error that names everything.
        """
        callback = kwargs.pop("callback", DEFAULT_CALLBACK)
        if isinstance(lpath, os.PathLike):
            lpath = os.fspath(lpath)
        manner = TransferOptions.of(kwargs)
        if manner.each and self._intrans:
            raise InvalidRequestError("on_error='return' and a transaction exclude each other")
        zipped = kwargs.pop("as_collection", False)
        manifest = kwargs.pop("manifest_filename", None)
        suffix = SUFFIX if zipped else ""
        tree = await tree_to_put(
            self,
            lpath,
            rpath,
            kwargs,
            whole=recursive or zipped,
            suffix=suffix,
            lenient=manner.each,
        )
        if zipped and manifest is not None:
            raise InvalidRequestError("an archive has no manifest: what it holds has no entries")
        if zipped:
            return await self._put_zipped(tree, lpath, callback, **kwargs)
        said: Mapping[str, Said] = {}
        if manifest is not None:
            said = await said_of(tree, manifest, lpath)
        if tree is not None:
            pairs = Pairs(tree.sources, tree.targets)
        else:
            maxdepth = kwargs.pop("maxdepth", None)
            pairs = await pairs_to_put(self, lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        warn_left_out(pairs.left_out, recursive=recursive)
        sends = await self._new_files(pairs.files(), said, lenient=manner.each, **kwargs)
        made = tree.folders if tree else pairs.folder_targets()
        folders = {name: said.get(name, {}) for name in made}
        failures = tree.failures if tree else {}
        return await self._send_so(sends, callback, folders, manner, failures)

    async def _send_so(
        self,
        sends: Sequence[NewFile],
        callback: Any,
        folders: Mapping[str, Said],
        manner: TransferOptions,
        failures: dict[str, Exception | None],
    ) -> Any:
        outcomes = failures | dict.fromkeys([item.location.path for item in sends])
        if manner.sync or manner.dry_run:
            pairs = [(str(item.source), item.location) for item in sends]
            steps = await self._steps_to_put(pairs, compare=manner.sync)
            if manner.dry_run:
                return [step.shown() for step in steps]
            changed = {step.target for step in steps if step.action != UNCHANGED}
            sends = [item for item in sends if item.location.path in changed]
        if manner.each:
            await self._make_ready([], folders)
            return outcomes | await send_each(self, sends, callback, manner)
        await self._make_ready(sends, folders)
        await self._send(sends, callback, manner.counter)
        return None

    async def _put_zipped(
        self,
        tree: LocalTree | None,
        lpath: Any,
        callback: Any,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        if tree is None:
            raise InvalidRequestError("as_collection=True packs one local folder", str(lpath))
        target = Location.parse(tree.target)
        options = {**write_options(kwargs), ARCHIVE: True}
        item = NewFile(target, tree.items[0].path, 0, exclusive_by(mode), options)
        await self._make_ready([item], {})
        async with packed(tree.items) as archive:
            size = await asyncio.to_thread(new_size, archive)
            await self._send([replace(item, source=archive, size=size, resume=False)], callback)

    async def _put_file(
        self,
        lpath: Any,
        rpath: str,
        mode: str = "overwrite",
        callback: Any = DEFAULT_CALLBACK,
        resume: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Send one local file.

        Parameters
        ----------
        mode
            ``overwrite``, or ``create`` to refuse to replace what is there.
        resume
            Go on where an interrupted call of an earlier process stopped, and let a later one do
            so; for files of more than one part. As the filesystem was made when left out.

        Raises
        ------
        AlreadyExistsError
            With ``mode="create"``, when something is there.
        OSError
            When the local file cannot be read.
        """
        if await asyncio.to_thread(os.path.isdir, lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        pair = os.fspath(lpath), rpath
        files = await self._new_files([pair], {}, mode=mode, resume=resume, **kwargs)
        await self._make_ready(files, {})
        await self._send(files, callback)

    async def _new_files(
        self,
        pairs: Sequence[tuple[str, str]],
        said: Mapping[str, Said],
        *,
        lenient: bool = False,
        mode: str = "overwrite",
        resume: bool | None = None,
        **kwargs: Any,
    ) -> list[NewFile]:
        """Describe local files by the paths they go to; with ``lenient`` also what is missing."""
        exclusive, options = exclusive_by(mode), write_options(kwargs)

        def describe(source: str, target: str) -> NewFile:
            location = Location.parse(target)
            size = 0 if lenient and not os.path.exists(source) else new_size(source)
            own = with_options(options, said.get(location.path, {}))
            return NewFile(location, source, size, exclusive, own, resume)

        return await asyncio.to_thread(lambda: [describe(*pair) for pair in pairs])

    async def _make_ready(self, sends: Sequence[NewFile], folders: Mapping[str, Said]) -> None:
        """Check everything, then make the folders; a container made for it goes when that fails."""
        for item in sends:
            service = await self._service(item.location)
            service.check_options(item.location, item.options)
        for folder, said in folders.items():
            if said:
                await self._require_sayable(folder, said)
        places = [item.location for item in sends]
        require_separate(places, map(Location.parse, folders))
        made: list[str] = []
        try:
            for folder, said in folders.items():
                made += await self._make_container(folder, said)
            await self._validate(*[(item.location, item.options) for item in sends])
        except BaseException:
            for container in made:
                await self._rmdir(container)
            raise
        for folder, said in folders.items():
            await self._make(folder, exist_ok=True, parents=True, options=said)

    async def _require_sayable(self, folder: str, said: Said) -> None:
        """Refuse to say other things of a folder that is there than it was made with.

        What the service does not tell is believed to be the same.
        """
        location = Location.parse(folder)
        service = await self._service(location)
        service.check_options(location, said)
        if not location.inner and METADATA in said:
            raise UnsupportedError("a dataset has a description, but no metadata", folder)
        try:
            entry = await self._entry(folder)
        except NotFoundError:
            return
        known = (await service.with_details(entry)).details
        told = {name: known[name] for name in said if known.get(name) is not None}
        if any(said[name] != value for name, value in told.items()):
            raise UnsupportedError(
                "is there already and says something else; a folder is described when it is made",
                folder,
            )

    async def _make_container(self, folder: str, said: Said) -> list[str]:
        """Make the collection or dataset that a folder lies in; give it if it was not there."""
        location = Location.parse(folder)
        container = Location(location.segments[:2])
        if await self._exists(container.path):
            return []
        options = said if location == container else {}
        await self._make(container.path, exist_ok=True, parents=True, options=options)
        return [container.path]

    async def _validate(self, *wanted: tuple[Location, Mapping[str, Any]]) -> None:
        """Check all places before any byte is sent; in a transaction units may still grow."""
        places = [place for place, _ in wanted]
        require_one_each(places)
        require_separate(places)
        if (transaction := self._transaction) is not None:
            transaction.require_separate(places)
        options = {place: given for place, given in wanted if given}
        for place, given in options.items():
            (await self._service(place)).check_options(place, given)
        for root in Root:
            group = [place for place, _ in wanted if place.root is root]
            if group:
                service = await self._service(group[0])
                with error_path(group[0].path):
                    await service.validate(group, complete=not self._intrans, options=options)
        for place, _ in wanted:
            if place.root is None:
                await self._service(place)

    async def _stage_and_publish(
        self, work: Sequence[Coroutine[Any, Any, Staged]], batch_size: int | None
    ) -> None:
        await self._publish_or_defer(await self._arrived(work, batch_size))

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Create an empty file, or empty the one that is there.

        Raises
        ------
        UnsupportedError
            Without ``truncate`` on an existing file: the services set times themselves.
        """
        if not truncate and await self._exists(path):
            raise UnsupportedError("the services set times themselves", path)
        await self._pipe_file(path, b"")


def exclusive_by(mode: str) -> bool:
    """Read fsspec's ``mode``: whether nothing may be replaced.

    Raises
    ------
    InvalidRequestError
        For anything but ``overwrite`` and ``create``.
    """
    if mode not in {"overwrite", "create"}:
        raise InvalidRequestError(f"mode is 'overwrite' or 'create', not {mode!r}")
    return mode == "create"
