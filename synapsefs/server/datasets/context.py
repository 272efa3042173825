"""What the handlers of the datasets service share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from pydantic_core import to_json

from synapsefs.server.auth import identity
from synapsefs.server.bodies import read_json
from synapsefs.server.datasets import buckets
from synapsefs.server.datasets.access import Caller
from synapsefs.server.datasets.faults import unprocessable
from synapsefs.server.datasets.owners import OWNER, OWNERS
from synapsefs.server.datasets.rendering import Renderer
from synapsefs.server.objects import object_url
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    from synapsefs.wire.datasets.base import Model

M = TypeVar("M", bound="Model")


async def received(request: web.Request, model: type[M], most: int | None = None) -> M:
    """Read and validate the JSON body of a request.

    Parameters
    ----------
    request
        The request.
    model
        What the body must be.
    most
        Most bytes; None for ``max_body_size``.

    Raises
    ------
    pydantic.ValidationError
        The body is no JSON or not of this model.
    Problem
        As :func:`synapsefs.server.bodies.read_json` says.
    """
    return model.model_validate_json(await read_json(request, most))


def caller_of(request: web.Request) -> Caller:
    """Return who sent a request."""
    who = identity(request)
    owns_root = who.user in request.app[OWNERS]
    return Caller(OWNER if owns_root else who.user, who.tenant, who.user)


def renderer_for(request: web.Request) -> Renderer:
    """Return what renders rows with URLs that the client of a request can reach."""
    return Renderer(
        blob_url=lambda blob, name: object_url(request, blob, name),
        source_url=lambda bucket, key: buckets.object_url(request, bucket, key),
        strict=is_strict(request),
    )


def is_strict(request: web.Request) -> bool:
    """Whether the server takes the strictest reading of the protocol."""
    return request.app[SETTINGS].strict


def answered(payload: object, status: int = 200) -> web.Response:
    """Return an answer with `payload` as its JSON body."""
    return web.Response(body=to_json(payload), status=status, content_type="application/json")


def number(
    request: web.Request, name: str, default: int | None, *, low: int = 0, high: int = 2**31
) -> int | None:
    """Return an integer of the query.

    Raises
    ------
    Problem
        422 when it is none or outside of `low` to `high`.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 10 or not low <= int(text) <= high:
        raise unprocessable(f"{name} must be an integer from {low} to {high}")
    return int(text)
