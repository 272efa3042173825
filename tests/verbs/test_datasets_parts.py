"""Files of several parts in datasets, where the service sums nothing up itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from synapsefs import SynapseFileSystem
from synapsefs.errors import ChecksumError
from tests.support.rewriting import Answer, Question, Reading, front

PART = 5 * 2**20
DATA = os.urandom(PART + 1234)
PATH = "datasets/parts/long.bin"
OWN = {"md5", "size", "version", "current_revision_id", "signed_url", "content_type", "metadata"}
"""What only the embedded server says of the entries that it lists."""


class Service:
    """A service that says no more than the real one; it may hold other bytes than were sent.

    Attributes
    ----------
    note
        In which form the MD5 is noted with an entry: that of this package, or an older one's.
    spoilt
        Where a byte of what is read from the storage is another.
    refused
        Name of a file of which it takes no bytes.
    asked
        Methods and last segments of the routes that were asked.
    """

    def __init__(self) -> None:
        self.note = "parts"
        self.spoilt: int | None = None
        self.refused = b""
        self.asked: list[tuple[str, str]] = []

    def ask(self, question: Question) -> None:
        self.asked.append((question.method, question.path.rsplit("/", 1)[1]))
        if question.method == "POST" and self.refused and self.refused in question.body:
            body = json.dumps({"detail": "not this one"}).encode()
            headers = CIMultiDict({"Content-Type": "application/json"})
            question.answer = Answer(403, headers, body)
        if (question.method, self.note) == ("POST", "whole") and b'"parts":{' in question.body:
            entry = json.loads(question.body)
            del entry["metadata"]["synapsefs"]["parts"]
            entry["metadata"]["synapsefs"]["md5"] = hashlib.md5(DATA).hexdigest()
            question.body = json.dumps(entry).encode()

    def tell(self, question: Question, answer: Answer) -> None:
        if question.path.startswith("/_blob"):
            if question.method == "GET" and self.spoilt is not None:
                self._spoil(answer, self.spoilt)
        else:
            answer.json(self._silent)

    def _spoil(self, answer: Answer, place: int) -> None:
        span = answer.headers.get("Content-Range", "bytes 0-/").split()[1].split("-")
        place -= int(span[0])
        if 0 <= place < len(answer.body):
            body = bytearray(answer.body)
            body[place] ^= 1
            answer.body = bytes(body)

    def _silent(self, value: Any) -> Any:
        if isinstance(value, dict):
            for entry in [value.get("data_storage", {}), *value.get("data_storage_entries", [])]:
                for name in OWN & entry.keys():
                    del entry[name]
        return value


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    service = Service()
    reading = Reading(ask=service.ask, tell=service.tell)
    with front(tmp_path_factory.mktemp("parts"), reading) as url:
        yield service, url


@pytest.fixture
def service(running: tuple[Service, str]) -> Iterator[Service]:
    service, _ = running
    yield service
    service.note, service.spoilt, service.refused = "parts", None, b""


def client(running: tuple[Service, str]) -> SynapseFileSystem:
    return SynapseFileSystem(
        running[1], "t", datasets_token="k", block_size=PART, skip_instance_cache=True
    )


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "long.bin"
    path.write_bytes(DATA)
    return path


def write(fs: SynapseFileSystem, way: str, local: Path) -> None:
    fs.makedirs("datasets/parts", exist_ok=True)
    if way == "put_file":
        fs.put_file(str(local), PATH)
    elif way == "pipe_file":
        fs.pipe_file(PATH, DATA)
    else:
        with fs.open(PATH, "wb") as file:
            for start in range(0, len(DATA), 700_001):
                file.write(DATA[start : start + 700_001])


def digest_of_parts() -> str:
    starts = range(0, len(DATA), PART)
    md5s = [hashlib.md5(DATA[start : start + PART]).digest() for start in starts]
    return f"{hashlib.md5(b''.join(md5s)).hexdigest()}-{len(md5s)}"


@pytest.mark.parametrize("way", ["put_file", "pipe_file", "open"])
def test_the_checksum_is_that_of_the_parts(running, service, local, way):
    write(client(running), way, local)
    fs = client(running)
    assert fs.cat_file(PATH) == DATA
    info = fs.info(PATH, refresh=True)
    fs.sizes([PATH])
    info = fs.info(PATH)
    assert info["size"] == len(DATA)
    assert (info["checksum"], info["part_size"]) == (digest_of_parts(), PART)


@pytest.mark.parametrize("note", ["parts", "whole"])
@pytest.mark.parametrize("place", [0, PART - 1, len(DATA) - 1])
def test_a_byte_that_was_changed_is_not_read(running, service, local, tmp_path, note, place):
    """However its writer noted the checksum: by parts, or as older versions did."""
    service.note = note
    fs = client(running)
    write(fs, "put_file", local)
    service.spoilt = place
    with pytest.raises(ChecksumError, match=PATH):
        fs.cat_file(PATH)
    target = tmp_path / "got"
    with pytest.raises(ChecksumError, match=PATH):
        fs.get_file(PATH, str(target))
    assert not target.exists()
    with pytest.raises(ChecksumError, match=PATH), fs.open(PATH, "rb") as file:
        while file.read(2**20):
            pass


def test_sync_leaves_alone_what_is_the_same(running, service, local, tmp_path):
    write(client(running), "put_file", local)
    fs = client(running)
    service.asked.clear()
    fs.put(str(local), PATH, sync=True)
    assert not {"PUT", "PATCH"} & {method for method, _ in service.asked}
    fs.get(PATH, str(local), sync=True)
    local.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    fs.put(str(local), PATH, sync=True)
    assert sum(method == "PUT" for method, _ in service.asked) == 2
    assert fs.cat_file(PATH) == local.read_bytes()


def test_what_a_file_of_two_parts_asks(running, service, local):
    fs = client(running)
    fs.makedirs("datasets/parts", exist_ok=True)
    fs.exists("datasets/parts/new.bin")
    service.asked.clear()
    fs.put_file(str(local), "datasets/parts/new.bin")
    asked = [one for one in service.asked if one[0] != "GET"]
    steps = [name for method, name in asked if method == "POST"]
    assert steps == ["data-entries", "initiate", "complete"]
    assert [method for method, _ in asked].count("PUT") == 2
    assert [method for method, _ in asked].count("PATCH") == 1
    assert len(asked) == 6


def test_what_many_small_files_ask(running, service, tmp_path):
    """Five requests each, and a few for all; a directory that another client made is found."""
    fs, another = client(running), client(running)
    fs.makedirs("datasets/parts", exist_ok=True)
    fs.find("datasets/parts")
    another.makedirs("datasets/parts/made", exist_ok=True)
    for number in range(10):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(100))
    service.asked.clear()
    fs.put(f"{tmp_path}/", "datasets/parts/made/", recursive=True)
    methods = [method for method, _ in service.asked]
    assert (methods.count("POST"), methods.count("PUT"), methods.count("PATCH")) == (30, 10, 10)
    assert methods.count("GET") <= 4, service.asked
    assert len(another.find("datasets/parts/made")) == 10


def test_one_of_many_small_files_cannot_be_sent(running, service, tmp_path):
    fs = client(running)
    fs.makedirs("datasets/few", exist_ok=True)
    for number in range(10):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(100))
    service.refused = b'"7.bin"'
    with pytest.raises(PermissionError, match=r"7\.bin"):
        fs.put(f"{tmp_path}/", "datasets/few/", recursive=True)
    assert client(running).find("datasets/few") == []
    service.asked.clear()
    done = fs.put(f"{tmp_path}/", "datasets/few/", recursive=True, on_error="return")
    failed = {path for path, error in done.items() if error is not None}
    assert failed == {"datasets/few/7.bin"}
    assert len(client(running).find("datasets/few")) == 9
