"""Where the services' protocols leave a choice, the filesystem works with either answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from synapsefs import SynapseFileSystem
from tests.support.rewriting import Answer, Question, Reading, front

PART = 5 * 2**20
LONG = os.urandom(2**16) * (PART // 2**16) + b"and some more"
SHORT = b"\x00 short \xff"
ENTRIES = "/v0.1/data-storage/data-entries"
DATASETS = "/v0.1/data-storage/datasets"

Change = Callable[[dict[str, Any]], Any]


def every_object(value: Any, change: Change) -> Any:
    """Change all objects in a JSON value, innermost first."""
    if isinstance(value, list):
        return [every_object(item, change) for item in value]
    if isinstance(value, dict):
        return change({name: every_object(item, change) for name, item in value.items()})
    return value


def without(*names: str) -> Change:
    return lambda found: {name: value for name, value in found.items() if name not in names}


def is_object(question: Question) -> bool:
    return question.path.startswith("/_blob")


def api(change: Change, where: str = "") -> Reading:
    """Change the objects in all answers of routes whose path matches."""

    def tell(question: Question, answer: Answer) -> None:
        if not is_object(question) and re.search(where, question.path):
            answer.json(lambda value: every_object(value, change))

    return Reading(tell=tell)


def blobs(change: Callable[[Question, Answer], None]) -> Reading:
    """Change what object URLs answer."""

    def tell(question: Question, answer: Answer) -> None:
        if is_object(question) and question.method == "GET":
            change(question, answer)

    return Reading(tell=tell)


def drop_headers(*names: str) -> Callable[[Question, Answer], None]:
    def change(_: Question, answer: Answer) -> None:
        for name in names:
            answer.headers.popall(name, None)

    return change


def in_chunks(_: Question, answer: Answer) -> None:
    answer.chunked = True


def weak(_: Question, answer: Answer) -> None:
    if "ETag" in answer.headers:
        answer.headers["ETag"] = f"W/{answer.headers['ETag']}"


def no_ranges() -> Reading:
    """Objects always come whole."""

    def ask(question: Question) -> None:
        if is_object(question):
            question.headers.popall("Range", None)

    return Reading(ask=ask, tell=blobs(drop_headers("Accept-Ranges")).tell)


def redirected() -> Reading:
    """Object URLs lead to another URL first."""

    def ask(question: Question) -> None:
        if is_object(question) and question.method == "GET" and "moved" not in question.query:
            query = "&".join(f"{k}={v}" for k, v in question.query.items())
            location = f"{question.path}?{query}&moved=1"
            question.answer = Answer(302, CIMultiDict({"Location": location}), b"")
        question.query.pop("moved", None)

    return Reading(ask=ask)


def small_pages() -> Reading:
    def ask(question: Question) -> None:
        for name in ("page_size", "per_page"):
            if name in question.query:
                question.query[name] = "2"

    return Reading(ask=ask)


def plain_success() -> Reading:
    def tell(_: Question, answer: Answer) -> None:
        if answer.status in {201, 204}:
            answer.status, answer.body = 200, answer.body or b""

    return Reading(tell=tell)


def errors_in_html() -> Reading:
    def tell(_: Question, answer: Answer) -> None:
        if answer.status >= 400:
            answer.body = b"<html><h1>Something</h1></html>"
            answer.headers["Content-Type"] = "text/html"

    return Reading(tell=tell)


def listed_files(found: dict[str, Any]) -> dict[str, Any]:
    files = found.get("files")
    if isinstance(files, dict) and "meta" in found:
        found["files"] = [{"specification": name, **file} for name, file in files.items()]
    return found


def file_urls(found: dict[str, Any]) -> dict[str, Any]:
    files = found.get("files")
    if isinstance(files, dict) and "meta" in found:
        found["files"] = {name: file["url"] for name, file in files.items()}
    return found


def bare_files(found: dict[str, Any]) -> dict[str, Any]:
    files = found.get("files")
    if isinstance(files, dict) and "meta" in found:
        kept = {name: {"url": file["url"], "meta": {}} for name, file in files.items()}
        return {"id": found["id"], "meta": found["meta"], "files": kept}
    return found


def surrounded(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "something_new": {"deep": [1, None]}, "another": None}


def naive_times(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: re.sub(r"(Z|\+00:00)$", "", value)
        if isinstance(value, str) and "T" in value
        else value
        for name, value in found.items()
    }


def other_algorithm(name: str) -> Reading:
    """Checksums are of another algorithm than the one that is used elsewhere."""
    data = (b"", SHORT, LONG, b"text\r\n", b"newer")
    known = {hashlib.md5(item).hexdigest(): hashlib.new(name, item).hexdigest() for item in data}
    return api(
        lambda found: {
            key: known.get(value, value) if key == "checksum" else value
            for key, value in found.items()
        },
        "data_files|data_units|chunked|data-files",
    )


def dataset_without_text() -> Reading:
    return api(lambda found: {**found, "content": None} if "user_id" in found else found, DATASETS)


def chosen_ids() -> Reading:
    """The service gives datasets ids of its own."""

    def ask(question: Question) -> None:
        if question.method == "POST" and question.path == DATASETS:
            body = json.loads(question.body)
            body["id"] = str(uuid.uuid4())
            question.body = json.dumps(body).encode()

    return Reading(ask=ask)


def no_revisions(status: int) -> Reading:
    def ask(question: Question) -> None:
        if question.method == "PATCH" and b"base_revision_id" in question.body:
            headers = CIMultiDict({"Content-Type": "application/json"})
            question.answer = Answer(status, headers, b'{"detail": "no such thing"}')

    return Reading(ask=ask)


def no_part_tags() -> Reading:
    def tell(question: Question, answer: Answer) -> None:
        if is_object(question) and question.method == "PUT":
            answer.headers.popall("ETag", None)

    return Reading(tell=tell)


def text_elsewhere(found: dict[str, Any]) -> dict[str, Any]:
    return (
        {**found, "storage_type": "pg_table"}
        if found.get("storage_type") == "raw_content"
        else found
    )


def no_text_locations(found: dict[str, Any]) -> dict[str, Any]:
    text = found.get("data_storage", {}).get("content") is not None
    return {**found, "storage_locations": []} if "storage_locations" in found and text else found


def lacking(method: str, pattern: str, status: int) -> Reading:
    """The service has no such route."""

    def ask(question: Question) -> None:
        if question.method in method.split("|") and re.search(pattern, question.path):
            headers = CIMultiDict({"Content-Type": "application/json"})
            question.answer = Answer(status, headers, b'{"detail": "no such thing"}')

    return Reading(ask=ask)


COMMON: dict[str, Callable[[], Reading]] = {
    "as it is": Reading,
    "no etag": lambda: blobs(drop_headers("ETag", "Last-Modified", "Accept-Ranges")),
    "weak etag": lambda: blobs(weak),
    "in chunks": lambda: blobs(in_chunks),
    "in chunks without etag": lambda: blobs(
        lambda q, a: (in_chunks(q, a), drop_headers("ETag")(q, a))  # type: ignore[func-returns-value]
    ),
    "no ranges": no_ranges,
    "redirected": redirected,
    "status 200": plain_success,
    "errors in html": errors_in_html,
    "unknown members": lambda: api(surrounded),
    "times without zone": lambda: api(naive_times),
    "strict": lambda: Reading(settings={"strict": True, "url_lifetime": 5, "bearer_lifetime": 5}),
}
COLLECTIONS: dict[str, Callable[[], Reading]] = {
    "small pages": small_pages,
    "sha1": lambda: other_algorithm("sha1"),
    "sha256": lambda: other_algorithm("sha256"),
    "bare files": lambda: api(bare_files),
    "files as a list": lambda: api(listed_files),
    "files as urls": lambda: api(file_urls),
    "no sizes": lambda: api(without("size")),
    "no names": lambda: api(without("file_name_original", "filename", "name"), "data_units"),
    "collections in brief": lambda: api(
        without("file_specifications", "description", "created_at", "category", "project"),
        r"/data_collections/$",
    ),
    "no v2 sizes": lambda: lacking("GET", "^/v2/data-files", 404),
    "no v2 groups": lambda: lacking("GET", "/groups/$", 404),
    "no v2 collections": lambda: lacking("GET|PATCH", "^/v2/data-collections/[0-9]", 404),
    "collections cannot be changed": lambda: lacking("PATCH", "^/v2/data-collections/", 405),
    "no health": lambda: lacking("GET", "^/health", 404),
}
DATASETS_ONLY: dict[str, Callable[[], Reading]] = {
    "no metadata": lambda: api(without("metadata"), ENTRIES),
    "no text in listings": dataset_without_text,
    "no aliases": lambda: api(without("short_alias", "file_path", "permitted_accessors")),
    "ids of its own": chosen_ids,
    "no revisions: 404": lambda: no_revisions(404),
    "no revisions: 405": lambda: no_revisions(405),
    "no revisions: 422": lambda: no_revisions(422),
    "no revision ids": lambda: api(
        without("revision_id", "current_revision_id", "revision_generation", "version"), ENTRIES
    ),
    "no part etags": no_part_tags,
    "text in tables": lambda: api(text_elsewhere),
    "text without locations": lambda: api(no_text_locations, ENTRIES),
    "no text outside": lambda: api(
        lambda found: without("content")(found) if "data_storage" in found else found, ENTRIES
    ),
}
QUICK = {"as it is", "no etag", "bare files", "no metadata", "no revisions: 404"}
CASES = [
    *((root, name, make) for root in ("collections", "datasets") for name, make in COMMON.items()),
    *(("collections", name, make) for name, make in COLLECTIONS.items()),
    *(("datasets", name, make) for name, make in DATASETS_ONLY.items()),
]


@pytest.fixture
def url(reading: Callable[[], Reading], tmp_path: Path) -> Iterator[str]:
    with front(tmp_path / "root", reading()) as url:
        yield url


@pytest.mark.parametrize(
    ("root", "reading"),
    [
        pytest.param(
            root, make, id=f"{root}: {name}", marks=() if name in QUICK else pytest.mark.slow
        )
        for root, name, make in CASES
    ],
)
def test_the_whole_life_of_files(root: str, url: str, tmp_path: Path) -> None:
    def instance() -> SynapseFileSystem:
        return SynapseFileSystem(
            url, "t", datasets_token="k", block_size=PART, retries=1, skip_instance_cache=True
        )

    fs = instance()
    fs.mkdir(f"{root}/life")
    base = f"{root}/life/data_1" if root == "collections" else f"{root}/life"
    write(fs, base)
    expected = {
        f"{base}/a/short.bin": SHORT,
        f"{base}/a/text.csv": b"text\r\n",
        f"{base}/long.bin": LONG,
    }
    check(fs, base, expected)
    check(instance(), base, expected)
    check_ranges(instance(), f"{base}/long.bin")
    instance().get(base, str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got" / "long.bin").read_bytes() == LONG
    assert (tmp_path / "got" / "a" / "text.csv").read_bytes() == b"text\r\n"
    change(instance(), base)
    expected = {
        f"{base}/a/text.csv": b"newer",
        f"{base}/b/moved.bin": SHORT,
        f"{base}/long.bin": SHORT,
    }
    check(instance(), base, expected)
    copy_all(instance(), f"{root}/life")
    copies = {path.replace("/life", "/moved"): data for path, data in expected.items()}
    check(instance(), base.replace("/life", "/moved"), copies)
    remove(instance(), base, expected)


def write(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe({f"{base}/a/short.bin": SHORT, f"{base}/a/text.csv": b"text\r\n"})
    with fs.open(f"{base}/long.bin", "wb") as file:
        for first in range(0, len(LONG), 3_000_000):
            file.write(LONG[first : first + 3_000_000])


def check(fs: SynapseFileSystem, base: str, expected: dict[str, bytes]) -> None:
    assert fs.find(base) == sorted(expected)
    assert {name: info["size"] for name, info in fs.find(base, detail=True).items()} == {
        name: len(data) for name, data in expected.items()
    }
    for path, data in expected.items():
        assert fs.cat_file(path) == data
        assert fs.size(path) == len(data)
    assert not fs.exists(f"{base}/missing.bin")
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{base}/missing.bin")


def check_ranges(fs: SynapseFileSystem, path: str) -> None:
    spans = [(0, 10), (100_000, 200_000), (-13, None), (len(LONG) - 1, len(LONG) + 100), (7, 7)]
    for start, end in spans:
        assert fs.cat_file(path, start, end) == LONG[start:end]
    with fs.open(path) as file:
        file.seek(1_000_000)
        assert file.read(1000) == LONG[1_000_000:1_001_000]
        assert file.read() == LONG[1_001_000:]


def change(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/a/text.csv", b"newer")
    fs.cp_file(f"{base}/a/short.bin", f"{base}/long.bin")
    fs.mv(f"{base}/a/short.bin", f"{base}/b/moved.bin")


def copy_all(fs: SynapseFileSystem, container: str) -> None:
    root = container.partition("/")[0]
    fs.cp(container, f"{root}/copied", recursive=True)
    fs.mv(f"{root}/copied", f"{root}/moved", recursive=True)


def remove(fs: SynapseFileSystem, base: str, expected: dict[str, bytes]) -> None:
    fs.rm(f"{base}/long.bin")
    fs.invalidate_cache()
    assert fs.find(base) == sorted(set(expected) - {f"{base}/long.bin"})
    container = "/".join(base.split("/")[:2])
    fs.rm(container, recursive=True)
    fs.invalidate_cache()
    assert not fs.exists(container)


def units_reused() -> Reading:
    """Of units with equal files there is one: the service answers with that."""
    known: dict[str, Any] = {}

    def composition(unit: dict[str, Any]) -> str:
        files = {name: file["checksum"] for name, file in unit["files"].items()}
        return json.dumps([unit["data_collection"], files], sort_keys=True)

    def ask(question: Question) -> None:
        if question.method == "POST" and question.path == "/data_units/":
            asked = json.loads(question.body)
            if all(composition(unit) in known for unit in asked):
                found = [known[composition(unit)] for unit in asked]
                headers = CIMultiDict({"Content-Type": "application/json"})
                question.answer = Answer(201, headers, json.dumps(found).encode())

    def tell(question: Question, answer: Answer) -> None:
        if question.method == "POST" and question.path == "/data_units/":
            for unit, made in zip(json.loads(question.body), json.loads(answer.body), strict=True):
                known.setdefault(composition(unit), made)

    return Reading(ask=ask, tell=tell)


@pytest.mark.parametrize("reading", [units_reused])
@pytest.mark.parametrize("specifications", [1, 2])
def test_equal_content_that_the_service_keeps_once(url: str, specifications: int) -> None:
    """A second name for it is refused aloud, and never takes the first away."""
    fs = SynapseFileSystem(url, "t", datasets_token="k", retries=1, skip_instance_cache=True)
    given = [
        {"name": f"data_{n}", "file_type": "data", "is_required": n == 1, "is_primary": n == 1}
        for n in range(1, specifications + 1)
    ]
    fs.mkdir("collections/once", file_specifications=given)
    base = "collections/once/data_1"
    fs.pipe_file(f"{base}/first.bin", SHORT)
    fs.pipe_file(f"{base}/first.bin", SHORT)
    with pytest.raises(FileExistsError, match=r"one unit for equal content.*first\.bin") as caught:
        fs.pipe_file(f"{base}/second.bin", SHORT)
    assert caught.value.filename == f"{base}/second.bin"
    fs.invalidate_cache()
    assert fs.find(base) == [f"{base}/first.bin"]
    assert fs.cat_file(f"{base}/first.bin") == SHORT
