"""Multipart uploads and the reading of what they brought."""

import asyncio
import os

import pytest

from synapsefs.server import housekeeping
from synapsefs.wire.datasets.constants import DATASETS_PATH, ENTRIES_PATH


@pytest.mark.parametrize(
    "parts",
    [[b""], [b"\x00\xffbytes"], [os.urandom(1_500_000), os.urandom(1_000_000), b"tail"]],
    ids=["empty", "one", "three"],
)
async def test_round_trip(api, parts):
    key = await api.upload("f.bin", parts)
    entry = await api.get(key)
    config = entry.storage_locations[0].storage_config
    assert entry.data_storage.status == "active"
    assert entry.data_storage.size == config.metadata["size"] == sum(map(len, parts))
    assert config.signed_url.split("?")[0].endswith("/f.bin")
    whole = await api.read(key)
    assert whole.body == b"".join(parts)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in whole.headers


async def test_ranges(api):
    key = await api.upload("f.bin", [b"0123456789"])
    part = await api.read(key, headers={"Range": "bytes=3-5"})
    assert (part.status, part.body) == (206, b"345")
    assert part.headers["Content-Range"] == "bytes 3-5/10"
    beyond = await api.read(key, headers={"Range": "bytes=10-"})
    assert beyond.status == 416


async def test_parts_may_come_in_any_order_and_again(api):
    parts = [b"a" * 10, b"b" * 10, b"c"]
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, parts)).json
    for number in (2, 0, 1, 0):
        assert (await api.put(begun["part_urls"][number], parts[number])).status == 200
    for _ in "ab":
        assert (await api.complete(key, begun["upload_id"], parts)).status == 200
    for _ in "ab":
        assert (await api.patch(key, status="active")).status == 200
    assert (await api.read(key)).body == b"".join(parts)


async def test_a_damaged_part_is_refused(api):
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, [b"right"])).json
    [url] = begun["part_urls"]
    damaged = await api.plain(
        "PUT", url, data=b"wrong", headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    )
    assert damaged.status == 400
    assert b"<Code>BadDigest</Code>" in damaged.body
    assert (await api.put(url, b"other")).status == 200
    assert (await api.complete(key, begun["upload_id"], [b"right"])).status == 400
    assert (await api.put(url, b"right")).status == 200
    assert (await api.complete(key, begun["upload_id"], [b"right"])).status == 200


async def test_completion_needs_every_part(api):
    parts = [b"a", b"b"]
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, parts)).json
    await api.put(begun["part_urls"][0], b"a")
    assert (await api.complete(key, begun["upload_id"], parts)).status == 400
    assert (await api.complete(key, begun["upload_id"], parts[:1])).status == 400
    assert (await api.complete(key, "unknown", parts)).status == 404
    assert (await api.patch(key, status="active")).status == 409
    other = (await api.create("g", file_path="g")).data_storage.id
    assert (await api.complete(other, begun["upload_id"], parts)).status == 404


async def test_simultaneous_completions_agree(api):
    for attempt in range(5):
        parts = [b"%d" % attempt * 300_000, b"x" * 300_000, b"tail"]
        key = (await api.create("f", file_path="f")).data_storage.id
        begun = (await api.initiate(key, parts)).json
        for url, part in zip(begun["part_urls"], parts, strict=True):
            assert (await api.put(url, part)).status == 200
        completing = (api.complete(key, begun["upload_id"], parts) for _ in range(4))
        answers = await asyncio.gather(*completing)
        assert [answer.status for answer in answers] == [200] * 4
        assert (await api.patch(key, status="active")).status == 200
        assert (await api.read(key)).body == b"".join(parts)
        assert (await api.put(begun["part_urls"][0], parts[0])).status == 404


async def test_a_completion_does_not_outlive_its_entry(api):
    parts = [b"a" * 3_000_000, b"b" * 3_000_000]
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, parts)).json
    for url, part in zip(begun["part_urls"], parts, strict=True):
        assert (await api.put(url, part)).status == 200
    completing = asyncio.create_task(api.complete(key, begun["upload_id"], parts))
    deleted = await api.delete(key)
    assert (deleted.status, (await completing).status in (200, 404)) == (204, True)
    assert (await api.complete(key, begun["upload_id"], parts)).status == 404


async def test_only_pending_entries_take_uploads(api):
    text = (await api.create("t", content="x")).data_storage.id
    assert (await api.initiate(text, [b"x"])).status == 409
    file = await api.upload("f", [b"x"])
    assert (await api.initiate(file, [b"y"])).status == 409
    assert (await api.initiate("unknown", [b"y"])).status == 404
    path = f"{ENTRIES_PATH}/{file}/multipart-upload/initiate"
    assert (await api.call("POST", path, {"part_hashes": []})).status == 422


async def test_urls_need_their_signature(api):
    key = await api.upload("f.bin", [b"secret"])
    url = (await api.get(key)).storage_locations[0].storage_config.signed_url
    assert (await api.plain("GET", url.split("?")[0])).status == 403
    assert (await api.plain("HEAD", url)).status == 403
    assert (await api.plain("PUT", url, data=b"x")).status == 403


async def test_expired_urls_are_refused(serving):
    api = await serving(url_lifetime=-1.0)
    key = (await api.create("f", file_path="f")).data_storage.id
    await api.send(key, [b"x"])
    await api.patch(key, status="active")
    assert (await api.read(key)).status == 403


