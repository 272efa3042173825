"""Many files at once straight to the storage, and one by one where that is no way."""

from __future__ import annotations

import random
from contextlib import contextmanager

import pytest
from aiohttp import web
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem
from synapsefs.services.collections import bulk
from tests.support.observed import answering, observed_server, status

SIGNED = "/data_files/presigned_upload/upload/"
CONFIRM = "/data_files/presigned_upload/confirm_upload/"
UNITS = "/data_units/"
FOLDER = "collections/c/data_1/many"
COUNT = 9
PART = 400_000


@contextmanager
def service(tmp_path, middleware=None, **settings):
    with observed_server(tmp_path / "root", middleware=middleware, **settings) as server:
        options = {**server.options, "max_concurrency": 4, "block_size": PART}
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        yield server, fs


def tree(tmp_path, count=COUNT, size=2_000):
    """Make files of different content; one of them is too large to be read at once."""
    folder = tmp_path / "many"
    folder.mkdir(exist_ok=True)
    made = {}
    for number in range(count):
        made[f"{number}.png"] = random.Random(number).randbytes(size + number)
        (folder / f"{number}.png").write_bytes(made[f"{number}.png"])
    return made


def put(fs, tmp_path, **options):
    return fs.put(f"{tmp_path}/many/", FOLDER, recursive=True, **options)


def stored(fs, made):
    found = {
        path.removeprefix(f"{FOLDER}/"): data for path, data in fs.cat(fs.find(FOLDER)).items()
    }
    return found == made


def one_by_one(seen):
    return sum(s.path in {"/data_files/", "/chunked_upload/"} for s in seen)


@pytest.mark.parametrize("strict", [False, True])
def test_requests_are_shared(tmp_path, strict):
    """Signed together and confirmed together; only the bytes go file by file."""
    made = tree(tmp_path)
    with service(tmp_path, strict=strict) as (server, fs), server.watching() as seen:
        bytes_sent, files_sent = Callback(), Callback()
        put(fs, tmp_path, callback=bytes_sent, files_callback=files_sent)
        paths = [s.path for s in seen if s.method == "POST"]
        assert (paths.count(SIGNED), paths.count(CONFIRM), paths.count("/data_units/")) == (1, 1, 1)
        sent = [s for s in seen if s.method == "PUT"]
        assert len(sent) == COUNT
        assert all(s.is_object and "Synapse-Access-Token" not in s.headers for s in sent)
        assert one_by_one(seen) == 0
        assert bytes_sent.value == sum(map(len, made.values()))
        assert files_sent.value == COUNT
        assert stored(fs, made)


def test_what_the_service_is_asked_for(tmp_path):
    """A name without a media type says so, as the service's own client does."""
    tree(tmp_path)
    (tmp_path / "many" / "0.png").rename(tmp_path / "many" / "plain")
    asked = []

    @web.middleware
    async def noting(request, handler):
        if request.path == SIGNED:
            asked.append(await request.json())
        return await handler(request)

    with service(tmp_path, noting) as (_, fs):
        put(fs, tmp_path)
    (query,) = asked
    assert query["expiration"] == 3600
    assert {"filename": "plain", "size": 2_000, "content_type": None} in query["files"]
    assert {"filename": "1.png", "size": 2_001, "content_type": "image/png"} in query["files"]


def test_unchanged_files_are_not_sent_again(tmp_path):
    made = tree(tmp_path)
    with service(tmp_path) as (server, fs):
        put(fs, tmp_path)
        with server.watching() as seen:
            put(fs, tmp_path)
            assert [s for s in seen if s.method == "PUT"] == []
            assert one_by_one(seen) == 0
        assert stored(fs, made)


def test_few_files_go_at_once_by_the_service(tmp_path):
    made = tree(tmp_path, 4)
    with service(tmp_path) as (server, fs), server.watching() as seen:
        put(fs, tmp_path)
        assert one_by_one(seen) == 4
        assert SIGNED not in [s.path for s in seen]
        assert stored(fs, made)


def test_batches_are_of_a_bounded_size(tmp_path):
    made = tree(tmp_path, 401, size=1)
    with service(tmp_path) as (server, fs), server.watching() as seen:
        put(fs, tmp_path)
        assert [s.path for s in seen].count(SIGNED) == 3
        assert one_by_one(seen) == 0
        assert stored(fs, made)


