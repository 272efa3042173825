"""Sources that are servers of their own: PostgreSQL and S3, started by the tests."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import fsspec
import pytest

from synapsefs import SynapseFileSystem
from tests.server.datasets.test_datasets_sources import place, refused
from tests.support.backends import postgres, s3_gateway

pytestmark = pytest.mark.slow

PATTERN = bytes(range(256)) * 40_000


@pytest.fixture(scope="module")
def database():
    """Give the DSN of a database with some tables."""
    asyncpg = pytest.importorskip("asyncpg")
    with (
        tempfile.TemporaryDirectory(prefix="pg-") as folder,
        postgres(_reachable(folder) / "server") as dsn,
    ):

        async def fill() -> None:
            connection = await asyncpg.connect(dsn)
            await connection.execute(
                """CREATE TABLE trajectories (id uuid PRIMARY KEY, task text, steps jsonb, n int);
                   INSERT INTO trajectories VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8',
                       'fold "päper"', '[1, {"a": null}]', 7);
                   CREATE TABLE secrets (id int PRIMARY KEY, word text);
                   INSERT INTO secrets VALUES (1, 'hidden');
                   CREATE SCHEMA lab;
                   CREATE TABLE lab."odd name" (code varchar(10), "a""b" numeric(8, 2));
                   INSERT INTO lab."odd name" VALUES ('x''1', 1.50);
                   CREATE TABLE keyless (n int)"""
            )
            await connection.close()

        asyncio.run(fill())
        yield dsn


@pytest.fixture(scope="module")
def gateway():
    """Give an S3 server with some objects."""
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        with s3_gateway(Path(folder) / "server") as running:
            files = {"a/one.txt": b"one", "a/b/two ü.bin": PATTERN, "c.txt": b"c", "empty": b""}
            s3 = fsspec.filesystem("s3", **running.options)
            s3.pipe({f"{running.bucket}/{key}": value for key, value in files.items()})
            yield running
        type(s3).clear_instance_cache()


def _reachable(folder: str) -> Path:
    """Let every user into a temporary folder."""
    path = Path(folder)
    path.chmod(0o755)
    return path


def row(table: str, row_id: object) -> dict:
    return place("pg_table", "text", table_name=table, row_id=row_id)


@pytest.fixture
async def api(serving, database):
    return await serving(
        postgres=database,
        tables=('lab."odd name"=code', "trajectories", "keyless", "missing"),
        buckets={"folder": "memory://tests-of-buckets"},
    )


@pytest.fixture(autouse=True)
def _bucket_with_credentials(tmp_path, gateway) -> None:
    source = {"url": f"s3://{gateway.bucket}/a", "options": gateway.options}
    wrong = {**source, "options": {**gateway.options, "secret": "wrong"}}
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / "root/sources.json").write_text(
        json.dumps({"buckets": {"s3": source, "refused": wrong}})
    )


async def test_a_row_reads_as_its_text(api) -> None:
    key = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    created = await api.create("row", existing_location=row("trajectories", key))
    read = await api.get(created.data_storage.id)
    expected = {"id": key, "task": 'fold "päper"', "steps": [1, {"a": None}], "n": 7}
    assert json.loads(read.data_storage.content) == expected
    config = read.storage_locations[0].storage_config
    assert (config.storage_type, config.metadata["table_name"]) == ("pg_table", "trajectories")


async def test_a_key_column_and_odd_names(api) -> None:
    created = await api.create("row", existing_location=row('lab."odd name"', "x'1"))
    read = await api.get(created.data_storage.id)
    assert json.loads(read.data_storage.content) == {"code": "x'1", 'a"b': 1.5}


@pytest.mark.parametrize(
    ("table", "row_id"),
    [
        ("secrets", "1"),
        ("pg_catalog.pg_authid", "10"),
        ('lab."odd name"', "none"),
        ("trajectories", "no uuid"),
        ("trajectories", "' OR true --"),
        ("trajectories; DROP TABLE trajectories", "1"),
        ("keyless", "1"),
        ("missing", "1"),
    ],
)
async def test_only_rows_of_allowed_tables(api, table: str, row_id: str) -> None:
    detail = await refused(api, existing_location=row(table, row_id))
    assert detail == f"Cannot access row {row_id} of table {table}"


async def test_a_database_that_is_down(serving) -> None:
    settings = {"postgres": "postgresql://u:hush@127.0.0.1:1/x", "tables": ("trajectories",)}
    api = await serving(**settings)
    assert "hush" not in await refused(api, existing_location=row("trajectories", "1"))


async def test_objects_of_an_s3_bucket(api) -> None:
    where = place("gcs", "directory", bucket_name="s3")
    created = await api.create("all", existing_location=where, is_collection=True)
    configs = [location.storage_config for location in created.storage_locations]
    sizes = {config.location: config.metadata["size"] for config in configs}
    assert sizes == {"b/two ü.bin": len(PATTERN), "one.txt": 3}
    whole = await api.plain("GET", configs[0].signed_url)
    assert whole.body == PATTERN
    part = await api.plain("GET", configs[0].signed_url, headers={"Range": "bytes=70000-5000000"})
    assert (part.status, part.body) == (206, PATTERN[70_000:5_000_001])
    changed = {"Range": "bytes=0-1", "If-Range": '"another"'}
    assert (await api.plain("GET", configs[1].signed_url, headers=changed)).body == b"one"


async def test_an_object_that_is_replaced_is_read_anew(api, gateway) -> None:
    single = place("gcs", location="one.txt", bucket_name="s3")
    created = await api.create("one", existing_location=single)
    url = created.storage_locations[0].storage_config.signed_url
    before = await api.plain("GET", url)
    s3 = fsspec.filesystem("s3", **gateway.options)
    await asyncio.to_thread(s3.pipe_file, f"{gateway.bucket}/a/one.txt", b"other")
    after = await api.plain("GET", url)
    await asyncio.to_thread(s3.pipe_file, f"{gateway.bucket}/a/one.txt", b"one")
    assert (before.body, after.body) == (b"one", b"other")
    assert before.headers["ETag"] != after.headers["ETag"]


async def test_what_is_not_there_or_not_allowed(api) -> None:
    for bucket, key in (("s3", "none"), ("s3", "b"), ("s3", "../c.txt"), ("refused", "one.txt")):
        where = place("gcs", location=key, bucket_name=bucket)
        assert await refused(api, existing_location=where) == f"Cannot access bucket {bucket}"


async def test_a_bucket_in_memory(api) -> None:
    fsspec.filesystem("memory").pipe("/tests-of-buckets/x/y.txt", b"in memory")
    where = place("gcs", location="x/y.txt", bucket_name="folder")
    created = await api.create("m", existing_location=where)
    url = created.storage_locations[0].storage_config.signed_url
    assert (await api.plain("GET", url)).body == b"in memory"


async def test_the_filesystem_reads_them(api) -> None:
    def use() -> None:
        options = {"datasets_endpoint_url": api.url, "datasets_token": "any"}
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        fs.mkdir("datasets/lab")
        fs.register("datasets/lab/far", "gcs", metadata={"bucket_name": "s3"})
        found = ["datasets/lab/far/b/two ü.bin", "datasets/lab/far/one.txt"]
        assert fs.find("datasets/lab") == found
        assert fs.size(found[0]) == len(PATTERN)
        assert fs.cat_file(found[0]) == PATTERN
        assert fs.cat_file(found[0], start=-5_000_000, end=-7) == PATTERN[-5_000_000:-7]
        with fs.open(found[0]) as file:
            file.seek(9_000_000)
            assert file.read(100) == PATTERN[9_000_000:9_000_100]
        key = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
        metadata = {"table_name": "trajectories", "row_id": key}
        fs.register("datasets/lab/row", "pg_table", metadata=metadata)
        assert json.loads(fs.cat_file("datasets/lab/row"))["n"] == 7
        with pytest.raises(ValueError, match="secrets"):
            fs.register(
                "datasets/lab/no", "pg_table", metadata={"table_name": "secrets", "row_id": "1"}
            )
        assert not fs.exists("datasets/lab/no")

    await asyncio.to_thread(use)
