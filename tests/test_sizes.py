"""Files of every size, written in every way, read back in every way, on both roots."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synapsefs import SynapseFileSystem
from tests.support.sizing import sized

MIB = 2**20
SMALL = [0, 1, 65_537]
PARTS = [3 * MIB, 5 * MIB + 7]
MANY = [10 * MIB, 11 * MIB + 7]
"""Exact multiples of the parts of one root or both, and some that are of neither."""
LARGE = [50 * MIB, 50 * MIB + 1, sized(101 * MIB, 300 * MIB)]
WAYS = ["open", "pipe_file", "put_file"]

sizes = pytest.mark.parametrize(
    "size", [*SMALL, *PARTS, *(pytest.param(size, marks=pytest.mark.slow) for size in MANY + LARGE)]
)


@pytest.fixture
def options(options: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """Small parts for small files; the parts that users get for large ones.

    The datasets service takes no part below 5 MiB.
    """
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    large = given.get("size") in LARGE or given.get("rows", 0) > 1_000_000
    return options if large else {**options, "block_size": MIB}


def content(size: int) -> bytes:
    """Give bytes that repeat nowhere near a part's size."""
    source = random.Random(size)
    whole, rest = divmod(size, 16 * MIB)
    return b"".join(source.randbytes(n) for n in [16 * MIB] * whole + [rest])


