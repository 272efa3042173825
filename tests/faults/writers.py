"""A process that writes concurrently with others, and reports what was acknowledged and when.

Run as ``python -m tests.faults.writers OPTIONS SCENARIO CONTAINER NUMBER ROUNDS``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from synapsefs import SynapseFileSystem


def content(writer: int, turn: int, what: str = "") -> bytes:
    """Give content that identifies its writer."""
    return f"{writer}-{turn}-{what}|".encode() * 300


def same(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    path = f"{base}/same.bin"
    fs.pipe_file(path, content(writer, turn))
    return path


def same_text(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    path = f"{base}/same.txt"
    fs.pipe_file(path, content(writer, turn))
    return path


def disjoint(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    path = f"{base}/folder-{turn}/deep/{writer}.bin"
    fs.pipe_file(path, content(writer, turn))
    return path


def create(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    path = f"{base}/first-{turn}.bin"
    fs.pipe_file(path, content(writer, turn), mode="create")
    return path


def halves(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    """Replace one of the two files of a unit that others write to as well."""
    specification = ("image_1", "json_meta_1")[writer % 2]
    path = f"{base}/{specification}/unit-{turn}.bin"
    fs.pipe_file(path, content(writer, turn))
    return path


def units(fs: SynapseFileSystem, base: str, writer: int, turn: int) -> str:
    """Write whole units, some of which others write as well."""
    names = [f"shared-{turn}", f"own-{writer}-{turn}"]
    fs.pipe(
        {
            f"{base}/{specification}/{name}.bin": content(writer, turn, specification)
            for specification in ("image_1", "json_meta_1")
            for name in names
        }
    )
    return names[1]


SCENARIOS: dict[str, Callable[[SynapseFileSystem, str, int, int], str]] = {
    found.__name__: found for found in (same, same_text, disjoint, create, halves, units)
}


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(options: str, scenario: str, base: str, writer: str, rounds: str) -> None:
    """Write on command from standard input; print each outcome as JSON."""
    settings: dict[str, Any] = json.loads(options)
    fs = SynapseFileSystem(**settings)
    fs.exists(base)
    tell("ready")
    sys.stdin.readline()
    for turn in range(int(rounds)):
        began, path, error = time.monotonic(), "", ""
        try:
            path = SCENARIOS[scenario](fs, base, int(writer), turn)
        except OSError as raised:
            error = type(raised).__name__
        outcome = {"writer": int(writer), "turn": turn, "path": path, "error": error}
        tell(json.dumps({**outcome, "began": began, "ended": time.monotonic()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
