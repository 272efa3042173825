"""Run one candidate: ``python -m tests.benchmarks.measure``, told what by JSON on standard input.

It does the work once on little, which imports what is imported late and connects, and then once on
the full size. Processor time is this process's, threads included; memory is its peak beyond what
the interpreter had before anything was imported.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def peak_memory() -> int:
    """Bytes that this process has had in memory at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def processor_time() -> float:
    """Seconds of processor time of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def reset(control: str) -> dict[str, Any]:
    """Give what a server has counted, and let it count anew."""
    if not control:
        return {}
    with urllib.request.urlopen(f"{control}/_bench/reset", data=b"{}") as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def measure(told: dict[str, Any], own: int = 0) -> dict[str, Any]:
    """Do the work and give what it cost: seconds, bytes of memory beyond ``own``, requests."""
    from tests.benchmarks import candidates
    from tests.benchmarks.job import Job
    from tests.benchmarks.sampler import Sampler

    kinds = vars(candidates)
    if told["candidate"] == "Prototype":  # which imports aiohttp
        from tests.benchmarks import prototypes

        kinds = vars(prototypes)
    jobs = [Job(**each) for each in told["jobs"]]
    datasets = {job.container.split("/")[1]: job.dataset for job in jobs if job.dataset}
    work = getattr(kinds[told["candidate"]](jobs[-1].url, datasets), told["method"])
    for job in jobs[:-1]:
        work(job)
    gc.collect()
    reset(told["control"])
    sampler = Sampler() if told["profile"] else None
    if sampler is not None:
        sampler.start()
    used, began = processor_time(), time.perf_counter()
    work(jobs[-1])
    result = {
        "seconds": time.perf_counter() - began,
        "cpu": processor_time() - used,
        "memory": peak_memory() - own,
        "counts": reset(told["control"]),
    }
    if sampler is not None:
        sys.stderr.write(sampler.stop() + "\n")
    return result


def main() -> None:
    """Do what standard input says; write what it cost to standard output."""
    own = peak_memory()
    with os.fdopen(os.dup(1), "w") as out, contextlib.redirect_stdout(sys.stderr):
        json.dump(measure(json.load(sys.stdin), own), out)
        out.flush()
        sys.stderr.flush()
        os._exit(0)  # what libraries do at exit is not measured, and some take seconds


if __name__ == "__main__":
    main()
