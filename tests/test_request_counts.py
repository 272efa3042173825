"""How many requests the common operations cost, counted by the client and by the server."""

from __future__ import annotations

import io
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from synapsefs import SynapseFileSystem
from tests.support.observed import ObservedServer, Seen, observed_server

COLUMNS = [f"c{number:02}" for number in range(30)]
ROWS, ROW_GROUPS = 84_000, 4
LARGE = bytes(range(256)) * 4096
ADJACENT, APART = ["c07", "c08"], ["c03", "c20"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    """A cold instance. The process has logged in to the datasets service before."""
    return cold(server)


@pytest.fixture(params=["collections", "datasets"])
def place(request: pytest.FixtureRequest, server: ObservedServer) -> str:
    """A fresh directory on each root, made by another instance."""
    maker = cold(server)
    maker.exists("datasets/nothing")
    container = f"{request.param}/t-{uuid.uuid4().hex[:12]}"
    maker.mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container


def cold(server: ObservedServer, expiry: float | None = 60) -> SynapseFileSystem:
    """Make an instance that knows nothing; what it lists holds for the test, however slow."""
    return SynapseFileSystem(
        **server.options, listings_expiry_time=expiry, skip_instance_cache=True
    )


@dataclass
class Cost:
    """What one operation asked of the server."""

    result: Any = None
    requests: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def object_bytes(self) -> int:
        return sum(seen.size for seen in self.seen if seen.is_object)

    def __str__(self) -> str:
        return "; ".join(f"{s.method} {s.path[:60]} {s.span or ''}" for s in self.seen)


def cost(server: ObservedServer, fs: SynapseFileSystem, work: Callable[[], Any]) -> Cost:
    """Do something, and see that client and server count alike."""
    before = fs.stats()["requests"]
    with server.watching() as seen:
        result = work()
    found = Cost(result, fs.stats()["requests"] - before, list(seen))
    assert found.requests == len(found.seen), str(found)
    return found


@pytest.mark.parametrize("name", ["small.bin", "small.txt"])
def test_reading_a_small_file(server, place, name):
    path = f"{place}/{name}"
    cold(server).pipe_file(path, b"twelve bytes")
    ways: list[Callable[[SynapseFileSystem], bytes]] = [
        lambda fs: fs.cat_file(path),
        lambda fs: fs.open(path).read(),
        lambda fs: fs.cat_file(path, start=3),
        lambda fs: fs.cat_file(path, start=-5),
    ]
    for way in ways:
        fs = cold(server)
        first = cost(server, fs, lambda way=way, fs=fs: way(fs))
        assert b"twelve bytes".endswith(first.result)
        assert first.requests <= 3, str(first)
        again = cost(server, fs, lambda way=way, fs=fs: way(fs))
        assert again.result == first.result
        assert again.requests <= 1, str(again)


def test_reading_a_small_file_by_url(server, place):
    path = f"{place}/small.csv"
    cold(server).pipe_file(path, b"a,b\n1,2\n")
    with server.watching() as seen:
        frame = pd.read_csv(f"synapse://{path}", storage_options=server.options)
    assert frame.to_dict("list") == {"a": [1], "b": [2]}
    assert len(seen) <= 3
    with (
        server.watching() as seen,
        fsspec.open(f"synapse://{path}", "r", **server.options) as file,
    ):
        assert file.read() == "a,b\n1,2\n"
    assert len(seen) <= 1


def test_get_of_a_small_file(server, place, fs, tmp_path):
    path = f"{place}/small.bin"
    cold(server).pipe_file(path, b"bytes")
    first = cost(server, fs, lambda: fs.get_file(path, str(tmp_path / "copy")))
    assert first.requests <= 3, str(first)
    assert (tmp_path / "copy").read_bytes() == b"bytes"
    again = cost(server, fs, lambda: fs.get_file(path, str(tmp_path / "copy")))
    assert again.requests <= 1, str(again)


def write_open(fs: SynapseFileSystem, path: str, tmp_path: Path) -> None:
    with fs.open(path, "wb") as file:
        file.write(b"text")


def write_put(fs: SynapseFileSystem, path: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"text")
    fs.put_file(str(tmp_path / "local"), path)


WRITES = [lambda fs, path, _: fs.pipe_file(path, b"text"), write_open, write_put]


@pytest.mark.parametrize("write", WRITES, ids=["pipe", "open", "put"])
def test_writing_a_small_file(server, place, fs, write, tmp_path):
    """Collections: resolve, bytes, the newest units, unit.

    The newest units are asked for once in each call: what is written may not lie where somebody
    else has made a directory, nor below somebody else's file.

    Datasets: resolve, entries, the new entry with its text. The entries are listed once more
    before and after it is made: what is there is what the service says during the call, and of
    several that are made at the same time one stays. Bytes that are no text take four further
    requests there, as the protocol has it: the entry, the announcement of its parts, the part, the
    completion, the activation.
    """
    collections = place.startswith("collections")
    text = cost(server, fs, lambda: write(fs, f"{place}/small.txt", tmp_path))
    assert text.requests <= (4 if collections else 5), str(text)
    warm = cost(server, fs, lambda: write(fs, f"{place}/other.txt", tmp_path))
    assert warm.requests <= 3, str(warm)
    other = cold(server)
    binary = cost(server, other, lambda: write(other, f"{place}/small.bin", tmp_path))
    assert binary.requests <= (4 if collections else 9), str(binary)


@pytest.mark.parametrize("mode", ["overwrite", "create"])
def test_writing_many_files_lists_a_dataset_once_before_and_once_after(server, fs, mode, tmp_path):
    base = f"datasets/t-{uuid.uuid4().hex[:12]}"
    fs.mkdir(base)
    fs.find(base)
    for number in range(10):
        (tmp_path / f"{number}.txt").write_bytes(b"text")
    put = cost(server, fs, lambda: fs.put(f"{tmp_path}/", base, recursive=True, mode=mode))
    listings = [seen for seen in put.seen if seen.path.startswith("/v0.1/data-storage/datasets")]
    assert len(listings) == 2, str(put)
    assert put.requests == 12, str(put)
    contents = {f"{base}/{number}.txt": b"new" for number in range(10)}
    again = cost(server, fs, lambda: fs.pipe(contents))
    assert again.requests == 11, str(again)


SPECIFICATIONS = [
    {"name": "image_1", "file_type": "data", "is_required": True, "is_primary": True},
    {"name": "json_meta_1", "file_type": "data", "is_required": False},
]


@pytest.mark.parametrize(
    ("root", "specifications", "content", "new", "replaced"),
    [
        ("collections/{}/data_1", None, b"%d", 1, 2),
        ("collections/{}/image_1", SPECIFICATIONS, b"%d", 1, 2),
        ("datasets/{}", None, b"%d", 1, 1),
        ("datasets/{}", None, b"%d\xff", 5, 7),
    ],
    ids=["collection", "two specifications", "texts", "objects"],
)
def test_each_file_costs_what_the_protocol_demands(
    server, fs, root, specifications, content, new, replaced
):
    """A collection: the bytes, and the deletion of the unit that is replaced.

    A dataset: a text goes with its entry. An object has an entry, the announcement of its parts,
    the part, the completion and the activation; a revision the revision and the end of its source.
    """
    few, many = 12, 36
    costs: dict[str, list[int]] = {"new": [], "replaced": []}
    for count in (few, many):
        base = root.format(f"t-{uuid.uuid4().hex[:12]}")
        options = {"file_specifications": specifications} if specifications else {}
        fs.mkdir("/".join(base.split("/")[:2]), **options)
        for what, counts in costs.items():
            unique = what.encode() + uuid.uuid4().hex.encode()
            files = {f"{base}/d/{number}.txt": unique + content % number for number in range(count)}
            counts.append(cost(server, fs, lambda files=files: fs.pipe(files)).requests)
    pages = 2
    for what, each in {"new": new, "replaced": replaced}.items():
        more = costs[what][1] - costs[what][0] - each * (many - few)
        assert 0 <= more <= pages, costs


def test_replacing_an_object_costs_two_requests_more(server, fs):
    """The entry that brings the content is hidden by its tag; it is deleted at the end."""
    base = f"datasets/t-{uuid.uuid4().hex[:12]}"
    fs.mkdir(base)
    fs.pipe_file(f"{base}/a.bin", b"\xff")
    again = cost(server, fs, lambda: fs.pipe_file(f"{base}/a.bin", b"\xff new"))
    assert again.requests == 8, str(again)


def test_listing_a_thousand(server, place, fs):
    folder = f"{place}/many"
    names = {f"{folder}/{number:04}.txt": b"%d" % number for number in range(1000)}
    cold(server).pipe(names)
    listing = cost(server, fs, lambda: fs.ls(folder, detail=True))
    assert [info["name"] for info in listing.result] == sorted(names)
    assert [info["size"] for info in listing.result] == [len(names[n]) for n in sorted(names)]
    assert listing.requests <= 3, str(listing)
    for work in (
        lambda fs: fs.ls(folder, detail=False),
        lambda fs: fs.find(place),
        lambda fs: fs.glob(f"{folder}/*.txt"),
        lambda fs: fs.du(place, total=False),
        lambda fs: [name for _, _, files in fs.walk(place) for name in files],
    ):
        other = cold(server)
        found = cost(server, other, lambda work=work, other=other: work(other))
        assert len(found.result) == 1000
        assert found.requests <= 3, str(found)
    assert cost(server, fs, lambda: fs.find(place, detail=True)).requests == 0


@pytest.fixture(scope="module")
def terse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    """A server whose listings tell no sizes."""
    with observed_server(tmp_path_factory.mktemp("terse"), strict=True) as running:
        yield running


def test_sizes_that_listings_do_not_tell_are_asked_for_together(terse):
    container = f"collections/t-{uuid.uuid4().hex[:12]}"
    maker = cold(terse)
    maker.mkdir(container)
    names = {f"{container}/data_1/f{n % 3}/{n:02}.bin": b"x" * n for n in range(1, 13)}
    maker.pipe(names)
    fs = cold(terse)
    fs.find(container)
    together = cost(terse, fs, lambda: fs.sizes(list(names)))
    assert together.result == [len(data) for data in names.values()]
    assert together.requests <= 2, str(together)
    walker = cold(terse)
    walker.find(container)
    walked = cost(
        terse,
        walker,
        lambda: {
            info["name"]: info["size"]
            for _, _, files in walker.walk(container, detail=True)
            for info in files.values()
        },
    )
    assert walked.result == {name: len(data) for name, data in names.items()}
    assert walked.requests <= 2, str(walked)
    again = cost(terse, fs, lambda: fs.ls(f"{container}/data_1/f0", refresh=True))
    assert not any("data-files" in seen.path for seen in again.seen), str(again)


def test_opening_a_file_whose_size_no_listing_tells(terse):
    """One read tells the size and brings a small file whole; of a large one its beginning."""
    container = f"collections/t-{uuid.uuid4().hex[:12]}"
    maker = cold(terse)
    maker.mkdir(container)
    files = {f"{container}/data_1/small.bin": b"x" * 1000, f"{container}/data_1/large.bin": LARGE}
    maker.pipe(files)
    for path, data in files.items():
        fs = cold(terse)
        fs.find(container)
        opened = cost(terse, fs, lambda fs=fs, path=path: fs.open(path))
        assert opened.requests == 1, str(opened)
        with opened.result as file:
            begun = cost(terse, fs, lambda file=file: file.read(1000))
            assert (begun.result, begun.requests) == (data[:1000], 0), str(begun)
            rest = cost(terse, fs, file.read)
            assert (rest.result, rest.requests) == (data[1000:], len(data) > 1000), str(rest)


def test_a_whole_file_that_is_read_at_once_is_one_request(server, place):
    path = f"{place}/large.bin"
    cold(server).pipe_file(path, LARGE)
    fs = cold(server)
    with fs.open(path) as file:
        whole = cost(server, fs, file.read)
        assert whole.result == LARGE
        assert [seen.span for seen in whole.seen if seen.is_object] == [None], str(whole)
        assert cost(server, fs, file.read).result == b""


def test_a_sequential_reader_reads_ahead_and_nothing_twice(server, place):
    data = LARGE * 20
    path = f"{place}/long.bin"
    cold(server).pipe_file(path, data)
    fs = cold(server)
    with fs.open(path) as file:
        read = cost(server, fs, lambda: b"".join(iter(lambda: file.read(2**20), b"")))
    assert read.result == data
    spans = sorted(seen.span for seen in read.seen if seen.is_object)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert len(spans) <= 4 + len(data) // (8 * 2**20), str(read)


def test_looking_at_one(server, place):
    path = f"{place}/folder/file.bin"
    cold(server).pipe_file(path, b"bytes")
    for look in ("info", "exists", "isfile", "isdir", "size", "checksum", "created"):
        fs = cold(server)
        found = cost(server, fs, lambda fs=fs, look=look: getattr(fs, look)(path))
        assert found.requests <= 2, f"{look}: {found}"
        assert cost(server, fs, lambda fs=fs: fs.info(path)).requests == 0


def test_what_expired_is_listed_again_once(server, place):
    """Names of containers hold longer, so that it is one request for what the container holds."""
    cold(server).pipe_file(f"{place}/folder/file.bin", b"bytes")
    fs = cold(server, expiry=None)
    folder = f"{place}/folder"
    fs.find(folder)
    for look in ("info", "exists", "ls", "find", "isdir"):
        deadline = time.monotonic() + 20
        while (found := cost(server, fs, lambda: getattr(fs, look)(folder))).requests == 0:  # noqa: B023
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found.requests == 1, f"{look}: {found}"


@pytest.mark.parametrize("look", ["exists", "find", "glob", "isfile"])
def test_nothing_is_asked_for_once(server, place, look):
    """In a listing from before; one that was read in the same call is not read again."""
    cold(server).pipe_file(f"{place}/there.bin", b"bytes")
    fs = cold(server)
    path = f"{place}/nothing*.bin" if look == "glob" else f"{place}/nothing"
    first = cost(server, fs, lambda: getattr(fs, look)(path))
    again = cost(server, fs, lambda: getattr(fs, look)(path))
    assert not first.result
    assert not again.result
    assert first.requests <= 2, str(first)
    assert again.requests == 1, str(again)


def test_a_miss_is_asked_again_and_a_hit_is_not(server, place, fs):
    fs.pipe_file(f"{place}/there.bin", b"bytes")
    fs.ls(place)
    miss = cost(server, fs, lambda: fs.exists(f"{place}/nothing.bin"))
    assert miss.result is False
    assert 1 <= miss.requests <= 2, str(miss)
    hit = cost(server, fs, lambda: fs.exists(f"{place}/there.bin"))
    assert (hit.result, hit.requests) == (True, 0)


def test_a_miss_is_not_asked_again_when_it_was_asked_just_now(server, place, fs):
    cold(server).pipe_file(f"{place}/there.bin", b"bytes")
    miss = cost(server, fs, lambda: fs.exists(f"{place}/nothing.bin"))
    assert miss.result is False
    assert miss.requests <= (2 if place.startswith("collections") else 3), str(miss)


def test_what_a_small_change_in_a_collection_asks(server, fs):
    """A call asks once what is new, and again after a unit took over what another holds."""
    container = f"collections/t-{uuid.uuid4().hex[:12]}"
    specs = [{"name": "data_1", "is_primary": True}, {"name": "data_meta_1"}]
    made = [{**spec, "file_type": "data", "function_type": "main"} for spec in specs]
    fs.mkdir(container, file_specifications=made)
    names = [f"{container}/data_1/{number}.bin" for number in range(120)]
    fs.pipe(dict.fromkeys(names, b"bytes"))
    fs.find(container)
    joined = cost(server, fs, lambda: fs.pipe_file(f"{container}/data_meta_1/1.bin", b"meta"))
    asked = [(seen.method, seen.path.split("/")[1]) for seen in joined.seen]
    assert asked.count(("GET", "data_units")) <= 4, str(joined)
    assert joined.requests <= 7, str(joined)
    several = {f"{container}/data_meta_1/{number}.bin": b"meta" for number in range(50, 60)}
    assert cost(server, fs, lambda: fs.pipe(several)).requests <= 10 + 1 + 10 + 4
    labelled = cost(server, fs, lambda: fs.setxattrs(names[90], label="cat"))
    assert labelled.requests <= 3, str(labelled)
    removed = cost(server, fs, lambda: fs.rm(names[100]))
    assert removed.requests <= 6, str(removed)


def test_neighbouring_ranges_travel_together(server, place, fs):
    path = f"{place}/ranges.bin"
    data = np.random.default_rng(1).bytes(2_000_000)
    fs.pipe_file(path, data)
    fs.cat_file(path, 0, 1)
    starts = [0, 100, 200, 1_000_000, 1_000_050, 1_900_000]
    ends = [50, 150, 300, 1_000_040, 1_000_100, None]
    got = cost(server, fs, lambda: fs.cat_ranges([path] * 6, starts, ends))
    assert got.result == [data[a:b] for a, b in zip(starts, ends, strict=True)]
    assert got.requests == 3, str(got)
    apart = cost(server, fs, lambda: fs.cat_ranges([path] * 5, starts[:5], ends[:5], max_gap=0))
    assert apart.requests == 5, str(apart)


def test_copying_in_a_collection_moves_no_bytes(server, fs):
    """What is copied is what is there now, and so is what it joins: listed once a call each."""
    container = f"collections/t-{uuid.uuid4().hex[:12]}"
    fs.mkdir(container)
    fs.pipe_file(f"{container}/data_1/a.bin", b"bytes")
    copied = cost(
        server, fs, lambda: fs.cp_file(f"{container}/data_1/a.bin", f"{container}/data_1/b.bin")
    )
    assert [seen.path for seen in copied.seen if seen.is_object] == []
    assert copied.requests <= 4, str(copied)


def listings(found: Cost) -> int:
    """Count requests that list a collection or dataset, or find it by its name."""
    asked = [s for s in found.seen if s.method == "GET" and not s.is_object]
    return sum("/data-entries/" not in seen.path for seen in asked)


def test_many_paths_cost_one_listing(server, place):
    """Collection or dataset by its name, and what it holds: once a call, not once a path."""
    names = [f"{place}/{number}.bin" for number in range(20)]
    maker = cold(server)
    maker.pipe(dict.fromkeys(names, b"bytes"))
    maker.pipe({f"{place}/deep/{number}.bin": b"bytes" for number in range(5)})
    fs = cold(server)
    sizes = cost(server, fs, lambda: fs.sizes(names))
    assert (sizes.result, sizes.requests) == ([5] * 20, 2), str(sizes)
    fs = cold(server)
    # when the call begins, and perhaps just before the removal
    assert listings(cost(server, fs, lambda: fs.rm(names[:5]))) <= 3
    # and once more to see that the pattern is no name
    assert listings(cost(server, fs, lambda: fs.rm(f"{place}/[56789].bin"))) <= 4
    left = names[10:15]
    copies = [f"{place}/copy-{number}.bin" for number in range(5)]
    assert listings(cost(server, fs, lambda: fs.cp(left, copies))) <= 5
    moved = [f"{place}/moved-{number}.bin" for number in range(5)]
    # before it, at the publication, after the copies, and just before the removal
    assert listings(cost(server, fs, lambda: fs.mv(left, moved))) <= 9
    assert fs.find(place) == sorted([*copies, *moved, *names[15:], *fs.find(f"{place}/deep")])
    whole = cost(server, fs, lambda: fs.rm(f"{place}/deep", recursive=True))
    assert listings(whole) <= 5, str(whole)


@pytest.mark.parametrize("write", ["pipe", "put"])
def test_creating_many_files_asks_once_before_and_once_after(server, place, write, tmp_path):
    """That nothing is there is found out for all of them together."""
    fs = cold(server)
    fs.find(place)
    names = [f"{number}.txt" for number in range(12)]
    for name in names:
        (tmp_path / name).write_text(name)
    ways = {
        "pipe": lambda: fs.pipe(
            {f"{place}/{name}": name.encode() for name in names}, mode="create"
        ),
        "put": lambda: fs.put(f"{tmp_path}/", place, recursive=True, mode="create"),
    }
    created = cost(server, fs, ways[write])
    assert listings(created) <= 2, str(created)


def test_a_copy_costs_what_the_protocol_asks_for_each_file(server):
    """In datasets: the newest version, its bytes, and the five requests of a new file.

    From there to a collection: bytes, and the file; the units are made together.
    """
    base = uuid.uuid4().hex[:12]
    fs = cold(server)
    fs.mkdir(f"datasets/{base}")
    fs.mkdir(f"collections/{base}")
    fs.pipe({f"datasets/{base}/x/{number}.bin": b"\xff%d" % number for number in range(10)})
    fs.find(f"datasets/{base}")
    inside = cost(
        server,
        fs,
        lambda: fs.copy(f"datasets/{base}/x/", f"datasets/{base}/y/", recursive=True),
    )
    assert inside.requests <= 10 * 7 + 9, str(inside)
    across = cost(
        server,
        fs,
        lambda: fs.copy(f"datasets/{base}/x/", f"collections/{base}/data_1/", recursive=True),
    )
    assert across.requests <= 10 * 2 + 7, str(across)
    assert len(fs.find(f"collections/{base}")) == 10


# --- Parquet ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parquet() -> bytes:
    """A file of some 20 MB of which no byte repeats, so that nothing is small by compression."""
    source = np.random.default_rng(0)
    table = pa.table({name: source.random(ROWS) for name in COLUMNS})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=ROWS // ROW_GROUPS)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def parquet_paths(server: ObservedServer, parquet: bytes) -> dict[str, str]:
    maker = cold(server)
    found = {}
    for root, folder in (("collections", "data_1/"), ("datasets", "")):
        container = f"{root}/parquet-{uuid.uuid4().hex[:8]}"
        maker.mkdir(container)
        found[root] = f"{container}/{folder}table.parquet"
        maker.pipe_file(found[root], parquet)
    return found


def needed(data: bytes, columns: Sequence[str]) -> tuple[int, int]:
    """Give how many merged ranges, and how many bytes, hold some columns and the footer."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    footer = metadata.serialized_size + 8
    spans = [(len(data) - footer, len(data))]
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            if chunk.path_in_schema in columns:
                first = chunk.dictionary_page_offset or chunk.data_page_offset
                spans.append((first, first + chunk.total_compressed_size))
    spans.sort()
    joints = sum(later[0] > earlier[1] for earlier, later in zip(spans, spans[1:], strict=False))
    return joints + 1, sum(end - start for start, end in spans)


def by_dataset(path: str, columns: list[str], fs: SynapseFileSystem) -> Any:
    return pads.dataset(path, filesystem=fs, format="parquet").to_table(columns=columns)


def by_filtered_dataset(path: str, columns: list[str], fs: SynapseFileSystem) -> Any:
    everything = pads.field(columns[0]) >= 0
    table = pads.dataset(path, filesystem=fs, format="parquet")
    return table.to_table(columns=columns, filter=everything)


def by_url(path: str, columns: list[str], fs: SynapseFileSystem) -> Any:
    options = dict(fs.storage_options)
    return pd.read_parquet(f"synapse://{path}", columns=columns, storage_options=options)


PARQUET_WAYS: dict[str, Callable[..., Any]] = {
    "pandas-url": by_url,
    "pandas-filesystem": lambda p, c, fs: pd.read_parquet(p, columns=c, filesystem=fs),
    "read_table-filesystem": lambda p, c, fs: pq.read_table(p, columns=c, filesystem=fs),
    "read_table-open": lambda p, c, fs: pq.read_table(fs.open(p), columns=c),
    "parquet_file-open": lambda p, c, fs: pq.ParquetFile(fs.open(p)).read(columns=c),
    "dataset": by_dataset,
    "dataset-filter": by_filtered_dataset,
}


@pytest.mark.parametrize("columns", [ADJACENT, APART], ids=["adjacent", "apart"])
@pytest.mark.parametrize("way", PARQUET_WAYS)
@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_two_columns_of_thirty(server, parquet, parquet_paths, root, way, columns):
    fs = SynapseFileSystem(**server.options)
    found = cost(server, fs, lambda: PARQUET_WAYS[way](parquet_paths[root], columns, fs))
    expected = pq.read_table(io.BytesIO(parquet), columns=columns)
    read = found.result if isinstance(found.result, pa.Table) else pa.table(found.result)
    assert read.equals(expected)
    ranges, size = needed(parquet, columns)
    assert found.requests <= 2 + ranges, str(found)
    assert found.object_bytes <= 1.2 * size, str(found)


def test_requests_carry_what_they_must_and_no_more(server, place, fs):
    """Object URLs carry their own signature: no credential goes there."""
    path = f"{place}/secret.bin"
    with server.watching() as seen:
        fs.pipe_file(path, b"bytes")
        fs.cat_file(path)
    objects = [request for request in seen if request.is_object]
    assert objects
    for request in objects:
        names = {name.lower() for name in request.headers}
        assert not names & {"authorization", "synapse-access-token", "synapse-tenant", "cookie"}
    assert all(re.match(r"synapsefs/\d", request.headers["User-Agent"]) for request in seen)
