"""A smoke of both roots and of the command line, without a test runner.

It runs where only the package itself is installed, such as with the lowest versions that its
dependencies allow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

SPECIFICATIONS = [
    {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
    {"name": "json_meta_1", "file_type": "data", "is_required": True},
]


def verbs(fs: fsspec.AbstractFileSystem, base: str) -> None:
    """Run the verbs in a directory."""
    fs.pipe({f"{base}/a/one.bin": b"\x00one", f"{base}/a/two.txt": b"two\r\n"})
    with fs.open(f"{base}/a/three.bin", "wb") as file:
        file.write(b"\xffthree")
    assert fs.cat_file(f"{base}/a/three.bin", start=-3) == b"ree"
    fs.cp(f"{base}/a/one.bin", f"{base}/b/one.bin")
    fs.mv(f"{base}/a/two.txt", f"{base}/b/two.txt")
    fs.rm(f"{base}/a/one.bin")
    assert fs.find(base) == [
        f"{base}/a/three.bin",
        f"{base}/b/one.bin",
        f"{base}/b/two.txt",
    ]
    assert fs.glob(f"{base}/*/two.*") == [f"{base}/b/two.txt"]
    assert fs.du(base) == 15
    assert fs.info(f"{base}/b/two.txt")["size"] == 5


def tables(fs: fsspec.AbstractFileSystem, base: str) -> None:
    """Write a table and read one of its columns."""
    table = pa.table({"kind": ["oak", "elm"], "height": [21.5, 17.0]})
    with fs.open(f"{base}/trees.parquet", "wb") as file:
        pq.write_table(table, file)
    with fs.open(f"{base}/trees.parquet") as file:
        assert pq.read_table(file, columns=["height"]).to_pydict() == {"height": [21.5, 17.0]}


def units(fs: fsspec.AbstractFileSystem, folder: Path) -> None:
    """Send a directory as whole units, list them, and get it back."""
    for name, content in {"image_1/cat.png": b"image", "json_meta_1/cat.json": b"{}"}.items():
        (folder / "pets" / name).parent.mkdir(parents=True)
        (folder / "pets" / name).write_bytes(content)
    fs.mkdir("collections/pets", category="image", file_specifications=SPECIFICATIONS)
    fs.put(f"{folder}/pets/", "collections/pets", recursive=True)
    assert fs.units("collections/pets").num_rows == 1
    fs.get("collections/pets/", f"{folder}/back/", recursive=True)
    assert (folder / "back/image_1/cat.png").read_bytes() == b"image"


def command_line(endpoint: str, folder: Path) -> None:
    """Run the commands as a shell does."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "synapsefs", *arguments]
        environment = {**os.environ, "FSSPEC_SYNAPSE_ENDPOINT_URL": endpoint}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Usage" in run("--help")
    run("mkdir", "synapse://datasets/shell")
    run("put", "-q", "-r", f"{folder}/pets/", "synapse://datasets/shell/")
    assert "json_meta_1" in run("ls", "-l", "synapse://datasets/shell")
    assert run("cat", "synapse://datasets/shell/json_meta_1/cat.json") == "{}"
    run("get", "-q", "-r", "synapse://datasets/shell/", f"{folder}/again/")
    assert (folder / "again/image_1/cat.png").read_bytes() == b"image"
    run("rm", "-r", "synapse://datasets/shell")


def main() -> None:
    """Run it all on an embedded server over a temporary directory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        endpoint = (folder / "store").as_uri()
        fs = fsspec.filesystem("synapse", endpoint_url=endpoint)
        fs.mkdir("datasets/smoke")
        fs.mkdir("collections/smoke")
        for base in ("datasets/smoke", "collections/smoke/data_1"):
            verbs(fs, base)
            tables(fs, base)
        units(fs, folder)
        command_line(endpoint, folder)
    print("both roots and the command line work")


if __name__ == "__main__":
    main()
