"""A collection's schema for the metadata of its units is enforced on every route that sets it."""

from __future__ import annotations

import asyncio
import re
import time
from random import Random

import pytest

from synapsefs.wire.collections.metadata import metadata_checker

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
COLLECTION = {
    "name": "c",
    "category": "data",
    "file_specifications": [{"name": "data_1", "file_type": "data"}],
}

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


async def with_schema(client, schema):
    """Create a collection whose units' metadata a schema is for; give its id."""
    body = {**COLLECTION, "meta": {"data_unit_meta_schema": schema}}
    made = await client.call("POST", "/v2/data-collections/", json=body, status=201)
    return made["data"]["id"]


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


def doubling(levels):
    """A small schema that asks for two to the power of `levels` checks."""
    levels = {
        f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}, {"$ref": f"#/$defs/l{n + 1}"}]}
        for n in range(levels)
    }
    return {"$defs": {**levels, f"l{len(levels)}": {"type": "object"}}, "$ref": "#/$defs/l0"}


ENDLESS = {
    "a pattern": (
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"a": "a" * 50_000 + "b"},
        "does not match",
    ),
    "a pattern of names": (
        {"patternProperties": {"^(a|a)*$": False}, "additionalProperties": False},
        {"a" * 50_000 + "b": 1},
        "unexpected",
    ),
    "references": (doubling(40), {"a": 1}, "takes too long"),
    "a reference to itself": ({"$ref": "#"}, {"a": 1}, "takes too long"),
    "comparisons": (
        {"properties": {"a": {"uniqueItems": True}}},
        {"a": [{"n": n} for n in range(20_000)]},
        "takes too long",
    ),
    "long patterns": (
        {"properties": {"a": {"pattern": "(a|b|ab){1,200}c"}}},
        {"a": "ab" * 200_000},
        "does not match",
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_no_schema_keeps_the_server(client, kind):
    """Checking is bounded, and others are served and can write meanwhile."""
    schema, meta, words = ENDLESS[kind]
    collection = await with_schema(client, schema)
    other = await client.collection(name="other")
    checksum = (await client.upload(b"x"))["checksum"]
    files = {"data_1": {"checksum": checksum}}
    began = time.monotonic()
    checking = asyncio.create_task(create(client, collection, meta, status=400))
    await client.call(
        "POST", "/data_units/", json={"data_collection": other, "files": files}, status=201
    )
    refused = await checking
    assert words in refused["meta"][0]
    bulk = {"data_collection": collection, "units": [{"files": files, "meta": meta}]}
    await client.call("POST", "/v2/data-units/bulk-create/?dry_run=true", json=bulk, status=400)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "(?=a)b"}}},
        {"properties": {"a": {"pattern": r"(a)\1"}}},
        {"properties": {"a": {"pattern": "a" * 2000}}},
        {"properties": {"a": {"pattern": "(a{1000}){1000}"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"patternProperties": {str(n): {} for n in range(300)}},
        {"patternProperties": {"a": True}, "unevaluatedProperties": False},
        {"enum": [{"n": n} for n in range(20_000)], "$schema": DRAFT_7},
    ],
)
async def test_a_schema_that_cannot_be_bounded_is_refused(client, schema):
    body = {**COLLECTION, "meta": {"data_unit_meta_schema": schema}}
    await client.call("POST", "/v2/data-collections/", json=body, status=400)
    collection = await client.collection()
    change = {"meta": body["meta"]}
    path = f"/v2/data-collections/{collection}/"
    await client.call("PATCH", path, json=change, status=400)


PATTERNS = ["a", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", "[a-c1]", r"\W", "^", "$", r"\b", r"\."]


def some_pattern(random, depth):
    kind = random.random()
    if depth == 0 or kind < 0.35:
        return random.choice(PATTERNS)
    inner = some_pattern(random, depth - 1)
    if kind < 0.6:
        return inner + some_pattern(random, depth - 1)
    if kind < 0.75:
        return f"({inner}|{some_pattern(random, depth - 1)})"
    return f"(?:{inner})" + random.choice(["*", "+", "?", "{2}", "{1,3}", "*?", "{2,}"])


def test_patterns_match_as_in_python():
    """What is told apart is what Python's own engine tells apart."""
    random = Random(1)
    for _ in range(300):
        pattern = some_pattern(random, 4)
        check = metadata_checker({"properties": {"a": {"pattern": pattern}}})
        for _ in range(5):
            text = "".join(random.choice("abc1 _.\n") for _ in range(random.randrange(7)))
            assert bool(check({"a": text})) == (re.search(pattern, text) is None), (pattern, text)
