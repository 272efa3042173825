"""A collection's schema for the metadata of its units is enforced on every route that sets it."""

from __future__ import annotations

import pytest

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number", "minimum": 0}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.fixture
async def collection(client):
    body = {
        "name": "strictly",
        "category": "data",
        "file_specifications": [{"name": "data_1", "file_type": "data", "is_required": True}],
        "meta": {"data_unit_meta_schema": SCHEMA},
    }
    return (await client.call("POST", "/v2/data-collections/", json=body, status=201))["data"]["id"]


async def create(client, collection, meta, status=201):
    checksum = (await client.upload(b"content"))["checksum"]
    body = {"data_collection": collection, "files": {"data_1": {"checksum": checksum}}}
    return await client.call("POST", "/data_units/", json={**body, "meta": meta}, status=status)


async def test_creation_is_refused_with_every_problem(client, collection):
    refused = await create(client, collection, {"score": -1, "other": 1}, status=400)
    words = refused["meta"][0]
    assert "'label' is a required property" in words
    assert "meta.score: -1 is less than the minimum of 0" in words
    assert "'other' was unexpected" in words
    await create(client, collection, None, status=400)
    page = await client.call("GET", "/data_units/", params={"data_collection": collection})
    assert page["count"] == 0


async def test_what_the_uploader_adds_is_let_pass(client, collection):
    own = {"data_unit_key": "a", "origin_file_stem": "a", "origin_file_extension": ".bin"}
    unit = await create(client, collection, {"label": "cat", **own, "created_at": "today"})
    assert unit["meta"]["label"] == "cat"


async def test_changes_and_bulk_creation_obey_too(client, collection):
    unit = await create(client, collection, {"label": "cat"})
    one = f"/v2/data-units/{unit['id']}/"
    await client.call("PATCH", one, json={"meta": {"label": 1}}, status=400)
    await client.call("PATCH", one, json={"meta": {"label": "dog"}})
    files = {"data_1": {"checksum": unit["files"]["data_1"]["checksum"]}}
    bulk = {"data_collection": collection, "units": [{"files": files, "meta": {}}]}
    await client.call("POST", "/v2/data-units/bulk-create/", json=bulk, status=400)
    bare = {"data_collection": collection, "meta": {}}
    await client.call("POST", "/v2/data-units/", json=bare, status=400)


async def test_a_schema_that_is_none_is_refused(client):
    body = {
        "name": "broken",
        "category": "data",
        "file_specifications": [],
        "meta": {"data_unit_meta_schema": {"type": "nonsense"}},
    }
    answer = await client.call("POST", "/v2/data-collections/", json=body, status=400)
    assert "no JSON Schema" in answer["error"]["message"]


async def test_references_out_of_the_schema_are_not_followed(client):
    body = {
        "name": "remote",
        "category": "data",
        "file_specifications": [{"name": "data_1", "file_type": "data"}],
        "meta": {"data_unit_meta_schema": {"$ref": f"{client.url}/health/"}},
    }
    made = await client.call("POST", "/v2/data-collections/", json=body, status=201)
    refused = await create(client, made["data"]["id"], {"a": 1}, status=400)
    assert "refers to what it does not hold" in refused["meta"][0]
