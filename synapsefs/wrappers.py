"""Text and compression over a file: what is published or discarded is the file below."""

from __future__ import annotations

import codecs
import contextlib
import io
from types import TracebackType
from typing import Any


class TextFile(io.TextIOWrapper):
    """Text over a file of this package."""

    def commit(self) -> None:
        """Publish what was written, also while an exception is being handled."""
        self.flush()
        below: Any = self.buffer
        below.commit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self.writable():
            below: Any = self.buffer
            below.__exit__(kind, error, trace)
        self.close()


class CompressedFile(io.BufferedIOBase):
    """A compressing file object that closes the file below it too, and so publishes it.

    Parameters
    ----------
    codec
        Compresses into, or decompresses from, the file below.
    below
        The file.
    """

    def __init__(self, codec: Any, below: Any) -> None:
        self._codec = codec
        self._below = below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def read(self, size: int | None = -1) -> bytes:
        """Read decompressed bytes; all that remain by default."""
        return bytes(self._codec.read(-1 if size is None else size))

    def write(self, data: Any) -> int:
        """Compress bytes."""
        return int(self._codec.write(data))

    def readable(self) -> bool:
        """Say whether it was opened for reading."""
        return bool(self._codec.readable())

    def writable(self) -> bool:
        """Say whether it was opened for writing."""
        return bool(self._codec.writable())

    def seekable(self) -> bool:
        """Say what the codec can."""
        return bool(self._codec.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in what is decompressed."""
        return int(self._codec.seek(offset, whence))

    def tell(self) -> int:
        """Give the position in what is decompressed."""
        return int(self._codec.tell())

    def flush(self) -> None:
        """Let the codec give out what it has."""
        if not self._codec.closed:
            self._codec.flush()

    def _dealloc_warn(self, source: object) -> None:
        note = getattr(self._below, "_dealloc_warn", None)
        if note is not None:
            note(source)

    def commit(self) -> None:
        """Publish what was written, also while an exception is being handled."""
        self._codec.close()
        self._below.commit()
        self.close()

    def close(self) -> None:
        """Close the codec, which writes its end, and the file below."""
        if self.closed:
            return
        try:
            self._codec.close()
        finally:
            self._below.close()
            super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self.writable():
            self._below.__exit__(kind, error, trace)
            with contextlib.suppress(ValueError):
                self._codec.close()
        self.close()

    def __del__(self) -> None:
        """Leave the file below to its own end: unclosed, it is discarded."""


def byte_order_mark(encoding: str | None) -> bytes:
    """Give what Python leaves out of text in a stream that cannot seek.

    Raises
    ------
    LookupError
        For an unknown encoding, before a file is opened.
    """
    name = codecs.lookup(encoding).name if encoding else ""
    return {"utf-16": codecs.BOM_UTF16, "utf-32": codecs.BOM_UTF32}.get(name, b"")


def compressed(below: Any, path: str, mode: str, compression: str) -> Any:
    """Put a codec over a file; ``infer`` takes it from the path's suffix."""
    from fsspec.compression import compr  # noqa: PLC0415 - only where it is used
    from fsspec.core import get_compression  # noqa: PLC0415 - as above

    name = get_compression(path, compression)
    if name is None:
        return below
    return CompressedFile(compr[name](below, mode=mode[0]), below)
