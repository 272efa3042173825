"""Whole collections and datasets: copied as they are, renamed, and described anew."""

from __future__ import annotations

import uuid

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidPathError, InvalidRequestError, UnsupportedError
from tests.support.observed import observed_server
from tests.verbs.test_units import SCHEMA, SPECS, make
from tests.verbs.test_units_metadata import no_changes

FILES = {"image_1": b"picture", "json_meta_1": b"{}"}


@pytest.fixture
def collection(fs):
    """A collection with a unit; its specifications without extensions, which not all can say."""
    specs = [{key: value for key, value in spec.items() if key != "extensions"} for spec in SPECS]
    path = make(fs, schema=SCHEMA, specs=specs)
    fs.setxattrs(path, description="cats")
    fs.put_unit(path, FILES, key="g/a", meta={"label": "cat"}, groups=["x"])
    return path


@pytest.fixture
def free():
    """A name that no collection has."""
    return f"collections/free-{uuid.uuid4().hex[:12]}"


def specifications(fs, path):
    kept = ("name", "type", "required", "primary", "function")
    return [{key: spec[key] for key in kept} for spec in fs.info(path)["file_specifications"]]


def assert_alike(fs, one, two):
    own = {"data_unit_meta_schema": SCHEMA}
    for path in (one, two):
        about = fs.getxattrs(path)
        assert (about["description"], about["category"], about["meta"]) == ("cats", "image", own)
    assert specifications(fs, one) == specifications(fs, two)
    rows = [fs.units(path).to_pylist()[0] for path in (one, two)]
    assert [(row["key"], row["groups"], row["meta.label"]) for row in rows] == [
        ("g/a", ["x"], "cat")
    ] * 2


def contents(fs, path):
    return {name.removeprefix(path): fs.cat_file(name) for name in fs.find(path)}


def test_a_copy_is_a_collection_like_it(fs, another, collection, free):
    fs.cp(collection, free, recursive=True)
    assert_alike(another, collection, free)
    assert contents(another, free) == contents(another, collection)
    assert sorted(contents(another, free).values()) == sorted(FILES.values())


def test_extensions_are_copied_where_the_service_takes_them(fs, another, free):
    path = make(fs)
    fs.cp(path, free, recursive=True)
    found = [
        {spec["name"]: spec["extensions"] for spec in another.info(one)["file_specifications"]}
        for one in (path, free)
    ]
    assert found[0]["image_1"]
    assert found[1] in ({name: [] for name in found[0]}, found[0])


def test_a_collection_is_renamed(fs, another, collection, free):
    """Its units, their ids and what refers to them stay."""
    before = fs.info(collection)["id"], fs.units(collection).to_pylist()[0]["id"]
    bytes_before = contents(fs, collection)
    fs.mv(collection, free, recursive=True)
    for client in (fs, another):
        assert not client.exists(collection)
        assert contents(client, free) == bytes_before
        assert (client.info(free)["id"], client.units(free).to_pylist()[0]["id"]) == before
    assert_alike(another, free, f"collections/@{before[0]}")
    fs.pipe_file(f"{free}/image_1/g/a", b"still writable", metadata={"label": "dog"})
    with pytest.raises(FileNotFoundError):
        fs.mv(collection, f"{free}-2", recursive=True)


def test_where_collections_cannot_be_changed(tmp_path):
    """The move copies what is there, and then removes it."""
    with observed_server(tmp_path / "root", middleware=no_changes) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        path = make(fs)
        fs.put_unit(path, FILES, key="a", meta={"label": "cat"}, groups=["x"])
        before = contents(fs, path)
        fs.mv(path, f"{path}-moved", recursive=True)
        assert contents(fs, f"{path}-moved") == before
        assert fs.units(f"{path}-moved").to_pylist()[0]["groups"] == ["x"]
        assert not fs.exists(path)
        with pytest.raises(InvalidRequestError, match="405"):
            fs.setxattrs(f"{path}-moved", description="cats")


def test_a_name_that_is_taken(fs, another, collection):
    taken = make(another)
    kept = contents(fs, collection)
    with pytest.raises(InvalidPathError):
        fs.mv(collection, taken, recursive=True)
    assert contents(another, collection) == kept
    assert another.find(taken) == []


