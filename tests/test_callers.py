"""What libraries pass to verbs, recorded while they work, is neither refused nor complained of."""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.generic
import pandas as pd
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

from synapsefs import SynapseFileSystem

Options = dict[str, Any]
FRAME = pd.DataFrame({"kind": ["oak", "elm", "oak"], "height": [21.5, 17.0, 24.1]})
VERBS = [
    *("open", "ls", "info", "exists", "isfile", "isdir", "find", "glob", "walk", "du", "cat"),
    *("cat_file", "cat_ranges", "get", "get_file", "pipe", "pipe_file", "put", "put_file", "touch"),
    *(
        "mkdir",
        "makedirs",
        "rm",
        "rm_file",
        "rmdir",
        "cp_file",
        "copy",
        "mv",
        "expand_path",
        "size",
    ),
    *("ukey", "checksum", "modified", "created", "open_async"),
]
PASSED: dict[str, set[str]] = defaultdict(set)


def _recorded(form: str, verb: str) -> Any:
    original = getattr(SynapseFileSystem, form)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        PASSED[verb].update(options)
        return original(self, *args, **options)

    return call


class Recording(SynapseFileSystem):
    """Notes the names of the options that callers pass to verbs."""


for _verb in VERBS:
    if hasattr(SynapseFileSystem, _verb):
        setattr(Recording, _verb, _recorded(_verb, _verb))


@pytest.fixture(autouse=True)
def _recording() -> Iterator[None]:
    fsspec.register_implementation("synapse", Recording, clobber=True)
    PASSED.clear()
    yield
    fsspec.register_implementation("synapse", SynapseFileSystem, clobber=True)


def with_pandas(url: str, options: Options, _: Path) -> None:
    kept = {"storage_options": options}
    FRAME.to_csv(f"{url}/a.csv", index=False, **kept)
    FRAME.to_csv(f"{url}/a.csv.gz", index=False, compression="gzip", encoding="utf-8", **kept)
    FRAME.to_parquet(f"{url}/a.parquet", **kept)
    FRAME.to_parquet(f"{url}/parts", partition_cols=["kind"], **kept)
    FRAME.to_json(f"{url}/a.json", **kept)
    FRAME.to_pickle(f"{url}/a.pkl", **kept)
    FRAME.to_feather(f"{url}/a.feather", **kept)
    assert len(pd.read_csv(f"{url}/a.csv", encoding="utf-8", **kept)) == 3
    assert len(pd.read_csv(f"{url}/a.csv.gz", **kept)) == 3
    assert len(pd.read_parquet(f"{url}/a.parquet", columns=["height"], **kept)) == 3
    assert len(pd.read_parquet(f"{url}/parts", filters=[("kind", "==", "oak")], **kept)) == 2
    assert len(pd.read_json(f"{url}/a.json", **kept)) == 3
    assert len(pd.read_pickle(f"{url}/a.pkl", **kept)) == 3
    assert len(pd.read_feather(f"{url}/a.feather", **kept)) == 3


def with_pyarrow(url: str, options: Options, _: Path) -> None:
    fs = fsspec.filesystem("synapse", **options)
    base = fs._strip_protocol(url)
    table = pyarrow.table(FRAME)
    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    pyarrow.parquet.write_table(table, f"{base}/a.parquet", filesystem=fs)
    pyarrow.dataset.write_dataset(table, f"{base}/set", format="parquet", filesystem=fs)
    assert pyarrow.dataset.dataset(f"{base}/set", filesystem=fs).count_rows() == 3
    arrow.copy_file(f"{base}/a.parquet", f"{base}/b.parquet")
    arrow.move(f"{base}/b.parquet", f"{base}/c.parquet")
    arrow.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
    arrow.delete_file(f"{base}/c.parquet")
    arrow.delete_dir_contents(f"{base}/set")


def with_dask(url: str, options: Options, _: Path) -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask.dataframe")
    kept = {"storage_options": options}
    with dask.config.set(scheduler="synchronous"):
        parts = dask.dataframe.from_pandas(FRAME, npartitions=2)
        parts.to_parquet(f"{url}/a", **kept)
        parts.to_parquet(f"{url}/a", append=True, ignore_divisions=True, **kept)
        parts.to_csv(f"{url}/csv/*.csv", **kept)
        assert len(dask.dataframe.read_parquet(f"{url}/a", **kept)) == 6
        assert len(dask.dataframe.read_csv(f"{url}/csv/*.csv", **kept)) == 3


def with_zarr(url: str, options: Options, _: Path) -> None:
    zarr = pytest.importorskip("zarr")
    store = zarr.storage.FsspecStore.from_url(f"{url}/z.zarr", storage_options=options)
    group = zarr.group(store=store, overwrite=True)
    array = group.create_array("x", shape=(8,), chunks=(4,), dtype="i4")
    array[:] = range(8)
    assert array[5] == 5
    assert list(group.keys()) == ["x"]
    mapper = fsspec.get_mapper(f"{url}/m", **options)
    mapper["k"] = b"v"
    assert mapper.getitems(["k", "l"], on_error="omit") == {"k": b"v"}
    del mapper["k"]
    mapper.clear()


