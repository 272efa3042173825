"""What others do to a collection between the requests of a call, and what others left there."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import re
import threading
import time
import tracemalloc
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from tests.support.observed import TENANT, TOKEN, ObservedServer, Seen, observed_server
from tests.support.rewriting import Answer, Question, Reading, front
from tests.test_readings import every_object, without
from tests.verbs.test_two_clients import FREE, HALF, LONE

PATIENCE = 20
HEADERS = {"Synapse-Access-Token": f"Token {TOKEN}", "Synapse-Tenant": f"Token {TENANT}"}


class Service:
    """A server whose requests a test can hold up, refuse, or answer after something else."""

    def __init__(self, server: ObservedServer) -> None:
        self.server = server
        self.before: Callable[[Seen, str], Any] = lambda seen, query: None
        self.base = f"collections/t-{uuid.uuid4().hex[:10]}"
        self.image, self.meta = f"{self.base}/image_1/k.png", f"{self.base}/json_meta_1/k.json"

    def client(self, **options: Any) -> SynapseFileSystem:
        return SynapseFileSystem(**self.server.options | options, skip_instance_cache=True)

    def make(self, settings: dict[str, Any]) -> int:
        self.client().mkdir(self.base, **settings)
        number: int = self.client().info(self.base)["id"]
        return number

    @property
    def found(self) -> dict[str, bytes]:
        """What a client sees that knows nothing."""
        fs = self.client()
        return {
            name.removeprefix(f"{self.base}/"): fs.cat_file(name) for name in fs.find(self.base)
        }

    def call(self, method: str, route: str, body: Any = None) -> Any:
        """Talk to the service as another client does."""
        generation = {k: v.removeprefix("Token ") for k, v in HEADERS.items()}
        headers = generation if route.startswith("v2/") else HEADERS
        request = urllib.request.Request(
            f"{self.server.url}/{route}",
            None if body is None else json.dumps(body).encode(),
            {**headers, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as reply:
            answer = reply.read()
        return json.loads(answer) if answer else None

    def foreign(self, collection: int, files: dict[str, tuple[str, bytes]]) -> int:
        """Make a unit as other clients do, with nothing of ours in its metadata."""
        bound = {}
        for specification, (name, data) in files.items():
            boundary = uuid.uuid4().hex
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
            body = head.encode() + b"\r\n" + data + f"\r\n--{boundary}--\r\n".encode()
            request = urllib.request.Request(
                f"{self.server.url}/data_files/",
                body,
                {**HEADERS, "Content-Type": f"multipart/form-data; boundary={boundary}"},
            )
            with urllib.request.urlopen(request) as reply:
                checksum = json.loads(reply.read())["checksum"]
            bound[specification] = {"checksum": checksum, "path": name}
            key = name.rpartition(".")[0] or name
        unit = {"data_collection": collection, "files": bound, "meta": {"data_unit_key": key}}
        number: int = self.call("POST", "data_units/", unit)["id"]
        return number


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made: list[Service] = []

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        seen = Seen(request.method, request.path, None, dict(request.headers))
        refusal = await asyncio.to_thread(made[0].before, seen, request.query_string)
        return refusal or await handler(request)

    with observed_server(tmp_path / "root", middleware, page_size_max=60) as server:
        made.append(Service(server))
        yield made[0]


def first_time(condition: Callable[[Seen], bool], act: Callable[[], Any]) -> Any:
    """Do something before the first request of a kind is answered."""
    waiting = [act]

    def before(seen: Seen, query: str) -> None:
        if waiting and condition(seen):
            waiting.pop()()

    return before


def creates(seen: Seen) -> bool:
    return (seen.method, seen.path) == ("POST", "/data_units/")


def deletes(seen: Seen) -> bool:
    return seen.method == "DELETE"


# --- removed, replaced and changed meanwhile -----------------------------------------------------


def test_what_is_removed_while_it_is_carried_along_stays_removed(service: Service) -> None:
    service.make(FREE)
    a, b = service.client(), service.client()
    a.pipe({service.image: b"image", service.meta: b"meta"})
    service.before = first_time(creates, lambda: a.rm(service.image))
    b.pipe_file(service.meta, b"new meta")
    assert service.found == {"json_meta_1/k.json": b"new meta"}
    assert service.client().units(service.base).num_rows == 1


def test_a_unit_of_which_a_required_file_is_removed_meanwhile_is_not_made(service: Service) -> None:
    service.make(HALF)
    a, b = service.client(), service.client()
    a.pipe({service.image: b"image", service.meta: b"meta"})
    service.before = first_time(creates, lambda: a.rm([service.image, service.meta]))
    with pytest.raises(OSError, match="image_1"):
        b.pipe_file(service.meta, b"new meta")
    assert service.found == {}


def test_what_is_carried_along_while_it_is_removed_is_removed(service: Service) -> None:
    service.make(FREE)
    a, b = service.client(), service.client()
    a.pipe({service.image: b"image", service.meta: b"meta"})
    service.before = first_time(deletes, lambda: b.pipe_file(service.image, b"new image"))
    a.rm(service.meta)
    assert service.found == {"image_1/k.png": b"new image"}


def test_attributes_that_are_set_while_the_unit_is_replaced_stay(service: Service) -> None:
    service.make(FREE)
    a, b = service.client(), service.client()
    a.pipe({service.image: b"image", service.meta: b"meta"})
    service.before = first_time(creates, lambda: a.setxattrs(service.image, label="cat"))
    b.pipe_file(service.meta, b"new meta")
    assert service.client().getxattr(service.image, "label") == "cat"
    service.before = first_time(
        lambda seen: seen.method == "PATCH", lambda: b.pipe_file(service.meta, b"newer meta")
    )
    a.setxattrs(service.image, colour="red")
    attributes = service.client().getxattrs(service.image)
    assert (attributes["label"], attributes["colour"]) == ("cat", "red")


def test_attributes_set_in_the_same_moment_are_all_kept(service: Service) -> None:
    service.make(LONE)
    service.client().pipe_file(service.image, b"image")
    writers = [service.client() for _ in range(4)]
    for turn in range(3):
        together = threading.Barrier(len(writers))

        def write(number: int, together: Any = together, turn: int = turn) -> None:
            together.wait()
            writers[number].setxattrs(service.image, {f"x{turn}_{number}": number})

        with ThreadPoolExecutor(len(writers)) as pool:
            list(pool.map(write, range(len(writers))))
    attributes = service.client().getxattrs(service.image)
    assert {name for name in attributes if name.startswith("x")} == {
        f"x{turn}_{number}" for turn in range(3) for number in range(len(writers))
    }


def test_a_creation_that_arrives_late_a_second_time_hides_nothing(service: Service) -> None:
    service.make(LONE)
    a, b = service.client(), service.client()
    bodies: list[Any] = []
    a.pipe_file(service.image, b"old")
    units = service.call("GET", "data_units/")["results"]
    bodies += [
        {
            "data_collection": unit["data_collection"],
            "meta": unit["meta"],
            "files": {
                name: {"checksum": file["checksum"], "path": "k.png"}
                for name, file in unit["files"].items()
            },
        }
        for unit in units
    ]
    b.pipe_file(service.image, b"new")
    for body in bodies:
        service.call("POST", "data_units/", body)
    assert service.found == {"image_1/k.png": b"new"}
    assert service.client().units(service.base)["image_1"].to_pylist() == [
        f"synapse://{service.image}"
    ]
    a.pipe_file(service.image, b"newer")
    assert service.found == {"image_1/k.png": b"newer"}
    a.rm(service.image)
    assert service.found == {}


# --- foreign units -------------------------------------------------------------------------------


def test_what_another_client_made_does_not_come_back_after_a_removal(service: Service) -> None:
    number = service.make(LONE)
    service.foreign(number, {"image_1": ("k.png", b"foreign")})
    fs = service.client()
    fs.pipe_file(service.image, b"ours")
    fs.rm(service.image)
    assert service.found == {}


def test_the_table_shows_what_paths_show(service: Service) -> None:
    """A unit that carries an older copy along is no newer than the one that it never saw."""
    number = service.make(FREE)
    a = service.client()
    a.pipe({service.image: b"old image", service.meta: b"meta"})
    old = a.info(service.image)["unit"]
    a.pipe_file(service.image, b"new image")
    units = {unit["id"]: unit for unit in service.call("GET", "data_units/")["results"]}
    (newest,) = units.values()
    files = {
        "image_1": {"checksum": checksum(b"old image"), "path": "k.png"},
        "json_meta_1": {"checksum": newest["files"]["json_meta_1"]["checksum"], "path": "k.json"},
    }
    mark = {
        "write": uuid.uuid4().hex,
        "names": {"image_1": "k.png", "json_meta_1": "k.json"},
        "since": {"image_1": old},
    }
    meta = {"data_unit_key": "k", "synapsefs": mark}
    late = {"data_collection": number, "files": files, "meta": meta}
    service.call("POST", "data_units/", late)
    fs = service.client()
    assert fs.cat_file(service.image) == b"new image"
    rows = fs.units(service.base).to_pylist()
    assert {(row["id"], row["image_1"] is not None) for row in rows} == {
        (fs.info(service.image)["unit"], True),
        (fs.info(service.meta)["unit"], False),
    }


def checksum(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_a_file_and_a_directory_of_one_name_are_both_there(
    service: Service, tmp_path: Path
) -> None:
    number = service.make(LONE)
    unit = service.foreign(number, {"image_1": ("k", b"file")})
    service.foreign(number, {"image_1": ("k/z", b"below")})
    fs = service.client()
    top = f"{service.base}/image_1"
    both = {f"{top}/k@{unit}": b"file", f"{top}/k/z": b"below"}
    assert fs.cat(fs.find(top)) == both
    assert fs.du(top) == 9
    walked = [f"{path}/{name}" for path, _, files in fs.walk(top) for name in files]
    assert sorted(walked) == sorted(both)
    assert fs.ls(top, detail=False) == [f"{top}/k", f"{top}/k@{unit}"]
    fs.get(top, str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got/k/z").read_bytes() == b"below"
    assert (tmp_path / f"got/k@{unit}").read_bytes() == b"file"
    assert {row["image_1"] for row in fs.units(service.base).to_pylist()} == {
        f"synapse://{path}" for path in both
    }
    fs.mkdir(f"{service.base}-copy", **LONE)
    fs.cp(f"{top}/", f"{service.base}-copy/image_1/", recursive=True)
    assert sorted(fs.cat(fs.find(f"{service.base}-copy")).values()) == [b"below", b"file"]
    fs.rm(f"{top}/k", recursive=True)
    assert service.found == {}


def test_a_name_of_a_listing_stands_for_its_unit_while_that_lives(service: Service) -> None:
    number = service.make(LONE)
    older = [service.foreign(number, {"image_1": ("k.png", b"%d" % n)}) for n in range(3)]
    fs = service.client()
    listed = fs.find(service.base)
    assert len(listed) == 3
    fs.rm(service.image)
    assert fs.cat_file(f"{service.base}/image_1/k@{older[1]}.png") == b"1"
    for path in listed[1:]:
        fs.rm(path)
    assert service.found == {}


# --- listings whose pages move -------------------------------------------------------------------


def many(service: Service, number: int) -> list[str]:
    service.make(LONE)
    names = [f"{service.base}/image_1/{n:04}.png" for n in range(number)]
    service.client().pipe(dict.fromkeys(names, b"same"))
    return names


def test_a_listing_lacks_nothing_when_others_remove_meanwhile(service: Service) -> None:
    names = many(service, 61)
    units = service.call("GET", "data_units/?page_size=60")["results"]
    taken: list[str] = []

    def before(seen: Seen, query: str) -> None:
        if re.search(r"\bpage=\d", query) and len(taken) < 3:
            service.call("DELETE", f"v2/data-units/{units[len(taken)]['id']}/")
            taken.append(names[len(taken)])

    service.before = before
    found = service.client().find(service.base)
    assert set(names) - set(found) <= set(taken)
    assert taken


def test_a_listing_that_changes_all_the_time_is_whole_or_an_error(service: Service) -> None:
    many(service, 150)
    left = [unit["id"] for unit in service.call("GET", "data_units/")["results"]]

    def before(seen: Seen, query: str) -> None:
        if re.search(r"\bpage=\d", query):
            for _ in range(min(5, len(left))):
                service.call("DELETE", f"v2/data-units/{left.pop(0)}/")

    service.before = before
    with pytest.raises(OSError, match="kept changing"):
        service.client().find(service.base)
    service.before = lambda seen, query: None
    assert len(service.client().find(service.base)) >= 90


# --- failures and interruptions ------------------------------------------------------------------


@pytest.mark.slow
def test_what_cannot_be_taken_back_is_named(service: Service) -> None:
    names = many(service, 1001)
    refused: list[str] = []

    def before(seen: Seen, query: str) -> web.Response | None:
        if creates(seen):
            refused.append("batch")
        if (creates(seen) and len(refused) == 2) or (deletes(seen) and refused.count("unit") == 0):
            refused.append("unit" if deletes(seen) else "refused")
            return web.json_response({"detail": "not now"}, status=400)
        return None

    service.before = before
    with pytest.raises(OSError, match=r"not now.*could not be deleted again: unit \d+ \(image_1/"):
        service.client().pipe(dict.fromkeys(names, b"other"))
    service.before = lambda seen, query: None
    contents = list(service.client().cat(service.client().find(service.base)).values())
    assert contents.count(b"other") == 1
    assert contents.count(b"same") == 1000


async def test_a_cancelled_write_is_undone(service: Service) -> None:
    await asyncio.to_thread(service.make, LONE)
    await asyncio.to_thread(service.client().pipe_file, service.image, b"old")
    arrived, go = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        assert go.wait(PATIENCE)

    service.before = first_time(creates, hold)
    options = {**service.server.options, "asynchronous": True, "skip_instance_cache": True}
    async with SynapseFileSystem(**options) as fs:
        task = asyncio.ensure_future(fs._pipe_file(service.image, b"new"))
        assert await asyncio.to_thread(arrived.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        assert await asyncio.to_thread(is_deleted, service, 1)
    assert await asyncio.to_thread(lambda: service.found) == {"image_1/k.png": b"old"}


def is_deleted(service: Service, number: int) -> bool:
    """Wait until a unit has been deleted and so many are left."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        gone = any(seen.method == "DELETE" and seen.status for seen in service.server.requests)
        if gone and service.call("GET", "data_units/")["count"] == number:
            return True
        time.sleep(0.02)
    return False


