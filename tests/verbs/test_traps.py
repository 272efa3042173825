"""What fsspec's base classes get wrong, and how filesystems have hurt their users before."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.zip import ZipFileSystem

from synapsefs import SynapseFileSystem
from synapsefs.errors import SynapseError
from tests.support.observed import observed_server

SYNCHRONOUS = [
    "ls", "info", "exists", "isdir", "isfile", "find", "glob", "walk", "du", "cat", "cat_file",
    "cat_ranges", "pipe", "pipe_file", "get", "get_file", "put", "put_file", "cp_file", "copy",
    "mv", "rm", "rm_file", "rmdir", "mkdir", "makedirs", "touch", "created", "modified", "checksum",
    "ukey", "sign", "invalidate_cache", "size", "sizes", "expand_path", "tail", "head",
]  # fmt: skip


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_verbs_have_sync_twins_of_our_own(name: str) -> None:
    """A base-class default that does nothing would be taken for success."""
    assert callable(getattr(SynapseFileSystem, name))
    coroutine = getattr(SynapseFileSystem, f"_{name}", None)
    if coroutine is not None and asyncio.iscoroutinefunction(coroutine):
        own = getattr(SynapseFileSystem, name)
        assert not own.__module__.startswith("fsspec.spec"), name


def test_rmdir_does_something(fs: SynapseFileSystem, base: str) -> None:
    fs.mkdir(f"{'/'.join(base.split('/')[:2])}-empty")
    fs.rmdir(f"{'/'.join(base.split('/')[:2])}-empty")
    assert not fs.exists(f"{'/'.join(base.split('/')[:2])}-empty")
    fs.pipe_file(f"{base}/kept.bin", b"kept")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("/".join(base.split("/")[:2]))
    assert fs.cat_file(f"{base}/kept.bin") == b"kept"


def test_wrong_options_name_the_first_file(fs: SynapseFileSystem, base: str) -> None:
    names = [f"{base}/{letter}.bin" for letter in "abc"]
    with pytest.raises(SynapseError, match=r"meta.*mapping") as caught:
        fs.pipe(dict.fromkeys(names, b"bytes"), metadata="no mapping")
    assert caught.value.filename == names[0]
    assert fs.find(base) == []


def test_a_name_with_brackets_is_no_pattern(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe({f"{base}/a[1].txt": b"bracket", f"{base}/a1.txt": b"plain"})
    assert fs.cat(f"{base}/a[1].txt") == b"bracket"
    fs.rm(f"{base}/a[1].txt")
    assert fs.find(base) == [f"{base}/a1.txt"]


def test_urls_and_paths_mean_the_same(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    fs.pipe({f"synapse://{base}/1.bin": b"1"})
    fs.put([str(tmp_path / "x")], [f"synapse://{base}/2.bin"])
    fs.cp_file(f"synapse://{base}/1.bin", f"synapse://{base}/3.bin")
    assert fs.cat([f"synapse://{base}/{n}.bin" for n in "123"]) == {
        f"{base}/1.bin": b"1", f"{base}/2.bin": b"x", f"{base}/3.bin": b"1",
    }  # fmt: skip


def test_put_of_a_path_object_keeps_the_tree(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "f.bin").write_bytes(b"f")
    fs.put(tmp_path / "tree", f"{base}/there", recursive=True)
    assert fs.find(base) == [f"{base}/there/sub/f.bin"]


def test_instances_are_shared_whatever_the_order_of_options(options: dict[str, Any]) -> None:
    first = SynapseFileSystem(**{"tenant": None, **options}, retries=3)
    second = SynapseFileSystem(retries=3, **options)
    assert first is second


def test_json_round_trip(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/f.bin", b"f")
    copy = SynapseFileSystem.from_json(fs.to_json())
    assert copy.cat_file(f"{base}/f.bin") == b"f"
    json.loads(fs.to_json(include_password=False))


def test_json_without_secrets() -> None:
    fs = SynapseFileSystem(
        "http://127.0.0.1:9", "tok-secret", datasets_token="key-secret", skip_instance_cache=True
    )
    for text in (fs.to_json(include_password=False), repr(fs), str(fs), repr(fs.transport)):
        assert "secret" not in text


@pytest.mark.parametrize(
    "span", [(0, 0), (5, 3), (100, 200), (10, 10), (-4, None), (None, -4), (-400, -2)]
)
def test_spans_are_cut_as_python_cuts(fs: SynapseFileSystem, base: str, span: Any) -> None:
    fs.pipe_file(f"{base}/ten.bin", b"0123456789")
    fs.pipe_file(f"{base}/ten.txt", b"0123456789")
    for name in ("ten.bin", "ten.txt"):
        assert fs.cat_file(f"{base}/{name}", *span) == b"0123456789"[slice(*span)]


def test_cat_ranges_merges_and_keeps_its_order(fs: SynapseFileSystem, base: str) -> None:
    data = os.urandom(200_000)
    fs.pipe_file(f"{base}/r.bin", data)
    starts, ends = [150_000, 0, 10, 199_990, 5], [150_010, 10, 20, None, 6]
    before = fs.stats()["requests"]
    got = fs.cat_ranges([f"{base}/r.bin"] * 5, starts, ends, max_gap=1024)
    assert got == [data[s:e] for s, e in zip(starts, ends, strict=True)]
    assert fs.stats()["requests"] - before <= 5
    missing = fs.cat_ranges([f"{base}/r.bin", f"{base}/no.bin"], 0, 5)
    assert missing[0] == data[:5]
    assert isinstance(missing[1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([f"{base}/no.bin"], 0, 5, on_error="raise")


def test_a_failed_get_leaves_nothing(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"before")
    for name in ("there", "new"):
        with pytest.raises(FileNotFoundError):
            fs.get_file(f"{base}/missing.bin", str(tmp_path / name))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"there": b"before"}


class Bytes(Callback):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[Any] = []

    def set_size(self, size: Any) -> None:
        self.sizes.append(size)
        super().set_size(size)


def test_callbacks_count_bytes(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(3):
        (tmp_path / "tree" / f"{number}.bin").write_bytes(bytes(10_000 * number))
    up, down, one = Bytes(), Bytes(), Bytes()
    fs.put(str(tmp_path / "tree"), f"{base}/tree", recursive=True, callback=up)
    fs.get(f"{base}/tree", str(tmp_path / "back"), recursive=True, callback=down)
    fs.get_file(f"{base}/tree/2.bin", str(tmp_path / "one"), callback=one)
    assert (up.sizes, up.value) == ([30_000], 30_000)
    assert (down.sizes, down.value) == ([30_000], 30_000)
    assert (one.sizes, one.value) == ([20_000], 20_000)


def test_one_write_larger_than_many_parts(options: dict[str, Any], base: str) -> None:
    fs = SynapseFileSystem(**{**options, "block_size": 5 * 2**20}, skip_instance_cache=True)
    data = os.urandom(2**20) * 12
    with fs.open(f"{base}/large.bin", "wb") as file:
        assert file.write(data) == len(data)
        assert file.tell() == len(data)
    assert fs.cat_file(f"{base}/large.bin") == data


def test_a_transaction_is_all_or_nothing_over_pipe_and_put(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    (tmp_path / "p").write_bytes(b"put")
    with pytest.raises(RuntimeError), fs.transaction:
        fs.pipe_file(f"{base}/1.bin", b"1")
        fs.put_file(str(tmp_path / "p"), f"{base}/2.bin")
        with fs.open(f"{base}/3.bin", "wb") as file:
            file.write(b"3")
        raise RuntimeError
    assert another.find(base) == []
    with fs.transaction:
        fs.pipe_file(f"{base}/1.bin", b"1")
        fs.put_file(str(tmp_path / "p"), f"{base}/2.bin")
        assert another.find(base) == []
    another.invalidate_cache()
    assert another.cat(another.find(base)) == {f"{base}/1.bin": b"1", f"{base}/2.bin": b"put"}


def test_a_sync_call_on_an_asynchronous_instance_says_so(options: dict[str, Any]) -> None:
    async def work() -> None:
        async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
            with pytest.raises(RuntimeError):
                fs.ls("")

    asyncio.run(work())


def test_a_sync_instance_inside_a_running_loop(fs: SynapseFileSystem, base: str) -> None:
    """As in a notebook: the calls run on fsspec's own loop."""

    async def work() -> bytes:
        fs.pipe_file(f"{base}/n.bin", b"notebook")
        return fs.cat_file(f"{base}/n.bin")

    assert asyncio.run(work()) == b"notebook"


