"""Links and registered sources: content that lies outside the service, as files and folders."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from synapsefs import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    SynapseFileSystem,
    UnsupportedError,
)
from synapsefs.errors import NotAFolderError

FILES = {
    "train/one.txt": b"one",
    "train/deep/two.bin": bytes(range(256)) * 40,
    "train/deep/%2F ü.txt": b"odd",
    "trainer.txt": b"not below",
    "top.txt": b"top",
}
ROW = {"id": 7, "name": "Ä", "values": [1, 2.5]}


@pytest.fixture
def bucket(store: Path, tmp_path: Path) -> str:
    """The name of a bucket that holds ``FILES``, beside a table with one row."""
    name = f"b-{uuid.uuid4().hex[:8]}"
    for key, data in FILES.items():
        target = tmp_path / "bucket" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (tmp_path / "rows.json").write_text(json.dumps({"7": ROW}))
    config = {
        "buckets": {name: str(tmp_path / "bucket")},
        "tables": {"trajectories": str(tmp_path / "rows.json")},
    }
    (store / "sources.json").write_text(json.dumps(config))
    return name


def test_a_prefix_is_a_directory_tree(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str, tmp_path: Path
) -> None:
    path = f"{dataset}/sub/reg"
    info = fs.register(
        path,
        "gcs",
        metadata={"bucket_name": bucket, "prefix": "train/", "region": "eu"},
        description="from the bucket",
        tags=["external"],
    )
    assert (info["type"], info["description"], info["tags"]) == (
        "directory",
        "from the bucket",
        ["external"],
    )
    assert info["connection"] == {
        "storage_type": "gcs",
        "content_type": "directory",
        "bucket_name": bucket,
        "prefix": "train/",
        "region": "eu",
    }
    below = {f"{path}/one.txt", f"{path}/deep/two.bin", f"{path}/deep/%252F ü.txt"}
    for instance in (fs, another):
        assert set(instance.find(path)) == below
        assert set(instance.find(dataset)) == below
        assert sorted(instance.ls(path, detail=False)) == [f"{path}/deep", f"{path}/one.txt"]
        assert instance.isdir(f"{path}/deep")
        data = FILES["train/deep/two.bin"]
        assert instance.cat_file(f"{path}/deep/two.bin") == data
        assert instance.cat_file(f"{path}/deep/two.bin", 300, 310) == data[300:310]
        with instance.open(f"{path}/deep/two.bin") as file:
            file.seek(-5, 2)
            assert file.read() == data[-5:]
        info = instance.info(f"{path}/deep/two.bin")
        assert (info["size"], info["storage_type"], info["content_type"]) == (
            len(data),
            "gcs",
            "file",
        )
        assert instance.du(path) == sum(
            len(data) for key, data in FILES.items() if key.startswith("train/")
        )
    another.get(path, str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got/deep/two.bin").read_bytes() == FILES["train/deep/two.bin"]


def test_reading_cold_finds_what_lies_deep(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    fs.register(f"{dataset}/reg", "gcs", metadata={"bucket_name": bucket})
    assert another.cat_file(f"{dataset}/reg/train/deep/two.bin") == FILES["train/deep/two.bin"]
    with pytest.raises(NotFoundError):
        another.cat_file(f"{dataset}/reg/train/none.txt")


def test_a_whole_bucket_a_partial_prefix_and_one_object(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    fs.register(f"{dataset}/all", "gcs", location=f"gs://{bucket}")
    fs.register(f"{dataset}/some", "gcs", metadata={"bucket_name": bucket, "prefix": "train"})
    fs.register(f"{dataset}/folder", "gcs", location=f"gs://{bucket}/train/deep/")
    one = fs.register(f"{dataset}/one.txt", "gcs", location=f"gs://{bucket}/train/one.txt")
    assert (one["type"], one["connection"]["bucket_name"]) == ("file", bucket)
    assert len(another.find(f"{dataset}/all")) == len(FILES)
    assert len(another.find(f"{dataset}/some")) == 4
    assert another.cat_file(f"{dataset}/some/trainer.txt") == b"not below"
    assert sorted(another.ls(f"{dataset}/folder", detail=False)) == [
        f"{dataset}/folder/%252F ü.txt",
        f"{dataset}/folder/two.bin",
    ]
    assert another.cat_file(f"{dataset}/one.txt") == b"one"
    assert another.info(f"{dataset}/one.txt")["size"] == 3


def test_a_registered_directory_is_copied_and_removed_as_a_whole(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    path = f"{dataset}/reg"
    fs.register(path, "gcs", metadata={"bucket_name": bucket, "prefix": "train/"})
    fs.copy(path, f"{dataset}/copy", recursive=True)
    assert another.cat_file(f"{dataset}/copy/deep/two.bin") == FILES["train/deep/two.bin"]
    for refused in (f"{path}/one.txt", f"{path}/deep"):
        with pytest.raises(UnsupportedError, match="only the whole entry"):
            another.rm(refused, recursive=True)
    with pytest.raises(NotAFolderError, match="holds no other files"):
        another.pipe_file(f"{path}/new.txt", b"x")
    assert another.exists(f"{path}/one.txt")
    another.rm(path, recursive=True)
    with pytest.raises(NotFoundError):
        fs.info(path, refresh=True)
    assert fs.find(f"{dataset}/copy") == another.find(f"{dataset}/copy")


def test_a_row_is_text(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    row = {"table_name": "trajectories", "row_id": 7}
    info = fs.register(f"{dataset}/row.json", "pg_table", metadata=row)
    assert info["connection"]["table_name"] == "trajectories"
    assert json.loads(another.cat_file(f"{dataset}/row.json")) == ROW
    with another.open(f"{dataset}/row.json", "r", encoding="utf-8") as file:
        assert json.load(file) == ROW


@pytest.mark.parametrize(
    ("kind", "content", "metadata", "words"),
    [
        (
            "bigquery",
            "bq_table",
            {"project_id": "p", "dataset_id": "d", "table_id": "t"},
            r"query p\.d\.t with a BigQuery client",
        ),
        ("elastic_search", "index", {"index": "logs"}, "Elasticsearch client"),
    ],
)
def test_what_has_no_bytes_is_described_and_says_what_to_use(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    dataset: str,
    kind: str,
    content: str,
    metadata: dict[str, Any],
    words: str,
) -> None:
    path = f"{dataset}/source"
    fs.register(path, kind, metadata={**metadata, "password": "hush"}, location="https://es:9200")
    for instance in (fs, another):
        info = instance.info(path)
        assert info["type"] == "file"
        assert json.loads(json.dumps(info["connection"])) == {
            "storage_type": kind,
            "content_type": content,
            "location": "https://es:9200",
            **metadata,
            "password": "***",
        }
        assert instance.getxattr(path, "password") == "hush"
        assert instance.ls(dataset, detail=False) == [path]
        for read in (instance.cat_file, lambda name, fs=instance: fs.open(name, "rb")):
            with pytest.raises(UnsupportedError, match=words) as caught:
                read(path)
            assert caught.value.filename == path
            assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"storage_type": "ftp"}, ["storage_type is one of"]),
        ({"storage_type": "gcs", "metadata": {}}, ["metadata.bucket_name: Field required"]),
        ({"storage_type": "gcs"}, ["metadata: Field required"]),
        (
            {
                "storage_type": "gcs",
                "metadata": {"bucket_name": "b", "prefix": "p/"},
                "location": "p/x",
            },
            ["not both"],
        ),
        (
            {"storage_type": "gcs", "metadata": {"bucket_name": "b"}, "content_type": "file"},
            ["a file has a location"],
        ),
        (
            {"storage_type": "bigquery", "metadata": {"project_id": "", "dataset_id": "d"}},
            ["metadata.project_id", "metadata.table_id: Field required"],
        ),
        (
            {"storage_type": "pg_table", "metadata": {"table_name": "t"}, "tags": ["a"]},
            ["metadata.row_id"],
        ),
        ({"storage_type": "elastic_search", "content_type": "file"}, ["content_type"]),
        ({"storage_type": "gcs", "location": "gs://b/x", "tags": "a"}, ["tags are a list"]),
    ],
)
def test_what_is_missing_or_wrong_is_named_at_once_and_nothing_is_sent(
    fs: SynapseFileSystem, dataset: str, given: dict[str, Any], problems: list[str]
) -> None:
    fs.ls(dataset)
    before = fs.stats()["requests"]
    with pytest.raises(InvalidRequestError) as caught:
        fs.register(f"{dataset}/sub/x", **given)
    assert all(problem in str(caught.value) for problem in problems)
    assert caught.value.filename == f"{dataset}/sub/x"
    assert fs.stats()["requests"] == before
    assert fs.ls(dataset) == []


def test_what_the_service_cannot_reach_is_not_registered(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    for given in (
        {"location": "gs://nowhere/x"},
        {"location": f"gs://{bucket}/none.txt"},
        {"metadata": {"bucket_name": "nowhere"}},
    ):
        with pytest.raises(InvalidRequestError):
            fs.register(f"{dataset}/x", "gcs", **given)
    assert another.ls(dataset) == []


def test_a_link_is_noted_and_not_followed(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path, target = f"{dataset}/sub/site", "https://example.org/api?x=1"
    info = fs.link(
        target, path, instructions="call it", api_key="k-1", description="d", metadata={"m": 1}
    )
    assert (info["islink"], info["destination"]) == (True, target)
    for instance in (fs, another):
        info = instance.info(path, refresh=True)
        assert (info["type"], info["islink"], info["destination"]) == ("file", True, target)
        assert (info["storage_type"], info["description"]) == ("link", "d")
        assert info["connection"]["api_key"] == "***"
        assert instance.getxattr(path, "api_key") == "k-1"
        assert instance.getxattr(path, "instructions") == "call it"
        assert instance.find(dataset) == [path]
        with pytest.raises(UnsupportedError, match=r"open https://example\.org/api"):
            instance.cat_file(path)
    with pytest.raises(AlreadyExistsError):
        another.link(target, path)
    another.rm(path)
    assert fs.ls(f"{dataset}/sub", refresh=True) == []


def test_what_has_no_bytes_is_copied_and_moved_as_a_note(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    said: dict[str, Any] = {"description": "d", "tags": ["t"]}
    fs.link("https://example.org", f"{dataset}/a/link", api_key="k", metadata={"m": 1}, **said)
    table = {"project_id": "p", "dataset_id": "d", "table_id": "t"}
    fs.register(f"{dataset}/a/table", "bigquery", metadata=table, **said)
    fs.pipe_file(f"{dataset}/a/text.txt", b"text")
    fs.copy(f"{dataset}/a", f"{dataset}/b", recursive=True)
    fs.mv(f"{dataset}/a", f"{dataset}/c", recursive=True)
    assert another.find(dataset) == [
        f"{dataset}/{folder}/{name}" for folder in "bc" for name in ("link", "table", "text.txt")
    ]
    for folder in "bc":
        link, copied = (another.info(f"{dataset}/{folder}/{name}") for name in ("link", "table"))
        assert (link["destination"], link["description"]) == ("https://example.org", "d")
        assert another.getxattr(link["name"], "api_key") == "k"
        assert another.getxattr(link["name"], "m") == 1
        assert copied["connection"].items() >= table.items()
        assert copied["tags"] == link["tags"] == ["t"]


def test_nothing_is_written_through_a_link_or_source(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, bucket: str
) -> None:
    fs.link("https://example.org", f"{dataset}/link")
    fs.register(f"{dataset}/one.txt", "gcs", location=f"gs://{bucket}/train/one.txt")
    for name in ("link", "one.txt"):
        for instance in (fs, another):
            with pytest.raises(UnsupportedError, match="remove the entry first"):
                instance.pipe_file(f"{dataset}/{name}", b"other")
    with pytest.raises(UnsupportedError, match="keeps what it was registered with"):
        another.setxattrs(f"{dataset}/one.txt", k=1)
    assert another.cat_file(f"{dataset}/one.txt") == b"one"
    another.rm(f"{dataset}/one.txt")
    another.pipe_file(f"{dataset}/one.txt", b"other")
    assert fs.cat_file(f"{dataset}/one.txt") in {b"one", b"other"}
    fs.invalidate_cache()
    assert fs.cat_file(f"{dataset}/one.txt") == b"other"


def test_what_is_said_of_a_link_is_not_called_ignored(
    fs: SynapseFileSystem, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "synapsefs"):
        info = fs.link("https://example.org", f"{dataset}/l", description="x", tags=["t"])
    assert (info["description"], info["tags"], caplog.records) == ("x", ["t"], [])


@pytest.mark.parametrize("target", ["", "nowhere", "//host/x", 3])
def test_a_link_leads_to_a_url(fs: SynapseFileSystem, dataset: str, target: Any) -> None:
    with pytest.raises(InvalidRequestError, match="URL"):
        fs.link(target, f"{dataset}/l")
    assert fs.ls(dataset) == []


def test_collections_have_neither(fs: SynapseFileSystem) -> None:
    with pytest.raises(UnsupportedError):
        fs.link("https://example.org", "collections/c/data_1/x")
    with pytest.raises(UnsupportedError):
        fs.register("collections/c/data_1/x", "gcs", location="gs://b/x")


def test_ids_and_short_aliases_lead_to_entries(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str, tmp_path: Path
) -> None:
    path = f"{dataset}/sub/a.txt"
    fs.pipe_file(path, b"content")
    info = fs.info(path)
    folder = fs.info(f"{dataset}/sub")
    whole = fs.info(dataset)["id"]
    assert info["short_alias"]
    for key in (info["id"], info["short_alias"], info["short_alias"].upper()):
        for instance in (fs, another):
            for place in (f"{dataset}/@{key}", f"datasets/@{whole}/@{key}", f"datasets/@{key}"):
                assert instance.cat_file(place) == b"content"
                assert instance.info(place)["id"] == info["id"]
    assert another.info(f"datasets/@{info['id']}")["name"] == path
    for place in (f"datasets/@{whole}/@{folder['id']}", f"datasets/@{folder['short_alias']}"):
        for instance in (fs, another):
            assert [i["id"] for i in instance.ls(place, detail=True)] == [info["id"]]
            assert instance.find(place) == instance.glob(f"{place}/*.txt") == [f"{place}/a.txt"]
            assert instance.find(place, withdirs=True) == [place, f"{place}/a.txt"]
            assert instance.cat_file(f"{place}/a.txt") == b"content"
    another.get(f"datasets/@{folder['id']}", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/a.txt").read_bytes() == b"content"
    another.rm(f"datasets/@{folder['id']}", recursive=True)
    fs.invalidate_cache()
    assert fs.find(dataset) == []
    assert fs.isdir(dataset)
    with pytest.raises(NotFoundError):
        another.info("datasets/@11111111-1111-1111-1111-111111111111")


def test_entries_are_shared(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path = f"{dataset}/a.txt"
    fs.pipe_file(path, b"x")
    assert fs.info(path)["share_status"] == "private"
    for status, given in (("public", {}), ("shared", {"users": ["u@x"]}), ("private", {})):
        assert fs.share(path, status, **given)["share_status"] == status
        assert another.info(path, refresh=True)["share_status"] == status
    with pytest.raises(InvalidRequestError, match="private, public, shared"):
        fs.share(path, "everybody")
    with pytest.raises(InvalidRequestError, match="only what is 'shared'"):
        fs.share(path, "public", users=["u"])
    with pytest.raises(UnsupportedError):
        fs.share(dataset, "public")


def test_a_dataset_is_made_under_a_given_id(
    fs: SynapseFileSystem, another: SynapseFileSystem
) -> None:
    identifier = str(uuid.uuid4())
    name = f"datasets/g-{identifier[:8]}"
    fs.mkdir(name, id=identifier, description="given")
    assert another.info(f"datasets/@{identifier}")["id"] == identifier
    assert fs.info(name)["description"] == "given"
    fs.pipe_file(f"{name}/a.txt", b"x")
    assert another.cat_file(f"datasets/@{identifier}/a.txt") == b"x"
    with pytest.raises(AlreadyExistsError):
        another.mkdir(f"{name}-2", id=identifier)
    with pytest.raises(InvalidRequestError, match="UUID"):
        another.mkdir(f"{name}-3", id="mine")
    entry = fs.info(f"{name}/a.txt")["id"]
    fs.rm(name, recursive=True)
    for gone in (f"datasets/@{identifier}", f"datasets/@{entry}"):
        with pytest.raises(NotFoundError):
            SynapseFileSystem(**another.storage_options, skip_instance_cache=True).info(gone)


def test_a_directory_says_what_it_was_made_with(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    fs.mkdir(f"{dataset}/a/b", description="below", tags=["t"])
    info = another.info(f"{dataset}/a/b")
    assert (info["type"], info["description"], info["tags"]) == ("directory", "below", ["t"])
    assert another.info(f"{dataset}/a")["description"] == ""


def test_asynchronously(options: dict[str, Any], dataset: str, bucket: str) -> None:
    async def main() -> None:
        fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        async with fs:
            await fs._register(f"{dataset}/reg", "gcs", location=f"gs://{bucket}/train/")
            assert await fs._cat_file(f"{dataset}/reg/one.txt") == b"one"
            assert len(await fs._find(dataset)) == 3
            await fs._link("https://example.org", f"{dataset}/l")
            assert (await fs._info(f"{dataset}/l"))["islink"]
            await fs._pipe_file(f"{dataset}/a.txt", b"x", tags=["a"], metadata={"k": 1})
            assert (await fs._share(f"{dataset}/a.txt", "public"))["share_status"] == "public"
            await fs._put_tags(f"{dataset}/a.txt", ["b"], mode="m")
            assert await fs._get_tags(f"{dataset}/a.txt") == ["a", "b"]
            assert await fs._setxattrs(f"{dataset}/a.txt", k=2) == {"k": 2}
            assert await fs._getxattr(f"{dataset}/a.txt", "k") == 2
            assert await fs._getxattrs(f"{dataset}/a.txt") == {"k": 2}

    asyncio.run(main())


def test_a_directory_by_its_id_is_removed_with_the_directories_in_it(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    fs.pipe({f"{dataset}/a/b/c/{name}.txt": b"text" for name in "xyz"})
    fs.pipe_file(f"{dataset}/other.txt", b"text")
    another.rm(f"datasets/@{fs.info(f'{dataset}/a')['id']}", recursive=True)
    fs.invalidate_cache()
    assert fs.find(dataset, withdirs=True) == [dataset, f"{dataset}/other.txt"]
