"""What other clients of the services left behind: nothing is hidden, whatever its name."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from synapsefs import SynapseFileSystem, sync
from synapsefs.location import Location
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.service import CollectionsService
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.service import DatasetsService
from synapsefs.wire.collections import v1
from synapsefs.wire.datasets import requests

ABOUT = "what a test prepares"


@pytest.fixture
def name() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


async def units_api(fs: SynapseFileSystem) -> CollectionsClient:
    return cast("CollectionsService", await fs._service(Location.parse("collections"))).api


async def entries_api(fs: SynapseFileSystem) -> DatasetsClient:
    return cast("DatasetsService", await fs._service(Location.parse("datasets"))).api


def prepared(fs: SynapseFileSystem, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with the services' routes alone; forget what the filesystem knew before."""
    found = sync.run(fs.loop, work())
    fs.invalidate_cache()
    return found


async def bind(api: CollectionsClient, collection: int, name: str, data: bytes, **more: Any) -> int:
    """Create a unit as other clients do: nothing of ours in its metadata."""
    file = await api.create_data_file(data, name, ABOUT)
    binding = v1.FileBinding(checksum=file.checksum, path=name)
    unit = v1.UnitToCreate(data_collection=collection, files={"data_1": binding}, **more)
    return (await api.create_units([unit], ABOUT))[0].id


def test_units_of_one_file_name(fs: SynapseFileSystem, name: str) -> None:
    """The newest holds the plain name; the others are listed with their number."""
    fs.mkdir(f"collections/{name}")
    number = fs.info(f"collections/{name}")["id"]

    async def work() -> list[int]:
        api = await units_api(fs)
        meta = {"data_unit_key": "same"}
        return [await bind(api, number, "same.bin", data, meta=meta) for data in (b"old", b"new")]

    old, _ = prepared(fs, work)
    base = f"collections/{name}/data_1"
    assert fs.cat(fs.find(base)) == {
        f"{base}/same.bin": b"new",
        f"{base}/same@{old}.bin": b"old",
    }
    fs.rm(f"{base}/same.bin")
    fs.invalidate_cache()
    assert fs.cat(fs.find(base)) == {f"{base}/same.bin": b"old"}


def test_units_without_a_key(fs: SynapseFileSystem, name: str) -> None:
    fs.mkdir(f"collections/{name}")
    number = fs.info(f"collections/{name}")["id"]

    async def work() -> None:
        api = await units_api(fs)
        await bind(api, number, "plain.bin", b"plain")
        await bind(api, number, "grouped.bin", b"grouped", groups=["outer", "inner"])
        await bind(api, number, "half a 100% name.bin", b"percent", meta={"other": [1, 2]})

    prepared(fs, work)
    found = fs.cat(fs.find(f"collections/{name}"))
    assert sorted(found.values()) == [b"grouped", b"percent", b"plain"]
    for path, data in found.items():
        assert fs.cat_file(path) == data
        assert fs.info(path)["size"] == len(data)
        assert fs.info(path)["checksum"] in {None, hashlib.md5(data).hexdigest()}


def test_equal_content_under_two_names_is_two_files(fs: SynapseFileSystem, name: str) -> None:
    fs.mkdir(f"collections/{name}")
    base = f"collections/{name}/data_1"
    fs.pipe({f"{base}/a.bin": b"same", f"{base}/b.bin": b"same"})
    assert fs.cat(fs.find(base)) == {f"{base}/a.bin": b"same", f"{base}/b.bin": b"same"}
    fs.rm(f"{base}/a.bin")
    assert fs.cat(fs.find(base)) == {f"{base}/b.bin": b"same"}


def test_collections_of_one_name(fs: SynapseFileSystem, name: str) -> None:
    specification = {"name": "data_1", "file_type": "data", "is_required": True, "is_primary": True}

    async def work() -> list[int]:
        api = await units_api(fs)
        settings = {"name": name, "category": "data", "file_specifications": [specification]}
        made = [await api.create_collection(settings, ABOUT) for _ in range(2)]
        for order, collection in enumerate(made):
            await bind(api, collection.id, f"{order}.bin", b"%d" % order)
        return [collection.id for collection in made]

    old, new = prepared(fs, work)
    there = [path for path in fs.ls("collections", detail=False) if name in path]
    assert there == [f"collections/{name}", f"collections/{name}@{old}"]
    assert fs.info(there[0])["id"] == new
    for path, data in zip([*there, f"collections/@{old}"], [b"1", b"0", b"0"], strict=True):
        assert [fs.cat_file(found) for found in fs.find(path)] == [data]


def test_datasets_and_entries_of_one_name(fs: SynapseFileSystem, name: str) -> None:
    async def dataset(api: DatasetsClient) -> str:
        return (await api.create_dataset(name, None, str(uuid.uuid4()), ABOUT)).id

    async def text(api: DatasetsClient, dataset: str, content: str) -> str:
        entry = requests.EntryCreate(name="same.txt", content=content, dataset_id=dataset)
        return (await api.create_entry(entry, ABOUT, replay=False)).data_storage.id

    async def work() -> tuple[str, str, str]:
        api = await entries_api(fs)
        old, new = await dataset(api), await dataset(api)
        first = await text(api, new, "first")
        await text(api, new, "second")
        await text(api, old, "in the older")
        return old, new, first

    old, new, first = prepared(fs, work)
    assert fs.cat(fs.find(f"datasets/@{new}")) == {
        f"datasets/@{new}/same.txt": b"second",
        f"datasets/@{new}/same@{first}.txt": b"first",
    }
    assert fs.cat_file(f"datasets/@{new}/same@{first}.txt") == b"first"
    assert fs.cat_file(f"datasets/@{old}/same.txt") == b"in the older"


@pytest.mark.parametrize("odd", ["a/b.txt", "..", ".", "100%2F", "x@5.txt", "tab\there.txt", " "])
def test_odd_names_are_one_segment(fs: SynapseFileSystem, name: str, odd: str) -> None:
    fs.mkdir(f"datasets/{name}")
    number = fs.info(f"datasets/{name}")["id"]

    async def work() -> None:
        entry = requests.EntryCreate(name=odd, content="odd", dataset_id=number)
        await (await entries_api(fs)).create_entry(entry, ABOUT, replay=False)

    prepared(fs, work)
    (found,) = fs.ls(f"datasets/{name}", detail=False)
    segment = found.removeprefix(f"datasets/{name}/")
    assert "/" not in segment
    assert segment not in {"", ".", ".."}
    assert fs.cat_file(found) == b"odd"
    fs.rm(found)
    assert fs.ls(f"datasets/{name}") == []
