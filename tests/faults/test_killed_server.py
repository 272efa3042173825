"""``kill -9`` of the server at every request, then restart: clients continue, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.faults.conftest import CREDENTIALS
from tests.faults.operations import operations
from tests.faults.report import COUNTS
from tests.support.faults import Exchange, Fault, Plan, proxies
from tests.support.killable import Nursery, nursery
from tests.support.sizing import offset, sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
VERBS = ("write parts", "replace parts", "put tree", "transaction", "transaction of units", "mv")
CASES = [
    (root, verb)
    for root in ("collections", "datasets")
    for verb in VERBS
    if verb in operations(root)
]
STRIDE = sized(4, 1)
"""In a sample the server is killed at every fourth request, with another offset in each case."""
MOMENTS = {"while it acts": 0.004, "before it answers": 5.0}
"""Seconds that the server has from the arrival of the request; 5 are enough for any of them."""


class Mortal:
    """A server over one directory that is killed and restarts at once, at another port."""

    def __init__(self, servers: Nursery, root: Path) -> None:
        self._servers = servers
        self._root = root
        self.pid, self.url = servers.start(root)

    def die_and_return(self) -> None:
        self._servers.kill(self.pid)
        self.pid, self.url = self._servers.start(self._root)


@pytest.fixture(scope="module")
def servers() -> Iterator[Nursery]:
    with nursery() as found:
        yield found


@pytest.fixture
def server(servers: Nursery, tmp_path: Path) -> Iterator[Mortal]:
    mortal = Mortal(servers, tmp_path / "root")
    yield mortal
    servers.kill(mortal.pid)


def crash(server: Mortal, number: int, patience: float) -> Plan:
    """Kill the server after it has worked on a request for ``patience`` seconds."""

    async def strike(exchange: Exchange) -> None:
        await exchange.receive()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(exchange.forward(), patience)
        await asyncio.get_running_loop().run_in_executor(None, server.die_and_return)
        exchange.reset()

    def plan(exchange: Exchange) -> Fault | None:
        return strike if exchange.position == number else None

    return plan


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("root", "verb"), CASES)
def test_crashed_at_every_request(
    server: Mortal, tmp_path: Path, root: str, verb: str, moment: str
) -> None:
    operation = operations(root)[verb]
    wrong: list[str] = []
    number, struck = offset(f"{root} {verb} {moment}", STRIDE), True
    with proxies(lambda: server.url) as made:
        bench = Bench(made, lambda: server.url, CREDENTIALS, tmp_path)
        bench.read_timeout = 10.0
        container = bench.container(root, operation)
        while struck:
            plan = crash(server, number, MOMENTS[moment])
            outcome = bench.run(operation, container, plan)
            struck = outcome.struck
            request = outcome.requests[number] if struck else "the end"
            if outcome.error is not None:
                outcome.wrong.append(f"not survived: {outcome.error!r}")
            wrong += [f"crashed at {request}: {words}" for words in outcome.wrong]
            COUNTS["server killed at a request"] += 1
            number += STRIDE
    assert wrong == []
    assert number > 3
