"""Checksums of bytes on their way, and what is known of them at the end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import ThreadPoolExecutor

ALL_DIGESTS = ("md5", "sha1", "sha256")
SHARED = 256 * 1024
"""Bytes from which on an update is worth a second thread."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored object: its checksums in hex and its size in bytes."""

    sha256: str
    sha1: str
    md5: str
    size: int


class Digests:
    """Running checksums of a stream.

    Parameters
    ----------
    names
        Algorithms to compute.
    helper
        Takes over a share of large updates, so that two threads compute them.
    """

    def __init__(
        self, names: Sequence[str] = ALL_DIGESTS, helper: ThreadPoolExecutor | None = None
    ) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._helper = helper
        self.size = 0

    def __copy__(self) -> Digests:
        twin = Digests((), self._helper)
        twin._hashes = {name: running.copy() for name, running in self._hashes.items()}
        twin.size = self.size
        return twin

    def update(self, blocks: Sequence[bytes]) -> None:
        """Add bytes to all checksums."""
        size = sum(map(len, blocks))
        first, *others = self._hashes.values()
        if self._helper is None or size < SHARED or not others:
            _update([first, *others], blocks)
        else:
            helped = self._helper.submit(_update, others, blocks)
            _update([first], blocks)
            helped.result()
        self.size += size

    def hex(self, name: str) -> str:
        """Return one checksum of what was added so far."""
        return self._hashes[name].hexdigest()

    def blob(self) -> Blob:
        """Return the checksums as a blob; all three algorithms must be running."""
        return Blob(self.hex("sha256"), self.hex("sha1"), self.hex("md5"), self.size)


def _update(hashes: Iterable[hashlib._Hash], blocks: Sequence[bytes]) -> None:
    for running in hashes:
        for block in blocks:
            running.update(block)