def test_batches_hold_a_bounded_number_of_bytes(tmp_path, monkeypatch):
    """What is signed must arrive before the URLs expire."""
    monkeypatch.setattr(bulk, "MAX_BATCH_BYTES", 5_000)
    made = tree(tmp_path)
    with service(tmp_path) as (server, fs), server.watching() as seen:
        put(fs, tmp_path)
        assert [s.path for s in seen].count(SIGNED) == -(-COUNT // 2)
        assert one_by_one(seen) == 0
        assert stored(fs, made)


def test_files_of_all_sizes(tmp_path):
    """Empty ones, and those that are larger than a part, go alone; others are not held whole."""
    made = tree(tmp_path)
    for name, size in {"0.png": 0, "1.png": PART, "2.png": PART + 1, "3.png": 300_000}.items():
        made[name] = random.Random(name).randbytes(size)
        (tmp_path / "many" / name).write_bytes(made[name])
    with service(tmp_path) as (server, fs), server.watching() as seen:
        counted = Callback()
        put(fs, tmp_path, callback=counted)
        assert len([s for s in seen if s.method == "PUT" and s.is_object]) == COUNT - 2
        assert counted.value == sum(map(len, made.values()))
        assert stored(fs, made)


def test_large_files_may_get_a_url_for_each_part(tmp_path):
    made = tree(tmp_path)
    with (
        service(tmp_path, presign_threshold=1_500, presign_part_size=1_000) as (server, fs),
        server.watching() as seen,
    ):
        put(fs, tmp_path)
        assert len([s for s in seen if s.method == "PUT"]) == 3 * COUNT - 1
        assert stored(fs, made)


def test_in_a_transaction(tmp_path):
    made = tree(tmp_path)
    with service(tmp_path) as (server, fs), server.watching() as seen:
        with fs.transaction:
            put(fs, tmp_path)
            assert "/data_units/" not in [s.path for s in seen if s.method == "POST"]
        assert one_by_one(seen) == 0
        assert stored(fs, made)


def test_nothing_is_replaced_where_that_was_not_meant(tmp_path):
    tree(tmp_path)
    with service(tmp_path) as (server, fs):
        fs.pipe_file(f"{FOLDER}/3.png", b"earlier")
        with server.watching() as seen:
            with pytest.raises(FileExistsError, match=r"3\.png"):
                put(fs, tmp_path, mode="create")
            assert [s for s in seen if s.method == "PUT"] == []
        assert fs.find("collections/c") == [f"{FOLDER}/3.png"]


@pytest.mark.parametrize(
    "middleware",
    [
        answering("/storages/", lambda request: web.json_response([])),
        status("/storages/", 404),
        status(SIGNED, 400),
        status(SIGNED, 500),
        status("/_blob/uploads", 403),
        status(CONFIRM, 500),
        answering(SIGNED, lambda request: web.json_response({"files": []})),
        answering(CONFIRM, lambda request: web.json_response({"results": []})),
    ],
    ids=[
        "no storage",
        "no route",
        "refused",
        "broken",
        "storage",
        "confirm",
        "no places",
        "unconfirmed",
    ],
)
def test_one_by_one_where_that_is_no_way(tmp_path, middleware):
    made = tree(tmp_path)
    with service(tmp_path, middleware) as (server, fs), server.watching() as seen:
        counted, files = Callback(), Callback()
        put(fs, tmp_path, callback=counted, files_callback=files)
        assert one_by_one(seen) == COUNT
        assert files.value == COUNT
        assert counted.value == sum(map(len, made.values()))
        assert fs.find("collections/c") == [f"{FOLDER}/{name}" for name in made]


def test_a_file_that_is_refused_goes_alone(tmp_path):
    """The storage loses one of them, so that the service does not confirm it."""
    made = tree(tmp_path)
    lost = []

    @web.middleware
    async def losing(request, handler):
        if request.method == "PUT" and request.content_length == 2_004:
            lost.append(await request.read())
            return web.Response()
        return await handler(request)

    with service(tmp_path, losing) as (server, fs), server.watching() as seen:
        counted = Callback()
        put(fs, tmp_path, callback=counted)
        assert len(lost) == 1
        assert one_by_one(seen) == 1
        assert counted.value == sum(map(len, made.values()))
        assert stored(fs, made)


def test_after_a_failure_the_storage_is_left_alone(tmp_path):
    """A storage that cannot be reached does not cost its timeouts again for each batch."""
    made = tree(tmp_path, 1001, size=1)
    with (
        service(tmp_path, status("/_blob/uploads", 403)) as (server, fs),
        server.watching() as seen,
    ):
        put(fs, tmp_path)
        assert [s.path for s in seen].count(SIGNED) <= 2
        assert one_by_one(seen) == len(made)


def test_a_storage_that_cannot_be_reached_is_not_tried_again(tmp_path):
    """Its host is behind a wall, say: that costs the timeouts of one call, not of each."""
    made = tree(tmp_path)

    @web.middleware
    async def walled(request, handler):
        answer = await handler(request)
        if request.path == SIGNED:
            nowhere = answer.body.replace(request.host.encode(), b"127.0.0.1:9")
            return web.Response(body=nowhere, content_type="application/json")
        return answer

    with service(tmp_path, walled) as (server, fs), server.watching() as seen:
        put(fs, tmp_path)
        assert stored(fs, made)
        for name in made:
            (tmp_path / "many" / name).write_bytes(name.encode())
        put(fs, tmp_path)
        assert [s.path for s in seen].count(SIGNED) == 1
        assert one_by_one(seen) == 2 * COUNT


def test_a_file_that_changes_meanwhile_is_sent_as_it_is_then(tmp_path):
    """Its size was taken; each file is read once, after all places have been checked."""
    made = tree(tmp_path)

    @web.middleware
    async def changing(request, handler):
        if request.path == UNITS and request.method == "GET":
            made["8.png"] = b"another content"
            (tmp_path / "many" / "8.png").write_bytes(made["8.png"])
        return await handler(request)

    with service(tmp_path, changing) as (_, fs):
        put(fs, tmp_path)
        assert stored(fs, made)


def test_one_bad_file_does_not_lose_the_rest(tmp_path):
    """Each is told of; those that can be sent go together all the same."""
    made = tree(tmp_path)
    (tmp_path / "many" / "gone.png").symlink_to(tmp_path / "nowhere")
    with service(tmp_path) as (server, fs), server.watching() as seen:
        files = Callback()
        told = put(fs, tmp_path, on_error="return", files_callback=files)
        assert [name for name, error in told.items() if error] == [f"{FOLDER}/gone.png"]
        assert [s.path for s in seen].count(SIGNED) == 1
        assert one_by_one(seen) == 0
        assert files.value == COUNT
        assert stored(fs, made)


def test_those_that_must_not_be_replaced_are_told(tmp_path):
    made = tree(tmp_path)
    with service(tmp_path) as (_, fs):
        fs.pipe_file(f"{FOLDER}/3.png", b"earlier")
        told = put(fs, tmp_path, on_error="return", mode="create")
        assert [name for name, error in told.items() if error] == [f"{FOLDER}/3.png"]
        assert stored(fs, made | {"3.png": b"earlier"})


def test_a_file_that_vanishes_meanwhile_fails_and_nothing_appears(tmp_path):
    tree(tmp_path)

    @web.middleware
    async def removing(request, handler):
        if request.path == UNITS and request.method == "GET":
            (tmp_path / "many" / "8.png").unlink(missing_ok=True)
        return await handler(request)

    with service(tmp_path, removing) as (_, fs):
        with pytest.raises(FileNotFoundError, match=r"8\.png"):
            put(fs, tmp_path)
        assert fs.find("collections/c") == []


def test_content_that_is_not_known_by_its_sum_is_sent_again(tmp_path):
    """Where a service cannot bind what it confirmed, the files go one by one after all."""
    made = tree(tmp_path)

    @web.middleware
    async def lying(request, handler):
        if request.path == "/data_units/" and request.method == "POST":
            body = await request.json()
            sums = [unit["files"]["data_1"]["checksum"] for unit in body]
            if any(len(checksum) == 40 for checksum in sums):
                return web.json_response({"detail": "unknown checksum"}, status=400)
        return await handler(request)

    with service(tmp_path, lying) as (_, fs):
        put(fs, tmp_path)
        assert stored(fs, made)
