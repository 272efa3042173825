"""Entries of every variant: creation, reading, deletion."""

import pytest

from synapsefs.wire.datasets.answers import EntryResponse
from synapsefs.wire.datasets.constants import ENTRIES_PATH


async def test_inline_text_is_active_and_kept_byte_for_byte(api):
    text = "a\r\nb\rc\n\t\x01 ünïcode \U0001f600"
    created = await api.create("t", content=text, tags=["x"], metadata={"k": [1, None]})
    assert created.data_storage.status == "active"
    read = await api.get(created.data_storage.id)
    assert (read.data_storage.content, read.content) == (text, text)
    assert read.data_storage.tags == ["x"]
    [location] = read.storage_locations
    assert location.storage_config.storage_type == "raw_content"
    assert location.storage_config.content_type == "text"
    assert location.storage_config.metadata == {"k": [1, None]}
    assert location.data_storage_id == read.data_storage.id
    assert read.data_storage.size == len(text.encode())
    assert read.revision_id == read.current_revision_id is not None
    assert (read.version, read.revision_generation) == (0, 1)


async def test_text_with_nul_survives(api):
    created = await api.create("t", content="a\x00b")
    assert (await api.get(created.data_storage.id)).data_storage.content == "a\x00b"


async def test_empty_text_is_text(api):
    created = await api.create("t", content="", file_path="t.txt")
    assert created.data_storage.status == "active"
    assert (await api.get(created.data_storage.id)).data_storage.content == ""


async def test_long_text_is_sent_back(api):
    text = "ä" * 100_000
    created = await api.create("t", content=text)
    assert (created.data_storage.content, created.content) == (text, text)
    key = created.data_storage.id
    changed = EntryResponse.model_validate_json((await api.patch(key, tags=["a"])).body)
    assert (changed.data_storage.content, changed.content) == (text, text)
    assert (await api.get(key)).data_storage.content == text


async def test_an_alias_names_the_entry(api):
    created = (await api.create("t", content="x")).data_storage
    assert (await api.get(created.short_alias)).data_storage.id == created.id
    assert (await api.get(created.id.upper())).data_storage.id == created.id


async def test_link(api):
    place = {
        "storage_type": "link",
        "content_type": "text",
        "location": "https://example.org/x",
        "metadata": {"instructions": "ask"},
    }
    read = await api.get((await api.create("l", existing_location=place)).data_storage.id)
    assert read.data_storage.status == "active"
    assert read.data_storage.content == "https://example.org/x"
    config = read.storage_locations[0].storage_config
    assert (config.storage_type, config.location) == ("link", "https://example.org/x")
    assert config.metadata == {"instructions": "ask"}
    assert config.signed_url is None


async def test_a_file_is_pending_until_its_upload(api):
    created = await api.create("f", file_path="a/b/f.bin", metadata={"size": 7})
    assert created.data_storage.status == "pending"
    assert created.data_storage.file_path == "a/b/f.bin"
    [location] = created.storage_locations
    assert location.storage_config.storage_type == "gcs"
    assert location.storage_config.signed_url is None
    key = created.data_storage.id
    state = await api.call("GET", f"{ENTRIES_PATH}/{key}/status")
    assert state.json == {"id": key, "status": "pending"}
    assert (await api.patch(key, status="active")).status == 409


async def test_a_root_directory_brings_its_dataset(api):
    root = (await api.create("tree")).data_storage
    assert root.status == "active"
    assert root.dataset_id is not None
    assert (await api.get(root.id)).storage_locations == []
    child = (await api.create("c", content="c", parent_id=root.id)).data_storage
    assert child.dataset_id == root.dataset_id
    twin = (await api.create("d", content="d", parent_id=root.short_alias)).data_storage
    assert twin.parent_id == root.id


async def test_a_stray_file_has_no_dataset(api):
    assert (await api.create("t", content="x")).data_storage.dataset_id is None


@pytest.mark.parametrize("member", ["parent_id", "dataset_id"])
async def test_unknown_places_are_not_found(api, member):
    absent = "00000000-0000-4000-8000-000000000000"
    answer = await api.call("POST", ENTRIES_PATH, {"name": "x", "content": "", member: absent})
    assert answer.status == 404
    assert isinstance(answer.json["detail"], str)


@pytest.mark.parametrize(
    "body",
    [b'{"name": ""}', b"{}", b"[]", b"{", b'{"name": "x", "tags": "y"}', b'{"name":"\\ud800"}'],
)
async def test_nonsense_is_unprocessable(api, body):
    headers = {"Authorization": f"Bearer {api.bearer}", "Content-Type": "application/json"}
    answer = await api.plain("POST", api.url + ENTRIES_PATH, data=body, headers=headers)
    assert answer.status == 422
    assert {"loc", "msg", "type"} <= set(answer.json["detail"][0])


async def test_equal_names_are_allowed(api):
    root = (await api.create("tree")).data_storage
    keys = {
        (await api.create("same", content="x", parent_id=root.id)).data_storage.id for _ in "ab"
    }
    assert len(keys) == 2


