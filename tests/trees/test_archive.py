"""Zipped directories: what goes in comes out, and what is not safe stays packed."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tempfile
import tracemalloc
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem
from synapsefs.errors import (
    AlreadyExistsError,
    ChecksumError,
    IntegrityError,
    InvalidRequestError,
    SynapseError,
    TooLargeError,
    UnsupportedError,
)
from synapsefs.local.walk import local_tree
from synapsefs.local.zip import UnpackLimits, pack, unpack
from tests.trees.test_ignoring import make


def nothing() -> None:
    """Let long work go on."""


def contents(root: Path) -> dict[str, bytes | None]:
    """Give all files below a folder by name, and its folders as None."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def names_in(folder: Path) -> list[str]:
    """List a folder from asynchronous code too."""
    return os.listdir(folder)


def packed(root: Path) -> bytes:
    target = io.BytesIO()
    pack(local_tree(str(root)), target, nothing)
    return target.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make(tmp_path / "tree", "a.txt", "sub/b.csv", "sub/deep/c", "empty/", "ünï", ".hidden")
    (root / "random.bin").write_bytes(os.urandom(100_000))
    (root / "nothing").write_bytes(b"")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    return root


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of its own, which every test leaves empty."""
    folder = tmp_path / "spools"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# --- packing -------------------------------------------------------------------------------


def test_equal_trees_give_equal_archives(tree: Path, tmp_path: Path) -> None:
    before = packed(tree)
    copy = tmp_path / "copy"
    for name, content in sorted(contents(tree).items(), reverse=True):
        path = copy / name
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o700 if name == "run.sh" else 0o600)
            os.utime(path, (1, 1))
    assert packed(copy) == before
    with zipfile.ZipFile(io.BytesIO(before)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == sorted(names, key=lambda name: name.rstrip("/").split("/"))


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed(tree))
    unpack(str(tmp_path / "a.zip"), str(tmp_path / "back"), UnpackLimits(), "a.zip", nothing)
    assert contents(tmp_path / "back") == contents(tree)
    assert (tmp_path / "back/run.sh").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "back/a.txt").stat().st_mode & stat.S_IXUSR


def test_packing_needs_little_memory(tmp_path: Path) -> None:
    root = make(tmp_path / "t", "small")
    with (root / "large").open("wb") as file:
        file.truncate(100 * 2**20)
    with (tmp_path / "spool").open("w+b") as spool:
        tracemalloc.start()
        pack(local_tree(str(root)), spool, nothing)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "t", "grows")
    items = local_tree(str(root))
    (root / "grows").write_text("longer than it was")
    with pytest.raises(InvalidRequestError, match="changed while it was packed"):
        pack(items, io.BytesIO(), nothing)


def test_names_that_cannot_be_unpacked_everywhere_are_not_packed(tmp_path: Path) -> None:
    root = make(tmp_path / "t", "fine", "new\nline", "nul", "sub/back\\slash", "c:drive")
    with pytest.raises(InvalidRequestError) as caught:
        packed(root)
    for words in (
        "'new\\nline' holds control characters",
        "'nul' is the name of a device",
        "'sub/back\\\\slash' holds a path separator",
        "'c:drive' begins with a drive letter",
    ):
        assert words in str(caught.value)


# --- unpacking what is not safe ------------------------------------------------------------


def made(*names: str, **options: Any) -> Callable[[Path], None]:
    """Make an archive with members of these names, past Python's own tidying."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("harmless.txt", "x")
            for name in names:
                member = zipfile.ZipInfo("placeholder")
                member.filename = name
                for key, value in options.items():
                    setattr(member, key, value)
                archive.writestr(member, "evil")

    return make


