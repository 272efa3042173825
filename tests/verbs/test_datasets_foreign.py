"""Datasets and entries that other clients of the service made."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem, sync
from synapsefs.errors import InvalidPathError
from synapsefs.location import Location
from synapsefs.wire.datasets import requests
from tests.support.observed import TOKEN, ObservedServer, observed_server

Work = Callable[[Any], Any]


def with_api(fs: SynapseFileSystem, work: Work) -> Any:
    """Call the service's routes as they are."""

    async def call() -> Any:
        service: Any = await fs._service(Location.parse("datasets"))
        return await work(service.api)

    return sync.run(fs.loop, call())


def add(fs: SynapseFileSystem, dataset: str, name: str, content: str, **more: Any) -> str:
    """Add a text entry; give its id."""
    entry = requests.EntryCreate(
        name=name, content=content, dataset_id=dataset, file_path=name, **more
    )
    made = with_api(fs, lambda api: api.create_entry(entry, name, replay=False))
    return str(made.data_storage.id)


@pytest.fixture
def base(fs: SynapseFileSystem) -> str:
    container = f"datasets/t-{uuid.uuid4().hex[:12]}"
    fs.mkdir(container)
    return container


@pytest.fixture
def twins(fs: SynapseFileSystem, base: str) -> tuple[str, str]:
    """Ids of two entries of one name, the older first."""
    dataset = fs.info(base)["id"]
    older = add(fs, dataset, "a.txt", "older")
    return older, add(fs, dataset, "a.txt", "newer")


def test_a_name_with_an_id_is_found_as_long_as_the_entry_is_there(another, fs, base, twins):
    older, newer = twins
    listed = another.find(base)
    assert listed == [f"{base}/a.txt", f"{base}/a@{older}.txt"]
    with_api(fs, lambda api: api.delete_entry(newer, base))
    assert another.find(base, refresh=True) == [f"{base}/a.txt"]
    assert another.cat_file(f"{base}/a@{older}.txt") == b"older"
    another.rm(f"{base}/a@{older}.txt")
    assert not another.exists(f"{base}/a.txt")
    assert not another.exists(f"{base}/a@{older}.txt")


def test_removing_a_file_removes_all_entries_of_its_name(another, base, twins):
    another.rm(f"{base}/a.txt")
    assert another.find(base, refresh=True) == []


def test_removing_a_file_by_its_id_removes_that_entry(another, base, twins):
    older, newer = twins
    another.rm(f"{base}/@{newer}")
    assert another.cat_file(f"{base}/a.txt") == b"older"
    another.rm(f"{base}/@{older}")
    assert another.find(base, refresh=True) == []


def test_replacing_a_file_replaces_all_entries_of_its_name(another, base, twins):
    another.pipe_file(f"{base}/a.txt", b"new")
    assert another.find(base, refresh=True) == [f"{base}/a.txt"]
    assert another.cat_file(f"{base}/a.txt") == b"new"


def test_moving_a_file_leaves_none_of_its_name(another, base, twins):
    another.mv(f"{base}/a.txt", f"{base}/b.txt")
    assert another.find(base, refresh=True) == [f"{base}/b.txt"]
    assert another.cat_file(f"{base}/b.txt") == b"newer"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObservedServer]:
    with observed_server(tmp_path, api_keys=("key_a", "key_b"), strict=True) as running:
        yield running


def client(server: ObservedServer, key: str = "key_a") -> SynapseFileSystem:
    options = {"token": TOKEN, "skip_instance_cache": True}
    return SynapseFileSystem(server.url, datasets_token=key, **options)


def make_foreign(fs: SynapseFileSystem, name: str) -> str:
    """Make a dataset as the service's own client does it: nothing of ours is in it."""
    identifier = str(uuid.uuid4())
    with_api(fs, lambda api: api.create_dataset(name, None, identifier, "datasets"))
    add(fs, identifier, "theirs.txt", "theirs")
    return identifier


def test_a_dataset_of_another_client_is_found_by_its_name(server):
    identifier = make_foreign(client(server), "theirs")
    make_foreign(client(server), "theirs too")
    assert client(server).cat_file("datasets/theirs/theirs.txt") == b"theirs"
    fs = client(server)
    assert fs.info("datasets/theirs")["id"] == identifier
    fs.pipe_file("datasets/theirs/ours.bin", b"ours")
    assert sorted(client(server).find("datasets/theirs")) == [
        "datasets/theirs/ours.bin",
        "datasets/theirs/theirs.txt",
    ]


def test_a_dataset_of_another_user_takes_no_name(server):
    theirs = client(server, "key_b")
    identifier = make_foreign(theirs, "papers")
    theirs.share(f"datasets/@{identifier}/theirs.txt", "public")
    fs = client(server)
    fs.mkdir("datasets/papers")
    assert fs.info("datasets/papers")["id"] != identifier
    fs.pipe_file("datasets/papers/ours.txt", b"ours")
    assert client(server).find("datasets/papers") == ["datasets/papers/ours.txt"]


@pytest.mark.parametrize("name", ["\udcff", "a\ud800b", "x" * 256])
def test_a_name_that_the_service_cannot_give_back(fs, base, name):
    before = fs.stats()["requests"]
    for work in (
        lambda: fs.pipe_file(f"{base}/{name}", b"bytes"),
        lambda: fs.pipe_file(f"{base}/{name}/k.bin", b"bytes"),
        lambda: fs.open(f"{base}/{name}", "wb"),
        lambda: fs.mkdir(f"{base}/{name}"),
        lambda: fs.mkdir(f"datasets/{name}"),
        lambda: fs.makedirs(f"datasets/{name}", exist_ok=True),
        lambda: fs.makedirs(f"datasets/{name}/folder", exist_ok=True),
        lambda: fs.pipe_file(f"datasets/{name}/k.bin", b"bytes"),
        lambda: fs.link("https://example.org/", f"{base}/{name}"),
    ):
        with pytest.raises(InvalidPathError, match="name"):
            work()
    assert fs.stats()["requests"] == before


def test_many_lookups_by_id_are_quick(fs, base):
    """Each id is looked up, not searched for."""
    dataset = fs.info(base)["id"]
    ids = [add(fs, dataset, f"{number}.txt", "x") for number in range(30)]

    async def look() -> int:
        found = await asyncio.gather(*(fs._info(f"{base}/@{identifier}") for identifier in ids))
        return len({info["name"] for info in found})

    assert sync.run(fs.loop, look()) == 30
