"""What one process does at a time: bounded, in order, and ended as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem, concurrency
from tests.support.observed import Seen, observed_server

MIB = 2**20


class Crowd:
    """Work that counts how much of it goes on at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.begun = self.ended = 0

    async def one(self, number: int, error: Exception | None = None) -> int:
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(0)
            if error is not None:
                raise error
            await asyncio.sleep(0)
            return number
        finally:
            self.inside -= 1
            self.ended += 1


@pytest.mark.parametrize(("count", "at_a_time"), [(0, 3), (1, 3), (3, 3), (10, 3), (10, 100)])
async def test_results_come_in_order_of_bounded_work(count: int, at_a_time: int) -> None:
    crowd = Crowd()
    found = await concurrency.gather(map(crowd.one, range(count)), at_a_time)
    assert found == list(range(count))
    assert crowd.most == min(count, at_a_time)


async def test_no_more_tasks_than_there_is_work() -> None:
    seen: list[int] = []

    async def count() -> None:
        seen.append(len(asyncio.all_tasks()))

    await concurrency.gather([count()], 100)
    assert seen == [2]


async def test_the_first_failure_ends_all() -> None:
    """What is running is cancelled; what has not begun never does, and is closed."""
    crowd, made = Crowd(), []

    def work() -> Iterator[Any]:
        for number in range(10):
            made.append(number)
            yield crowd.one(number, ValueError("bad") if number == 2 else None)

    with pytest.raises(ValueError, match="bad"):
        await concurrency.gather(work(), 4)
    assert crowd.inside == 0
    assert crowd.begun == crowd.ended < 10
    assert made == list(range(10))


async def test_cancelled_before_anything_has_begun() -> None:
    crowd = Crowd()
    whole = asyncio.ensure_future(concurrency.gather(map(crowd.one, range(5)), 3))
    asyncio.get_running_loop().call_soon(whole.cancel)
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert crowd.inside == 0


@pytest.mark.parametrize(
    ("moved", "running"),
    [
        ([100, 200, 400, 400], 16),
        ([100, 200, 100, 110, 120, 400], 8),
        ([100, 100, 100, 100, 400], 4),
        ([100, 100, 200, 200, 200, 200, 400], 8),
        ([0, 0, 0, 0, 100, 100, 100, 100, 400], 4),
        ([10_000] * 4, 2),
    ],
)
def test_more_travel_at_a_time_as_long_as_that_is_faster(
    moved: list[int], running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many, up to the most, while 15 % more bytes a second move in one of three turns.

    ``moved`` is in KiB in each turn of a second. A connection that is fast by itself has no rivals.
    """
    monkeypatch.setattr(concurrency, "WINDOW", 1.0)
    monkeypatch.setattr(concurrency, "FAST", 2**20)
    pace, count, now, total = concurrency.Pace(16), 2, 0.0, 0
    monkeypatch.setattr(concurrency.time, "monotonic", lambda: now)
    for amount in moved:
        if not pace.growing:
            break
        assert pace.more(count, total) == 0, "nothing is known before a turn ends"
        now, total = now + 1.0, total + amount * 2**10
        count += pace.more(count, total)
    assert count == running


async def test_work_begins_as_its_pace_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "WINDOW", 0.001)
    moved, done, inside = iter(4**turn for turn in range(20)), asyncio.Event(), 0

    async def one(number: int) -> int:
        nonlocal inside
        inside += 1
        await done.wait()
        return number

    whole = asyncio.ensure_future(
        concurrency.gather_growing(map(one, range(40)), lambda: next(moved), first=2, most=16)
    )
    for _ in range(500):
        await asyncio.sleep(0.001)
        if inside == 16:
            break
    assert inside == 16
    done.set()
    assert await whole == list(range(40))


async def test_what_travels_together_is_bounded() -> None:
    crowd = Crowd()
    work = map(crowd.one, range(20))
    assert await concurrency.gather_growing(work, lambda: 0, first=2, most=8) == list(range(20))
    assert crowd.most == 2


def test_parcels_are_bounded_in_bytes_and_number() -> None:
    def batched(sizes: list[int]) -> list[list[int]]:
        return concurrency.batched(sizes, lambda size: size, most=10, count=3)

    assert batched([]) == []
    assert batched([1, 1, 1, 1]) == [[1, 1, 1], [1]]
    assert batched([5, 5, 1]) == [[5, 5], [1]]
    assert batched([50, 1, 50, 50]) == [[50], [1], [50], [50]]
    assert batched([0, 0, 10, 0]) == [[0, 0, 10], [0]]


async def test_the_budget_holds_until_a_file_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The datasets service wants checksums first, so that a file of one part waits in memory."""
    monkeypatch.setattr(concurrency, "MAX_BUFFERED", 2 * MIB)
    (tmp_path / "local").mkdir()
    for number in range(8):
        (tmp_path / "local" / f"{number}.bin").write_bytes(bytes(MIB))
    under_way = most = 0

    async def begin(seen: Seen) -> None:
        nonlocal under_way, most
        if seen.method == "PUT":
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.02)

    def end(seen: Seen) -> None:
        nonlocal under_way
        under_way -= seen.method == "PUT"

    with observed_server(tmp_path / "root") as server:
        server.hook, server.on_answer = begin, end
        async with SynapseFileSystem(
            **server.options, asynchronous=True, skip_instance_cache=True
        ) as fs:
            await fs._mkdir("datasets/d")
            await fs._put(f"{tmp_path}/local/", "datasets/d", recursive=True)
            assert len(await fs._find("datasets/d")) == 8
    assert 1 <= most <= 2
