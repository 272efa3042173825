"""Size of the heavy tests: a sample by default, everything with ``SYNAPSEFS_TEST_SCALE=full``.

A sample covers every kind of case: it steps through the same verbs, faults and moments with
wider strides, each test with another offset.
"""

from __future__ import annotations

import os
import zlib
from typing import TypeVar

T = TypeVar("T")
VARIABLE = "SYNAPSEFS_TEST_SCALE"
FULL = os.environ.get(VARIABLE, "") == "full"


def sized(sample: T, full: T) -> T:
    """Give the size for this run."""
    return full if FULL else sample


def offset(name: str, stride: int) -> int:
    """Give the offset of a test's strides: deterministic, and different for each name."""
    return zlib.crc32(name.encode()) % stride
