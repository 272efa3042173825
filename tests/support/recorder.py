"""Records a server's disk operations in order; every call is really made."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Event:
    """One event: ``fsync``, ``replace``, ``mkdir``, ``commit`` or ``answer``.

    Attributes
    ----------
    kind
        The kind of event.
    path
        The file or directory flushed, the new name, or the request answered.
    before
        The old name, if any.
    """

    kind: str
    path: str
    before: str = ""


@dataclass
class Recorder:
    """The events so far, with paths relative to the root."""

    root: Path
    events: list[Event] = field(default_factory=list)

    def note(self, kind: str, path: str, before: str = "") -> None:
        self.events.append(Event(kind, self._below(path), self._below(before)))

    def _below(self, path: str) -> str:
        return path.removeprefix(f"{self.root}").lstrip("/") or "."

    def positions(self, kind: str, fits: Callable[[Event], bool]) -> list[int]:
        """Give the positions of an event in the sequence."""
        return [
            number for number, event in enumerate(self.events) if event.kind == kind and fits(event)
        ]


def _name_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


@contextlib.contextmanager
def recording(root: Path) -> Iterator[Recorder]:
    """Record this process's operations below a directory."""
    recorder = Recorder(root.resolve())
    real = {name: getattr(os, name) for name in ("fsync", "replace", "link")}
    real_connect = sqlite3.connect

    def fsync(descriptor: int) -> None:
        path = _name_of(descriptor)
        real["fsync"](descriptor)
        recorder.note("fsync", path)

    def replace(source: Any, target: Any, **options: Any) -> None:
        real["replace"](source, target, **options)
        recorder.note("replace", os.fspath(target), os.fspath(source))

    def link(source: Any, target: Any, **options: Any) -> None:
        real["link"](source, target, **options)
        recorder.note("link", os.fspath(target), os.fspath(source))

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            found = super().execute(statement, *arguments)
            if statement.strip().upper().startswith("COMMIT"):
                level = super().execute("PRAGMA synchronous").fetchone()[0]
                journal = super().execute("PRAGMA journal_mode").fetchone()[0]
                recorder.note("commit", f"{journal} {level}")
            return found

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        return real_connect(path, factory=Connection, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        patch.setattr(os, "link", link)
        patch.setattr(sqlite3, "connect", connect)
        yield recorder
