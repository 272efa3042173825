"""The filesystem and its peers; each method does one kind of work in that library's usual way."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job

MIB = 2**20


class Synapsefs:
    """The filesystem of this package."""

    needs = ()

    def __init__(self, url: str, datasets: dict[str, str]) -> None:
        from synapsefs import SynapseFileSystem

        self.options: dict[str, Any] = {"endpoint_url": url, "token": "t", "datasets_token": "k"}
        self.options["datasets"] = datasets
        self.fs: Any = SynapseFileSystem(**self.options, skip_instance_cache=True)

    def put_file(self, job: Job) -> None:
        self.fs.put_file(job.local, f"{job.container}/large.bin")

    def open_wb(self, job: Job) -> None:
        with open(job.local, "rb") as source, self.fs.open(f"{job.container}/large.bin", "wb") as f:
            while block := source.read(MIB):
                f.write(block)

    def put(self, job: Job) -> None:
        self.fs.put(f"{job.local}/", f"{job.container}/tree", recursive=True)

    def get_file(self, job: Job) -> None:
        self.fs.get_file(job.paths[0], job.out)

    def cat(self, job: Job) -> None:
        assert len(self.fs.cat_file(job.paths[0])) == job.size

    def read(self, job: Job) -> None:
        _read_through(self.fs.open(job.paths[0]), job)

    def get(self, job: Job) -> None:
        self.fs.get(job.container, job.out, recursive=True)

    def open_read_table(self, job: Job) -> None:
        _column(self.fs.open(job.paths[0]), job)

    def open_without_cache(self, job: Job) -> None:
        _column(self.fs.open(job.paths[0], cache_type="none"), job)

    def open_pre_buffer(self, job: Job) -> None:
        _column(self.fs.open(job.paths[0]), job, pre_buffer=True)

    def path_read_table(self, job: Job) -> None:
        _column(job.paths[0], job, filesystem=self.fs)

    def pandas_url(self, job: Job) -> None:
        import pandas as pd

        url = f"synapse://{job.paths[0]}"
        pd.read_parquet(url, columns=[job.column], storage_options=self.options)

    def open_parquet(self, job: Job) -> None:
        _open_parquet(job.paths[0], self.fs, job)


class HttpFs:
    """fsspec's HTTPFileSystem, which verifies nothing."""

    needs = ("fsspec", "aiohttp")

    def __init__(self, url: str, datasets: Any = None) -> None:
        import fsspec

        self.fs: Any = fsspec.filesystem("http", skip_instance_cache=True)

    def put_file(self, job: Job) -> None:
        self.fs.put_file(job.local, job.put_url, method="put")

    def get_file(self, job: Job) -> None:
        self.fs.get_file(job.urls[0], job.out)

    def cat(self, job: Job) -> None:
        assert len(self.fs.cat_file(job.urls[0])) == job.size

    def read(self, job: Job) -> None:
        _read_through(self.fs.open(job.urls[0]), job)

    def get(self, job: Job) -> None:
        os.mkdir(job.out)
        self.fs.get(job.urls, [f"{job.out}/{number}" for number in range(len(job.urls))])

    def open_read_table(self, job: Job) -> None:
        _column(self.fs.open(job.urls[0]), job)

    def open_without_cache(self, job: Job) -> None:
        _column(self.fs.open(job.urls[0], cache_type="none"), job)

    def open_pre_buffer(self, job: Job) -> None:
        _column(self.fs.open(job.urls[0]), job, pre_buffer=True)

    def path_read_table(self, job: Job) -> None:
        _column(job.urls[0], job, filesystem=self.fs)

    def pandas_url(self, job: Job) -> None:
        import pandas as pd

        pd.read_parquet(job.urls[0], columns=[job.column])

    def open_parquet(self, job: Job) -> None:
        _open_parquet(job.urls[0], self.fs, job)


class Obstore:
    """Arrow's object_store for Python."""

    needs = ("obstore",)

    def __init__(self, url: str, datasets: Any = None) -> None:
        import obstore
        from obstore.store import HTTPStore

        self._obstore: Any = obstore
        self.store: Any = HTTPStore.from_url(url, client_options={"allow_http": True})
        self._base = url

    def get_file(self, job: Job) -> None:
        stream = self._obstore.get(self.store, self._key(job.urls[0])).stream(min_chunk_size=MIB)
        with open(job.out, "wb") as file:
            file.writelines(stream)

    def cat(self, job: Job) -> None:
        got = self._obstore.get(self.store, self._key(job.urls[0])).bytes()
        assert len(got) == job.size

    def get(self, job: Job) -> None:
        os.mkdir(job.out)
        asyncio.run(self._get(job))

    async def _get(self, job: Job) -> None:
        async def fetch(number: int, url: str) -> None:
            async with slots:
                got = await self._obstore.get_async(self.store, self._key(url))
                content = await got.bytes_async()
            with open(f"{job.out}/{number}", "wb") as file:
                file.write(content)

        slots = asyncio.Semaphore(32)
        await asyncio.gather(*(fetch(number, url) for number, url in enumerate(job.urls)))

    def _key(self, url: str) -> str:
        return url.removeprefix(f"{self._base}/").partition("?")[0]


