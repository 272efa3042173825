"""Whole units: written with all their files, groups and metadata, or not at all."""

from __future__ import annotations

import os
import uuid

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import AlreadyExistsError, InvalidRequestError, UnsupportedError

SPECS = [
    {
        "name": "image_1",
        "file_type": "image",
        "is_required": True,
        "is_primary": True,
        "function_type": "main",
        "extensions": ["png", ".jpg"],
    },
    {"name": "json_meta_1", "file_type": "data", "is_required": True},
    {"name": "extra_1", "file_type": "data"},
]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number", "minimum": 0}},
    "required": ["label"],
    "additionalProperties": False,
}


def make(fs, *, schema=None, specs=SPECS):
    collection = f"collections/u-{uuid.uuid4().hex[:12]}"
    meta = {"data_unit_meta_schema": schema} if schema else None
    fs.mkdir(collection, category="image", file_specifications=specs, meta=meta)
    return collection


def count_units(fs, collection):
    fs.invalidate_cache()
    return len({info["unit"] for info in fs.find(collection, detail=True).values()})


@pytest.fixture
def collection(fs):
    return make(fs)


@pytest.fixture
def local(tmp_path):
    (tmp_path / "0001.png").write_bytes(b"\x89PNG picture")
    (tmp_path / "notes.json").write_bytes(b'{"a": 1}')
    return tmp_path


def test_files_groups_and_metadata(fs, another, collection, local):
    made = fs.put_unit(
        collection,
        {"image_1": local / "0001.png", "json_meta_1": str(local / "notes.json")},
        meta={"label": "cat", "box": [1, 2.5], "deep": {"ä": None}},
        groups=["train", "day 1"],
    )
    assert isinstance(made["id"], int)
    assert made["key"] == "train/day 1/0001"
    assert made["groups"] == ["train", "day 1"]
    assert made["meta"] == {"label": "cat", "box": [1, 2.5], "deep": {"ä": None}}
    assert made["paths"] == {
        "image_1": f"{collection}/image_1/train/day 1/0001.png",
        "json_meta_1": f"{collection}/json_meta_1/train/day 1/0001.json",
    }
    assert another.find(collection) == sorted(made["paths"].values())
    assert another.cat_file(made["paths"]["image_1"]) == b"\x89PNG picture"
    assert another.cat_file(made["paths"]["json_meta_1"]) == b'{"a": 1}'
    assert another.info(made["paths"]["image_1"])["unit"] == made["id"]


def test_bytes_take_the_suffix_their_specification_lists(fs, collection):
    files = {"image_1": b"picture", "json_meta_1": memoryview(b"{}"), "extra_1": bytearray(b"x")}
    made = fs.put_unit(f"synapse://{collection}", files, key="a/b")
    assert made["paths"] == {
        "image_1": f"{collection}/image_1/a/b.png",
        "json_meta_1": f"{collection}/json_meta_1/a/b",
        "extra_1": f"{collection}/extra_1/a/b",
    }
    assert made["groups"] == ["a"]
    nameless = fs.put_unit(collection.split("/")[1], files)
    assert nameless["key"].startswith("unit-")
    assert fs.cat_file(nameless["paths"]["extra_1"]) == b"x"
    by_metadata = fs.put_unit(collection, files, meta={"data_unit_key": "k/1"})
    assert by_metadata["key"] == "k/1"


def test_groups_apart_from_the_key_stay_through_changes(fs, another, collection):
    files = {"image_1": b"picture", "json_meta_1": b"{}"}
    made = fs.put_unit(collection, files, meta={"label": "cat"}, groups=["g/h"], key="n")
    assert made["groups"] == ["g/h"]
    another.pipe_file(f"{collection}/extra_1/n.bin", b"more")
    moved = f"{collection}/image_1/folder/n.png"
    with another.transaction:
        another.pipe_file(moved, b"picture")
        another.pipe_file(f"{collection}/json_meta_1/folder/n", b"{}")
    assert count_units(another, collection) == 2


@pytest.mark.parametrize(("key", "given"), [("n", ["batch"]), ("n", ["x", "y"]), ("f/n", ["f"])])
def test_groups_stay_where_no_note_can_be_left(fs, another, key, given):
    """The service tells the innermost group alone, by its id."""
    collection = make(fs, schema=SCHEMA)
    files = {"image_1": b"picture", "json_meta_1": b"{}"}
    made = fs.put_unit(collection, files, meta={"label": "cat"}, groups=given, key=key)
    places = list(made["paths"].values())

    def groups():
        another.invalidate_cache()
        return another.units(collection).to_pandas().set_index("key")["groups"].map(list).to_dict()

    assert groups() == {key: given[-1:]}
    another.pipe_file(places[0], b"other")
    assert groups() == {key: given[-1:]}
    another.cp(places, [place.replace(f"/{key}", "/copy/m") for place in places])
    assert groups() == {key: given[-1:], "copy/m": ["copy"] if key == "f/n" else given[-1:]}
    assert count_units(another, collection) == 2


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["open", "closed"])
def test_a_unit_of_the_same_paths_is_replaced(fs, another, schema):
    collection = make(fs, schema=schema)
    first = {"image_1": b"one", "json_meta_1": b"{}", "extra_1": b"x"}
    fs.put_unit(collection, first, key="a", meta={"label": "one"})
    second = fs.put_unit(
        collection, {"image_1": b"two", "json_meta_1": b"[]"}, key="a", meta={"label": "two"}
    )
    assert count_units(another, collection) == 1
    assert another.find(collection) == sorted(second["paths"].values())
    assert another.cat_file(second["paths"]["image_1"]) == b"two"
    with pytest.raises(AlreadyExistsError):
        another.put_unit(collection, first, key="a", meta={"label": "one"}, mode="create")
    assert another.cat_file(second["paths"]["image_1"]) == b"two"


