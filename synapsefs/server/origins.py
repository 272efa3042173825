"""Requests that a page of another site makes a browser send: refused, whatever they ask for.

A page can send requests to any address that its reader's machine reaches, and by a name of its own
that it points at this address it could read the answers as well.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from synapsefs.server.problems import Problem
from synapsefs.wire import BLOB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synapsefs.server.problems import Handler

ANY_HOST: Final = "*"
"""Instead of a name: every ``Host`` is served."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_FOREIGN = frozenset({"cross-site", "same-site"})


class Hosts:
    """The names that a server answers to.

    Parameters
    ----------
    bound
        Address or name that it listens on. One that stands for every address of the machine is
        also reached by each of them, and by the machine's name.
    allowed
        Further names; ``*`` for any.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()) -> None:
        everywhere = bound == "" or _is_unspecified(bound)
        machine = {socket.gethostname()} if everywhere else set()
        self._names = {name.lower() for name in ("localhost", bound, *machine, *allowed)}
        self._any_address = everywhere
        self._any = ANY_HOST in self._names

    def __contains__(self, header: str) -> bool:
        """Say whether a ``Host`` header names this server."""
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match[1].strip("[]").lower().removesuffix(".")
        if self._any or name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback


HOSTS: Final = web.AppKey("hosts", Hosts)


@web.middleware
async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests under a foreign name, and those that other sites' pages make.

    Links that lead to an object are followed: who has its signed URL may read it.
    """
    if _HOST.fullmatch(request.host) is None:
        raise Problem(400, "The Host is not valid.")
    if request.host not in request.app[HOSTS]:
        raise Problem(421, "This server does not answer to that Host; see --allowed-host.")
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
    if foreign or (
        request.headers.get("Sec-Fetch-Site") in _FOREIGN and not _is_followed_link(request)
    ):
        raise Problem(403, "Requests from pages of other origins are refused.")
    return await handler(request)


def _is_followed_link(request: web.Request) -> bool:
    return (
        request.method == "GET"
        and request.path.startswith(f"{BLOB_PREFIX}/")
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
