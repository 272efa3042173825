"""Two clients with a stale listing each: neither undoes nor hides the other's writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from synapsefs import SynapseFileSystem
from tests.faults.bench import Bench
from tests.faults.operations import operations


@pytest.fixture
def fs(bench: Bench) -> Iterator[SynapseFileSystem]:
    with bench.client(listings_expiry_time=60) as made:
        yield made


@pytest.fixture
def another(bench: Bench) -> Iterator[SynapseFileSystem]:
    with bench.client(listings_expiry_time=60) as made:
        yield made


@pytest.fixture
def fresh(bench: Bench) -> Iterator[SynapseFileSystem]:
    with bench.client() as made:
        yield made


def test_each_replaces_one_file_of_a_unit(bench, fs, another, fresh):
    base = bench.container("collections", operations("collections")["put units"])
    image, meta = f"{base}/image_1/unit.png", f"{base}/json_meta_1/unit.json"
    with bench.client() as first:
        first.pipe({image: b"before", meta: b"before"})
    assert fs.find(base) == another.find(base) == [image, meta]
    fs.pipe_file(image, b"new image")
    another.pipe_file(meta, b"new meta")
    fs.pipe_file(image, b"newer image")
    assert fresh.cat([image, meta]) == {image: b"newer image", meta: b"new meta"}
    assert fresh.find(base) == [image, meta]


def test_each_makes_the_same_folder(bench, fs, another, fresh):
    base = bench.container("datasets", operations("datasets")["pipe"])
    assert fs.find(base) == another.find(base) == []
    fs.pipe_file(f"{base}/folder/deep/a.txt", b"a")
    another.pipe_file(f"{base}/folder/deep/b.txt", b"b")
    files = [f"{base}/folder/deep/a.txt", f"{base}/folder/deep/b.txt"]
    assert fresh.find(base) == files
    assert fresh.cat(files) == {files[0]: b"a", files[1]: b"b"}
    fresh.pipe_file(f"{base}/folder/deep/c.txt", b"c")
    fresh.rm(f"{base}/folder", recursive=True)
    with bench.client() as last:
        assert last.find(base, withdirs=True) == [base]


def test_each_makes_the_same_text(bench, fs, another, fresh):
    """Equal texts of one name are one file, replaced and removed together."""
    base = bench.container("datasets", operations("datasets")["pipe"])
    assert fs.find(base) == another.find(base) == []
    for name in ("a.txt", "b.txt"):
        fs.pipe_file(f"{base}/{name}", b"same")
        another.pipe_file(f"{base}/{name}", b"same")
    assert fresh.find(base) == [f"{base}/a.txt", f"{base}/b.txt"]
    fresh.pipe_file(f"{base}/a.txt", b"other")
    fresh.rm_file(f"{base}/b.txt")
    with bench.client() as last:
        assert last.cat(last.find(base)) == {f"{base}/a.txt": b"other"}


def test_each_writes_the_same_new_path(bench, fs, another, fresh):
    """The second client sees the first's file, and replaces it."""
    base = bench.container("datasets", operations("datasets")["pipe"])
    assert fs.find(base) == another.find(base) == []
    fs.pipe_file(f"{base}/a.bin", b"\xff first", metadata={"by": "first"})
    another.pipe_file(f"{base}/a.bin", b"\xff second")
    assert fresh.cat(fresh.find(base)) == {f"{base}/a.bin": b"\xff second"}
    assert fresh.getxattrs(f"{base}/a.bin") == {"by": "first"}
    fs.pipe_file(f"{base}/a.bin", b"\xff third")
    fresh.invalidate_cache()
    assert fresh.cat(fresh.find(base)) == {f"{base}/a.bin": b"\xff third"}
    another.rm(f"{base}/a.bin")
    with bench.client() as last:
        assert last.find(base) == []
