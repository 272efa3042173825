"""Metadata of units: given at a write, read and set later, and never lost on the way."""

from __future__ import annotations

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError, NotFoundError, UnsupportedError
from tests.support.observed import observed_server
from tests.verbs.test_units import SCHEMA, SPECS, count_units, make


@pytest.fixture
def collection(fs):
    return make(fs)


@pytest.fixture
def unit(fs, collection):
    files = {"image_1": b"picture", "json_meta_1": b"{}"}
    return fs.put_unit(collection, files, key="g/a", meta={"label": "cat", "n": 1}, groups=["x"])


def test_reading(fs, unit):
    path = unit["paths"]["image_1"]
    assert fs.getxattr(path, "label") == "cat"
    assert fs.getxattr(unit["paths"]["json_meta_1"], "n") == 1
    assert fs.getxattr(path, "nothing") is None
    assert fs.getxattrs(path) == {
        "label": "cat",
        "n": 1,
        "data_unit_key": "g/a",
        "origin_file_stem": "a",
        "origin_file_extension": ".png",
    }
    about = fs.getxattrs(unit["collection"])
    assert (about["category"], about["description"]) == ("image", "")


def test_setting_keeps_the_rest(fs, another, unit):
    path = unit["paths"]["image_1"]
    before = another.info(path)
    now = another.setxattrs(path, {"label": "dog", "new": {"deep": [1]}}, n=None)
    assert now["label"] == "dog"
    assert now["new"] == {"deep": [1]}
    assert "n" not in now
    fs.invalidate_cache()
    assert fs.getxattrs(path) == now
    assert fs.info(path)["unit"] == before["unit"]
    assert fs.find(unit["collection"]) == sorted(unit["paths"].values())
    row = fs.units(unit["collection"]).to_pylist()[0]
    assert (row["meta.label"], row["groups"]) == ("dog", ["x"])


def test_changes_of_others_stay(fs, another, unit):
    path = unit["paths"]["image_1"]
    assert fs.getxattr(path, "label") == another.getxattr(path, "label") == "cat"
    another.setxattrs(path, theirs=1)
    assert fs.setxattrs(path, ours=2)["theirs"] == 1


def test_replacing_still_works_afterwards(fs, another, unit):
    """Our own note survives: the old unit gives way to the new one."""
    path = unit["paths"]["image_1"]
    fs.setxattrs(path, label="dog")
    another.pipe_file(path, b"new")
    assert count_units(fs, unit["collection"]) == 1
    assert fs.getxattr(path, "label") == "dog"
    assert fs.cat_file(path) == b"new"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"synapsefs": {}}, "this package's own"),
        ({"data_unit_key": "b"}, "follows from the path"),
        ({"x": object()}, "cannot be written as JSON"),
        ({"label": 1, "score": -1}, r"meta.label: 1 is not .*; meta.score: -1 is less"),
        ({"label": None}, "'label' is a required property"),
    ],
)
def test_what_cannot_be_set(fs, another, changes, words):
    collection = make(fs, schema=SCHEMA, specs=SPECS[:1])
    unit = fs.put_unit(collection, {"image_1": b"x"}, key="a", meta={"label": "cat"})
    path = unit["paths"]["image_1"]
    with pytest.raises(InvalidRequestError, match=words):
        fs.setxattrs(path, changes)
    assert another.getxattr(path, "label") == "cat"


def test_only_units_take_metadata(fs, unit):
    with pytest.raises(UnsupportedError, match="through their files"):
        fs.setxattrs(unit["collection"], label="x")
    with pytest.raises(NotFoundError):
        fs.setxattrs(f"{unit['collection']}/image_1/none.png", label="x")


def test_given_at_a_write(fs, another, tmp_path):
    collection = make(fs, schema=SCHEMA, specs=SPECS[:1])
    base = f"{collection}/image_1"
    (tmp_path / "local.png").write_bytes(b"c")
    fs.pipe_file(f"{base}/a.png", b"a", metadata={"label": "pipe"})
    with fs.open(f"{base}/b.png", "wb", metadata={"label": "open", "score": 1.5}) as file:
        file.write(b"b")
    fs.put_file(str(tmp_path / "local.png"), f"{base}/c.png", metadata={"label": "put"})
    labels = {path[-5]: another.getxattr(path, "label") for path in another.find(base)}
    assert labels == {"a": "pipe", "b": "open", "c": "put"}
    sent = fs.stats()["bytes_sent"]
    for wrong in ({"label": 3}, {"label": "x", "synapsefs": 1}, "text"):
        with pytest.raises(InvalidRequestError):
            fs.pipe_file(f"{base}/d.png", b"d" * 1000, metadata=wrong)
        with pytest.raises(InvalidRequestError):
            fs.open(f"{base}/d.png", "wb", metadata=wrong)
    assert fs.stats()["bytes_sent"] == sent
    with pytest.raises(InvalidRequestError, match="tags is not taken by collections"):
        fs.pipe_file(f"{base}/d.png", b"d", tags=["x"])


def test_metadata_moves_with_its_files(fs, another, unit):
    folder = unit["collection"]
    moves = {path: path.replace("/g/a", "/h/b") for path in unit["paths"].values()}
    fs.mv(list(moves), list(moves.values()))
    path = f"{folder}/image_1/h/b.png"
    assert another.getxattrs(path) == {
        "label": "cat",
        "n": 1,
        "data_unit_key": "h/b",
        "origin_file_stem": "b",
        "origin_file_extension": ".png",
    }
    assert count_units(another, folder) == 1


@web.middleware
async def no_changes(request, handler):
    """A service whose units cannot be changed."""
    if request.method == "PATCH":
        return web.json_response({"detail": "Method not allowed."}, status=405)
    return await handler(request)


def test_where_units_cannot_be_changed(tmp_path):
    with observed_server(tmp_path / "root", middleware=no_changes) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        collection = make(fs)
        files = {"image_1": b"picture", "json_meta_1": b"{}"}
        made = fs.put_unit(collection, files, key="a", meta={"label": "cat", "n": 1})
        path = made["paths"]["image_1"]
        assert fs.setxattrs(path, label="dog")["label"] == "dog"
        other = SynapseFileSystem(**server.options, skip_instance_cache=True)
        assert other.getxattr(path, "n") == 1
        assert other.getxattr(path, "label") == "dog"
        assert other.info(path)["unit"] != made["id"]
        assert other.cat_file(path) == b"picture"
        assert count_units(other, collection) == 1


async def test_asynchronously(options, fs, unit):
    path = unit["paths"]["image_1"]
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as waiting:
        assert (await waiting._setxattrs(path, label="dog"))["label"] == "dog"
        assert await waiting._getxattr(path, "label") == "dog"


def test_a_schema_of_the_service_keeps_nobody_busy(fs):
    """A pattern that Python's own engine would match for years is checked at once."""
    collection = make(fs, schema={"properties": {"label": {"pattern": "^(a+)+$"}}})
    files = {"image_1": b"x", "json_meta_1": b"{}"}
    with pytest.raises(InvalidRequestError, match="does not match"):
        fs.put_unit(collection, files, key="k", meta={"label": "a" * 5000 + "b"})
    made = fs.put_unit(collection, files, key="k", meta={"label": "a" * 5000})
    assert made["key"] == "k"
    with pytest.raises(OSError, match="bounded time"):
        fs.setxattrs(collection, meta={"data_unit_meta_schema": {"pattern": "(?=a)(a+)+$"}})
