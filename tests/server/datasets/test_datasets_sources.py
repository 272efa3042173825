"""Links to external sources: buckets, table rows, warehouses."""

import json

import pytest

from synapsefs.wire.datasets.constants import ENTRIES_PATH


def place(kind, content="file", location=None, **metadata):
    return {
        "storage_type": kind,
        "content_type": content,
        "location": location,
        "metadata": metadata,
    }


async def refused(api, **members):
    answer = await api.call("POST", ENTRIES_PATH, {"name": "x", **members})
    assert answer.status == 422
    return answer.json["detail"]


@pytest.fixture
async def bucket(api, tmp_path):
    folder = tmp_path / "bucket"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/one.txt").write_bytes(b"one")
    (folder / "a/b/two ü.bin").write_bytes(b"0123456789")
    (folder / "c.txt").write_bytes(b"c")
    (folder / "escape").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "rows.json").write_text('{"7": {"a": 1}}')
    config = {
        "buckets": {"data": str(folder), "gone": str(tmp_path / "gone")},
        "tables": {"trajectories": str(tmp_path / "rows.json")},
    }
    (tmp_path / "root/sources.json").write_text(json.dumps(config))


@pytest.mark.usefixtures("bucket")
async def test_a_collection_has_one_location_per_object(api):
    where = place("gcs", "directory", bucket_name="data", prefix="a/")
    created = await api.create("c", existing_location=where, is_collection=True)
    whole_bucket = place("gcs", "directory", bucket_name="data")
    everything = await api.create("all", existing_location=whole_bucket, is_collection=True)
    keys = [location.storage_config.location for location in everything.storage_locations]
    assert keys == ["a/b/two ü.bin", "a/one.txt", "c.txt"]
    assert created.data_storage.status == "active"
    configs = [location.storage_config for location in created.storage_locations]
    assert [config.location for config in configs] == ["a/b/two ü.bin", "a/one.txt"]
    assert configs[0].metadata["size"] == 10
    whole = await api.plain("GET", configs[0].signed_url)
    assert whole.body == b"0123456789"
    assert whole.headers["Content-Disposition"].endswith('filename="two ü.bin"')
    part = await api.plain("GET", configs[0].signed_url, headers={"Range": "bytes=3-4"})
    assert (part.status, part.body) == (206, b"34")
    assert (await api.plain("GET", configs[0].signed_url.split("?")[0])).status == 403


@pytest.mark.usefixtures("bucket")
async def test_a_single_object(api):
    created = await api.create(
        "c", existing_location=place("gcs", bucket_name="data", location="c.txt")
    )
    [location] = created.storage_locations
    assert (await api.plain("GET", location.storage_config.signed_url)).body == b"c"


@pytest.mark.usefixtures("bucket")
async def test_what_cannot_be_registered(api):
    prefixed = place("gcs", location="c.txt", bucket_name="data", prefix="a/")
    assert "Prefix is not allowed for single file GCS storage" in await refused(
        api, existing_location=prefixed
    )
    await refused(api, existing_location=place("gcs"))
    for name, location in (("data", "none"), ("data", "../secret"), ("gone", "x"), ("no", "x")):
        where = place("gcs", location=location, bucket_name=name)
        await refused(api, existing_location=where)
    await refused(api, existing_location=place("bigquery", project_id="p"))
    await refused(api, existing_location=place("link"))
    await refused(api, existing_location=place("cloud", location="x"))
    await refused(api, existing_location=place("link", "poem", location="x"))
    await refused(api, existing_location=place("pg_table", table_name="trajectories", row_id="8"))


@pytest.mark.usefixtures("bucket")
async def test_links_do_not_lead_out_of_a_bucket(api):
    await refused(api, existing_location=place("gcs", location="escape", bucket_name="data"))


@pytest.mark.usefixtures("bucket")
async def test_a_table_row_reads_as_its_text(api):
    where = place("pg_table", "text", table_name="trajectories", row_id="7")
    read = await api.get((await api.create("r", existing_location=where)).data_storage.id)
    assert json.loads(read.data_storage.content) == {"a": 1}
    assert read.storage_locations[0].storage_config.storage_type == "pg_table"


async def test_warehouses_keep_their_metadata(api):
    where = place("bigquery", "bq_table", project_id="p", dataset_id="d", table_id="t")
    read = await api.get((await api.create("w", existing_location=where)).data_storage.id)
    config = read.storage_locations[0].storage_config
    assert (config.storage_type, config.content_type) == ("bigquery", "bq_table")
    assert config.metadata == {"project_id": "p", "dataset_id": "d", "table_id": "t"}
