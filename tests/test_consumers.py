"""The tools of the trade over both roots: what one writes, another reads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import fsspec.config
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from synapsefs import SynapseFileSystem

ROWS = 10_000


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": range(ROWS),
            "half": [number / 2 for number in range(ROWS)],
            "word": [f"word {number % 7}" for number in range(ROWS)],
        }
    )


@pytest.fixture(autouse=True)
def _configured(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs without options mean the server of the test."""
    monkeypatch.setitem(fsspec.config.conf, "synapse", options)


@pytest.fixture
def url(base: str) -> str:
    return f"synapse://{base}"


def test_pandas_reads_what_it_wrote(frame: pd.DataFrame, url: str) -> None:
    frame.to_parquet(f"{url}/f.parquet")
    frame.to_csv(f"{url}/f.csv.gz", index=False)
    frame.to_json(f"{url}/f.jsonl", orient="records", lines=True)
    frame.to_pickle(f"{url}/f.pkl")
    pd.testing.assert_frame_equal(pd.read_parquet(f"{url}/f.parquet"), frame)
    pd.testing.assert_frame_equal(pd.read_csv(f"{url}/f.csv.gz"), frame)
    pd.testing.assert_frame_equal(pd.read_json(f"{url}/f.jsonl", lines=True), frame)
    pd.testing.assert_frame_equal(pd.read_pickle(f"{url}/f.pkl"), frame)
    chunks = pd.read_csv(f"{url}/f.csv.gz", chunksize=3000)
    assert sum(len(chunk) for chunk in chunks) == ROWS


def test_arrow_datasets(fs: SynapseFileSystem, frame: pd.DataFrame, base: str) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, f"{base}/single.parquet", filesystem=fs)
    ds.write_dataset(
        table,
        f"{base}/parts",
        filesystem=fs,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("word", pa.string())]), flavor="hive"),
    )
    assert pq.read_table(f"{base}/single.parquet", filesystem=fs).equals(table)
    found = ds.dataset(f"{base}/parts", filesystem=fs, partitioning="hive")
    assert len(found.files) == 7
    wanted = found.to_table(filter=(pc.field("word") == "word 3") & (pc.field("number") < 1000))
    assert sorted(wanted["number"].to_pylist()) == [n for n in range(1000) if n % 7 == 3]
    pq.write_to_dataset(table, f"{base}/again", partition_cols=["word"], filesystem=fs)
    assert pq.read_table(f"{base}/again", filesystem=fs).num_rows == ROWS


def test_arrow_filesystem_handler(fs: SynapseFileSystem, base: str) -> None:
    arrow = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(fs))
    arrow.create_dir(f"{base}/d")
    with arrow.open_output_stream(f"{base}/d/x.bin") as out:
        out.write(b"x" * 1000)
    with arrow.open_input_file(f"{base}/d/x.bin") as file:
        assert file.size() == 1000
        assert file.read_at(5, 990) == b"x" * 5
    infos = arrow.get_file_info(pa.fs.FileSelector(base, recursive=True))
    assert {info.path: info.size for info in infos if info.is_file} == {f"{base}/d/x.bin": 1000}
    assert arrow.get_file_info(f"{base}/none").type == pa.fs.FileType.NotFound
    arrow.copy_file(f"{base}/d/x.bin", f"{base}/y.bin")
    arrow.delete_file(f"{base}/d/x.bin")
    assert fs.find(base) == [f"{base}/y.bin"]


@pytest.mark.slow
def test_polars(frame: pd.DataFrame, fs: SynapseFileSystem, base: str) -> None:
    polars = pytest.importorskip("polars")
    table = polars.from_arrow(pa.Table.from_pandas(frame, preserve_index=False))
    with fs.open(f"{base}/p.parquet", "wb") as file:
        table.write_parquet(file)
    with fs.open(f"{base}/p.parquet") as file:
        assert polars.read_parquet(file, columns=["half"]).equals(table.select("half"))
    lazy = polars.scan_pyarrow_dataset(ds.dataset(f"{base}/p.parquet", filesystem=fs))
    assert lazy.filter(polars.col("number") > ROWS - 3).collect().height == 2


@pytest.mark.slow
def test_duckdb(frame: pd.DataFrame, fs: SynapseFileSystem, base: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    pq.write_table(pa.Table.from_pandas(frame), f"{base}/d.parquet", filesystem=fs)
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        said = connection.execute(
            f"select sum(half), count(*) from read_parquet('synapse://{base}/d.parquet')"
        )
        assert said.fetchall() == [(sum(frame["half"]), ROWS)]
        connection.execute(f"copy (select 1 as one) to 'synapse://{base}/out.csv' (header)")
    assert fs.cat_file(f"{base}/out.csv") == b"one\n1\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:UPath .synapse. filesystem not explicitly:UserWarning")
def test_paths(url: str) -> None:
    upath = pytest.importorskip("upath")
    path = upath.UPath(url) / "folder" / "note.txt"
    path.write_text("hello\n")
    assert path.read_text() == "hello\n"
    assert path.exists()
    assert [child.name for child in (upath.UPath(url) / "folder").iterdir()] == ["note.txt"]
    assert path.stat().st_size == 6
    path.unlink()
    assert not path.exists()