async def test_deletion(api):
    key = (await api.create("t", content="x")).data_storage.id
    assert (await api.delete(key)).status == 204
    gone = await api.call("GET", f"{ENTRIES_PATH}/{key}")
    assert gone.status == 404
    assert "Data storage entry not found" in gone.json["detail"]
    assert (await api.delete(key)).status == 404


async def test_deleting_a_directory_deletes_what_is_below(api):
    root = (await api.create("tree")).data_storage
    sub = (await api.create("sub", parent_id=root.id)).data_storage
    leaf = (await api.create("leaf", content="x", parent_id=sub.id)).data_storage
    assert (await api.delete(sub.id)).status == 204
    assert [await api.status_of(key) for key in (root.id, sub.id, leaf.id)] == [200, 404, 404]


async def test_tags_and_permissions(api):
    key = (await api.create("t", content="x", tags=["old"])).data_storage.id
    answer = await api.patch(key, tags=["a", "b"])
    assert EntryResponse.model_validate_json(answer.body).data_storage.tags == ["a", "b"]
    answer = await api.patch(
        key, share_status="shared", permitted_accessors={"users": ["x@y.z"], "organizations": [7]}
    )
    assert answer.json["data_storage"]["share_status"] == "shared"
    assert (await api.patch(key, share_status="everybody")).status == 422
    assert (await api.patch(key, status="odd")).status == 422
    assert (await api.patch(key, unknown=1)).status == 422
    assert (await api.patch(key, status="pending")).status == 409


async def test_others_see_only_what_is_shared(two_users):
    owner, other = two_users
    key = (await owner.create("t", content="x")).data_storage.id
    assert await other.status_of(key) == 404
    await owner.patch(key, share_status="public")
    assert await other.status_of(key) == 200
    assert (await other.delete(key)).status == 403
    assert (await other.patch(key, tags=[])).status == 403
    me = (await other.create("mine", content="")).data_storage.user_id
    await owner.patch(key, share_status="shared")
    assert await other.status_of(key) == 404
    await owner.patch(key, share_status="shared", permitted_accessors={"users": [me]})
    assert await other.status_of(key) == 200
    await owner.patch(key, permitted_accessors={"organizations": ["default"]})
    assert await other.status_of(key) == 200


async def test_credentials(serving):
    api = await serving(api_keys=("key_a",))
    refused = await api.plain("POST", f"{api.url}/auth/login", json={"api_key": "wrong"})
    assert refused.status == 401
    assert "detail" in refused.json
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await api.plain("GET", f"{api.url}{ENTRIES_PATH}/x", headers=headers)
        assert answer.status == 401
    second = await serving.login(api.url, "key_a")
    assert second.bearer != api.bearer
    key = (await second.create("t", content="x")).data_storage.id
    assert await api.status_of(key) == 200


async def test_strict_entries_carry_nothing_extra(serving):
    api = await serving(strict=True)
    root = (await api.create("tree")).data_storage
    answer = await api.call("GET", f"{ENTRIES_PATH}/{root.id}")
    assert not {"size", "metadata", "signed_url", "md5"} & set(answer.json["data_storage"])
    assert "X-Synapsefs-Server" not in answer.headers
    child = (await api.create("c", content="x", parent_id=root.id)).data_storage
    assert (await api.delete(root.id)).status == 204
    assert await api.status_of(child.id) == 200


async def test_a_parent_is_a_directory_of_the_same_dataset(api):
    first, second = (await api.create("one")).data_storage, (await api.create("two")).data_storage
    text = (await api.create("t", content="x", parent_id=first.id)).data_storage
    file = await api.upload("f", [b"x"], parent_id=first.id)
    body = {"name": "new", "content": "x"}
    for parent, dataset in ((text.id, None), (file, None), (first.id, second.dataset_id)):
        place = {"parent_id": parent, "dataset_id": dataset}
        assert (await api.call("POST", ENTRIES_PATH, body | place)).status == 422
    place = {"parent_id": first.id, "dataset_id": first.dataset_id}
    assert (await api.create("good", content="x", **place)).data_storage.parent_id == first.id


@pytest.mark.parametrize("strict", [False, True])
async def test_an_entry_whose_directory_goes_meanwhile_is_not_published(serving, strict):
    api = await serving(strict=strict)
    root = (await api.create("tree")).data_storage
    folder = (
        await api.create("folder", parent_id=root.id, dataset_id=root.dataset_id)
    ).data_storage
    body = {"file_path": "new", "parent_id": folder.id, "dataset_id": root.dataset_id}
    key = (await api.create("new", **body)).data_storage.id
    if strict:
        await api.send(key, [b"x"])
    assert (await api.delete(folder.id)).status == 204
    assert (await api.patch(key, status="active")).status == 404
    listed = {entry["name"]: entry["status"] for entry in await api.entries(root.dataset_id)}
    assert listed == {"tree": "active"} | ({"new": "pending"} if strict else {})
    assert (await api.call("POST", ENTRIES_PATH, {"name": "late", **body})).status == 404
