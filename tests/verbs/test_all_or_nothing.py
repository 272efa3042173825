"""A recursive put or a transaction makes all its units or none, whichever call fails."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError, ServiceError, StorageFullError, TooLargeError
from synapsefs.services.collections import index
from synapsefs.wire.collections import constants
from tests.support.observed import ObservedServer, observed_server

SPECS = [
    {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
    {"name": "json_meta_1", "file_type": "data", "is_required": True},
]


@dataclass
class Failing:
    """Notes how many units each creation has, and answers some calls itself."""

    batches: list[int] = field(default_factory=list)
    at: int = 0
    status: int = 422
    path: str = "/data_units/"
    method: str = "POST"
    calls: int = 0

    def reset(
        self, *, at: int = 0, status: int = 422, path: str = "/data_units/", method: str = "POST"
    ) -> None:
        self.batches, self.calls = [], 0
        self.at, self.status, self.path, self.method = at, status, path, method

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def answer(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.method == self.method and request.path.startswith(self.path):
                self.calls += 1
                if request.path == "/data_units/":
                    self.batches.append(len(json.loads(await request.read())))
                if self.calls >= self.at > 0:
                    return web.json_response({"detail": "not this one"}, status=self.status)
            return await handler(request)

        return answer


@pytest.fixture(scope="module")
def failing() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, failing: Failing) -> Iterator[ObservedServer]:
    root = tmp_path_factory.mktemp("failing")
    with observed_server(root, middleware=failing.middleware) as running:
        yield running


@pytest.fixture(autouse=True)
def _harmless(failing: Failing) -> Iterator[None]:
    failing.reset()
    yield
    failing.reset()


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    return SynapseFileSystem(**server.options, skip_instance_cache=True)


@pytest.fixture
def another(server: ObservedServer) -> SynapseFileSystem:
    return SynapseFileSystem(**server.options, skip_instance_cache=True)


def make(fs: SynapseFileSystem, specs: Any = SPECS) -> str:
    collection = f"collections/n-{uuid.uuid4().hex[:12]}"
    fs.mkdir(collection, category="image", file_specifications=specs)
    return collection


def units_in(fs: SynapseFileSystem, collection: str) -> int:
    return int(fs.units(collection).num_rows)


def tree(count: int, content: bytes = b"same") -> dict[str, bytes]:
    return {
        f"{spec}/f/{number:04}{suffix}": content
        for number in range(count)
        for spec, suffix in (("image_1", ".png"), ("json_meta_1", ".json"))
    }


@pytest.fixture
def ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten units be the most in one call."""
    monkeypatch.setattr(constants, "UNIT_BATCH", 10)


@pytest.mark.slow
def test_batches_of_at_most_a_thousand(fs, another, failing):
    collection = make(fs)
    fs.pipe({f"{collection}/{name}": content for name, content in tree(2100).items()})
    assert failing.batches == [1000, 1000, 100]
    assert units_in(another, collection) == 2100


@pytest.mark.parametrize(
    ("status", "error"),
    [(422, InvalidRequestError), (500, ServiceError), (507, StorageFullError)],
)
def test_a_later_batch_fails(fs, another, failing, ten, tmp_path, status, error):
    collection = make(fs)
    old = {f"{collection}/{name}": b"old" for name in tree(2)}
    fs.pipe(old)
    for name, content in tree(11, b"new").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    failing.reset(at=2, status=status)
    with pytest.raises(error):
        fs.put(f"{tmp_path}/", collection, recursive=True)
    assert failing.batches[:2] == [10, 1]
    failing.reset()
    for reader in (fs, another):
        assert reader.cat(reader.find(collection)) == old
    assert units_in(another, collection) == 2
    fs.put(f"{tmp_path}/", collection, recursive=True)
    another.invalidate_cache()
    assert len(another.find(collection)) == 22
    assert another.cat_file(next(iter(old))) == b"new"
    assert units_in(another, collection) == 11


def test_a_transaction_over_two_collections(fs, another, failing):
    one, two = make(fs), make(fs)
    fs.pipe({f"{one}/{name}": b"old" for name in tree(1)})
    failing.reset(at=2)
    with pytest.raises(InvalidRequestError), fs.transaction:
        for collection in (one, two):
            for name in tree(1):
                fs.pipe_file(f"{collection}/{name}", b"new")
    failing.reset()
    assert set(another.cat(another.find(one)).values()) == {b"old"}
    assert another.find(two) == []
    assert (units_in(another, one), units_in(another, two)) == (1, 0)


def test_a_transaction_over_both_services(fs, another, failing):
    collection, dataset = make(fs), f"datasets/n-{uuid.uuid4().hex[:12]}"
    fs.mkdir(dataset)
    failing.reset(at=1, path="/v0.1/data-storage/data-entries")
    with pytest.raises(InvalidRequestError), fs.transaction:
        fs.pipe_file(f"{dataset}/a.txt", b"text")
        for name in tree(1):
            fs.pipe_file(f"{collection}/{name}", b"new")
    failing.reset()
    assert another.find(collection) == []
    assert units_in(another, collection) == 0
    assert another.find(dataset) == []


def test_an_incomplete_transaction_makes_nothing(fs, another):
    collection = make(fs)
    with pytest.raises(InvalidRequestError, match="would lack the required"), fs.transaction:
        for name in tree(1):
            fs.pipe_file(f"{collection}/{name}", b"new")
        fs.pipe_file(f"{collection}/image_1/alone.png", b"lonely")
    assert another.find(collection) == []


def test_bytes_that_are_refused(fs, another, failing, tmp_path):
    """One file of many is too large for the service: none of them appears."""
    collection = make(fs, SPECS[:1])
    files = {f"{collection}/image_1/{number}.png": b"%d" % number for number in range(20)}
    failing.reset(at=15, status=413, path="/data_files/")
    with pytest.raises(TooLargeError) as refused:
        fs.pipe(files)
    assert refused.value.filename in files
    failing.reset()
    assert another.find(collection) == []


def test_what_another_client_replaced_lately_is_left_to_it(fs, another, failing, monkeypatch):
    """It may still take its units back, and then needs what was there."""
    collection = make(fs)
    fs.pipe({f"{collection}/{name}": b"old" for name in tree(1)})
    failing.reset(at=1, path="/v2/data-units/", method="DELETE")
    fs.pipe({f"{collection}/{name}": b"new" for name in tree(1)})
    failing.reset(path="/v2/data-units/", method="DELETE")
    more = {f"{collection}/{spec}/other": b"x" for spec in ("image_1", "json_meta_1")}
    another.pipe(more)
    assert set(another.cat(f"{collection}/*/f/*").values()) == {b"new"}
    assert failing.calls == 0
    monkeypatch.setattr(index, "LEFT_BEHIND", timedelta(0))
    another.pipe(more)
    assert failing.calls == 2
    assert units_in(fs, collection) == 2
