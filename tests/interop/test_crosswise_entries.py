"""What the official client says of entries reads through ``synapse://``, and vice versa."""

from __future__ import annotations

import json
import os
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from synapsefs import ChangedError, SynapseFileSystem, UnsupportedError

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 5


@pytest.fixture
def fs(server: Any) -> SynapseFileSystem:
    options = {"token": server.token, "datasets_token": server.api_key}
    return SynapseFileSystem(server.url, **options, skip_instance_cache=True)


@pytest.fixture
def client(server: Any) -> Any:
    edison = pytest.importorskip("edison_client")
    return edison.EdisonClient(service_uri=server.url, api_key=server.api_key)


@pytest.fixture
def models() -> Any:
    return import_module("edison_client.models.data_storage_methods")


@pytest.fixture
def dataset(fs: SynapseFileSystem) -> str:
    fs.mkdir("datasets/cross", description="both ways")
    return "datasets/cross"


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    for key in ("p/a.txt", "p/deep/b.bin", "other.txt"):
        target = tmp_path / "bucket" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(key.encode() * 3)
    (tmp_path / "root").mkdir(exist_ok=True)
    config = {"buckets": {"data": str(tmp_path / "bucket")}}
    (tmp_path / "root/sources.json").write_text(json.dumps(config))
    return "data"


def test_what_is_said_of_entries(fs: SynapseFileSystem, client: Any, dataset: str) -> None:
    identifier = fs.info(dataset)["id"]
    theirs = client.store_text_content(
        name="t.txt",
        content="text",
        description="d",
        tags=["a", "b"],
        metadata={"k": [1], "size": "large"},
        dataset_id=identifier,
        file_path="t.txt",
    ).data_storage
    info = fs.info(f"{dataset}/t.txt")
    assert (info["id"], info["description"], info["tags"]) == (str(theirs.id), "d", ["a", "b"])
    assert info["metadata"]["k"] == [1]
    assert info["short_alias"] == theirs.short_alias
    fs.pipe_file(f"{dataset}/p.png", PNG, description="ours", tags=["c"], metadata={"m": {"n": 2}})
    ours = client.get_data_storage_entry(fs.info(f"{dataset}/p.png")["id"])
    assert (ours.data_storage.description, ours.data_storage.tags) == ("ours", ["c"])
    assert ours.storage_locations[0].storage_config.metadata["m"] == {"n": 2}
    fs.put_tags(f"{dataset}/t.txt", ["x"])
    assert client.get_data_storage_entry(theirs.id).data_storage.tags == ["x"]
    client.update_entry_tags(theirs.id, ["y"])
    assert fs.get_tags(f"{dataset}/t.txt") == ["y"]
    fs.setxattrs(f"{dataset}/t.txt", k=2)
    after = client.get_data_storage_entry(theirs.id)
    assert after.storage_locations[0].storage_config.metadata["k"] == 2
    assert after.data_storage.content == "text"


def test_revisions(fs: SynapseFileSystem, client: Any, models: Any, dataset: str) -> None:
    path = f"{dataset}/t.txt"
    fs.pipe_file(path, b"one\r\n")
    read = fs.info(path)
    update = models.DataStorageRevisionUpdate(
        revision_id=uuid.uuid4(), base_revision_id=read["version"], content="two"
    )
    client.update_data_storage_entry(read["id"], update)
    with pytest.raises(ChangedError):
        fs.pipe_file(path, b"three", base_version=read["version"])
    fs.pipe_file(path, b"\xff three")
    listed = client.list_data_storage_revisions(read["id"]).revisions
    assert [str(one.id) for one in listed] == [one["version"] for one in fs.revisions(path)]
    assert [fs.cat_file(path, version=number) for number in range(3)] == [
        b"one\r\n",
        b"two",
        b"\xff three",
    ]
    old = client.get_data_storage_entry(read["id"], version=1)
    assert old.data_storage.content == "two"
    assert Path(client.fetch_data_from_storage(read["id"])).read_bytes() == b"\xff three"


def test_a_file_that_is_overwritten_is_one_entry(
    fs: SynapseFileSystem, client: Any, dataset: str
) -> None:
    for name in ("k.txt", "k.bin"):
        fs.pipe_file(f"{dataset}/{name}", b"\xff one")
        fs.pipe_file(f"{dataset}/{name}", b"two", metadata={"a": 1})
        fs.setxattrs(f"{dataset}/{name}", b=2)
        fs.pipe_file(f"{dataset}/{name}", b"\xff three")
    listed = client.get_dataset(uuid.UUID(fs.info(dataset)["id"])).data_storage_entries
    assert sorted(one.name for one in listed if not one.name.startswith(".synapsefs-cat")) == [
        "k.bin",
        "k.txt",
    ]
    for name in ("k.txt", "k.bin"):
        path = client.fetch_data_from_storage(fs.info(f"{dataset}/{name}")["id"])
        assert Path(path).read_bytes() == b"\xff three"
        assert Path(path).name == name