def with_upath(url: str, options: Options, _: Path) -> None:
    upath = pytest.importorskip("upath")
    folder = upath.UPath(f"{url}/u", **options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text("x", encoding="utf-8")
    with (folder / "a.txt").open("rb", cache_type="none", block_size=2**20) as file:
        assert file.read() == b"x"
    (folder / "b.txt").touch()
    assert {path.name for path in folder.rglob("*.txt")} == {"a.txt", "b.txt"}
    (folder / "a.txt").rename(folder / "c.txt")
    (folder / "c.txt").unlink(missing_ok=True)
    list(folder.walk())
    folder.rmdir(recursive=True)


def with_duckdb_and_polars(url: str, options: Options, _: Path) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    fs = fsspec.filesystem("synapse", **options)
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    connection.execute(f"COPY (SELECT 1 AS a) TO '{url}/d.parquet'")
    assert connection.execute(f"SELECT a FROM read_parquet('{url}/*.parquet')").fetchone() == (1,)
    with fs.open(f"{url}/p.parquet", "wb") as file:
        polars.DataFrame({"a": [1]}).write_parquet(file)
    with fs.open(f"{url}/p.parquet") as file:
        assert polars.read_parquet(file).height == 1


def with_fsspec(url: str, options: Options, here: Path) -> None:
    fs = fsspec.filesystem("synapse", **options)
    (here / "tree").mkdir()
    (here / "tree" / "a.txt").write_text("x")
    callback = fsspec.callbacks.Callback()
    fs.put(str(here / "tree"), f"{url}/tree", recursive=True, callback=callback, batch_size=2)
    fs.get(f"{url}/tree", str(here / "back"), recursive=True, callback=callback, maxdepth=2)
    fs.cp(f"{url}/tree/a.txt", f"{url}/tree/b.txt", on_error="raise", maxdepth=None)
    fs.cat(f"{url}/tree/*.txt", recursive=True, on_error="return")
    fs.download(f"{url}/tree/a.txt", str(here / "c.txt"))
    fs.upload(str(here / "c.txt"), f"{url}/tree/c.txt")
    fs.read_text(f"{url}/tree/a.txt", encoding="utf-8", errors="strict", newline="")
    fs.cat_ranges([f"{url}/tree/a.txt"], [0], [1], max_gap=3, on_error="return", batch_size=2)
    fs.glob(f"{url}/**", detail=True, maxdepth=3, withdirs=True)
    fs.du(f"{url}/tree", total=False, maxdepth=1, withdirs=True)
    generic = fsspec.generic.GenericFileSystem(default_method="generic")
    fsspec.generic.set_generic_fs("synapse", **options)
    fsspec.generic.set_generic_fs("file")
    generic.cp(f"{url}/tree/a.txt", f"{url}/tree/d.txt")
    fsspec.generic.rsync(f"file://{here}/tree", f"{url}/sync", fs=generic, delete_missing=True)
    for layer in ("simplecache", "filecache", "blockcache"):
        kept = {"synapse": options, layer: {"cache_storage": str(here / layer)}}
        with fsspec.open(f"{layer}::{url}/tree/a.txt", "rb", **kept) as file:
            assert file.read() == b"x"
    with fsspec.open(f"simplecache::{url}/tree/e.txt", "wb", synapse=options) as file:
        file.write(b"x")
    directory = fsspec.filesystem("dir", path=fs._strip_protocol(url), fs=fs)
    assert directory.cat_file("tree/e.txt") == b"x"
    directory.find("tree", detail=True)
    for file in fsspec.open_files(f"{url}/tree/*.txt", "rt", encoding="utf-8", **options):
        with file as opened:
            opened.read()
    with fsspec.open(f"{url}/w.txt.gz", "wt", compression="infer", newline="", **options) as file:
        file.write("x")


CALLERS = [
    with_pandas,
    with_pyarrow,
    with_fsspec,
    pytest.param(with_dask, marks=pytest.mark.slow),
    pytest.param(with_zarr, marks=pytest.mark.slow),
    pytest.param(with_upath, marks=pytest.mark.slow),
    pytest.param(with_duckdb_and_polars, marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("caller", CALLERS)
def test_what_libraries_pass_is_taken_quietly(
    options: Options, tmp_path: Path, caplog: pytest.LogCaptureFixture, caller: Any
) -> None:
    base = f"datasets/{tmp_path.name}"
    SynapseFileSystem(**options).mkdir(base)
    with caplog.at_level(logging.WARNING, "synapsefs"):
        caller(f"synapse://{base}", options, tmp_path)
    complaints = [record.getMessage() for record in caplog.records if record.name == "synapsefs"]
    assert not complaints, dict(PASSED)
    assert PASSED
