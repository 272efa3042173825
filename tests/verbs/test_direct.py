"""Large files straight to the storage by signed URLs, and by the service where that is no way."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem
from tests.support.observed import answering, observed_server, status

CONTENT = random.Random(1).randbytes(1_000_000)
SIGNED = "/data_files/presigned_upload/upload/"
CONFIRM = "/data_files/presigned_upload/confirm_upload/"
PATH = "collections/c/data_1/large.png"


@contextmanager
def service(tmp_path, middleware=None, *, resume=False, **settings):
    with observed_server(tmp_path / "root", middleware=middleware, **settings) as server:
        options = {**server.options, "block_size": 100_000, "resume": resume}
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        (tmp_path / "large.png").write_bytes(CONTENT)
        yield server, fs


def paths(seen, method="POST"):
    return [s.path for s in seen if s.method == method]


def by_chunks(seen):
    return any(s.path.startswith("/chunked_upload/") for s in seen)


@pytest.mark.parametrize(
    ("threshold", "puts"), [(2_000_000, 1), (200_000, 7)], ids=["single", "parts"]
)
@pytest.mark.parametrize("strict", [False, True])
def test_straight_to_the_storage(tmp_path, threshold, puts, strict):
    settings = {"presign_threshold": threshold, "presign_part_size": 150_000, "strict": strict}
    with service(tmp_path, **settings) as (server, fs), server.watching() as seen:
        counted = Callback()
        fs.put_file(str(tmp_path / "large.png"), PATH, callback=counted)
        sent = [s for s in seen if s.method == "PUT"]
        assert len(sent) == puts
        assert all(s.is_object and "Synapse-Access-Token" not in s.headers for s in sent)
        assert not by_chunks(seen)
        assert counted.value == len(CONTENT)
        reader = SynapseFileSystem(**server.options, skip_instance_cache=True)
        assert reader.cat_file(PATH) == CONTENT
        assert reader.info(PATH)["size"] == len(CONTENT)


def test_a_file_without_parts_goes_in_chunks_where_it_may_be_resumed(tmp_path):
    with service(tmp_path) as (server, fs), server.watching() as seen:
        fs.put_file(str(tmp_path / "large.png"), PATH, resume=True)
        assert by_chunks(seen)
        assert not any(s.is_object for s in seen if s.method == "PUT")
        assert fs.cat_file(PATH) == CONTENT


def test_parts_are_the_default(tmp_path):
    """Storage asked for, places, seven parts, their confirmation, unit: no chunk."""
    settings = {"presign_threshold": 200_000, "presign_part_size": 150_000}
    with service(tmp_path, resume=True, **settings) as (server, fs):
        fs.exists(PATH)
        with server.watching() as seen:
            fs.put_file(str(tmp_path / "large.png"), PATH)
            assert not by_chunks(seen)
            assert len(paths(seen, "PUT")) == 7
            assert paths(seen) == [SIGNED, CONFIRM, "/data_units/"]
            assert paths(seen, "GET").count("/storages/") == 1
        with server.watching() as seen:
            fs.put_file(str(tmp_path / "large.png"), PATH)
            assert "/storages/" not in paths(seen, "GET")
        assert fs.cat_file(PATH) == CONTENT


def storage(provider):
    found = {"id": 1, "name": "s", "category": "internal", "provider": provider}
    return answering("/storages/", lambda request: web.json_response([found]))


def unconfirmed(request):
    result = {"file_key": "k", "success": False, "error": "not whole", "data_file_id": None}
    return web.json_response({"results": [result], "created_count": 0, "failed_count": 1})


@pytest.mark.parametrize(
    "middleware",
    [
        storage("file_system"),
        status("/storages/", 404),
        status(SIGNED, 400),
        status("/_blob", 403),
        status(CONFIRM, 500),
        answering(CONFIRM, unconfirmed),
        answering(SIGNED, lambda request: web.json_response({"files": []})),
    ],
    ids=["provider", "no route", "refused", "storage", "confirm", "unconfirmed", "no place"],
)
@pytest.mark.parametrize("resume", [False, True])
def test_by_the_service_where_that_is_no_way(tmp_path, middleware, resume, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    settings: dict[str, Any] = {}
    if resume:
        settings = {"presign_threshold": 200_000, "presign_part_size": 150_000}
    with (
        service(tmp_path, middleware, resume=resume, **settings) as (server, fs),
        server.watching() as seen,
    ):
        counted = Callback()
        fs.put_file(str(tmp_path / "large.png"), PATH, callback=counted)
        assert by_chunks(seen)
        assert counted.value == len(CONTENT)
        assert fs.info(PATH)["size"] == len(CONTENT)
        assert fs.find("collections/c") == [PATH]