def test_every_problem_in_one_error_and_nothing_sent(fs, another, options, local):
    collection = make(fs, schema=SCHEMA)
    sender = SynapseFileSystem(**options, skip_instance_cache=True)
    sender.exists(collection)
    before = sender.stats()
    with pytest.raises(InvalidRequestError) as refused:
        sender.put_unit(
            collection,
            {
                "image_1": local / "notes.json",
                "nothing_1": b"",
                "extra_1": local / "missing.bin",
            },
            meta={"score": -1, "other": True},
            groups=["", "ok"],
        )
    words = str(refused.value)
    for part in (
        "image_1 takes jpg, png, not 'json'",
        "'nothing_1' is no file specification; there are extra_1, image_1, json_meta_1",
        "required file specification json_meta_1 is missing",
        "missing.bin: No such file or directory",
        "'label' is a required property",
        "meta.score: -1 is less than the minimum of 0",
        "'other' was unexpected",
        "a group's name has 1 to 255 characters: ''",
    ):
        assert part in words, part
    assert isinstance(refused.value, ValueError)
    assert refused.value.filename == collection
    assert sender.stats()["bytes_sent"] == before["bytes_sent"]
    assert another.find(collection) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_local_file(fs, collection, local):
    (local / "0001.png").chmod(0)
    with pytest.raises(InvalidRequestError, match="Permission denied"):
        fs.put_unit(collection, {"image_1": local / "0001.png", "json_meta_1": b"{}"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": {}}, "a unit needs a file"),
        ({"groups": "train"}, "groups is a list of names"),
        ({"meta": {"synapsefs": {}}}, "this package's own"),
        ({"meta": {1: "x"}}, "is no text"),
        ({"meta": {"x": float("nan")}}, "cannot be written as JSON"),
        ({"meta": {"x": object()}}, "cannot be written as JSON"),
        ({"files": {"image_1": "/", "json_meta_1": b""}}, "Is a directory"),
        ({"key": "k" * 1100}, "at most 1024 characters"),
    ],
)
def test_bad_input(fs, another, collection, changes, words):
    given = {"files": {"image_1": b"p", "json_meta_1": b"{}"}, **changes}
    with pytest.raises(InvalidRequestError, match=words):
        fs.put_unit(collection, **given)
    assert another.find(collection) == []


def test_units_lie_in_collections(fs):
    with pytest.raises(UnsupportedError, match="name one"):
        fs.put_unit("synapse://datasets/x", {"a": b""})
    with pytest.raises(FileNotFoundError, match="there is no collection"):
        fs.put_unit("collections/none-such", {"a": b""})


def test_in_a_transaction(fs, another, collection):
    files = {"image_1": b"p", "json_meta_1": b"{}"}
    with pytest.raises(RuntimeError, match="stop"), fs.transaction:
        fs.put_unit(collection, files, key="lost")
        raise RuntimeError("stop")
    with fs.transaction:
        made = fs.put_unit(collection, files, key="a", meta={"label": "x"})
        fs.put_unit(collection, files, key="b")
        assert made["id"] is None
        assert another.find(collection) == []
    another.invalidate_cache()
    found = another.find(collection)
    assert found == sorted(
        f"{collection}/{name}" for name in
        ("image_1/a.png", "image_1/b.png", "json_meta_1/a", "json_meta_1/b")
    )  # fmt: skip


async def test_asynchronously(options, fs):
    collection = make(fs)
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as waiting:
        files = {"image_1": b"p", "json_meta_1": b"{}"}
        made = await waiting._put_unit(collection, files, key="a", meta={"label": "x"})
        assert await waiting._cat_file(made["paths"]["image_1"]) == b"p"


def test_plain_writes_obey_the_schema(fs, another):
    collection = make(fs, schema=SCHEMA, specs=SPECS[:1])
    path = f"{collection}/image_1/a.png"
    with pytest.raises(InvalidRequestError, match="unit 'a': meta: 'label' is a required"):
        fs.pipe_file(path, b"one")
    assert another.find(collection) == []
    fs.put_unit(collection, {"image_1": b"one"}, key="a", meta={"label": "x"})
    fs.pipe_file(path, b"two")
    assert another.cat_file(path) == b"two"
    assert count_units(another, collection) == 1
    fs.mv(path, f"{collection}/image_1/b.png")
    another.invalidate_cache()
    assert another.find(collection) == [f"{collection}/image_1/b.png"]
    assert count_units(another, collection) == 1


def test_many_files_of_one_stem(fs, another):
    """Each two of them make a unit; those that are there are joined and replaced by their names."""
    specs = [
        {"name": name, "file_type": "data", "is_required": required, "is_primary": required}
        for name, required in [("data_1", True), ("data_meta_1", False)]
    ]
    collection = make(fs, specs=specs)
    names = [f"d/scan.{number:03}" for number in range(30)]
    first = {f"{collection}/data_1/{name}": name.encode() for name in names[:20]}
    fs.pipe(first | {f"{collection}/data_meta_1/{name}": b"meta" for name in names[:10]})
    assert count_units(another, collection) == 20
    second = {f"{collection}/data_meta_1/{name}": name.encode() for name in names[5:30]}
    fs.pipe(second | {f"{collection}/data_1/{name}": b"new" for name in names[20:]})
    assert count_units(another, collection) == 30
    expected = first | {f"{collection}/data_meta_1/{name}": b"meta" for name in names[:5]} | second
    expected |= {f"{collection}/data_1/{name}": b"new" for name in names[20:]}
    assert another.cat(another.find(collection)) == expected
