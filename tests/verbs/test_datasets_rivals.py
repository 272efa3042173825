"""Two clients of one dataset, the second with a listing from before the first one's change."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from synapsefs import SynapseFileSystem, sync
from synapsefs.errors import ChangedError
from synapsefs.location import Location

APART = 0.3
"""Seconds between what one client writes and what the other reads then."""


@pytest.fixture
def base(options: dict[str, Any]) -> str:
    maker = SynapseFileSystem(**options, skip_instance_cache=True)
    container = f"datasets/t-{uuid.uuid4().hex[:12]}"
    maker.mkdir(container)
    return container


@pytest.fixture
def late(options: dict[str, Any]) -> SynapseFileSystem:
    """The second client, which uses a listing for longer than a test lasts."""
    return SynapseFileSystem(**options, listings_expiry_time=600, skip_instance_cache=True)


@pytest.fixture
def contents(options: dict[str, Any], base: str) -> Callable[[], dict[str, bytes]]:
    """What a client that knows nothing finds."""

    def look() -> dict[str, bytes]:
        fresh = SynapseFileSystem(**options, skip_instance_cache=True)
        found = fresh.find(base)
        return {path.removeprefix(f"{base}/"): fresh.cat_file(path) for path in found}

    return look


def entries(fs: SynapseFileSystem, base: str) -> list[tuple[str, str, list[str]]]:
    """Name, status and tags of all entries of a dataset, as the service's own client gets them."""

    async def ask() -> list[tuple[str, str, list[str]]]:
        service: Any = await fs._service(Location.parse(base))
        dataset = (await fs._info(base))["id"]
        found = await service.api.dataset(dataset, base)
        return sorted(
            (one.name, one.status, sorted(one.tags or ())) for one in found.data_storage_entries
        )

    got = sync.run(fs.loop, ask())
    return [one for one in got if one[0] != ".synapsefs-catalogue"]


SUFFIXES = pytest.mark.parametrize("name", ["k.bin", "k.txt"])


@SUFFIXES
def test_attributes_are_set_on_the_content_that_is_there(fs, late, base, contents, name):
    fs.pipe_file(f"{base}/{name}", b"one", metadata={"a": 1})
    assert late.cat_file(f"{base}/{name}") == b"one"
    fs.pipe_file(f"{base}/{name}", b"two")
    late.setxattrs(f"{base}/{name}", x=1)
    assert contents() == {name: b"two"}
    assert fs.getxattrs(f"{base}/{name}") == {"a": 1, "x": 1}


