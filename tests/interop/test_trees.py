"""Trees and text that the datasets service's own client writes read back here, and ours there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from synapsefs import SynapseFileSystem

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
FILES = {
    "readme.md": b"# read me\n",
    "a.csv": b"a,b\n1,2\n",
    "src/image.png": PNG,
    "src/deep/empty.bin": b"",
    "src/deep/ünï.txt": b"name\n",
}


@pytest.fixture
def client(server: Any) -> Any:
    edison = pytest.importorskip("edison_client")
    return edison.EdisonClient(service_uri=server.url, api_key=server.api_key)


@pytest.fixture
def fs(server: Any) -> SynapseFileSystem:
    return SynapseFileSystem(
        server.url, token=server.token, datasets_token=server.api_key, skip_instance_cache=True
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def files_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def shape(client: Any, dataset: str, root: str) -> dict[str, tuple[Any, ...]]:
    """Give what the service keeps below a directory entry, less what differs between writers."""
    entries = {entry.id: entry for entry in client.get_dataset(dataset).data_storage_entries}

    def path(entry: Any) -> str:
        above = entries.get(entry.parent_id)
        return f"{path(above)}/{entry.name}" if above else entry.name

    found = {}
    for identifier, entry in entries.items():
        if path(entry).split("/")[0] == root:
            whole = client.get_data_storage_entry(identifier)
            kinds = {
                (where.storage_config.storage_type, where.storage_config.content_type)
                for where in whole.storage_locations
            }
            found[path(entry)] = (
                entry.status,
                entry.is_collection,
                str(entry.dataset_id) == dataset,
                whole.data_storage.content,
                kinds,
            )
    return found


def test_a_hierarchical_put_makes_what_their_client_makes(
    client: Any, fs: SynapseFileSystem, tree: Path
) -> None:
    theirs = client.store_file_content(name="tree", file_path=tree)
    fs.mkdir("datasets/ours")
    fs.put(str(tree), "datasets/ours/", recursive=True)
    ours = fs.info("datasets/ours")["id"]
    wanted = shape(client, str(theirs.data_storage.dataset_id), "tree")
    assert set(wanted) == {"tree", "tree/src", "tree/src/deep", *(f"tree/{n}" for n in FILES)}
    assert shape(client, ours, "tree") == wanted
    for name, content in FILES.items():
        fetched = client.fetch_data_from_storage(fs.info(f"datasets/ours/tree/{name}")["id"])
        if isinstance(fetched, Path):
            assert fetched.read_bytes() == content
        else:
            assert fetched.content.encode() == content


def test_their_tree_is_ours_to_get(
    client: Any, fs: SynapseFileSystem, tree: Path, tmp_path: Path
) -> None:
    stored = client.store_file_content(name="tree", file_path=tree).data_storage
    fs.get(f"datasets/@{stored.dataset_id}/tree", str(tmp_path / "back"), recursive=True)
    assert files_below(tmp_path / "back") == FILES


def test_the_same_is_left_out(
    client: Any, fs: SynapseFileSystem, tree: Path, tmp_path: Path
) -> None:
    for name in ("x.pyc", "node_modules/m.js", ".git/config", "b.tmp", "src/c.tmp", "build/out"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(name)
    (tree / ".gitignore").write_text("*.tmp\n# a word\nbuild\n")
    theirs = client.store_file_content(
        name="tree", file_path=tree, ignore_patterns=["*.png"]
    ).data_storage
    fs.mkdir("datasets/ours")
    fs.put(
        str(tree),
        "datasets/ours/tree",
        recursive=True,
        ignore_patterns=["*.png"],
        ignore_filename=".gitignore",
    )
    kept = set(shape(client, fs.info("datasets/ours")["id"], "tree"))
    assert kept == set(shape(client, str(theirs.dataset_id), "tree"))
    assert {"tree/.gitignore", "tree/a.csv"} <= kept
    assert not {"tree/b.tmp", "tree/src/image.png", "tree/build", "tree/x.pyc"} & kept
    client.store_file_content(
        name="zipped", file_path=tree, as_collection=True, dataset_id=str(theirs.dataset_id)
    )
    fs.put(str(tree), "datasets/ours/z", as_collection=True, ignore_filename=".gitignore")
    for number, place in enumerate((f"@{theirs.dataset_id}/zipped", "ours/z")):
        fs.get(f"datasets/{place}", str(tmp_path / f"{number}"), unzip=True)
    assert files_below(tmp_path / "0") == files_below(tmp_path / "1")
    assert (tmp_path / "1/a.csv").exists()


def test_a_manifest_says_the_same(
    client: Any, fs: SynapseFileSystem, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    held = {
        "a.csv": "What was measured",
        "readme.md": {"description": "How to read it", "metadata": {"words": 3}},
        "src": {"image.png": "What was seen", "deep": {"empty.bin": "Nothing"}},
    }
    Path("manifest.json").write_text(json.dumps({"tree": held}))
    theirs = client.store_file_content(
        name="tree", file_path=tree, manifest_filename="manifest.json"
    ).data_storage
    fs.mkdir("datasets/ours")
    fs.put("tree", "datasets/ours/tree", recursive=True, manifest_filename="manifest.json")
    told = [
        {
            entry.name: entry.description
            for entry in client.get_dataset(dataset).data_storage_entries
            if entry.name in {"a.csv", "readme.md", "image.png", "empty.bin"}
        }
        for dataset in (str(theirs.dataset_id), fs.info("datasets/ours")["id"])
    ]
    assert told[0] == told[1]
    assert told[1]["empty.bin"] == "Nothing"
    assert fs.getxattr("datasets/ours/tree/readme.md", "words") == 3


def test_a_directory_that_we_zip_is_unpacked_there(
    client: Any, fs: SynapseFileSystem, tree: Path
) -> None:
    fs.mkdir("datasets/ours")
    fs.put(str(tree), "datasets/ours/", as_collection=True)
    found = fs.info("datasets/ours/tree.zip")
    entry = client.get_data_storage_entry(found["id"]).data_storage
    assert (entry.is_collection, entry.status, entry.file_path) == (True, "active", "tree.zip")
    fetched = client.fetch_data_from_storage(found["id"])
    assert fetched.is_dir()
    assert files_below(fetched) == FILES
    fs.put(str(tree), "datasets/ours/plain", as_collection=True)
    entry = client.get_data_storage_entry(fs.info("datasets/ours/plain")["id"]).data_storage
    assert (entry.is_collection, entry.name, entry.file_path) == (True, "plain", "plain.zip")


def test_a_directory_that_they_zip_is_unpacked_here(
    client: Any, fs: SynapseFileSystem, server: Any, tree: Path, tmp_path: Path
) -> None:
    made = client.create_dataset("theirs", "zipped")
    client.store_file_content(
        name="tree", file_path=tree, as_collection=True, dataset_id=str(made.id)
    )
    assert fs.info("datasets/theirs/tree")["is_collection"] is True
    fs.get("datasets/theirs/tree", str(tmp_path / "back"), unzip=True)
    assert files_below(tmp_path / "back") == FILES
    options = {"endpoint_url": server.url, "token": server.token, "datasets_token": server.api_key}
    with fsspec.open(
        "zip://src/image.png::synapse://datasets/theirs/tree", synapse=options
    ) as file:
        assert file.read() == PNG
    fs.get("datasets/theirs", str(tmp_path / "all"), recursive=True, unzip=True)
    assert files_below(tmp_path / "all/tree") == FILES


TEXTS = {
    "plain": b"a,b\n1,2\n",
    "crlf": b"a,b\r\n1,2\r\n",
    "cr": b"a\rb\r",
    "bom": b"\xef\xbb\xbfa,b\n",
    "nul": b"a,\0,b\n",
    "invalid": b"a,\xff\xfe,b\n",
    "half": "a,\u00e9".encode()[:-1],
    "latin": "caf\u00e9\n".encode("latin-1"),
    "surrogate": b"\xed\xa0\x80",
    "astral": "\U0001f9ec\u2028\u0085\n".encode(),
    "empty": b"",
    "no-newline": b"x",
}


@pytest.mark.parametrize("case", TEXTS)
def test_our_text_reads_the_same_there(client: Any, fs: SynapseFileSystem, case: str) -> None:
    content = TEXTS[case]
    fs.mkdir("datasets/text")
    fs.pipe_file(f"datasets/text/{case}.csv", content)
    found = fs.info(f"datasets/text/{case}.csv")
    fetched = client.fetch_data_from_storage(found["id"])
    if isinstance(fetched, Path):
        assert fetched.read_bytes() == content
    else:
        assert fetched.content.encode() == content
    try:
        inline = b"\0" not in content and content.decode() is not None
    except UnicodeDecodeError:
        inline = False
    assert isinstance(fetched, Path) is not inline


@pytest.mark.parametrize("case", TEXTS)
def test_their_text_reads_here_as_they_sent_it(
    client: Any, fs: SynapseFileSystem, tmp_path: Path, case: str
) -> None:
    """Their client translates newlines as it reads, so carriage returns never leave it."""
    content = TEXTS[case]
    made = client.create_dataset("text", "theirs")
    (tmp_path / f"{case}.csv").write_bytes(content)
    client.store_file_content(
        name=f"{case}.csv", file_path=tmp_path / f"{case}.csv", dataset_id=str(made.id)
    )
    sent = content
    if case in {"crlf", "cr"}:
        sent = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert fs.cat_file(f"datasets/text/{case}.csv") == sent
    with fs.open(f"datasets/text/{case}.csv") as file:
        assert file.read() == sent
    fs.get(f"datasets/text/{case}.csv", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == sent
