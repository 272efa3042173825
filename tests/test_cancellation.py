"""Ctrl-C and cancellation stop the traffic, leave nothing behind, and spare the filesystem."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem, sync
from synapsefs.location import Location
from synapsefs.services.datasets.upload import ABORT_SECONDS
from tests.support.clients import Clients, Outcome, clients
from tests.support.observed import ObservedServer, Seen, observed_server

slow = pytest.mark.slow
MIB = 2**20
PART = 5 * MIB
STOPPED_WITHIN = 1.0
"""Seconds from the interruption to its exception."""
SLACK = 2.0
"""What another process may take longer on a busy machine."""


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C work also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Clients]:
    with clients() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("root")) as found:
        yield found


class Gate:
    """Holds requests of one kind up until the test is over."""

    def __init__(self, method: str, part: str) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._method, self._part = method, part

    async def __call__(self, seen: Seen) -> None:
        if seen.method == self._method and self._part in seen.path:
            self.reached.set()
            await asyncio.to_thread(self.opened.wait, 30)


@pytest.fixture
def closed(server: ObservedServer) -> Iterator[Callable[[str, str], Gate]]:
    """Close a gate for the requests of one method to one route."""
    gates: list[Gate] = []

    def close(method: str, part: str) -> Gate:
        gates.append(Gate(method, part))
        server.hook = gates[-1]
        return gates[-1]

    yield close
    server.hook = None
    for gate in gates:
        gate.opened.set()


@pytest.fixture(params=["collections", "datasets"])
def base(request: pytest.FixtureRequest, server: ObservedServer) -> str:
    container = f"{request.param}/t-{uuid.uuid4().hex[:12]}"
    SynapseFileSystem(**server.options, skip_instance_cache=True).mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container


@pytest.fixture
def options(server: ObservedServer) -> dict[str, Any]:
    return {**server.options, "block_size": PART}


def content(size: int) -> bytes:
    return os.urandom(size)


def pending(options: dict[str, Any], base: str) -> list[str]:
    """Ask the datasets service itself for entries that nobody sees."""
    if base.startswith("collections"):
        return []
    fs = SynapseFileSystem(**options, skip_instance_cache=True)
    identifier = fs.info(base)["id"]

    async def ask() -> list[str]:
        service: Any = await fs._service(Location.parse(base))
        answer = await service.api.dataset(identifier, "test")
        return [e.name for e in answer.data_storage_entries if e.status == "pending"]

    return sync.run(fs.loop, ask())


def part_route() -> tuple[str, str]:
    """Name the requests that carry parts, whichever way they take."""
    return ("PUT", "")


def interrupted(nursery: Clients, gate: Gate, *job: Any, **how: Any) -> tuple[Outcome, float]:
    """Run a client, interrupt it when the gate is reached; give its end and how long that took."""
    nursery.start(*job, **how)
    try:
        assert gate.reached.wait(30)
    finally:
        began = time.monotonic()
        os.kill(nursery.pid, signal.SIGINT)
        outcome = nursery.wait()
    return outcome, time.monotonic() - began


def job(base: str, tmp_path: Path, verb: str) -> tuple[str, ...]:
    """Make what a verb needs; give its arguments."""
    local, path = tmp_path / "local.bin", f"{base}/folder/large.bin"
    if verb == "put_file":
        local.write_bytes(content(3 * PART))
        return (verb, str(local), path)
    return {"get_file": (verb, path, str(local)), "cat_file": (verb, path)}[verb]


@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupted_put(
    server: ObservedServer,
    nursery: Clients,
    closed: Any,
    options: dict[str, Any],
    base: str,
    tmp_path: Path,
    resume: bool,
) -> None:
    """What can go on later stays with its journal; otherwise the service is left as it was."""
    arguments = job(base, tmp_path, "put_file")
    gate = closed(*part_route())
    state = tmp_path / "state"
    outcome, seconds = interrupted(
        nursery,
        gate,
        options,
        *arguments,
        resume=resume,
        environ={"XDG_STATE_HOME": str(state)},
        afterwards=("exists", base),
    )
    assert outcome.error is not None
    assert outcome.error.startswith("KeyboardInterrupt")
    assert outcome.afterwards is True
    assert seconds < STOPPED_WITHIN + SLACK
    noted = list(state.rglob("*.json"))
    assert len(noted) == (resume and base.startswith("datasets"))
    assert len(pending(options, base)) == len(noted)
    fresh = SynapseFileSystem(**options, skip_instance_cache=True)
    assert fresh.find(base) == []


@slow
@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupted_get(
    nursery: Clients, options: dict[str, Any], base: str, tmp_path: Path, resume: bool
) -> None:
    path, local = f"{base}/large.bin", tmp_path / "folder" / "local.bin"
    data = content(3 * PART)
    SynapseFileSystem(**options, skip_instance_cache=True).pipe_file(path, data)
    outcome = nursery.run(
        options,
        "get_file",
        path,
        str(local),
        fatal=signal.SIGINT,
        at=2 * PART,
        resume=resume,
        environ={"XDG_STATE_HOME": str(tmp_path / "state")},
        afterwards=("size", path),
    )
    assert outcome.error is not None
    assert outcome.error.startswith("KeyboardInterrupt")
    assert outcome.afterwards == 3 * PART
    if local.exists():  # the rest had come before the signal was noticed
        assert local.read_bytes() == data
        return
    assert len(list(local.parent.iterdir())) == resume
    assert len(list((tmp_path / "state").rglob("*.json"))) == resume


READS = {
    "cat_file": ("GET", "/_blob"),
    "find": ("GET", "/data"),
    "info": ("GET", "/data"),
    "rm": ("DELETE", "/"),
}


@slow
@pytest.mark.parametrize("verb", READS)
def test_any_verb_can_be_interrupted(
    nursery: Clients, closed: Any, options: dict[str, Any], base: str, verb: str
) -> None:
    path = f"{base}/a.bin"
    SynapseFileSystem(**options, skip_instance_cache=True).pipe_file(path, b"kept")
    outcome, seconds = interrupted(nursery, closed(*READS[verb]), options, verb, path)
    assert outcome.error is not None
    assert outcome.error.startswith("KeyboardInterrupt")
    assert seconds < STOPPED_WITHIN + SLACK


@contextlib.contextmanager
def interrupt_at(gate: Gate) -> Iterator[list[float]]:
    """Send Ctrl-C to this very process when the gate is reached; note when."""
    sent: list[float] = []

    def send() -> None:
        assert gate.reached.wait(30)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        thread.join()


def test_an_interrupted_writer(
    server: ObservedServer, closed: Any, options: dict[str, Any], base: str
) -> None:
    fs = SynapseFileSystem(**options, skip_instance_cache=True)
    gate = closed(*part_route())
    with (
        interrupt_at(gate) as sent,
        pytest.raises(KeyboardInterrupt),
        fs.open(f"{base}/a.bin", "wb") as file,
    ):
        file.write(content(3 * PART))
        file.close()
    assert time.monotonic() - sent[0] < STOPPED_WITHIN
    with server.watching() as seen:
        gate.opened.set()
        assert fs.find(base) == []
        assert pending(options, base) == []
    assert not any(request.method == "PUT" for request in seen)
    server.hook = None
    fs.pipe_file(f"{base}/a.bin", b"still usable")
    assert fs.cat_file(f"{base}/a.bin") == b"still usable"


@contextlib.contextmanager
def asleep() -> Iterator[None]:
    """Let interrupts reach other threads only, so that they do not wake this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@pytest.mark.parametrize("verb", ["pipe_file", "open"])
