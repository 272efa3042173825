"""Streaming ``multipart/form-data``: files pass through without being held."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from synapsefs.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader, web

HEADER_LIMIT = 16 * 1024
FIELD_LIMIT = 1024 * 1024
"""Most bytes of the plain fields of one form, all together."""

MAX_PARTS = 100
"""Most parts of one form."""

_ESCAPED = re.compile(r'\\(["\\])|%(22|0[AaDd])')


@dataclass(slots=True)
class Allowance:
    """How many bytes the plain fields of a form may still hold."""

    left: int = FIELD_LIMIT


@dataclass(frozen=True, slots=True)
class FormPart:
    """One part of a form; read its content before going to the next one.

    Parameters
    ----------
    name
        Name of the field.
    filename
        Name of the file, or None for a plain field.
    content
        The bytes, in pieces.
    allowance
        What the plain fields of the form may still hold.
    """

    name: str
    filename: str | None
    content: AsyncIterator[bytes]
    allowance: Allowance

    async def text(self) -> str:
        """Read a plain field.

        Raises
        ------
        Problem
            400, when it is too long or no text.
        """
        collected = bytearray()
        async for piece in self.content:
            collected += piece
            self.allowance.left -= len(piece)
            if self.allowance.left < 0:
                raise Problem(400, "The fields of the form are too long.")
        try:
            return collected.decode()
        except UnicodeDecodeError:
            raise Problem(400, "A field of the form is not UTF-8.") from None


def is_form(request: web.Request) -> bool:
    """Return whether the body of a request is a multipart form."""
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower() == "multipart/form-data"


async def form_parts(request: web.Request, announced: int = 0) -> AsyncIterator[FormPart]:
    """Iterate over the parts of a form.

    Parameters
    ----------
    request
        A request for which :func:`is_form` holds.
    announced
        Bytes that every file has at least; so many are not searched for its end.

    Yields
    ------
    FormPart
        The parts in the order they come.

    Raises
    ------
    Problem
        400, when the body is no complete form.
    """
    boundary = re.search(
        r'boundary="?([^";]{1,70})', request.headers.get("Content-Type", ""), re.IGNORECASE
    )
    if boundary is None:
        raise _broken()
    reader = _Reader(request.content, b"\r\n--" + boundary.group(1).encode())
    async for _ in reader.until_delimiter():
        pass
    allowance = Allowance()
    for number in itertools.count(1):
        if await reader.ends():
            return
        if number > MAX_PARTS:
            raise Problem(400, "The form has too many parts.")
        name, filename = _disposition(await reader.headers())
        content = reader.until_delimiter(0 if filename is None else announced)
        yield FormPart(name, filename, content, allowance)
        async for _ in content:
            pass


class _Reader:
    """Splits a stream at a delimiter."""

    def __init__(self, stream: StreamReader, delimiter: bytes) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._buffer = bytearray(b"\r\n")

    async def until_delimiter(self, announced: int = 0) -> AsyncIterator[bytes]:
        """Yield what comes before the delimiter, and swallow it."""
        async for piece in self._exactly(announced):
            yield piece
        keep = len(self._delimiter) - 1
        while (found := self._buffer.find(self._delimiter)) < 0:
            if (ready := len(self._buffer) - keep) > 0:
                yield self._take(ready)
            await self._fill()
        if found:
            yield self._take(found)
        self._take(len(self._delimiter))

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        """Yield so many bytes without looking at them."""
        while length > 0:
            piece = self._take(length) if self._buffer else await self._receive()
            if len(piece) > length:
                self._buffer += memoryview(piece)[length:]
                piece = piece[:length]
            length -= len(piece)
            yield piece

    async def ends(self) -> bool:
        """Read what follows a delimiter: whether it was the last one."""
        while len(self._buffer) < 2:
            await self._fill()
        if self._buffer.startswith(b"--"):
            return True
        line = await self._until(b"\r\n")
        if line.strip():
            raise _broken()
        return False

    async def headers(self) -> str:
        """Read the headers of a part."""
        self._buffer[:0] = b"\r\n"
        return (await self._until(b"\r\n\r\n")).decode("utf-8", "replace")

    async def _until(self, mark: bytes) -> bytes:
        while (found := self._buffer.find(mark)) < 0:
            if len(self._buffer) > HEADER_LIMIT:
                raise _broken()
            await self._fill()
        taken = self._take(found)
        self._take(len(mark))
        return taken

    def _take(self, length: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return taken

    async def _fill(self) -> None:
        self._buffer += await self._receive()

    async def _receive(self) -> bytes:
        if not (data := await self._stream.readany()):
            raise _broken()
        return data


def _disposition(headers: str) -> tuple[str, str | None]:
    """Return field and file name of a part."""
    for line in headers.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() != "content-disposition":
            continue
        found = _parameters(value)
        encoded = found.get("filename*", "").rpartition("'")[2]
        return found.get("name", ""), unquote(encoded) if encoded else found.get("filename")
    raise _broken()


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header by name in lower case.

    Raises
    ------
    Problem
        400, when a quoted string does not end.
    """
    found = {}
    for piece in _split(value)[1:]:
        key, _, text = (part.strip() for part in piece.partition("="))
        quoted = len(text) > 1 and text[0] == text[-1] == '"'
        found[key.lower()] = _unescape(text[1:-1]) if quoted else text
    return found


def _split(value: str) -> list[str]:
    """Split a header at the semicolons that are in no quoted string; read each character once."""
    pieces, begin = [], 0
    quoted = escaped = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif char == '"':
            quoted = not quoted
        elif quoted:
            escaped = char == "\\"
        elif char == ";":
            pieces.append(value[begin:index])
            begin = index + 1
    if quoted and not value.rstrip().endswith('"'):
        raise _broken()
    return [*pieces, value[begin:]]


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: match.group(1) or chr(int(match.group(2), 16)), text)


def _broken() -> Problem:
    return Problem(400, "The form is not complete.")
