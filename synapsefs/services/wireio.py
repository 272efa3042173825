"""What both services have in common on the wire: answers as models, files as bodies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from synapsefs.errors import ChecksumError, IntegrityError
from synapsefs.http import Body, Reply
from synapsefs.sessions import SLICE

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


def slice_of(
    descriptor: int,
    start: int,
    size: int,
    path: str,
    sent: Callable[[int], None] = lambda _: None,
) -> Body:
    """Make a body of a part of an open local file, read as it is sent.

    Parameters
    ----------
    sent
        Is told the bytes of each piece once the connection has taken it.

    Raises
    ------
    ChecksumError
        While it is sent, when the file has become shorter.
    """

    async def chunks() -> AsyncIterator[bytes]:
        position, end = start, start + size
        while position < end:
            length = min(SLICE, end - position)
            data = await asyncio.to_thread(os.pread, descriptor, length, position)
            if not data:
                raise ChecksumError("the file became shorter", path)
            position += len(data)
            yield data
            sent(len(data))

    return Body(size, chunks)
