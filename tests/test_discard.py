"""A file appears when it was closed well. Otherwise nothing appears, and what was there stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import io
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synapsefs import DiscardedWarning, SynapseFileSystem, sync

BEFORE = b"what was there before"
LONG = 12 * 2**20
"""More than two parts on both roots, so that some have travelled when the writer fails."""


class FailureError(Exception):
    """What goes wrong while a file is written."""


class Unprintable:
    """A value that cannot be written as text."""

    def __str__(self) -> str:
        raise FailureError

    __repr__ = __str__


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "block_size": 2**20}


@pytest.fixture(params=["new", "existing"])
def path(request: pytest.FixtureRequest, options: dict[str, Any], base: str) -> Iterator[str]:
    """A path whose file, or absence of one, must be the same after the test."""
    name = f"{base}/folder/target.dat"
    existing = request.param == "existing"
    if existing:
        SynapseFileSystem(**options, skip_instance_cache=True).pipe_file(name, BEFORE)
    yield name
    fs = SynapseFileSystem(**options, skip_instance_cache=True)
    assert fs.exists(name) == existing
    assert fs.find(base) == [name] * existing
    if existing:
        assert fs.cat_file(name) == BEFORE


Opener = Callable[[SynapseFileSystem, str], Any]


def _url_opener(mode: str, **extra: Any) -> Opener:
    def opened(fs: SynapseFileSystem, path: str) -> Any:
        return fsspec.open(f"synapse://{path}", mode, **extra, **fs.storage_options)

    return opened


OPENERS: dict[str, Opener] = {
    "binary": lambda fs, path: fs.open(path, "wb"),
    "text": lambda fs, path: fs.open(path, "w", encoding="utf-8"),
    "gzip": lambda fs, path: fs.open(path, "wb", compression="gzip"),
    "gzip text": lambda fs, path: fs.open(path, "wt", compression="gzip", encoding="utf-8"),
    "url binary": _url_opener("wb"),
    "url text": _url_opener("w", encoding="utf-8"),
    "url gzip": _url_opener("wb", compression="gzip"),
    "url gzip text": _url_opener("wt", compression="gzip"),
}
openers = pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS.keys())
FILLED = [
    pytest.param(
        opener,
        size,
        id=f"{name}-{size}",
        marks=[pytest.mark.slow] if size == LONG and name != "binary" else [],
    )
    for name, opener in OPENERS.items()
    for size in (100, LONG)
    if size == 100 or name in {"binary", "text", "url gzip"}
]
SAYS_WHY = r"target\.dat.*: what was written is discarded, .*commit\(\)"
discarding = pytest.warns(DiscardedWarning, match=SAYS_WHY)
filled = pytest.mark.parametrize(("opener", "size"), FILLED)


def fill(file: Any, size: int) -> None:
    """Write text, or bytes that do not compress, in several calls."""
    text = isinstance(file, io.TextIOBase)
    for number in range(size // 2**20 + 1):
        block = random.Random(number).randbytes(min(size, 2**19))
        file.write(block.hex() if text else block + block[::-1])


@filled
def test_exception_in_the_block(
    fs: SynapseFileSystem, path: str, opener: Opener, size: int
) -> None:
    """The exception says it all; only fsspec.open does not pass it on."""
    opened = opener(fs, path)
    warned = discarding if isinstance(opened, fsspec.core.OpenFile) else contextlib.nullcontext()
    with warned, pytest.raises(FailureError), opened as file:
        fill(file, size)
        raise FailureError


def test_interrupt_in_the_block(fs: SynapseFileSystem, path: str) -> None:
    with pytest.raises(KeyboardInterrupt), fs.open(path, "wb") as file:
        file.write(b"half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [SystemExit, GeneratorExit])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_an_exception_that_nobody_sees_warns(
    fs: SynapseFileSystem, path: str, failure: type[BaseException], mode: str
) -> None:
    with discarding, pytest.raises(failure), fs.open(path, mode) as file:
        fill(file, 100)
        raise failure


def test_a_generator_that_is_closed(fs: SynapseFileSystem, path: str) -> None:
    def rows() -> Iterator[None]:
        with fs.open(path, "w") as file:
            file.write("half")
            yield

    generator = rows()
    next(generator)
    with discarding:
        generator.close()  # type: ignore[attr-defined]


def handle(opened: Any) -> Any:
    """Give the file object of what an opener gave; it is closed by closing the latter."""
    return opened.open() if isinstance(opened, fsspec.core.OpenFile) else opened


@openers
def test_close_in_a_finally_clause(fs: SynapseFileSystem, path: str, opener: Opener) -> None:
    def work() -> None:
        opened = opener(fs, path)
        try:
            fill(handle(opened), 100)
            raise FailureError
        finally:
            opened.close()

    with discarding, pytest.raises(FailureError):
        work()


@pytest.mark.parametrize("name", [name for name in OPENERS if "url gzip" not in name])
def test_committed_while_an_exception_is_handled_it_appears(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, name: str
) -> None:
    """With text of fsspec.open its buffer is asked; fsspec's own compression passes nothing on."""
    path, opened = f"{base}/f.dat", OPENERS[name](fs, f"{base}/f.dat")
    file = handle(opened)
    fill(file, 100)
    try:
        raise FailureError  # noqa: TRY301
    except FailureError:
        if name == "url text":
            file.flush()
            file.buffer.commit()
        else:
            file.commit()
        assert file.closed
        opened.close()
    file.close()
    assert another.size(path) > 0
    content = another.cat_file(path)
    assert len(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content) == 200


