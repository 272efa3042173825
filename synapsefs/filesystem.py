"""The filesystem that fsspec sees."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from fsspec.asyn import AsyncFileSystem
from fsspec.utils import tokenize

from synapsefs import sync
from synapsefs.config import ADDRESSES, MIB, NetworkOptions, addresses, resolve, tls_context
from synapsefs.errors import UnsupportedError, error_path
from synapsefs.files import AsyncWriter, SynapseWriter
from synapsefs.location import Location
from synapsefs.options import SECRETS, configured, named
from synapsefs.readers import AsyncReader, SynapseReader
from synapsefs.services.base import write_options
from synapsefs.verbs.calls import checked, opening
from synapsefs.verbs.copying import CopyingVerbs
from synapsefs.verbs.datasets import EntryVerbs
from synapsefs.verbs.listing import ListingVerbs
from synapsefs.verbs.reading import ReadingVerbs
from synapsefs.verbs.units import UnitVerbs
from synapsefs.verbs.xattrs import AttributeVerbs
from synapsefs.wrappers import TextFile, byte_order_mark, compressed

_TEXT_OPTIONS = ("encoding", "errors", "newline")
_ADDRESSING = (*ADDRESSES, *SECRETS, "tenant", "datasets")


class _Constructed(type(AsyncFileSystem)):  # type: ignore[misc]
    """Checks options, and makes calls that mean the same give one instance.

    An instance's ``storage_options``, which go to other processes, name the endpoints that were
    found, and a secret only where an argument gave it.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        given = named(cls, args, kwargs)
        options, origins = configured(cls, given)
        addressing = {name: options.get(name) for name in _ADDRESSING}
        settings = resolve(**addressing, origins=origins)
        options |= addresses(settings)
        ordered = {name: options[name] for name in sorted(options)}
        made = super().__call__(**ordered)
        if made.settings != settings:  # the environment holds another credential by now
            cls._cache.pop(made._fs_token, None)  # noqa: SLF001 - fsspec's own name for its key
            made = super().__call__(**ordered)
        made.given_secrets |= SECRETS & given.keys()
        made.storage_options = {
            name: value
            for name, value in {**made.storage_options, **options}.items()
            if name not in SECRETS - made.given_secrets and name != "skip_instance_cache"
        }
        return made


