"""What can be set on a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024


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
    bearer_lifetime, url_lifetime, upload_lifetime
        Seconds until a bearer token, a signed object URL, an unfinished upload expires.
    presign_threshold
        Largest file in bytes that gets a single presigned URL instead of parts.
    presign_part_size
        Bytes per part of a presigned multipart upload.
    max_file_size
        Largest file accepted, in bytes; None for no limit.
    page_size_max
        Most items on one page of a first-generation list.
    strict
        Take the strictest reading of every open point of the protocols, and offer no extra.
    """

    root: Path
    tokens: tuple[str, ...] = ()
    tenant: str = "default"
    api_keys: tuple[str, ...] = ()
    bearer_lifetime: float = 3600.0
    url_lifetime: float = 3600.0
    upload_lifetime: float = 86400.0
    presign_threshold: int = 100 * MIB
    presign_part_size: int = 100 * MIB
    max_file_size: int | None = None
    page_size_max: int = 1000
    strict: bool = False


SETTINGS: Final = web.AppKey("settings", ServerSettings)