def test_an_interrupt_that_does_not_wake_the_waiting_thread(
    closed: Any, options: dict[str, Any], base: str, verb: str
) -> None:
    """Python runs the handler when this thread wakes, so it must not sleep for long."""
    fs = SynapseFileSystem(**options, skip_instance_cache=True)
    gate = closed(*part_route())
    with interrupt_at(gate) as sent, asleep(), pytest.raises(KeyboardInterrupt):
        if verb == "pipe_file":
            fs.pipe_file(f"{base}/a.bin", content(3 * PART))
        else:
            with fs.open(f"{base}/a.bin", "wb") as file:
                file.write(content(4 * PART))  # waits for the first part before it returns
    assert time.monotonic() - sent[0] < STOPPED_WITHIN + SLACK
    gate.opened.set()
    assert fs.find(base) == []


def test_an_interrupted_transaction(closed: Any, options: dict[str, Any], base: str) -> None:
    fs = SynapseFileSystem(**options, skip_instance_cache=True)
    gate = closed("POST" if base.startswith("collections") else "PATCH", "/data")
    if base.startswith("collections"):
        gate._part = "/data_units/"
    with interrupt_at(gate), pytest.raises(KeyboardInterrupt), fs.transaction:
        fs.pipe_file(f"{base}/a.bin", content(MIB))
        fs.pipe_file(f"{base}/b.bin", content(MIB))
    assert pending(options, base) == []