def test_a_committed_file_stays(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    with pytest.raises(FailureError), fs.open(f"{base}/f.dat", "wb") as file:
        file.write(b"all of it")
        file.commit()
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")
        raise FailureError
    file.discard()
    file.commit()
    assert another.cat_file(f"{base}/f.dat") == b"all of it"


def test_a_discarded_file_cannot_be_committed(fs: SynapseFileSystem, path: str) -> None:
    file = fs.open(path, "wb")
    file.write(b"half")
    file.discard()
    with pytest.raises(ValueError, match="discarded"):
        file.commit()


def test_a_file_committed_within_a_transaction_outlives_it(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    with pytest.raises(FailureError), fs.transaction:
        with fs.open(f"{base}/log.dat", "wb") as file:
            file.write(b"a log")
            file.commit()
        fs.pipe_file(f"{base}/other.dat", b"x")
        raise FailureError
    assert another.find(base) == [f"{base}/log.dat"]
    with fs.transaction, fs.open(f"{base}/more.dat", "wb") as file:
        file.commit()
    another.invalidate_cache()
    assert another.find(base) == [f"{base}/log.dat", f"{base}/more.dat"]


def test_exit_stack(fs: SynapseFileSystem, path: str) -> None:
    with pytest.raises(FailureError), contextlib.ExitStack() as stack:
        file = stack.enter_context(fs.open(path, "w"))
        file.write("half")
        raise FailureError


def test_exception_within_a_handler_of_another(fs: SynapseFileSystem, path: str) -> None:
    try:
        raise KeyError  # noqa: TRY301
    except KeyError:
        with pytest.raises(FailureError), fs.open(path, "w") as file:
            file.write("half")
            raise FailureError from None


def test_exception_in_an_awaited_block(options: dict[str, Any], path: str) -> None:
    async def work() -> None:
        async with (
            SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs,
            await fs.open_async(path, "wb") as file,
        ):
            await file.write(bytes(LONG))
            raise FailureError

    with pytest.raises(FailureError):
        asyncio.run(work())


@pytest.mark.parametrize("suffix", [".dat", ".csv", ".csv.gz"])
def test_pandas_csv(options: dict[str, Any], path: str, suffix: str) -> None:
    table = pd.DataFrame({"number": range(200_000), "word": "a word"})
    table["word"] = table["word"].astype(object)
    table.loc[199_999, "word"] = Unprintable()
    url = f"synapse://{path.removesuffix('.dat')}{suffix}"
    warned = pytest.warns(DiscardedWarning, match=r"target.*commit\(\)")
    with warned, pytest.raises(FailureError):
        table.to_csv(url, storage_options=options)
    assert not SynapseFileSystem(**options).exists(url) or suffix == ".dat"


def truncated_at_the_end() -> pd.DataFrame:
    """Make a table whose last time cannot be written in milliseconds."""
    times = pd.to_datetime(range(0, 200_000_000_000_000, 1_000_000_000), unit="ns")
    return pd.DataFrame({"time": [*times[:-1], times[-1] + pd.Timedelta(1, "ns")]})


def test_pandas_parquet(options: dict[str, Any], path: str) -> None:
    table = truncated_at_the_end()
    how = {"coerce_timestamps": "ms", "row_group_size": 1000}
    with discarding, tolerated_garbage(), pytest.raises(pa.ArrowInvalid):
        table.to_parquet(f"synapse://{path}", storage_options=options, **how)


def test_pandas_parquet_that_cannot_begin(options: dict[str, Any], path: str) -> None:
    table = pd.DataFrame({"number": [1]})
    with tolerated_garbage(), pytest.raises(pa.ArrowException):
        table.to_parquet(f"synapse://{path}", storage_options=options, compression="no such")


@contextlib.contextmanager
def tolerated_garbage() -> Iterator[None]:
    """Let pyarrow leave its handle to the garbage collector, which makes the writer warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def rows(count: int) -> pa.Table:
    return pa.table({"number": range(count), "word": ["a word"] * count})


@pytest.mark.parametrize("count", [1, 500_000])
def test_parquet_writer_over_a_handle(fs: SynapseFileSystem, path: str, count: int) -> None:
    table = rows(count)
    with (
        pytest.raises(FailureError),
        fs.open(path, "wb") as file,
        pq.ParquetWriter(file, table.schema) as writer,
    ):
        writer.write_table(table, row_group_size=10_000)
        raise FailureError


@pytest.mark.parametrize("count", [1, 500_000])
def test_parquet_writer_over_the_filesystem(fs: SynapseFileSystem, path: str, count: int) -> None:
    table = rows(count)
    with (
        discarding,
        pytest.raises(FailureError),
        pq.ParquetWriter(path, table.schema, filesystem=fs) as writer,
    ):
        writer.write_table(table, row_group_size=10_000)
        raise FailureError


@filled
def test_garbage_collection_publishes_nothing(
    fs: SynapseFileSystem, path: str, opener: Opener, size: int
) -> None:
    with pytest.warns(ResourceWarning, match="discarded") as noted:
        fill(handle(opener(fs, path)), size)
        gc.collect()
    ours = [str(warning.message) for warning in noted if "discarded" in str(warning.message)]
    assert len(ours) == 1


def test_garbage_in_a_cycle(fs: SynapseFileSystem, path: str) -> None:
    def work() -> None:
        cycle: list[Any] = [fs.open(path, "w")]
        cycle[0].write("half")
        cycle.append(cycle)

    with pytest.warns(ResourceWarning, match="discarded"):
        work()
        gc.collect()


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_garbage_collected_by_the_event_loop(fs: SynapseFileSystem, path: str, mode: str) -> None:
    async def collect() -> None:
        gc.collect()

    def work() -> None:
        cycle: list[Any] = [fs.open(path, mode)]
        fill(cycle[0], LONG)
        cycle.append(cycle)

    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="discarded"):
            work()
            sync.run(fs.loop, collect())
    finally:
        gc.enable()


def test_a_discarded_file_is_closed(fs: SynapseFileSystem, path: str) -> None:
    file = fs.open(path, "wb")
    file.write(b"half")
    file.discard()
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


def test_exclusive_creation_refuses_late(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    file = fs.open(f"{base}/f.dat", "xb")
    file.write(b"late")
    another.pipe_file(f"{base}/f.dat", BEFORE)
    with pytest.raises(FileExistsError):
        file.close()
    assert another.cat_file(f"{base}/f.dat") == BEFORE


@openers
def test_closed_well_it_appears(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, opener: Opener
) -> None:
    with opener(fs, f"{base}/f.dat") as file:
        fill(file, 100)
        assert not another.exists(f"{base}/f.dat")
    assert another.size(f"{base}/f.dat") > 0


@openers
def test_written_whole_inside_an_except_clause_it_appears(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, opener: Opener
) -> None:
    try:
        raise FailureError  # noqa: TRY301
    except FailureError:
        with opener(fs, f"{base}/f.dat") as file:
            fill(file, 100)
    assert another.size(f"{base}/f.dat") > 0


def test_an_error_handled_within_the_block_discards_nothing(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    with fs.open(f"{base}/f.gz", "wb", compression="infer") as file:
        file.write(b"first ")
        with contextlib.suppress(FailureError):
            raise FailureError
        file.write(b"second")
    assert gzip.decompress(another.cat_file(f"{base}/f.gz")) == b"first second"


def test_files_of_a_transaction_appear_together(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tmp_path: Any
) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"put")
    with fs.transaction:
        with fs.open(f"{base}/a.bin", "wb") as file:
            file.write(bytes(LONG))
        with fs.open(f"{base}/b.gz", "w", compression="gzip") as file:
            file.write("text")
        fs.pipe_file(f"{base}/c.bin", b"piped")
        fs.put_file(str(local), f"{base}/d.bin")
        assert another.find(base) == []
    names = [f"{base}/{name}" for name in ("a.bin", "b.gz", "c.bin", "d.bin")]
    another.invalidate_cache()
    assert another.find(base) == names
    assert another.cat_file(names[0]) == bytes(LONG)
    assert another.cat_file(names[3]) == b"put"


def test_a_transaction_rolls_back(fs: SynapseFileSystem, path: str, base: str) -> None:
    with pytest.raises(FailureError), fs.transaction:
        with fs.open(path, "wb") as file:
            file.write(b"new")
        with fs.open(f"{base}/other.txt", "w") as file:
            file.write("new")
        fs.pipe({f"{base}/a.bin": b"1", f"{base}/b.bin": b"2"})
        raise FailureError


def test_a_transaction_whose_file_failed(fs: SynapseFileSystem, path: str) -> None:
    with fs.transaction, pytest.raises(FailureError), fs.open(path, "w") as file:
        file.write("half")
        raise FailureError


def test_a_transaction_that_cannot_commit_shows_nothing(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    another.pipe_file(f"{base}/taken.bin", BEFORE)
    with pytest.raises(FileExistsError), fs.transaction:
        fs.pipe_file(f"{base}/first.bin", b"first")
        fs.pipe_file(f"{base}/taken.bin", b"taken", mode="create")
        fs.pipe_file(f"{base}/third.bin", b"third")
    fresh = SynapseFileSystem(**another.storage_options, skip_instance_cache=True)
    assert fresh.find(base) == [f"{base}/taken.bin"]
    assert fresh.cat_file(f"{base}/taken.bin") == BEFORE
    fs.pipe_file(f"{base}/first.bin", b"the instance still works")


def test_many_files_that_cannot_all_arrive_show_none(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    another.pipe_file(f"{base}/taken.bin", BEFORE)
    with pytest.raises(FileExistsError):
        fs.pipe({f"{base}/{n}.bin": b"x" for n in ("first", "taken", "third")}, mode="create")
    fresh = SynapseFileSystem(**another.storage_options, skip_instance_cache=True)
    assert fresh.find(base) == [f"{base}/taken.bin"]
