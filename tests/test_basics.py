"""The promises that everything else rests on, each once on both roots."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synapsefs import (
    AccessDeniedError,
    AlreadyExistsError,
    DiscardedWarning,
    InvalidPathError,
    NotFoundError,
    SynapseFileSystem,
    UnreachableError,
    UnsupportedError,
)

Options = dict[str, Any]


def requests(fs: SynapseFileSystem) -> int:
    return fs.stats()["requests"]


@pytest.mark.parametrize("way", ["wb", "w", "gzip", "fsspec"])
def test_an_exception_leaves_what_was_there(
    fs: SynapseFileSystem, base: str, way: str, options: Options
) -> None:
    path = f"{base}/f.txt"
    fs.pipe_file(path, b"before")
    with pytest.raises(RuntimeError, match="stop"):
        if way == "fsspec":
            with (
                pytest.warns(DiscardedWarning, match=path),
                fsspec.open(f"synapse://{path}", "w", **options) as file,
            ):
                file.write("after")
                raise RuntimeError("stop")
        else:
            mode, more = ("wb", {"compression": "gzip"}) if way == "gzip" else (way, {})
            with fs.open(path, mode, **more) as file:
                file.write("after" if mode == "w" else b"after")
                raise RuntimeError("stop")
    assert fs.cat_file(path) == b"before"
    assert fs.find(base) == [path]


def test_to_csv_that_fails_leaves_nothing(
    fs: SynapseFileSystem, base: str, options: Options
) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("stop")

    frame = pd.DataFrame({"a": [1, Bad()]})
    warned = pytest.warns(DiscardedWarning, match=f"{base}/t.csv")
    with warned, pytest.raises(RuntimeError, match="stop"):
        frame.to_csv(f"synapse://{base}/t.csv", storage_options=options)
    assert fs.find(base) == []


def test_garbage_collection_never_publishes(fs: SynapseFileSystem, base: str) -> None:
    for mode, data in (("wb", b"x"), ("w", "x")):
        file = fs.open(f"{base}/lost.txt", mode)
        file.write(data)
        with pytest.warns(ResourceWarning):
            del file
            gc.collect()
    assert not fs.exists(f"{base}/lost.txt")


def test_compressed_files_are_published(fs: SynapseFileSystem, base: str) -> None:
    with fs.open(f"{base}/z.gz", "wb", compression="gzip") as file:
        file.write(b"data" * 100)
    with fs.open(f"{base}/z.gz", "rb", compression="gzip") as file:
        assert file.read() == b"data" * 100


def test_a_transaction_publishes_all_or_nothing(fs: SynapseFileSystem, base: str) -> None:
    with fs.transaction:
        fs.pipe_file(f"{base}/a.bin", b"a")
        with fs.open(f"{base}/b.bin", "wb") as file:
            file.write(b"b")
        assert not fs.exists(f"{base}/b.bin")
    assert fs.cat(f"{base}/*.bin") == {f"{base}/a.bin": b"a", f"{base}/b.bin": b"b"}
    with pytest.raises(RuntimeError), fs.transaction:
        fs.pipe_file(f"{base}/c.bin", b"c")
        raise RuntimeError
    assert not fs.exists(f"{base}/c.bin")


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_modes_that_are_not_offered_say_so(fs: SynapseFileSystem, base: str, mode: str) -> None:
    with pytest.raises(UnsupportedError, match="not offered"):
        fs.open(f"{base}/f.bin", mode)


def test_ranges(fs: SynapseFileSystem, base: str) -> None:
    data = bytes(range(256)) * 2000
    path = f"{base}/r.bin"
    fs.pipe_file(path, data)
    assert fs.cat_file(path, -10) == data[-10:]
    assert fs.cat_file(path, 5, -5) == data[5:-5]
    assert fs.cat_file(path, 511_990, 600_000) == data[511_990:]
    before = requests(fs)
    assert fs.cat_ranges([path] * 3, [0, 100, 400_000], [50, 200, 400_010]) == [
        data[:50],
        data[100:200],
        data[400_000:400_010],
    ]
    assert requests(fs) - before <= 2


def test_another_instance_sees_a_write_at_once(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    assert not another.exists(f"{base}/new.bin")
    fs.pipe_file(f"{base}/new.bin", b"new")
    assert another.exists(f"{base}/new.bin")
    assert another.cat_file(f"{base}/new.bin") == b"new"


@pytest.mark.parametrize("name", ["a[1].txt", "ü ß.txt", "100%.txt", "x@7.txt"])
def test_names(fs: SynapseFileSystem, base: str, name: str) -> None:
    fs.pipe_file(f"{base}/{name}", b"name")
    assert fs.find(base) == [f"{base}/{name}"]
    assert fs.cat_file(f"{base}/{name}") == b"name"
    fs.rm(f"{base}/{name}")
    assert fs.find(base) == []


def test_a_slash_inside_a_name(fs: SynapseFileSystem, base: str) -> None:
    path = f"{base}/a%2Fb.txt"
    if base.startswith("collections"):
        with pytest.raises(InvalidPathError, match=r"write it a/b\.txt"):
            fs.pipe_file(path, b"slash")
        return
    fs.pipe_file(path, b"slash")
    assert fs.find(base) == [path]
    assert fs.cat_file(path) == b"slash"


def test_create_refuses_to_replace(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/f.bin", b"1")
    with pytest.raises(AlreadyExistsError) as caught:
        fs.pipe_file(f"{base}/f.bin", b"2", mode="create")
    assert caught.value.errno
    assert caught.value.filename


def test_units_are_whole_or_refused(fs: SynapseFileSystem, tmp_path: Any) -> None:
    name = f"collections/two-{uuid.uuid4().hex[:8]}"
    specifications = [
        {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
        {"name": "json_meta_1", "file_type": "data", "is_required": True},
    ]
    fs.mkdir(name, category="image", file_specifications=specifications)
    with pytest.raises(ValueError, match="json_meta_1"):
        fs.pipe_file(f"{name}/image_1/train/1.png", b"png")
    with pytest.raises(InvalidPathError, match="image_2"):
        fs.pipe_file(f"{name}/image_2/1.png", b"png")
    fs.pipe({f"{name}/image_1/train/1.png": b"png", f"{name}/json_meta_1/train/1.json": b"{}"})
    units = {info["unit"] for info in fs.find(name, detail=True).values()}
    assert len(units) == 1
    with pytest.raises(OSError, match="remove them together"):
        fs.rm(f"{name}/image_1/train/1.png")
    fs.rm(fs.find(name))
    assert fs.find(name) == []


def test_request_counts(
    base: str, options: Options, fs: SynapseFileSystem, extra_requests: int
) -> None:
    fs.pipe_file(f"{base}/login.txt", b"so that the shared login is done")
    path = f"{base}/small.txt"
    writer = SynapseFileSystem(**options, skip_instance_cache=True)
    writer.pipe_file(path, b"small")
    assert requests(writer) <= (4 if base.startswith("collections") else 5) + extra_requests
    reader = SynapseFileSystem(**options, skip_instance_cache=True)
    assert reader.cat_file(path) == b"small"
    cold = requests(reader)
    assert cold <= 3 + extra_requests
    assert reader.cat_file(path) == b"small"
    assert requests(reader) - cold <= 1


def test_listing_a_thousand_is_two_requests(
    base: str, options: Options, fs: Any, extra_requests: int
) -> None:
    fs.pipe({f"{base}/{index}.txt": b"x" for index in range(1000)})
    reader = SynapseFileSystem(**options, skip_instance_cache=True)
    assert len(reader.ls(base)) == 1000
    assert requests(reader) <= 3 + extra_requests


@pytest.mark.parametrize("way", ["pandas", "filesystem", "open"])
def test_two_columns_cost_two_columns(
    base: str, options: Options, way: str, extra_requests: int
) -> None:
    columns = {f"c{index:02d}": np.random.default_rng(index).random(40_000) for index in range(30)}
    writer = SynapseFileSystem(**options, skip_instance_cache=True)
    path = f"{base}/wide.parquet"
    with writer.open(path, "wb") as file:
        pq.write_table(pa.table(columns), file, row_group_size=10_000, use_dictionary=False)
    wanted = ["c03", "c17"]
    reader = SynapseFileSystem(**options)
    if way == "pandas":
        pd.read_parquet(f"synapse://{path}", columns=wanted, storage_options=options)
    elif way == "filesystem":
        pq.read_table(path, columns=wanted, filesystem=reader)
    else:
        pq.read_table(reader.open(path), columns=wanted)
    stats = reader.stats()
    needed = 2 * 40_000 * 8 + 65_536
    assert stats["requests"] <= 2 + 8 + 1 + extra_requests
    assert stats["bytes_received"] <= 1.2 * needed + 20_000


def test_threads_pickle_and_fork(fs: SynapseFileSystem, base: str) -> None:
    def work(index: int) -> bytes:
        fs.pipe_file(f"{base}/{index}.bin", bytes([index]))
        return fs.cat_file(f"{base}/{index}.bin")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [bytes([index]) for index in range(16)]
    assert pickle.loads(pickle.dumps(fs)).cat_file(f"{base}/3.bin") == b"\x03"


def _child(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/child.bin", fs.cat_file(f"{base}/parent.bin") + b" and child")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(fs: SynapseFileSystem, base: str, method: str) -> None:
    fs.pipe_file(f"{base}/parent.bin", b"parent")
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=_child, args=(fs, base))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert fs.cat_file(f"{base}/child.bin") == b"parent and child"


def test_asynchronous_instances_outlive_a_loop(options: Options, base: str) -> None:
    fs = SynapseFileSystem(**options, asynchronous=True)

    async def write_and_read(name: str) -> bytes:
        async with await fs.open_async(f"{base}/{name}", "wb") as file:
            await file.write(b"async")
        async with await fs.open_async(f"{base}/{name}") as file:
            data: bytes = await file.read()
        await fs.aclose()
        return data

    assert asyncio.run(write_and_read("one.bin")) == b"async"
    assert asyncio.run(write_and_read("two.bin")) == b"async"
    with pytest.raises(RuntimeError, match="asynchronous"):
        fs.ls(base)


def test_errors_are_clear_and_hold_no_secret(fs: SynapseFileSystem, base: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        fs.cat_file(f"{base}/missing.bin")
    assert (missing.value.errno, missing.value.filename) == (2, f"{base}/missing.bin")
    with pytest.raises(UnreachableError) as down:
        SynapseFileSystem("http://127.0.0.1:9", token="syn_very_secret", retries=0).ls(
            "collections"
        )
    assert down.value.errno
    assert "very_secret" not in f"{down.value!r}{down.value}"


def test_a_wrong_token_is_refused(fs: SynapseFileSystem, base: str) -> None:
    fs.exists(base)
    endpoint, _ = fs._endpoints()
    assert endpoint is not None
    url = endpoint.url
    wrong = SynapseFileSystem(url, token="syn_wrong_secret", datasets_token="key_wrong_secret")
    for root in ("collections", "datasets"):
        with pytest.raises(AccessDeniedError) as caught:
            wrong.ls(f"{root}/any")
        assert (
            "wrong_secret"
            not in f"{caught.value!r}{wrong!r}{wrong.to_json(include_password=False)}"
        )


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-8-sig", "latin-1"])
def test_text_of_any_encoding_reads_back(
    fs: SynapseFileSystem, base: str, encoding: str, compression: str | None
) -> None:
    path = f"{base}/text"
    with fs.open(path, "w", encoding=encoding, compression=compression) as file:
        file.write("déjà\n")
        file.write("vu")
    with fs.open(path, encoding=encoding, mode="r", compression=compression) as file:
        assert file.read() == "déjà\nvu"
    if compression is None:
        assert fs.cat_file(path) == "déjà\nvu".encode(encoding)


def test_an_unknown_encoding_opens_nothing(fs: SynapseFileSystem, base: str) -> None:
    with pytest.raises(LookupError, match="unknown encoding"):
        fs.open(f"{base}/text", "w", encoding="no-such")
    assert not fs.exists(f"{base}/text")
