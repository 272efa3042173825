"""Opening files: open, in text and bytes, and open_async."""

from __future__ import annotations

from typing import Any

from synapsefs import sync
from synapsefs.errors import UnsupportedError
from synapsefs.files import AsyncWriter, SynapseWriter
from synapsefs.readers import AsyncReader, SynapseReader
from synapsefs.verbs.calls import checked, opening
from synapsefs.verbs.write import Writes
from synapsefs.wrappers import TextFile, byte_order_mark, compressed

_TEXT_OPTIONS = ("encoding", "errors", "newline")


class OpeningVerbs(Writes):
    """The verbs that give file objects."""

    @opening
    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file.

        Written files appear, whole, when they are closed without an exception under way.

        Parameters
        ----------
        path
            Where.
        mode
            ``r``, ``w`` or ``x``, with ``b`` for bytes.
        block_size
            Bytes of one part of an upload.
        cache_options
            For the cache that ``cache_type`` names; the default adapts by itself.
        compression
            A codec known to fsspec, or ``infer`` from the suffix.
        kwargs
            ``encoding``, ``errors`` and ``newline`` in text mode; ``cache_type``. ``version``: read
            what the file was then, as :meth:`revisions` lists it. For writing in datasets:
            ``description`` (text), ``tags`` (list of texts), ``metadata`` (mapping); left out,
            those of a file that is replaced stay; and ``embedding`` (numbers) of a new file.
            ``base_version``: the ``version`` in :meth:`info`, or its ``revision``, a number, that
            is to be replaced, and no other.

        Raises
        ------
        ChangedError
            At the close, when the file is no longer what ``base_version`` says.
        UnsupportedError
            For ``a`` and ``+``: the services hold whole files.
        """
        if "b" not in mode:
            text = {name: kwargs.pop(name) for name in _TEXT_OPTIONS if name in kwargs}
            binary = mode.replace("t", "") + "b"
            mark = byte_order_mark(text.get("encoding"))
            inner = self.open(path, binary, block_size, cache_options, compression, **kwargs)
            if mark and inner.writable() and not inner.seekable():
                inner.write(mark)
            return TextFile(inner, **text)
        plain = super().open(path, mode, block_size, cache_options, **kwargs)
        return compressed(plain, path, mode, compression) if compression else plain

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        _check_mode(mode, path)
        if "r" in mode:
            version = kwargs.pop("version", None)
            entry, content = sync.run(self.loop, self._sized_content(path, version))
            kwargs.pop("size", None)
            return SynapseReader(
                self,
                entry,
                content,
                block_size=block_size,
                cache_options=cache_options,
                version=version,
                **kwargs,
            )
        work = self._start_upload(
            path, block_size, exclusive="x" in mode, lone=autocommit, given=kwargs
        )
        upload = sync.run(self.loop, work)
        return SynapseWriter(self, self._strip_protocol(path), mode, upload, autocommit=autocommit)

    @checked
    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Open a file to ``await`` its reads or writes.

        Parameters
        ----------
        path, mode
            As for :meth:`open`, bytes only.
        kwargs
            ``block_size``, ``version`` and the attributes of a new file, as for :meth:`open`.

        Raises
        ------
        ValueError
            In text mode or with compression.
        """
        if "b" not in mode or kwargs.get("compression"):
            raise ValueError("open_async handles bytes without compression")
        _check_mode(mode, path)
        if "r" in mode:
            entry, content = await self._sized_content(path, kwargs.get("version"))
            return AsyncReader(self, entry, content)
        upload = await self._start_upload(
            path, kwargs.get("block_size"), exclusive="x" in mode, lone=True, given=kwargs
        )
        return AsyncWriter(self, self._strip_protocol(path), upload)


def _check_mode(mode: str, path: str) -> None:
    if mode not in {"rb", "wb", "xb"}:
        raise UnsupportedError(
            f"mode {mode!r} is not offered: the services hold whole files, so they are read, "
            "written anew (w) or created (x)",
            path,
        )
