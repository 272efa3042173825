"""The application: both services on one port, and what they share."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aiohttp import web

from synapsefs._version import __version__
from synapsefs.server import collections, datasets, garbage, guard, objects, parts, tokens
from synapsefs.server.auth import authenticate
from synapsefs.server.blobs import BLOBS, BlobStore
from synapsefs.server.database import DATABASE, Database
from synapsefs.server.housekeeping import keep_house
from synapsefs.server.origins import HOSTS, Hosts, same_origin
from synapsefs.server.problems import Problem, problems
from synapsefs.server.quota import QUOTA, Quota, within_quota
from synapsefs.server.settings import SETTINGS, ServerSettings
from synapsefs.server.signing import SIGNER, Signer, load_secret
from synapsefs.wire import BLOB_PREFIX, SERVER_HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from synapsefs.server.problems import Handler

log = logging.getLogger(__name__)

READ_BUFFER = 512 * 1024
BACKLOG = 1024
CATALOGUE = "catalogue.sqlite3"
SHUTDOWN_SECONDS = 5.0
KEEPALIVE_SECONDS = 75.0


def create_app(settings: ServerSettings, host: str = "127.0.0.1") -> web.Application:
    """Assemble a server.

    Parameters
    ----------
    settings
        Its settings. The root is created when it is not there.
    host
        Address or name that it will listen on.

    Returns
    -------
    aiohttp.web.Application
        The application, to be run by :func:`serve` or any aiohttp runner.

    Raises
    ------
    OSError
        The root cannot be used.
    """
    _make_private(settings.root)
    app = web.Application(
        middlewares=[
            guard.watch,
            problems,
            same_origin,
            _careful,
            authenticate,
            within_quota,
            _proceed,
        ],
        client_max_size=settings.max_body_size,
    )
    app[SETTINGS] = settings
    app[HOSTS] = Hosts(host, settings.allowed_hosts)
    app[QUOTA] = Quota(settings.root, settings.max_total_size)
    app[SIGNER] = Signer(load_secret(settings.root).key)
    app[BLOBS] = BlobStore(settings.root)
    schemas = [tokens.SCHEMA, parts.SCHEMA, collections.SCHEMA, datasets.SCHEMA, garbage.SCHEMA]
    app[DATABASE] = Database(settings.root / CATALOGUE, schemas)
    app.cleanup_ctx.append(keep_house)
    app.on_response_prepare.append(_name_itself)
    if not settings.strict:
        app.on_response_prepare.append(_announce)
    app.router.add_route("GET", "/health/", _health)
    for module in (objects, parts, collections, datasets):
        module.setup(app)
    for route in app.router.routes():
        route._expect_handler = guard.wait_before_continuing  # noqa: SLF001 - or at every route
    return app


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is listening.

    Parameters
    ----------
    url
        Where, without a trailing slash.
    runner
        What runs the application.
    listening
        The socket it listens on.
    acceptor
        What accepts connections from it.
    """

    url: str
    runner: web.AppRunner
    listening: socket.socket
    acceptor: asyncio.Server

    async def close(self) -> None:
        """Stop listening, finish what is running and close the root."""
        self.acceptor.close()
        await self.runner.cleanup()


async def serve(settings: ServerSettings, host: str = "127.0.0.1", port: int = 0) -> Running:
    """Start a server in the running event loop.

    Parameters
    ----------
    settings
        Its settings.
    host, port
        Where to listen; port 0 takes a free one.

    Returns
    -------
    Running
        The server; close it when done.

    Raises
    ------
    OSError
        The root or the port cannot be used.
    """
    runner = web.AppRunner(create_app(settings, host), shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        accept = guard.connections(
            cast("web.Server", runner.server),
            settings,
            access_log=None,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        acceptor = await asyncio.get_running_loop().create_server(
            accept, sock=listening, backlog=BACKLOG
        )
    except BaseException:
        await runner.cleanup()
        raise
    shown = f"[{host}]" if ":" in host else host
    return Running(f"http://{shown}:{listening.getsockname()[1]}", runner, listening, acceptor)


def _make_private(root: Path) -> None:
    """Let nobody but the owner of a root reach what is in it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    catalogue = root / CATALOGUE
    os.close(os.open(catalogue, os.O_RDWR | os.O_CREAT, 0o600))
    for path, mode in ((root, 0o700), (catalogue, 0o600)):
        try:
            path.chmod(mode)
        except PermissionError:
            log.warning("%s belongs to somebody else: others may be able to read it", path)


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _careful(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse encoded bodies; if strict, what the strictest refuse."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, "Encoded bodies are not accepted.")
    if request.app[SETTINGS].strict and "chunked" in request.headers.get("Transfer-Encoding", ""):
        raise Problem(411, "A Content-Length is required.")
    return await handler(request)


@web.middleware
async def _proceed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Ask for the body once its sender is known; signed URLs are checked by their handlers."""
    if not request.path.startswith(BLOB_PREFIX):
        await guard.proceed(request)
    return await handler(request)


async def _name_itself(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(guard.NAME)


async def _announce(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[SERVER_HEADER] = __version__
