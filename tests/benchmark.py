"""Speed beside the services' own clients: ``python -m tests.benchmark``.

All contestants take turns on one embedded server, which is a process of its own; the medians of
the runs and their ratios are written as a table. With ``--away`` the server seems to be that many
milliseconds away. Needs the ``interop`` extra on Python 3.12.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapsefs import SynapseFileSystem
from tests.support.distant import from_afar
from tests.support.running import server_process

SMALL = 20_000


@dataclass
class Race:
    """One kind of work, and who does it how."""

    name: str
    contestants: dict[str, Callable[[], Any]]
    prepare: Callable[[], None] = lambda: None
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> None:
        """Let each contestant do the work once."""
        for name, work in self.contestants.items():
            self.prepare()
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                work()
            self.seconds.setdefault(name, []).append(time.perf_counter() - began)

    def row(self) -> str:
        """Say the medians, and how many times faster than the last the first one is."""
        medians = {name: statistics.median(found) for name, found in self.seconds.items()}
        ours = next(iter(medians.values()))
        cells = [f"{name} {value:.2f} s ({value / ours:.1f} x)" for name, value in medians.items()]
        return f"| {self.name} | {' | '.join(cells)} |"


class Ground:
    """Local files, a filesystem, and the official clients over one server."""

    def __init__(self, url: str, work: Path, large: int, small: int) -> None:
        from edison_client import EdisonClient  # noqa: PLC0415 - an extra
        from synapse_sdk.clients.backend import BackendClient  # noqa: PLC0415 - an extra

        self.url = url
        self.work = work
        self.fs = SynapseFileSystem(url, "t", datasets_token="k", skip_instance_cache=True)
        self.synapse = BackendClient(url, access_token="t")
        self.edison = EdisonClient(service_uri=url, api_key="k")
        self.large = work / "large.bin"
        self.large.write_bytes(os.urandom(2**20) * large)
        self.tree = work / "tree"
        self.tree.mkdir()
        for number in range(small):
            (self.tree / f"{number:05}.bin").write_bytes(os.urandom(SMALL))
        for root in ("collections", "datasets"):
            self.fs.mkdir(f"{root}/race")
        self.collection = self.fs.info("collections/race")["id"]

    def fresh(self) -> None:
        """Change all local files, so that their content is new to the server."""
        for path in (self.large, *self.tree.iterdir()):
            with path.open("r+b") as file:
                file.write(uuid.uuid4().bytes)

    def name(self) -> str:
        return uuid.uuid4().hex

    def put(self, root: str, source: Path) -> None:
        """Put a file, or a tree."""
        below = f"{root}/race/data_1" if root == "collections" else f"{root}/race"
        target = f"{below}/{self.name()}" + ("" if source.is_dir() else ".bin")
        self.fs.put(f"{source}/" if source.is_dir() else str(source), target, recursive=True)

    def synapse_large(self) -> None:
        made = self.synapse.create_data_file(self.large)
        self._bind([(made["checksum"], str(self.large))])

    def synapse_tree(self) -> None:
        result = self.synapse.upload_files_bulk(sorted(self.tree.iterdir()))
        assert result.failed_count == 0
        self._bind([(found.checksum, found.file_key) for found in result.results])

    def _bind(self, files: list[tuple[str, str]]) -> None:
        for first in range(0, len(files), 1000):
            self.synapse.create_data_units(
                [
                    {
                        "data_collection": self.collection,
                        "files": {"data_1": {"checksum": checksum, "path": path}},
                    }
                    for checksum, path in files[first : first + 1000]
                ]
            )

    def edison_store(self, source: Path) -> None:
        self.edison.store_file_content(name=self.name(), file_path=source)

    def fetch(self, path: str) -> None:
        """Get a file or tree through the filesystem, from an instance that knows nothing."""
        fs = SynapseFileSystem(self.url, "t", datasets_token="k", skip_instance_cache=True)
        target = self.work / self.name()
        fs.get(path, str(target), recursive=True)
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    def synapse_fetch(self, collection: str) -> None:
        """List a collection, then fetch as many files at a time as the filesystem does."""
        from synapse_sdk.utils.file.download import adownload_file  # noqa: PLC0415 - an extra

        asked = {"data_collection": self.fs.info(collection)["id"]}
        units, _ = self.synapse.list_data_units(asked, url_conversion={}, list_all=True)
        target = self.work / self.name()
        slots = asyncio.Semaphore(self.fs.options.max_concurrency)

        async def fetch(number: int, url: str) -> None:
            async with slots:
                await adownload_file(url, target, name=str(number), evict=False)

        async def work() -> None:
            urls = [unit["files"]["data_1"]["url"] for unit in units]
            await asyncio.gather(*(fetch(number, url) for number, url in enumerate(urls)))

        asyncio.run(work())
        shutil.rmtree(target)

    def edison_fetch(self, identifier: str) -> None:
        found = self.edison.fetch_data_from_storage(identifier)
        Path(found).unlink()


def races(ground: Ground, small: int) -> list[Race]:
    """Prepare what is fetched; give all races."""
    uploads = [
        Race(
            "upload of the large file",
            {
                "collections": lambda: ground.put("collections", ground.large),
                "synapse-sdk": ground.synapse_large,
            },
            ground.fresh,
        ),
        Race(
            "upload of the large file",
            {
                "datasets": lambda: ground.put("datasets", ground.large),
                "edison-client": lambda: ground.edison_store(ground.large),
            },
            ground.fresh,
        ),
        Race(
            f"upload of {small} small files",
            {
                "collections": lambda: ground.put("collections", ground.tree),
                "synapse-sdk bulk": ground.synapse_tree,
            },
            ground.fresh,
        ),
        Race(
            f"upload of {small} small files",
            {
                "datasets": lambda: ground.put("datasets", ground.tree),
                "edison-client": lambda: ground.edison_store(ground.tree),
            },
            ground.fresh,
        ),
    ]
    ground.fs.mkdir("collections/there")
    ground.fs.mkdir("collections/tree")
    ground.fs.mkdir("datasets/there")
    ground.fs.put(str(ground.large), "collections/there/data_1/large.bin")
    ground.fs.put(str(ground.large), "datasets/there/large.bin")
    ground.fs.put(f"{ground.tree}/", "collections/tree/data_1/tree", recursive=True)
    ground.fs.put(f"{ground.tree}/", "datasets/there/tree", recursive=True)
    number = ground.fs.info("datasets/there/large.bin")["id"]
    found = ground.fs.find("datasets/there/tree", detail=True, measure=False)
    numbers = [info["id"] for info in found.values()]
    downloads = [
        Race(
            "download of the large file",
            {
                "datasets": lambda: ground.fetch("datasets/there/large.bin"),
                "collections": lambda: ground.fetch("collections/there/data_1/large.bin"),
                "edison-client": lambda: ground.edison_fetch(number),
            },
        ),
        Race(
            f"download of {small} small files",
            {
                "collections": lambda: ground.fetch("collections/tree/data_1/tree"),
                "synapse-sdk": lambda: ground.synapse_fetch("collections/tree"),
            },
        ),
        Race(
            f"download of {small} small files",
            {
                "datasets": lambda: ground.fetch("datasets/there/tree"),
                "edison-client": lambda: [ground.edison_fetch(number) for number in numbers],
            },
        ),
    ]
    return [*uploads, *downloads]


def main() -> None:
    """Run all races in turns and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=500, help="MiB of the large file")
    parser.add_argument("--small", type=int, default=2000, help="how many small files")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--away", type=float, default=0, help="round trip to the server in ms")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as work:
        with contextlib.ExitStack() as running:
            url = running.enter_context(server_process(Path(work) / "root"))
            if given.away:
                url = running.enter_context(from_afar(url, given.away / 1000))
            ground = Ground(url, Path(work), given.large, given.small)
            prepared = races(ground, given.small)
            for _ in range(given.runs):
                for race in prepared:
                    race.run()
        for race in prepared:
            sys.stdout.write(race.row() + "\n")


if __name__ == "__main__":
    main()