class SynapseFileSystem(
    ListingVerbs,
    ReadingVerbs,
    UnitVerbs,
    CopyingVerbs,
    AttributeVerbs,
    EntryVerbs,
    metaclass=_Constructed,
):
    """Data collections and datasets as files and directories.

    Parameters
    ----------
    endpoint_url
        The collections service: ``https://…``, ``http://…``, or ``file:///some/dir`` for the
        embedded server over that directory. Left out: the services' own environment variables and
        login file, else the embedded server in the user's data directory.
    token
        Access token of the collections service.
    tenant
        Tenant code, where the token does not tell it.
    datasets_endpoint_url
        The datasets service; the same endpoint when left out.
    datasets_token
        API key of the datasets service.
    datasets
        Dataset ids by name, for datasets that the service cannot list.
    block_size
        Bytes of one part of an upload; files of at most one part go in one request where the
        protocol has one.
    connect_timeout, read_timeout
        Seconds to connect, and seconds in which something must move.
    retries
        How often a failed request is tried again.
    max_connections, max_concurrency
        Connections, and files or parts in flight, at a time. All instances of a process together
        have at most 64 connections in use.
    trust_env
        Take proxies from the environment.
    ssl
        Path of a file or directory of the certificates to trust (PEM), in place of the system's;
        or an ``ssl.SSLContext``, with which an instance cannot be pickled.
    resume
        Let ``put`` and ``get`` of files of more than one part go on where an interrupted call of an
        earlier process stopped.
    listings_expiry_time
        Seconds for which a listing is believed. When left out 0.3, longer where listing takes
        long, and 5 for names of collections and datasets in paths that lead into them.
    use_listings_cache
        False to believe no listing.
    asynchronous, loop, batch_size, max_paths, skip_instance_cache
        As for all asynchronous fsspec filesystems.

    Raises
    ------
    TypeError
        For an unknown option.
    InvalidRequestError
        For an option that makes no sense, and for one that belongs to an endpoint when none is
        named.

    Examples
    --------
    >>> import fsspec
    >>> fs = fsspec.filesystem("synapse", endpoint_url="file:///tmp/store")  # doctest: +SKIP
    >>> fs.ls("synapse://")  # doctest: +SKIP
    """

    def __init__(
        self,
        endpoint_url: str | None = None,
        token: str | None = None,
        tenant: str | None = None,
        datasets_endpoint_url: str | None = None,
        datasets_token: str | None = None,
        *,
        datasets: Mapping[str, str] | None = None,
        block_size: int = 50 * MIB,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        retries: int = 4,
        max_connections: int = 64,
        max_concurrency: int = 16,
        trust_env: bool = False,
        ssl: Any = None,
        resume: bool = True,
        listings_expiry_time: float | None = None,
        use_listings_cache: bool = True,
        asynchronous: bool = False,
        loop: Any = None,
        batch_size: int | None = None,
        max_paths: int | None = None,
    ) -> None:
        self.given_secrets: frozenset[str] = frozenset()
        options = NetworkOptions(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries=retries,
            max_connections=max_connections,
            max_concurrency=max_concurrency,
            block_size=block_size,
            trust_env=trust_env,
            tls=tls_context(ssl),
        )
        super().__init__(
            asynchronous=asynchronous,
            loop=loop,
            batch_size=batch_size or max_concurrency,
            use_listings_cache=False,
            max_paths=max_paths,
        )
        settings = resolve(
            endpoint_url=endpoint_url,
            token=token,
            tenant=tenant,
            datasets_endpoint_url=datasets_endpoint_url,
            datasets_token=datasets_token,
            datasets=datasets,
        )
        expiry = listings_expiry_time if use_listings_cache else 0.0
        self._prepare(settings, options, dict(datasets or {}), expiry, resume=resume)

    # --- files -----------------------------------------------------------------------------

    @opening
    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file.

        Written files appear, whole, when they are closed without an exception under way.

        Parameters
        ----------
        path
            Where.
        mode
            ``r``, ``w`` or ``x``, with ``b`` for bytes.
        block_size
            Bytes of one part of an upload.
        cache_options
            For the cache that ``cache_type`` names; the default adapts by itself.
        compression
            A codec known to fsspec, or ``infer`` from the suffix.
        kwargs
            ``encoding``, ``errors`` and ``newline`` in text mode; ``cache_type``. ``version``: read
            what the file was then, as :meth:`revisions` lists it. For writing in datasets:
            ``description`` (text), ``tags`` (list of texts), ``metadata`` (mapping); left out,
            those of a file that is replaced stay; and ``embedding`` (numbers) of a new file.
            ``base_version``: the ``version`` in :meth:`info`, or its ``revision``, a number, that
            is to be replaced, and no other.

        Raises
        ------
        ChangedError
            At the close, when the file is no longer what ``base_version`` says.
        UnsupportedError
            For ``a`` and ``+``: the services hold whole files.
        """
        if "b" not in mode:
            text = {name: kwargs.pop(name) for name in _TEXT_OPTIONS if name in kwargs}
            binary = mode.replace("t", "") + "b"
            mark = byte_order_mark(text.get("encoding"))
            inner = self.open(path, binary, block_size, cache_options, compression, **kwargs)
            if mark and inner.writable() and not inner.seekable():
                inner.write(mark)
            return TextFile(inner, **text)
        plain = super().open(path, mode, block_size, cache_options, **kwargs)
        return compressed(plain, path, mode, compression) if compression else plain

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        _check_mode(mode, path)
        if "r" in mode:
            version = kwargs.pop("version", None)
            entry, content = sync.run(self.loop, self._sized_content(path, version))
            kwargs.pop("size", None)
            return SynapseReader(
                self,
                entry,
                content,
                block_size=block_size,
                cache_options=cache_options,
                version=version,
                **kwargs,
            )
        work = self._upload(path, mode, block_size, lone=autocommit, given=kwargs)
        upload = sync.run(self.loop, work)
        return SynapseWriter(self, self._strip_protocol(path), mode, upload, autocommit=autocommit)

    async def _upload(
        self,
        path: str,
        mode: str,
        block_size: int | None,
        *,
        lone: bool,
        given: Mapping[str, Any],
    ) -> Any:
        location = Location.parse(path)
        service = await self._service(location)
        if not lone and self._transaction is not None:
            self._transaction.require_separate([location])
        with error_path(location.path):
            options = write_options(given)
            service.check_options(location, options)
            await service.validate([location], complete=lone, options={location: options})
            upload = await service.upload(
                location, size=None, exclusive="x" in mode, options=options
            )
        if block_size:
            upload.part_size = max(block_size, upload.smallest_part)
        return upload

    @checked
    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Open a file to ``await`` its reads or writes.

        Parameters
        ----------
        path, mode
            As for :meth:`open`, bytes only.
        kwargs
            ``block_size``, ``version`` and what is said of a file, as for :meth:`open`.

        Raises
        ------
        ValueError
            In text mode or with compression.
        """
        if "b" not in mode or kwargs.get("compression"):
            raise ValueError("open_async handles bytes without compression")
        _check_mode(mode, path)
        if "r" in mode:
            entry, content = await self._sized_content(path, kwargs.get("version"))
            return AsyncReader(self, entry, content)
        upload = await self._upload(path, mode, kwargs.get("block_size"), lone=True, given=kwargs)
        return AsyncWriter(self, self._strip_protocol(path), upload)

    # --- identity and life -----------------------------------------------------------------

    @property
    def fsid(self) -> str:
        """A text that is the same for instances over the same services, in every process."""
        return f"synapse-{hashlib.sha256(repr(self.settings).encode()).hexdigest()[:16]}"

    def __dask_tokenize__(self) -> str:
        return str(tokenize(type(self).__name__, **self.storage_options))

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Describe the instance so that it can be made again; without secrets if so asked."""
        found: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            found = {name: value for name, value in found.items() if name not in SECRETS}
        return found

    def to_json(self, *, include_password: bool = True) -> str:
        """Describe the instance as JSON; without secrets if so asked."""
        return json.dumps(self.to_dict(include_password=include_password))

    def __reduce__(self) -> Any:
        return _arrived, super().__reduce__()

    def __repr__(self) -> str:
        shown = self.settings.embedded or (
            self.settings.collections and self.settings.collections.url
        )
        return f"{type(self).__name__}({str(shown or 'datasets only')!r})"

    __str__ = __repr__

    def stats(self) -> dict[str, int]:
        """Count what this instance did: requests, retries, bytes sent and received."""
        names = ("requests", "retries", "bytes_sent", "bytes_received")
        return {name: self.transport.counts[name] for name in names}

    def _expire_listings(self) -> None:
        """List anew at the next use: another process may have changed what is there."""
        for service in self._services.values():
            service.invalidate()

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings; all of them without a path."""
        location = None if path is None else Location.parse(path)
        for root, service in self._services.items():
            if location is None or location.root in {None, root}:
                service.invalidate()
        super().invalidate_cache(path)

    async def aclose(self) -> None:
        """Finish what was deferred and close the running loop's connections.

        What was deferred and fails is logged: the next write to the same container does it.
        """
        try:
            if self._services_pid == os.getpid():
                for service in self._services.values():
                    await service.aclose()
        finally:
            await self.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _arrived(make: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Make an instance that another process sent, which may have changed what is there.

    An equal one that is here already lists anew.
    """
    made = make(*arguments)
    made._expire_listings()  # noqa: SLF001 - of this class
    return made


def _check_mode(mode: str, path: str) -> None:
    if mode not in {"rb", "wb", "xb"}:
        raise UnsupportedError(
            f"mode {mode!r} is not offered: the services hold whole files, so they are read, "
            "written anew (w) or created (x)",
            path,
        )
