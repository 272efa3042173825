"""Calls that type checkers let pass, with the types that they give; checked, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from synapsefs import SynapseFileSystem
from synapsefs.files import AsyncWriter, SynapseWriter
from synapsefs.local.zip import UnpackLimits
from synapsefs.readers import AsyncReader, SynapseReader
from synapsefs.wrappers import CompressedFile, TextFile

fs = SynapseFileSystem("https://example.com", "t", retries=2, datasets={"a": "1"}, ssl=Path("x"))
assert_type(fs, SynapseFileSystem)

assert_type(fs.ls("datasets"), list[dict[str, Any]])
assert_type(fs.ls(Path("datasets"), detail=False, refresh=True), list[str])
assert_type(fs.listdir("datasets"), list[dict[str, Any]])
assert_type(fs.info("datasets/d", version=3), dict[str, Any])
assert_type(fs.find("datasets"), list[str])
assert_type(fs.find("datasets", detail=True), dict[str, dict[str, Any]])
assert_type(fs.glob("datasets/*", maxdepth=1), list[str])
assert_type(fs.du("datasets"), int)
assert_type(fs.du("datasets", total=False), dict[str, int])
assert_type(fs.exists("datasets/d"), bool)
for path, directories, files in fs.walk("datasets", on_error="raise"):
    assert_type((path, directories, files), tuple[str, list[str], list[str]])

assert_type(fs.open("datasets/d/a"), SynapseReader)
assert_type(fs.open("datasets/d/a", "wb", tags=["x"], base_version=2), SynapseWriter)
assert_type(fs.open("datasets/d/a", "w", encoding="utf-8"), TextFile)
assert_type(fs.open("datasets/d/a", "wb", compression="gzip"), CompressedFile)
with fs.open("datasets/d/a", "rt") as text:
    assert_type(text.read(), str)

assert_type(fs.cat_file("datasets/d/a", -3), bytes)
fs.pipe({"datasets/d/a": b"x", "datasets/d/b": bytearray(3)}, mode="create")
fs.pipe_file("datasets/d/a", memoryview(b"x"), metadata={"a": 1}, description="x")
fs.put("local", "datasets/d/", recursive=True, sync=True, on_error="return", tags=["x"])
fs.put("local", "datasets/d/", ignore_patterns=["*.log"], manifest_filename="m.json")
fs.get(["datasets/d/a"], "local", unzip=UnpackLimits(files=3), dry_run=True)
fs.mkdir("collections/c", category="images", file_specifications=[{"name": "image_1"}])
fs.mkdir("datasets/d/x", tags=["x"], exist_ok=True)
fs.mv("datasets/d/a", "datasets/d/b")
fs.rename("datasets/d/a", "datasets/d/b", recursive=True)

assert_type(fs.setxattrs("datasets/d/a", colour="red"), dict[str, Any])
assert_type(fs.get_tags("datasets/d/a"), list[str])
assert_type(fs.put_unit("c", {"image_1": "a.png", "box": b"{}"}, {"a": 1}), dict[str, Any])
fs.units("c", columns=["id"], filters=[("meta.n", "in", [2, 3])])
fs.search(query="x", criteria={"tags": "raw"}, match="any", highlight=True)
fs.register("datasets/d/x", "gcs", location="gs://bucket/key")
fs.share("datasets/d/a", "shared", users=["me"])
assert_type(fs.stats(), dict[str, int])
assert_type(fs.transaction.__enter__(), Any)
fs.invalidate_cache()
fs.get_mapper("datasets/d")


async def asynchronous(other: SynapseFileSystem) -> None:
    """Methods to be awaited have types too."""
    assert_type(await other._cat_file("datasets/d/a", start=1), bytes)
    assert_type(await other._exists("datasets/d/a"), bool)
    assert_type(await other.open_async("datasets/d/a"), AsyncReader)
    assert_type(await other.open_async("datasets/d/a", "wb", tags=["x"]), AsyncWriter)
    async with other:
        pass
