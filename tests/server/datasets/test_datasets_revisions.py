"""Revisions: publishing, drafts, stale bases, reading the past."""

import uuid

from synapsefs.wire.datasets.answers import EntryResponse, RevisionList
from synapsefs.wire.datasets.constants import ENTRIES_PATH


async def revise(api, entry, key=None, **members):
    body = {
        "revision_id": key or str(uuid.uuid4()),
        "base_revision_id": entry.current_revision_id,
        "publish": True,
        **members,
    }
    return await api.patch(entry.data_storage.id, **body)


async def history(api, key, **query):
    answer = await api.call("GET", f"{ENTRIES_PATH}/{key}/revisions", params=query)
    assert answer.status == 200, answer.body
    for revision in answer.json["revisions"]:
        assert {"parent_revision_id", "trajectory_id", "published_at"} <= set(revision)
    return RevisionList.model_validate_json(answer.body)


async def test_a_revision_replaces_the_content(api):
    first = await api.create("t", content="one", file_path="t.txt")
    answer = await revise(api, first, content="two", name="renamed", description="d")
    second = EntryResponse.model_validate_json(answer.body)
    assert second.data_storage.content == "two"
    assert (second.data_storage.name, second.data_storage.description) == ("renamed", "d")
    assert (second.version, second.revision_generation) == (1, 2)
    assert second.current_revision_id == second.revision_id != first.revision_id
    key = first.data_storage.id
    old = await api.get(key, version=0)
    assert (old.data_storage.content, old.data_storage.name) == ("one", "t")
    assert old.current_revision_id == second.revision_id
    assert (await api.get(key, revision_id=first.revision_id)).data_storage.content == "one"
    assert (await api.call("GET", f"{ENTRIES_PATH}/{key}?version=2")).status == 404
    assert (await api.call("GET", f"{ENTRIES_PATH}/{key}?version=x")).status == 422


async def test_a_stale_base_conflicts(api):
    base = await api.create("t", content="one")
    assert (await revise(api, base, content="two")).status == 200
    assert (await revise(api, base, content="three")).status == 409
    assert (await api.get(base.data_storage.id)).data_storage.content == "two"


async def test_the_same_request_again_succeeds(api):
    base, key = await api.create("t", content="one"), str(uuid.uuid4())
    for _ in "ab":
        assert (await revise(api, base, key, content="two")).status == 200
    assert (await revise(api, base, key, content="other")).status == 409
    assert (await api.get(base.data_storage.id)).version == 1


async def test_a_draft_is_published_later(two_users):
    owner, other = two_users
    base, key = await owner.create("t", content="one"), str(uuid.uuid4())
    entry = base.data_storage.id
    await owner.patch(entry, share_status="public")
    draft = (await revise(owner, base, key, content="two", publish=False)).json
    assert (draft["revision_id"], draft["current_revision_id"]) == (key, base.revision_id)
    assert (await owner.get(entry)).data_storage.content == "one"
    assert (await owner.get(entry, revision_id=key)).data_storage.content == "two"
    assert (await other.call("GET", f"{ENTRIES_PATH}/{entry}?revision_id={key}")).status == 404
    listed = await history(owner, entry, include_unpublished="true")
    assert [r.published_at is None for r in listed.revisions] == [True, False]
    assert len((await history(other, entry, include_unpublished="true")).revisions) == 1
    for _ in "ab":
        assert (await revise(owner, base, key)).status == 200
    assert (await other.get(entry)).data_storage.content == "two"


async def test_a_stale_draft_conflicts(api):
    base, key = await api.create("t", content="one"), str(uuid.uuid4())
    await revise(api, base, key, content="draft", publish=False)
    await revise(api, base, content="two")
    assert (await revise(api, base, key)).status == 409
    assert (await revise(api, base)).status == 404
    assert (await revise(api, base, content="x", source_entry_id="y")).status == 422


async def test_an_upload_becomes_the_content_of_a_file(api):
    key = await api.upload("f.bin", [b"one"])
    source = await api.upload("tmp.bin", [b"two"])
    base = await api.get(key)
    assert (await revise(api, base, source_entry_id=source)).status == 200
    assert (await api.delete(source)).status == 204
    assert (await api.read(key)).body == b"two"
    now = await api.get(key)
    assert (now.data_storage.size, now.data_storage.file_path) == (3, "/home/u/f.bin")
    old = (await api.get(key, version=0)).storage_locations[0].storage_config.signed_url
    assert (await api.plain("GET", old)).body == b"one"
    listed = await history(api, key)
    assert [r.version for r in listed.revisions] == [1, 0]
    assert listed.current_revision_id == listed.revisions[0].id
    assert listed.revisions[0].parent_revision_id == base.revision_id
    assert [r.version for r in (await history(api, key, limit=1, offset=1)).revisions] == [0]


async def test_a_completed_but_pending_upload_may_be_the_source(api):
    key = await api.upload("f.bin", [b"one"])
    source = (await api.create("tmp", file_path="tmp")).data_storage.id
    base = await api.get(key)
    assert (await revise(api, base, source_entry_id=source)).status == 409
    await api.send(source, [b"two", b"2"])
    assert (await revise(api, base, source_entry_id=source)).status == 200
    assert (await api.read(key)).body == b"two2"


async def test_bytes_replace_text_and_text_bytes(api):
    text = await api.create("t.txt", content="one", file_path="t.txt")
    source = await api.upload("s", [b"\xff"])
    await revise(api, text, source_entry_id=source)
    now = await api.get(text.data_storage.id)
    assert now.data_storage.content is None
    assert now.storage_locations[0].storage_config.storage_type == "gcs"
    assert (await api.read(text.data_storage.id)).body == b"\xff"
    await revise(api, now, content="three")
    again = await api.get(text.data_storage.id)
    assert again.data_storage.content == "three"
    assert again.storage_locations[0].storage_config.storage_type == "raw_content"


async def test_limits_of_the_history(api):
    key = (await api.create("t", content="x")).data_storage.id
    for query in ("limit=0", "limit=101", "offset=-1"):
        assert (await api.call("GET", f"{ENTRIES_PATH}/{key}/revisions?{query}")).status == 422


async def test_directories_have_no_revisions(api):
    root = await api.create("tree")
    assert (root.revision_id, root.current_revision_id) == (None, None)
    assert (await history(api, root.data_storage.id)).revisions == []
    assert (await revise(api, root, content="x")).status == 422


async def test_every_revision_has_a_number_of_its_own(api):
    base = await api.create("t", content="one")
    for text in ("two", "three"):
        assert (await revise(api, base, content=text, publish=False)).status == 200
    assert (await revise(api, base, content="four")).status == 200
    listed = await history(api, base.data_storage.id, include_unpublished="true")
    assert [r.version for r in listed.revisions] == [3, 2, 1, 0]
    assert (await api.get(base.data_storage.id, version=3)).data_storage.content == "four"
