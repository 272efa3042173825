"""What the official clients write reads back through ``synapse://``, and the other way round."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 5


@pytest.fixture
def fs(server: Any) -> SynapseFileSystem:
    return SynapseFileSystem(
        server.url,
        token=server.token,
        tenant=server.tenant,
        datasets_token=server.api_key,
        skip_instance_cache=True,
    )


def test_collections(server: Any, fs: SynapseFileSystem, tmp_path: Path) -> None:
    backend = pytest.importorskip("synapse_sdk.clients.backend")
    client = backend.BackendClient(server.url, access_token=server.token, tenant=server.tenant)
    fs.mkdir("collections/cross")
    identifier = fs.info("collections/cross")["id"]
    contents = {"small.png": PNG, "empty.bin": b"", "large.bin": b"x" * (51 * 2**20)}
    units = []
    for name, content in contents.items():
        local = tmp_path / name
        local.write_bytes(content)
        file = client.create_data_file(local)
        units.append(
            {
                "data_collection": identifier,
                "files": {"data_1": {"checksum": file["checksum"], "path": str(local)}},
            }
        )
    assert len(client.create_data_units(units)) == 3
    for name, content in contents.items():
        assert fs.cat_file(f"collections/cross/data_1/{name}") == content
    fs.pipe_file("collections/cross/data_1/ours/photo.png", PNG)
    page, count = client.list_data_units({"data_collection": identifier}, list_all=True)
    listed = [unit for unit in page if (unit["meta"] or {}).get("data_unit_key") == "ours/photo"]
    assert count == 4
    assert Path(listed[0]["files"]["data_1"]["path"]).read_bytes() == PNG


def test_datasets(server: Any, fs: SynapseFileSystem, tmp_path: Path) -> None:
    edison = pytest.importorskip("edison_client")
    client = edison.EdisonClient(service_uri=server.url, api_key=server.api_key)
    made = client.create_dataset("cross", "both ways")
    image, text = tmp_path / "image.png", tmp_path / "table.csv"
    image.write_bytes(PNG)
    text.write_bytes(b"a,b\n1,2\n")
    client.store_file_content(
        name="image.png", file_path=str(image), description="", dataset_id=str(made.id)
    )
    client.store_file_content(
        name="table.csv", file_path=str(text), description="", dataset_id=str(made.id)
    )
    client.store_text_content(name="note", content="päper", dataset_id=str(made.id))
    assert fs.cat_file("datasets/cross/image.png") == PNG
    assert fs.cat_file("datasets/cross/table.csv") == b"a,b\n1,2\n"
    assert fs.cat_file("datasets/cross/note") == "päper".encode()
    fs.pipe_file("datasets/cross/deep/ours.bin", PNG)
    fs.pipe_file("datasets/cross/ours.txt", b"line\r\n")
    fetched = client.fetch_data_from_storage(fs.info("datasets/cross/deep/ours.bin")["id"])
    assert Path(fetched).read_bytes() == PNG
    text_back = client.fetch_data_from_storage(fs.info("datasets/cross/ours.txt")["id"])
    assert text_back.content == "line\r\n"


def test_units_of_two_specifications(server: Any, fs: SynapseFileSystem, tmp_path: Path) -> None:
    backend = pytest.importorskip("synapse_sdk.clients.backend")
    client = backend.BackendClient(server.url, access_token=server.token, tenant=server.tenant)
    specifications = [
        {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
        {"name": "json_meta_1", "file_type": "data"},
    ]
    fs.mkdir("collections/two", category="image", file_specifications=specifications)
    identifier = fs.info("collections/two")["id"]
    tree = {"image_1/train/0001.png": PNG, "json_meta_1/train/0001.json": b'{"a": 1}'}
    for name, content in tree.items():
        (tmp_path / "ours" / name).parent.mkdir(parents=True)
        (tmp_path / "ours" / name).write_bytes(content)
    fs.put(f"{tmp_path}/ours/", "collections/two/", recursive=True)
    units, count = client.list_data_units({"data_collection": identifier}, list_all=True)
    [unit] = units
    assert count == 1
    assert unit["meta"]["data_unit_key"] == "train/0001"
    assert {name: Path(file["path"]).read_bytes() for name, file in unit["files"].items()} == {
        "image_1": PNG,
        "json_meta_1": b'{"a": 1}',
    }
    theirs = {"image_1": tmp_path / "far.png", "json_meta_1": tmp_path / "far.json"}
    theirs["image_1"].write_bytes(PNG + b"2")
    theirs["json_meta_1"].write_bytes(b"{}")
    payload = client.upload_data_file(
        {"files": theirs, "meta": {"label": "cat"}, "groups": ["night", "rain"]}, identifier
    )
    client.create_data_units([payload])
    fs.invalidate_cache()
    found = [path for path in fs.find("collections/two/image_1") if path.endswith("far.png")]
    assert len(found) == 1
    assert fs.cat_file(found[0]) == PNG + b"2"
    assert fs.cat_file(found[0].replace("image_1", "json_meta_1").replace(".png", ".json")) == b"{}"


def test_a_collection_described_and_renamed(server: Any, fs: SynapseFileSystem) -> None:
    second = pytest.importorskip("synapse_sdk.clients.backend_v2")
    client = second.BackendClientV2(server.url, access_token=server.token, tenant=server.tenant)
    fs.mkdir("collections/described", category="image")
    fs.pipe_file("collections/described/data_1/a.png", PNG)
    number = fs.info("collections/described")["id"]
    fs.setxattrs("collections/described", description="cats", meta={"of": "ours"})
    fs.mv("collections/described", "collections/renamed", recursive=True)
    seen = client.data_collections.retrieve(number)
    assert (seen.name, seen.description, seen.meta) == ("renamed", "cats", {"of": "ours"})
    assert [spec.name for spec in seen.file_specifications] == ["data_1"]
    client.data_collections.partial_update(number, {"name": "theirs", "description": "dogs"})
    fs.invalidate_cache()
    assert fs.getxattr("collections/theirs", "description") == "dogs"
    assert fs.cat_file("collections/theirs/data_1/a.png") == PNG


def test_a_tree_and_a_zip(server: Any, fs: SynapseFileSystem, tmp_path: Path) -> None:
    edison = pytest.importorskip("edison_client")
    client = edison.EdisonClient(service_uri=server.url, api_key=server.api_key)
    local = tmp_path / "tree"
    (local / "src").mkdir(parents=True)
    (local / "readme.md").write_bytes(b"# read me\n")
    (local / "src/image.png").write_bytes(PNG)
    stored = client.store_file_content(name="tree", file_path=local).data_storage
    names = [path.partition("/tree/")[2] for path in fs.find(f"datasets/@{stored.dataset_id}")]
    assert sorted(names) == ["readme.md", "src/image.png"]
    fs.get(f"datasets/@{stored.dataset_id}/tree", str(tmp_path / "back"), recursive=True)
    assert (tmp_path / "back/src/image.png").read_bytes() == PNG
    fs.mkdir("datasets/mine")
    fs.put(f"{local}/", "datasets/mine/tree/", recursive=True)
    entries = client.get_dataset(fs.info("datasets/mine")["id"]).data_storage_entries
    by_name = {entry.name: entry for entry in entries if not (entry.tags or [])}
    assert set(by_name) == {"tree", "src", "readme.md", "image.png"}
    assert by_name["image.png"].parent_id == by_name["src"].id
    assert by_name["src"].parent_id == by_name["tree"].id
    zipped = client.store_file_content(
        name="z", file_path=local, as_collection=True, dataset_id=fs.info("datasets/mine")["id"]
    ).data_storage
    fs.invalidate_cache()
    [archive] = [path for path in fs.find("datasets/mine") if fs.info(path)["id"] == str(zipped.id)]
    with zipfile.ZipFile(io.BytesIO(fs.cat_file(archive))) as content:
        assert sorted(content.namelist()) == ["readme.md", "src/image.png"]
        assert content.read("src/image.png") == PNG