@pytest.mark.slow
def test_zarr(fs: SynapseFileSystem, base: str, options: dict[str, Any]) -> None:
    zarr = pytest.importorskip("zarr")
    numpy = pytest.importorskip("numpy")
    values = numpy.arange(10_000).reshape(100, 100)
    store = zarr.storage.FsspecStore.from_url(f"synapse://{base}/z.zarr", storage_options=options)
    array = zarr.create_array(store, shape=(100, 100), chunks=(10, 100), dtype="i8")
    array[:] = values
    again = zarr.open_array(
        zarr.storage.FsspecStore.from_url(f"synapse://{base}/z.zarr", storage_options=options),
        mode="r",
    )
    assert (again[:] == values).all()
    assert (again[37:55] == values[37:55]).all()
    assert len(fs.find(f"{base}/z.zarr")) == 11


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask(frame: pd.DataFrame, url: str) -> None:
    dask = pytest.importorskip("dask")
    dataframe = pytest.importorskip("dask.dataframe")
    parts = dataframe.from_pandas(frame, npartitions=4)
    with dask.config.set(scheduler="processes", num_workers=2):
        parts.to_parquet(f"{url}/dask")
        parts.to_csv(f"{url}/csv/part-*.csv", index=False)
    found = dataframe.read_parquet(f"{url}/dask", columns=["number"])
    assert int(found["number"].sum().compute()) == sum(range(ROWS))
    assert len(dataframe.read_csv(f"{url}/csv/*.csv")) == ROWS


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        # Its workers are nice (15) by default and starve beside other tests.
        _system_config={"worker_niceness": 0},
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_ray(ray: Any, frame: pd.DataFrame, fs: SynapseFileSystem, base: str) -> None:
    data = ray.data.from_pandas(frame)
    data.write_parquet(f"{base}/ray", filesystem=fs)
    again = ray.data.read_parquet(f"{base}/ray", filesystem=fs, columns=["number"])
    assert sorted(row["number"] for row in again.take_all()) == list(range(ROWS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_overwrites(frame: pd.DataFrame, url: str, options: dict[str, Any]) -> None:
    """Processes that have listed the folder before write into it after it was removed."""
    dask = pytest.importorskip("dask")
    dataframe = pytest.importorskip("dask.dataframe")
    to = {"storage_options": options}
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        dask.config.set(scheduler="processes", pool=pool),
    ):
        for count in (4, 3):
            rows = frame[: 100 * count]
            parts = dataframe.from_pandas(rows, npartitions=count)
            parts.to_parquet(f"{url}/dask", overwrite=True, **to)
            found = dataframe.read_parquet(f"{url}/dask", columns=["number"], **to)
            assert found.npartitions == count
            assert int(found["number"].sum().compute()) == int(rows["number"].sum())
            parts.to_csv(f"{url}/csv/{count}-*.csv", index=False, **to)
            assert len(dataframe.read_csv(f"{url}/csv/{count}-*.csv", **to)) == len(rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_ray_overwrites(
    ray: Any, frame: pd.DataFrame, fs: SynapseFileSystem, base: str, options: dict[str, Any]
) -> None:
    for count in (2000, 1000):
        data = ray.data.from_pandas(frame[:count])
        data.write_parquet(f"{base}/ray", filesystem=fs, mode="overwrite")
        again = ray.data.read_parquet(f"{base}/ray", filesystem=fs)
        assert again.count() == count
        assert sorted(row["number"] for row in again.take_all()) == list(range(count))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_zarr_consolidates(url: str, options: dict[str, Any]) -> None:
    zarr = pytest.importorskip("zarr")
    numpy = pytest.importorskip("numpy")
    store = zarr.storage.FsspecStore.from_url(f"{url}/g.zarr", storage_options=options)
    group = zarr.create_group(store)
    for number in range(2):
        group.create_array(f"a{number}", data=numpy.arange(100), chunks=(50,))
        zarr.consolidate_metadata(store)
        again = zarr.open_consolidated(f"{url}/g.zarr", storage_options=options, mode="r")
        assert sorted(again.keys()) == [f"a{n}" for n in range(number + 1)]
        assert (again[f"a{number}"][:] == numpy.arange(100)).all()


@pytest.mark.slow
def test_pandas_replaces_what_another_instance_reads(
    frame: pd.DataFrame, fs: SynapseFileSystem, url: str, base: str, options: dict[str, Any]
) -> None:
    for count in (100, 50, 75):
        frame[:count].to_parquet(f"{url}/p.parquet", storage_options={**options, "retries": 5})
        assert len(pq.read_table(f"{base}/p.parquet", filesystem=fs)) == count
        assert ds.dataset(base, filesystem=fs).count_rows() == count


def test_many_files_and_mappings(fs: SynapseFileSystem, url: str, base: str) -> None:
    fs.pipe({f"{base}/{n}.txt": b"%d" % n for n in range(3)})
    with fsspec.open_files(f"{url}/*.txt", "rb") as found:
        assert [file.read() for file in found] == [b"0", b"1", b"2"]
    mapper = fsspec.get_mapper(f"{url}/map")
    mapper["a/b.bin"] = b"mapped"
    assert dict(mapper) == {"a/b.bin": b"mapped"}
    assert fs.cat_file(f"{base}/map/a/b.bin") == b"mapped"


def test_local_copies(fs: SynapseFileSystem, url: str, base: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{base}/c.txt", b"cached")
    options = {"cache_storage": str(tmp_path)}
    (local,) = fsspec.open_local([f"simplecache::{url}/c.txt"], simplecache=options)
    assert Path(local).read_bytes() == b"cached"
