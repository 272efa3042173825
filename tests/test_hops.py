"""How many functions of this package a call enters, counted over all threads that it uses.

A figure that grows says that a call became a longer relay: see "How to count the functions of a
call" in ``docs/decisions.md``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import synapsefs
from synapsefs import SynapseFileSystem
from tests.support.observed import observed_server

PACKAGE = Path(synapsefs.__file__).parent
UNNAMED = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>", "<module>")


@dataclass
class Counter:
    """Counts the functions below ``synapsefs/``, its server apart, that are entered."""

    entered: set[CodeType] | None = None

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and self.entered is not None:
            self.entered.add(frame.f_code)

    def own(self, code: CodeType) -> bool:
        path = Path(code.co_filename)
        inside = PACKAGE in path.parents and PACKAGE / "server" not in path.parents
        return inside and not code.co_name.startswith(UNNAMED)

    def functions(self, work: Callable[[], Any]) -> list[str]:
        """Do something; give the functions that it enters."""
        self.entered = set()
        sys.setprofile(self)
        try:
            work()
        finally:
            sys.setprofile(None)
            entered, self.entered = self.entered, None
        own = [code for code in entered if self.own(code)]
        modules = [Path(code.co_filename).relative_to(PACKAGE) for code in own]
        return sorted(
            f"{module}:{code.co_firstlineno} {code.co_qualname}"
            for module, code in zip(modules, own, strict=True)
        )


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def fs(counter: Counter, tmp_path: Path) -> Iterator[SynapseFileSystem]:
    """An instance whose loop and threads are watched; what it lists holds for the test."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        sys.setprofile(counter)
        loop.run_forever()

    executor = ThreadPoolExecutor(8, initializer=lambda: sys.setprofile(counter))
    loop.set_default_executor(executor)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with observed_server(tmp_path / "root") as server:
        fs = SynapseFileSystem(
            **server.options, listings_expiry_time=60, skip_instance_cache=True, loop=loop
        )
        yield fs
        asyncio.run_coroutine_threadsafe(fs.aclose(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    executor.shutdown()
    loop.close()


@pytest.fixture(params=["collections", "datasets"])
def place(request: pytest.FixtureRequest, fs: SynapseFileSystem) -> str:
    fs.mkdir(f"{request.param}/hops")
    return f"{request.param}/hops" + "/data_1" * (request.param == "collections")


BOUNDS = {
    "read": {"collections": 66, "datasets": 84},
    "overwrite": {"collections": 178, "datasets": 182},
    "put": {"collections": 198, "datasets": 217},
}


def require(entered: list[str], call: str, place: str) -> None:
    bound = BOUNDS[call][place.split("/", maxsplit=1)[0]]
    assert len(entered) <= bound, f"{len(entered)} functions:\n" + "\n".join(entered)


def test_a_warm_read(counter: Counter, fs: SynapseFileSystem, place: str) -> None:
    fs.pipe_file(f"{place}/a.bin", b"\xff" * 1000)
    assert len(fs.cat_file(f"{place}/a.bin")) == 1000
    require(counter.functions(lambda: fs.cat_file(f"{place}/a.bin")), "read", place)


def test_a_small_overwrite(counter: Counter, fs: SynapseFileSystem, place: str) -> None:
    for content in (b"one", b"two"):
        fs.pipe_file(f"{place}/a.txt", content)
    entered = counter.functions(lambda: fs.pipe_file(f"{place}/a.txt", b"three"))
    assert fs.cat_file(f"{place}/a.txt") == b"three"
    require(entered, "overwrite", place)


def test_a_put_of_two_files(
    counter: Counter, fs: SynapseFileSystem, place: str, tmp_path: Path
) -> None:
    local = tmp_path / "tree"
    local.mkdir()
    for name in "ab":
        (local / f"{name}.txt").write_text(name)
    fs.put(f"{local}/", f"{place}/first/", recursive=True)
    entered = counter.functions(lambda: fs.put(f"{local}/", f"{place}/second/", recursive=True))
    assert len(fs.find(f"{place}/second")) == 2
    require(entered, "put", place)
