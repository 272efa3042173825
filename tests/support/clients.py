"""Client processes that start in an instant, to be interrupted and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.running import environment

NURSERY = """
import json, logging, os, signal, sys, threading
import fsspec.callbacks
import synapsefs.services.collections.service, synapsefs.services.datasets.service
from synapsefs import SynapseFileSystem

class Meter(fsspec.callbacks.Callback):
    def __init__(self, fatal, at):
        super().__init__()
        self.fatal, self.at, self.most = fatal, at, 0

    def relative_update(self, inc=1):
        super().relative_update(inc)
        self.most = max(self.most, self.value)
        if self.fatal and self.value >= self.at:
            os.write(1, b"fatal %d\\n" % self.value)
            if self.fatal == signal.SIGSTOP:  # to this thread, or it goes on till another stops
                signal.pthread_kill(threading.get_ident(), self.fatal)
            else:
                os.kill(os.getpid(), self.fatal)
            self.fatal = 0

class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

def work(job):
    logging.getLogger("synapsefs").setLevel(logging.INFO)
    logging.getLogger("synapsefs").addHandler(Lines())
    os.environ.update(job["environ"])
    fs = SynapseFileSystem(**job["options"])
    meter = Meter(job["fatal"], job["at"])
    call = getattr(fs, job["verb"])
    error = None
    try:
        call(*job["arguments"], callback=meter, **job["keywords"])
    except BaseException as caught:
        error = type(caught).__name__ + ": " + str(caught)
    answer = {"error": error, "log": lines, "progress": meter.value, "stats": fs.stats()}
    if job["afterwards"]:
        answer["afterwards"] = getattr(fs, job["afterwards"][0])(*job["afterwards"][1:])
    os.write(1, json.dumps(answer).encode() + b"\\n")

lines = []
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work(json.loads(line))
        os._exit(0)
    os.write(1, b"started %d\\n" % child)
    os.write(1, b"ended %d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Imports the client once and forks for each job, which takes a fraction of the time."""


@dataclass
class Outcome:
    """A client process's exit status and output."""

    status: int
    error: str | None = None
    log: list[str] = field(default_factory=list)
    progress: int = 0
    stats: dict[str, int] = field(default_factory=dict)
    afterwards: Any = None
    fatal_at: int = 0

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    def says(self, words: str) -> bool:
        return any(words in line for line in self.log)


class Clients:
    """Starts clients one at a time.

    Attributes
    ----------
    pid
        Process id of the running client.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = 0

    def start(
        self,
        options: dict[str, Any],
        verb: str,
        *arguments: str,
        fatal: int = 0,
        at: int = 0,
        environ: dict[str, str] | None = None,
        afterwards: tuple[Any, ...] = (),
        **keywords: Any,
    ) -> None:
        """Start a client that calls one verb.

        Parameters
        ----------
        fatal, at
            A signal that it sends itself, and after how many bytes of progress.
        afterwards
            A verb and its arguments to call after the first, whether that succeeded or failed.
        """
        given = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"], **(environ or {})}
        job = {"options": options, "verb": verb, "arguments": arguments, "keywords": keywords}
        job |= {"fatal": fatal, "at": at, "environ": given, "afterwards": afterwards}
        assert self._process.stdin is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        word, _, number = self._line().partition(" ")
        assert word == "started"
        self.pid = int(number)

    def wait(self) -> Outcome:
        """Wait until it has exited."""
        outcome = Outcome(0)
        while True:
            line = self._line()
            word, _, number = line.partition(" ")
            if word == "ended":
                outcome.status, self.pid = int(number), 0
                return outcome
            if word == "fatal":
                outcome.fatal_at = int(number)
            else:
                outcome = Outcome(0, fatal_at=outcome.fatal_at, **json.loads(line))

    def run(self, *arguments: Any, **keywords: Any) -> Outcome:
        """Start a client and wait until it exits."""
        self.start(*arguments, **keywords)
        return self.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return line.strip()


@contextlib.contextmanager
def clients() -> Iterator[Clients]:
    """Run a nursery of clients."""
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield Clients(process)
        finally:
            process.kill()
