"""Large containers: requests grow with the pages, memory stays bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scale import cases
from tests.support.running import server_process
from tests.support.sizing import sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 2**20
BYTES_PER_FILE = 8192
SLACK = 64 * MIB


@pytest.mark.parametrize(
    ("kind", "count"), [("collections", sized(20_000, 100_000)), ("datasets", sized(5_000, 20_000))]
)
def test_large_containers(tmp_path: Path, kind: str, count: int) -> None:
    with server_process(tmp_path) as url:
        ((_, _, said),) = cases(url, {kind: (count,)})
    assert said["first find"]["count"] == said["warm find"]["count"] == count
    assert said["narrow glob"]["count"] == 10
    pages = 1.1 * count / 1000 if kind == "collections" else 1  # each begins in the one before
    assert said["first find"]["requests"] <= pages + 2
    assert said["warm find"]["requests"] == said["narrow glob"]["requests"] == 0
    assert sum(step["bytes"] for step in said.values()) < count * BYTES_PER_FILE + SLACK
