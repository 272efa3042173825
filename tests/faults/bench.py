"""One operation, one fault: run on a real server through the proxy, then checked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapsefs import SynapseFileSystem, sync
from tests.faults.operations import (
    COLLECTION_PART,
    Operation,
    Place,
    State,
    local_files,
)
from tests.support.apart import apart
from tests.support.faults import Plan, Proxies, Proxy

READ_TIMEOUT = 1.5
RETRIES = 4
LONGEST = 30.0
"""Time limit of an operation in seconds on a busy machine, with its timeouts and backoff."""


@dataclass
class Outcome:
    """The outcome of a case.

    Attributes
    ----------
    requests
        The requests that the proxy received.
    struck
        Whether the fault met a request at all.
    error
        The error that the operation raised.
    wrong
        The problems found; empty if there are none.
    """

    requests: list[str] = field(default_factory=list)
    struck: bool = False
    error: BaseException | None = None
    wrong: list[str] = field(default_factory=list)


class Bench:
    """A server, proxies for it, and containers to work in."""

    def __init__(
        self, proxies: Proxies, url: Callable[[], str], credentials: dict[str, str], tmp: Path
    ) -> None:
        self._proxies = proxies
        self.url = url
        self._credentials = credentials
        self._tmp = tmp
        self.read_timeout = READ_TIMEOUT

    def options(self, url: str | None = None, **options: Any) -> dict[str, Any]:
        """Give the options of an instance; without a URL it connects to the server directly."""
        common = {"block_size": COLLECTION_PART, "retries": RETRIES}
        return {"endpoint_url": url or self.url(), **self._credentials, **common, **options}

    @contextmanager
    def client(self, url: str | None = None, **options: Any) -> Iterator[SynapseFileSystem]:
        """Create an instance with a cold cache; by default it connects to the server directly."""
        given = self.options(url, **options)
        given = given if url else apart(given)
        fs = SynapseFileSystem(**given, skip_instance_cache=True)
        try:
            yield fs
        finally:
            sync.run(fs.loop, fs.transport.aclose())

    @contextmanager
    def through(
        self, plan: Plan | None, **options: Any
    ) -> Iterator[tuple[Proxy, SynapseFileSystem]]:
        """Create an instance behind a proxy that follows a plan."""
        given = {"read_timeout": self.read_timeout, **options}
        with self._proxies.proxy() as proxy, self.client(proxy.url, **given) as fs:
            proxy.arm(plan)
            yield proxy, fs

    def container(self, root: str, operation: Operation) -> str:
        """Create a fresh collection or dataset."""
        path = f"{root}/t-{uuid.uuid4().hex[:12]}"
        with self.client() as fs:
            fs.mkdir(path, **operation.options)
        return path

    def place(self, container: str, operation: Operation) -> Place:
        """Create a fresh directory with the initial files of the operation."""
        name = uuid.uuid4().hex[:8]
        local = self._tmp / name
        local.mkdir()
        place = Place(container, name, local)
        if operation.before:
            with self.client() as fs:
                fs.pipe({place.at(file): data for file, data in operation.before.items()})
        return place

    def run(self, operation: Operation, container: str, plan: Plan | None) -> Outcome:
        """Run an operation under a plan of faults and check the result."""
        outcome = Outcome()
        place = self.place(container, operation)
        value: Any = None
        patience = self.read_timeout * (3 if operation.heavy else 1)
        given = {"read_timeout": patience, **operation.client}
        with self.through(plan, **given) as (proxy, fs):
            began = time.monotonic()
            try:
                value = operation.act(fs, place)
            except Exception as error:
                outcome.error = error
            took = time.monotonic() - began
            outcome.requests, outcome.struck = proxy.seen, bool(proxy.struck)
        if took > LONGEST:
            outcome.wrong.append(f"took {took:.1f} s")
        self._judge(operation, place, value, outcome)
        self._repeat(operation, place, outcome)
        return outcome

    def aftermath(self, operation: Operation, place: Place, error: OSError) -> list[str]:
        """Give the problems after an operation's process ended, and after its retry."""
        outcome = Outcome(error=error)
        self._judge(operation, place, None, outcome)
        self._repeat(operation, place, outcome)
        return outcome.wrong

    def _judge(self, operation: Operation, place: Place, value: Any, outcome: Outcome) -> None:
        now, after = self.state(place, outcome), _after(operation)
        if outcome.error is None:
            if operation.value is not None and value != operation.value:
                outcome.wrong.append(f"gave {_short(value)}")
            if now != after:
                outcome.wrong.append(f"done, but there is {_short(now)}")
            return
        error = outcome.error
        if not isinstance(error, OSError) or not error.errno or not str(error):
            outcome.wrong.append(f"no clear OSError: {error!r}")
        if operation.value is not None and isinstance(operation.value, dict):
            left = local_files(place)
            outcome.wrong += [
                f"left {name} on disk" for name in left if left[name] != operation.value.get(name)
            ]
        outcome.wrong += _not_allowed(operation, now)

    def _repeat(self, operation: Operation, place: Place, outcome: Outcome) -> None:
        """Retry without faults; afterwards the result must be complete, and nothing else."""
        if operation.after is None or outcome.error is None:
            return
        with self.client() as fs, suppress(FileNotFoundError, FileExistsError):
            operation.act(fs, place)
        now = self.state(place, outcome)
        if now != _after(operation):
            outcome.wrong.append(f"done again, but there is {_short(now)}")

    def state(self, place: Place, outcome: Outcome) -> State:
        """Read the current state with a cold cache."""
        with self.client() as fs:
            found = fs.find(place.container, withdirs=True, detail=True, measure=False)
            mine = [path for path in found if f"/{place.folder}" in path]
            outcome.wrong += [f"there is a double: {path}" for path in mine if "@" in path]
            inside = [
                path
                for path in mine
                if found[path]["type"] == "file" and f"/{place.folder}/" in path
            ]
            return {place.name_of(path): fs.cat_file(path) for path in inside}


def _after(operation: Operation) -> State:
    return operation.before if operation.after is None else operation.after


def _not_allowed(operation: Operation, now: State) -> list[str]:
    """Give the files that must not exist, or are missing, after an operation failed."""
    before, after = operation.before, _after(operation)
    if now in (before, after):
        return []
    if operation.together:
        return [f"neither before nor after: {_short(now)}"]
    wrong = [
        f"{name} is {_short(now.get(name))}"
        for name in {*before, *after, *now}
        if now.get(name) not in (before.get(name), after.get(name))
    ]
    if operation.keeps and not {*before.values()} <= {*now.values()}:
        wrong.append("content is lost")
    return wrong


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    return repr(value)[:200]
