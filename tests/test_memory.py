"""The memory that long writes take, measured in a process of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem
from tests.support.running import python, server_process
from tests.support.sizing import sized

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak"),
]

MIB = 2**20
SIZE = sized(3 * 2**28, 2 * 2**30)
"""Bytes: much more than the limit, also in a sample."""
LIMIT = 300 * MIB
HUGE_WRITE = 512 * MIB

CLIENT = """
import json, os, pathlib, sys

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

own = peak()
import fsspec

url, way, path, local, size = sys.argv[1:]
size = int(size)
fs = fsspec.filesystem("synapse", endpoint_url=url, token="t", datasets_token="k")
fs.mkdir("/".join(path.split("/")[:2]))
if way == "put and get":
    fs.put_file(local, path)
    os.truncate(local, 0)
    fs.get_file(path, local)
    assert os.path.getsize(local) == size
else:
    step = size if way == "one write" else 2**20
    block = bytes(step)
    with fs.open(path, "wb") as file:
        for _ in range(size // step):
            file.write(block)
print(json.dumps([fs.info(path)["size"], peak() - own, fs.cat_file(path, -3).hex()]))
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory that does not keep gigabytes after the test."""
    place = tmp_path / "place"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def peak(place: Path, way: str, path: str, size: int) -> int:
    """Run a client over a server of its own process; give what its memory grew by, in bytes."""
    local = place / "sparse"
    local.touch()
    with local.open("r+b") as file:
        file.truncate(size)
    with server_process(place / "root") as url:
        done = python(CLIENT, url, way, path, str(local), str(size), seconds=250)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        seen, grown, tail = json.loads(done.stdout)
        assert (seen, tail) == (size, "000000")
        other = SynapseFileSystem(
            endpoint_url=url, token="t", datasets_token="k", skip_instance_cache=True
        )
        assert other.info(path)["size"] == size
    return int(grown)


@pytest.mark.parametrize("path", ["collections/big/data_1/zeros.bin", "datasets/big/zeros.bin"])
@pytest.mark.parametrize("way", ["open", "put and get"])
def test_a_huge_file_takes_little_memory(place: Path, path: str, way: str) -> None:
    assert peak(place, way, path, SIZE) < LIMIT


@pytest.mark.parametrize("path", ["collections/big/data_1/zeros.bin", "datasets/big/zeros.bin"])
def test_one_huge_write_is_not_held_twice(place: Path, path: str) -> None:
    assert peak(place, "one write", path, HUGE_WRITE) < LIMIT + HUGE_WRITE


MANY = """
import json, os, pathlib, sys

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

own = peak()
import fsspec

url, local, size = sys.argv[1:]
fs = fsspec.filesystem("synapse", endpoint_url=url, token="t", datasets_token="k")
fs.mkdir("datasets/d")
fs.put([local] * 12, [f"datasets/d/{number}.bin" for number in range(12)])
assert len(fs.find("datasets/d")) == 12
print(peak() - own)
"""


def test_many_files_of_one_part_keep_to_the_budget(place: Path) -> None:
    """Each is held until it has gone, twelve of 48 MiB at once would be more than twice that."""
    with open(place / "local", "wb") as file:
        file.truncate(48 * MIB)
    with server_process(place / "store", tokens=["t"], api_keys=["k"]) as url:
        done = python(MANY, url, str(place / "local"), str(48 * MIB), seconds=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < LIMIT + 100 * MIB
