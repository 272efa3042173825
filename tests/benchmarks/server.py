"""How fast the embedded server is: small files each way, and large ones in parts.

Run it as ``python -m tests.benchmarks.server``. A server runs in a process of its own over a
temporary directory; each figure is files or MB per second by the clock, and the server's own CPU
time.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

SIZE = 20 * 1024
AT_ONCE = 32
TOKEN, API_KEY = "syn_speed", "key_speed"
ENTRIES = "/v0.1/data-storage/data-entries"


@contextmanager
def server(root: Path):
    """Run a server."""
    command = [sys.executable, "-m", "synapsefs", "serve", "--root", str(root)]
    command += ["--token", TOKEN, "--api-key", API_KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Give the CPU time that a process has used, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


class Bench:
    """A client of one server that says how long things take."""

    def __init__(self, url: str, pid: int, session: aiohttp.ClientSession) -> None:
        self.url, self._pid, self._session = url, pid, session

    @asynccontextmanager
    async def timed(self, what: str, amount: float, unit: str):
        """Print the rate of what is done in the block."""
        began, before = time.perf_counter(), cpu_seconds(self._pid)
        yield
        shown = f"{amount / (time.perf_counter() - began):8,.0f} {unit}/s"
        used = zip(cpu_seconds(self._pid), before, strict=True)
        own, kernel = (1e6 * (now - then) / amount for now, then in used)
        cost = f"CPU per {unit}: own {own:6,.0f} µs, kernel {kernel:6,.0f} µs"
        sys.stdout.write(f"{what:42} {shown:>16}  {cost}\n")

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return its JSON or its bytes."""
        url = path if path.startswith("http") else self.url + path
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
            options["skip_auto_headers"] = ["Content-Type"]
        async with self._session.request(method, url, **options) as answer:
            body = await answer.read()
            assert answer.status < 300, (method, path, answer.status, body[:300])
            return await answer.json() if answer.content_type == "application/json" else body

    async def each(self, work: Callable[[int], Awaitable[Any]], count: int) -> list[Any]:
        """Do something `count` times, some at once."""
        numbers, results = iter(range(count)), [None] * count

        async def worker() -> None:
            for number in numbers:
                results[number] = await work(number)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return results


async def small_collections(bench: Bench, count: int) -> None:
    """Upload small files to the collections service in both ways, and read them."""
    contents = [os.urandom(SIZE) for _ in range(count)]

    async def direct(number: int) -> Any:
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(contents[number]), filename=f"{number}.bin")
        return await bench.call("POST", "/data_files/", data=form)

    async with bench.timed("collections: direct upload", count, "file"):
        files = await bench.each(direct, count)
    contents[:] = [os.urandom(SIZE) for _ in range(count)]
    async with bench.timed("collections: presigned upload, confirmed", count, "file"):
        wanted = [{"filename": f"{n}.bin", "size": SIZE} for n in range(count)]
        targets = []
        for first in range(0, count, 1000):
            body = {"files": wanted[first : first + 1000]}
            answer = await bench.call("POST", "/data_files/presigned_upload/upload/", json=body)
            targets += answer["files"]
        await bench.each(
            lambda n: bench.call("PUT", targets[n]["presigned_url"], data=contents[n]), count
        )
        done = [
            {
                "file_key": target["file_key"],
                "checksum": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
                "size": SIZE,
            }
            for target, content in zip(targets, contents, strict=True)
        ]
        for first in range(0, count, 1000):
            body = {"files": done[first : first + 1000]}
            path = "/data_files/presigned_upload/confirm_upload/"
            answer = await bench.call("POST", path, json=body)
            assert answer["failed_count"] == 0
    async with bench.timed("read by signed URL", count, "file"):
        await bench.each(lambda n: bench.call("GET", files[n]["file"]), count)