def test_open_async_reads_and_writes(options: dict[str, Any], base: str) -> None:
    async def work() -> None:
        async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
            async with await fs.open_async(f"{base}/s.bin", "wb") as file:
                await file.write(b"abc")
                await file.write(b"def")
            async with await fs.open_async(f"{base}/s.bin", "rb") as file:
                assert await file.read(2) == b"ab"
                assert await file.read() == b"cdef"
            assert await fs._cat_file(f"{base}/s.bin") == b"abcdef"
            with pytest.raises(ValueError, match="bytes"):
                await fs.open_async(f"{base}/s.bin", "r")

    asyncio.run(work())


def test_finalisers_do_not_block_or_publish(fs: SynapseFileSystem, base: str) -> None:
    file = fs.open(f"{base}/lost.bin", "wb")
    file.write(b"lost")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        done = threading.Thread(target=gc.collect)
        del file
        done.start()
        done.join(10)
    assert not done.is_alive()
    assert any("lost.bin" in str(warning.message) for warning in heard)
    assert fs.find(base) == []


def test_mkdir_of_what_is_there_is_cheap(fs: SynapseFileSystem, base: str) -> None:
    container = "/".join(base.split("/")[:2])
    fs.ls(container)
    before = fs.stats()["requests"]
    fs.makedirs(container, exist_ok=True)
    assert fs.stats()["requests"] - before <= 1
    with pytest.raises(FileExistsError):
        fs.mkdir(container)


