"""Servers, local files and remote ones for a benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job
from tests.benchmarks.prototypes import Prototype
from tests.support.distant import from_afar
from tests.support.running import environment, server_process

SMALL = 20_000
COLUMN_COUNT, ROW_GROUPS = 20, 10
MEMORY_DIRECTORY = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is to do: bytes, and numbers of files."""

    large: int = 500_000_000
    small: int = 2000
    fewer: int = 400
    columns: int = 240_000_000
    huge: int = 2**31


@dataclass(frozen=True, slots=True)
class Seed:
    """What can be downloaded: where it is by every name that it has."""

    container: str
    collection: int
    dataset: str
    paths: list[str]
    urls: list[str]
    ids: list[str]
    size: int


@contextlib.contextmanager
def discard_server() -> Iterator[str]:
    """Run a server that discards what it gets; give its URL."""
    command = [sys.executable, "-m", "tests.benchmarks.discard"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """Give a directory in memory where there is one, so that no disk is measured."""
    parent = MEMORY_DIRECTORY if os.access(MEMORY_DIRECTORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="synapsefs-benchmark-") as name:
        yield Path(name)


class LocalFiles:
    """Local files of every kind, made when they are first asked for."""

    def __init__(self, directory: Path, sizes: Sizes) -> None:
        self.directory, self.sizes = directory, sizes
        self.served = directory / "served"
        self.served.mkdir()
        self._random = os.urandom(2**20)

    def source(self, data: str) -> Path:
        """Give the file or directory to upload: ``large``, ``small``, …, or ``little`` of both."""
        path = self.directory / f"{data}.source"
        if not path.exists():
            self._make(path, data)
        return path

    def freshen(self, data: str) -> None:
        """Change what is uploaded, so that no server has seen it before."""
        source = self.source(data)
        for path in source.iterdir() if source.is_dir() else (source,):
            with path.open("r+b") as file:
                file.write(b"fresh:" + uuid.uuid4().bytes)

    def to_serve(self, data: str) -> Path:
        """Give a file or directory whose files have names by which they are served."""
        path = self.directory / f"served-{data}"
        if not path.exists():
            source = self.source(data)
            if source.is_dir():
                path.mkdir()
                for file in source.iterdir():
                    shutil.copy(file, path / f"{data}-{file.name}")
                    os.link(path / f"{data}-{file.name}", self.served / f"{data}-{file.name}")
            else:
                path = path.with_suffix(".bin" if data != "columns" else ".parquet")
                if not path.exists():
                    if data == "huge":
                        os.link(source, path)
                    else:
                        shutil.copy(source, path)
                    os.link(path, self.served / path.name)
        return path

    def _make(self, path: Path, data: str) -> None:
        if data == "columns":
            _write_columns(path, self.sizes.columns)
        elif data == "huge":
            with path.open("wb") as file:
                file.truncate(self.sizes.huge)
        elif data in {"large", "little-large"}:
            self._write(path, self.sizes.large if data == "large" else SMALL)
        else:
            count = {"small": self.sizes.small, "fewer": self.sizes.fewer}.get(data, 3)
            if data == "share":
                count = max(self.sizes.small // 20, 1)
            path.mkdir()
            for number in range(count):
                self._write(path / f"{number:05}.bin", SMALL)

    def _write(self, path: Path, size: int) -> None:
        with path.open("wb") as file:
            file.write(b"fresh:" + uuid.uuid4().bytes)
            while (left := size - file.tell()) > 0:
                file.write(self._random[:left])


class Fixture:
    """One server with what is on it.

    Parameters
    ----------
    url
        Where candidates find it; perhaps through a proxy.
    direct
        Where it is itself.
    local
        Local files.
    counts
        Whether it counts requests, as the discarding one does.
    """

    def __init__(self, url: str, direct: str, local: LocalFiles, *, counts: bool) -> None:
        self.url, self.direct, self.local = url, direct, local
        self.control = direct if counts else ""
        self._seeds: dict[tuple[str, str], Seed] = {}
        self._numbers = iter(range(10**9))

    def upload(self, data: str, root: str) -> Job:
        """Prepare an upload into a container of its own."""
        self.local.freshen(data) if data != "huge" else None
        name, collection, dataset = self._containers(root)
        return Job(
            url=self.url,
            container=_container(name, root),
            collection=collection,
            dataset=dataset,
            local=str(self.local.source(data)),
            put_url=f"{self.url}/_put/any/1",
        )

    def download(self, data: str, kind: str) -> Job:
        """Prepare a download of what is there."""
        key = (data, kind)
        if key not in self._seeds:
            self._seeds[key] = self._seed(data, kind)
        seed = self._seeds[key]
        return Job(
            url=self.url,
            container=seed.container,
            collection=seed.collection,
            dataset=seed.dataset,
            paths=seed.paths,
            urls=seed.urls,
            ids=seed.ids,
            size=seed.size,
            out=str(self.local.directory / f"out-{next(self._numbers)}"),
            column="c07",
        )

    def _containers(self, root: str) -> tuple[str, int, str]:
        name = f"b-{uuid.uuid4().hex[:12]}"
        if root == "dataset":
            login = self._call("/auth/login", {"api_key": "k"})
            headers = {"Authorization": f"Bearer {login['access_token']}"}
            made = self._call("/v0.1/data-storage/datasets", {"name": name}, headers)
            return name, 0, made["id"]
        spec = {"name": "data_1", "file_type": "data", "is_required": True, "is_primary": True}
        spec["function_type"] = "main"
        body = {"name": name, "category": "data", "file_specifications": [spec]}
        return name, self._call("/v2/data-collections/", body)["data"]["id"], ""

    def _seed(self, data: str, kind: str) -> Seed:
        from synapsefs import SynapseFileSystem

        path = self.local.to_serve(data)
        root = "dataset" if kind == "dataset" else "collection"
        name, collection, dataset = self._containers(root)
        job = Job(self.direct, collection=collection, dataset=dataset, local=str(path))
        fs: Any = SynapseFileSystem(
            self.direct,
            "t",
            datasets_token="k",
            datasets={name: dataset} if dataset else None,
            skip_instance_cache=True,
        )
        container = _container(name, root)
        if root == "dataset":
            if path.is_dir():
                fs.put(f"{path}/", container, recursive=True)
            else:
                fs.put_file(str(path), f"{container}/{path.name}")
        elif kind == "unverified":
            file = {"checksum": "not-a-checksum", "path": path.name}
            unit = {"data_collection": collection, "files": {"data_1": file}}
            self._call("/data_units/", [unit])
        elif path.is_dir():
            Prototype(self.direct).put_presigned(job)
        else:
            Prototype(self.direct).upload_chunks(job)
        if self.control:
            self._call("/_bench/attach", {"directory": str(self.local.served)})
        names = self._names(fs, container)
        seed = Seed(
            container=container,
            collection=collection,
            dataset=dataset,
            paths=list(names),
            urls=[self._through(url) for url in self._urls(collection, dataset)],
            ids=[str(info.get("id", "")) for info in names.values()],
            size=path.stat().st_size,
        )
        assert len(seed.paths) == len(seed.urls), (data, kind)
        return seed

    def _names(self, fs: Any, container: str) -> dict[str, Any]:
        return dict(fs.find(container, detail=True, measure=False))

    def _urls(self, collection: int, dataset: str) -> list[str]:
        if not dataset:
            urls, page = [], f"/data_units/?data_collection={collection}&page_size=1000"
            while page:
                answer = self._call(page)
                units = answer["results"]
                urls += [unit["files"]["data_1"]["url"] for unit in units]
                page = (answer["next"] or "").removeprefix(self.direct)
            return urls
        login = self._call("/auth/login", {"api_key": "k"})
        headers = {"Authorization": f"Bearer {login['access_token']}"}
        base = "/v0.1/data-storage"
        listed = self._call(f"{base}/datasets/{dataset}", headers=headers)
        urls = []
        for entry in listed["data_storage_entries"]:
            told = self._call(f"{base}/data-entries/{entry['id']}", headers=headers)
            urls += [each["storage_config"]["signed_url"] for each in told["storage_locations"]]
        return urls

    def _through(self, url: str) -> str:
        return url.replace(self.direct, self.url)

    def _call(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        token = "t" if path.startswith("/v2/") else "Token t"
        given = {"Synapse-Access-Token": token, "Content-Type": "application/json"}
        request = urllib.request.Request(self.direct + path, data, {**given, **(headers or {})})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@contextlib.contextmanager
def served(
    kind: str, local: LocalFiles, disk: Path, distance: tuple[float, float] | None
) -> Iterator[Fixture]:
    """Run a server, seen from ``distance`` seconds of round trip and bytes per second away."""
    with contextlib.ExitStack() as running:
        if kind == "discard":
            direct = running.enter_context(discard_server())
        else:
            direct = running.enter_context(server_process(disk / f"root-{uuid.uuid4().hex[:8]}"))
        url = running.enter_context(from_afar(direct, *distance)) if distance else direct
        yield Fixture(url, direct, local, counts=kind == "discard")


class S3Fixture:
    """A real S3 server with what s3fs downloads; prepared by s3fs itself."""

    control = ""

    def __init__(self, url: str, local: LocalFiles) -> None:
        self.url, self.local = url, local
        self._numbers = iter(range(10**9))
        self._seeded: set[str] = set()

    def upload(self, data: str, root: str) -> Job:
        self.local.freshen(data)
        name = f"up-{next(self._numbers)}"
        return Job(self.url, container=name, local=str(self.local.source(data)))

    def download(self, data: str, kind: str) -> Job:
        from tests.benchmarks.candidates import S3Fs

        path = self.local.source(data)
        if data not in self._seeded:
            self._seeded.add(data)
            job = Job(self.url, container=f"down-{data}", local=str(path))
            S3Fs(self.url).put(job) if path.is_dir() else S3Fs(self.url).put_file(job)
        return Job(
            self.url,
            container=f"down-{data}",
            paths=[f"down-{data}/large.bin"],
            size=path.stat().st_size,
            out=str(self.local.directory / f"out-s3-{next(self._numbers)}"),
        )


def needed_of_column(path: Path, column: str) -> int:
    """Bytes that reading one column takes: its chunks and the footer."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    number = metadata.schema.names.index(column)
    groups = (metadata.row_group(group).column(number) for group in range(metadata.num_row_groups))
    footer = metadata.serialized_size + 8
    return int(sum(chunk.total_compressed_size for chunk in groups) + footer)


def _container(name: str, root: str) -> str:
    return f"datasets/{name}" if root == "dataset" else f"collections/{name}/data_1"


def _write_columns(path: Path, size: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = size // (8 * COLUMN_COUNT)
    random = np.random.default_rng(1)
    columns = {f"c{number:02}": random.random(rows) for number in range(COLUMN_COUNT)}
    pq.write_table(
        pa.table(columns),
        path,
        row_group_size=-(-rows // ROW_GROUPS),
        compression="none",
        use_dictionary=False,
    )