class Requests:
    """The requests library, with reads of 1 MiB."""

    needs = ("requests",)

    def __init__(self, url: str, datasets: Any = None) -> None:
        import requests

        self.session: Any = requests.Session()

    def put_file(self, job: Job) -> None:
        with open(job.local, "rb") as file:
            self.session.put(job.put_url, data=file).raise_for_status()

    def get_file(self, job: Job) -> None:
        with self.session.get(job.urls[0], stream=True) as answer, open(job.out, "wb") as file:
            file.writelines(answer.iter_content(MIB))

    def cat(self, job: Job) -> None:
        assert len(self.session.get(job.urls[0]).content) == job.size


class SynapseSdk:
    """The official client of the collections service."""

    needs = ("synapse_sdk",)

    def __init__(self, url: str, datasets: Any = None) -> None:
        from synapse_sdk.clients.backend import BackendClient

        self.client: Any = BackendClient(url, access_token="t")

    def put_file(self, job: Job) -> None:
        made = self.client.create_data_file(Path(job.local))
        self._bind(job, [(made["checksum"], job.local)])

    def put_file_bulk(self, job: Job) -> None:
        self._put([Path(job.local)], job)

    def put(self, job: Job) -> None:
        self._put(sorted(Path(job.local).iterdir()), job)

    def _put(self, paths: list[Path], job: Job) -> None:
        result = self.client.upload_files_bulk(paths)
        assert result.failed_count == 0
        self._bind(job, [(done.checksum, done.file_key) for done in result.results])

    def _bind(self, job: Job, files: list[tuple[str, str]]) -> None:
        for first in range(0, len(files), 1000):
            units = [
                {
                    "data_collection": job.collection,
                    "files": {"data_1": {"checksum": checksum, "path": path}},
                }
                for checksum, path in files[first : first + 1000]
            ]
            self.client.create_data_units(units)

    def get_file(self, job: Job) -> None:
        from synapse_sdk.utils.file.download import download_file

        out = Path(job.out)
        download_file(job.urls[0], out.parent, name=out.name, evict=False)

    def get(self, job: Job) -> None:
        """List a collection, then fetch 16 files at a time, as the filesystem does."""
        from synapse_sdk.utils.file.download import adownload_file

        asked = {"data_collection": job.collection}
        units, _ = self.client.list_data_units(asked, url_conversion={}, list_all=True)
        urls = [unit["files"]["data_1"]["url"] for unit in units]

        async def fetch(number: int, url: str) -> None:
            async with slots:
                await adownload_file(url, job.out, name=str(number), evict=False)

        async def work() -> None:
            await asyncio.gather(*(fetch(number, url) for number, url in enumerate(urls)))

        slots = asyncio.Semaphore(16)
        asyncio.run(work())


class EdisonSdk:
    """The official client of the datasets service."""

    needs = ("edison_client",)

    def __init__(self, url: str, datasets: Any = None) -> None:
        from edison_client import EdisonClient

        self.client: Any = EdisonClient(service_uri=url, api_key="k")

    def put_file(self, job: Job) -> None:
        self.client.store_file_content(
            name="large.bin", file_path=job.local, dataset_id=job.dataset
        )

    def put(self, job: Job) -> None:
        self.client.store_file_content(name="tree", file_path=job.local)

    def get_file(self, job: Job) -> None:
        shutil.rmtree(Path(self.client.fetch_data_from_storage(job.ids[0])).parent)

    def get(self, job: Job) -> None:
        for identifier in job.ids:
            shutil.rmtree(Path(self.client.fetch_data_from_storage(identifier)).parent)


class S3Fs:
    """s3fs over a real S3 server, which is another server than all others have."""

    needs = ("s3fs",)

    def __init__(self, url: str, datasets: Any = None) -> None:
        import s3fs

        endpoint, self.bucket, key, secret = url.split(" ")
        self.fs: Any = s3fs.S3FileSystem(
            key=key, secret=secret, endpoint_url=endpoint, skip_instance_cache=True
        )

    def put_file(self, job: Job) -> None:
        self.fs.put_file(job.local, f"{self.bucket}/{job.container}/large.bin")

    def put(self, job: Job) -> None:
        self.fs.put(f"{job.local}/", f"{self.bucket}/{job.container}/tree", recursive=True)

    def get_file(self, job: Job) -> None:
        self.fs.get_file(f"{self.bucket}/{job.paths[0]}", job.out)

    def cat(self, job: Job) -> None:
        assert len(self.fs.cat_file(f"{self.bucket}/{job.paths[0]}")) == job.size

    def read(self, job: Job) -> None:
        _read_through(self.fs.open(f"{self.bucket}/{job.paths[0]}"), job)

    def get(self, job: Job) -> None:
        self.fs.get(f"{self.bucket}/{job.container}", job.out, recursive=True)


def _read_through(file: Any, job: Job) -> None:
    total = 0
    with file:
        while block := file.read(MIB):
            total += len(block)
    assert total == job.size


def _column(source: Any, job: Job, **options: Any) -> None:
    import pyarrow.parquet as pq

    options.setdefault("pre_buffer", False)
    assert pq.read_table(source, columns=[job.column], **options).num_rows


def _open_parquet(path: str, fs: Any, job: Job) -> None:
    import fsspec.parquet
    import pyarrow.parquet as pq

    with fsspec.parquet.open_parquet_file(
        path, fs=fs, columns=[job.column], engine="pyarrow"
    ) as file:
        pq.read_table(file, columns=[job.column])
