"""Routes of login, organisations and projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from synapsefs.server import auth
from synapsefs.server.bodies import LOGIN_LIMIT
from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import datasets
from synapsefs.server.datasets.context import answered, caller_of, number, received
from synapsefs.server.datasets.models import Organization, Project, ProjectCreate
from synapsefs.server.problems import Problem
from synapsefs.wire.datasets.answers import LoginAnswer
from synapsefs.wire.datasets.requests import LoginRequest

if TYPE_CHECKING:
    from aiohttp import web

PROJECTS_MAX: Final = 1000


async def login(request: web.Request) -> web.Response:
    """Answer ``POST /auth/login``; every login issues a token of its own."""
    api_key = (await received(request, LoginRequest, LOGIN_LIMIT)).api_key
    token = auth.login(request.app, api_key)
    if token is None:
        raise Problem(401, "Invalid API key")
    return answered(LoginAnswer(access_token=token))


async def list_organizations(request: web.Request) -> web.Response:
    """Answer ``GET`` of the organisations of the caller, of which there is one."""
    name = caller_of(request).organization
    return answered([Organization(name=name, id=name)])


async def list_projects(request: web.Request) -> web.Response:
    """Answer ``GET`` of the caller's projects."""
    caller, name = caller_of(request), request.query.get("name")
    limit = number(request, "limit", PROJECTS_MAX, low=1) or 1
    rows = await request.app[DATABASE].read(
        lambda db: datasets.projects_of(db, caller, name, limit)
    )
    return answered([Project(id=row["id"], name=row["name"]) for row in rows])


async def create_project(request: web.Request) -> web.Response:
    """Answer ``POST`` of a project with its id."""
    caller, wanted = caller_of(request), await received(request, ProjectCreate)
    key = await request.app[DATABASE].write(
        lambda db: datasets.create_project(db, caller, wanted.name)
    )
    return answered(key, 201)
