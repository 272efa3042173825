"""Who has what a root holds, by whichever key it is served."""

import asyncio
import hashlib
import json
import sqlite3

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.wire.datasets.constants import DATASETS_PATH, LISTING_PATH


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


async def names(api):
    """Names of the datasets that a user has, which the user may change as well."""
    listed = (await api.call("GET", LISTING_PATH)).json["datasets"]
    for dataset in listed:
        body = {"name": "t", "content": "x", "dataset_id": dataset["id"]}
        assert (await api.create(**body)).data_storage.dataset_id == dataset["id"]
    return {dataset["name"] for dataset in listed}


def listed(root):
    """Names of the datasets that a filesystem over the root sees."""
    fs = SynapseFileSystem(endpoint_url=root.as_uri(), skip_instance_cache=True)
    return {path.rpartition("/")[2] for path in fs.ls("datasets", detail=False)}


def make(root, name):
    fs = SynapseFileSystem(endpoint_url=root.as_uri(), skip_instance_cache=True)
    fs.mkdir(f"datasets/{name}")


async def test_a_root_has_one_owner_whatever_the_key(serving, root):
    await asyncio.to_thread(make, root, "local")
    made = {"local"}
    for name, keys in {"open": (), "first": ("key_a",), "rotated": ("key_b",)}.items():
        api = await serving(key=keys[0] if keys else "any", api_keys=keys)
        await api.dataset(name)
        made.add(name)
        assert await names(api) == made
        assert await asyncio.to_thread(listed, root) == made


async def test_with_several_keys_the_owner_is_who_was_alone(serving):
    alone = await serving(api_keys=("key_a",))
    key = await alone.dataset("mine")
    first = await serving(api_keys=("key_a", "key_b"))
    second = await serving.login(first.url, "key_b")
    await second.dataset("theirs")
    assert await names(first) == {"mine"}
    assert await names(second) == {"theirs"}
    assert (await second.call("GET", f"{DATASETS_PATH}/{key}")).status == 404
    assert await names(await serving(api_keys=("key_a",))) == {"mine"}


async def test_who_is_left_alone_keeps_what_it_has(serving, root):
    first = await serving(api_keys=("key_a", "key_b"))
    second = await serving.login(first.url, "key_b")
    await first.dataset("a")
    shared = (await second.create("shared", content="x")).data_storage.id
    me = (await first.create("t", content="x")).data_storage.user_id
    await second.patch(shared, share_status="shared", permitted_accessors={"users": [me]})
    alone = await serving(api_keys=("key_a",))
    assert await names(alone) == {"a"}
    assert await alone.status_of(shared) == 200
    assert await asyncio.to_thread(listed, root) == {"a"}
    again = await serving(api_keys=("key_a", "key_b"))
    assert await again.status_of(shared) == 200
    assert await names(again) == {"a"}


def first_id(key):
    return f"user-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def as_first_version(root, owners):
    """Make a root like one of the first version, with the owners it named."""
    connection = sqlite3.connect(root / "catalogue.sqlite3")
    connection.execute("DROP TABLE ds_users")
    for name, owner in owners.items():
        for table in ("ds_datasets", "ds_entries"):
            where = f"UPDATE {table} SET user_id = ? WHERE name = ?"
            connection.execute(where, (owner, name))
    connection.execute("PRAGMA user_version = 0")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("key", ["key_a", "key_b"])
async def test_a_root_of_the_first_version_had_one_key(serving, root, key):
    """It may have been read by ``file://`` too, and its key may have been changed since."""
    before = await serving(api_keys=("key_a",))
    await before.dataset("served")
    await asyncio.to_thread(make, root, "local")
    own = first_id(json.loads((root / "secret").read_text())["api_key"])
    as_first_version(root, {"served": first_id("key_a"), "local": own})
    assert await names(await serving(key=key, api_keys=(key,))) == {"served", "local"}
    assert await asyncio.to_thread(listed, root) == {"served", "local"}


async def test_a_root_of_the_first_version_had_several_keys(serving, root):
    before = await serving(api_keys=("key_a",))
    for name in ("a", "b", "lost"):
        await before.dataset(name)
    owners = {"a": first_id("key_a"), "b": first_id("key_b"), "lost": first_id("key_c")}
    as_first_version(root, owners)
    first = await serving(api_keys=("key_a", "key_b"))
    assert await names(first) == {"a"}
    assert await names(await serving.login(first.url, "key_b")) == {"b"}
