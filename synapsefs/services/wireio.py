"""Reading the services' answers into models."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from synapsefs.errors import IntegrityError
from synapsefs.transport import Reply

T = TypeVar("T")


def parsed(adapter: TypeAdapter[T], reply: Reply, about: str | None) -> T:
    """Read an answer.

    Raises
    ------
    IntegrityError
        When the answer is not what the protocol says.
    """
    try:
        return adapter.validate_json(reply.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "body"
        words = f"the service's answer breaks its protocol at {place}: {first['msg']}"
        raise IntegrityError(words, about, status=reply.status) from None
