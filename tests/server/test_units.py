"""Collections, data files and units."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from synapsefs.wire.collections.v1 import CollectionPage, DataFile, Unit, UnitPage


def binding(checksum, path=None):
    return {"checksum": checksum, **({"path": path} if path else {})}


async def units_of(client, collection, **query):
    query = {"data_collection": collection, **query}
    return await client.call("GET", "/data_units/", params=query)


async def test_answers_parse_as_wire_models(client):
    collection = await client.collection("data_1", "json_meta_1")
    stored = await client.upload(b"abc")
    assert DataFile.model_validate(stored).checksum == hashlib.md5(b"abc").hexdigest()
    body = {
        "data_collection": collection,
        "files": {"data_1": binding(stored["checksum"], "C:\\dir\\x.bin")},
        "meta": {"deep": [{"ä": None}]},
        "groups": ["a", "b"],
    }
    unit = Unit.model_validate(await client.call("POST", "/data_units/", json=body, status=201))
    file = unit.unit_files()["data_1"]
    assert (file.original_name, file.size, unit.meta) == ("x.bin", 3, {"deep": [{"ä": None}]})
    page = UnitPage.model_validate(await units_of(client, collection))
    assert [each.id for each in page.results] == [unit.id]
    listed = CollectionPage.model_validate(await client.call("GET", "/data_collections/"))
    assert [spec.name for spec in listed.results[0].specifications] == ["data_1", "json_meta_1"]


async def test_equal_content_under_two_names(client):
    collection = await client.collection()
    md5 = (await client.upload(b"same"))["checksum"]
    sha256 = hashlib.sha256(b"same").hexdigest()
    body = [
        {"data_collection": collection, "files": {"data_1": binding(checksum, name)}}
        for checksum, name in ((md5, "one.bin"), (sha256, "two.bin"))
    ]
    made = await client.call("POST", "/data_units/", json=body, status=201)
    assert [u["files"]["data_1"]["file_name_original"] for u in made] == ["one.bin", "two.bin"]
    assert made[0]["id"] != made[1]["id"]
    assert made[0]["checksum"] == made[1]["checksum"]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"nope": "good"}, "missing"),
        ({"data_1": "0" * 32}, "0" * 32),
        ({"data_1": "good", "nope": "good"}, "nope"),
        ({}, "missing"),
    ],
)
async def test_refused_units_create_nothing(client, files, word):
    collection = await client.collection()
    good = (await client.upload(b"x"))["checksum"]
    bad = {name: binding(good if value == "good" else value) for name, value in files.items()}
    body = [
        {"data_collection": collection, "files": {"data_1": binding(good)}, "groups": ["g"]},
        {"data_collection": collection, "files": bad},
    ]
    refused = await client.call("POST", "/data_units/", json=body, status=400)
    assert word in str(refused["files"])
    assert (await units_of(client, collection))["count"] == 0
    groups = await client.call("GET", f"/v2/data-collections/{collection}/groups/")
    assert groups["data"] == []


async def test_listed_extensions_are_a_rule(client):
    collection = await client.collection(extensions=[".PNG", "jpg"])
    md5 = (await client.upload(b"x", "a.txt"))["checksum"]

    async def create(path, status):
        body = {"data_collection": collection, "files": {"data_1": binding(md5, path)}}
        return await client.call("POST", "/data_units/", json=body, status=status)

    await create("a.png", 201)
    await create("a.JPG", 201)
    await create("a.gif", 400)
    await create(None, 400)


async def test_pages(client):
    collection = await client.collection()
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}}
    made = await client.call("POST", "/data_units/", json=[unit] * 7, status=201)
    page = await units_of(client, collection, page_size=3)
    assert (page["count"], len(page["results"]), page["previous"]) == (7, 3, None)
    seen = list(page["results"])
    while page["next"]:
        page = await client.call("GET", page["next"])
        seen += page["results"]
    assert [u["id"] for u in seen] == [u["id"] for u in made]
    assert f"data_collection={collection}" in page["previous"]
    for number in ("4", "0", "-1", "x", "9" * 30):
        refused = await client.call(
            "GET", "/data_units/", params={"page": number, "page_size": 3}, status=404
        )
        assert refused == {"detail": "Invalid page."}
    backwards = await units_of(client, collection, ordering="-id", page_size=1)
    assert backwards["results"][0]["id"] == made[-1]["id"]


async def test_search(client):
    collection = await client.collection()
    md5 = (await client.upload(b"x"))["checksum"]
    body = [
        {"data_collection": collection, "files": {"data_1": binding(md5, n)}, "meta": m}
        for n, m in (("cat.bin", None), ("b.bin", {"label": "CAT"}), ("c.bin", None))
    ]
    await client.call("POST", "/data_units/", json=body, status=201)
    assert (await units_of(client, collection, search="cat"))["count"] == 2


async def test_concurrent_creations_are_all_kept(client):
    collection = await client.collection()
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}, "groups": ["g"]}
    calls = [client.call("POST", "/data_units/", json=unit, status=201) for _ in range(30)]
    assert len({u["id"] for u in await asyncio.gather(*calls)}) == 30
    groups = await client.call("GET", f"/v2/data-collections/{collection}/groups/")
    assert len(groups["data"]) == 1


async def test_other_tenants_see_nothing(start):
    here, there = await start(), await start(tenant="other")
    collection = await here.collection()
    md5 = (await here.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}}
    made = await here.call("POST", "/data_units/", json=unit, status=201)
    assert (await there.call("GET", "/data_collections/"))["count"] == 0
    await there.call("GET", f"/data_units/{made['id']}/", status=404)
    await there.call("DELETE", f"/v2/data-units/{made['id']}/", status=404)
    await there.call("POST", "/data_units/", json=unit, status=400)
    own = await there.collection()
    known = {"data_collection": own, "files": {"data_1": binding(md5)}}
    await there.call("POST", "/data_units/", json=known, status=400)


async def test_specifications_in_use_stay(client):
    collection = await client.collection("data_1", "json_meta_1")
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}}
    await client.call("POST", "/data_units/", json=unit, status=201)
    path = f"/v2/data-collections/{collection}/"
    other = {"file_specifications": [{"name": "json_meta_1", "file_type": "data"}]}
    refused = await client.call("PATCH", path, json=other, status=409)
    assert refused["error"]["code"] == "CONFLICT"
    kept = {"file_specifications": [{"name": "data_1", "file_type": "image"}]}
    changed = await client.call("PATCH", path, json=kept)
    assert [s["name"] for s in changed["data"]["file_specifications"]] == ["data_1"]
    await client.call("DELETE", path, status=204)
    assert (await units_of(client, collection))["count"] == 0


JSON = {"Content-Type": "application/json"}


async def test_bad_bodies_are_worded_by_generation(client):
    first = await client.call("POST", "/data_units/", data=b"{nonsense", headers=JSON, status=400)
    assert all(isinstance(messages, list) for messages in first.values())
    second = await client.call(
        "POST", "/v2/data-collections/", json={"name": "", "category": "x"}, status=400
    )
    fields = {detail["field"] for detail in second["error"]["details"]}
    assert fields == {"name", "category", "file_specifications"}
    assert second["meta"]["request_id"]
    huge = {"data_collection": 10**30, "files": {"a": binding("0")}}
    await client.call("POST", "/data_units/", json=huge, status=400)


async def test_unit_changes(client):
    collection, other = await client.collection(), await client.collection(name="two")
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}}
    key = (await client.call("POST", "/data_units/", json=unit, status=201))["id"]
    path = f"/v2/data-units/{key}/"
    group = await client.call(
        "POST", f"/v2/data-collections/{collection}/groups/", json={"name": "g"}, status=201
    )
    changed = await client.call("PATCH", path, json={"group": group["data"]["id"]})
    assert changed["data"]["group_id"] == group["data"]["id"]
    await client.call("PATCH", path, json={"data_collection": other}, status=409)
    await client.call("PATCH", path, json={"data_collection": 99}, status=409)
    await client.call("PATCH", path, json={"group": 99}, status=400)
    await client.call("PATCH", path, json={"meta": [1]}, status=400)
    bare = {"data_collection": 99}
    refused = await client.call("POST", "/v2/data-units/", json=bare, status=422)
    assert refused["error"]["code"] == "UNPROCESSABLE_ENTITY"


async def test_dry_bulk_creates_nothing(client):
    collection = await client.collection()
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"files": {"data_1": binding(md5)}, "groups": ["g"]}
    body = {"data_collection": collection, "units": [unit, unit]}
    path = "/v2/data-units/bulk-create/"
    dry = (await client.call("POST", f"{path}?dry_run=true", json=body))["data"]
    assert (dry["created_count"], dry["reused_count"]) == (1, 1)
    assert (await units_of(client, collection))["count"] == 0
    made = (await client.call("POST", path, json=body, status=201))["data"]
    assert (made["created_count"], made["reused_count"]) == (1, 1)
    assert made["results"][0]["data_unit_id"] == made["results"][1]["data_unit_id"]


async def test_strict_offers_no_extra(start):
    client = await start(strict=True)
    collection = await client.collection(extensions=["bin"])
    md5 = (await client.upload(b"x"))["checksum"]
    unit = {"data_collection": collection, "files": {"data_1": binding(md5)}}
    made = await client.call("POST", "/data_units/", json=unit, status=201)
    assert "size" not in made["files"]["data_1"]
    listed = await client.call("GET", "/data_collections/")
    assert all(isinstance(s, int) for s in listed["results"][0]["file_specifications"])
    one = await client.call("GET", f"/data_collections/{collection}/?expand=file_specifications")
    assert one["file_specifications"][0]["name"] == "data_1"
    await client.collection(name="two")
    page = await client.call("GET", "/v2/data-collections/", params={"per_page": 1})
    cursor = page["meta"]["pagination"]["next_cursor"]
    assert not cursor.startswith("http")
    rest = await client.call("GET", "/v2/data-collections/", params={"cursor": cursor})
    assert [c["name"] for c in rest["data"]] == ["two"]
    status, headers, _ = await client.raw("GET", f"{client.url}/health/")
    assert status == 200
    assert "X-Synapsefs-Server" not in headers


async def test_bulk_creation_in_no_collection(client):
    md5 = (await client.upload(b"x"))["checksum"]
    body = {"data_collection": 99, "units": [{"files": {"data_1": binding(md5)}}]}
    path = "/v2/data-units/bulk-create/"
    refused = await client.call("POST", path, json=body, status=422)
    assert refused["error"]["code"] == "UNPROCESSABLE_ENTITY"
    await client.call("POST", f"{path}?dry_run=true", json=body, status=422)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name,-id", "a3 a1 b4 b2"),
        ("-name,id", "b2 b4 a1 a3"),
        ("name", "a1 a3 b2 b4"),
        ("-id,name", "b4 a3 b2 a1"),
        ("-name,-created,id", "b4 b2 a3 a1"),
    ],
)
async def test_lists_are_sorted_by_each_key(client, sort, order):
    for name in "abab":
        await client.collection(name=name)
    path, shown = f"/v2/data-collections/?per_page=1&sort={sort}", []
    while path:
        page = await client.call("GET", path)
        shown += [f"{item['name']}{item['id']}" for item in page["data"]]
        path = page["meta"]["pagination"]["next_cursor"]
    assert " ".join(shown) == order
    for wrong in ("name,size", "name,name", "name,"):
        await client.call("GET", f"/v2/data-collections/?sort={wrong}", status=400)
