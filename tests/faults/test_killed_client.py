"""``kill -9`` of the client at every request boundary: nothing partial, nothing lost."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest

from tests.faults import operations
from tests.faults.bench import Bench
from tests.faults.operations import COLLECTION_PART, Place, lasting
from tests.faults.report import COUNTS
from tests.support.faults import Exchange, Fault, Plan
from tests.support.killable import Clients, clients
from tests.support.sizing import offset, sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CASES = [(root, name) for root in ("collections", "datasets") for name in lasting(root)]
STRIDE = sized(4, 1)
"""In a sample a client is killed at every fourth request, with another offset in each case."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Clients]:
    with clients() as found:
        yield found


def _death(pid: int, number: int, *, after: bool) -> Plan:
    """Kill a process when it has sent a request, before or after the server handles it."""

    async def strike(exchange: Exchange) -> None:
        await (exchange.forward() if after else exchange.receive())
        os.kill(pid, signal.SIGKILL)
        exchange.reset()

    def plan(exchange: Exchange) -> Fault | None:
        return strike if exchange.position == number else None

    return plan


@pytest.mark.parametrize("after", [False, True], ids=["before the server acts", "after it"])
@pytest.mark.parametrize(("root", "name"), CASES)
def test_killed_at_every_request(
    bench: Bench, nursery: Clients, root: str, name: str, after: bool
) -> None:
    operation = lasting(root)[name]
    container = bench.container(root, operation)
    wrong: list[str] = []
    number, survived = offset(f"{root} {name} {after}", STRIDE), False
    while not survived:
        place = bench.place(container, operation)
        arguments = [name, container, place.folder, str(place.local)]
        with bench.through(None) as (proxy, _):
            options = bench.options(proxy.url, block_size=COLLECTION_PART)
            pid = nursery.prepare(operations.__name__, "act", options, arguments)
            proxy.arm(_death(pid, number, after=after))
            survived = nursery.run() == 0
            request = proxy.seen[number] if number < len(proxy.seen) else "the end"
        COUNTS["client killed at a request"] += 1
        found = _unacknowledged(bench, place) if name == "one by one" else []
        found += bench.aftermath(operation, place, OSError(errno.ESRCH, "killed"))
        wrong += [f"killed at {request}: {words}" for words in found]
        number += STRIDE
    assert wrong == []
    assert number > 3


def _unacknowledged(bench: Bench, place: Place) -> list[str]:
    """Give the files that were acknowledged to the process, and are missing."""
    log = place.local / "acknowledged"
    names = log.read_text().split() if log.exists() else []
    with bench.client() as fs:
        lost = [name for name in names if not fs.exists(place.at(name))]
    log.unlink(missing_ok=True)
    return [f"{name} was acknowledged and is lost" for name in lost]
