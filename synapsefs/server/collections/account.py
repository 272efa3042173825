"""Accounts, as far as a server with one tenant and fixed tokens has them."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from synapsefs.server import tokens
from synapsefs.server.auth import access_granted, identity
from synapsefs.server.bodies import LOGIN_LIMIT, answer_data, answer_json, read_model
from synapsefs.server.collections.views import moment
from synapsefs.server.problems import Problem, not_found
from synapsefs.server.settings import SETTINGS


class Credentials(BaseModel):
    """Body of a login: the password is an access token."""

    email: str
    password: str


class TokenToCreate(BaseModel):
    """Body that creates a further access token, good for so many seconds."""

    description: str = Field(default="", max_length=1000)
    expiration: int | None = Field(default=None, ge=60)


async def log_in(request: web.Request) -> web.Response:
    """Answer ``POST users/login/``."""
    wanted = await read_model(request, Credentials, LOGIN_LIMIT)
    if not access_granted(request.app, wanted.password):
        raise Problem(400, "Unable to log in with provided credentials.")
    return answer_json({"token": wanted.password})


async def get_me(request: web.Request) -> web.Response:
    """Answer ``GET v2/users/me/``."""
    user = identity(request).user
    shown = {"id": 1, "email": f"{user}@localhost", "name": user, "is_synapse_admin": False}
    return answer_data(shown)


async def add_token(request: web.Request) -> web.Response:
    """Answer ``POST v2/tokens/``; the token appears here and never again."""
    wanted = await read_model(request, TokenToCreate, LOGIN_LIMIT)
    most = request.app[SETTINGS].token_lifetime
    lifetime = most if wanted.expiration is None else min(wanted.expiration, most)
    token, key = await tokens.create(
        request.app, identity(request).credential, wanted.description, lifetime
    )
    shown = {"id": key, "description": wanted.description, "last_used": None, "token": token}
    return answer_data({**shown, "expires_at": moment(time.time() + lifetime)}, 201)


async def list_tokens(request: web.Request) -> web.Response:
    """Answer ``GET v2/tokens/``: what was made, but not what opens anything."""
    shown = [
        {
            "id": row["id"],
            "description": row["description"],
            "created_at": moment(row["created"]),
            "expires_at": moment(row["expires"]),
            "last_used": None,
        }
        for row in tokens.listed(request.app)
    ]
    pagination = {"next_cursor": None, "previous_cursor": None, "per_page": len(shown)}
    return answer_data(shown, pagination=pagination)


async def revoke_token(request: web.Request) -> web.Response:
    """Answer ``DELETE v2/tokens/{id}/``."""
    await tokens.revoke(request.app, int(request.match_info["id"]))
    return web.Response(status=204)


async def list_tenants(request: web.Request) -> web.Response:
    """Answer ``GET v2/tenants/``."""
    pagination = {"next_cursor": None, "previous_cursor": None, "per_page": 50}
    return answer_data([_tenant(request)], pagination=pagination)


async def get_tenant(request: web.Request) -> web.Response:
    """Answer ``GET v2/tenants/{code}/``."""
    if request.match_info["code"] != request.app[SETTINGS].tenant:
        raise not_found()
    return answer_data(_tenant(request))


def setup(app: web.Application) -> None:
    """Register the routes."""
    app.router.add_route("POST", "/users/login/", log_in)
    app.router.add_route("GET", "/v2/users/me/", get_me)
    app.router.add_route("POST", "/v2/tokens/", add_token)
    app.router.add_route("GET", "/v2/tokens/", list_tokens)
    app.router.add_route("DELETE", r"/v2/tokens/{id:\d{1,18}}/", revoke_token)
    app.router.add_route("GET", "/v2/tenants/", list_tenants)
    app.router.add_route("GET", "/v2/tenants/{code}/", get_tenant)


def _tenant(request: web.Request) -> dict[str, Any]:
    code = request.app[SETTINGS].tenant
    return {"code": code, "name": code, "slug": code, "is_active": True}
