"""What a move or a removal takes while others write, and what a copy leaves that fails."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem, sync
from synapsefs.errors import ChangedError, NotEmptyError, NotFoundError, ServiceError
from synapsefs.location import Location
from tests.support.observed import ObservedServer, Seen, observed_server

ROOTS = {"collections": "collections/c/data_1", "datasets": "datasets/d"}
PATIENCE = 20
LISTINGS = ("/data_units/", "/v0.1/data-storage/datasets/")


@dataclass
class Moment:
    """Does something once, when the server gets a request that fits, before it is answered."""

    work: Callable[[], Any] | None = None
    fits: Callable[[Seen], bool] = lambda seen: False
    written: bool = False
    writing: tuple[str, ...] = ("POST", "PATCH")

    def at(self, work: Callable[[], Any], fits: Callable[[Seen], bool]) -> None:
        self.work, self.fits, self.written = work, fits, False

    def after_writing(self, work: Callable[[], Any], *writing: str) -> None:
        """Do it when a listing is read after something was written, by one of these methods."""
        self.writing = writing or ("POST", "PATCH")
        self.at(work, lambda seen: self.written and is_listing(seen))

    async def __call__(self, seen: Seen) -> None:
        if self.work is not None and self.fits(seen):
            work, self.work = self.work, None
            await asyncio.to_thread(work)
        self.written = self.written or (wrote(seen) and seen.method in self.writing)


def is_listing(seen: Seen) -> bool:
    return seen.method == "GET" and seen.path.startswith(LISTINGS)


def wrote(seen: Seen) -> bool:
    """Say whether a request shows a file: a unit, a text, an entry that becomes active."""
    routes = ("/data_units/", "/v0.1/data-storage/data-entries")
    return seen.method in {"POST", "PATCH"} and seen.path.startswith(routes)


@dataclass
class Refusing:
    """Refuses one request, after some that are like it."""

    method: str = ""
    part: str = ""
    left: int = -1

    def next(self, method: str, part: str, *, after: int = 0) -> None:
        self.method, self.part, self.left = method, part, after

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def answer(request: web.Request, handler: Any) -> web.StreamResponse:
            if self.left >= 0 and request.method == self.method and self.part in request.path:
                self.left -= 1
                if self.left < 0:
                    return web.json_response({"detail": "not this one"}, status=500)
            return await handler(request)

        return answer


@pytest.fixture(scope="module")
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, refusing: Refusing
) -> Iterator[ObservedServer]:
    root = tmp_path_factory.mktemp("moving")
    with observed_server(root, middleware=refusing.middleware) as running:
        yield running


@pytest.fixture
def moment(server: ObservedServer) -> Iterator[Moment]:
    server.hook = moment = Moment()
    yield moment
    server.hook = None


def client(server: ObservedServer, **more: Any) -> SynapseFileSystem:
    return SynapseFileSystem(**server.options | {"retries": 0} | more, skip_instance_cache=True)


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    return client(server)


@pytest.fixture
def rival(server: ObservedServer) -> SynapseFileSystem:
    return client(server)


@pytest.fixture(params=ROOTS)
def base(request: pytest.FixtureRequest, server: ObservedServer) -> Iterator[str]:
    maker, path = client(server), ROOTS[request.param]
    container = "/".join(path.split("/")[:2])
    maker.mkdir(container)
    yield path
    client(server).rm(container, recursive=True)


def contents(server: ObservedServer, base: str) -> dict[str, bytes]:
    fs = client(server)
    return {path.removeprefix(f"{base}/"): fs.cat_file(path) for path in fs.find(base)}


@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_a_file_that_is_replaced_while_it_moves_stays(server, moment, fs, rival, base, suffix):
    old, new = f"{base}/a.{suffix}", f"{base}/b.{suffix}"
    rival.pipe_file(old, b"one")
    moment.after_writing(lambda: rival.pipe_file(old, b"two"))
    with pytest.raises(ChangedError) as caught:
        fs.mv(old, new)
    assert caught.value.filename == old
    assert contents(server, base) == {f"a.{suffix}": b"two", f"b.{suffix}": b"one"}


def test_the_others_are_moved(server, moment, fs, rival, base):
    rival.pipe({f"{base}/{name}": name.encode() for name in ("x.bin", "y.bin", "z.bin")})
    moment.after_writing(lambda: rival.pipe({f"{base}/x.bin": b"2", f"{base}/y.bin": b"2"}))
    with pytest.raises(ChangedError) as caught:
        fs.mv(f"{base}/*.bin", f"{base}/to/")
    assert caught.value.filename in {f"{base}/x.bin", f"{base}/y.bin"}
    copies = {f"to/{name}": name.encode() for name in ("x.bin", "y.bin", "z.bin")}
    assert contents(server, base) == {**copies, "x.bin": b"2", "y.bin": b"2"}


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_a_file_whose_copy_is_not_found_whole_stays(server, moment, fs, rival, base, change):
    old, new = f"{base}/a.bin", f"{base}/b.bin"
    rival.pipe_file(old, b"the one")
    work = rival.rm_file if change == "removed" else lambda path: rival.pipe_file(path, b"other")
    shown = "POST" if base.startswith("collections") else "PATCH"
    moment.after_writing(lambda: work(new), shown)
    with pytest.raises(ChangedError, match=r"b\.bin"):
        fs.mv(old, new)
    assert contents(server, base)["a.bin"] == b"the one"


def test_a_file_that_comes_into_a_moving_directory_stays(server, moment, fs, rival, base):
    rival.pipe_file(f"{base}/dir/a.bin", b"a")
    moment.after_writing(lambda: rival.pipe_file(f"{base}/dir/late.bin", b"late"))
    fs.mv(f"{base}/dir", f"{base}/moved", recursive=True)
    assert contents(server, base) == {"moved/a.bin": b"a", "dir/late.bin": b"late"}


def test_a_file_that_comes_into_a_directory_that_is_removed_stays(server, moment, fs, rival, base):
    rival.pipe({f"{base}/dir/{name}/a.bin": b"a" for name in ("one", "two")})
    late = f"{base}/dir/two/late.bin"
    moment.at(lambda: rival.pipe_file(late, b"late"), lambda seen: seen.method == "DELETE")
    if base.startswith("collections"):
        fs.rm(f"{base}/dir", recursive=True)
    else:
        with pytest.raises(NotEmptyError, match="meanwhile"):
            fs.rm(f"{base}/dir", recursive=True)
    assert contents(server, base) == {"dir/two/late.bin": b"late"}
    assert client(server).isdir(f"{base}/dir/one") is False


def test_a_container_and_what_is_in_it_are_removed_together(server, fs, rival, base):
    container = "/".join(base.split("/")[:2])
    rival.pipe({f"{base}/a.bin": b"a", f"{base}/dir/b.bin": b"b"})
    fs.rm([f"{base}/dir", container, f"{base}/a.bin"], recursive=True)
    assert not client(server).exists(container)
    client(server).mkdir(container)


@pytest.mark.parametrize("inner", ["", "/dir"])
def test_rmdir_of_what_is_no_longer_empty(server, fs, rival, base, inner):
    folder = base + inner
    if not inner:
        folder = "/".join(base.split("/")[:2])
    rival.makedirs(folder, exist_ok=True)
    fs.find(folder)
    rival.pipe_file(f"{base}{inner}/late.bin", b"late")
    with pytest.raises(NotEmptyError):
        fs.rmdir(folder)
    assert list(contents(server, base).values()) == [b"late"]


def test_verbs_see_what_others_have_just_done(server, fs, rival, base, tmp_path):
    """Each acts on what is there now, though it remembers another listing."""
    path = f"{base}/a.bin"
    rival.pipe_file(path, b"one")

    def outdated(data: bytes) -> None:
        assert fs.exists(path)
        fs.ls(base)
        rival.pipe_file(path, data)

    outdated(b"two!")
    fs.cp_file(path, f"{base}/copy.bin")
    outdated(b"three")
    fs.cp(path, f"{base}/copies.bin")
    outdated(b"four")
    assert fs.get(path, str(tmp_path / "got"), sync=True) is None
    outdated(b"five")
    (tmp_path / "five").write_bytes(b"four")
    fs.put(str(tmp_path / "five"), path, sync=True)
    found = contents(server, base)
    assert found == {"a.bin": b"four", "copy.bin": b"two!", "copies.bin": b"three"}
    assert (tmp_path / "got").read_bytes() == b"four"
    outdated(b"six")
    (tmp_path / "got").write_bytes(b"four")
    fs.get(path, str(tmp_path / "got"), sync=True)
    assert (tmp_path / "got").read_bytes() == b"six"
    assert fs.exists(path)
    rival.rm_file(path)
    rival.pipe_file(path, b"another file of that name")
    assert fs.setxattrs(path, colour="red")["colour"] == "red"
    assert client(server).getxattr(path, "colour") == "red"
    assert client(server).cat_file(path) == b"another file of that name"
    outdated(b"seven")
    fs.rm_file(path)
    assert "a.bin" not in contents(server, base)


@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_attributes_put_no_old_content_back(server, moment, fs, rival, base, suffix):
    """Somebody replaces the file after it was listed, before its attributes are read."""
    if base.startswith("collections"):
        pytest.skip("no byte moves for them")
    path = f"{base}/a.{suffix}"
    rival.pipe_file(path, b"one")
    route = "/v0.1/data-storage/data-entries/"
    moment.at(
        lambda: rival.pipe_file(path, b"two"),
        lambda seen: seen.method == "GET" and seen.path.startswith(route),
    )
    with contextlib.suppress(ChangedError, NotFoundError):
        fs.setxattrs(path, colour="red")
    assert moment.work is None
    assert contents(server, base) == {f"a.{suffix}": b"two"}


# --- copies that fail ----------------------------------------------------------------------------


def pending(fs: SynapseFileSystem, base: str) -> list[str]:
    """Ask the datasets service itself for entries that nobody sees."""
    if base.startswith("collections"):
        return []

    async def ask() -> list[str]:
        service: Any = await fs._service(Location.parse(base))
        answer = await service.api.dataset(identifier, "test")
        return [e.name for e in answer.data_storage_entries if e.status == "pending"]

    identifier = fs.info(base)["id"]
    return sync.run(fs.loop, ask())


@pytest.mark.parametrize(
    ("method", "part"), [("PUT", "/_blob"), ("POST", "complete"), ("PATCH", "data-entries")]
)
def test_copies_of_which_one_fails_leave_nothing_pending(
    server, refusing, fs, rival, base, method, part
):
    """The others have arrived by then, and go again."""
    names = [f"{number}.bin" for number in range(4)]
    rival.pipe({f"{base}/{name}": b"\xff" + name.encode() for name in names})
    sources, copies = [[f"{base}/{to}{n}" for n in names] for to in ("", "to/")]
    fs = client(server, max_concurrency=1)
    if base.startswith("collections"):
        refusing.next("POST", "/data_units/")
    else:
        refusing.next(method, part, after=2)
    with pytest.raises(ServiceError):
        fs.cp(sources, copies)
    assert pending(client(server), base) == []
    with pytest.raises(ServiceError):
        refusing.next("POST", "/data_units/" if base.startswith("collections") else part)
        refusing.method = "POST" if base.startswith("collections") else method
        fs.mv(sources, copies)
    assert pending(client(server), base) == []
    assert {name: contents(server, base)[name] for name in names} == {
        name: b"\xff" + name.encode() for name in names
    }


def test_attributes_that_cannot_be_set_leave_nothing_pending(server, refusing, fs, rival, base):
    rival.pipe_file(f"{base}/a.bin", b"\xff")
    if base.startswith("collections"):
        pytest.skip("no byte moves for them")
    refusing.next("PATCH", "data-entries")
    with pytest.raises(ServiceError):
        fs.setxattrs(f"{base}/a.bin", colour="red")
    assert pending(client(server), base) == []


@pytest.mark.parametrize("how", ["cp", "put", "put that goes on"])
def test_a_call_that_is_cancelled_leaves_nothing_pending(server, rival, base, tmp_path, how):
    """Files that had arrived by then go again, and the one on its way."""
    names = [f"{number}.bin" for number in range(3)]
    for name in names:
        (tmp_path / name).write_bytes(b"\xff" + name.encode())
    local = [f"{tmp_path}/{name}" for name in names]
    sources, targets = [[f"{base}/{to}{name}" for name in names] for to in ("", "to/")]
    rival.put(local, sources)
    reached, release = threading.Event(), threading.Event()
    left = [2]

    async def hold(seen: Seen) -> None:
        if seen.method == "POST" and seen.path.endswith(("complete", "/data_files/")):
            left[0] -= 1
            if left[0] < 0:
                reached.set()
                await asyncio.to_thread(release.wait, PATIENCE)

    async def work() -> None:
        given = server.options | {"retries": 0, "max_concurrency": 1, "asynchronous": True}
        async with SynapseFileSystem(**given, skip_instance_cache=True) as fs:
            calls = {
                "cp": lambda: fs._copy(sources, targets),
                "put": lambda: fs._put(local, targets),
                "put that goes on": lambda: fs._put(local, targets, on_error="return"),
            }
            task = asyncio.create_task(calls[how]())
            assert await asyncio.to_thread(reached.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    if base.startswith("collections"):
        pytest.skip("nothing waits there to be seen")
    server.hook = hold
    try:
        asyncio.run(work())
    finally:
        release.set()
        server.hook = None
    assert pending(client(server), base) == []
    assert sorted(contents(server, base)) == names