def test_chained_urls(fs: SynapseFileSystem, base: str) -> None:
    import zipfile  # noqa: PLC0415

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("inner.txt", "inside")
    fs.pipe_file(f"{base}/a.zip", held.getvalue())
    with fsspec.open(
        f"zip://inner.txt::synapse://{base}/a.zip", synapse=dict(fs.storage_options)
    ) as file:
        assert file.read() == b"inside"
    assert ZipFileSystem(fs.open(f"{base}/a.zip")).cat("inner.txt") == b"inside"


def test_simplecache_keeps_a_local_copy(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{base}/c.bin", b"cached")
    cached = fsspec.filesystem("simplecache", fs=fs, cache_storage=str(tmp_path))
    assert cached.cat_file(f"{base}/c.bin") == b"cached"


def test_generic_rsync_copies_a_tree(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    from fsspec.generic import GenericFileSystem  # noqa: PLC0415

    (tmp_path / "src" / "sub").mkdir(parents=True)
    (tmp_path / "src" / "sub" / "f.bin").write_bytes(b"f")
    generic = GenericFileSystem(default_method="current")
    fsspec.filesystem("synapse", **fs.storage_options)
    SynapseFileSystem.clear_instance_cache()
    current = SynapseFileSystem(**fs.storage_options)
    generic.rsync(f"file://{tmp_path}/src", f"synapse://{base}/dst")
    assert current.cat_file(f"{base}/dst/sub/f.bin") == b"f"


@pytest.mark.parametrize("verb", ["isfile", "isdir", "exists", "find", "glob", "du"])
def test_a_fault_is_not_taken_for_absence(verb: str, base: str) -> None:
    fs = SynapseFileSystem(
        "http://127.0.0.1:9", "t", datasets_token="k", retries=0, skip_instance_cache=True
    )
    with pytest.raises(SynapseError) as caught:
        getattr(fs, verb)(base)
    assert caught.value.errno
    assert not isinstance(caught.value, FileNotFoundError)


def test_bulk_removal_names_what_failed(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe({f"{base}/1.bin": b"1", f"{base}/2.bin": b"2"})
    with pytest.raises(FileNotFoundError) as caught:
        fs.rm([f"{base}/1.bin", f"{base}/missing.bin"])
    assert caught.value.filename == f"{base}/missing.bin"
    assert fs.find(base) == [f"{base}/1.bin", f"{base}/2.bin"]


def test_past_the_end_reads_nothing(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/e.bin", b"end")
    with fs.open(f"{base}/e.bin") as file:
        assert file.seek(10) == 10
        assert file.read() == b""
        assert file.read(5) == b""
        file.seek(-2, 2)
        assert file.read() == b"nd"


def test_the_filesystem_id_is_the_same_in_every_process(fs: SynapseFileSystem) -> None:
    other = SynapseFileSystem(**fs.storage_options, retries=1, skip_instance_cache=True)
    assert other.fsid == fs.fsid


def test_parents_of_what_is_written_are_not_made_twice(tmp_path: Path) -> None:
    """fsspec makes the directory of a file that it opens; a new dataset may be found late."""
    with observed_server(tmp_path / "root", strict=True) as server:
        maker = SynapseFileSystem(**server.options, skip_instance_cache=True)
        maker.mkdir("datasets/new")
        with fsspec.open("synapse://datasets/new/a.bin", "wb", **server.options) as file:
            file.write(b"\xff bytes")
        assert maker.find("datasets/new", refresh=True) == ["datasets/new/a.bin"]
        assert maker.cat_file("datasets/new/a.bin") == b"\xff bytes"
