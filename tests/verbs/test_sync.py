"""Content-aware put and get, plans, results by file, and progress in bytes and files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError, TooLargeError
from tests.support.observed import ObservedServer, observed_server

CONTENT = {"a.txt": b"text", "sub/b.bin": b"\x00\xff" * 500, "sub/c.csv": b"x,y\r\n1,2\r\n"}
SPECS = [
    {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True},
    {"name": "json_meta_1", "file_type": "data", "is_required": True},
]


@web.middleware
async def refuse_large(request, handler):
    """A service that takes no more than a few kilobytes at once."""
    if (request.content_length or 0) > 50_000:
        return web.json_response({"detail": "too large"}, status=413)
    return await handler(request)


@web.middleware
async def boast(request, handler):
    """A service that says it had everything."""
    if request.path == "/data_files/verify_checksums/":
        return web.json_response({"existing_checksums": (await request.json())["checksums"]})
    return await handler(request)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("sync")) as running:
        yield running


@pytest.fixture
def fs(server):
    return SynapseFileSystem(**server.options, skip_instance_cache=True)


@pytest.fixture
def another(server):
    return SynapseFileSystem(**server.options, skip_instance_cache=True)


@pytest.fixture(params=["collections", "datasets"])
def place(request, another):
    container = f"{request.param}/s-{uuid.uuid4().hex[:12]}"
    another.mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container


@pytest.fixture
def local(tmp_path) -> Path:
    for name, content in CONTENT.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree"


def relative(fs, place):
    return {path[len(place) + 1 :]: fs.cat_file(path) for path in fs.find(place)}


def writes(seen):
    """Requests that carry content or create something."""
    harmless = {"/auth/login", "/data_files/verify_checksums/"}
    return [s for s in seen if s.method != "GET" and s.path not in harmless]


def test_an_unchanged_tree_sends_nothing(server, fs, another, place, local):
    assert fs.put(f"{local}/", place, recursive=True, sync=True) is None
    assert relative(another, place) == CONTENT
    versions = {path: another.info(path)["version"] for path in another.find(place)}
    with server.watching() as seen:
        another.put(f"{local}/", place, recursive=True, sync=True)
    assert writes(seen) == []
    (local / "a.txt").write_bytes(b"tExt")
    (local / "new.bin").write_bytes(b"\x00new")
    (local / "sub" / "c.csv").unlink()
    os.utime(local / "sub" / "b.bin", (1, 1))
    another.put(f"{local}/", place, recursive=True, sync=True)
    fs.invalidate_cache()
    found = relative(fs, place)
    assert found == {**CONTENT, "a.txt": b"tExt", "new.bin": b"\x00new"}
    unchanged = f"{place}/sub/b.bin"
    assert fs.info(unchanged)["version"] == versions[unchanged]


def test_an_unchanged_tree_fetches_nothing(server, fs, another, place, local, tmp_path):
    fs.put(f"{local}/", place, recursive=True)
    target = tmp_path / "copy"
    fs.get(f"{place}/", str(target), recursive=True, sync=True)
    (target / "a.txt").write_bytes(b"TEXT")
    (target / "own.txt").write_bytes(b"kept")
    stamp = (target / "sub" / "b.bin").stat().st_mtime_ns
    with server.watching() as seen:
        another.get(f"{place}/", str(target), recursive=True, sync=True)
    assert sum(s.is_object for s in seen) <= 1
    assert (target / "a.txt").read_bytes() == b"text"
    assert (target / "own.txt").read_bytes() == b"kept"
    assert (target / "sub" / "b.bin").stat().st_mtime_ns == stamp
    with server.watching() as seen:
        another.get(f"{place}/", str(target), recursive=True, sync=True)
    assert [s for s in seen if s.is_object] == []


def test_plans(server, fs, another, place, local, tmp_path):
    another.exists(place)
    with server.watching() as seen:
        plan = fs.put(f"{local}/", place, recursive=True, dry_run=True)
    assert writes(seen) == []
    assert {step["target"]: step["action"] for step in plan} == {
        f"{place}/{name}": "create" for name in CONTENT
    }
    assert {step["source"]: step["size"] for step in plan} == {
        str(local / name): len(content) for name, content in CONTENT.items()
    }
    assert another.find(place) == []
    fs.put(f"{local}/", place, recursive=True)
    (local / "a.txt").write_bytes(b"other")
    plan = another.put(f"{local}/", place, recursive=True, sync=True, dry_run=True)
    assert {Path(step["target"]).name: step["action"] for step in plan} == {
        "a.txt": "replace",
        "b.bin": "unchanged",
        "c.csv": "unchanged",
    }
    plan = another.get(f"{place}/", str(local), recursive=True, sync=True, dry_run=True)
    actions = {os.path.relpath(step["target"], local): step["action"] for step in plan}
    assert actions == {"a.txt": "replace", "sub/b.bin": "unchanged", "sub/c.csv": "unchanged"}
    assert (local / "a.txt").read_bytes() == b"other"
    plan = another.get(f"{place}/", str(tmp_path / "fresh"), recursive=True, dry_run=True)
    assert {step["action"] for step in plan} == {"create"}
    assert not (tmp_path / "fresh").exists()


def test_content_that_the_service_has_is_not_sent(server, fs, another, local):
    """Also under other names and in other collections, and without ``sync``."""
    one, two = (f"collections/s-{uuid.uuid4().hex[:12]}" for _ in range(2))
    for collection in (one, two):
        another.mkdir(collection)
    fs.put(f"{local}/", f"{one}/data_1", recursive=True)
    with server.watching() as seen:
        fs.put(f"{local}/", f"{two}/data_1/elsewhere", recursive=True)
    assert [s.path for s in writes(seen)] == ["/data_units/"]
    assert relative(another, f"{two}/data_1/elsewhere") == CONTENT
    assert another.du(two) == sum(map(len, CONTENT.values()))


def test_a_service_that_binds_no_checksum_it_was_not_sent(tmp_path, local):
    """What the service says it has, but does not bind, is sent after all."""

    with observed_server(tmp_path / "root", middleware=boast) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.put(f"{local}/", "collections/c/data_1", recursive=True)
        assert relative(fs, "collections/c/data_1") == CONTENT


def uploads(seen):
    """Requests that carry files."""
    return sum(s.path in {"/data_files/", "/chunked_upload/"} for s in seen)


def test_a_refusal_for_another_reason_sends_nothing_again(tmp_path, local):
    """What the service has is not sent because it refuses the unit."""
    refusing = []

    @web.middleware
    async def refuse(request, handler):
        if refusing and request.path == "/data_units/" and request.method == "POST":
            return web.json_response({"detail": "not in this schema"}, status=422)
        return await handler(request)

    with observed_server(tmp_path / "root", middleware=refuse) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.put(f"{local}/", "collections/c/data_1/one", recursive=True)
        (local / "new.bin").write_bytes(b"new")
        refusing.append(True)
        with server.watching() as seen, pytest.raises(InvalidRequestError, match="schema"):
            fs.put(f"{local}/", "collections/c/data_1/two", recursive=True)
        assert uploads(seen) == 1, "only the new file"
        assert sum(s.path == "/data_units/" and s.method == "POST" for s in seen) == 1


def test_only_content_that_is_gone_is_sent_again(tmp_path, local):
    """One file that the service had is no longer there when the unit is made."""
    gone, told, armed = set(), [], []

    @web.middleware
    async def forget(request, handler):
        if armed and request.path == "/data_files/verify_checksums/":
            sums = (await request.json())["checksums"]
            told.append(sums)
            if len(told) == 2:
                gone.update(sums[:1])
            return web.json_response({"existing_checksums": [s for s in sums if s not in gone]})
        if request.path == "/data_units/" and request.method == "POST" and len(told) == 1:
            return web.json_response({"detail": "one file is missing"}, status=400)
        return await handler(request)

    with observed_server(tmp_path / "root", middleware=forget) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.put(f"{local}/", "collections/c/data_1/one", recursive=True)
        armed.append(True)
        with server.watching() as seen:
            fs.put(f"{local}/", "collections/c/data_1/two", recursive=True)
        assert (len(told), uploads(seen)) == (2, 1)
        assert relative(fs, "collections/c/data_1/two") == CONTENT


def test_one_bad_file_never_loses_the_rest(tmp_path, local):
    with observed_server(tmp_path / "root", middleware=refuse_large) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        reader = SynapseFileSystem(**server.options, skip_instance_cache=True)
        for container in ("collections/c", "datasets/d"):
            fs.mkdir(container)
            (local / "bad.bin").write_bytes(b"\x00" * 100_000)
            (local / "lost").unlink(missing_ok=True)
            (local / "lost").symlink_to(local / "nowhere")
            place = f"{container}/data_1" if container == "collections/c" else container
            found = fs.put(f"{local}/", place, recursive=True, on_error="return")
            assert {name: type(error) for name, error in found.items()} == {
                f"{place}/bad.bin": TooLargeError,
                f"{place}/lost": InvalidRequestError,
                **{f"{place}/{name}": type(None) for name in CONTENT},
            }
            assert "leads nowhere" in str(found[f"{place}/lost"])
            assert relative(reader, place) == CONTENT


def test_a_unit_without_its_required_file_stays_away(fs, another, tmp_path):
    collection = f"collections/s-{uuid.uuid4().hex[:12]}"
    another.mkdir(collection, category="image", file_specifications=SPECS)
    names = ["image_1/a.png", "json_meta_1/a.json", "image_1/b.png", "nothing_1/c.png"]
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(name.encode())
    with pytest.raises(InvalidRequestError):
        fs.put([str(tmp_path / "tree" / n) for n in names], [f"{collection}/{n}" for n in names])
    assert another.find(collection) == []
    found = fs.put(
        [str(tmp_path / "tree" / name) for name in names],
        [f"{collection}/{name}" for name in names],
        on_error="return",
    )
    assert [found[f"{collection}/{name}"] is None for name in names] == [True, True, False, False]
    assert "required specification json_meta_1" in str(found[f"{collection}/image_1/b.png"])
    assert "no file specification" in str(found[f"{collection}/nothing_1/c.png"])
    another.invalidate_cache()
    assert another.find(collection) == [f"{collection}/{name}" for name in names[:2]]


def test_get_goes_on_after_failures(fs, place, local, tmp_path):
    fs.put(f"{local}/", place, recursive=True)
    target = tmp_path / "copy"
    (target / "a.txt").mkdir(parents=True)
    names = [f"{place}/{name}" for name in CONTENT]
    found = fs.get(names, [str(target / name) for name in CONTENT], on_error="return")
    assert isinstance(found.pop(str(target / "a.txt")), IsADirectoryError)
    assert set(found.values()) == {None}
    assert (target / "sub" / "b.bin").read_bytes() == CONTENT["sub/b.bin"]
    with pytest.raises(IsADirectoryError):
        fs.get(names, [str(target / name) for name in CONTENT])


def test_progress_in_bytes_and_files(fs, place, local, tmp_path):
    total = sum(map(len, CONTENT.values()))
    counted, files = Callback(), Callback()
    fs.put(f"{local}/", place, recursive=True, callback=counted, files_callback=files)
    assert (counted.size, counted.value, files.size, files.value) == (total, total, 3, 3)
    counted, files = Callback(), Callback()
    target = str(tmp_path / "copy")
    fs.get(f"{place}/", target, recursive=True, callback=counted, files_callback=files)
    assert (counted.value, files.value) == (total, 3)
    counted, files = Callback(), Callback()
    fs.put(f"{local}/", place, recursive=True, sync=True, callback=counted, files_callback=files)
    assert (counted.value, files.value) == (0, 0)


def test_options_that_make_no_sense(fs, place, local):
    with pytest.raises(InvalidRequestError, match="on_error is"):
        fs.put(f"{local}/", place, recursive=True, on_error="ignore")
    with pytest.raises(InvalidRequestError, match="exclude each other"), fs.transaction:
        fs.put(f"{local}/", place, recursive=True, on_error="return")


async def test_asynchronously(server, place, local):
    async with SynapseFileSystem(
        **server.options, asynchronous=True, skip_instance_cache=True
    ) as waiting:
        await waiting._put(f"{local}/", place, recursive=True, sync=True)
        plan = await waiting._put(f"{local}/", place, recursive=True, sync=True, dry_run=True)
        assert {step["action"] for step in plan} == {"unchanged"}
