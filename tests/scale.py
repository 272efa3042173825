"""What many units and entries cost: run as ``python -m tests.scale``, which prints a table.

A collection and a dataset are filled through the services' routes. Then a process of its own, which
knows nothing yet, looks at them; it tells its requests, seconds, and how much its memory grew.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from synapsefs import SynapseFileSystem, sync
from synapsefs.location import Location
from synapsefs.services.collections.service import CollectionsService
from synapsefs.services.datasets.service import DatasetsService
from synapsefs.wire.collections import v1
from synapsefs.wire.datasets import requests
from tests.support.running import python, server_process

BATCH = 1000
PER_FOLDER = 1000
COLLECTION_SIZES = (1_000, 10_000, 100_000)
DATASET_SIZES = (1_000, 5_000, 20_000)

LOOK = """
import json, resource, sys, time

url, base, narrow = sys.argv[1:]
from synapsefs import SynapseFileSystem
fs = SynapseFileSystem(url, "t", datasets_token="k", listings_expiry_time=600)
fs.ls(base.split("/")[0])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def measured(work):
    asked, began, before = fs.stats()["requests"], time.perf_counter(), peak()
    count = work()
    return {
        "count": count,
        "requests": fs.stats()["requests"] - asked,
        "seconds": round(time.perf_counter() - began, 3),
        "bytes": peak() - before,
    }

said = {
    "first find": measured(lambda: len(fs.find(base))),
    "warm find": measured(lambda: len(fs.find(base))),
    "narrow glob": measured(lambda: len(fs.glob(narrow))),
}
if hasattr(fs, "units") and base.startswith("collections"):
    said["units()"] = measured(lambda: fs.units(base).num_rows)
print(json.dumps(said))
"""


def look(url: str, base: str, narrow: str) -> dict[str, dict[str, float]]:
    """Look at a container from a fresh process; give what each step cost."""
    done = python(LOOK, url, base, narrow, seconds=600)
    assert done.returncode == 0, done.stderr
    return cast("dict[str, dict[str, float]]", json.loads(done.stdout))


def fill_collection(fs: SynapseFileSystem, name: str, count: int) -> str:
    """Make a collection of so many units, in folders of a thousand; give its path."""
    fs.mkdir(f"collections/{name}")
    number = fs.info(f"collections/{name}")["id"]

    async def work() -> None:
        location = Location.parse("collections")
        api = cast("CollectionsService", await fs._service(location)).api
        checksum = (await api.create_data_file(b"the same", "same.bin", name)).checksum
        for first in range(0, count, BATCH):
            units = [_unit(number, checksum, n) for n in range(first, min(first + BATCH, count))]
            await api.create_units(units, name)

    sync.run(fs.loop, work())
    return f"collections/{name}"


def _unit(collection: int, checksum: str, number: int) -> v1.UnitToCreate:
    folder = f"f{number // PER_FOLDER:03}"
    key = f"{folder}/{number:06}"
    meta = {"data_unit_key": key, "origin_file_stem": f"{number:06}", "weight": number / 7}
    binding = v1.FileBinding(checksum=checksum, path=f"{key}.bin")
    return v1.UnitToCreate(
        data_collection=collection, files={"data_1": binding}, meta=meta, groups=[folder]
    )


def fill_dataset(fs: SynapseFileSystem, name: str, count: int) -> str:
    """Make a dataset of so many text entries, in folders of a thousand; give its path."""
    fs.mkdir(f"datasets/{name}")
    number = fs.info(f"datasets/{name}")["id"]

    async def work() -> None:
        api = cast("DatasetsService", await fs._service(Location.parse("datasets"))).api
        gate = asyncio.Semaphore(32)

        async def create(entry: requests.EntryCreate) -> str:
            async with gate:
                return (await api.create_entry(entry, name, replay=True)).data_storage.id

        for first in range(0, count, PER_FOLDER):
            folder = requests.EntryCreate(name=f"f{first // PER_FOLDER:03}", dataset_id=number)
            parent = await create(folder)
            files = (
                requests.EntryCreate(
                    name=f"{n:06}.txt", content="text", dataset_id=number, parent_id=parent
                )
                for n in range(first, min(first + PER_FOLDER, count))
            )
            await asyncio.gather(*map(create, files))

    sync.run(fs.loop, work())
    return f"datasets/{name}"


def cases(url: str, sizes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Fill containers of these sizes and look at each; give root, size and cost."""
    fs = SynapseFileSystem(url, "t", datasets_token="k", skip_instance_cache=True)
    for count in sizes.get("collections", ()):
        base = fill_collection(fs, f"scale-{count}", count)
        yield "collections", count, look(url, base, f"{base}/data_1/f000/00001?.bin")
    for count in sizes.get("datasets", ()):
        base = fill_dataset(fs, f"scale-{count}", count)
        yield "datasets", count, look(url, base, f"{base}/f000/00001?.txt")


def write(*cells: object) -> None:
    """Write a row of the table at once."""
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


def main() -> None:
    """Write the table."""
    write("Container", "Files", "Step", "Found", "Requests", "Seconds", "Memory grew by")
    write(*["---"] * 7)
    sizes = {"collections": COLLECTION_SIZES, "datasets": DATASET_SIZES}
    with tempfile.TemporaryDirectory() as root, server_process(Path(root)) as url:
        for kind, count, said in cases(url, sizes):
            for step, cost in said.items():
                grown = f"{cost['bytes'] / 2**20:.0f} MiB"
                found, asked, seconds = cost["count"], cost["requests"], cost["seconds"]
                write(kind[:-1], f"{count:,}", step, f"{found:,}", asked, seconds, grown)


if __name__ == "__main__":
    main()
