"""Reading request bodies into models, and writing JSON answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from synapsefs.server.problems import Problem, request_id
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

ModelT = TypeVar("ModelT", bound=BaseModel)


LOGIN_LIMIT: Final = 16 * 1024
"""Most bytes of a body that is read before anybody knows who sent it."""


async def read_json(request: web.Request, most: int | None = None) -> bytes:
    """Read a body that has to be JSON, undecoded.

    Parameters
    ----------
    request
        The request; it may have no body.
    most
        Most bytes; None for ``max_body_size``.

    Raises
    ------
    Problem
        415, when the body does not claim to be JSON: a page of another site can make a browser
        send bodies of other types without asking the server first. 413, when it is too long.
    """
    if not request.body_exists:
        return b""
    if request.content_type != "application/json":
        raise Problem(415, "The body must be application/json.")
    if most is None:
        return await request.read()
    most = min(most, request.app[SETTINGS].max_body_size)
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most:
            raise Problem(413, "Request Entity Too Large.")
    return bytes(body)


async def read_model(request: web.Request, model: type[ModelT], most: int | None = None) -> ModelT:
    """Read a JSON body.

    Parameters
    ----------
    request
        The request; no body reads as an empty object.
    model
        What the body must be.
    most
        Most bytes; None for ``max_body_size``.

    Returns
    -------
    pydantic.BaseModel
        The body.

    Raises
    ------
    pydantic.ValidationError
        It is something else.
    Problem
        As :func:`read_json` says.
    """
    return model.model_validate_json(await read_json(request, most) or b"{}")


def answer_json(body: Any, status: int = 200) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(status=status, body=to_json(body), content_type="application/json")


def answer_data(
    data: Any, status: int = 200, *, pagination: Mapping[str, Any] | None = None
) -> web.Response:
    """Return an answer in the envelope of the second generation."""
    meta: dict[str, Any] = {"request_id": request_id()}
    if pagination is not None:
        meta["pagination"] = pagination
    return answer_json({"data": data, "meta": meta}, status)