def test_links(fs: SynapseFileSystem, client: Any, dataset: str) -> None:
    identifier = fs.info(dataset)["id"]
    client.store_link(
        name="theirs",
        url="https://example.org/a",
        description="d",
        instructions="call it",
        api_key="k",
        metadata={"m": 1},
        dataset_id=identifier,
    )
    info = fs.info(f"{dataset}/theirs")
    assert (info["destination"], info["description"]) == ("https://example.org/a", "d")
    assert fs.getxattrs(f"{dataset}/theirs").items() >= {"instructions": "call it", "m": 1}.items()
    with pytest.raises(UnsupportedError):
        fs.cat_file(f"{dataset}/theirs")
    made = fs.link("https://example.org/b", f"{dataset}/ours", instructions="i", metadata={"m": 2})
    ours = client.get_data_storage_entry(made["id"])
    config = ours.storage_locations[0].storage_config
    assert ours.data_storage.content == config.location == "https://example.org/b"
    assert (config.storage_type, config.content_type) == ("link", "text")
    assert config.metadata == {"m": 2, "instructions": "i"}


def test_registered_buckets(
    fs: SynapseFileSystem, client: Any, models: Any, dataset: str, bucket: str
) -> None:
    def theirs(collection: bool, **place: Any) -> Any:
        location = models.DataStorageLocationPayload(
            storage_type="gcs", content_type="directory" if collection else "file", **place
        )
        stored = client.register_existing_data_source("r", location, as_collection=collection)
        return stored.data_storage

    expected = {"a.txt": b"p/a.txt" * 3, "deep/b.bin": b"p/deep/b.bin" * 3}
    many = theirs(True, metadata={"bucket_name": bucket, "prefix": "p/"})
    one = theirs(False, location="p/a.txt", metadata={"bucket_name": bucket})
    for key in (many.id, many.short_alias):
        place = f"datasets/@{key}"
        assert fs.isdir(place)
        assert sorted(fs.find(place)) == [f"{place}/{name}" for name in sorted(expected)]
        assert {name: fs.cat_file(f"{place}/{name}") for name in expected} == expected
        assert fs.ls(f"{place}/deep", detail=False) == [f"{place}/deep/b.bin"]
    assert fs.cat_file(f"datasets/@{one.id}") == b"p/a.txt" * 3
    ours = fs.register(f"{dataset}/r", "gcs", location=f"gs://{bucket}/p/")
    fetched = client.fetch_data_from_storage(ours["id"])
    assert {path.name: path.read_bytes() for path in fetched} == {
        "a.txt": expected["a.txt"],
        "b.bin": expected["deep/b.bin"],
    }
    single = fs.register(f"{dataset}/other.txt", "gcs", location=f"gs://{bucket}/other.txt")
    assert client.fetch_data_from_storage(single["id"]).read_bytes() == b"other.txt" * 3


def test_search(fs: SynapseFileSystem, client: Any, dataset: str) -> None:
    rest = import_module("edison_client.models.rest")
    fs.pipe_file(f"{dataset}/t.txt", b"the word here", tags=["q"], embedding=[1, 0])
    fs.pipe_file(f"{dataset}/u.txt", b"no such thing", tags=["q"], embedding=[0.6, 0.8])
    criterion = rest.SearchCriterion(field="tags", operator="equals", value="q")
    found = client.search_data_storage([criterion], text_query="word", highlight=True)
    hits = fs.search(dataset, "word", criteria={"tags": "q"}, highlight=True)
    assert [hit["id"] for hit in found] == [hit["id"] for hit in hits]
    assert [hit["highlights"] for hit in found] == [hit["highlights"] for hit in hits]
    near = client.similarity_search_data_storage([1.0, 0.0], min_score=0.5)
    same = fs.search(similar_to=[1.0, 0.0], min_score=0.5)
    assert [hit["id"] for hit in near] == [hit["id"] for hit in same]
    assert [hit["name"] for hit in same] == [f"{dataset}/t.txt", f"{dataset}/u.txt"]


def test_sharing(fs: SynapseFileSystem, client: Any, models: Any, dataset: str) -> None:
    fs.pipe_file(f"{dataset}/t.txt", b"x")
    identifier = fs.share(f"{dataset}/t.txt", "shared", users=["u@example.org"])["id"]
    assert client.get_data_storage_entry(identifier).data_storage.share_status == "shared"
    client.update_entry_permissions(
        identifier, models.ShareStatus.PUBLIC, models.PermittedAccessors()
    )
    assert fs.info(f"{dataset}/t.txt", refresh=True)["share_status"] == "public"
