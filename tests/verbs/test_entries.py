"""What datasets keep of an entry besides its bytes: descriptions, tags, metadata."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from synapsefs import (
    ChangedError,
    InvalidRequestError,
    NotFoundError,
    SynapseFileSystem,
    UnsupportedError,
)

NOTES: dict[str, Any] = {
    "description": "first light",
    "tags": ["raw", "2026"],
    "metadata": {"size": "large", "md5": "x" * 32, "depth": {"m": [1, 2.5]}, "ok": True},
}
TEXT, BYTES = b"a,b\r\n1,2\r\n", b"\x00\x01\xff" * 50


def told(fs: SynapseFileSystem, path: str) -> dict[str, Any]:
    info = fs.info(path, refresh=True)
    return {name: info[name] for name in NOTES}


@pytest.mark.parametrize(("name", "data"), [("t.csv", TEXT), ("b.bin", BYTES)])
@pytest.mark.parametrize("way", ["open", "pipe", "put"])
def test_what_is_said_at_a_write_is_told_by_info(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    dataset: str,
    tmp_path: Path,
    name: str,
    data: bytes,
    way: str,
) -> None:
    path = f"{dataset}/{name}"
    if way == "open":
        with fs.open(path, "wb", **NOTES) as file:
            file.write(data)
    elif way == "pipe":
        fs.pipe_file(path, data, **NOTES)
    else:
        (tmp_path / name).write_bytes(data)
        fs.put_file(str(tmp_path / name), path, **NOTES)
    for instance in (fs, another):
        assert told(instance, path) == NOTES
        assert instance.cat_file(path) == data
        info = instance.info(path)
        assert (info["size"], info["status"], info["share_status"]) == (
            len(data),
            "active",
            "private",
        )
        stored = ("raw_content", "text") if data is TEXT else ("gcs", "file")
        assert (info["storage_type"], info["content_type"]) == stored


@pytest.mark.parametrize(("name", "data"), [("t.csv", TEXT), ("b.bin", BYTES)])
def test_overwriting_keeps_what_is_said_unless_it_is_said_anew(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, name: str, data: bytes
) -> None:
    path = f"{dataset}/{name}"
    fs.pipe_file(path, data, **NOTES)
    fs.pipe_file(path, data * 2)
    assert told(another, path) == NOTES
    fs.pipe_file(path, data * 3, description="", tags=[], metadata={"k": 1})
    assert told(another, path) == {"description": "", "tags": [], "metadata": {"k": 1}}
    assert another.cat_file(path) == data * 3
    assert len(another.find(dataset)) == 1


def test_text_that_becomes_bytes_and_back_keeps_what_it_says(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path = f"{dataset}/t.csv"
    for data in (TEXT, b"\xff" + TEXT, TEXT * 2):
        fs.pipe_file(path, data, **(NOTES if data == TEXT else {}))
        assert told(another, path) == NOTES
        assert another.cat_file(path) == data


@pytest.mark.parametrize(("name", "data"), [("t.csv", TEXT), ("b.bin", BYTES)])
def test_attributes_are_read_and_set(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, name: str, data: bytes
) -> None:
    path = f"{dataset}/{name}"
    fs.pipe_file(path, data, **NOTES)
    assert fs.getxattr(path, "depth") == {"m": [1, 2.5]}
    assert fs.getxattr(path, "description") == "first light"
    assert fs.getxattr(path, "none") is None
    now = fs.setxattrs(path, {"two words": [1]}, ok=None, description="second")
    expected = {**NOTES["metadata"], "two words": [1], "description": "second"}
    del expected["ok"]
    assert now == expected == another.getxattrs(path)
    assert another.cat_file(path) == data
    assert another.info(path)["tags"] == NOTES["tags"]
    assert another.checksum(path) == fs.checksum(path)


def test_setting_attributes_does_not_undo_what_somebody_else_wrote(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path = f"{dataset}/t.csv"
    fs.pipe_file(path, TEXT)
    fs.info(path)
    another.pipe_file(path, TEXT * 2)
    fs.setxattrs(path, k=1)
    assert another.cat_file(path) == TEXT * 2
    assert another.getxattrs(path) == {"k": 1}


def test_tags_are_replaced_and_added_to(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    fs.mkdir(f"{dataset}/folder")
    fs.pipe_file(f"{dataset}/folder/t.txt", b"t", tags=["a"])
    for path in (f"{dataset}/folder", f"{dataset}/folder/t.txt"):
        fs.put_tags(path, ["b", "c"])
        assert fs.get_tags(path) == another.get_tags(path) == ["b", "c"]
        another.put_tags(path, ["c", "d"], mode="m")
        assert fs.get_tags(path) == ["b", "c", "d"]
        fs.put_tags(path, [])
        assert another.get_tags(path) == []
    fs.put_tags(f"{dataset}/folder/t.txt", iter(["x", "y"]))
    assert another.get_tags(f"{dataset}/folder/t.txt") == ["x", "y"]
    assert another.cat_file(f"{dataset}/folder/t.txt") == b"t"
    assert another.isdir(f"{dataset}/folder")


def test_copies_and_moves_say_what_the_file_says(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    for name, data in (("t.csv", TEXT), ("b.bin", BYTES)):
        fs.pipe_file(f"{dataset}/{name}", data, **NOTES)
        fs.copy(f"{dataset}/{name}", f"{dataset}/copy-{name}")
        fs.mv(f"{dataset}/{name}", f"{dataset}/moved/{name}")
        for path in (f"{dataset}/copy-{name}", f"{dataset}/moved/{name}"):
            assert told(another, path) == NOTES
            assert another.cat_file(path) == data


def test_asynchronous_writers_say_it_too(options: dict[str, Any], dataset: str) -> None:
    async def main() -> None:
        fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        async with fs:
            async with await fs.open_async(f"{dataset}/a.bin", "wb", **NOTES) as file:
                await file.write(BYTES)
            info = await fs._info(f"{dataset}/a.bin")
            assert {name: info[name] for name in NOTES} == NOTES
            await fs._mkdir(f"{dataset}/folder", description="d")
            assert await fs._getxattr(f"{dataset}/folder", "description") == "d"

    asyncio.run(main())


def test_a_dataset_tells_its_description(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    assert fs.getxattr(dataset, "description") == "all of it"
    with pytest.raises(UnsupportedError, match="only when they are made"):
        another.setxattrs(dataset, description="other")
    with pytest.raises(UnsupportedError, match="no tags"):
        another.put_tags(dataset, ["a"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tags": "raw"}, "tags are a list of texts"),
        ({"tags": ["a", ""]}, "each tag is a text"),
        ({"tags": ["synapsefs-internal"]}, "reserved"),
        ({"metadata": [1]}, "metadata is no mapping"),
        ({"metadata": {"synapsefs": {}}}, "reserved"),
        ({"metadata": {"x": {1, 2}}}, "JSON"),
        ({"metadata": {"x": float("nan")}}, "JSON"),
        ({"description": 3, "tags": 4}, "description is text; tags are a list of texts"),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    fs: SynapseFileSystem, dataset: str, given: dict[str, Any], words: str
) -> None:
    fs.ls(dataset)
    before = fs.stats()["requests"]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        fs.pipe_file(f"{dataset}/t.bin", b"\xff", **given)
    assert caught.value.filename == f"{dataset}/t.bin"
    assert fs.stats()["requests"] == before
    assert fs.ls(dataset) == []


def test_collections_take_no_such_notes(fs: SynapseFileSystem) -> None:
    path = f"collections/c-{uuid.uuid4().hex[:10]}"
    fs.mkdir(path)
    with pytest.raises(InvalidRequestError, match="description is not taken by collections"):
        fs.pipe_file(f"{path}/data_1/a.bin", b"x", description="d")
    assert fs.find(path) == []


@pytest.mark.parametrize("name", ["count.txt", "count.bin"])
def test_of_writers_on_one_version_one_wins(
    options: dict[str, Any], fs: SynapseFileSystem, dataset: str, name: str
) -> None:
    path, writers, times = f"{dataset}/{name}", 4, 3
    fs.pipe_file(path, b"0")

    def count(_: int) -> None:
        mine = SynapseFileSystem(**options, skip_instance_cache=True)
        done = 0
        while done < times:
            version = mine.info(path, refresh=True)["version"]
            try:
                number = int(mine.cat_file(path, version=version))
                mine.pipe_file(path, str(number + 1).encode(), base_version=version)
            except (ChangedError, NotFoundError):
                continue
            done += 1

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(count, range(writers)))
    fs.invalidate_cache()
    assert fs.cat_file(path) == str(writers * times).encode()
    assert len(fs.revisions(path)) == writers * times + 1
    assert fs.find(dataset) == [path]


@pytest.mark.parametrize(("name", "data"), [("t.csv", TEXT), ("b.bin", BYTES)])
def test_a_write_on_a_certain_version_gives_way_to_others(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, name: str, data: bytes
) -> None:
    path = f"{dataset}/{name}"
    fs.pipe_file(path, data)
    read = another.info(path)["version"]
    fs.pipe_file(path, data * 2, base_version=fs.info(path, refresh=True)["version"])
    with pytest.raises(ChangedError, match="somebody else") as caught:
        another.pipe_file(path, data * 3, base_version=read)
    assert caught.value.filename == path
    with pytest.raises(ChangedError), another.open(path, "wb", base_version=read) as file:
        file.write(data * 3)
    assert another.cat_file(path) == data * 2
    assert another.find(dataset) == [path]
    fs.rm(path)
    with pytest.raises(ChangedError, match="gone"):
        another.pipe_file(path, data * 3, base_version=read)
    with pytest.raises(NotFoundError):
        fs.info(path, refresh=True)
