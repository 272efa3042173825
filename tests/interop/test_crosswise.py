"""What the official clients write reads back through ``synapse://``, and the other way round."""

from __future__ import annotations

import os
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
