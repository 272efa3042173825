"""What a file of a large call costs this package: calls of its functions, as many for each file."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import synapsefs
from synapsefs import SynapseFileSystem
from tests.support.observed import ObservedServer, observed_server

PACKAGE = f"{Path(synapsefs.__file__).parent}/"
SERVER = f"{PACKAGE}server/"
SPECIFICATIONS = [
    {"name": "data_1", "file_type": "data", "is_required": True, "is_primary": True},
    {"name": "data_meta_1", "file_type": "data", "is_required": False},
]
FEW, MANY = 40, 160


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("costs")) as running:
        yield running


def calls(fs: SynapseFileSystem, work: Callable[[], Any]) -> int:
    """Count calls of this package's functions in an instance's event loop."""
    counted = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal counted
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE) and not path.startswith(SERVER):
            counted += 1

    def watch(profile: Any) -> None:
        done = threading.Event()
        fs.loop.call_soon_threadsafe(lambda: (sys.setprofile(profile), done.set()))
        assert done.wait(10)

    watch(count)
    try:
        work()
    finally:
        watch(None)
    return counted


@pytest.mark.parametrize("root", ["collections/one/data_1", "collections/two/data_1", "datasets/d"])
def test_each_file_costs_the_same(server, root):
    fs = SynapseFileSystem(
        **server.options, listings_expiry_time=60, max_concurrency=16, skip_instance_cache=True
    )
    each: dict[str, list[float]] = {"new": [], "replaced": []}
    for count in (FEW, MANY):
        base = root.replace("/", f"/{count}-", 1)
        specifications = {"file_specifications": SPECIFICATIONS} if "two" in root else {}
        fs.mkdir("/".join(base.split("/")[:2]), **specifications)
        for what, costs in each.items():
            files = {f"{base}/scan.{n:03}": f"{what} {base} {n}".encode() for n in range(count)}
            costs.append(calls(fs, lambda files=files: fs.pipe(files)) / count)
    for few, many in each.values():
        assert many <= 1.1 * few, each
    assert each["replaced"][1] <= 900, each