def test_a_name_that_no_collection_can_have(fs, another, collection):
    kept = contents(fs, collection)
    with pytest.raises(InvalidRequestError, match="at most 100 characters"):
        fs.mv(collection, f"collections/{'n' * 101}", recursive=True)
    assert contents(another, collection) == kept


def test_describing_a_collection_anew(fs, another, collection):
    assert another.getxattr(collection, "description") == "cats"
    now = fs.setxattrs(collection, description="dogs", category="video", access_level="public")
    assert another.getxattrs(collection) == now
    assert (now["description"], now["category"], now["access_level"]) == ("dogs", "video", "public")
    assert now["meta"] == {"data_unit_meta_schema": SCHEMA}
    assert (fs.info(collection)["description"], fs.info(collection)["category"]) == (
        "dogs",
        "video",
    )
    assert [spec["name"] for spec in fs.info(collection)["file_specifications"]] == [
        "image_1",
        "json_meta_1",
        "extra_1",
    ]
    assert "meta" not in fs.setxattrs(collection, description=None, meta=None)
    assert another.getxattr(collection, "description") == ""


def test_a_new_schema_holds_at_once(fs, collection):
    place = f"{collection}/image_1/g/a"
    fs.setxattrs(place, label="dog")
    fs.setxattrs(collection, meta={"data_unit_meta_schema": {"required": ["size"]}})
    with pytest.raises(InvalidRequestError, match="'size' is a required property"):
        fs.put_unit(collection, FILES, key="b", meta={"label": "cat"})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"label": "x", "name": "y"}, UnsupportedError, "no label, name: .* through their files"),
        ({"file_specifications": []}, UnsupportedError, "no file_specifications"),
        ({"category": None}, InvalidRequestError, "always has category"),
        ({"category": "none"}, InvalidRequestError, "not a collection: category: "),
        ({"description": 7}, InvalidRequestError, "description: "),
        (
            {"meta": {"data_unit_meta_schema": {"type": "no type"}}},
            InvalidRequestError,
            "no JSON Schema",
        ),
    ],
)
def test_what_cannot_be_set_of_a_collection(fs, another, collection, changes, error, words):
    before = another.getxattrs(collection)
    with pytest.raises(error, match=words):
        fs.setxattrs(collection, changes)
    assert another.getxattrs(collection) == before


def test_copies_of_directories_say_the_same(fs, another, dataset):
    fs.mkdir(f"{dataset}/folder", description="some of it", tags=["few"], metadata={"n": 1})
    fs.pipe_file(f"{dataset}/folder/a.txt", b"a")
    copy = f"{dataset}-copy"
    fs.cp(dataset, copy, recursive=True)
    assert another.getxattr(copy, "description") == "all of it"
    folder = f"{copy}/folder"
    assert another.getxattr(folder, "description") == "some of it"
    assert another.get_tags(folder) == ["few"]
    assert another.getxattr(folder, "n") == another.getxattr(f"{dataset}/folder", "n")
    assert another.cat_file(f"{folder}/a.txt") == b"a"


def test_parents_of_a_specification(fs, another):
    """The collection is made with it, or not at all."""
    path = f"collections/p-{uuid.uuid4().hex[:12]}"
    with pytest.raises(InvalidPathError, match=r"no file specification .* has data_1"):
        fs.makedirs(f"{path}/image_1/folder")
    assert not another.exists(path)
    fs.makedirs(f"{path}/data_1/folder")
    assert [spec["name"] for spec in another.info(path)["file_specifications"]] == ["data_1"]
    fs.pipe_file(f"{path}/data_1/folder/a.bin", b"a")
    fs.cp(f"{path}/data_1/", f"{path}-files/data_1/", recursive=True)
    assert contents(another, f"{path}-files") == contents(another, path)
    fs.mkdir(f"{path}-own/image_1", file_specifications=SPECS[:1])
    assert [spec["name"] for spec in another.info(f"{path}-own")["file_specifications"]] == [
        "image_1"
    ]
