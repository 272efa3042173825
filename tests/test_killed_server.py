"""A server that is killed: what was acknowledged is there afterwards, the rest is not visible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem

pytestmark = pytest.mark.slow
MIB = 2**20


class Served:
    """``synapsefs serve`` over a directory, to be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "synapsefs", "serve", "--root", str(self.root)]
        secrets = ["--token", "syn_test", "--api-key", "key_test"]
        self.process = subprocess.Popen(command + secrets, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def fs(self, **options: Any) -> SynapseFileSystem:
        return SynapseFileSystem(
            self.url,
            token="syn_test",
            datasets_token="key_test",
            skip_instance_cache=True,
            **options,
        )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path / "root")
    yield server
    server.kill()


@pytest.mark.parametrize("base", ["collections/k/data_1", "datasets/k"])
@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_an_acknowledged_write_survives(served: Served, base: str, size: int) -> None:
    fs = served.fs(block_size=5 * MIB)
    fs.mkdir("/".join(base.split("/")[:2]))
    content = os.urandom(size)
    with fs.open(f"{base}/f.bin", "wb") as file:
        file.write(content)
    served.kill()
    served.start()
    assert served.fs().cat_file(f"{base}/f.bin") == content


@pytest.mark.parametrize("base", ["collections/k/data_1", "datasets/k"])
def test_a_write_cut_off_is_not_visible(served: Served, base: str) -> None:
    fs = served.fs(block_size=5 * MIB, retries=1)
    fs.mkdir("/".join(base.split("/")[:2]))
    with pytest.raises(OSError) as caught, fs.open(f"{base}/f.bin", "wb") as file:
        file.write(os.urandom(11 * MIB))
        served.kill()
        file.write(os.urandom(11 * MIB))
    assert caught.value.errno
    served.start()
    assert served.fs().find(base) == []
