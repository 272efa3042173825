"""Every verb takes path objects where it takes text, also in lists and mappings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from synapsefs import SynapseFileSystem

P = PurePosixPath
VERBS: dict[str, Callable[[SynapseFileSystem, P, Path], Any]] = {
    "open": lambda fs, p, _: fs.open(p / "a.bin").read(),
    "open for writing": lambda fs, p, _: fs.open(p / "new.bin", "wb").close(),
    "ls": lambda fs, p, _: fs.ls(p, detail=False),
    "info": lambda fs, p, _: fs.info(p / "a.bin")["size"],
    "exists": lambda fs, p, _: fs.exists(p / "a.bin"),
    "lexists": lambda fs, p, _: fs.lexists(p / "a.bin"),
    "isfile": lambda fs, p, _: fs.isfile(p / "a.bin"),
    "isdir": lambda fs, p, _: fs.isdir(p),
    "find": lambda fs, p, _: fs.find(p),
    "glob": lambda fs, p, _: fs.glob(p / "*"),
    "walk": lambda fs, p, _: list(fs.walk(p)),
    "du": lambda fs, p, _: fs.du(p),
    "size": lambda fs, p, _: fs.size(p / "a.bin"),
    "sizes": lambda fs, p, _: fs.sizes([p / "a.bin", p / "b.bin"]),
    "created": lambda fs, p, _: fs.created(p / "a.bin"),
    "modified": lambda fs, p, _: fs.modified(p / "a.bin"),
    "checksum": lambda fs, p, _: fs.checksum(p / "a.bin"),
    "ukey": lambda fs, p, _: fs.ukey(p / "a.bin"),
    "expand_path": lambda fs, p, _: fs.expand_path(p, recursive=True),
    "cat_file": lambda fs, p, _: fs.cat_file(p / "a.bin"),
    "cat": lambda fs, p, _: fs.cat(p / "a.bin"),
    "cat of several": lambda fs, p, _: fs.cat([p / "a.bin", p / "b.bin"]),
    "cat_ranges": lambda fs, p, _: fs.cat_ranges([p / "a.bin"] * 2, [0, 1], [1, 2]),
    "head": lambda fs, p, _: fs.head(p / "a.bin", 2),
    "tail": lambda fs, p, _: fs.tail(p / "a.bin", 2),
    "read_bytes": lambda fs, p, _: fs.read_bytes(p / "a.bin"),
    "read_text": lambda fs, p, _: fs.read_text(p / "a.bin"),
    "write_text": lambda fs, p, _: fs.write_text(p / "w.bin", "x"),
    "get": lambda fs, p, here: fs.get(p / "a.bin", here / "got.bin"),
    "get of several": lambda fs, p, here: fs.get([p / "a.bin", p / "b.bin"], here),
    "get_file": lambda fs, p, here: fs.get_file(p / "a.bin", here / "got.bin"),
    "put": lambda fs, p, here: fs.put(here / "local.bin", p / "put.bin"),
    "put of several": lambda fs, p, here: fs.put([here / "local.bin"], [p / "put.bin"]),
    "put_file": lambda fs, p, here: fs.put_file(here / "local.bin", p / "put.bin"),
    "pipe_file": lambda fs, p, _: fs.pipe_file(p / "piped.bin", b"x"),
    "pipe": lambda fs, p, _: fs.pipe(p / "piped.bin", b"x"),
    "pipe of several": lambda fs, p, _: fs.pipe({p / "c.bin": b"1", p / "d.bin": b"2"}),
    "touch": lambda fs, p, _: fs.touch(p / "touched.bin"),
    "mkdir": lambda fs, p, _: fs.mkdir(p / "made"),
    "makedirs": lambda fs, p, _: fs.makedirs(p / "made" / "too", exist_ok=True),
    "rmdir": lambda fs, p, _: fs.rmdir(P(f"{p.parts[0]}/{p.parts[1]}-empty")),
    "rm": lambda fs, p, _: fs.rm(p / "a.bin"),
    "rm of several": lambda fs, p, _: fs.rm([p / "a.bin", p / "b.bin"]),
    "rm_file": lambda fs, p, _: fs.rm_file(p / "a.bin"),
    "cp": lambda fs, p, _: fs.cp(p / "a.bin", p / "copy.bin"),
    "cp of several": lambda fs, p, _: fs.cp([p / "a.bin"], [p / "copy.bin"]),
    "cp_file": lambda fs, p, _: fs.cp_file(p / "a.bin", p / "copy.bin"),
    "mv": lambda fs, p, _: fs.mv(p / "a.bin", p / "moved.bin"),
    "rename": lambda fs, p, _: fs.rename(p / "a.bin", p / "moved.bin"),
    "getxattr": lambda fs, p, _: fs.getxattr(p / "a.bin", "none"),
    "getxattrs": lambda fs, p, _: fs.getxattrs(p / "a.bin"),
    "setxattrs": lambda fs, p, _: fs.setxattrs(p / "a.bin", colour="red"),
    "sign": lambda fs, p, _: fs.sign(p / "a.bin"),
    "invalidate_cache": lambda fs, p, _: fs.invalidate_cache(p / "a.bin"),
}
OF_DATASETS: dict[str, Callable[[SynapseFileSystem, P, Path], Any]] = {
    "get_tags": lambda fs, p, _: fs.get_tags(p / "a.bin"),
    "put_tags": lambda fs, p, _: fs.put_tags(p / "a.bin", ["x"]),
    "revisions": lambda fs, p, _: fs.revisions(p / "a.bin"),
    "link": lambda fs, p, _: fs.link("https://example.com/x", p / "link"),
    "search": lambda fs, p, _: fs.search(p, "nothing like it"),
    "share": lambda fs, p, _: fs.share(p / "a.bin", "public"),
}
UNCHANGING = {
    *("open", "ls", "info", "exists", "lexists", "isfile", "isdir", "find", "glob", "walk", "du"),
    *("size", "sizes", "created", "modified", "checksum", "ukey", "expand_path", "cat_file", "cat"),
    *("cat of several", "cat_ranges", "head", "tail", "read_bytes", "read_text", "sign", "get"),
    *("get of several", "get_file", "getxattr", "getxattrs", "invalidate_cache"),
}


def failing(
    verbs: dict[str, Callable[[SynapseFileSystem, P, Path], Any]],
    fs: SynapseFileSystem,
    base: str,
    here: Path,
) -> dict[str, Exception]:
    """Call verbs with path objects, each that changes something with files of its own."""
    (here / "local.bin").write_bytes(b"local")
    changing = [f"{base}/{verb}" for verb in sorted(verbs.keys() - UNCHANGING)]
    fs.pipe({f"{place}/{name}.bin": b"text" for place in (base, *changing) for name in "ab"})
    root, container = base.split("/")[:2]
    fs.mkdir(f"{root}/{container}-empty")
    failed = {}
    for verb, call in verbs.items():
        place = base if verb in UNCHANGING else f"{base}/{verb}"
        if verb == "rmdir":
            place = base
        try:
            call(fs, P(place), here)
        except Exception as error:
            failed[verb] = error
    return failed


def test_verbs_take_path_objects(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    assert not failing(VERBS, fs, base, tmp_path)


def test_verbs_of_datasets_take_path_objects(fs: SynapseFileSystem, tmp_path: Path) -> None:
    fs.mkdir(f"datasets/{tmp_path.name}")
    assert not failing(OF_DATASETS, fs, f"datasets/{tmp_path.name}", tmp_path)


def test_units_take_a_path_object(fs: SynapseFileSystem, tmp_path: Path) -> None:
    path = P(f"collections/{tmp_path.name}")
    fs.mkdir(path)
    (tmp_path / "a.bin").write_bytes(b"x")
    fs.put_unit(path, {"data_1": tmp_path / "a.bin"}, key="k")
    assert fs.units(path).num_rows == 1
    assert sum(batch.num_rows for batch in fs.units_batches(path)) == 1


def test_a_path_object_gives_what_text_gives(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe({f"{base}/a.bin": b"text", f"{base}/b/c.bin": b"more"})
    for verb in ("ls", "find", "info", "du", "expand_path", "isdir"):
        assert getattr(fs, verb)(P(base)) == getattr(fs, verb)(base)
    assert fs.cat([P(base) / "a.bin", P(base) / "b" / "c.bin"]) == fs.cat(
        [f"{base}/a.bin", f"{base}/b/c.bin"]
    )
    assert list(fs.walk(P(base))) == list(fs.walk(base))


def test_asynchronous_verbs_take_path_objects(options: dict[str, Any], base: str) -> None:
    async def work() -> bytes:
        fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        async with fs:
            await fs._pipe_file(P(base) / "a.bin", b"x")
            async with await fs.open_async(P(base) / "b.bin", "wb") as file:
                await file.write(b"y")
            walked = [found async for found in fs._walk(P(base))]
            assert walked == [(base, [], ["a.bin", "b.bin"])]
            content: bytes = await fs._cat_file(path=P(base) / "b.bin")
            return content

    assert asyncio.run(work()) == b"y"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:UPath 'synapse' filesystem not explicitly implemented")
def test_paths_of_universal_pathlib(options: dict[str, Any], base: str, tmp_path: Path) -> None:
    upath = pytest.importorskip("upath")
    folder = upath.UPath(f"synapse://{base}", **options)
    (folder / "a.bin").write_bytes(b"x")
    (folder / "b.txt").write_text("y")
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "b.txt"]
    assert [path.name for path in folder.glob("*.bin")] == ["a.bin"]
    assert (folder / "a.bin").stat().st_size == 1
    fs = folder.fs
    assert fs.cat_file(folder / "a.bin") == b"x"
    assert fs.find(folder) == [f"{base}/a.bin", f"{base}/b.txt"]
    fs.get(folder / "a.bin", upath.UPath(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == b"x"
    (folder / "b.txt").unlink()
    assert not (folder / "b.txt").exists()
