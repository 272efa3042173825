"""A server in a process of its own, and proxies for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.support.faults import proxies
from tests.support.running import server_process

CREDENTIALS = {"token": "syn_faults", "datasets_token": "key_faults"}


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, strict: bool) -> Iterator[Bench]:
    root: Path = tmp_path_factory.mktemp("faults")
    with server_process(root / "served", strict=strict) as url, proxies(lambda: url) as made:
        yield Bench(made, lambda: url, CREDENTIALS, root)
