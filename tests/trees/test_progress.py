"""Progress of whole trees, trees of many files, and what is left behind when one fails: nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem
from synapsefs.errors import ChecksumError, SynapseError
from tests.support.observed import ObservedServer, observed_server
from tests.trees.test_ignoring import make

MIB = 2**20


class Noting(Callback):
    """Notes what it is told, and from which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.steps: list[int] = []
        self.threads: set[int] = set()

    def set_size(self, size: int) -> None:
        self.sizes.append(size)
        super().set_size(size)

    def relative_update(self, inc: int = 1) -> None:
        self.steps.append(inc)
        self.threads.add(threading.get_ident())
        super().relative_update(inc)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make(tmp_path / "tree", "a.txt", "sub/b.csv", "sub/deep/c", "left.out", "empty/")
    (root / "large.bin").write_bytes(os.urandom(3 * MIB))
    (root / "nothing").write_bytes(b"")
    return root


def total(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_put_counts_the_bytes_that_are_sent(fs: SynapseFileSystem, base: str, tree: Path) -> None:
    progress = Noting()
    fs.put(str(tree), f"{base}/t", recursive=True, callback=progress)
    assert progress.sizes == [total(tree)]
    assert progress.value == sum(progress.steps) == total(tree)
    progress = Noting()
    fs.put(str(tree), f"{base}/u", recursive=True, callback=progress, ignore_patterns=["left.out"])
    assert progress.size == progress.value == total(tree) - len("left.out")


def test_an_archive_counts_its_own_bytes(
    fs: SynapseFileSystem, base: str, tree: Path, tmp_path: Path
) -> None:
    sent, got = Noting(), Noting()
    fs.put(str(tree), f"{base}/t.zip", as_collection=True, callback=sent)
    size = fs.size(f"{base}/t.zip")
    assert sent.size == sent.value == size
    fs.get(f"{base}/t.zip", str(tmp_path / "back"), unzip=True, callback=got)
    assert got.size == got.value == size
    assert total(tmp_path / "back") == total(tree)


def test_get_counts_the_bytes_that_arrive(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tree: Path, tmp_path: Path
) -> None:
    fs.put(str(tree), f"{base}/t", recursive=True)
    progress = Noting()
    another.get(f"{base}/t", str(tmp_path / "back"), recursive=True, callback=progress)
    assert progress.sizes == [total(tree)]
    assert progress.value == sum(progress.steps) == total(tree)
    assert len(progress.threads) == 1


@pytest.mark.parametrize("recursive", [True, False], ids=["a tree", "a list"])
def test_a_local_file_is_looked_at_a_few_times(
    fs: SynapseFileSystem, base: str, tree: Path, monkeypatch: pytest.MonkeyPatch, recursive: bool
) -> None:
    """When the call begins, when the service is asked for its content, and when it is sent.

    What goes in pieces is looked at after that, too.
    """
    names = [str(path) for path in tree.rglob("*") if path.is_file()]
    looked: Counter[str] = Counter()
    stat = os.stat

    def counted(path: Any, *args: Any, **options: Any) -> os.stat_result:
        looked[str(path)] += 1
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", counted)
    if recursive:
        fs.put(str(tree), f"{base}/t", recursive=True)
    else:
        fs.put(names, [f"{base}/{number}.txt" for number in range(len(names))])
    assert {
        name for name in names if looked[name] > (4 if name.endswith("large.bin") else 3)
    } == set()


def test_a_callback_that_fails_ends_the_transfer(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tree: Path, tmp_path: Path
) -> None:
    class Stopping(Callback):
        def relative_update(self, inc: int = 1) -> None:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fs.put(str(tree), f"{base}/t", recursive=True, callback=Stopping())
    assert not [name for name in another.find(base) if not name.endswith("/")]
    fs.put(str(tree), f"{base}/t", recursive=True)
    with pytest.raises(RuntimeError, match="enough"):
        fs.get(f"{base}/t", str(tmp_path / "back"), recursive=True, callback=Stopping())
    left = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert all(path.stat().st_size == 0 for path in left)


def test_a_tree_of_many_files(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    root = tmp_path / "many"
    names = [f"{n % 7}/{n % 3}/{n}.bin" for n in range(90)]
    make(root, *names)
    fs.put(str(root), f"{base}/many", recursive=True)
    progress = Noting()
    another.get(f"{base}/many", str(tmp_path / "back"), recursive=True, callback=progress)
    found = {
        str(path.relative_to(tmp_path / "back")): path.read_text()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert found == {name: name for name in names}
    assert progress.size == progress.value == sum(map(len, names))


# --- failures ------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObservedServer]:
    with observed_server(tmp_path / "server") as one:
        yield one


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_a_get_that_fails_leaves_no_temporary_file(
    server: ObservedServer, tree: Path, tmp_path: Path, root: str
) -> None:
    fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
    base = f"{root}/d/data_1" if root == "collections" else f"{root}/d"
    fs.mkdir(f"{root}/d")
    fs.put(str(tree), f"{base}/t", recursive=True)
    large = (tree / "large.bin").read_bytes()
    [blob] = [
        path
        for path in server.root.rglob("*")
        if path.is_file() and path.stat().st_size == len(large) and path.read_bytes() == large
    ]
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(MIB)
        file.write(b"damage")
    target = tmp_path / "back"
    make(target, "t/large.bin", "t/mine")
    with pytest.raises(ChecksumError) as caught:
        fs.get(f"{base}/t", str(target), recursive=True)
    assert caught.value.filename == f"{base}/t/large.bin"
    assert (target / "t/large.bin").read_text() == "t/large.bin"
    assert (target / "t/mine").read_text() == "t/mine"
    wanted = {str(path.relative_to(tree)) for path in tree.rglob("*")} | {"mine"}
    found = {str(path.relative_to(target / "t")) for path in (target / "t").rglob("*")}
    assert found <= wanted


async def test_a_cancelled_get_leaves_no_temporary_file(
    server: ObservedServer, tree: Path, tmp_path: Path
) -> None:
    options = {**server.options, "asynchronous": True, "skip_instance_cache": True}
    target = tmp_path / "back"

    class Waiting(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.began = asyncio.Event()

        def relative_update(self, inc: int = 1) -> None:
            self.began.set()

    async with SynapseFileSystem(**options) as fs:
        await fs._mkdir("datasets/d")
        await fs._put(str(tree), "datasets/d/t", recursive=True)
        progress = Waiting()
        work = asyncio.ensure_future(
            fs._get("datasets/d/t", str(target), recursive=True, callback=progress)
        )
        await asyncio.wait_for(progress.began.wait(), 30)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await fs._get("datasets/d/t", str(tmp_path / "again"), recursive=True)
    assert files(target).items() <= files(tree).items()
    assert files(tmp_path / "again") == files(tree)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_a_put_that_fails_shows_nothing(server: ObservedServer, tree: Path, root: str) -> None:
    """The last file is too large for the server: none of the others appears."""
    limited = server.root.parent / "limited"
    with observed_server(limited, max_file_size=2 * MIB) as small:
        fs = SynapseFileSystem(**small.options, skip_instance_cache=True)
        base = f"{root}/d/data_1" if root == "collections" else f"{root}/d"
        fs.mkdir(f"{root}/d")
        with pytest.raises(SynapseError) as caught:
            fs.put(str(tree), f"{base}/t", recursive=True)
        assert caught.value.filename == f"{base}/t/large.bin"
        another = SynapseFileSystem(**small.options, skip_instance_cache=True)
        assert another.find(base) == []
