"""Datasets, organisations and projects."""

import uuid

import pytest

from synapsefs.server import housekeeping
from synapsefs.server.datasets import dataset_routes
from synapsefs.wire.datasets.answers import DatasetListing, DatasetWithEntries
from synapsefs.wire.datasets.constants import (
    DATASETS_PATH,
    ENTRIES_PATH,
    LISTING_PATH,
    PROJECTS_PATH,
)


async def test_create_read_delete(api):
    created = await api.call("POST", DATASETS_PATH, {"name": "d", "description": "x"})
    assert created.status == 201
    key = created.json["id"]
    assert created.json == {"id": key, "name": "d", "description": "x"}
    read = await api.call("GET", f"{DATASETS_PATH}/{key}")
    assert read.json["dataset"]["name"] == read.json["name"] == "d"
    assert DatasetWithEntries.model_validate_json(read.body).dataset.id == key
    entry = (await api.create("t", content="x", dataset_id=key)).data_storage.id
    assert (await api.call("DELETE", f"{DATASETS_PATH}/{key}")).status == 204
    assert await api.status_of(entry) == 404
    gone = await api.call("GET", f"{DATASETS_PATH}/{key}")
    assert gone.status == 404
    assert "Failed to get dataset" in gone.json["detail"]


async def test_entries_of_every_depth_are_listed_flat(api):
    root = (await api.create("tree")).data_storage
    sub = (await api.create("sub", parent_id=root.id)).data_storage
    await api.create("leaf", content="x", parent_id=sub.id)
    await api.create("waiting", file_path="w", parent_id=sub.id)
    listed = await api.entries(root.dataset_id)
    assert [(e["name"], e.get("parent_id"), e["status"]) for e in listed] == [
        ("tree", None, "active"),
        ("sub", root.id, "active"),
        ("leaf", sub.id, "active"),
        ("waiting", sub.id, "pending"),
    ]


async def test_ids_may_be_chosen_once(api):
    body = {"name": "d", "id": str(uuid.uuid4())}
    assert (await api.call("POST", DATASETS_PATH, body)).json["id"] == body["id"]
    assert (await api.call("POST", DATASETS_PATH, body)).status == 409
    assert (await api.call("POST", DATASETS_PATH, {"name": ""})).status == 422
    for key in ("a/../b", "", "7", body["id"] + "0"):
        assert (await api.call("POST", DATASETS_PATH, {"name": "d", "id": key})).status == 422
    upper = {"name": "d", "id": str(uuid.uuid4()).upper()}
    assert (await api.call("POST", DATASETS_PATH, upper)).json["id"] == upper["id"].lower()


async def test_the_listing_is_newest_first(two_users):
    owner, other = two_users
    keys = [await owner.dataset(name) for name in ("a", "b", "a")]
    answer = await owner.call("GET", LISTING_PATH)
    listing = DatasetListing.model_validate_json(answer.body)
    assert [d.id for d in listing.datasets] == keys[::-1]
    named = (await owner.call("GET", f"{LISTING_PATH}?name=a")).json["datasets"]
    assert [d["id"] for d in named] == [keys[2], keys[0]]
    assert (await other.call("GET", LISTING_PATH)).json == {"datasets": []}


async def test_others_see_a_dataset_by_what_is_shared_in_it(two_users):
    owner, other = two_users
    key = await owner.dataset()
    assert (await other.call("GET", f"{DATASETS_PATH}/{key}")).status == 404
    shown = (await owner.create("shown", content="x", dataset_id=key)).data_storage.id
    await owner.create("hidden", content="x", dataset_id=key)
    await owner.patch(shown, share_status="public")
    assert [e["name"] for e in await other.entries(key)] == ["shown"]
    assert (await other.call("DELETE", f"{DATASETS_PATH}/{key}")).status == 403


async def test_strict_answers_are_official(serving):
    api = await serving(strict=True)
    key = await api.dataset()
    await api.upload("f", [b"x"], dataset_id=key)
    answer = await api.call("GET", f"{DATASETS_PATH}/{key}")
    assert set(answer.json) == {"dataset", "data_storage_entries"}
    assert not {"size", "signed_url", "md5", "metadata"} & set(
        answer.json["data_storage_entries"][0]
    )
    assert (await api.call("GET", LISTING_PATH)).status == 404


async def test_one_organisation(serving):
    api = await serving(tenant="acme")
    answer = await api.call("GET", "/v0.1/organizations?filter=True")
    assert answer.json[0]["name"] == "acme"


async def test_projects(api):
    created = await api.call("POST", PROJECTS_PATH, {"name": "p"})
    assert uuid.UUID(created.json)
    found = await api.call("GET", f"{PROJECTS_PATH}?limit=2&name=p")
    assert [project["id"] for project in found.json] == [created.json]
    assert (await api.call("GET", f"{PROJECTS_PATH}?name=q")).json == []


@pytest.mark.parametrize("path", [DATASETS_PATH + "/", "/v0.1/nothing"])
async def test_nothing_redirects(api, path):
    assert (await api.call("GET", path)).status == 404


async def test_a_listing_carries_a_bounded_amount_of_text(api, monkeypatch):
    monkeypatch.setattr("synapsefs.server.datasets.search.LISTING_TEXT", 10)
    root = (await api.create("tree")).data_storage
    for name in ("a", "b", "c"):
        await api.create(name, content="12345", parent_id=root.id)
    listed = await api.entries(root.dataset_id)
    assert [entry.get("content") for entry in listed] == [None, "12345", "12345", None]


async def test_nothing_can_be_put_into_what_is_anothers(two_users):
    owner, other = two_users
    root = (await owner.create("tree")).data_storage
    await owner.patch(root.id, share_status="public")
    for place in ({"parent_id": root.id}, {"dataset_id": root.dataset_id}):
        answer = await other.call("POST", ENTRIES_PATH, {"name": "x", "content": "", **place})
        assert answer.status == 404


async def test_a_large_dataset_is_deleted_in_batches(api, monkeypatch):
    """Others write meanwhile, and a deletion that was interrupted is finished by the next sweep."""
    monkeypatch.setattr(dataset_routes, "BATCH", 3)
    body = {"name": "d", "id": str(uuid.uuid4())}
    for interrupted in (False, True):
        assert (await api.call("POST", DATASETS_PATH, body)).status == 201
        keys = [
            (await api.create(f"{number}", content="x", dataset_id=body["id"])).data_storage.id
            for number in range(7)
        ]
        with monkeypatch.context() as patch:
            if interrupted:
                patch.setattr(dataset_routes, "remove_files", _fail)
            answer = await api.call("DELETE", f"{DATASETS_PATH}/{body['id']}")
        assert answer.status == (500 if interrupted else 204)
        assert (await api.call("GET", f"{DATASETS_PATH}/{body['id']}")).status == 404
        left = [key for key in keys if await api.status_of(key) == 200]
        assert left == (keys[:4] if interrupted else [])
    assert (await api.call("POST", DATASETS_PATH, body)).status == 409
    await housekeeping.sweep(api.app)
    assert {await api.status_of(key) for key in keys} == {404}
    assert (await api.call("POST", DATASETS_PATH, body)).status == 201


async def _fail(*_):
    raise OSError("the process ends")
