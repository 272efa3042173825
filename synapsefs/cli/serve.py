"""The command that runs the embedded server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synapsefs.cli.base import app, reported
from synapsefs.errors import InvalidRequestError
from synapsefs.local.servers import LocalServer, announced

if TYPE_CHECKING:
    from synapsefs.server.settings import ServerSettings


@app.command()
def serve(
    root: Annotated[Path, typer.Option(help="Directory that holds everything; made if missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SYNAPSEFS_TOKEN",
            show_envvar=True,
            help="Access token for collections; may be repeated. Others see arguments, but not "
            "the environment.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of access tokens, one a line.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant that the tokens belong to.")] = "default",
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SYNAPSEFS_API_KEY",
            show_envvar=True,
            help="API key for datasets; may be repeated.",
        ),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File of API keys, one a line.")] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name besides its address that it answers to; may be repeated."),
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(help="NAME=URL: a bucket to register from, as a folder or fsspec URL."),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            envvar="SYNAPSEFS_POSTGRES",
            show_envvar=True,
            help="DSN of a PostgreSQL database to register rows from.",
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=KEY_COLUMN: a table of it that may be read."),
    ] = None,
    max_file_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes of the largest file accepted.")
    ] = None,
    max_body_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes of the largest request that is no file.")
    ] = None,
    max_total_size: Annotated[
        int | None, typer.Option(min=1, help="Bytes below the root at most.")
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(min=1, help="Connections at a time.")
    ] = None,
    max_connections_per_address: Annotated[
        int | None, typer.Option(min=1, help="Connections of one address.")
    ] = None,
    request_timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Idle timeout of a request in seconds.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take the protocols at their strictest; no extras.")
    ] = False,
) -> None:
    """Serve collections and datasets over a directory until stopped; prints its URL.

    Without --token or --api-key it makes one for the root, which clients of the same user on this
    machine find by themselves; an address that other machines reach needs both.
    """
    from synapsefs.server.settings import (  # noqa: PLC0415 - only where it is used
        LIFETIME,
        STRICT_SECONDS,
        ServerSettings,
    )

    with reported():
        token = [*(token or ()), *_lines(token_file)]
        api_key = [*(api_key or ()), *_lines(api_key_file)]
        if not (token and api_key) and not _is_loopback(host):
            rule = "an address that other machines reach needs --token and --api-key"
            raise InvalidRequestError(rule, host)
        if table and not postgres:
            raise InvalidRequestError("tables need --postgres", table[0])
        lifetime = STRICT_SECONDS if strict else LIFETIME
        limits: dict[str, Any] = {
            "max_file_size": max_file_size,
            "max_body_size": max_body_size,
            "max_total_size": max_total_size,
            "max_connections": max_connections,
            "max_connections_per_address": max_connections_per_address,
            "request_timeout": request_timeout,
        }
        settings = ServerSettings(
            root=root,
            tokens=tuple(token),
            tenant=tenant,
            api_keys=tuple(api_key),
            buckets=_named(bucket or ()),
            postgres=postgres,
            tables=tuple(table or ()),
            allowed_hosts=tuple(allowed_host or ()),
            strict=strict,
            bearer_lifetime=lifetime,
            url_lifetime=lifetime,
            **{name: limit for name, limit in limits.items() if limit is not None},
        )
        asyncio.run(_serve(settings, host, port))


def _lines(path: Path | None) -> list[str]:
    """Read secrets, one a line."""
    if path is None:
        return []
    secrets = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not secrets:
        raise InvalidRequestError("a file of tokens or keys has at least one", str(path))
    return secrets


def _named(given: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` arguments."""
    buckets = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or "/" in name:
            raise InvalidRequestError("a bucket is given as NAME=URL", text)
        buckets[name] = value
    return buckets


async def _serve(settings: ServerSettings, host: str, port: int) -> None:
    from synapsefs.server.app import serve as start  # noqa: PLC0415 - only where it is used
    from synapsefs.server.signing import load_secret  # noqa: PLC0415 - as above

    os.umask(0o077)
    settings.root.mkdir(parents=True, exist_ok=True)
    secret = load_secret(settings.root)
    own = {
        "token": "" if settings.tokens else secret.token,
        "api_key": "" if settings.api_keys else secret.api_key,
    }
    settings = replace(
        settings,
        tokens=settings.tokens or (secret.token,),
        api_keys=settings.api_keys or (secret.api_key,),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = await start(settings, host, port)
    try:
        server = LocalServer(running.url, **own, tenant=settings.tenant)
        with announced(server) if any(own.values()) else nullcontext(False) as is_found:
            if any(own.values()):
                print(_hint(settings.root, is_found=is_found), file=sys.stderr, flush=True)
            print(running.url, flush=True)
            await stop.wait()
    finally:
        await running.close()


def _hint(root: Path, *, is_found: bool) -> str:
    """Say how clients get in."""
    stored = f"{root / 'secret'}"
    if not is_found:
        return f"clients need the token and the API key in {stored}"
    return f"your commands on this machine find its token by themselves; for others: {stored}"


def _is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name."""
    import ipaddress  # noqa: PLC0415 - only where it is used
    import socket  # noqa: PLC0415 - as above

    if not host:
        return False
    addresses = [str(item[4][0]) for item in socket.getaddrinfo(host, None)]
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