def linked(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("link")
        member.create_system = 3
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc")
        archive.writestr("link/passwd", "evil")


def nul(path: Path) -> None:
    made("ab/../../evil")(path)
    path.write_bytes(path.read_bytes().replace(b"ab/../../evil", b"ab\0../../evil"))


EVIL = {
    "above": (made("../evil"), "'../evil' is no name"),
    "above-deep": (made("a/../../evil"), "is no name"),
    "here": (made("./evil"), "is no name"),
    "empty": (made("a//evil"), "holds an empty name"),
    "absolute": (made("/tmp/evil"), "is an absolute name"),
    "unc": (made("\\\\host\\share"), "is an absolute name"),
    "drive": (made("C:/evil"), "begins with a drive letter"),
    "drive-relative": (made("c:evil"), "begins with a drive letter"),
    "backslash": (made("..\\evil"), "holds a path separator"),
    "device": (made("sub/NUL"), "is the name of a device"),
    "device-space": (made("COM1 ."), "is the name of a device"),
    "control": (made("e\x1bvil"), "holds control characters"),
    "nul": (nul, "holds control characters"),
    "pipe": (made("p", external_attr=(stat.S_IFIFO | 0o644) << 16), "neither a file nor a folder"),
    "block": (made("b", external_attr=(stat.S_IFBLK | 0o644) << 16), "neither a file nor a folder"),
    "link": (linked, "'link' is a link"),
    "file-and-folder": (made("a", "a/b"), "'a' is a file and a folder"),
    "several": (made("../one", "/two"), "'../one' is no name; '/two' is an absolute name"),
}


def refused(path: Path, limits: UnpackLimits | None = None) -> OSError:
    """Unpack in vain, and see that nothing was made."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(SynapseError) as caught:
        unpack(str(path), str(path.parent / "out"), limits or UnpackLimits(), "a.zip", nothing)
    assert sorted(path.parent.rglob("*")) == before
    assert caught.value.filename == "a.zip"
    return caught.value


@pytest.mark.parametrize("case", EVIL)
def test_what_leads_elsewhere_is_refused(tmp_path: Path, case: str) -> None:
    build, words = EVIL[case]
    build(tmp_path / "a.zip")
    error = refused(tmp_path / "a.zip")
    assert isinstance(error, InvalidRequestError)
    assert "not safe to unpack" in str(error)
    assert words in str(error)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_are_refused(tmp_path: Path) -> None:
    made("same", "same")(tmp_path / "a.zip")
    assert "'same' stands twice" in str(refused(tmp_path / "a.zip"))


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(70):
            archive.writestr(f"{number}", bytes(2**20))
    error = refused(path)
    assert isinstance(error, TooLargeError)
    assert "at most 200 times its size" in str(error)
    unpack(str(path), str(tmp_path / "out"), UnpackLimits(ratio=2000), "a.zip", nothing)
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) == 70 * 2**20


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    made("a", "b")(path)
    assert "9 bytes; at most 8" in str(refused(path, UnpackLimits(size=8)))
    assert "3 files; at most 2" in str(refused(path, UnpackLimits(files=2)))
    unpack(str(path), str(tmp_path / "out"), UnpackLimits(size=9, files=3), "a.zip", nothing)


def test_a_list_of_files_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_000):
            archive.writestr(f"{number}-{'n' * 200}", b"")
    tracemalloc.start()
    error = refused(path, UnpackLimits(files=2000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, TooLargeError)
    assert "more than the 2000 files" in str(error)
    assert peak < 2 * 2**20


def test_very_long_archives_have_another_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 4 GiB or 65,535 files a second record tells the numbers; here it is made for fewer."""
    path = tmp_path / "a.zip"
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1000)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3000):
            archive.writestr(f"d{number}/", b"")
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    assert data[-42:-38] == b"PK\x06\x07"
    data[-10:-6] = b"\xff" * 4
    path.write_bytes(data)
    assert "3000 files; at most 2000" in str(refused(path, UnpackLimits(files=2000)))
    assert "more than the 100 files" in str(refused(path, UnpackLimits(files=100)))
    unpack(str(path), str(tmp_path / "out"), UnpackLimits(), "a.zip", nothing)
    assert len(list((tmp_path / "out").iterdir())) == 3000


