"""Refusals, and how each service words them.

Handlers raise :class:`Problem` and do not care which service they belong to; one middleware
writes the body in the shape that the path calls for.
"""

from __future__ import annotations

import errno
import html
import logging
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import ValidationError

from synapsefs.server.blobs import TooLargeError
from synapsefs.wire import BLOB_PREFIX, OWN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

CODES = {
    400: "VALIDATION_ERROR",
    401: "AUTHENTICATION_REQUIRED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    410: "GONE",
    411: "LENGTH_REQUIRED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
    421: "MISDIRECTED_REQUEST",
    422: "UNPROCESSABLE_ENTITY",
    429: "RATE_LIMIT_EXCEEDED",
    507: "INSUFFICIENT_STORAGE",
}

OBJECT_CODES = {
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    411: "MissingContentLength",
    421: "MisdirectedRequest",
    413: "EntityTooLarge",
    416: "InvalidRange",
    507: "InsufficientStorage",
}


MOST_COMPLAINTS = 1000
"""Complaints about one request that are worth listing; hostile ones have millions."""


class Problem(Exception):  # noqa: N818 - it is the answer, not a fault of the program
    """A refusal.

    Parameters
    ----------
    status
        HTTP status.
    detail
        Text for people, free of secrets.
    code
        Code of the second generation or of object storage; by default that of the status.
    fields
        Complaints about single fields, ``(field, message)``.
    body
        First generation and datasets: the whole body, instead of ``{"detail": …}``.
    headers
        Headers to add.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        fields: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.fields = fields
        self.body = body
        self.headers = headers


def not_found(detail: str = "Not found.") -> Problem:
    """Return the refusal for something that is not there."""
    return Problem(404, detail)


def invalid(field: str, message: str) -> Problem:
    """Return the refusal for one field of a request."""
    return Problem(400, f"{field}: {message}", fields=[(field, message)], body={field: [message]})


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into answers."""
    try:
        return await handler(request)
    except Problem as problem:
        return answer(request, problem)
    except ValidationError as error:
        return answer(request, _from_validation(request, error))
    except web.HTTPException as error:
        return answer(request, _from_http(error))
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response(status=400)
    except Exception as error:
        failure = _from_failure(error)
        if failure.status == 500:
            log.exception("%s %s failed", request.method, request.path)
        return answer(request, failure)


def answer(request: web.Request, problem: Problem) -> web.Response:
    """Write a refusal in the shape that the request's service uses.

    Parameters
    ----------
    request
        Its path tells the service.
    problem
        What to say.

    Returns
    -------
    aiohttp.web.Response
        The answer.
    """
    if request.path.startswith(BLOB_PREFIX):
        response = web.Response(
            status=problem.status,
            text=_object_error(problem),
            content_type="application/xml",
        )
    elif request.path.startswith("/v2/"):
        response = web.json_response(_enveloped(problem), status=problem.status)
    else:
        body = problem.body or {"detail": problem.detail}
        response = web.json_response(body, status=problem.status)
    response.headers.update(problem.headers or {})
    return response


def request_id() -> str:
    """Return a new id for the envelope of an answer."""
    return f"req_{secrets.token_hex(12)}"


def _enveloped(problem: Problem) -> dict[str, Any]:
    details = [{"field": field, "message": message} for field, message in problem.fields or ()]
    code = problem.code or CODES.get(problem.status, "INTERNAL_ERROR")
    return {
        "error": {
            "code": code,
            "message": problem.detail,
            "details": details or None,
            "status": problem.status,
        },
        "meta": {"request_id": request_id()},
    }


def _object_error(problem: Problem) -> str:
    default = "InternalError" if problem.status >= 500 else "InvalidRequest"
    code = problem.code or OBJECT_CODES.get(problem.status, default)
    words = html.escape(problem.detail, quote=False)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"
    )


def _from_validation(request: web.Request, error: ValidationError) -> Problem:
    datasets = request.path.startswith(("/v0.1/", "/auth/", OWN_PREFIX))
    status, words = 422 if datasets else 400, "The request is not valid."
    if error.error_count() > MOST_COMPLAINTS:
        return Problem(status, words)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if datasets:
        listed = [{k: item[k] for k in ("loc", "msg", "type")} for item in found]
        return Problem(status, words, body={"detail": listed})
    fields = [(".".join(map(str, item["loc"])), item["msg"]) for item in found]
    body: dict[str, list[str]] = {}
    for field, message in fields:
        body.setdefault(field or "non_field_errors", []).append(message)
    return Problem(status, words, fields=fields, body=body)


def _from_http(error: web.HTTPException) -> Problem:
    kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return Problem(error.status, f"{error.reason}.", headers=kept)


def _from_failure(error: Exception) -> Problem:
    if isinstance(error, TooLargeError):
        return Problem(413, "The file is larger than this server accepts.")
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    full = full or (isinstance(error, sqlite3.OperationalError) and "is full" in str(error))
    if full:
        return Problem(507, "There is no space left on the server.")
    if isinstance(error, OverflowError):
        return Problem(400, "A number is out of range.")
    if isinstance(error, UnicodeEncodeError):
        return Problem(400, "A text is no valid Unicode.")
    return Problem(500, "The server failed.")