# --- other readings of the protocol --------------------------------------------------------------


def reading_client(url: str) -> SynapseFileSystem:
    return SynapseFileSystem(
        endpoint_url=url, token="t", datasets_token="k", skip_instance_cache=True
    )


def test_files_without_checksums_are_not_taken_for_each_other(tmp_path: Path) -> None:
    def tell(question: Question, answer: Answer) -> None:
        if question.path.startswith(("/data_units", "/v2/data-files")):
            answer.json(lambda value: every_object(value, without("checksum")))

    with front(tmp_path / "root", Reading(tell=tell)) as url:
        fs = reading_client(url)
        fs.mkdir("collections/c", **FREE)
        fs.pipe(
            {"collections/c/image_1/k.png": b"picture", "collections/c/json_meta_1/k.json": b"{}"}
        )
        fs = reading_client(url)
        for path, data in (("image_1/k.png", b"picture"), ("json_meta_1/k.json", b"{}")):
            with fs.open(f"collections/c/{path}") as file:
                assert file.read() == data


def test_files_without_a_byte_where_listings_have_no_sizes(tmp_path: Path) -> None:
    """Object storage answers any range of such a file with an error."""

    def tell(question: Question, answer: Answer) -> None:
        if question.path.startswith("/data_units"):
            answer.json(lambda value: every_object(value, without("size")))
        if question.path.startswith("/v2/data-files"):
            answer.status = 404
        if answer.status == 416:
            answer.headers.popall("Content-Range", None)

    with front(tmp_path / "root", Reading(tell=tell)) as url:
        reading_client(url).mkdir("collections/c")
        path = "collections/c/data_1/empty.bin"
        reading_client(url).pipe({path: b"", "collections/c/data_1/other.bin": b"other"})
        fs = reading_client(url)
        assert [info["size"] for info in fs.ls("collections/c/data_1")] == [0, 5]
        assert (fs.size(path), fs.cat_file(path), fs.cat_file(path, 0, 10)) == (0, b"", b"")
        with reading_client(url).open(path) as file:
            assert file.read() == b""
        fs.get_file(path, str(tmp_path / "got"))
        assert (tmp_path / "got").read_bytes() == b""


