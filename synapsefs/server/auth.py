"""Who is asking: access tokens and tenants, API keys and bearer tokens."""

from __future__ import annotations

import hmac
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from synapsefs.server import tokens
from synapsefs.server.problems import Problem
from synapsefs.server.settings import SETTINGS
from synapsefs.server.signing import SIGNER
from synapsefs.wire import BLOB_PREFIX, OWN_PREFIX
from synapsefs.wire.collections.constants import ACCESS_TOKEN_HEADER, TENANT_HEADER

if TYPE_CHECKING:
    from synapsefs.server.problems import Handler

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
    credential
        Id of the configured credential that let the request in; empty where everybody comes in.
    """

    user: str
    tenant: str
    credential: str = ""


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


def user_of(app: web.Application, credential: str) -> str:
    """Return the stable user id that belongs to a credential, which it does not reveal."""
    return f"user-{app[SIGNER].name('user', credential)[:16]}"


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
    user = user_of(app, api_key) if settings.api_keys else ANYBODY
    key = app[SIGNER].name("key", api_key) if settings.api_keys else ""
    return app[SIGNER].issue(user, settings.bearer_lifetime, key=key, tenant=settings.tenant)


def access_granted(app: web.Application, token: str) -> bool:
    """Return whether `token` is an access token of the server."""
    return not app[SETTINGS].tokens or _credential_of(app, token) is not None


def _bearer(request: web.Request) -> Identity:
    """Check a bearer token, which is good as long as the API key that it was issued for."""
    settings, signer = request.app[SETTINGS], request.app[SIGNER]
    token = _bare(request.headers.get("Authorization"))
    claims = signer.claims(token) if token else None
    if claims is not None and claims.get("tenant") == settings.tenant:
        keys = {signer.name("key", key) for key in settings.api_keys} or {""}
        if claims.get("key") in keys:
            return Identity(str(claims["sub"]), settings.tenant, str(claims["key"]))
    raise Problem(401, "Could not validate credentials.")


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
    maker = _credential_of(request.app, credential)
    if maker is None:
        raise Problem(401, "Invalid token.")
    tenant = _bare(request.headers.get(TENANT_HEADER))
    if (tenant or token) and tenant in (None, settings.tenant):
        return Identity(user_of(request.app, credential), settings.tenant, maker)
    raise Problem(403, "The tenant is missing or not yours.")


def _credential_of(app: web.Application, token: str) -> str | None:
    """Return the id of the configured token that a token is or was made with, if it is good."""
    configured, signer = app[SETTINGS].tokens, app[SIGNER]
    if _one_of(token, configured):
        return signer.name("token", token)
    maker = tokens.maker_of(app, token)
    return maker if maker in {signer.name("token", one) for one in configured} else None


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
