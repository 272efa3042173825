"""What can be set on a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1024 * 1024

LIFETIME: Final = 3600.0
"""For how many seconds bearer tokens and signed URLs are good."""

STRICT_SECONDS: Final = 5.0
"""The same under ``synapsefs serve --strict``."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server; several servers with equal settings may share a root.

    Parameters
    ----------
    root
        Directory that holds everything the server keeps.
    tokens
        Access tokens of the collections service. Without any, everybody may come in.
    tenant
        Code of the tenant that the tokens belong to.
    api_keys
        API keys of the datasets service. Without any, every key is accepted.
    token_lifetime
        Seconds until an access token expires that a client has made; most and usual.
    bearer_lifetime, url_lifetime, upload_lifetime
        Seconds until a bearer token, a signed object URL, an unfinished upload expires.
    presign_threshold
        Largest file in bytes that gets a single presigned URL instead of parts.
    presign_part_size
        Bytes per part of a presigned multipart upload.
    max_file_size
        Largest file accepted, in bytes; None for no limit. A larger one is refused with 413.
    max_body_size
        Largest request body, in bytes, that is not a file; a larger one is refused with 413.
    max_total_size
        Most bytes below the root; what would exceed it is refused with 507. None for no limit.
    max_connections
        Connections at a time; another one takes the place of an idle one, or is refused with 503.
    max_connections_per_address
        Those of one address, in the same way; None for three quarters of all.
    request_timeout
        Seconds in which the head of a request must arrive, and in which its body must move.
    page_size_max
        Most items on one page of a first-generation list.
    buckets
        Folders or fsspec URLs by bucket name: what entries may be registered from.
    postgres
        DSN of a PostgreSQL database whose rows may be registered.
    tables
        The only tables of it that may be read, each as ``name`` or ``name=key column``; without
        a column the primary key identifies a row.
    allowed_hosts
        Names besides its address that the server answers to; ``*`` for any.
    strict
        Take the strictest reading of every open point of the protocols, and offer no extra.
    """

    root: Path
    tokens: tuple[str, ...] = field(default=(), repr=False)
    tenant: str = "default"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    token_lifetime: float = 365 * 86400.0
    bearer_lifetime: float = LIFETIME
    url_lifetime: float = LIFETIME
    upload_lifetime: float = 86400.0
    presign_threshold: int = 100 * MIB
    presign_part_size: int = 100 * MIB
    max_file_size: int | None = None
    max_body_size: int = 64 * MIB
    max_total_size: int | None = None
    max_connections: int = 1024
    max_connections_per_address: int | None = None
    request_timeout: float = 60.0
    page_size_max: int = 1000
    buckets: Mapping[str, str] = field(default_factory=dict, repr=False)
    postgres: str | None = field(default=None, repr=False)
    tables: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    strict: bool = False


SETTINGS: Final = web.AppKey("settings", ServerSettings)