async def small_datasets(bench: Bench, count: int) -> None:
    """Store small files and texts as entries, and read the entries."""
    answer = await bench.call("POST", "/auth/login", json={"api_key": API_KEY})
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    contents = [os.urandom(SIZE) for _ in range(count)]

    async def binary(number: int) -> str:
        content = contents[number]
        body = {"name": f"{number}.bin", "file_path": f"{number}.bin"}
        made = await bench.call("POST", ENTRIES, json=body, headers=headers)
        path = f"{ENTRIES}/{made['data_storage']['id']}"
        await send_parts(bench, path, [content], headers)
        await bench.call("PATCH", path, json={"status": "active"}, headers=headers)
        return path

    async def text(number: int) -> None:
        body = {"name": f"{number}.txt", "content": contents[number].hex()[:SIZE]}
        await bench.call("POST", ENTRIES, json=body, headers=headers)

    async with bench.timed("datasets: binary file, five requests", count, "file"):
        paths = await bench.each(binary, count)
    async with bench.timed("datasets: inline text", count, "file"):
        await bench.each(text, count)
    async with bench.timed("datasets: look at an entry", count, "file"):
        await bench.each(lambda n: bench.call("GET", paths[n], headers=headers), count)


async def send_parts(bench: Bench, path: str, parts: list[bytes], headers: dict[str, str]) -> None:
    """Upload the parts of an entry and complete it."""
    hashes = [base64.b64encode(hashlib.md5(part).digest()).decode() for part in parts]
    begun = await bench.call(
        "POST", f"{path}/multipart-upload/initiate", json={"part_hashes": hashes}, headers=headers
    )
    for url, part in zip(begun["part_urls"], parts, strict=True):
        await bench.call("PUT", url, data=part)
    done = [
        {"part_number": n, "etag": "", "checksum": checksum} for n, checksum in enumerate(hashes, 1)
    ]
    body = {"upload_id": begun["upload_id"], "parts": done}
    await bench.call("POST", f"{path}/multipart-upload/complete", json=body, headers=headers)


async def large(bench: Bench, megabytes: int) -> None:
    """Upload one large file in parts to each service."""
    part = os.urandom(50 * 2**20)
    parts = [part[n:] + part[:n] for n in range(max(megabytes // 50, 2))]
    total = len(parts) * 50
    answer = await bench.call("POST", "/auth/login", json={"api_key": API_KEY})
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    body = {"name": "a.bin", "file_path": "a.bin"}
    made = await bench.call("POST", ENTRIES, json=body, headers=headers)
    path = f"{ENTRIES}/{made['data_storage']['id']}"
    hashes = [base64.b64encode(hashlib.md5(each).digest()).decode() for each in parts]
    begun = await bench.call(
        "POST", f"{path}/multipart-upload/initiate", json={"part_hashes": hashes}, headers=headers
    )
    async with bench.timed("datasets: parts of a large file", total, "MB"):
        for url, each in zip(begun["part_urls"], parts, strict=True):
            await bench.call("PUT", url, data=each)
    done = [{"part_number": n, "etag": "", "checksum": h} for n, h in enumerate(hashes, 1)]
    async with bench.timed("datasets: its completion", total, "MB"):
        complete = {"upload_id": begun["upload_id"], "parts": done}
        await bench.call(
            "POST", f"{path}/multipart-upload/complete", json=complete, headers=headers
        )
    whole = hashlib.md5()
    async with bench.timed("collections: chunks of a large file", total, "MB"):
        where, offset = "/chunked_upload/", 0
        for each in parts:
            form = aiohttp.FormData()
            form.add_field("filename", "a.bin")
            form.add_field("file", io.BytesIO(each[:-1] + b"x"), filename="file")
            last = offset + len(each) - 1
            span = {"Content-Range": f"bytes {offset}-{last}/{total * 2**20}"}
            state = await bench.call("PUT", where, data=form, headers=span)
            where, offset = state["url"], state["offset"]
            whole.update(each[:-1] + b"x")
    async with bench.timed("collections: its completion", total, "MB"):
        await bench.call("POST", where, json={"md5": whole.hexdigest()})


async def main() -> None:
    """Run all of it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=2000)
    arguments.add_argument("--megabytes", type=int, default=200)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as root, server(Path(root)) as (url, pid):
        timeout = aiohttp.ClientTimeout(total=600)
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, headers={"Synapse-Access-Token": TOKEN}
        ) as session:
            bench = Bench(url, pid, session)
            await small_collections(bench, given.files)
            await small_datasets(bench, given.files)
            await large(bench, given.megabytes)


if __name__ == "__main__":
    asyncio.run(main())