async def cancelled(work: asyncio.Task[Any], gate: Gate) -> float:
    """Cancel a task when the gate is reached; give the seconds until it has ended."""
    assert await asyncio.to_thread(gate.reached.wait, 30)
    began = time.monotonic()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    return time.monotonic() - began


VERBS = ["put_file", "pipe", *(pytest.param(v, marks=slow) for v in ("get_file", "cat_file"))]


@pytest.mark.parametrize("verb", [*VERBS, pytest.param("open_async", marks=slow)])
async def test_a_cancelled_task(
    server: ObservedServer,
    closed: Any,
    options: dict[str, Any],
    base: str,
    tmp_path: Path,
    verb: str,
) -> None:
    path, local, data = f"{base}/a.bin", tmp_path / "folder" / "local.bin", content(3 * PART)
    local.parent.mkdir()
    writes = verb in {"put_file", "pipe", "open_async"}
    async with SynapseFileSystem(
        **options, resume=False, asynchronous=True, skip_instance_cache=True
    ) as fs:
        if not writes:
            await fs._pipe_file(path, data)
        elif verb == "put_file":
            local.write_bytes(data)

        async def write() -> None:
            async with await fs.open_async(path, "wb") as file:
                await file.write(data)

        work: dict[str, Callable[[], Any]] = {
            "put_file": lambda: fs._put_file(str(local), path),
            "pipe": lambda: fs._pipe({path: data, f"{base}/b.bin": b"small"}),
            "get_file": lambda: fs._get_file(path, str(local)),
            "cat_file": lambda: fs._cat_file(path),
            "open_async": write,
        }
        gate = closed(*(part_route() if writes else ("GET", "/_blob")))
        seconds = await cancelled(asyncio.create_task(work[verb]()), gate)
        assert seconds < STOPPED_WITHIN
        with server.watching() as seen:
            gate.opened.set()
            assert await fs._exists(base)
            assert await fs._find(base) == ([] if writes else [path])
        assert not any(request.method == "PUT" or request.is_object for request in seen)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert [task for task in others if "synapsefs" in repr(task)] == []
        server.hook = None
        await fs._pipe_file(f"{base}/c.bin", b"still usable")
        assert await fs._cat_file(f"{base}/c.bin") == b"still usable"
    assert [found.name for found in local.parent.iterdir()] == ["local.bin"] * (verb == "put_file")
    assert await asyncio.to_thread(pending, options, base) == []


@slow
async def test_a_service_that_is_gone_does_not_hold_a_cancelled_task_up(
    options: dict[str, Any], closed: Any, server: ObservedServer
) -> None:
    """Clearing away is bounded: the answer to it may never come."""
    container = f"datasets/t-{uuid.uuid4().hex[:12]}"
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as fs:
        await fs._mkdir(container)
        gate = closed("PUT", "/_blob")
        task = asyncio.create_task(fs._pipe_file(f"{container}/a.bin", content(2 * PART)))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        silent = closed("DELETE", "/")
        assert await cancelled(task, gate) < ABORT_SECONDS + STOPPED_WITHIN
        assert silent.reached.is_set()
