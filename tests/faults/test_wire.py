"""Each verb, each fault, each of its requests: success, or a specific error and nothing broken.

Every verb survives one transient fault, except two kinds that are errors: a refused credential,
and a response with other bytes than the server's. After an error, the files are in the old or the
new state, and a retry completes the operation.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from synapsefs.errors import AccessDeniedError, SynapseError
from tests.faults.bench import Bench, Outcome
from tests.faults.operations import MIB, Operation, noise, operations
from tests.faults.report import COUNTS
from tests.support.faults import (
    TRANSIENT,
    Exchange,
    Fault,
    Message,
    Plan,
    answering,
    at,
    cut_off,
    half_open,
    late,
    lost_answer,
    reset_before,
    since,
)
from tests.support.sizing import offset, sized

AT_A_TIME, HEAVY_AT_A_TIME = 16, 8
ALL = [(root, name) for root in ("collections", "datasets") for name in operations(root)]
OTHER_BYTES = {"answer shortened", "answer corrupted"}
REFUSALS = {"token or URL refused", "URL expired"}
LASTING: dict[str, Fault] = {
    "resets from here on": reset_before,
    "answers lost from here on": lost_answer,
    "502 from here on": answering(502, after=True),
}
STATUSES = ("500", "502", "503", "504")
QUICK_FAULTS = [
    "reset during the request",
    "reset before the answer",
    "answer cut off",
    "answer corrupted",
    "503 although done",
    "delivered twice",
    "URL expired",
]
QUICK = [
    ("collections", "cat whole"),
    ("collections", "write parts"),
    ("collections", "transaction of units"),
    ("datasets", "open and read"),
    ("datasets", "overwrite text"),
    ("datasets", "pipe"),
]


WHOLE_MATRIX = 9000
"""Minimum number of cases of the whole matrix, with each status at each request."""
STRIDE = sized(7, 1)
"""In a sample a fault meets every seventh request of a verb, each fault with another offset."""


def rehearse(bench: Bench, root: str, operation: Operation) -> Outcome:
    """Run an operation without a fault, then again, as the service has its content by then."""
    container = bench.container(root, operation)
    bench.run(operation, container, None)
    clean = bench.run(operation, container, None)
    assert clean.error is None
    assert clean.wrong == []
    return clean


def study(
    bench: Bench,
    root: str,
    operation: Operation,
    faults: dict[str, Fault],
    *,
    lasting: bool = False,
    in_turns: bool = False,
    sampled: bool = False,
) -> list[tuple[str, str, Outcome]]:
    """Run an operation once for each fault at each of its requests: fault, request, outcome.

    With ``in_turns`` a request gets just one of the statuses of a failing server. With
    ``sampled`` and without the full scale, a fault is injected into every seventh request only.
    """
    clean = rehearse(bench, root, operation)
    containers = {name: bench.container(root, operation) for name in faults}
    numbers = range(len(clean.requests))
    cases = [
        (name, number)
        for name in faults
        for number in numbers
        if not in_turns or _has_turn(name, number)
        if not sampled or _in_sample(name, number, first=lasting)
    ]

    def run(case: tuple[str, int]) -> tuple[str, str, Outcome]:
        name, number = case
        plan: Plan = (since if lasting else at)(number, faults[name])
        outcome = bench.run(operation, containers[name], plan)
        COUNTS["verb by fault by request"] += 1
        return name, clean.requests[number], outcome

    with ThreadPoolExecutor(HEAVY_AT_A_TIME if operation.heavy else AT_A_TIME) as threads:
        return list(threads.map(run, cases))


def _has_turn(fault: str, position: int) -> bool:
    """Let the four statuses of a failing server take turns: clients treat them alike."""
    status, _, done = fault.partition(" ")
    return status not in STATUSES or (position + len(done)) % 4 == STATUSES.index(status)


def _in_sample(fault: str, position: int, *, first: bool) -> bool:
    """Say whether a fault meets a request in a sample; with ``first`` the first one always."""
    return (position + offset(fault, STRIDE)) % STRIDE == 0 or (first and position == 0)


def complaints(studied: Iterable[tuple[str, str, Outcome]], *, lasting: bool = False) -> list[str]:
    """Give the problems of all cases."""
    found = []
    for fault, request, outcome in studied:
        wrong = list(outcome.wrong)
        if outcome.error is not None and not lasting and not _expected(fault, outcome.error):
            wrong.append(f"not survived: {outcome.error!r}")
        found += [f"{fault} at {request}: {words}" for words in wrong]
    return found


def _expected(fault: str, error: BaseException) -> bool:
    if fault in REFUSALS:
        return isinstance(error, AccessDeniedError)
    return fault in OTHER_BYTES and isinstance(error, SynapseError)


def _told_apart(verb: str, fault: str, request: str) -> bool:
    """Say whether the services can reveal a fault: they have checksums of files, not of ranges."""
    return not (verb == "cat range" and fault == "answer corrupted" and "/_blob" in request)


def judged(
    bench: Bench, root: str, verb: str, faults: dict[str, Fault], *, sampled: bool = False
) -> list[str]:
    studied = study(bench, root, operations(root)[verb], faults, in_turns=sampled, sampled=sampled)
    seen = [case for case in studied if _told_apart(verb, *case[:2])]
    assert sum(case[2].struck for case in studied) > 0.8 * len(studied)
    return complaints(seen)


@pytest.mark.parametrize(("root", "verb"), QUICK)
def test_a_fault_at_any_request(bench: Bench, root: str, verb: str) -> None:
    assert judged(bench, root, verb, {name: TRANSIENT[name] for name in QUICK_FAULTS}) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("root", "verb"), ALL)
def test_every_fault_at_every_request(bench: Bench, root: str, verb: str) -> None:
    assert judged(bench, root, verb, TRANSIENT, sampled=True) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("root", "verb"), ALL)
def test_a_fault_that_does_not_end(bench: Bench, root: str, verb: str) -> None:
    """An operation reported as done is done: only cleanup afterwards may fail silently."""
    studied = study(bench, root, operations(root)[verb], LASTING, lasting=True, sampled=True)
    assert complaints(studied, lasting=True) == []
    failing = {fault for fault, _, outcome in studied if outcome.error}
    assert failing == LASTING.keys() or verb == "exists"


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_a_server_that_never_answers_is_given_up(bench: Bench, root: str) -> None:
    operation = operations(root)["pipe"]
    container = bench.container(root, operation)
    with bench.through(lambda _: half_open, read_timeout=0.3, retries=2) as (_, fs):
        began = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            fs.ls(container)
        assert 0.9 <= time.monotonic() - began < 6
    assert caught.value.errno
    assert caught.value.filename == container


@pytest.mark.parametrize("root", ["collections", "datasets"])
@pytest.mark.parametrize("fault", ["reset before the answer", "503 although done", "502"])
def test_a_container_is_made_once(bench: Bench, root: str, fault: str) -> None:
    for number in range(4):
        name = f"{root}/m-{uuid.uuid4().hex[:10]}"
        with bench.through(at(number, TRANSIENT[fault])) as (_, fs):
            fs.mkdir(name)
        with bench.client() as fs:
            assert found_by_listing(fs, root, name) == [name]
        COUNTS["verb by fault by request"] += 1


def found_by_listing(fs: Any, root: str, name: str) -> list[str]:
    """List a root until this name appears: where it is found by search, that is eventual."""
    deadline = time.monotonic() + 20
    while True:
        found = [path for path in fs.ls(root, detail=False, refresh=True) if path.startswith(name)]
        if found or time.monotonic() > deadline:
            return found


def test_a_folder_is_made_once(bench: Bench) -> None:
    container = bench.container("datasets", operations("datasets")["pipe"])
    for fault in TRANSIENT.keys() - OTHER_BYTES - REFUSALS:
        with bench.through(lambda e, f=fault: _if_post(e, TRANSIENT[f])) as (_, fs):
            fs.makedirs(f"{container}/{uuid.uuid4().hex[:8]}/inner")
    with bench.client() as fs:
        made = fs.find(container, withdirs=True)
    assert [path for path in made if "@" in path] == []
    assert len(made) == 1 + 2 * len(TRANSIENT.keys() - OTHER_BYTES - REFUSALS)


def _if_post(exchange: Exchange, fault: Fault) -> Fault | None:
    """Fail every second creation: the first, and not its retry."""
    first = exchange.method == "POST" and "data-entries" in exchange.target
    return fault if first and exchange.position % 3 == 0 else None


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_a_url_that_expires_in_the_middle_is_renewed(bench: Bench, root: str) -> None:
    """The rest is requested by a new URL; bytes already received are not requested again."""
    data = noise(3 * MIB)
    container = bench.container(root, operations(root)["pipe"])
    path = f"{container}/data_1/a.bin" if root == "collections" else f"{container}/a.bin"
    with bench.client() as fs:
        fs.pipe_file(path, data)
    spans: list[str] = []

    def plan(exchange: Exchange) -> Fault | None:
        if not exchange.is_object:
            return None
        spans.append(exchange.request.header("Range") or "")
        return {1: cut_off, 2: answering(403)}.get(len(spans))

    with bench.through(plan) as (_, fs):
        assert fs.cat_file(path) == data
    assert spans[0] == ""
    assert spans[1] == spans[2]
    assert int(spans[1].removeprefix("bytes=").partition("-")[0]) >= MIB


def test_a_token_that_expires_in_the_middle_of_an_upload_is_renewed(bench: Bench) -> None:
    operation = operations("datasets")["write parts"]
    container = bench.container("datasets", operation)

    def plan(exchange: Exchange) -> Fault | None:
        return answering(401) if exchange.target.endswith("/complete") and once(exchange) else None

    done: list[int] = []

    def once(exchange: Exchange) -> bool:
        done.append(exchange.position)
        return len(done) == 1

    outcome = bench.run(operation, container, plan)
    assert outcome.struck
    assert outcome.error is None
    assert outcome.wrong == []
    assert len([line for line in outcome.requests if line.endswith("/auth/login")]) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_the_time_that_a_service_asks_for_is_given(bench: Bench, status: int) -> None:
    container = bench.container("collections", operations("collections")["pipe"])
    fault = answering(status, **{"Retry-After": "1"})
    with bench.through(at(1, fault)) as (proxy, fs):
        began = time.monotonic()
        fs.pipe_file(f"{container}/data_1/a.bin", b"bytes")
        assert time.monotonic() - began >= 1
    assert len(proxy.seen) == 5


async def other_answer(exchange: Exchange) -> None:
    """Respond with another object's content, well formed."""
    body = b"z" * len((await exchange.forward()).body)
    length = str(len(body))
    await exchange.send(Message("HTTP/1.1 200 OK", [("Content-Length", length)], body).whole())


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_other_bytes_of_the_right_length_are_noticed(bench: Bench, root: str) -> None:
    operation = operations(root)["get"]
    container = bench.container(root, operation)
    outcome = bench.run(operation, container, lambda e: other_answer if e.is_object else None)
    assert isinstance(outcome.error, SynapseError)
    assert "md5" in str(outcome.error)
    assert outcome.wrong == []


def test_patience_with_a_slow_server(bench: Bench) -> None:
    """There is no total timeout while data moves."""
    operation = operations("collections")["put units"]
    container = bench.container("collections", operation)
    outcome = bench.run(operation, container, lambda _: late)
    assert (outcome.error, outcome.wrong) == (None, [])


@pytest.mark.slow
def test_the_matrix_is_complete(bench: Bench) -> None:
    """The number of cases must not shrink unnoticed."""
    with ThreadPoolExecutor(HEAVY_AT_A_TIME) as threads:
        clean = threads.map(lambda one: rehearse(bench, one[0], operations(one[0])[one[1]]), ALL)
        requests = sum(len(outcome.requests) for outcome in clean)
    assert requests * (len(TRANSIENT) + len(LASTING)) >= WHOLE_MATRIX
