"""The official client of the collections service against our server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from synapsefs.server.problems import Problem, problems

pytest.importorskip("synapse_sdk")

from synapse_sdk.clients.backend import BackendClient
from synapse_sdk.clients.backend_v2 import AsyncBackendClientV2, BackendClientV2
from synapse_sdk.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClientError,
    HTTPError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ValidationError,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

SPECIFICATIONS = [
    {
        "name": "data_1",
        "file_type": "data",
        "is_primary": True,
        "is_required": True,
        "function_type": "main",
        "index": 1,
    },
    {"name": "json_meta_1", "file_type": "data", "function_type": "meta", "index": 1},
]


@pytest.fixture
def v1(server):
    return BackendClient(server.url, access_token=server.token, tenant=server.tenant)


@pytest.fixture
def v2(server):
    return BackendClientV2(
        server.url, access_token=server.token, tenant=server.tenant, allow_insecure=True
    )


@pytest.fixture
def collection(v2):
    return v2.data_collections.create(
        {"name": "one", "category": "data", "file_specifications": SPECIFICATIONS}
    )


def _file(path: Path, size: int, seed: int = 0) -> Path:
    unit = hashlib.sha256(f"{path.name}{seed}".encode()).digest()
    path.write_bytes((unit * (size // 32 + 1))[:size])
    return path


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def test_collections(v1, collection):
    page = v1.list_data_collections()
    assert [(c["id"], c["name"]) for c in page["results"]] == [(collection.id, "one")]
    one = v1.get_data_collection(collection.id)
    assert [s["name"] for s in one["file_specifications"]] == ["data_1", "json_meta_1"]
    assert one["file_specifications"][0]["extensions"] == []
    with pytest.raises(NotFoundError):
        v1.get_data_collection(collection.id + 1)


def test_direct_upload(v1, tmp_path):
    for size in (0, 1, 100_000):
        path = _file(tmp_path / f"a{size}.bin", size)
        stored = v1.create_data_file(path)
        assert stored["checksum"] == _md5(path)
        assert stored["size"] == size
        assert _read(stored["file"]) == path.read_bytes()
        assert v1.create_data_file(path)["id"] == stored["id"]


def test_chunked_upload(v1, tmp_path):
    path = _file(tmp_path / "big.bin", 5_000_003)
    seen = []
    done = v1.create_chunked_upload(
        path, chunk_size=1_000_000, on_progress=lambda n, total: seen.append((n, total))
    )
    assert seen[-1] == (5_000_003, 5_000_003)
    assert len(seen) == 6
    state = v1.get_chunked_upload(done["id"])
    assert state["completed_at"]
    assert state["offset"] == 5_000_003
    stored = v1._post("data_files/", data={"chunked_upload": done["id"]})
    assert stored["checksum"] == _md5(path)
    assert _read(stored["file"]) == path.read_bytes()
    assert v1._post("data_files/", data={"chunked_upload": done["id"]})["id"] == stored["id"]


@pytest.mark.parametrize("size", [0, 10, 60 * 1024 * 1024])
def test_chunked_on_request(v1, tmp_path, size):
    path = _file(tmp_path / "big.bin", size)
    stored = v1.create_data_file(path, use_chunked_upload=True)
    assert stored["checksum"] == _md5(path)
    assert stored["size"] == size


def test_verify_checksums(v1, tmp_path):
    path = _file(tmp_path / "a.bin", 1000)
    v1.create_data_file(path)
    known = [_md5(path), hashlib.sha1(path.read_bytes()).hexdigest()]
    answer = v1.verify_data_files_checksums([*known, "0" * 32])
    assert answer == {"existing_checksums": known}


def test_units(v1, v2, collection, tmp_path):
    paths = {
        "data_1": _file(tmp_path / "x.bin", 100),
        "json_meta_1": _file(tmp_path / "x.json.bin", 7),
    }
    payload = v1.upload_data_file(
        {"files": paths, "meta": {"k": [1, None]}, "groups": ["a", "b"]}, collection.id
    )
    listed = v1.create_data_units([payload, payload])
    assert len(listed) == 2
    assert listed[0]["id"] != listed[1]["id"]
    assert v1.create_data_units(payload)["meta"] == {"k": [1, None]}
    page = v1.list_data_units({"data_collection": collection.id})
    assert page["count"] == 3
    file = page["results"][0]["files"]["data_1"]
    assert file["file_name_original"] == "x.bin"
    assert _read(file["url"]) == paths["data_1"].read_bytes()
    unit = v1.get_data_unit(listed[0]["id"], params={"expand": "files"})
    assert unit["files"]["json_meta_1"]["checksum"] == payload["files"]["json_meta_1"]["checksum"]
    v2.data_units.destroy(listed[0]["id"])
    with pytest.raises(NotFoundError):
        v1.get_data_unit(listed[0]["id"])


def test_upload_collection_and_download_all(v1, collection, tmp_path):
    paths = [_file(tmp_path / f"{n}.bin", 1000 + n) for n in range(23)]
    v1.upload_data_collection(collection.id, [{"files": {"data_1": p}} for p in paths])
    units, count = v1.list_data_units(
        {"data_collection": collection.id}, list_all=True, page_size=10
    )
    got = {Path(unit["files"]["data_1"]["path"]).read_bytes() for unit in units}
    assert count == 23
    assert got == {p.read_bytes() for p in paths}


def test_storages(v1):
    storage = v1.get_default_storage()
    assert v1.get_storage(storage["id"]).provider == "minio"


@pytest.mark.parametrize("strategy", [None, "presigned"])
def test_bulk_upload(v1, collection, tmp_path, strategy):
    sizes = [0, 1, 20_000, 20_000]
    names = ["ä ö.bin", "b%20.json.bin", "c#?.bin", "noext"]
    paths = [_file(tmp_path / n, s, i) for i, (n, s) in enumerate(zip(names, sizes, strict=True))]
    options = {"strategy": strategy} if strategy else {}
    result = v1.upload_files_bulk(paths, **options)
    assert result.failed_count == 0, result
    assert result.created_count == 4
    by_path = {r.file_key: r.checksum for r in result.results}
    units = v1.create_data_units(
        [
            {
                "data_collection": collection.id,
                "files": {"data_1": {"checksum": by_path[str(p)], "path": str(p)}},
            }
            for p in paths
        ]
    )
    for unit, path in zip(units, paths, strict=True):
        file = unit["files"]["data_1"]
        assert file["file_name_original"] == path.name
        assert _read(file["url"]) == path.read_bytes()


def test_bulk_multipart(start_server, tmp_path):
    server = start_server(presign_threshold=1_000_000, presign_part_size=400_000)
    v1 = BackendClient(server.url, access_token=server.token)
    paths = [_file(tmp_path / "a.bin", 1_000_001), _file(tmp_path / "b.bin", 1_000_000)]
    result = v1.upload_files_bulk(paths)
    assert [r.success for r in result.results] == [True, True], result
    known = [hashlib.sha1(p.read_bytes()).hexdigest() for p in paths]
    assert v1.verify_data_files_checksums(known)["existing_checksums"] == known


def test_bulk_refusals_are_final(start_server, tmp_path):
    server = start_server(max_file_size=1000)
    v1 = BackendClient(server.url, access_token=server.token)
    result = v1.upload_files_bulk([_file(tmp_path / "a.bin", 1001), _file(tmp_path / "b.bin", 9)])
    assert sorted(r.success for r in result.results) == [False, True]
    with pytest.raises(HTTPError) as caught:
        v1.create_data_file(tmp_path / "a.bin")
    assert caught.value.status_code == 413


def test_errors(server, v1):
    with pytest.raises(AuthenticationError):
        BackendClient(server.url, access_token="wrong").list_data_collections()
    with pytest.raises(AuthorizationError):
        BackendClient(server.url, access_token=server.token, tenant="other").list_data_collections()
    with pytest.raises(ValidationError) as caught:
        v1.create_data_units({"data_collection": 99, "files": {"a": {"checksum": "0" * 32}}})
    assert "99" in str(caught.value.detail)
    with pytest.raises(ClientError):
        v1._get("data_units/", params={"page": 7})


async def _lose_finalise(request, handler):
    """Finalise a chunked upload, and cut the connection before the answer."""
    answer = await handler(request)
    if request.method == "POST" and request.path.startswith("/chunked_upload/"):
        request.transport.abort()
    return answer


def test_lost_finalise_answer(start_server, tmp_path):
    server = start_server(middleware=_lose_finalise)
    v1 = BackendClient(server.url, access_token=server.token)
    path = _file(tmp_path / "a.bin", 100_001)
    done = v1.create_chunked_upload(path, chunk_size=30_000)
    assert done["completed_at"]
    assert (done["offset"], done["checksum"]) == (100_001, _md5(path))
    assert v1.create_data_file(path, use_chunked_upload=True)["checksum"] == _md5(path)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ValidationError),
        (401, AuthenticationError),
        (403, AuthorizationError),
        (404, NotFoundError),
        (413, HTTPError),
        (429, RateLimitError),
        (500, ServerError),
        (507, ServerError),
    ],
)
def test_statuses_map_to_the_clients_errors(start_server, status, error):
    async def spoil(request, handler):
        async def refuse(_):
            raise Problem(status, "no such luck")

        return await problems(request, refuse)

    server = start_server(middleware=spoil)
    v1 = BackendClient(server.url, access_token=server.token)
    with pytest.raises(error) as caught:
        v1.list_data_collections()
    assert caught.value.status_code == status
    assert caught.value.detail == {"detail": "no such luck"}


def test_an_overloaded_server_is_asked_again(start_server):
    asked = []

    async def busy(request, handler):
        asked.append(request.path)
        return await handler(request) if len(asked) > 1 else web.Response(status=503)

    server = start_server(middleware=busy)
    page = BackendClient(server.url, access_token=server.token).list_data_collections()
    assert (page["results"], len(asked)) == ([], 2)


def test_pages_of_units_name_the_next_one(v1, collection, tmp_path):
    path = _file(tmp_path / "a.bin", 10)
    payload = v1.upload_data_file({"files": {"data_1": path}}, collection.id)
    made = [unit["id"] for unit in v1.create_data_units([payload] * 5)]
    page = v1.list_data_units({"data_collection": collection.id, "page_size": 2})
    assert [unit["id"] for unit in page["results"]] == made[:2]
    assert page["next"].startswith("http")
    assert f"data_collection={collection.id}" in page["next"]
    assert "path" not in page["results"][0]["files"]["data_1"]
    assert v1._get(page["next"])["results"][0]["id"] == made[2]


def test_contents_never_share_a_url_path(v1, collection, tmp_path):
    units = []
    for seed in range(2):
        path = _file(tmp_path / "same.bin", 50, seed)
        payload = v1.upload_data_file({"files": {"data_1": path}}, collection.id)
        units.append(v1.create_data_units([payload])[0])
    urls = [unit["files"]["data_1"]["url"] for unit in units]
    paths = {urlsplit(url).path for url in urls}
    assert len(paths) == 2
    assert {path.rpartition(".")[2] for path in paths} == {"bin"}


def test_bulk_results_name_the_local_paths(v1, tmp_path):
    paths = [_file(tmp_path / f"{n}.bin", 10 + n) for n in range(30)]
    result = v1.upload_files_bulk(paths, max_workers=4, batch_size=7)
    assert (result.created_count, result.failed_count) == (30, 0)
    assert sorted(r.file_key for r in result.results) == sorted(map(str, paths))
    by_path = {r.file_key: r.checksum for r in result.results}
    assert by_path == {str(p): hashlib.sha1(p.read_bytes()).hexdigest() for p in paths}


def test_v2_collections(v2):
    made = [
        v2.data_collections.create(
            {"name": f"c{n}", "category": "image", "file_specifications": SPECIFICATIONS}
        )
        for n in range(7)
    ]
    assert made[0].file_specifications[0].file_type_display == "Data"
    page = v2.data_collections.list(per_page=3)
    assert [c.name for c in page.results] == ["c0", "c1", "c2"]
    again = v2.data_collections.list(per_page=3, cursor=page.next)
    assert [c.name for c in again.results] == ["c3", "c4", "c5"]
    everything = v2.data_collections.list(per_page=3, list_all=True)
    assert [c.name for c in everything] == [f"c{n}" for n in range(7)]
    one = v2.data_collections.partial_update(made[0].id, {"description": "d"})
    assert (one.description, len(one.file_specifications)) == ("d", 2)
    two = v2.data_collections.update(
        made[0].id,
        {"name": "new", "category": "data", "file_specifications": SPECIFICATIONS[:1]},
    )
    assert (two.name, len(two.file_specifications)) == ("new", 1)
    v2.data_collections.destroy(made[0].id)
    with pytest.raises(NotFoundError) as caught:
        v2.data_collections.retrieve(made[0].id)
    assert caught.value.detail["error"]["code"] == "NOT_FOUND"


def test_v2_upload_units_and_files(v1, v2, collection, tmp_path):
    path = _file(tmp_path / "a.bin", 5000)
    asked = v2.data_collections.upload_urls(
        collection.id, {"files": [{"filename": path.name, "size": 5000}]}
    )
    target = asked.files[0]
    put = urllib.request.Request(str(target.presigned_url), data=path.read_bytes(), method="PUT")
    urllib.request.urlopen(put).close()
    sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
    body = {"files": [{"file_key": target.file_key, "checksum": sha1, "size": 5000}]}
    first = v2.data_collections.finalize_upload(collection.id, body)
    second = v2.data_collections.finalize_upload(collection.id, body)
    assert first.results[0].success
    assert first.results[0].data_file_id == second.results[0].data_file_id
    files = v2.data_files.list(checksum=sha1)
    assert [f.file_size for f in files.results] == [5000]
    assert v2.data_files.retrieve(files.results[0].id).storage_id == 1
    bulk = {
        "data_collection": collection.id,
        "units": [{"files": {"data_1": {"checksum": sha1, "path": "d/a.bin"}}, "meta": {"a": 1}}],
    }
    made, again = v2.data_units.bulk_create(bulk), v2.data_units.bulk_create(bulk)
    made, again = (json.loads(json.dumps(x, default=vars)) for x in (made, again))
    assert (made["created_count"], again["reused_count"]) == (1, 1)
    key = made["results"][0]["data_unit_id"]
    assert v2.data_units.retrieve(key).group_id == 0
    changed = v2.data_units.partial_update(key, {"meta": {"b": 2}})
    assert v1.get_data_unit(key)["meta"] == {"b": 2}
    assert changed.checksum
    assert [u.id for u in v2.data_units.list(data_collection=collection.id).results] == [key]
    v2.data_units.destroy(key)
    assert v2.data_units.list(data_collection=collection.id).results == []


def test_v2_groups(v2, collection):
    groups = v2.data_collections.groups(collection.id)
    made = groups.create({"name": "g"})
    assert groups.retrieve(made.id).name == "g"
    assert [g.name for g in groups.list().results] == ["g"]
    groups.destroy(made.id)
    assert groups.list().results == []


def test_v2_errors(server):
    wrong = BackendClientV2(server.url, access_token="syn_wrong", allow_insecure=True)
    with pytest.raises(AuthenticationError) as caught:
        wrong.data_collections.list()
    assert caught.value.detail["error"]["code"] == "AUTHENTICATION_REQUIRED"
    foreign = BackendClientV2(
        server.url, access_token=server.token, tenant="other", allow_insecure=True
    )
    with pytest.raises(AuthorizationError):
        foreign.data_collections.list()


def test_v2_units_without_files(v2, collection):
    made = v2.data_units.create({"data_collection": collection.id, "meta": {"a": 1}})
    assert (made.data_collection_id, made.group_id, made.meta) == (collection.id, 0, {"a": 1})
    changed = v2.data_units.update(made.id, {"data_collection": collection.id, "meta": {"b": [2]}})
    assert (changed.id, changed.meta) == (made.id, {"b": [2]})
    assert v2.data_units.retrieve(made.id).meta == {"b": [2]}


def test_v2_dry_runs_change_nothing(v1, v2, collection, tmp_path):
    path = _file(tmp_path / "a.bin", 10)
    stored = v1.create_data_file(path)
    bulk = {
        "data_collection": collection.id,
        "units": [{"files": {"data_1": {"checksum": stored["checksum"]}}}],
    }
    v2.data_units.bulk_create(bulk, dry_run=True)
    assert v2.data_units.list(data_collection=collection.id).results == []


def test_v2_upload_of_parts(start_server, tmp_path):
    server = start_server(presign_threshold=1000, presign_part_size=400)
    v2 = BackendClientV2(server.url, access_token=server.token, allow_insecure=True)
    made = v2.data_collections.create(
        {"name": "one", "category": "data", "file_specifications": SPECIFICATIONS}
    )
    path = _file(tmp_path / "a.bin", 1001)
    asked = v2.data_collections.upload_urls(
        made.id, {"files": [{"filename": "a.bin", "size": 1001}]}
    )
    [target] = asked.files
    assert target.presigned_url is None
    assert (target.multipart.part_size, len(target.multipart.parts)) == (400, 3)
    etags = []
    for part in target.multipart.parts:
        first = (part.part_number - 1) * 400
        content = path.read_bytes()[first : first + 400]
        put = urllib.request.Request(str(part.presigned_url), data=content, method="PUT")
        with urllib.request.urlopen(put) as answer:
            etags.append({"part_number": part.part_number, "etag": answer.headers["ETag"]})
    file = {
        "file_key": target.file_key,
        "checksum": hashlib.sha1(path.read_bytes()).hexdigest(),
        "size": 1001,
        "multipart": {"upload_id": target.multipart.upload_id, "parts": etags},
    }
    [result] = v2.data_collections.finalize_upload(made.id, {"files": [file]}).results
    assert (result.success, result.created, result.error) == (True, True, None)
    assert v2.data_files.retrieve(result.data_file_id).file_size == 1001


def test_v2_schemas(v2):
    told = v2.schemas.file_specifications()
    assert set(told["categories"]) == {"image", "video", "audio", "text", "pcd", "data"}
    assert told["file_types"]["image"]["extensions"] == ["jpg", "jpeg", "png"]
    assert told["payload_schema"]["required_fields"] == ["name", "category", "file_specifications"]


def test_v2_errors_are_whole_and_numbered(v2):
    with pytest.raises(NotFoundError) as caught:
        v2.data_units.retrieve(999)
    assert caught.value.detail["error"]["code"] == "NOT_FOUND"
    assert caught.value.detail["meta"]["request_id"].startswith("req_")
    v2.data_collections.list()
    assert v2.last_request_id.startswith("req_")


async def test_v2_async_collections_and_groups(server):
    async with _async_client(server) as client:
        collections = client.data_collections
        made = [
            await collections.create(
                {"name": f"c{n}", "category": "image", "file_specifications": SPECIFICATIONS}
            )
            for n in range(5)
        ]
        page = await collections.list(per_page=2).first_page()
        assert [c.name for c in page.results] == ["c0", "c1"]
        again = await collections.list(per_page=2, cursor=page.next).first_page()
        assert [c.name for c in again.results] == ["c2", "c3"]
        everything = [c async for c in collections.list(per_page=2)]
        assert [c.id for c in everything] == [c.id for c in made]
        changed = await collections.partial_update(made[0].id, {"description": "d"})
        assert (changed.description, changed.caution.value) == ("d", "sensitive_content")
        body = {"name": "n", "category": "data", "file_specifications": SPECIFICATIONS[:1]}
        assert (await collections.update(made[0].id, body)).name == "n"
        [specification] = (await collections.retrieve(made[0].id)).file_specifications
        assert specification.name == "data_1"
        groups = collections.groups(made[1].id)
        group = await groups.create({"name": "g"})
        assert (await groups.retrieve(group.id)).name == "g"
        assert [g.name async for g in groups.list()] == ["g"]
        await groups.destroy(group.id)
        assert [g async for g in groups.list()] == []
        await collections.destroy(made[0].id)
        with pytest.raises(NotFoundError):
            await collections.retrieve(made[0].id)
        told = await client.schemas.file_specifications()
        assert told["file_types"]["pcd"]["extensions"] == ["pcd"]


async def test_v2_async_upload_units_and_files(server, v1, collection, tmp_path):
    path = _file(tmp_path / "a.bin", 5000)
    sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
    async with _async_client(server) as client:
        asked = await client.data_collections.upload_urls(
            collection.id, {"files": [{"filename": "a.bin", "size": 5000}]}
        )
        [target] = asked.files
        await asyncio.to_thread(_put, str(target.presigned_url), path.read_bytes())
        body = {"files": [{"file_key": target.file_key, "checksum": sha1, "size": 5000}]}
        done = await client.data_collections.finalize_upload(collection.id, body)
        assert (done.created_count, done.results[0].success) == (1, True)
        [file] = [f async for f in client.data_files.list(checksum=sha1)]
        assert (file.file_size, file.id) == (5000, done.results[0].data_file_id)
        assert (await client.data_files.retrieve(file.id)).storage_id == 1
        units = client.data_units
        files = {"data_1": {"checksum": sha1, "path": "d/a.bin"}}
        bulk = {"data_collection": collection.id, "units": [{"files": files, "meta": {"a": 1}}]}
        made = json.loads(json.dumps(await units.bulk_create(bulk), default=vars))
        key = made["results"][0]["data_unit_id"]
        assert (await units.retrieve(key)).meta == {"a": 1}
        assert (await units.partial_update(key, {"meta": {"b": 2}})).meta == {"b": 2}
        whole = {"data_collection": collection.id, "meta": {"c": 3}}
        assert (await units.update(key, whole)).meta == {"c": 3}
        bare = await units.create({"data_collection": collection.id})
        listed = [u.id async for u in units.list(data_collection=collection.id)]
        assert listed == [key, bare.id]
        content = v1.get_data_unit(key)["files"]["data_1"]
        assert await asyncio.to_thread(_read, content["url"]) == path.read_bytes()
        await units.destroy(key)
        with pytest.raises(NotFoundError):
            await units.retrieve(key)


async def test_v2_async_errors(server):
    async with _async_client(server, access_token="syn_wrong") as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.data_collections.list().first_page()
    assert caught.value.detail["error"]["code"] == "AUTHENTICATION_REQUIRED"


def _async_client(server, **options):
    given = {"access_token": server.token, "tenant": server.tenant, "allow_insecure": True}
    return AsyncBackendClientV2(server.url, **(given | options))


def _put(url: str, content: bytes) -> None:
    urllib.request.urlopen(urllib.request.Request(url, data=content, method="PUT")).close()
