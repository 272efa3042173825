"""Instances of one process over one endpoint: what one changes the others see at once."""

from __future__ import annotations

import asyncio
import pickle
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synapsefs import SynapseFileSystem

Change = Callable[[SynapseFileSystem, str], Any]


def write(fs: SynapseFileSystem, path: str) -> None:
    with fs.open(path, "wb") as file:
        file.write(b"written")


CHANGES: dict[str, Change] = {
    "pipe": lambda fs, base: fs.pipe({f"{base}/new.bin": b"1", f"{base}/folder/deep.bin": b"2"}),
    "overwrite": lambda fs, base: fs.pipe_file(f"{base}/a.bin", b"newer"),
    "open": lambda fs, base: write(fs, f"{base}/b.txt"),
    "rm": lambda fs, base: fs.rm(f"{base}/a.bin"),
    "rm_file": lambda fs, base: fs.rm_file(f"{base}/b.txt"),
    "rm of a folder": lambda fs, base: fs.rm(f"{base}/folder", recursive=True),
    "mv": lambda fs, base: fs.mv(f"{base}/a.bin", f"{base}/other/moved.bin"),
    "mv onto": lambda fs, base: fs.mv(f"{base}/a.bin", f"{base}/folder/c.bin"),
    "cp": lambda fs, base: fs.cp_file(f"{base}/a.bin", f"{base}/copy.bin"),
}
IN_DATASETS: dict[str, Change] = {
    "mkdir": lambda fs, base: fs.mkdir(f"{base}/empty"),
    "link": lambda fs, base: fs.link("https://example.org/x", f"{base}/link"),
}


def contents(fs: SynapseFileSystem, base: str) -> dict[str, Any]:
    """Give what an instance sees of a folder in several ways."""
    found = fs.find(base, withdirs=True, detail=True)
    files = [path for path, info in found.items() if info["type"] == "file"]
    readable = [path for path in files if not path.endswith("link")]
    return {
        "find": {path: (info["type"], info["size"]) for path, info in found.items()},
        "ls": fs.ls(base, detail=False),
        "bytes": fs.cat(readable),
        "exists": [fs.exists(f"{base}/{name}") for name in ("a.bin", "b.txt", "folder/c.bin")],
    }


@pytest.fixture
def holder(options: dict[str, Any]) -> SynapseFileSystem:
    """An instance whose listings do not expire during a test."""
    return SynapseFileSystem(**options, listings_expiry_time=600, skip_instance_cache=True)


@pytest.fixture
def sibling(options: dict[str, Any]) -> SynapseFileSystem:
    """Another instance with the same endpoint and credential."""
    return SynapseFileSystem(**options, retries=5, skip_instance_cache=True)


@pytest.fixture
def filled(sibling: SynapseFileSystem, base: str) -> str:
    files = {"a.bin": b"\xffold", "b.txt": b"old", "folder/c.bin": b"\xffdeep"}
    sibling.pipe({f"{base}/{name}": data for name, data in files.items()})
    return base


@pytest.mark.parametrize("name", [*CHANGES, *IN_DATASETS])
def test_what_an_instance_changes_another_sees(
    holder: SynapseFileSystem,
    sibling: SynapseFileSystem,
    another: SynapseFileSystem,
    filled: str,
    name: str,
) -> None:
    if name in IN_DATASETS and filled.startswith("collections"):
        pytest.skip("collections have none")
    before = contents(holder, filled)
    {**CHANGES, **IN_DATASETS}[name](sibling, filled)
    now = contents(holder, filled)
    assert now == contents(another, filled)
    assert now != before


def test_attributes(holder: SynapseFileSystem, sibling: SynapseFileSystem, filled: str) -> None:
    path = f"{filled}/a.bin"
    assert holder.getxattr(path, "label") is None
    assert holder.info(path)
    sibling.setxattrs(path, label="cat")
    assert holder.getxattr(path, "label") == "cat"
    if path.startswith("datasets"):
        sibling.put_tags(path, ["seen"])
        assert holder.info(path)["tags"] == ["seen"]


def test_containers(
    holder: SynapseFileSystem, sibling: SynapseFileSystem, base: str, strict: bool
) -> None:
    """A service that cannot list its datasets finds new ones by a search, which lags."""
    root = base.partition("/")[0]
    is_listed = root == "collections" or not strict
    name = f"{root}/t-{uuid.uuid4().hex[:12]}"
    assert name not in holder.ls(root, detail=False)
    sibling.mkdir(name)
    assert name in holder.ls(root, detail=False) or not is_listed
    assert holder.exists(name)
    sibling.rm(name, recursive=True)
    assert not holder.exists(name)
    assert name not in holder.ls(root, detail=False) or not is_listed
    holder.mkdir(name)
    inside = f"{name}/data_1/x.bin" if root == "collections" else f"{name}/x.bin"
    holder.pipe_file(inside, b"x")
    sibling.rm(name, recursive=True)
    assert not holder.exists(name)
    assert not holder.exists(inside)
    sibling.mkdir(name)
    sibling.pipe_file(inside, b"y")
    assert holder.cat_file(inside) == b"y"


def test_a_collection_that_is_renamed(
    holder: SynapseFileSystem, sibling: SynapseFileSystem, base: str
) -> None:
    if not base.startswith("collections"):
        pytest.skip("datasets have no other name")
    old = base.rpartition("/")[0]
    assert holder.exists(old)
    sibling.mv(old, f"{old}-renamed", recursive=True)
    assert not holder.exists(old)
    assert holder.exists(f"{old}-renamed")