def test_a_service_that_takes_no_ordering(tmp_path: Path) -> None:
    def ask(question: Question) -> None:
        question.query.pop("ordering", None)

    with front(tmp_path / "root", Reading(ask=ask, settings={"page_size_max": 40})) as url:
        a, b = reading_client(url), reading_client(url)
        a.mkdir("collections/c", **HALF)
        top = "collections/c"
        a.pipe({f"{top}/image_1/{n:03}.png": b"same" for n in range(70)})
        assert len(b.find(top)) == 70
        a.pipe_file(f"{top}/image_1/k.png", b"image")
        b.pipe_file(f"{top}/json_meta_1/k.json", b"meta")
        a.rm(f"{top}/image_1/000.png")
        b.pipe_file(f"{top}/json_meta_1/001.json", b"meta")
        with pytest.raises(OSError, match="image_1"):
            b.pipe_file(f"{top}/json_meta_1/000.json", b"meta")
        assert reading_client(url).units("c").num_rows == 70


def test_times_of_the_service_are_compared_with_each_other_alone(tmp_path: Path) -> None:
    """A service two hours behind: what another has just replaced is left to it nevertheless."""

    def tell(question: Question, answer: Answer) -> None:
        if question.path.startswith("/data_units"):
            answer.json(lambda value: every_object(value, earlier))

    def earlier(found: dict[str, Any]) -> dict[str, Any]:
        if found.get("created_at"):
            moment = datetime.fromisoformat(found["created_at"]) - timedelta(hours=2)
            found["created_at"] = moment.isoformat()
        return found

    with front(tmp_path / "root", Reading(tell=tell)) as url:
        a, b = reading_client(url), reading_client(url)
        a.mkdir("collections/c", **FREE)
        path, other = "collections/c/image_1/k.png", "collections/c/image_1/other.png"
        a.pipe_file(path, b"old")
        replace(url, units_of(url)[0])
        b.pipe_file(other, b"other")
        assert len(units_of(url)) == 3


