"""Two clients of a collection, of which one holds a listing from before the other acted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from synapsefs import ChangedError, SynapseFileSystem, sync
from tests.faults.operations import PAIRED

LONE = {
    "category": "data",
    "file_specifications": [
        {"name": "image_1", "file_type": "data", "is_required": True, "is_primary": True,
         "function_type": "main"},
    ],
}  # fmt: skip
FREE = {
    "category": "image",
    "file_specifications": [
        {"name": "image_1", "file_type": "image", "is_primary": True, "function_type": "main"},
        {"name": "json_meta_1", "file_type": "data", "function_type": "meta"},
    ],
}
HALF = {
    **FREE,
    "file_specifications": [{**FREE["file_specifications"][0], "is_required": True},
                            FREE["file_specifications"][1]],
}  # fmt: skip


class Clients:
    """A collection, and clients that believe what they have listed for a minute."""

    def __init__(self, options: dict[str, Any], settings: dict[str, Any]) -> None:
        self._options = options
        self.base = f"collections/t-{uuid.uuid4().hex[:10]}"
        self.image, self.meta = f"{self.base}/image_1/k.png", f"{self.base}/json_meta_1/k.json"
        self.a, self.b = self.client(), self.client()
        self.a.mkdir(self.base, **settings)

    def client(self) -> SynapseFileSystem:
        return SynapseFileSystem(**self._options, skip_instance_cache=True, listings_expiry_time=60)

    def listed(self) -> None:
        """Let both know what is there."""
        for fs in (self.a, self.b):
            fs.find(self.base, refresh=True)

    @property
    def found(self) -> dict[str, bytes]:
        """What a client sees that knows nothing."""
        fs = self.client()
        return {
            name.removeprefix(self.base + "/"): fs.cat_file(name) for name in fs.find(self.base)
        }


Making = Callable[[dict[str, Any]], Clients]


@pytest.fixture
def clients(options: dict[str, Any]) -> Making:
    return lambda settings: Clients(options, settings)


def test_a_removed_file_does_not_come_back_with_another_of_its_unit(clients: Making) -> None:
    it = clients(HALF)
    it.a.pipe({it.image: b"image", it.meta: b"meta"})
    it.listed()
    it.a.rm([it.image, it.meta])
    with pytest.raises(OSError, match="image_1"):
        it.b.pipe_file(it.meta, b"new meta")
    assert it.found == {}


def test_what_is_left_of_a_unit_is_written_without_what_was_removed(clients: Making) -> None:
    it = clients(FREE)
    it.a.pipe({it.image: b"image", it.meta: b"meta"})
    it.listed()
    it.a.rm(it.image)
    it.b.pipe_file(it.meta, b"new meta")
    assert it.found == {"json_meta_1/k.json": b"new meta"}


def test_a_file_joins_a_unit_that_another_client_has_just_made(clients: Making) -> None:
    it = clients(HALF)
    it.listed()
    it.a.pipe_file(it.image, b"image")
    it.b.pipe_file(it.meta, b"meta")
    assert it.found == {"image_1/k.png": b"image", "json_meta_1/k.json": b"meta"}
    assert it.client().units(it.base).num_rows == 1


def test_a_transaction_joins_it_too(clients: Making) -> None:
    it = clients(FREE)
    it.listed()
    it.a.pipe_file(it.image, b"image")
    with it.b.transaction:
        it.b.pipe_file(it.meta, b"meta")
    assert it.found == {"image_1/k.png": b"image", "json_meta_1/k.json": b"meta"}
    assert it.client().units(it.base).num_rows == 1


def test_replacing_a_file_of_a_unit_never_seen_keeps_the_other(clients: Making) -> None:
    it = clients(PAIRED)
    it.listed()
    it.a.pipe({it.image: b"image", it.meta: b"meta"})
    it.b.pipe_file(it.image, b"new image")
    assert it.found == {"image_1/k.png": b"new image", "json_meta_1/k.json": b"meta"}
    it.b.rm([it.image, it.meta])
    assert it.found == {}


def test_attributes_stay_when_another_file_of_the_unit_is_written(clients: Making) -> None:
    it = clients(FREE)
    it.a.pipe({it.image: b"image", it.meta: b"meta"})
    it.listed()
    it.a.setxattrs(it.image, label="cat")
    it.b.pipe_file(it.meta, b"new meta")
    assert it.client().getxattr(it.image, "label") == "cat"


def test_attributes_go_along_with_a_copy(clients: Making) -> None:
    it = clients(LONE)
    it.a.pipe_file(it.image, b"image")
    it.listed()
    it.a.setxattrs(it.image, label="cat")
    it.b.cp_file(it.image, f"{it.base}/image_1/copy.png")
    assert it.client().getxattr(f"{it.base}/image_1/copy.png", "label") == "cat"


def test_a_copy_is_of_what_is_there_now(clients: Making) -> None:
    it = clients(LONE)
    it.a.pipe_file(it.image, b"old")
    it.listed()
    it.a.pipe_file(it.image, b"new")
    it.b.cp_file(it.image, f"{it.base}/image_1/copy.png")
    assert it.found == {"image_1/k.png": b"new", "image_1/copy.png": b"new"}


@pytest.mark.parametrize("settings", [LONE, FREE], ids=["one", "two"])
def test_what_is_there_now_is_removed(clients: Making, settings: dict[str, Any]) -> None:
    it = clients(settings)
    it.a.pipe_file(it.image, b"old")
    it.listed()
    it.a.pipe_file(it.image, b"new")
    it.b.rm_file(it.image)
    assert it.found == {}
    assert not it.b.exists(it.image)
    with pytest.raises(FileNotFoundError):
        it.a.rm_file(it.image)


def test_only_what_has_not_changed_is_removed_when_asked_to(clients: Making) -> None:
    it = clients(LONE)
    other = f"{it.base}/image_1/other.png"
    it.a.pipe({it.image: b"old", other: b"other"})
    it.listed()
    entries = [entry_of(it.b, path) for path in (it.image, other)]
    it.a.pipe_file(it.image, b"new")
    with pytest.raises(ChangedError, match=r"k\.png"):
        remove_unchanged(it.b, entries)
    assert it.found == {"image_1/k.png": b"new"}
    remove_unchanged(it.b, [entry_of(it.client(), it.image)])
    assert it.found == {}


def entry_of(fs: SynapseFileSystem, path: str) -> Any:
    return sync.run(fs.loop, fs._entry(path))


def remove_unchanged(fs: SynapseFileSystem, entries: list[Any]) -> None:
    async def remove() -> None:
        service: Any = await fs._service(entries[0].location)
        await service.remove(entries, unchanged=True)

    sync.run(fs.loop, remove())


@pytest.mark.parametrize("write", ["a below b", "b below a"])
def test_no_file_where_another_client_has_made_a_directory(clients: Making, write: str) -> None:
    it = clients(LONE)
    it.listed()
    file, below = f"{it.base}/image_1/x", f"{it.base}/image_1/x/y"
    first, second = (file, below) if write == "a below b" else (below, file)
    it.a.pipe_file(first, b"1")
    with pytest.raises((IsADirectoryError, NotADirectoryError)):
        it.b.pipe_file(second, b"2")
    with pytest.raises((IsADirectoryError, NotADirectoryError)):
        it.client().pipe_file(second, b"2")
    with pytest.raises((IsADirectoryError, NotADirectoryError)):
        it.b.pipe({file + "2": b"", f"{file}2/z": b""})
    with pytest.raises((IsADirectoryError, NotADirectoryError)), it.b.transaction:
        it.b.pipe_file(file + "2", b"")
        it.b.pipe_file(f"{file}2/z", b"")
    assert it.found == {first.removeprefix(it.base + "/"): b"1"}


def test_directories_that_are_there_are_not_made_again(clients: Making) -> None:
    it = clients(LONE)
    folder = f"{it.base}/image_1/d"
    it.listed()
    it.a.pipe_file(f"{folder}/f", b"x")
    for there in (folder, f"{folder}/f", f"{it.base}/image_1", it.base):
        with pytest.raises(FileExistsError):
            it.b.mkdir(there)
        with pytest.raises(FileExistsError):
            it.client().makedirs(there)
    it.b.makedirs(folder, exist_ok=True)
    it.b.makedirs(f"{folder}/other", exist_ok=True)
    with pytest.raises(FileExistsError):
        it.b.makedirs(f"{folder}/f", exist_ok=True)
    with pytest.raises(NotADirectoryError):
        it.client().makedirs(f"{folder}/f/g", exist_ok=True)


def test_a_collection_that_was_made_anew_is_written_to(clients: Making) -> None:
    it = clients(HALF)
    it.a.pipe({it.image: b"image", it.meta: b"meta"})
    it.listed()
    it.a.rm(it.base, recursive=True)
    it.a.mkdir(it.base, **FREE)
    it.b.pipe_file(it.meta, b"new meta")
    assert it.found == {"json_meta_1/k.json": b"new meta"}


def test_files_of_a_collection_that_was_made_anew_are_copied_and_removed(clients: Making) -> None:
    it = clients(LONE)
    it.a.pipe_file(it.image, b"old")
    it.listed()
    it.a.rm(it.base, recursive=True)
    it.a.mkdir(it.base, **LONE)
    it.a.pipe_file(it.image, b"new")
    it.b.cp_file(it.image, f"{it.base}/image_1/copy.png")
    assert it.found == {"image_1/k.png": b"new", "image_1/copy.png": b"new"}
    it.a.rm(it.base, recursive=True)
    it.a.mkdir(it.base, **LONE)
    it.a.pipe_file(it.image, b"newer")
    it.b.rm_file(it.image)
    assert it.found == {}
