"""Writing bytes and local files: pipe, put and touch."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    UnsupportedError,
)
from synapsefs.local.manifest import METADATA, Said
from synapsefs.local.zip import SUFFIX
from synapsefs.location import Location
from synapsefs.services.base import (
    ARCHIVE,
    UNKNOWN_SIZE,
    NewFile,
    write_options,
)
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.expand import (
    LocalFiles,
    expand_put,
    ignored_by,
    plain,
    require_separate,
    size_of,
    tree_to_put,
    warn_left_out,
)
from synapsefs.verbs.plan import UNCHANGED, TransferOptions
from synapsefs.verbs.write import Failures, Writes, is_exclusive
from synapsefs.verbs.zip import packed


@mirrored("pipe", "pipe_file", "put", "put_file", "touch")
class PutVerbs(Writes):
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
        values = {path: value} if isinstance(path, str) else path
        exclusive, options = is_exclusive(mode), write_options(kwargs)
        contents = {plain(Location.parse(name)): content for name, content in values.items()}
        files = []
        for location, content in contents.items():
            view = memoryview(content).cast("B")
            files.append(NewFile(location, view, len(view), exclusive, options))
        await self._check(files)
        await self._write(files, batch_size=batch_size)

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
        if isinstance(lpath, os.PathLike):
            lpath = os.fspath(lpath)
        transfer = TransferOptions.of(kwargs)
        if transfer.each and self._intrans:
            raise InvalidRequestError("on_error='return' and a transaction exclude each other")
        if kwargs.pop("as_collection", False):
            await self._put_zipped(lpath, rpath, kwargs)
            return None
        found = await self._local_files(lpath, rpath, kwargs, recursive, lenient=transfer.each)
        warn_left_out(found.left_out, recursive=recursive)
        files = _new_files(found, **kwargs)
        outcomes = {**found.failures, **dict.fromkeys([file.location.path for file in files])}
        if transfer.sync or transfer.dry_run:
            plan = await self._plan_put(files, compare=transfer.sync)
            if transfer.dry_run:
                return [step.shown() for step in plan]
            changed = {step.target for step in plan if step.action != UNCHANGED}
            files = [file for file in files if file.location.path in changed]
        failures: Failures | None = {} if transfer.each else None
        files = await self._make_ready(files, found.folders, failures)
        await self._write(
            files,
            callback=kwargs.get("callback", DEFAULT_CALLBACK),
            counter=transfer.counter,
            failures=failures,
        )
        if failures is None:
            return None
        return outcomes | {location.path: error for location, error in failures.items()}

    async def _local_files(
        self, lpath: Any, rpath: Any, kwargs: dict[str, Any], recursive: bool, *, lenient: bool
    ) -> LocalFiles:
        """Find out what is to be sent; takes the options that are for one directory."""
        ignored = ignored_by(kwargs)
        manifest, maxdepth = kwargs.pop("manifest_filename", None), kwargs.pop("maxdepth", None)
        if recursive and not maxdepth:
            tree = await tree_to_put(self, lpath, rpath, ignored, lenient=lenient)
            if tree is not None:
                return await tree.contents(manifest)
        for given, what in (
            (ignored, "what to leave out can be said of"),
            (manifest, "a manifest speaks of"),
        ):
            if given is not None:
                raise InvalidRequestError(f"{what} one local folder, put as a whole", str(lpath))
        return await expand_put(
            self, lpath, rpath, recursive=recursive, maxdepth=maxdepth, lenient=lenient
        )

    async def _put_zipped(self, lpath: Any, rpath: Any, kwargs: dict[str, Any]) -> None:
        """Send one local directory as an archive."""
        tree = await tree_to_put(self, lpath, rpath, ignored_by(kwargs), suffix=SUFFIX)
        if kwargs.get("manifest_filename") is not None:
            raise InvalidRequestError("an archive has no manifest: what it holds has no entries")
        if tree is None or kwargs.get("maxdepth"):
            raise InvalidRequestError("as_collection=True packs one local folder", str(lpath))
        location, source = Location.parse(tree.paths[0]), tree.items[0].path
        exclusive = is_exclusive(kwargs.get("mode", "overwrite"))
        options = {**write_options(kwargs), ARCHIVE: True}
        await self._check([NewFile(location, source, UNKNOWN_SIZE, exclusive, options)])
        async with packed(tree.items) as archive:
            size = await asyncio.to_thread(os.path.getsize, archive)
            file = NewFile(location, archive, size, exclusive, options, resume=False)
            await self._write([file], callback=kwargs.get("callback", DEFAULT_CALLBACK))

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
        source, location = os.fspath(lpath), Location.parse(rpath)
        size = await asyncio.to_thread(size_of, source)
        if size is None:
            await self._makedirs(location.path, exist_ok=True)
            return
        options = write_options(kwargs)
        file = NewFile(location, source, size, is_exclusive(mode), options, resume)
        await self._check([file])
        await self._write([file], callback=callback)

    async def _make_ready(
        self, files: Sequence[NewFile], folders: Mapping[str, Said], failures: Failures | None
    ) -> list[NewFile]:
        """Check everything, then make directories; a container made for it goes when that fails.

        With ``failures`` the files that fail the check are left out, and noted there.
        """
        said = {folder: options for folder, options in folders.items() if options}
        for folder, options in said.items():
            await self._require_sayable(folder, options)
        locations = {folder: Location.parse(folder) for folder in folders}
        if failures is None:
            require_separate([file.location for file in files], locations.values())
        made: list[str] = []
        try:
            if failures is None:
                try:
                    await self._check(files)
                except NotFoundError:
                    for container in {Location(one.segments[:2]) for one in locations.values()}:
                        with contextlib.suppress(AlreadyExistsError):
                            options = said.get(container.path, {})
                            await self._make(
                                container.path, exist_ok=False, parents=True, options=options
                            )
                            made.append(container.path)
                    if not made:
                        raise
                    await self._check(files)
        except BaseException:
            for path in made:
                await self._rmdir(path)
            raise
        for folder, options in folders.items():
            await self._make(folder, exist_ok=True, parents=True, options=options)
        return list(files) if failures is None else await self._passing(files, failures)

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
        if any(known.get(name) not in (None, value) for name, value in said.items()):
            raise UnsupportedError(
                "is there already and says something else; a folder is described when it is made",
                folder,
            )

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


def _new_files(
    found: LocalFiles, *, mode: str = "overwrite", resume: bool | None = None, **kwargs: Any
) -> list[NewFile]:
    """Describe local files by the paths they go to; a manifest goes before what all files say."""
    exclusive, common = is_exclusive(mode), write_options(kwargs)
    files = []
    for source, target, size in found.files:
        options, said = common, found.said.get(target)
        if said:
            metadata = {**common.get(METADATA, {}), **said.get(METADATA, {})}
            options = {**common, **said, **({METADATA: metadata} if metadata else {})}
        files.append(NewFile(Location.parse(target), source, size, exclusive, options, resume))
    return files