def units_of(url: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{url}/data_units/", headers={"Synapse-Access-Token": "Token t"}
    )
    with urllib.request.urlopen(request) as reply:
        found: list[dict[str, Any]] = json.loads(reply.read())["results"]
    return found


def replace(url: str, unit: dict[str, Any]) -> None:
    """Replace a unit as another client is just about to, which has not yet deleted the old one."""
    meta = {**unit["meta"], "synapsefs": {**unit["meta"]["synapsefs"], "write": uuid.uuid4().hex}}
    files = {
        name: {"checksum": file["checksum"], "path": "k.png"}
        for name, file in unit["files"].items()
    }
    body = {"data_collection": unit["data_collection"], "files": files, "meta": meta}
    request = urllib.request.Request(
        f"{url}/data_units/",
        json.dumps(body).encode(),
        {"Synapse-Access-Token": "Token t", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("page", [2, 1000], ids=["never listed", "listed"])
def test_a_writer_that_writes_on_and_on_keeps_no_more(tmp_path: Path, page: int) -> None:
    with observed_server(tmp_path / "root", page_size_max=page) as server:
        fs = SynapseFileSystem(**server.options, skip_instance_cache=True)
        fs.mkdir("collections/c")
        fs.pipe({f"collections/c/data_1/{number}": b"" for number in range(4)})

        def write(times: int) -> int:
            for number in range(times):
                fs.pipe_file("collections/c/data_1/k.bin", b"%d" % number)
            gc.collect()
            mine = tracemalloc.Filter(True, "*/services/collections/*")
            held = tracemalloc.take_snapshot().filter_traces([mine]).statistics("filename")
            return sum(found.size for found in held)

        tracemalloc.start()
        try:
            before = write(30)
            assert write(100) - before < 60_000
        finally:
            tracemalloc.stop()
