"""Who is asking: access tokens and tenants, API keys and bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from synapsefs.server.database import DATABASE
from synapsefs.server.problems import Problem
from synapsefs.server.settings import SETTINGS
from synapsefs.server.signing import SIGNER
from synapsefs.wire import BLOB_PREFIX, OWN_PREFIX
from synapsefs.wire.collections import ACCESS_TOKEN_HEADER, TENANT_HEADER

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.problems import Handler

SCHEMA = """
CREATE TABLE IF NOT EXISTS access_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created REAL NOT NULL
);
"""

OPEN_PATHS = frozenset({"/health/", "/users/login/", "/auth/login"})
BEARER_PREFIXES = ("/v0.1/", f"{OWN_PREFIX}/")
ANYBODY = "local"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking.

    Parameters
    ----------
    user
        Stable id of the user, safe to show.
    tenant
        Code of the tenant the request works in.
    """

    user: str
    tenant: str


_asking: ContextVar[Identity] = ContextVar("asking")


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request in when its credential is good; object URLs carry their own."""
    path = request.path
    unknown = request.match_info.http_exception is not None
    if not (unknown or path in OPEN_PATHS or path.startswith(BLOB_PREFIX)):
        bearer = path.startswith(BEARER_PREFIXES)
        who = _bearer(request) if bearer else _access_token(request)
        _asking.set(who)
    return await handler(request)


def identity(_: web.Request) -> Identity:
    """Return who sent the request that is being answered; only behind a credential."""
    return _asking.get()


def user_of(credential: str) -> str:
    """Return the stable user id that belongs to a credential, which it does not reveal."""
    return f"user-{_digest(credential)[:16]}"


def login(app: web.Application, api_key: str) -> str | None:
    """Exchange an API key of the datasets service for a bearer token.

    Parameters
    ----------
    app
        The server.
    api_key
        What the client sent.

    Returns
    -------
    str or None
        A new bearer token, or None when the key is not known. Older tokens stay good.
    """
    settings = app[SETTINGS]
    if settings.api_keys and not _one_of(api_key, settings.api_keys):
        return None
    user = user_of(api_key) if settings.api_keys else ANYBODY
    return app[SIGNER].issue(user, settings.bearer_lifetime)


def access_granted(app: web.Application, token: str) -> bool:
    """Return whether `token` is one of the configured access tokens."""
    tokens = app[SETTINGS].tokens
    return not tokens or _one_of(token, tokens)


async def create_token(app: web.Application, description: str, created: float) -> dict[str, Any]:
    """Create a further access token.

    Parameters
    ----------
    app
        The server.
    description
        What it is for.
    created
        Unix time in seconds.

    Returns
    -------
    dict
        ``id`` and ``token``; the token is not stored and cannot be had again.
    """
    token = f"syn_{secrets.token_urlsafe(24)}"

    def insert(connection: sqlite3.Connection) -> int | None:
        return connection.execute(
            "INSERT INTO access_tokens (digest, description, created) VALUES (?, ?, ?)",
            (_digest(token), description, created),
        ).lastrowid

    return {"id": await app[DATABASE].write(insert), "token": token}


def _bearer(request: web.Request) -> Identity:
    token = _bare(request.headers.get("Authorization"))
    user = request.app[SIGNER].subject(token) if token else None
    if user is None:
        raise Problem(401, "Could not validate credentials.")
    return Identity(user, request.app[SETTINGS].tenant)


def _access_token(request: web.Request) -> Identity:
    """Check the access token, or else the older token, which must come with its tenant."""
    settings = request.app[SETTINGS]
    if not settings.tokens:
        return Identity(ANYBODY, settings.tenant)
    token = _bare(request.headers.get(ACCESS_TOKEN_HEADER))
    legacy = _bare(request.headers.get("Authorization"))
    credential = token or legacy
    if not credential:
        raise Problem(401, "Authentication credentials were not provided.")
    if not (_one_of(credential, settings.tokens) or _is_created(request.app, credential)):
        raise Problem(401, "Invalid token.")
    tenant = _bare(request.headers.get(TENANT_HEADER))
    if (tenant or token) and tenant in (None, settings.tenant):
        return Identity(user_of(credential), settings.tenant)
    raise Problem(403, "The tenant is missing or not yours.")


def _is_created(app: web.Application, token: str) -> bool:
    def look(connection: sqlite3.Connection) -> bool:
        found = connection.execute(
            "SELECT 1 FROM access_tokens WHERE digest = ?", (_digest(token),)
        )
        return found.fetchone() is not None

    return app[DATABASE].look(look)


def _bare(header: str | None) -> str | None:
    """Strip one leading ``Token`` or ``Bearer`` from a credential header."""
    if header is None:
        return None
    value = header.strip()
    first, _, rest = value.partition(" ")
    if rest and first.lower() in ("token", "bearer"):
        value = rest.strip()
    return value or None


def _one_of(candidate: str, known: tuple[str, ...]) -> bool:
    encoded = candidate.encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(encoded, token.encode()) for token in known) > 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