@SUFFIXES
def test_attributes_that_both_set_are_merged(fs, late, base, contents, name):
    path = f"{base}/{name}"
    fs.pipe_file(path, b"one")
    threads = [
        threading.Thread(target=client.setxattrs, args=(path, {key: 1}))
        for client, key in ((fs, "x"), (late, "y"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fs.getxattrs(path) == {"x": 1, "y": 1}
    assert contents() == {name: b"one"}


def test_tags_that_both_add_are_merged(fs, late, base):
    path = f"{base}/k.txt"
    fs.pipe_file(path, b"one")
    for _ in range(3):
        fs.put_tags(path, [])
        threads = [
            threading.Thread(target=client.put_tags, args=(path, [tag], "m"))
            for client, tag in ((fs, "x"), (late, "y"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(fs.get_tags(path)) == ["x", "y"]


@SUFFIXES
def test_what_one_says_of_a_file_stays_when_the_other_replaces_it(fs, late, base, contents, name):
    path = f"{base}/{name}"
    fs.pipe_file(path, b"one")
    assert late.cat_file(path) == b"one"
    fs.setxattrs(path, label="cat")
    fs.put_tags(path, ["good"])
    late.pipe_file(path, b"two")
    assert contents() == {name: b"two"}
    assert fs.getxattrs(path) == {"label": "cat"}
    assert fs.get_tags(path) == ["good"]


@SUFFIXES
def test_a_copy_is_of_what_is_there(fs, late, base, contents, name):
    path = f"{base}/{name}"
    fs.pipe_file(path, b"one")
    assert late.cat_file(path) == b"one"
    fs.pipe_file(path, b"two", metadata={"label": "cat"})
    late.cp_file(path, f"{base}/copy-{name}")
    assert contents() == {name: b"two", f"copy-{name}": b"two"}
    assert fs.getxattrs(f"{base}/copy-{name}") == {"label": "cat"}


def test_what_one_says_while_the_other_sends_stays(fs, late, base, contents):
    """The content is sent again to an entry that says it."""
    path = f"{base}/k.bin"
    fs.pipe_file(path, b"one")
    with late.transaction:
        late.pipe_file(path, b"\xff two")
        fs.setxattrs(path, label="cat")
    assert contents() == {"k.bin": b"\xff two"}
    assert fs.getxattrs(path) == {"label": "cat"}
    assert entries(fs, base) == [("k.bin", "active", [])]


@SUFFIXES
def test_both_write_a_new_path_one_after_the_other(fs, late, base, contents, name):
    assert late.find(base) == []
    fs.pipe_file(f"{base}/{name}", b"one")
    late.pipe_file(f"{base}/{name}", b"two")
    assert contents() == {name: b"two"}
    fs.pipe_file(f"{base}/{name}", b"three")
    assert contents() == {name: b"three"}
    late.rm(f"{base}/{name}")
    assert contents() == {}


@SUFFIXES
def test_both_write_a_new_path_at_once(fs, late, base, contents, name):
    clients = {b"one": fs, b"two": late}
    for number in range(3):
        path = f"{base}/{number}-{name}"
        threads = [
            threading.Thread(target=client.pipe_file, args=(path, data))
            for data, client in clients.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = contents()
    assert sorted(found) == [f"{number}-{name}" for number in range(3)]
    assert set(found.values()) <= set(clients)
    assert len(entries(fs, base)) == 3


@SUFFIXES
def test_a_path_that_is_written_several_times_in_a_transaction(fs, base, contents, name):
    with fs.transaction:
        for data in (b"one", b"two", b"three"):
            fs.pipe_file(f"{base}/{name}", data)
    assert contents() == {name: b"three"}
    assert entries(fs, base) == [(name, "active", [])]


@SUFFIXES
def test_two_files_that_are_copied_to_one_path(fs, base, contents, name):
    fs.pipe({f"{base}/a/{name}": b"1", f"{base}/b/{name}": b"22"})
    fs.cp([f"{base}/a/{name}", f"{base}/b/{name}"], f"{base}/c/")
    assert contents() == {f"a/{name}": b"1", f"b/{name}": b"22", f"c/{name}": b"22"}


@SUFFIXES
def test_one_file_of_a_name_is_left_after_it_was_replaced(fs, late, base, name):
    path = f"{base}/{name}"
    fs.pipe_file(path, b"one", metadata={"a": 1})
    fs.pipe_file(path, b"two")
    late.pipe_file(path, b"three", metadata={"b": 1})
    fs.setxattrs(path, c=1)
    with fs.open(path, "wb") as file:
        file.write(b"four")
    assert entries(fs, base) == [(name, "active", [])]
    assert late.getxattrs(path) == {"b": 1, "c": 1}
    assert late.cat_file(path) == b"four"
    assert late.cat_file(path, version=late.revisions(path)[-1]["version"]) == b"one"


def test_a_file_and_a_file_below_it(fs, base, contents):
    with pytest.raises(NotADirectoryError):
        fs.pipe({f"{base}/x": b"file", f"{base}/x/y": b"below"})
    with pytest.raises(NotADirectoryError), fs.transaction:
        fs.pipe_file(f"{base}/g", b"1")
        fs.pipe_file(f"{base}/g/h", b"2")
    assert contents() == {}


@SUFFIXES
def test_a_file_below_what_the_other_made_a_file(fs, late, base, contents, name):
    assert late.find(base) == []
    fs.pipe_file(f"{base}/x", b"file")
    with pytest.raises(NotADirectoryError):
        late.pipe_file(f"{base}/x/{name}", b"below")
    fs.pipe_file(f"{base}/y/{name}", b"below")
    with pytest.raises(IsADirectoryError):
        late.pipe_file(f"{base}/y", b"file")
    assert contents() == {"x": b"file", f"y/{name}": b"below"}


@SUFFIXES
@pytest.mark.parametrize("again", [False, True], ids=["removed", "made again"])
def test_writing_into_a_folder_that_the_other_removed(fs, late, base, contents, name, again):
    fs.pipe_file(f"{base}/d/a.bin", b"a")
    assert late.find(base) == [f"{base}/d/a.bin"]
    fs.rm(f"{base}/d", recursive=True)
    if again:
        fs.pipe_file(f"{base}/d/b.bin", b"b")
    late.pipe_file(f"{base}/d/{name}", b"new")
    late.makedirs(f"{base}/d/deeper", exist_ok=True)
    expected = {f"d/{name}": b"new"} | ({"d/b.bin": b"b"} if again else {})
    assert contents() == expected
    assert fs.isdir(f"{base}/d/deeper")


@SUFFIXES
def test_writing_into_a_dataset_that_the_other_made_again(fs, late, base, contents, name):
    fs.pipe_file(f"{base}/d/a.bin", b"a")
    assert late.find(base) == [f"{base}/d/a.bin"]
    fs.rm(base, recursive=True)
    fs.mkdir(base)
    late.pipe_file(f"{base}/d/{name}", b"new")
    late.mkdir(f"{base}/e")
    assert contents() == {f"d/{name}": b"new"}


def test_a_file_takes_the_place_of_a_folder_that_the_other_removed(fs, late, base, contents):
    fs.pipe_file(f"{base}/d/a.bin", b"a")
    assert late.find(base) == [f"{base}/d/a.bin"]
    fs.rm(f"{base}/d", recursive=True)
    late.pipe_file(f"{base}/d", b"file")
    assert contents() == {"d": b"file"}


def test_a_table_is_overwritten_by_several_processes(fs, late, options, base, contents):
    """As Dask does it: the leader removes the folder, workers that know it write into it."""
    workers = [
        SynapseFileSystem(**options, listings_expiry_time=600, skip_instance_cache=True)
        for _ in range(2)
    ]
    for number, worker in enumerate(workers):
        worker.makedirs(f"{base}/t", exist_ok=True)
        worker.pipe_file(f"{base}/t/old-{number}.bin", b"old")
    assert len(workers[0].find(base, refresh=True)) == 2
    late.rm(f"{base}/t", recursive=True)
    late.makedirs(f"{base}/t", exist_ok=False)
    for number, worker in enumerate(workers):
        worker.pipe_file(f"{base}/t/part.{number}.bin", b"%d" % number)
    late.pipe_file(f"{base}/t/_metadata", b"m")
    assert contents() == {"t/part.0.bin": b"0", "t/part.1.bin": b"1", "t/_metadata": b"m"}


def test_a_target_that_vanishes_while_its_content_is_sent(fs, late, base, contents):
    """The content was on its way to be a revision; it becomes a new file."""
    fs.pipe_file(f"{base}/d/k.bin", b"one")
    assert late.cat_file(f"{base}/d/k.bin") == b"one"
    with late.transaction:
        late.pipe_file(f"{base}/d/k.bin", b"\xff two")
        fs.rm(f"{base}/d", recursive=True)
    assert contents() == {"d/k.bin": b"\xff two"}
    assert entries(fs, base) == [("d", "active", []), ("k.bin", "active", [])]


@SUFFIXES
def test_removing_what_is_unchanged(fs, late, base, contents, name):
    """What a move removes is what it has copied."""
    paths = [f"{base}/{number}-{name}" for number in range(3)]
    for path in paths:
        fs.pipe_file(path, b"one")

    async def remove() -> None:
        service: Any = await late._service(Location.parse(base))
        found = [await late._entry(path) for path in paths]
        await asyncio.to_thread(fs.pipe_file, paths[1], b"two")
        await service.remove(found, unchanged=True)

    with pytest.raises(ChangedError) as caught:
        sync.run(late.loop, remove())
    assert caught.value.filename == paths[1]
    assert contents() == {f"1-{name}": b"two"}


def test_a_removed_file_is_not_there(fs, late, base):
    for name in ("k.bin", "k.txt"):
        path = f"{base}/{name}"
        fs.pipe_file(path, b"\xff one")
        assert late.cat_file(path) == b"\xff one"
        late.info(path)
        fs.rm(path)
        time.sleep(APART)
        with pytest.raises(FileNotFoundError):
            late.cat_file(path)
        with pytest.raises(FileNotFoundError):
            late.open(path)


@SUFFIXES
def test_a_replaced_file_is_read_as_it_is_now(fs, late, base, name):
    path = f"{base}/{name}"
    fs.pipe_file(path, b"one")
    assert late.cat_file(path) == b"one"
    fs.pipe_file(path, b"second")
    time.sleep(APART)
    assert late.cat_file(path) == b"second"
    fs.rm(path)
    fs.pipe_file(path, b"again")
    time.sleep(APART)
    with late.open(path) as file:
        assert file.read() == b"again"
    assert late.info(path)["size"] == 5


async def test_of_several_that_create_a_path_in_one_process_one_does(options, base, contents):
    fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
    path = f"{base}/k.bin"
    work = [fs._pipe_file(path, b"%d" % number, mode="create") for number in range(4)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert (
        sorted(type(one).__name__ for one in outcomes if one is not None)
        == ["AlreadyExistsError"] * 3
    )
    await fs.aclose()
    found = await asyncio.to_thread(contents)
    assert found == {"k.bin": b"%d" % outcomes.index(None)}