def text(size: int) -> bytes:
    """Give bytes that are text, with the line ends of several systems."""
    line = "zwölf Boxkämpfer\r\njagen Viktor\nquer über\r🙂\n".encode()
    cut = (line * (size // len(line) + 1))[:size]
    kept = cut.decode("utf-8", "ignore").encode()
    return kept + b"." * (size - len(kept))


def write(fs: SynapseFileSystem, way: str, path: str, data: bytes, tmp_path: Path) -> None:
    if way == "pipe_file":
        fs.pipe_file(path, data)
    elif way == "put_file":
        local = tmp_path / "source"
        local.write_bytes(data)
        fs.put_file(str(local), path)
        local.unlink()
    else:
        with fs.open(path, "wb") as file:
            step = 700_001
            for start in range(0, len(data), step):
                assert file.write(data[start : start + step]) == len(data[start : start + step])
            assert file.tell() == len(data)


def spans(size: int) -> list[tuple[int | None, int | None]]:
    """Give slices of all kinds: open, negative, empty, reversed, across parts, beyond the end."""
    source = random.Random(size)
    around = [0, 1, size // 2, max(size - 1, 0), size, size + 1, size + 10 * MIB]
    found: list[tuple[int | None, int | None]] = [
        (None, 10), (5, None), (-7, None), (None, -7), (-9, -2), (-2, -9), (-size - 5, 4),
        (size, None), (size + 3, None), (size + 3, size + 9), (0, 0), (4, 2), (0, size + 1),
        (MIB - 3, MIB + 3), (5 * MIB - 3, 5 * MIB + 3), (-size, None), (-1, size + 5),
    ]  # fmt: skip
    for _ in range(6):
        start = source.choice(around)
        found.append((start, start + source.randrange(300_000)))
    return found


def checksum(data: bytes, part_size: int | None) -> str:
    """Give the MD5 of a file, or that of the MD5s of its parts."""
    if part_size is None:
        return hashlib.md5(data).hexdigest()
    starts = range(0, len(data), part_size)
    md5s = [hashlib.md5(data[start : start + part_size]).digest() for start in starts]
    return f"{hashlib.md5(b''.join(md5s)).hexdigest()}-{len(md5s)}"


def check(fs: SynapseFileSystem, path: str, data: bytes, tmp_path: Path) -> None:
    """Compare a file with what was written: facts, whole, by ranges, through a handle, by get."""
    info = fs.info(path)
    assert (info["type"], info["size"]) == ("file", len(data))
    assert info["checksum"] in {None, checksum(data, info.get("part_size"))}
    assert fs.cat_file(path) == data
    asked = [(start, end) for start, end in spans(len(data)) if len(data[start:end]) < 20 * MIB]
    for start, end in asked:
        assert fs.cat_file(path, start, end) == data[start:end], (start, end)
    assert fs.cat_file(path, 5) == data[5:]
    got = fs.cat_ranges([path] * len(asked), [s for s, _ in asked], [e for _, e in asked])
    assert got == [data[start:end] for start, end in asked]
    with fs.open(path, "rb") as file:
        assert file.size == len(data)
        half = len(data) // 2
        assert file.seek(half) == half
        assert file.read(1000) == data[half : half + 1000]
        assert file.seek(-min(5, len(data)), io.SEEK_END) == max(len(data) - 5, 0)
        assert file.read() == data[-5:]
        file.seek(0)
        assert hashlib.md5(b"".join(iter(lambda: file.read(3 * MIB), b""))).digest() == (
            hashlib.md5(data).digest()
        )
    target = tmp_path / "got" / "copy"
    fs.get(path, str(target))
    assert target.read_bytes() == data
    assert [item.name for item in target.parent.iterdir()] == ["copy"]
    target.unlink()


@sizes
@pytest.mark.parametrize("way", WAYS)
def test_bytes_come_back(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    base: str,
    tmp_path: Path,
    size: int,
    way: str,
) -> None:
    data = content(size)
    write(fs, way, f"{base}/f.bin", data, tmp_path)
    check(another, f"{base}/f.bin", data, tmp_path)


@pytest.mark.parametrize(
    "size", [*SMALL, 10 * MIB, pytest.param(9 * MIB + 1, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("way", WAYS)
def test_text_comes_back_byte_for_byte(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    base: str,
    tmp_path: Path,
    size: int,
    way: str,
) -> None:
    data = text(size)
    write(fs, way, f"{base}/f.txt", data, tmp_path)
    check(another, f"{base}/f.txt", data, tmp_path)


@pytest.mark.parametrize("data", [b"\xff" * 100, b"nul \0 in text", b"half \xc3", b"\xed\xa0\x80"])
@pytest.mark.parametrize("name", ["f.txt", "f.csv", "f.json"])
def test_what_is_not_text_under_a_name_of_text(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    base: str,
    tmp_path: Path,
    data: bytes,
    name: str,
) -> None:
    fs.pipe_file(f"{base}/{name}", data)
    check(another, f"{base}/{name}", data, tmp_path)


@sizes
async def test_awaited_writes_come_back(options: dict[str, Any], base: str, size: int) -> None:
    data = content(size)
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
        async with await fs.open_async(f"{base}/f.bin", "wb") as file:
            for start in range(0, size, 700_001):
                await file.write(data[start : start + 700_001])
        assert await fs._cat_file(f"{base}/f.bin") == data
        async with await fs.open_async(f"{base}/f.bin", "rb") as file:
            assert await file.read() == data


@pytest.mark.parametrize("size", [10 * MIB, 11 * MIB + 7])
@pytest.mark.parametrize("way", WAYS)
def test_a_long_file_travels_in_parts(
    fs: SynapseFileSystem, base: str, tmp_path: Path, size: int, way: str, strict: bool
) -> None:
    smallest = MIB if base.startswith("collections") else 5 * MIB
    refused = 2 * smallest if strict else 0  # the first chunks, sent to who wants the total first
    before = fs.stats()
    write(fs, way, f"{base}/f.bin", content(size), tmp_path)
    after = fs.stats()
    assert after["requests"] - before["requests"] >= -(-size // smallest)
    assert size <= after["bytes_sent"] - before["bytes_sent"] < 1.01 * size + refused + 10_000


@pytest.mark.parametrize("block_size", [2 * MIB, 6 * MIB])
def test_block_size_of_one_file(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str, tmp_path: Path, block_size: int
) -> None:
    data = content(13 * MIB)
    with fs.open(f"{base}/f.bin", "wb", block_size=block_size) as file:
        file.write(data)
    check(another, f"{base}/f.bin", data, tmp_path)


def test_neighbouring_ranges_travel_together(fs: SynapseFileSystem, base: str) -> None:
    data = content(4 * MIB)
    fs.pipe_file(f"{base}/f.bin", data)
    fs.cat_file(f"{base}/f.bin", 0, 1)
    starts = [*range(0, 100_000, 1000), *range(3 * MIB, 3 * MIB + 100_000, 1000)]
    random.Random(1).shuffle(starts)
    ends = [start + 900 for start in starts]
    before = fs.stats()
    found = fs.cat_ranges([f"{base}/f.bin"] * len(starts), starts, ends)
    after = fs.stats()
    assert found == [data[start:end] for start, end in zip(starts, ends, strict=True)]
    assert after["requests"] - before["requests"] <= 2 + 2
    assert after["bytes_received"] - before["bytes_received"] < 250_000


def test_ranges_of_several_files_keep_their_order(fs: SynapseFileSystem, base: str) -> None:
    contents = {f"{base}/{name}.bin": content(70_000 + name) for name in range(3)}
    fs.pipe(contents)
    paths = [*contents, *reversed(contents), f"{base}/missing.bin"]
    found = fs.cat_ranges(paths, -10, None)
    assert found[:-1] == [contents[path][-10:] for path in paths[:-1]]
    assert isinstance(found[-1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, -10, None, on_error="raise")


def frame(rows: int) -> pd.DataFrame:
    source = np.random.default_rng(rows)
    return pd.DataFrame(
        {
            "number": source.integers(0, 2**62, rows),
            "measure": source.random(rows),
            "word": pd.Series([f"wörd {row % 997}\n" for row in range(rows)], dtype="str"),
        }
    )


ROWS = [0, 1, 1000, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (300_000, 1_500_000))]


@pytest.mark.parametrize("rows", ROWS)
def test_pandas_parquet_by_url(
    options: dict[str, Any], another: SynapseFileSystem, base: str, rows: int
) -> None:
    table, url = frame(rows), f"synapse://{base}/table.parquet"
    table.to_parquet(url, storage_options=options)
    pd.testing.assert_frame_equal(pd.read_parquet(url, storage_options=options), table)
    part = pd.read_parquet(url, storage_options=options, columns=["measure"])
    pd.testing.assert_frame_equal(part, table[["measure"]])
    local = io.BytesIO(another.cat_file(url))
    pd.testing.assert_frame_equal(pd.read_parquet(local), table)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.dat"])
def test_pandas_csv_by_url(
    options: dict[str, Any], another: SynapseFileSystem, base: str, rows: int, name: str
) -> None:
    if rows > 1000 and name != "table.csv":
        rows //= 6
    table, url = frame(rows), f"synapse://{base}/{name}"
    table.to_csv(url, storage_options=options, index=False)
    kinds = table.dtypes.to_dict()
    read = pd.read_csv(url, storage_options=options, dtype=kinds)
    pd.testing.assert_frame_equal(read, table)
    if not name.endswith(".gz"):
        expected = io.StringIO(newline="")
        table.to_csv(expected, index=False)
        assert another.cat_file(url) == expected.getvalue().encode()
