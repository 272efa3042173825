"""What another process did is seen: at once by open, exists and info, after the expiry by ls."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from synapsefs import SynapseFileSystem

EXPIRY = 0.3
"""Seconds for which the instances of this module believe a listing."""


@pytest.fixture
def believing(options: dict[str, Any]) -> SynapseFileSystem:
    """An instance that believes listings for longer than a test lasts."""
    return SynapseFileSystem(**options, listings_expiry_time=600, skip_instance_cache=True)


@pytest.fixture
def forgetful(options: dict[str, Any]) -> SynapseFileSystem:
    """An instance that believes listings for an instant."""
    return SynapseFileSystem(**options, listings_expiry_time=EXPIRY, skip_instance_cache=True)


def container_of(base: str) -> str:
    return "/".join(base.split("/")[:2])


def eventually(look: Callable[[], Any], wanted: Any, seconds: float = 10.0) -> None:
    """Poll until an answer is the one wanted."""
    deadline = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found


LOOKS: dict[str, Callable[[SynapseFileSystem, str], Any]] = {
    "exists": lambda fs, path: fs.exists(path),
    "isfile": lambda fs, path: fs.isfile(path),
    "info": lambda fs, path: fs.info(path)["size"] == 3,
    "cat_file": lambda fs, path: fs.cat_file(path) == b"new",
    "open": lambda fs, path: fs.open(path).read() == b"new",
    "size": lambda fs, path: fs.size(path) == 3,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_file_of_another_process_is_found_at_once(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str, look: str
) -> None:
    path = f"{base}/folder/new.bin"
    assert believing.find(base) == []
    assert not believing.exists(path)
    another.pipe_file(path, b"new")
    assert LOOKS[look](believing, path)
    assert believing.isdir(f"{base}/folder")


def test_a_folder_of_another_process_is_found_at_once(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    assert not believing.exists(f"{base}/folder")
    another.pipe_file(f"{base}/folder/new.bin", b"new")
    assert believing.isdir(f"{base}/folder")
    assert believing.ls(f"{base}/folder", detail=False) == [f"{base}/folder/new.bin"]


def test_a_container_of_another_process_is_found_at_once(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    name = f"{base.partition('/')[0]}/t-{uuid.uuid4().hex[:12]}"
    assert not believing.exists(name)
    another.mkdir(name)
    assert believing.exists(name)
    assert believing.isdir(name)


def test_ls_finds_it_after_the_expiry(
    forgetful: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    assert forgetful.ls(base, detail=False) == []
    another.pipe_file(f"{base}/new.bin", b"new")
    eventually(lambda: forgetful.ls(base, detail=False), [f"{base}/new.bin"])
    another.rm_file(f"{base}/new.bin")
    eventually(lambda: forgetful.ls(base, detail=False), [])
    eventually(lambda: forgetful.exists(f"{base}/new.bin"), False)


def test_ls_finds_it_at_once_when_asked_to_look_anew(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    assert believing.ls(base) == []
    another.pipe_file(f"{base}/new.bin", b"new")
    assert [info["name"] for info in believing.ls(base, refresh=True)] == [f"{base}/new.bin"]
    another.pipe_file(f"{base}/newer.bin", b"newer")
    believing.invalidate_cache()
    assert believing.ls(base, detail=False) == [f"{base}/new.bin", f"{base}/newer.bin"]


def test_so_do_find_glob_and_du(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    assert believing.find(base) == []
    another.pipe_file(f"{base}/new.bin", b"new")
    another.pipe_file(f"{base}/folder/deep.bin", b"deep")
    files = [f"{base}/folder/deep.bin", f"{base}/new.bin"]
    assert believing.find(f"{base}/folder", refresh=True) == files[:1]
    assert believing.find(base, refresh=True) == files
    another.rm_file(files[0])
    assert believing.glob(f"{base}/**/*.bin", refresh=True) == files[1:]
    another.rm_file(files[1])
    assert believing.du("/".join(base.split("/")[:2]), refresh=True) == 0


def test_an_instance_that_believes_nothing(
    options: dict[str, Any], another: SynapseFileSystem, base: str
) -> None:
    fs = SynapseFileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
    for number in range(3):
        another.pipe_file(f"{base}/{number}.bin", b"new")
        assert len(fs.ls(base)) == number + 1
    another.rm_file(f"{base}/0.bin")
    assert len(fs.ls(base)) == 2
    assert not fs.exists(f"{base}/0.bin")


def test_what_one_writes_oneself_is_listed_at_once(believing: SynapseFileSystem, base: str) -> None:
    assert believing.ls(base) == []
    believing.pipe_file(f"{base}/a.bin", b"a")
    assert believing.ls(base, detail=False) == [f"{base}/a.bin"]
    believing.mv_file(f"{base}/a.bin", f"{base}/b.bin")
    assert believing.ls(base, detail=False) == [f"{base}/b.bin"]
    assert not believing.exists(f"{base}/a.bin")
    believing.rm_file(f"{base}/b.bin")
    assert believing.ls(base, detail=False) == []


def test_a_file_that_another_process_moved(
    forgetful: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    forgetful.pipe_file(f"{base}/old.bin", b"new")
    assert forgetful.ls(base, detail=False) == [f"{base}/old.bin"]
    another.mv_file(f"{base}/old.bin", f"{base}/folder/moved.bin")
    assert forgetful.cat_file(f"{base}/folder/moved.bin") == b"new"
    eventually(lambda: forgetful.exists(f"{base}/old.bin"), False)
    assert forgetful.find(base) == [f"{base}/folder/moved.bin"]


def test_a_file_that_another_process_replaced(
    forgetful: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    forgetful.pipe_file(f"{base}/a.bin", b"old")
    assert forgetful.cat_file(f"{base}/a.bin") == b"old"
    another.pipe_file(f"{base}/a.bin", b"newer")
    eventually(lambda: forgetful.cat_file(f"{base}/a.bin"), b"newer")
    assert forgetful.size(f"{base}/a.bin") == 5


def test_a_file_that_another_process_removed_is_not_resurrected(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    """Writing beside a file that is still in the listing does not bring it back."""
    believing.pipe_file(f"{base}/gone.bin", b"old")
    assert believing.exists(f"{base}/gone.bin")
    another.rm_file(f"{base}/gone.bin")
    believing.pipe_file(f"{base}/other.bin", b"other")
    assert another.ls(base, detail=False, refresh=True) == [f"{base}/other.bin"]


def test_overwriting_a_file_that_another_process_removed(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    believing.pipe_file(f"{base}/a.bin", b"old")
    assert believing.cat_file(f"{base}/a.bin") == b"old"
    another.rm_file(f"{base}/a.bin")
    believing.pipe_file(f"{base}/a.bin", b"new")
    assert another.cat_file(f"{base}/a.bin") == b"new"
    assert believing.cat_file(f"{base}/a.bin") == b"new"


@pytest.fixture
def recreated(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> SynapseFileSystem:
    """An instance that knows a container which another process deleted and made again."""
    believing.pipe_file(f"{base}/old.bin", b"old")
    assert believing.ls(base, detail=False) == [f"{base}/old.bin"]
    another.rm(container_of(base), recursive=True)
    another.mkdir(container_of(base))
    another.pipe_file(f"{base}/new.bin", b"new")
    return believing


@pytest.mark.parametrize("look", LOOKS)
def test_files_of_a_recreated_container(recreated: SynapseFileSystem, base: str, look: str) -> None:
    assert LOOKS[look](recreated, f"{base}/new.bin")
    assert not recreated.exists(f"{base}/old.bin")


def test_listing_a_recreated_container(recreated: SynapseFileSystem, base: str) -> None:
    recreated.invalidate_cache()
    assert recreated.find(base) == [f"{base}/new.bin"]


def test_writing_into_a_recreated_container(
    recreated: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    """The first write may be refused, but says so; after that all is known."""
    with contextlib.suppress(OSError):
        recreated.pipe_file(f"{base}/mine.bin", b"mine")
    recreated.pipe_file(f"{base}/mine.bin", b"mine")
    assert another.cat_file(f"{base}/mine.bin") == b"mine"
    assert another.find(base, refresh=True) == [f"{base}/mine.bin", f"{base}/new.bin"]


def test_a_container_of_ones_own_that_another_process_recreated(
    believing: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    root, _, below = base.partition("/")
    name = f"{root}/t-{uuid.uuid4().hex[:12]}"
    inside = f"{name}/{below.partition('/')[2]}".rstrip("/")
    believing.mkdir(name)
    believing.pipe_file(f"{inside}/old.bin", b"old")
    another.rm(name, recursive=True)
    another.mkdir(name)
    another.pipe_file(f"{inside}/new.bin", b"new")
    assert believing.cat_file(f"{inside}/new.bin") == b"new"
    believing.pipe_file(f"{inside}/mine.bin", b"mine")
    assert another.cat_file(f"{inside}/mine.bin") == b"mine"


def test_a_container_that_another_process_deleted(
    forgetful: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    forgetful.pipe_file(f"{base}/a.bin", b"a")
    container = container_of(base)
    assert forgetful.exists(container)
    another.rm(container, recursive=True)
    eventually(lambda: forgetful.exists(container), False)
    assert not forgetful.exists(f"{base}/a.bin")
    with pytest.raises(FileNotFoundError):
        forgetful.cat_file(f"{base}/a.bin")
    with pytest.raises(FileNotFoundError):
        forgetful.pipe_file(f"{base}/a.bin", b"a")