def test_an_instance_does_not_list_again_after_its_own_writes(
    holder: SynapseFileSystem, filled: str
) -> None:
    holder.find(filled)
    holder.pipe_file(f"{filled}/own.bin", b"own")
    before = holder.stats()["requests"]
    assert f"{filled}/own.bin" in holder.find(filled)
    assert holder.stats()["requests"] == before


def test_a_container_that_nobody_changed_is_not_listed_again(
    holder: SynapseFileSystem, sibling: SynapseFileSystem, filled: str
) -> None:
    other = f"{filled.partition('/')[0]}/t-{uuid.uuid4().hex[:12]}"
    sibling.mkdir(other)
    holder.find(filled)
    inside = f"{other}/data_1/x.bin" if other.startswith("collections") else f"{other}/x.bin"
    sibling.pipe_file(inside, b"x")
    before = holder.stats()["requests"]
    holder.find(filled)
    assert holder.stats()["requests"] == before


def test_an_asynchronous_instance_and_a_synchronous_one(
    holder: SynapseFileSystem, options: dict[str, Any], filled: str
) -> None:
    """As Zarr has them."""
    assert len(holder.find(filled)) == 3

    async def work() -> None:
        async with SynapseFileSystem(
            **options, asynchronous=True, skip_instance_cache=True
        ) as other:
            await other._pipe_file(f"{filled}/new.bin", b"new")

    asyncio.run(work())
    assert len(holder.find(filled)) == 4


def test_pandas_writes_through_an_instance_of_its_own(
    holder: SynapseFileSystem, options: dict[str, Any], filled: str
) -> None:
    holder.pipe_file(f"{filled}/a.csv", b"a\n1\n")
    assert holder.cat_file(f"{filled}/a.csv") == b"a\n1\n"
    frame = pd.DataFrame({"a": [1, 2, 3]})
    for name in ("a.csv", "b.csv"):
        frame.to_csv(
            f"synapse://{filled}/{name}", storage_options={**options, "retries": 5}, index=False
        )
    assert f"{filled}/b.csv" in holder.ls(filled, detail=False)
    assert holder.cat_file(f"{filled}/a.csv") == b"a\n1\n2\n3\n"
    assert holder.size(f"{filled}/a.csv") == 8
    with holder.open(f"{filled}/a.csv") as file:
        assert file.read() == b"a\n1\n2\n3\n"


def test_an_instance_that_another_process_sends_lists_again(
    options: dict[str, Any], another: SynapseFileSystem, filled: str
) -> None:
    """Whoever sent it may have changed something before, as Ray and Dask do."""
    fs = SynapseFileSystem(**options, listings_expiry_time=600)
    assert len(fs.find(filled)) == 3
    another.rm(f"{filled}/a.bin")
    again = pickle.loads(pickle.dumps(fs))
    assert again is fs
    assert len(again.find(filled)) == 2
    with another.open(f"{filled}/b.txt", "wb") as file:
        file.write(b"newer")
    with fs.open(f"{filled}/folder/c.bin") as reader:
        assert pickle.loads(pickle.dumps(reader)).read() == b"\xffdeep"
    assert fs.size(f"{filled}/b.txt") == 5


def test_nothing_is_looked_for_again(
    holder: SynapseFileSystem, another: SynapseFileSystem, filled: str, tmp_path: Path
) -> None:
    """In what another process wrote into a known folder: files that match, and none before."""
    assert holder.glob(f"{filled}/c-*.csv") == []
    assert holder.find(f"{filled}/folder/none") == []
    names = [f"{filled}/c-{number}.csv" for number in range(3)]
    another.pipe(dict.fromkeys(names, b"a"))
    assert holder.glob(f"{filled}/c-*.csv") == names
    another.pipe_file(f"{filled}/folder/none/deep.bin", b"a")
    assert holder.find(f"{filled}/folder/none") == [f"{filled}/folder/none/deep.bin"]
    another.pipe_file(f"{filled}/d-1.csv", b"a")
    assert holder.expand_path(f"{filled}/d-*.csv") == [f"{filled}/d-1.csv"]
    another.pipe_file(f"{filled}/e-1.csv", b"a")
    holder.get(f"{filled}/e-*.csv", str(tmp_path) + "/")
    assert [path.name for path in tmp_path.iterdir()] == ["e-1.csv"]


def test_a_file_that_became_a_folder(
    holder: SynapseFileSystem, another: SynapseFileSystem, filled: str
) -> None:
    path = f"{filled}/b.txt"
    assert holder.isfile(path)
    another.rm(path)
    another.pipe_file(f"{path}/inside.bin", b"x")
    assert holder.isdir(path)
    assert not holder.isfile(path)


def test_a_file_of_a_dataset_that_was_replaced_by_another_entry(
    holder: SynapseFileSystem, another: SynapseFileSystem, filled: str
) -> None:
    """What the service answers when it is asked for the bytes is believed over the listing."""
    if filled.startswith("collections"):
        pytest.skip("collections are not asked")
    path = f"{filled}/b.txt"
    assert holder.exists(path)
    another.rm(path)
    another.pipe_file(path, b"another entry")
    deadline = time.monotonic() + 10
    while holder.cat_file(path) != b"another entry":
        assert time.monotonic() < deadline
    another.rm(path)
    with pytest.raises(FileNotFoundError):
        while holder.cat_file(path):
            assert time.monotonic() < deadline
