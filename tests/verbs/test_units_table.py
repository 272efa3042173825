"""Units of a collection as a table: one schema, real paths, filters, and three consumers."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError
from tests.verbs.test_foreign import bind, prepared, units_api

SPECS = [
    {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
    {"name": "json_meta_1", "file_type": "data"},
]


def make(fs, specs=SPECS, schema=None):
    collection = f"collections/t-{uuid.uuid4().hex[:12]}"
    meta = {"data_unit_meta_schema": schema} if schema else None
    fs.mkdir(collection, category="image", file_specifications=specs, meta=meta)
    return collection


@pytest.fixture(scope="module")
def filled(server_options):
    """A collection of five units with metadata of many types."""
    fs = SynapseFileSystem(**server_options, skip_instance_cache=True)
    collection = make(fs)
    metas = [
        {"label": "cat", "n": 1, "x": 1, "box": {"w": 1.5}, "tags": ["a"], "mixed": 1, "ok": True},
        {"label": "dog", "n": 2, "x": 2.5, "box": {"w": 2}, "tags": [], "mixed": "two"},
        {"label": None, "n": 3, "tags": ["b", "c"], "mixed": {"deep": 1}, "a.b": 1},
        {"n": 2**60, "big": 2**70, "none": None, "lists": [[1], [2]]},
    ]
    for number, meta in enumerate(metas):
        files = {"image_1": b"picture %d" % number}
        if number % 2 == 0:
            files["json_meta_1"] = b"{}"
        groups = ["train", "day 1"] if number < 2 else None
        fs.put_unit(collection, files, key=f"k/{number}", meta=meta, groups=groups)
    fs.pipe_file(f"{collection}/image_1/plain.png", b"plain")
    return collection


def test_columns_and_their_types(fs, filled):
    table = fs.units(filled)
    assert table.num_rows == 5
    types = {field.name: field.type for field in table.schema}
    assert list(types)[:7] == [
        "id", "key", "groups", "created", "checksum", "image_1", "json_meta_1",
    ]  # fmt: skip
    assert types["id"] == pa.int64()
    assert types["groups"] == pa.list_(pa.string())
    assert types["created"] == pa.timestamp("us", tz="UTC")
    metadata = {name: kind for name, kind in types.items() if name.startswith("meta.")}
    assert metadata == {
        "meta.label": pa.string(),
        "meta.n": pa.int64(),
        "meta.x": pa.float64(),
        "meta.box.w": pa.float64(),
        "meta.tags": pa.list_(pa.string()),
        "meta.mixed": pa.string(),
        "meta.mixed.deep": pa.int64(),
        'meta."a.b"': pa.int64(),
        "meta.ok": pa.bool_(),
        "meta.big": pa.string(),
        "meta.lists": pa.string(),
        "meta.data_unit_key": pa.string(),
        "meta.origin_file_stem": pa.string(),
        "meta.origin_file_extension": pa.string(),
    }


def test_values(fs, filled):
    rows = sorted(fs.units(filled).to_pylist(), key=lambda row: row["id"])
    assert [row["key"] for row in rows] == ["k/0", "k/1", "k/2", "k/3", "plain"]
    assert [row["groups"] for row in rows] == [["train", "day 1"]] * 2 + [["k"], ["k"], []]
    assert [row["meta.label"] for row in rows] == ["cat", "dog", None, None, None]
    assert [row["meta.n"] for row in rows] == [1, 2, 3, 2**60, None]
    assert [row["meta.x"] for row in rows] == [1.0, 2.5, None, None, None]
    assert [row["meta.tags"] for row in rows] == [["a"], [], ["b", "c"], None, None]
    assert [row["meta.mixed"] for row in rows] == ["1", "two", None, None, None]
    assert [row["meta.mixed.deep"] for row in rows] == [None, None, 1, None, None]
    assert json.loads(rows[3]["meta.big"]) == 2**70
    assert json.loads(rows[3]["meta.lists"]) == [[1], [2]]
    assert len({row["checksum"] for row in rows}) == 5
    assert all(abs(row["created"] - datetime.now(UTC)) < timedelta(hours=1) for row in rows)
    assert [row["json_meta_1"] is None for row in rows] == [False, True, False, True, True]
    for number, row in enumerate(rows[:4]):
        assert row["image_1"] == f"synapse://{filled}/image_1/k/{number}"
        assert fs.cat_file(row["image_1"]) == b"picture %d" % number
        assert fs.info(row["image_1"])["unit"] == row["id"]


def test_columns_in_the_order_asked(fs, filled):
    table = fs.units(f"synapse://{filled}", columns=["meta.n", "id"])
    assert table.column_names == ["meta.n", "id"]
    with pytest.raises(InvalidRequestError, match=r"no column meta\.none-such; there are id, key"):
        fs.units(filled, columns=["id", "meta.none-such"])


def test_filters(fs, filled):
    field = pc.field
    assert fs.units(filled, filters=field("meta.label") == "cat")["key"].to_pylist() == ["k/0"]
    found = fs.units(filled, columns=["key"], filters=field("meta.x") > 1)
    assert found.to_pydict() == {"key": ["k/1"]}
    assert fs.units(filled, ["key"], [("meta.n", "in", [2, 3])])["key"].to_pylist() == [
        "k/1",
        "k/2",
    ]
    nothing = fs.units(filled, filters=field("id") < 0)
    assert nothing.num_rows == 0
    assert nothing.schema == fs.units(filled).schema
    for wrong in (field("nothing") == 1, field("key") + 1):
        with pytest.raises(InvalidRequestError, match="does not fit the columns"):
            fs.units(filled, filters=wrong)


def test_an_empty_collection_has_the_declared_columns(fs):
    schema = {
        "properties": {
            "label": {"type": ["string", "null"]},
            "score": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "box": {"type": "object", "properties": {"w": {"type": "integer"}}},
            "any": {},
        }
    }
    table = fs.units(make(fs, schema=schema))
    assert table.num_rows == 0
    assert {field.name: field.type for field in table.schema if "meta." in field.name} == {
        "meta.box.w": pa.int64(),
        "meta.label": pa.string(),
        "meta.score": pa.float64(),
        "meta.tags": pa.list_(pa.string()),
    }


def test_batches_of_one_schema_page_by_page(fs, another):
    collection = make(fs, SPECS[:1])
    fs.pipe({f"{collection}/image_1/{number:04}.png": b"same" for number in range(2500)})
    fs.put_unit(collection, {"image_1": b"last"}, key="z", meta={"late": 1.5})
    batches = list(another.units_batches(collection))
    assert len(batches) >= 3
    assert max(batch.num_rows for batch in batches) <= 1000
    assert {str(batch.schema) for batch in batches} == {str(batches[0].schema)}
    table = pa.Table.from_batches(batches)
    assert len(set(table["key"].to_pylist())) == 2501
    assert pc.sum(table["meta.late"]).as_py() == 1.5
    first = next(iter(another.units_batches(collection, columns=["key"])))
    assert first.num_columns == 1


def test_a_replaced_unit_does_not_show(fs, another):
    collection = make(fs, SPECS[:1])
    path = f"{collection}/image_1/a.png"
    fs.pipe_file(path, b"one")
    another.pipe_file(path, b"two")
    table = fs.units(collection)
    assert table["image_1"].to_pylist() == [f"synapse://{path}"]
    assert table["id"].to_pylist() == [fs.info(path, refresh=True)["unit"]]


def test_units_from_elsewhere(fs):
    collection = make(fs, [{"name": "data_1", "file_type": "data"}])
    number = fs.info(collection)["id"]

    async def work():
        api = await units_api(fs)
        for content in (b"old", b"new"):
            await bind(api, number, "same.bin", content, meta={"a": 1}, groups=["outer", "inner"])

    prepared(fs, work)
    rows = fs.units(collection).to_pylist()
    assert [row["groups"] for row in rows] == [["inner"]] * 2
    assert [row["key"] for row in rows] == ["same", "same"]
    assert [fs.cat_file(row["data_1"]) for row in rows] == [b"old", b"new"]
    assert len({row["data_1"] for row in rows}) == 2


def test_specifications_named_like_columns(fs):
    names = ("key", "meta.x", "image_1")
    specs = [{"name": name, "file_type": "data", "is_primary": name == "key"} for name in names]
    collection = make(fs, specs)
    fs.put_unit(collection, dict.fromkeys(names, b"x"), key="a", meta={"x": 5})
    row = fs.units(collection).to_pylist()[0]
    assert row["key"] == "a"
    assert row["meta.x"] == 5
    assert fs.cat_file(row["path.key"]) == fs.cat_file(row["path.meta.x"]) == b"x"


def test_pandas(fs, filled):
    frame = fs.units(filled).to_pandas()
    assert frame.set_index("key").loc["k/1", "meta.x"] == 2.5


def test_polars(fs, filled):
    polars = pytest.importorskip("polars")
    frame = polars.from_arrow(fs.units(filled))
    assert frame.filter(polars.col("meta.label") == "dog")["key"].to_list() == ["k/1"]


def test_duckdb(fs, filled):
    duckdb = pytest.importorskip("duckdb")
    units = fs.units(filled)
    found = duckdb.sql('SELECT key FROM units WHERE "meta.n" > 1 ORDER BY key').fetchall()
    assert found == [("k/1",), ("k/2",), ("k/3",)]
    assert units.num_rows == 5


async def test_asynchronously(options, filled):
    async with SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True) as waiting:
        assert (await waiting._units(filled, columns=["id"])).num_rows == 5
        batches = [batch async for batch in waiting._units_batches(filled)]
        assert sum(batch.num_rows for batch in batches) == 5


def test_the_temporary_file_goes_with_an_abandoned_generator(fs, filled):
    batches = fs.units_batches(filled)
    next(batches)
    batches.close()
    with pytest.raises(StopIteration):
        next(batches)
