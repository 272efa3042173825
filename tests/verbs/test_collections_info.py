"""What is told of a collection, and how the service's refusals of files read."""

from __future__ import annotations

import errno
import uuid

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from synapsefs.errors import (
    ServiceError,
    StorageFullError,
    SynapseError,
    ThrottledError,
    TooLargeError,
)
from tests.support.observed import observed_server

SPECS = [
    {
        "name": "image_1",
        "file_type": "image",
        "is_required": True,
        "is_primary": True,
        "function_type": "main",
        "extensions": ["png", "jpg"],
    },
    {"name": "json_meta_1", "file_type": "data", "function_type": "meta"},
]


def test_info_and_ls_of_a_collection(fs, another):
    name = f"collections/i-{uuid.uuid4().hex[:12]}"
    fs.mkdir(name, category="image", description="pictures of cats", file_specifications=SPECS)
    specifications = [
        {
            "name": "image_1",
            "type": "image",
            "required": True,
            "primary": True,
            "function": "main",
            "extensions": ["png", "jpg"],
        },
        {
            "name": "json_meta_1",
            "type": "data",
            "required": False,
            "primary": False,
            "function": "meta",
            "extensions": [],
        },
    ]
    listed = {info["name"]: info for info in another.ls("collections", detail=True)}
    for info in (fs.info(name), another.info(name), listed[name]):
        assert isinstance(info["id"], int)
        assert info["type"] == "directory"
        assert info["description"] == "pictures of cats"
        assert info["category"] == "image"
        assert info["project"] is None
        assert info["created"].tzinfo is not None
        assert info["file_specifications"] == specifications
    assert another.info(f"collections/@{fs.info(name)['id']}")["id"] == fs.info(name)["id"]


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (413, TooLargeError, errno.EFBIG),
        (429, ThrottledError, errno.EBUSY),
        (507, StorageFullError, errno.ENOSPC),
        (500, ServiceError, errno.EREMOTEIO),
        (503, ServiceError, errno.EREMOTEIO),
    ],
)
def test_refusals_of_files(tmp_path, status, error, code):
    @web.middleware
    async def refuse(request, handler):
        if request.path in {"/data_files/", "/chunked_upload/"}:
            return web.json_response({"detail": "the service's own words"}, status=status)
        return await handler(request)

    with observed_server(tmp_path / "root", middleware=refuse) as server:
        options = {**server.options, "retries": 1, "block_size": 1000}
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        path = "collections/c/data_1/a.bin"
        (tmp_path / "local").write_bytes(b"x" * 5000)
        for send in (
            lambda: fs.pipe_file(path, b"small"),
            lambda: fs.pipe_file(path, b"x" * 5000),
            lambda: fs.put_file(str(tmp_path / "local"), path),
            lambda: fs.put_unit("c", {"data_1": b"x"}, key="a"),
        ):
            with pytest.raises(error) as refused:
                send()
            assert isinstance(refused.value, OSError)
            assert isinstance(refused.value, SynapseError)
            assert (refused.value.errno, refused.value.status) == (code, status)
            assert refused.value.filename.startswith("collections/c/data_1/a")
            assert "the service's own words" in str(refused.value)
        assert fs.find("collections/c") == []


def test_the_servers_own_limit(tmp_path):
    with observed_server(tmp_path / "root", max_file_size=2000) as server:
        options = {**server.options, "block_size": 1000}
        fs = SynapseFileSystem(**options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        for size in (900, 1500):
            fs.pipe_file(f"collections/c/data_1/{size}.bin", b"x" * size)
        with pytest.raises(TooLargeError):
            fs.pipe_file("collections/c/data_1/3000.bin", b"x" * 3000)
        assert len(fs.find("collections/c")) == 2
