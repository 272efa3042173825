"""A read returns bytes of one version, or raises an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import ChangedError
from tests.faults.bench import Bench
from tests.faults.operations import Place, noise, operations
from tests.support.faults import Exchange, Message, answering
from tests.support.sizing import sized

SIZE = 400_000
FAR = 200_000
"""A position that is not fetched when a file is opened whose size no listing tells."""

SPANS = [(start, start + 20_000) for start in range(0, SIZE, 100_000)]


def version(number: int) -> bytes:
    """Give the content of one version: any few bytes identify it."""
    return bytes([number % 256]) * SIZE


@pytest.fixture(params=["collections", "datasets"])
def place(bench: Bench, request: pytest.FixtureRequest) -> Place:
    operation = operations(request.param)["pipe"]
    return bench.place(bench.container(request.param, operation), operation)


@pytest.fixture
def fs(bench: Bench) -> Iterator[SynapseFileSystem]:
    with bench.client() as made:
        yield made


@pytest.fixture
def another(bench: Bench) -> Iterator[SynapseFileSystem]:
    with bench.client() as made:
        yield made


@pytest.mark.parametrize("cache", [None, "none", "readahead"])
def test_a_file_replaced_while_it_is_open(fs, another, place, cache):
    """The version that was opened stays readable while its URL is valid."""
    path = place.at("a.bin")
    fs.pipe_file(path, version(1))
    with fs.open(path, cache_type=cache) as file:
        assert file.read(1000) == version(1)[:1000]
        another.pipe_file(path, version(2))
        rest = file.read()
    assert rest == version(1)[1000:]
    fs.invalidate_cache()
    assert fs.cat_file(path) == version(2)


def test_a_file_replaced_while_its_url_expires(bench, another, place):
    """Datasets sign a new URL for the opened version; collections have no versions."""
    path = place.at("a.bin")
    another.pipe_file(path, noise(SIZE))

    with bench.through(None) as (proxy, fs), fs.open(path, cache_type="none") as file:
        assert file.read(1000) == noise(SIZE)[:1000]
        another.pipe_file(path, version(2))
        proxy.arm(lambda e: answering(403) if e.position == 0 else None)
        file.seek(FAR)
        if place.root == "datasets":
            assert file.read() == noise(SIZE)[FAR:]
            return
        with pytest.raises((ChangedError, FileNotFoundError)) as caught:
            file.read(1000)
    assert caught.value.filename == path


def test_an_object_replaced_in_place(bench, another, place):
    """If the object changes under a URL, its `ETag` reveals that."""
    path = place.at("a.bin")
    another.pipe_file(path, version(1))
    tag = '"one"'

    async def other_tag(exchange: Exchange) -> None:
        answer = await exchange.forward()
        headers = [item for item in answer.headers if item[0] != "ETag"]
        changed = Message(answer.first, [*headers, ("ETag", tag)], answer.body)
        await exchange.send(changed.whole())

    with (
        bench.through(lambda e: other_tag if e.is_object else None) as (_, fs),
        fs.open(path, cache_type="none") as file,
    ):
        file.read(1000)
        file.read(1000)
        tag = '"two"'
        file.seek(FAR)
        with pytest.raises(ChangedError):
            file.read(1000)


@pytest.mark.parametrize("rounds", [6, pytest.param(sized(20, 60), marks=pytest.mark.slow)])
def test_parallel_ranges_of_a_file_that_is_replaced_all_the_time(bench, place, rounds):
    path = place.at("a.bin")
    done = threading.Event()
    with bench.client() as writer, bench.client(listings_expiry_time=0) as reader:
        writer.pipe_file(path, version(0))

        def replace() -> None:
            for number in range(1, rounds):
                writer.pipe_file(path, version(number))
            done.set()

        thread = threading.Thread(target=replace)
        thread.start()
        seen = []
        while not done.is_set():
            starts, ends = zip(*SPANS, strict=True)
            try:
                found = reader.cat_ranges(
                    [path] * len(SPANS), starts, ends, max_gap=0, on_error="raise"
                )
            except ChangedError:
                continue
            numbers = {number for piece in found for number in piece}
            assert len(numbers) == 1
            assert [len(piece) for piece in found] == [end - start for start, end in SPANS]
            seen += numbers
        thread.join()
        assert seen == sorted(seen), "an older version came after a newer one"
        reader.invalidate_cache()
        assert reader.cat_file(path) == version(rounds - 1)
