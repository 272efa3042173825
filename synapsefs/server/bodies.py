"""Reading request bodies into models, and writing JSON answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from synapsefs.server.problems import request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_model(request: web.Request, model: type[ModelT]) -> ModelT:
    """Read a JSON body.

    Parameters
    ----------
    request
        The request; no body reads as an empty object.
    model
        What the body must be.

    Returns
    -------
    pydantic.BaseModel
        The body.

    Raises
    ------
    pydantic.ValidationError
        It is something else.
    """
    return model.model_validate_json(await request.read() or b"{}")


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
