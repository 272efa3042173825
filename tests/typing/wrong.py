"""Calls that type checkers refuse, each for the reason behind it; checked, never run."""

from synapsefs import SynapseFileSystem

fs = SynapseFileSystem("https://example.com")

SynapseFileSystem("https://example.com", timout=3)  # error: "timout"
SynapseFileSystem("https://example.com", retries="3")  # error: "retries"
SynapseFileSystem("a", "b", "c", "d", "e", {})  # error: Too many positional arguments
fs.lss("datasets")  # error: "object" not callable
fs.putunit("c", {})  # error: "object" not callable
fs.ls("datasets", refesh=True)  # error: "refesh"
fs.find("datasets", max_depth=1)  # error: "max_depth"
fs.open("datasets/d/a", "w", descripton="x")  # error: overload
fs.pipe_file("datasets/d/a", b"x", metdata={})  # error: "metdata"
fs.pipe_file("datasets/d/a", "text")  # error: "str"
fs.put("local", "datasets/d", recusive=True)  # error: "recusive"
fs.put("local", "datasets/d", mode="append")  # error: "mode"
fs.get("datasets/d/a", "local", onerror="return")  # error: "onerror"
fs.mkdir("datasets/d", descriptions="x")  # error: "descriptions"
fs.put_unit("c", {"image_1": 3})  # error: "int"
fs.put_tags("datasets/d/a", ["x"], "replace")  # error: "put_tags"
fs.share("datasets/d/a", "everyone")  # error: "share"
fs.units("c", column=["id"])  # error: "column"
fs.info("datasets/d/a").decode()  # error: "decode"
