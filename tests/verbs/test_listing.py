"""Looking at what is there: ls, info, find, glob, walk, du, and the times and sums of files."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem

FILES = {
    "top.txt": b"top",
    "a/one.txt": b"one",
    "a/two.bin": b"two two",
    "a/deep/three.txt": b"three",
    "b/four.txt": b"",
}


@pytest.fixture
def tree(fs: SynapseFileSystem, base: str) -> str:
    """A small tree; its directory."""
    fs.pipe({f"{base}/{name}": data for name, data in FILES.items()})
    return base


def below(tree: str, *names: str) -> list[str]:
    return [f"{tree}/{name}" for name in names]


def test_ls_gives_names_or_infos(fs: SynapseFileSystem, tree: str) -> None:
    assert fs.ls(tree, detail=False) == below(tree, "a", "b", "top.txt")
    infos = fs.ls(tree)
    assert [info["name"] for info in infos] == below(tree, "a", "b", "top.txt")
    assert [info["type"] for info in infos] == ["directory", "directory", "file"]
    assert [info["size"] for info in infos] == [0, 0, 3]
    assert fs.ls(f"{tree}/", detail=False) == fs.ls(f"synapse://{tree}", detail=False)


def test_ls_of_a_file_is_the_file(fs: SynapseFileSystem, tree: str) -> None:
    assert fs.ls(f"{tree}/top.txt", detail=False) == below(tree, "top.txt")
    assert fs.ls(f"{tree}/top.txt") == [fs.info(f"{tree}/top.txt")]


@pytest.mark.parametrize("verb", ["ls", "info", "cat_file", "size", "modified", "checksum"])
def test_what_is_missing_is_named(fs: SynapseFileSystem, tree: str, verb: str) -> None:
    path = f"{tree}/nothing/here.txt"
    with pytest.raises(FileNotFoundError) as caught:
        getattr(fs, verb)(path)
    assert caught.value.filename == path
    assert not fs.exists(path)
    assert not fs.isfile(path)
    assert not fs.isdir(path)


def test_roots(fs: SynapseFileSystem, tree: str) -> None:
    assert fs.ls("synapse://", detail=False) == ["collections", "datasets"]
    assert fs.ls("", detail=False) == ["collections", "datasets"]
    for path in ("", "collections", "datasets", "/".join(tree.split("/")[:2]), tree):
        assert fs.isdir(path)
        assert fs.exists(path)
        assert not fs.isfile(path)
        assert fs.info(path)["type"] == "directory"
    assert "/".join(tree.split("/")[:2]) in fs.ls(tree.split("/", maxsplit=1)[0], detail=False)


def test_info_tells_what_a_file_is(fs: SynapseFileSystem, tree: str) -> None:
    info = fs.info(f"{tree}/a/two.bin")
    assert (info["name"], info["type"], info["size"]) == (f"{tree}/a/two.bin", "file", 7)
    assert isinstance(info["created"], datetime)
    assert info["created"].tzinfo is not None
    assert isinstance(info["mtime"], datetime)
    assert timedelta(-60) < datetime.now(info["mtime"].tzinfo) - info["mtime"] < timedelta(60)
    assert fs.created(f"{tree}/a/two.bin") == info["created"]
    assert fs.modified(f"{tree}/a/two.bin") == info["mtime"]


def test_find(fs: SynapseFileSystem, tree: str) -> None:
    files = sorted(below(tree, *FILES))
    assert fs.find(tree) == files
    found = fs.find(tree, detail=True)
    assert {name: info["size"] for name, info in found.items()} == {
        f"{tree}/{name}": len(data) for name, data in FILES.items()
    }
    folders = [tree, *below(tree, "a", "a/deep", "b")]
    assert fs.find(tree, withdirs=True) == sorted([*files, *folders])
    assert fs.find(tree, maxdepth=1) == below(tree, "top.txt")
    assert fs.find(f"{tree}/a", maxdepth=1) == below(tree, "a/one.txt", "a/two.bin")
    assert fs.find(f"{tree}/nothing") == []
    assert fs.find(f"{tree}/top.txt") == below(tree, "top.txt")
    assert fs.find(f"{tree}/top.txt", detail=True) == {
        f"{tree}/top.txt": fs.info(f"{tree}/top.txt")
    }
    with pytest.raises(ValueError, match="maxdepth"):
        fs.find(tree, maxdepth=0)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["top.txt"]),
        ("*", ["a", "b", "top.txt"]),
        ("**", ["", "a", "a/deep", "a/deep/three.txt", "a/one.txt", "a/two.bin", "b", "b/four.txt",
                "top.txt"]),
        ("**/*.txt", ["a/deep/three.txt", "a/one.txt", "b/four.txt", "top.txt"]),
        ("a/???.txt", ["a/one.txt"]),
        ("[ab]/*.txt", ["a/one.txt", "b/four.txt"]),
        ("a/deep", ["a/deep"]),
        ("*.none", []),
        ("a/*/*.txt", ["a/deep/three.txt"]),
    ],
)  # fmt: skip
def test_glob(fs: SynapseFileSystem, tree: str, pattern: str, expected: list[str]) -> None:
    wanted = [f"{tree}/{name}".rstrip("/") for name in expected]
    assert fs.glob(f"{tree}/{pattern}") == wanted
    detailed = fs.glob(f"synapse://{tree}/{pattern}", detail=True)
    assert list(detailed) == wanted
    for name, info in detailed.items():
        assert info["name"] == name
        if info["type"] == "file":
            assert info["size"] == len(FILES[name.removeprefix(f"{tree}/")])


def test_glob_does_not_ask_for_sizes_that_nobody_wants(
    fs: SynapseFileSystem, tree: str, extra_requests: int
) -> None:
    fs.invalidate_cache()
    before = fs.stats()["requests"]
    assert len(fs.glob(f"{tree}/**/*.txt")) == 4
    assert fs.stats()["requests"] - before <= 3 + extra_requests


@pytest.mark.parametrize("topdown", [True, False])
def test_walk(fs: SynapseFileSystem, tree: str, topdown: bool) -> None:
    walked = [
        (path, sorted(dirs), sorted(files)) for path, dirs, files in fs.walk(tree, topdown=topdown)
    ]
    expected = [
        (tree, ["a", "b"], ["top.txt"]),
        (f"{tree}/a", ["deep"], ["one.txt", "two.bin"]),
        (f"{tree}/a/deep", [], ["three.txt"]),
        (f"{tree}/b", [], ["four.txt"]),
    ]
    assert sorted(walked) == expected
    order = [path for path, _, _ in walked]
    assert order.index(tree) == (0 if topdown else len(order) - 1)
    assert (order.index(f"{tree}/a") < order.index(f"{tree}/a/deep")) == topdown


def test_walk_can_be_pruned_and_limited(fs: SynapseFileSystem, tree: str) -> None:
    seen = []
    for path, dirs, _ in fs.walk(tree, detail=False):
        seen.append(path)
        dirs[:] = [name for name in dirs if name != "a"]
    assert seen == [tree, f"{tree}/b"]
    assert [path for path, _, _ in fs.walk(tree, maxdepth=1)] == [tree]
    _, dirs, files = next(iter(fs.walk(tree, detail=True)))
    assert dirs["a"]["type"] == "directory"
    assert files["top.txt"]["size"] == 3


def test_walk_of_nothing(fs: SynapseFileSystem, tree: str) -> None:
    heard: list[Any] = []
    assert list(fs.walk(f"{tree}/no")) == [(f"{tree}/no", [], [])]
    list(fs.walk(f"{tree}/no", on_error=heard.append))
    assert [error.filename for error in heard] == [f"{tree}/no"]
    with pytest.raises(FileNotFoundError):
        list(fs.walk(f"{tree}/no", on_error="raise"))


def test_du(fs: SynapseFileSystem, tree: str) -> None:
    assert fs.du(tree) == sum(map(len, FILES.values()))
    assert fs.du(f"{tree}/a", total=False) == {
        f"{tree}/a/{name}": size
        for name, size in (("deep/three.txt", 5), ("one.txt", 3), ("two.bin", 7))
    }
    assert fs.du(f"{tree}/top.txt") == fs.size(f"{tree}/top.txt") == 3
    assert fs.sizes(below(tree, "top.txt", "a/one.txt")) == [3, 3]
    assert fs.disk_usage(f"{tree}/a") == 15


def test_checksums_follow_the_content(fs: SynapseFileSystem, tree: str) -> None:
    path = f"{tree}/a/two.bin"
    checksum, key = fs.checksum(path), fs.ukey(path)
    assert checksum in {hashlib.md5(FILES["a/two.bin"]).hexdigest(), key}
    assert (fs.checksum(path), fs.ukey(path)) == (checksum, key)
    fs.pipe_file(path, b"changed")
    assert fs.checksum(path) != checksum
    assert fs.ukey(path) != key


def test_what_is_given_out_can_be_changed_without_harm(fs: SynapseFileSystem, tree: str) -> None:
    for found in (fs.info(f"{tree}/top.txt"), *fs.ls(tree), *fs.find(tree, detail=True).values()):
        found.clear()
    assert fs.info(f"{tree}/top.txt")["size"] == 3
    assert fs.ls(tree, detail=False) == below(tree, "a", "b", "top.txt")


def test_a_listing_expires_and_a_miss_is_asked_again(
    options: dict[str, Any], another: SynapseFileSystem, tree: str
) -> None:
    fs = SynapseFileSystem(**options, listings_expiry_time=0.2, skip_instance_cache=True)
    assert not fs.exists(f"{tree}/late.txt")
    another.pipe_file(f"{tree}/late.txt", b"late")
    assert fs.exists(f"{tree}/late.txt")
    assert fs.cat_file(f"{tree}/late.txt") == b"late"
    assert f"{tree}/late.txt" in fs.ls(tree, detail=False, refresh=True)


@pytest.mark.parametrize("warm", [True, False])
def test_an_identifier_addresses_a_container(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    base: str,
    tmp_path: Path,
    warm: bool,
) -> None:
    """What lies below is named as it was asked for, whether or not the name is known."""
    root, name, *folder = base.split("/")
    fs.pipe_file(f"{base}/s/x.bin", b"x")
    by_id = f"{root}/@{fs.info(f'{root}/{name}')['id']}"
    within = "/".join([by_id, *folder])
    if warm:
        another.ls(root)
    assert another.info(by_id)["name"] == by_id
    assert another.find(by_id) == [f"{within}/s/x.bin"]
    assert another.ls(f"{within}/s", detail=False) == [f"{within}/s/x.bin"]
    assert another.glob(f"{within}/*/*.bin") == [f"{within}/s/x.bin"]
    assert another.cat_file(f"{within}/s/x.bin") == b"x"
    another.pipe_file(f"{within}/s/y.bin", b"y")
    another.cp_file(f"{within}/s/y.bin", f"{within}/s/z.bin")
    another.get(within, str(tmp_path / "out"), recursive=True)
    assert sorted(path.name for path in (tmp_path / "out" / "s").iterdir()) == [
        "x.bin",
        "y.bin",
        "z.bin",
    ]
    another.rm(f"{within}/s/z.bin")
    fs.invalidate_cache()
    assert fs.find(base) == [f"{base}/s/x.bin", f"{base}/s/y.bin"]


@pytest.mark.parametrize("path", ["collections/@0", "collections/@nonsense", "datasets/@nonsense"])
def test_an_identifier_that_is_none(fs: SynapseFileSystem, path: str) -> None:
    assert not fs.exists(path)
    with pytest.raises(FileNotFoundError) as caught:
        fs.ls(path)
    assert caught.value.filename == path


def test_that_a_directory_is_empty_is_asked_again(
    options: dict[str, Any], another: SynapseFileSystem, base: str
) -> None:
    """A writer makes a directory, workers fill it, and the writer lists it at once."""
    fs = SynapseFileSystem(**options, listings_expiry_time=600, skip_instance_cache=True)
    fs.makedirs(f"{base}/out", exist_ok=True)
    assert fs.find(base) == []
    another.pipe_file(f"{base}/out/part-0.bin", b"0")
    assert fs.ls(f"{base}/out", detail=False) == [f"{base}/out/part-0.bin"]
    assert fs.find(base) == [f"{base}/out/part-0.bin"]
