"""The filesystem that fsspec sees."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from fsspec.asyn import AsyncFileSystem
from fsspec.utils import tokenize

from synapsefs.config import ADDRESSING, addresses, resolve
from synapsefs.location import Location
from synapsefs.options import SECRETS, Options, configured, named, taking
from synapsefs.verbs.datasets import EntryVerbs
from synapsefs.verbs.get import GetVerbs
from synapsefs.verbs.listing import ListingVerbs
from synapsefs.verbs.namespace import NamespaceVerbs
from synapsefs.verbs.open import OpeningVerbs
from synapsefs.verbs.put import PutVerbs
from synapsefs.verbs.read import ReadVerbs
from synapsefs.verbs.units import UnitVerbs
from synapsefs.verbs.xattrs import AttributeVerbs

if TYPE_CHECKING:
    from synapsefs.verbs.synchronous import SynchronousVerbs
else:

    class SynchronousVerbs:
        """Types of the synchronous verbs, which ``mirrored`` and fsspec make at run time."""


class _Constructed(type(AsyncFileSystem)):  # type: ignore[misc]
    """Checks options, and makes calls that mean the same give one instance.

    An instance's ``storage_options``, which go to other processes, name the endpoints that were
    found, and a secret only where an argument gave it.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        given = named(cls, args, kwargs)
        options, origins = configured(cls, given)
        settings = resolve(options, origins)
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
    SynchronousVerbs,
    OpeningVerbs,
    ListingVerbs,
    ReadVerbs,
    GetVerbs,
    UnitVerbs,
    PutVerbs,
    NamespaceVerbs,
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
        Seconds to connect, and idle timeout in seconds; there is no total timeout.
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
        Seconds for which a listing is used again. When left out 0.3, longer where listing takes
        long, and 5 for names of collections and datasets in paths that lead into them.
    use_listings_cache
        False to list anew at every call.
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

    @taking(Options)
    def __init__(self, options: Options) -> None:
        self.given_secrets: frozenset[str] = frozenset()
        super().__init__(
            asynchronous=options.asynchronous,
            loop=options.loop,
            batch_size=options.batch_size or options.max_concurrency,
            use_listings_cache=False,
            max_paths=options.max_paths,
        )
        self._prepare(resolve({name: getattr(options, name) for name in ADDRESSING}), options)

    # --- identity and life -----------------------------------------------------------------

    @property
    def fsid(self) -> str:
        """A text that is the same for instances over the same services, in every process."""
        return f"synapse-{hashlib.sha256(repr(self.settings).encode()).hexdigest()[:16]}"

    def __dask_tokenize__(self) -> str:
        return str(tokenize(type(self).__name__, **self.storage_options))

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Describe the instance so that it can be made again; without secrets if so asked."""
        made: dict[str, Any] = super().to_dict(include_password=include_password)
        hidden = frozenset() if include_password else SECRETS
        return {name: value for name, value in made.items() if name not in hidden}

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
