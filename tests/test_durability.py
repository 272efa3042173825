"""What was written is there after the server is killed; what was not finished is not."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem
from tests.support.killable import Nursery, nursery

MIB = 2**20
PART = 5 * MIB
"""The smallest part that both services take."""


class Killable:
    """A server over a directory that is killed, as by ``kill -9``, and started again."""

    def __init__(self, nursery: Nursery, root: Path) -> None:
        self._nursery = nursery
        self._root = root
        self._pid = 0

    def start(self) -> SynapseFileSystem:
        """Start the server; give an instance that knows nothing yet."""
        self._pid, url = self._nursery.start(self._root)
        return SynapseFileSystem(
            endpoint_url=url,
            token="any",
            datasets_token="any",
            block_size=PART,
            retries=0,
            skip_instance_cache=True,
        )

    def kill(self) -> None:
        """Kill the server and wait until it is gone."""
        if self._pid:
            self._nursery.kill(self._pid)
        self._pid = 0

    def restart(self) -> SynapseFileSystem:
        self.kill()
        return self.start()


@pytest.fixture(scope="module")
def servers() -> Iterator[Nursery]:
    with nursery() as found:
        yield found


@pytest.fixture
def server(servers: Nursery, tmp_path: Path) -> Iterator[Killable]:
    killable = Killable(servers, tmp_path / "root")
    yield killable
    killable.kill()


@pytest.fixture(params=["collections", "datasets"])
def container(request: pytest.FixtureRequest) -> str:
    return f"{request.param}/t-{uuid.uuid4().hex[:8]}"


def below(container: str) -> str:
    return f"{container}/data_1" if container.startswith("collections") else container


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def write(fs: SynapseFileSystem, way: str, path: str, data: bytes, tmp_path: Path) -> None:
    if way == "pipe":
        fs.pipe_file(path, data)
    elif way == "put":
        (tmp_path / "source").write_bytes(data)
        fs.put_file(str(tmp_path / "source"), path)
    else:
        with fs.open(path, "wb") as file:
            file.write(data)


@pytest.mark.parametrize("way", ["pipe", "put", "open"])
@pytest.mark.parametrize("name", ["note.txt", "single.bin", "parts.bin"])
def test_what_returned_is_there_after_a_kill(server, container, name, way, tmp_path):
    data = {"note.txt": b"a line\r\n", "single.bin": content(100_000)}.get(name) or content(
        2 * PART + 12_345
    )
    fs = server.start()
    fs.mkdir(container)
    path = f"{below(container)}/folder/{name}"
    write(fs, way, path, data, tmp_path)
    fs = server.restart()
    assert fs.cat_file(path) == data
    assert fs.info(path)["size"] == len(data)
    assert fs.find(below(container)) == [path]
    fs.get_file(path, str(tmp_path / "fetched"))
    assert (tmp_path / "fetched").read_bytes() == data


def test_a_container_is_there_after_a_kill(server, container):
    server.start().mkdir(container)
    fs = server.restart()
    assert fs.isdir(container)
    assert container in fs.ls(container.partition("/")[0], detail=False)


def test_a_replacement_a_copy_and_a_removal_survive(server, container):
    fs = server.start()
    fs.mkdir(container)
    base = below(container)
    fs.pipe({f"{base}/{name}.bin": content(1000) for name in ("kept", "gone", "replaced")})
    fs.pipe_file(f"{base}/replaced.bin", b"new")
    fs.cp_file(f"{base}/kept.bin", f"{base}/copy.bin")
    fs.rm(f"{base}/gone.bin")
    fs = server.restart()
    left = {f"{base}/kept.bin": content(1000), f"{base}/copy.bin": content(1000)}
    assert fs.cat(fs.find(base)) == {**left, f"{base}/replaced.bin": b"new"}


@pytest.mark.parametrize("parts", [0.5, 1.5, 2])
def test_a_write_that_the_kill_cut_off_is_not_visible(server, container, parts):
    fs = server.start()
    fs.mkdir(container)
    path = f"{below(container)}/cut.bin"
    file = fs.open(path, "wb")
    file.write(content(int(parts * PART)))
    server.kill()
    with pytest.raises(OSError, match="connect") as caught:
        write_and_close(file, content(2 * PART))
    assert caught.value.errno
    assert caught.value.filename == path
    assert_nothing(server.start(), path)


def test_a_put_that_the_kill_cut_off_is_not_visible(server, container, tmp_path):
    fs = server.start()
    fs.mkdir(container)
    path = f"{below(container)}/cut.bin"
    (tmp_path / "source").write_bytes(content(3 * PART))

    class KillBeforeFirstPart:
        def set_size(self, size: int) -> None:
            server.kill()

        def relative_update(self, amount: int) -> None:
            """Count nothing."""

    with pytest.raises(OSError, match="connect"):
        fs.put_file(str(tmp_path / "source"), path, callback=KillBeforeFirstPart())
    assert_nothing(server.start(), path)


def test_what_was_there_before_survives_a_replacement_cut_off(server, container):
    fs = server.start()
    fs.mkdir(container)
    path = f"{below(container)}/kept.bin"
    before = content(200_000)
    fs.pipe_file(path, before)
    file = fs.open(path, "wb")
    file.write(content(2 * PART))
    server.kill()
    with pytest.raises(OSError, match="connect"):
        write_and_close(file, content(PART))
    fs = server.start()
    assert fs.cat_file(path) == before
    assert fs.find(below(container)) == [path]


def test_a_read_that_the_kill_cut_off_says_so(server, container):
    fs = server.start()
    fs.mkdir(container)
    path = f"{below(container)}/read.bin"
    data = content(4 * MIB)
    fs.pipe_file(path, data)
    with fs.open(path) as file:
        assert file.read(1000) == data[:1000]
        server.kill()
        with pytest.raises(OSError, match="connect") as caught:
            file.read()
        assert caught.value.filename == path


def write_and_close(file: Any, data: bytes) -> None:
    """Go on writing; the failure may show at once, or at the close."""
    with file:
        file.write(data)


def assert_nothing(fs: SynapseFileSystem, path: str) -> None:
    parent = path.rpartition("/")[0]
    assert not fs.exists(path)
    assert fs.find(parent) == []
    with pytest.raises(FileNotFoundError):
        fs.cat_file(path)
