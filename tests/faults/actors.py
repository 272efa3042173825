"""Long-lived client processes that run verbs sent over a pipe.

Requests are pickled to their standard input, responses to their standard output.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.support.running import environment

AT_A_TIME = 12


@dataclass(frozen=True)
class Call:
    """A verb and its arguments."""

    verb: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The outcome of a call, and its times on the clock that all processes of the machine share."""

    value: Any = None
    error: str = ""
    message: str = ""
    is_clear: bool = True
    began: float = 0.0
    ended: float = 0.0


def call(name: str, *arguments: Any, **keywords: Any) -> Call:
    return Call(name, arguments, keywords)


def work() -> None:
    """Handle requests until the input ends."""
    from synapsefs import SynapseFileSystem  # noqa: PLC0415 - the parent does not need it

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    instances: dict[str, SynapseFileSystem] = {}

    def do(job: tuple[str, Sequence[Call]]) -> Answer:
        """Run the calls of a job in order, up to the first that fails."""
        instance, calls = job
        began, value = time.monotonic(), None
        try:
            for one in calls:
                value = getattr(instances[instance], one.verb)(*one.arguments, **one.keywords)
        except Exception as error:
            name, message = type(error).__name__, str(error)
            clear = isinstance(error, OSError) and bool(error.errno)
            return Answer(None, name, message, clear, began, time.monotonic())
        return Answer(value, began=began, ended=time.monotonic())

    while True:
        options, jobs, at_a_time = pickle.load(requests)
        for name, given in options.items():
            instances[name] = SynapseFileSystem(**given, skip_instance_cache=True)
        with ThreadPoolExecutor(at_a_time) as pool:
            pickle.dump(list(pool.map(do, jobs)), answers)
        answers.flush()


class Actor:
    """A process with instances of its own, by name."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(
        self, jobs: Sequence[tuple[str, Sequence[Call]]], **instances: dict[str, Any]
    ) -> list[Answer]:
        """Run jobs concurrently and wait for all.

        Parameters
        ----------
        jobs
            The name of an instance, and the calls that it makes one after another.
        instances
            Options of instances to create first, by name.
        """
        self.send(jobs, **instances)
        return self.receive()

    def send(
        self,
        jobs: Sequence[tuple[str, Sequence[Call]]],
        *,
        at_a_time: int = AT_A_TIME,
        **instances: dict[str, Any],
    ) -> None:
        """Start jobs, at most so many at a time."""
        assert self._process.stdin is not None
        pickle.dump((instances, list(jobs), at_a_time), self._process.stdin)
        self._process.stdin.flush()

    def receive(self) -> list[Answer]:
        """Wait for the jobs that were started."""
        assert self._process.stdout is not None
        found: list[Answer] = pickle.load(self._process.stdout)
        return found


@contextlib.contextmanager
def actors(number: int) -> Iterator[list[Actor]]:
    """Run several processes."""
    command = [sys.executable, "-c", "from tests.faults.actors import work; work()"]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment()}
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(number):
            process = stack.enter_context(subprocess.Popen(command, **piped))
            stack.callback(process.kill)
            processes.append(process)
        yield [Actor(process) for process in processes]
