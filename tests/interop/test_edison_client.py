"""The official client of the datasets service against our server."""

import importlib.util
import json
import os
import uuid
from importlib import import_module
from types import SimpleNamespace

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("edison_client") is None, reason="edison-client is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),
]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture
def edison():
    """The client's package; importing it takes seconds."""
    return pytest.importorskip("edison_client")


@pytest.fixture
def models(edison):
    modules = map(
        import_module, ("edison_client.models.data_storage_methods", "edison_client.models.rest")
    )
    return SimpleNamespace(**{name: it for module in modules for name, it in vars(module).items()})


@pytest.fixture
def errors(edison):
    return import_module("edison_client.clients.exceptions")


@pytest.fixture
def client(edison, server):
    return edison.EdisonClient(service_uri=server.url, api_key="key_test")


@pytest.fixture
def tree(tmp_path):
    """A folder with text, bytes, an empty file and something to ignore."""
    root = tmp_path / "tree"
    (root / "src/deep").mkdir(parents=True)
    (root / "readme.md").write_text("# read me\n")
    (root / "src/image.png").write_bytes(PNG)
    (root / "src/deep/empty.bin").write_bytes(b"")
    (root / "src/skip.pyc").write_bytes(b"x")
    return root


def files_below(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def store(client, path, **options):
    return client.store_file_content(name=path.name, file_path=path, **options).data_storage.id


def test_credentials(edison, server):
    edison.EdisonClient(
        service_uri=server.url, api_key="key_test", organization="acme"
    ).check_credentials()
    with pytest.raises(Exception, match="authenticate"):
        edison.EdisonClient(service_uri=server.url, api_key="wrong").check_credentials()


def test_text(client):
    stored = client.store_text_content(
        name="t", content="hello wörld\n", description="d", tags=["a"], metadata={"k": 1}
    )
    assert stored.data_storage.status == "active"
    assert stored.storage_locations[0].storage_config.storage_type == "raw_content"
    fetched = client.fetch_data_from_storage(stored.data_storage.id)
    assert (fetched.content, fetched.entry_name) == ("hello wörld\n", "t")
    alias = client.fetch_data_from_storage(stored.data_storage.short_alias)
    assert alias.entry_id == stored.data_storage.id


def test_a_small_text_file_is_inline(client, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    stored = client.store_file_content(name="t", file_path=path, file_path_override="x/t.csv")
    assert stored.data_storage.file_path == "x/t.csv"
    fetched = client.fetch_data_from_storage(stored.data_storage.id)
    assert (str(fetched.filename), fetched.content) == ("x/t.csv", "a,b\n1,2\n")


@pytest.mark.parametrize("size", [0, 300, 10 * 1024 * 1024 + 1], ids=["empty", "small", "two"])
def test_bytes(client, tmp_path, size):
    path = tmp_path / "f.bin"
    path.write_bytes(os.urandom(size))
    key = store(client, path)
    fetched = client.fetch_data_from_storage(key)
    assert fetched.name == "f.bin"
    assert fetched.read_bytes() == path.read_bytes()


def test_a_zipped_directory(client, tree):
    key = store(client, tree, as_collection=True)
    assert client.get_data_storage_entry(key).data_storage.is_collection
    assert set(files_below(client.fetch_data_from_storage(key))) == {
        "readme.md",
        "src/image.png",
        "src/deep/empty.bin",
    }


def test_a_directory_tree(client, tree):
    stored = client.store_file_content(name="tree", file_path=tree, description="all")
    dataset = client.get_dataset(stored.data_storage.dataset_id)
    entries = {entry.name: entry for entry in dataset.data_storage_entries}
    assert set(entries) == {"tree", "src", "deep", "readme.md", "image.png", "empty.bin"}
    assert entries["deep"].parent_id == entries["src"].id
    assert entries["src"].parent_id == stored.data_storage.id
    assert {entry.status for entry in entries.values()} == {"active"}
    fetched = client.fetch_data_from_storage(entries["image.png"].id)
    assert fetched.read_bytes() == PNG


def test_links(client, errors):
    stored = client.store_link("l", "https://example.org/api", "about", "call it", api_key="k")
    location = stored.storage_locations[0].storage_config
    assert (location.storage_type, location.content_type) == ("link", "text")
    assert location.location == stored.data_storage.content == "https://example.org/api"
    assert location.metadata == {"instructions": "call it", "api_key": "k"}
    with pytest.raises(errors.DataStorageRetrievalError, match="Unsupported storage type"):
        client.fetch_data_from_storage(stored.data_storage.id)


def test_registered_sources(client, models, server, tmp_path, errors):
    folder = tmp_path / "bucket/p"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    (folder / "b.txt").write_bytes(b"bb")
    config = {"buckets": {"data": str(tmp_path / "bucket")}}
    (tmp_path / "root/sources.json").write_text(json.dumps(config))

    def register(as_collection, **place):
        location = models.DataStorageLocationPayload(
            storage_type="gcs", content_type="file", **place
        )
        return client.register_existing_data_source(
            "r", location, as_collection=as_collection
        ).data_storage.id

    paths = client.fetch_data_from_storage(
        register(True, metadata={"bucket_name": "data", "prefix": "p/"})
    )
    assert {path.name: path.read_bytes() for path in paths} == {"a.txt": b"a", "b.txt": b"bb"}
    single = register(False, location="p/b.txt", metadata={"bucket_name": "data"})
    assert client.fetch_data_from_storage(single).name == "b.txt"
    with pytest.raises(errors.DataStorageError, match="Prefix is not allowed for single file"):
        register(False, location="p/b.txt", metadata={"bucket_name": "data", "prefix": "p/"})


def test_a_table_row(client, models, tmp_path, errors):
    (tmp_path / "rows.json").write_text('{"7": {"task": "fold"}}')
    sources = {"tables": {"trajectories": str(tmp_path / "rows.json")}}
    (tmp_path / "root/sources.json").write_text(json.dumps(sources))

    def register(row_id):
        location = models.DataStorageLocationPayload(
            storage_type="pg_table",
            content_type="text",
            metadata={"table_name": "trajectories", "row_id": row_id},
        )
        return client.register_existing_data_source("row", location).data_storage.id

    assert json.loads(client.fetch_data_from_storage(register("7")).content) == {"task": "fold"}
    with pytest.raises(errors.DataStorageError, match="Cannot access row 8"):
        register("8")


def test_errors(client, errors):
    with pytest.raises(errors.DataStorageNotFoundError, match="Data storage entry not found"):
        client.fetch_data_from_storage(uuid.uuid4())
    with pytest.raises(errors.DataStorageNotFoundError, match="Failed to get dataset"):
        client.get_dataset(uuid.uuid4())
    with pytest.raises(errors.DataStorageError):
        client.store_text_content(name="", content="x")


def test_revisions(client, models, errors):
    entry = client.store_text_content(name="t", content="one")
    key = entry.data_storage.id
    update = models.DataStorageRevisionUpdate(
        revision_id=uuid.uuid4(),
        base_revision_id=client.get_data_storage_entry(key).revision_id,
        content="two",
    )
    for _ in "ab":
        revised = client.update_data_storage_entry(key, update)
        assert (revised.data_storage.content, revised.version) == ("two", 1)
    stale = update.model_copy(update={"revision_id": uuid.uuid4()})
    with pytest.raises(errors.DataStorageConflictError):
        client.update_data_storage_entry(key, stale)
    assert client.fetch_data_from_storage(key, version=0).content == "one"
    old = client.get_data_storage_entry(key, revision_id=entry.revision_id)
    assert old.data_storage.content == "one"
    history = client.list_data_storage_revisions(key, limit=10)
    assert [revision.version for revision in history.revisions] == [1, 0]
    assert history.current_revision_id == update.revision_id


def test_an_upload_as_revision(client, models, tmp_path):
    first, second = tmp_path / "a.bin", tmp_path / "b.bin"
    first.write_bytes(b"\xff1")
    second.write_bytes(b"\xff2")
    key, source = store(client, first), store(client, second)
    update = models.DataStorageRevisionUpdate(
        revision_id=uuid.uuid4(),
        base_revision_id=client.get_data_storage_entry(key).revision_id,
        source_entry_id=source,
    )
    client.update_data_storage_entry(key, update)
    assert client.fetch_data_from_storage(key).read_bytes() == b"\xff2"
    assert client.fetch_data_from_storage(key, version=0).read_bytes() == b"\xff1"


def test_tags_and_permissions(client, models):
    key = client.store_text_content(name="t", content="x").data_storage.id
    assert client.update_entry_tags(key, ["a", "b"]).data_storage.tags == ["a", "b"]
    shared = client.update_entry_permissions(
        key,
        share_status=models.ShareStatus.SHARED,
        permitted_accessors=models.PermittedAccessors(users=["a@b.c"], organizations=["acme", 1]),
    )
    assert shared.data_storage.share_status == "shared"


def test_datasets(client, errors):
    dataset = client.create_dataset(name="d", description="about")
    assert (dataset.name, dataset.description) == ("d", "about")
    key = client.store_text_content(name="t", content="x", dataset_id=dataset.id).data_storage.id
    read = client.get_dataset(dataset.id)
    assert [entry.id for entry in read.data_storage_entries] == [key]
    client.delete_data_storage_entry(key)
    assert client.get_dataset(dataset.id).data_storage_entries == []
    client.delete_dataset(dataset.id)
    for read_again, gone in (
        (client.get_data_storage_entry, key),
        (client.get_dataset, dataset.id),
    ):
        with pytest.raises(errors.DataStorageNotFoundError):
            read_again(gone)


def test_search(client, models):
    for name in ("red fox", "red dog", "blue fox"):
        client.store_text_content(name=name, content=f"about the {name}", description=name)

    def found(logic, **options):
        criteria = [
            models.SearchCriterion(field="name", operator="contains", value=value)
            for value in ("red", "fox")
        ]
        hits = client.search_data_storage(criteria=criteria, filter_logic=logic, **options)
        return [hit["name"] for hit in hits]

    assert found(models.FilterLogic.AND) == ["red fox"]
    assert set(found(models.FilterLogic.OR)) == {"red fox", "red dog", "blue fox"}
    assert len(found(models.FilterLogic.OR, limit=2)) == 2
    [hit] = client.search_data_storage(text_query="dog", highlight=True)
    assert hit["highlights"]["content"] == ["about the red <em>dog</em>"]


def test_similarity(client):
    client.store_text_content(name="n", content="x", embedding=[1.0, 0.0])
    [hit] = client.similarity_search_data_storage(embedding=[1.0, 0.1], min_score=0.9)
    assert hit["name"] == "n"


def test_upload_file_names_the_entry(client, tmp_path):
    path = tmp_path / "f.bin"
    path.write_bytes(PNG)
    uri = client.upload_file(path)
    assert uri.startswith("data_entry:")
    key = uri.removeprefix("data_entry:")
    assert client.fetch_data_from_storage(key).read_bytes() == PNG


def test_projects_and_workspaces(client):
    key = client.create_project("p")
    assert str(client.get_project_by_name("p")) == str(key)
    workspace = client.create_workspace("w", tags=["x"]).data_storage
    assert workspace.tags == ["x", "workspace"]
    assert client.update_workspace(workspace.id, name="v").data_storage.name == "v"
    assert client.get_workspace(workspace.id).data_storage.name == "v"
    [listed] = client.list_files(workspace.user_id)["data"]
    assert listed["data_storage"]["id"] == str(workspace.id)
    client.delete_workspace(workspace.id)
    with pytest.raises(Exception, match="not found"):
        client.get_workspace(workspace.id)


def test_a_bearer_token_that_expired_is_renewed(client, edison):
    client.store_text_content(name="t", content="x")
    client.client.auth._jwt = "expired"
    assert client.store_text_content(name="u", content="x").data_storage.name == "u"


async def test_async_twins(client, models, tmp_path, errors):
    path = tmp_path / "f.bin"
    path.write_bytes(PNG)
    dataset = await client.acreate_dataset(name="d", description="about")
    file = await client.astore_file_content(name="f", file_path=path, dataset_id=dataset.id)
    key = file.data_storage.id
    assert (await client.aget_data_storage_status(key)).status == "active"
    assert (await client.afetch_data_from_storage(key)).read_bytes() == PNG
    text = (await client.astore_text_content(name="t", content="x")).data_storage
    assert (await client.aget_data_storage_entry(text.id)).data_storage.content == "x"
    link = await client.astore_link("l", "https://example.org", "about", "look")
    assert link.data_storage.status == "active"
    assert (await client.aupdate_entry_tags(text.id, ["q"])).data_storage.tags == ["q"]
    assert (await client.alist_data_storage_revisions(key)).revisions[0].version == 0
    assert (await client.asearch_data_storage(text_query="q"))[0]["name"] == "t"
    assert len((await client.aget_dataset(dataset.id)).data_storage_entries) == 1
    await client.adelete_data_storage_entry(text.id)
    await client.adelete_dataset(dataset.id)
    with pytest.raises(errors.DataStorageNotFoundError):
        await client.aget_data_storage_entry(key)


def test_organizations(edison, server):
    client = edison.EdisonClient(service_uri=server.url, api_key="key_test")
    assert client.organizations == ["acme"]
    with pytest.raises(Exception, match="nowhere"):
        edison.EdisonClient(
            service_uri=server.url, api_key="key_test", organization="nowhere"
        ).check_credentials()


def test_a_long_text_is_a_file(client, tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"0123456789abcde\n" * (640 * 1024))
    stored = client.store_file_content(name="long.csv", file_path=path, metadata={"a": 1})
    assert stored.data_storage.status == "active"
    [location] = client.get_data_storage_entry(stored.data_storage.id).storage_locations
    config = location.storage_config
    assert (config.storage_type, config.content_type) == ("gcs", "file")
    assert config.metadata == {"a": 1, "size": path.stat().st_size}
    assert client.fetch_data_from_storage(stored.data_storage.id).read_bytes() == path.read_bytes()


def test_bytes_that_are_no_text_are_a_file(client, tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(b"caf\xe9\r\n")
    key = store(client, path)
    assert client.fetch_data_from_storage(key).read_bytes() == b"caf\xe9\r\n"


def test_an_empty_text(client):
    key = client.store_text_content(name="t", content="").data_storage.id
    fetched = client.fetch_data_from_storage(key)
    assert (fetched.content, fetched.entry_name) == ("", "t")


def test_warehouses_and_indexes(client, models, errors):
    for kind, content, metadata in (
        ("bigquery", "bq_table", {"project_id": "p", "dataset_id": "d", "table_id": "t"}),
        ("elastic_search", "index", {"index": "logs"}),
    ):
        location = models.DataStorageLocationPayload(
            storage_type=kind, content_type=content, metadata=metadata
        )
        stored = client.register_existing_data_source(kind, location, tags=["far"])
        read = client.get_data_storage_entry(stored.data_storage.id)
        assert (read.data_storage.status, read.data_storage.tags) == ("active", ["far"])
        config = read.storage_locations[0].storage_config
        assert (config.storage_type, config.metadata) == (kind, metadata)
        with pytest.raises(errors.DataStorageRetrievalError, match="Unsupported storage type"):
            client.fetch_data_from_storage(stored.data_storage.id)
    incomplete = models.DataStorageLocationPayload(
        storage_type="bigquery", content_type="bq_table", metadata={"project_id": "p"}
    )
    with pytest.raises(errors.DataStorageError, match="dataset_id is required"):
        client.register_existing_data_source("r", incomplete)


def test_drafts(client, models):
    first = client.store_text_content(name="t", content="one")
    key = first.data_storage.id
    draft = models.DataStorageRevisionUpdate(
        revision_id=uuid.uuid4(), base_revision_id=first.revision_id, content="two", publish=False
    )
    client.update_data_storage_entry(key, draft)
    assert client.fetch_data_from_storage(key).content == "one"
    shown = client.list_data_storage_revisions(key, include_unpublished=True).revisions
    assert [revision.published_at is None for revision in shown] == [True, False]
    assert len(client.list_data_storage_revisions(key).revisions) == 1
    publish = models.DataStorageRevisionUpdate(
        revision_id=draft.revision_id, base_revision_id=first.revision_id
    )
    assert client.update_data_storage_entry(key, publish).data_storage.content == "two"
    assert client.fetch_data_from_storage(key).content == "two"


def test_another_users_entries(edison, start_server, models, errors):
    server = start_server(api_keys=("key_test", "key_other"))
    keys = ("key_test", "key_other")
    owner, other = (edison.EdisonClient(service_uri=server.url, api_key=key) for key in keys)
    key = owner.store_text_content(name="t", content="mine").data_storage.id
    with pytest.raises(errors.DataStorageNotFoundError):
        other.get_data_storage_entry(key)
    assert other.search_data_storage(text_query="mine") == []
    nobody = models.PermittedAccessors(users=None, organizations=None)
    owner.update_entry_permissions(key, models.ShareStatus.PUBLIC, nobody)
    assert other.fetch_data_from_storage(key).content == "mine"
    with pytest.raises(errors.DataStoragePermissionError):
        other.update_entry_tags(key, ["theirs"])
    assert owner.get_data_storage_entry(key).data_storage.tags is None


async def test_async_directories(client, tree):
    zipped = await client.astore_file_content(name="zip", file_path=tree, as_collection=True)
    folder = await client.afetch_data_from_storage(zipped.data_storage.id)
    assert files_below(folder) == {
        "readme.md": b"# read me\n",
        "src/image.png": PNG,
        "src/deep/empty.bin": b"",
    }
    stored = await client.astore_file_content(name="tree", file_path=tree)
    read = await client.aget_dataset(stored.data_storage.dataset_id)
    entries = {entry.name: entry for entry in read.data_storage_entries}
    assert set(entries) == {"tree", "src", "deep", "readme.md", "image.png", "empty.bin"}
    assert entries["empty.bin"].parent_id == entries["deep"].id
    fetched = await client.afetch_data_from_storage(entries["image.png"].id)
    assert fetched.read_bytes() == PNG


async def test_async_search_registration_and_permissions(client, models, server, tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket/a.bin").write_bytes(PNG)
    sources = {"buckets": {"data": str(tmp_path / "bucket")}}
    (tmp_path / "root/sources.json").write_text(json.dumps(sources))
    location = models.DataStorageLocationPayload(
        storage_type="gcs",
        content_type="file",
        location="a.bin",
        metadata={"bucket_name": "data"},
    )
    registered = await client.aregister_existing_data_source("r", location)
    fetched = await client.afetch_data_from_storage(registered.data_storage.id)
    assert (fetched.name, fetched.read_bytes()) == ("a.bin", PNG)
    text = await client.astore_text_content(name="n", content="x y", embedding=[0.0, 1.0])
    key = text.data_storage.id
    [near] = await client.asimilarity_search_data_storage(embedding=[0.1, 1.0], min_score=0.9)
    assert near["id"] == str(key)
    criterion = models.SearchCriterion(field="name", operator="equals", value="n")
    [hit] = await client.asearch_data_storage(criteria=[criterion])
    assert hit["id"] == str(key)
    shared = await client.aupdate_entry_permissions(
        key,
        share_status=models.ShareStatus.SHARED,
        permitted_accessors=models.PermittedAccessors(users=["a@b.c"], organizations=None),
    )
    assert shared.data_storage.share_status == "shared"
    update = models.DataStorageRevisionUpdate(
        revision_id=uuid.uuid4(), base_revision_id=text.revision_id, content="z"
    )
    assert (await client.aupdate_data_storage_entry(key, update)).version == 1
    assert (await client.afetch_data_from_storage(key)).content == "z"
    old = await client.afetch_data_from_storage(key, version=0)
    assert old.content == "x y"


async def test_async_errors(client, errors):
    with pytest.raises(errors.DataStorageNotFoundError):
        await client.aget_data_storage_entry(uuid.uuid4())
    with pytest.raises(errors.DataStorageNotFoundError, match="Failed to get dataset"):
        await client.aget_dataset(uuid.uuid4())


def test_a_strict_server(edison, start_server, tree):
    client = edison.EdisonClient(service_uri=start_server(strict=True).url, api_key="key_test")
    stored = client.store_file_content(name="tree", file_path=tree)
    entries = client.get_dataset(stored.data_storage.dataset_id).data_storage_entries
    assert {entry.status for entry in entries} == {"active"}
    [image] = [entry for entry in entries if entry.name == "image.png"]
    assert client.fetch_data_from_storage(image.id).read_bytes() == PNG
