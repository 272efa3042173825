"""How large the heavy tests are: every change runs a sample, ``SYNAPSEFS_TEST_SCALE=full`` all.

A sample leaves out no kind of case: it steps through the same verbs, faults and moments with
wider strides, each test beginning at another offset.
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
    """Give where a test begins its strides: always the same, and another one for each name."""
    return zlib.crc32(name.encode()) % stride