def test_an_archive_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(100_000))
    size = (100_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises((IntegrityError, TooLargeError)):
        unpack(str(path), str(tmp_path / "out"), UnpackLimits(), "a.zip", nothing)
    assert (tmp_path / "out/a").stat().st_size <= 10


def test_files_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", os.urandom(10_000))
        first = archive.getinfo("a")
        for name in ("b", "c"):
            again = zipfile.ZipInfo(name)
            for key in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(again, key, getattr(first, key))
            archive.filelist.append(again)
    assert "files overlap" in str(refused(path))


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 is not enough")
    assert isinstance(refused(path), InvalidRequestError)
    path.write_bytes(b"")
    assert isinstance(refused(path), InvalidRequestError)


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content" * 100)
    broken = path.read_bytes().replace(b"contentcontent", b"contentCONTENT", 1)
    path.write_bytes(broken)
    with pytest.raises(IntegrityError, match="CRC"):
        unpack(str(path), str(tmp_path / "out"), UnpackLimits(), "a.zip", nothing)


def test_encryption_is_not_supported(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    made("a")(path)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(bytes(data))
    error = refused(path)
    assert isinstance(error, UnsupportedError)
    assert "encrypted" in str(error)


# --- through the filesystem ----------------------------------------------------------------


@pytest.fixture
def dataset(fs: SynapseFileSystem) -> str:
    place = f"datasets/z-{uuid.uuid4().hex[:12]}"
    fs.mkdir(place)
    return place


def test_put_as_one_archive_and_get_unpacked(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tree: Path, tmp_path: Path
) -> None:
    fs.put(str(tree), f"{base}/tree.zip", as_collection=True)
    assert another.find(base) == [f"{base}/tree.zip"]
    assert another.cat_file(f"{base}/tree.zip") == packed(tree)
    another.get(f"{base}/tree.zip", str(tmp_path / "plain.zip"))
    assert (tmp_path / "plain.zip").read_bytes() == packed(tree)
    another.get(f"{base}/tree.zip", str(tmp_path / "back"), unzip=True)
    assert contents(tmp_path / "back") == contents(tree)


def test_where_archives_go(fs: SynapseFileSystem, base: str, tree: Path, tmp_path: Path) -> None:
    fs.put(tree, f"{base}/", as_collection=True)
    fs.put(str(tree), f"{base}/plain", as_collection=True)
    assert fs.find(base) == [f"{base}/plain", f"{base}/tree.zip"]
    (tmp_path / "into").mkdir()
    fs.get(f"{base}/tree.zip", str(tmp_path / "into"), unzip=True)
    assert contents(tmp_path / "into/tree") == contents(tree)
    fs.get(f"{base}/plain", f"{tmp_path}/into/", unzip=True)
    assert contents(tmp_path / "into/plain") == contents(tree)
    fs.get(
        [f"{base}/plain", f"{base}/tree.zip"],
        [f"{tmp_path}/one", f"{tmp_path}/two.zip"],
        unzip=True,
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two.zip") == contents(tree)


def test_info_says_that_it_is_a_zipped_directory(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, tree: Path
) -> None:
    fs.put(str(tree), f"{dataset}/t", as_collection=True, description="All", tags=["x"])
    fs.pipe(f"{dataset}/plain.zip", packed(tree))
    for instance in (fs, another):
        found = instance.info(f"{dataset}/t")
        assert (found["type"], found["is_collection"]) == ("file", True)
        assert (found["description"], found["tags"]) == ("All", ["x"])
        assert instance.info(f"{dataset}/plain.zip")["is_collection"] is False
    fs.cp(f"{dataset}/t", f"{dataset}/copy")
    assert another.info(f"{dataset}/copy")["is_collection"] is True


def test_an_archive_takes_a_files_place_and_keeps_its_own(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, tree: Path
) -> None:
    place = f"{dataset}/t.zip"
    fs.pipe(place, b"just bytes \0")
    fs.put(str(tree), place, as_collection=True)
    assert another.cat_file(place) == packed(tree)
    assert another.info(place)["is_collection"] is True
    assert another.find(dataset) == [place]
    first = another.info(place, refresh=True)["id"]
    (tree / "a.txt").write_text("new")
    fs.put(str(tree), place, as_collection=True)
    fresh = another.info(place, refresh=True)
    assert another.cat_file(place) == packed(tree)
    assert (fresh["id"], fresh["is_collection"]) == (first, True)
    assert another.find(dataset) == [place]


def test_zip_urls_open_it(
    fs: SynapseFileSystem, base: str, tree: Path, options: dict[str, Any]
) -> None:
    fs.put(str(tree), f"{base}/t.zip", as_collection=True)
    url = f"zip://sub/b.csv::synapse://{base}/t.zip"
    with fsspec.open(url, "rb", synapse=options) as file:
        assert file.read() == b"sub/b.csv"


def test_ignored_files_stay_out_of_the_archive(
    fs: SynapseFileSystem, base: str, tree: Path, tmp_path: Path
) -> None:
    (tree / ".gitignore").write_text("*.bin\n/sub\n")
    fs.put(str(tree), f"{base}/t.zip", as_collection=True, ignore_filename=".gitignore")
    fs.get(f"{base}/t.zip", str(tmp_path / "back"), unzip=True)
    assert set(contents(tree)) - set(contents(tmp_path / "back")) == {
        "random.bin",
        "sub",
        "sub/b.csv",
        "sub/deep",
        "sub/deep/c",
    }


def test_a_recursive_get_unpacks_only_zipped_directories(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, tree: Path, tmp_path: Path
) -> None:
    fs.put(str(tree), f"{dataset}/sub/t.zip", as_collection=True)
    fs.pipe({f"{dataset}/plain.zip": packed(tree), f"{dataset}/a.txt": b"a"})
    another.get(dataset, str(tmp_path / "back"), recursive=True, unzip=True)
    assert contents(tmp_path / "back/sub/t") == contents(tree)
    assert (tmp_path / "back/plain.zip").read_bytes() == packed(tree)
    assert not (tmp_path / "back/sub/t.zip").exists()
    another.get(dataset, str(tmp_path / "raw"), recursive=True)
    assert (tmp_path / "raw/sub/t.zip").read_bytes() == packed(tree)


def test_all_or_nothing(fs: SynapseFileSystem, base: str, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "targets/there"
    make(target, "mine")
    fs.put(str(tree), f"{base}/good.zip", as_collection=True)
    made("../evil")(tmp_path / "evil.zip")
    fs.put(str(tmp_path / "evil.zip"), f"{base}/evil.zip")
    fs.pipe(f"{base}/none.zip", b"no archive")
    before = contents(tmp_path)
    for name, to, error in (
        ("good.zip", target / "mine", AlreadyExistsError),
        ("good.zip", target.parent / "there/mine", AlreadyExistsError),
        ("evil.zip", target.parent / "new", InvalidRequestError),
        ("none.zip", target.parent / "new", InvalidRequestError),
        ("good.zip", target.parent / "new", TooLargeError),
    ):
        unzip = UnpackLimits(size=10) if error is TooLargeError else True
        with pytest.raises(error) as caught:
            fs.get(f"{base}/{name}", str(to), unzip=unzip, callback=(arrived := Callback()))
        assert (arrived.value == 0) is (error is AlreadyExistsError)
        assert caught.value.filename in {f"{base}/{name}", str(to)}
        assert contents(tmp_path) == before
    fs.put(str(tree), f"{base}/there.zip", as_collection=True)
    with pytest.raises(AlreadyExistsError):
        fs.get(f"{base}/there.zip", str(target.parent), unzip=True)
    assert contents(tmp_path) == before
    (target.parent / "empty").mkdir()
    fs.get([f"{base}/good.zip"], [str(target.parent / "empty")], unzip=True)
    assert contents(target.parent / "empty") == contents(tree)


def test_damage_on_the_way_leaves_nothing(
    fs: SynapseFileSystem, dataset: str, tree: Path, tmp_path: Path, store: Path
) -> None:
    fs.put(str(tree), f"{dataset}/t.zip", as_collection=True)
    wanted = packed(tree)
    [blob] = [
        path
        for path in store.rglob("*")
        if path.is_file() and path.stat().st_size == len(wanted) and path.read_bytes() == wanted
    ]
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"XX")
    before = contents(tmp_path)
    with pytest.raises(ChecksumError):
        fs.get(f"{dataset}/t.zip", str(tmp_path / "back"), unzip=True)
    assert contents(tmp_path) == before
    blob.unlink()


@pytest.mark.parametrize(
    ("source", "keywords", "error", "words"),
    [
        ("tree/a.txt", {}, InvalidRequestError, "packs one local folder"),
        ("lost", {}, OSError, "lost"),
        ("tree", {"mode": "append"}, InvalidRequestError, "'overwrite' or 'create'"),
        ("tree", {"ignore_patterns": ["!"]}, InvalidRequestError, "is no pattern"),
        ("tree", {"manifest_filename": "m.json"}, InvalidRequestError, "no manifest"),
    ],
    ids=repr,
)
def test_bad_input_sends_nothing(
    fs: SynapseFileSystem,
    base: str,
    tree: Path,
    spools: Path,
    source: str,
    keywords: dict[str, Any],
    error: type[OSError],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        fs.put(str(tree.parent / source), f"{base}/t.zip", as_collection=True, **keywords)
    assert not fs.exists(f"{base}/t.zip")
    assert not list(spools.iterdir())


def test_spools_go(
    fs: SynapseFileSystem, base: str, tree: Path, spools: Path, tmp_path: Path
) -> None:
    fs.put(str(tree), f"{base}/t.zip", as_collection=True)
    assert not list(spools.iterdir())
    with pytest.raises(AlreadyExistsError):
        fs.put(str(tree), f"{base}/t.zip", as_collection=True, mode="create")
    make(tree, "nul")
    with pytest.raises(InvalidRequestError, match="device"):
        fs.put(str(tree), f"{base}/u.zip", as_collection=True)
    assert not list(spools.iterdir())
    assert fs.find(base) == [f"{base}/t.zip"]


async def test_a_cancelled_pack_leaves_no_spool(
    options: dict[str, Any], dataset: str, spools: Path, tmp_path: Path
) -> None:
    root = make(tmp_path / "t", "a")
    with (root / "large").open("wb") as file:
        file.truncate(2**30)
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
        work = asyncio.ensure_future(fs._put(str(root), f"{dataset}/t.zip", as_collection=True))
        for _ in range(3000):
            if names_in(spools):
                break
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not names_in(spools)
        assert not await fs._exists(f"{dataset}/t.zip")
        await fs._pipe_file(f"{dataset}/after", b"\0")
        assert await fs._cat_file(f"{dataset}/after") == b"\0"


def test_unzip_is_a_yes_a_no_or_limits(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    fs.pipe(f"{base}/a", b"a")
    with pytest.raises(InvalidRequestError, match="UnpackLimits"):
        fs.get(f"{base}/a", str(tmp_path / "a"), unzip="yes")
    fs.get(f"{base}/a", str(tmp_path / "a"), unzip=False)
    assert (tmp_path / "a").read_bytes() == b"a"