async def test_a_failed_upload_can_be_given_up(api):
    key = (await api.create("f", file_path="f")).data_storage.id
    assert (await api.patch(key, status="failed")).json["data_storage"]["status"] == "failed"


async def test_abandoned_entries_are_collected(serving):
    api = await serving(upload_lifetime=0.0)
    key = (await api.create("f", file_path="f")).data_storage.id
    await api.create("t", content="x")
    assert await api.status_of(key) == 404


async def test_a_failed_entry_is_collected(serving):
    api = await serving(upload_lifetime=0.3)
    key = (await api.create("f", file_path="f")).data_storage.id
    text = (await api.create("t", content="x")).data_storage.id
    for each in (key, text):
        assert (await api.patch(each, status="failed")).status == 200
    await asyncio.sleep(0.35)
    await api.create("t", content="x")
    assert [await api.status_of(each) for each in (key, text)] == [404, 200]


async def test_an_upload_lives_as_long_as_parts_come(serving):
    """It takes three times the lifetime of an upload at rest."""
    api, parts = await serving(upload_lifetime=0.3), [b"a", b"b", b"c", b"d"]
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, parts)).json
    for url, part in zip(begun["part_urls"], parts, strict=True):
        assert (await api.put(url, part)).status == 200
        await asyncio.sleep(0.2)
        await housekeeping.sweep(api.app)
        await api.create("t", content="x")
    again = (await api.initiate(key, parts)).json
    assert again["upload_id"] == begun["upload_id"]
    assert (await api.complete(key, begun["upload_id"], parts)).status == 200
    await asyncio.sleep(0.2)
    await housekeeping.sweep(api.app)
    assert (await api.patch(key, status="active")).status == 200
    assert (await api.read(key)).body == b"abcd"


async def test_a_deleted_entry_takes_no_parts_and_leaves_none(api, tmp_path):
    parts, uploads = [b"a" * 10, b"b" * 10], tmp_path / "root/uploads"
    dataset = await api.dataset()
    keys = [
        (await api.create(name, file_path=name, dataset_id=dataset)).data_storage.id
        for name in "ab"
    ]
    urls = [(await api.initiate(key, parts)).json["part_urls"] for key in keys]
    for first, _ in urls:
        assert (await api.put(first, parts[0])).status == 200
    assert len(list(uploads.iterdir())) == 2
    assert (await api.delete(keys[0])).status == 204
    assert len(list(uploads.iterdir())) == 1
    assert (await api.call("DELETE", f"{DATASETS_PATH}/{dataset}")).status == 204
    for _, second in urls:
        refused = await api.put(second, parts[1])
        assert (refused.status, b"<Code>NoSuchUpload</Code>" in refused.body) == (404, True)
    assert list(uploads.iterdir()) == []


async def test_a_part_that_comes_while_its_entry_is_deleted_leaves_nothing(api, tmp_path):
    key = (await api.create("f", file_path="f")).data_storage.id
    [url, _] = (await api.initiate(key, [b"ab", b"c"])).json["part_urls"]
    half, staging = asyncio.Event(), tmp_path / "root/staging"

    async def body():
        yield b"a" * 2_000_000
        await half.wait()
        yield b"b"

    putting = asyncio.create_task(api.plain("PUT", url, data=body()))
    while not list(staging.iterdir()):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    assert (await api.delete(key)).status == 204
    half.set()
    assert (await putting).status == 404
    for folder in ("uploads", "staging"):
        assert list((tmp_path / "root" / folder).iterdir()) == []


async def test_uploads_outlive_the_server(serving):
    api, parts = await serving(), [b"a" * 100, b"b"]
    key = (await api.create("f", file_path="f")).data_storage.id
    begun = (await api.initiate(key, parts)).json
    assert (await api.put(begun["part_urls"][0], parts[0])).status == 200
    again = await serving()
    moved = begun["part_urls"][1].replace(api.url, again.url)
    assert (await again.put(moved, parts[1])).status == 200
    assert (await again.complete(key, begun["upload_id"], parts)).status == 200
    assert (await again.patch(key, status="active")).status == 200
    assert (await again.read(key)).body == b"".join(parts)


async def test_entries_of_a_dataset_carry_what_saves_round_trips(api):
    dataset = await api.dataset()
    await api.upload("f.bin", [b"12345"], dataset_id=dataset)
    await api.create("t.txt", content="é", dataset_id=dataset, metadata={"a": 1})
    await api.create("long.txt", content="x" * 70_000, dataset_id=dataset)
    file, text, long = await api.entries(dataset)
    assert (file["size"], file["storage_type"]) == (5, "gcs")
    assert file["md5"] == "827ccb0eea8a706c4c34a16891f84e7b"
    assert (await api.plain("GET", file["signed_url"])).body == b"12345"
    assert (text["content"], text["size"], text["metadata"]) == ("é", 2, {"a": 1})
    assert text["current_revision_id"]
    assert "content" not in long
    assert long["size"] == 70_000


async def test_a_size_limit(serving):
    api = await serving(max_file_size=10)
    key = (await api.create("f", file_path="f")).data_storage.id
    parts = [b"x" * 6, b"y" * 6]
    begun = (await api.initiate(key, parts)).json
    for url, part in zip(begun["part_urls"], parts, strict=True):
        await api.put(url, part)
    assert (await api.complete(key, begun["upload_id"], parts)).status == 413
    assert (await api.call("GET", f"{DATASETS_PATH}/x")).status == 404
