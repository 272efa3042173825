"""Interrupted transfers go on in a later process where they stopped."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.callbacks import Callback

from synapsefs import SynapseFileSystem, sync
from synapsefs.checkpoint import KEPT_SECONDS
from synapsefs.location import Location
from tests.support.clients import Clients, Outcome, clients
from tests.support.observed import API_KEY, TOKEN, ObservedServer, Seen, observed_server
from tests.support.running import environment

MIB = 2**20
PART = 5 * MIB
"""The smallest part that the datasets service takes."""
SIZE = 3 * PART + 12_345
LESS = 2 * PART + 12_345
KILL = signal.SIGKILL
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def nursery() -> Iterator[Clients]:
    with clients() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("root")) as found:
        yield found


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    root = tmp_path_factory.mktemp("strict")
    with observed_server(root, strict=True, url_lifetime=5.0, bearer_lifetime=5.0) as found:
        yield found


class Place:
    """A fresh directory on a server, a state folder, and clients that come and go."""

    def __init__(self, server: ObservedServer, nursery: Clients, root: str, tmp_path: Path) -> None:
        self.server = server
        self.options = {**server.options, "block_size": PART}
        self.fs = SynapseFileSystem(**self.options, skip_instance_cache=True)
        container = f"{root}/t-{uuid.uuid4().hex[:12]}"
        self.fs.mkdir(container)
        self.base = f"{container}/data_1" if root == "collections" else container
        self.path = f"{self.base}/folder/large.bin"
        self.local = tmp_path / "local.bin"
        self.state = tmp_path / "state" / "synapsefs" / "transfers"
        self._environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
        self._nursery = nursery

    def put(self, **how: Any) -> Outcome:
        return self.run("put_file", str(self.local), self.path, **how)

    def get(self, **how: Any) -> Outcome:
        return self.run("get_file", self.path, str(self.local), **how)

    def run(self, *arguments: Any, **how: Any) -> Outcome:
        self.start(*arguments, **how)
        return self._nursery.wait()

    def start(self, *arguments: Any, **how: Any) -> None:
        options = {**self.options, **how.pop("options", {})}
        self._nursery.start(options, *arguments, environ=self._environ, **how)

    def kill_client(self) -> None:
        os.kill(self._nursery.pid, KILL)

    def journals(self) -> list[Path]:
        return sorted(self.state.glob("*.json")) if self.state.exists() else []

    def partials(self) -> list[Path]:
        return sorted(self.local.parent.glob(".*.part"))

    def pending(self) -> list[Any]:
        """Ask the datasets service itself for entries that nobody sees."""

        if self.base.startswith("collections"):
            return []
        identifier = self.fs.info(self.base)["id"]

        async def ask() -> list[Any]:
            service: Any = await self.fs._service(Location.parse(self.base))
            answer = await service.api.dataset(identifier, "test")
            return [e.id for e in answer.data_storage_entries if e.status == "pending"]

        return sync.run(self.fs.loop, ask())

    def assert_complete(self, data: bytes) -> None:
        """Check that the file is there, once and whole, and that nothing is left over."""
        fresh = SynapseFileSystem(**self.options, skip_instance_cache=True)
        assert fresh.cat_file(self.path) == data
        assert fresh.find(self.base) == [self.path]
        assert self.journals() == []
        assert self.partials() == []


@pytest.fixture(params=["collections", "datasets"])
def place(
    request: pytest.FixtureRequest, server: ObservedServer, nursery: Clients, tmp_path: Path
) -> Iterator[Place]:
    yield Place(server, nursery, request.param, tmp_path)
    server.hook = None


def content(size: int = SIZE) -> bytes:
    """Make bytes that the server has never seen."""
    return os.urandom(size)


def bytes_of_parts(seen: list[Seen]) -> int:
    """Sum up what was sent as parts, forms and all."""
    return sum(request.sent for request in seen if request.method == "PUT")


FORMS = 4096
"""Bytes that the forms around a few chunks take at most."""


@pytest.mark.parametrize("parts", [2, *(pytest.param(n, marks=slow) for n in (1, 3))])
def test_a_killed_put_goes_on(place: Place, parts: int) -> None:
    data = content()
    place.local.write_bytes(data)
    first = place.put(fatal=KILL, at=parts * PART)
    assert first.killed
    assert not place.fs.exists(place.path)
    with place.server.watching() as seen:
        second = place.put()
    assert second.error is None
    assert second.progress == SIZE
    arrived = first.fatal_at - PART
    assert bytes_of_parts(seen) <= SIZE - arrived + FORMS
    place.assert_complete(data)


STEPS = {
    "collections": [
        ("POST", "/chunked_upload/"),
        ("POST", "/data_files/"),
        ("POST", "/data_units/"),
    ],
    "datasets": [("POST", "/complete"), ("PATCH", "/v0.1/data-storage/data-entries/")],
}


@pytest.mark.parametrize("step", [0, *(pytest.param(n, marks=slow) for n in (1, 2))])
def test_a_put_killed_after_its_last_part_sends_no_byte_again(place: Place, step: int) -> None:
    steps = STEPS[place.base.partition("/")[0]]
    if step >= len(steps):
        pytest.skip("the service has fewer steps")
    method, route = steps[step]

    async def kill(seen: Seen) -> None:
        if seen.method == method and route in seen.path and "presigned" not in seen.path:
            place.server.hook = None
            place.kill_client()

    data = content()
    place.local.write_bytes(data)
    place.server.hook = kill
    assert place.put().killed
    with place.server.watching() as seen:
        assert place.put().error is None
    if not (place.base.startswith("datasets") and method == "PATCH"):
        assert bytes_of_parts(seen) == 0
    place.assert_complete(data)


@slow
def test_a_killed_put_leaves_nothing_pending_when_it_is_done(place: Place) -> None:
    place.local.write_bytes(content(LESS))
    assert place.put(fatal=KILL, at=2 * PART).killed
    assert place.put().error is None
    assert place.pending() == []


@slow
def test_a_killed_replacement_goes_on(place: Place) -> None:
    place.fs.pipe_file(place.path, b"before")
    data = content(LESS)
    place.local.write_bytes(data)
    assert place.put(fatal=KILL, at=2 * PART).killed
    assert SynapseFileSystem(**place.options, skip_instance_cache=True).cat(place.path) == b"before"
    assert place.put().error is None
    place.assert_complete(data)


@slow
def test_a_source_that_changed_is_sent_anew(place: Place) -> None:
    place.local.write_bytes(content(LESS))
    assert place.put(fatal=KILL, at=2 * PART).killed
    data = content(LESS + 1)
    place.local.write_bytes(data)
    second = place.put()
    assert second.error is None
    assert second.says("changed since it was sent")
    place.assert_complete(data)
    assert place.pending() == []


@slow
def test_a_source_changed_behind_its_times_is_sent_anew(place: Place) -> None:
    place.local.write_bytes(content(LESS))
    before = place.local.stat()
    assert place.put(fatal=KILL, at=2 * PART).killed
    data = b"other" + place.local.read_bytes()[5:]
    place.local.write_bytes(data)
    os.utime(place.local, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = place.put()
    assert second.error is None
    assert second.says("starting over")
    place.assert_complete(data)
    assert place.pending() == []


@pytest.mark.parametrize("fraction", [0.6, *(pytest.param(n, marks=slow) for n in (0.3, 1.0))])
def test_a_killed_get_goes_on(place: Place, fraction: float) -> None:
    data = content(LESS)
    place.fs.pipe_file(place.path, data)
    place.local.write_bytes(b"what was here before")
    first = place.get(fatal=KILL, at=int(fraction * LESS))
    assert first.killed
    assert place.local.read_bytes() == b"what was here before"
    assert len(place.partials()) == 1
    with place.server.watching() as seen:
        second = place.get()
    assert second.error is None
    assert second.progress == LESS
    fetched = sum(request.size for request in seen if request.is_object)
    assert fetched <= LESS - first.fatal_at + PART
    assert place.local.read_bytes() == data
    place.assert_complete(data)


@slow
def test_a_remote_file_that_changed_is_fetched_anew(place: Place) -> None:
    place.fs.pipe_file(place.path, content(LESS))
    assert place.get(fatal=KILL, at=2 * PART).killed
    data = content(LESS)
    place.fs.pipe_file(place.path, data)
    second = place.get()
    assert second.error is None
    assert second.says("starting over")
    assert place.local.read_bytes() == data
    place.assert_complete(data)


@slow
@pytest.mark.parametrize("damage", ["altered", "shorter", "gone", "a link"])
def test_a_partial_file_that_changed_is_fetched_anew(place: Place, damage: str) -> None:
    data = content(LESS)
    place.fs.pipe_file(place.path, data)
    assert place.get(fatal=KILL, at=2 * PART).killed
    [partial] = place.partials()
    elsewhere = place.local.with_name("elsewhere")
    if damage == "altered":
        with partial.open("r+b") as file:
            file.write(b"other")
    elif damage == "shorter":
        os.truncate(partial, PART)
    else:
        partial.rename(elsewhere)
        if damage == "a link":
            partial.symlink_to(elsewhere)
    kept = elsewhere.read_bytes() if elsewhere.exists() else b""
    second = place.get()
    assert second.error is None
    assert second.says("starting over")
    assert place.local.read_bytes() == data
    assert not elsewhere.exists() or elsewhere.read_bytes() == kept
    assert place.journals() == []
    assert place.partials() == []


@slow
def test_resume_can_be_turned_off(place: Place) -> None:
    data = content(LESS)
    place.local.write_bytes(data)
    assert place.put(fatal=KILL, at=2 * PART, resume=False).killed
    assert place.put(fatal=KILL, at=2 * PART, options={"resume": False}).killed
    assert place.journals() == []
    assert place.put(fatal=KILL, at=2 * PART, options={"resume": False}, resume=True).killed
    assert len(place.journals()) == 1
    assert place.put().error is None
    place.local.unlink()
    assert place.get(fatal=KILL, at=2 * PART, resume=False).killed
    assert place.journals() == []


@slow
def test_files_of_one_part_are_not_remembered(place: Place) -> None:
    place.local.write_bytes(content(PART))
    assert place.put(fatal=KILL, at=1).status in {0, -KILL}
    assert place.journals() == []


def test_a_failed_transfer_goes_on_in_the_same_process(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Stop(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value >= 2 * PART:
                raise BlockingIOError

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = content()
    place.local.write_bytes(data)
    for verb, where in (
        ("put_file", (str(place.local), place.path)),
        ("get_file", (place.path, str(tmp_path / "got.bin"))),
    ):
        with pytest.raises(BlockingIOError):
            getattr(place.fs, verb)(*where, callback=Stop())
        assert len(place.journals()) == 1
        with place.server.watching() as seen:
            getattr(place.fs, verb)(*where)
        moved = bytes_of_parts(seen) + sum(r.size for r in seen if r.is_object and r.span)
        assert moved <= SIZE - PART + FORMS
        assert place.journals() == []
    assert (tmp_path / "got.bin").read_bytes() == data
    place.assert_complete(data)


@slow
def test_a_killed_unit_goes_on(server: ObservedServer, nursery: Clients, tmp_path: Path) -> None:
    place = Place(server, nursery, "collections", tmp_path)
    data = content()
    place.local.write_bytes(data)
    collection = place.base.split("/")[1]
    unit = {"collection": collection, "files": {"data_1": str(place.local)}, "key": "one"}
    assert place.run("put_unit", **unit, fatal=KILL, at=3 * PART).killed
    with place.server.watching() as seen:
        assert place.run("put_unit", **unit).error is None
    assert bytes_of_parts(seen) <= SIZE - 2 * PART + FORMS
    [path] = SynapseFileSystem(**place.options, skip_instance_cache=True).find(place.base)
    assert place.fs.cat_file(path) == data
    assert place.journals() == []


@slow
@pytest.mark.parametrize("resume", [True, False])
def test_a_killed_command_line_goes_on(
    server: ObservedServer, nursery: Clients, tmp_path: Path, resume: bool
) -> None:
    place = Place(server, nursery, "collections", tmp_path)
    data = content(4 * MIB)
    place.local.write_bytes(data)
    command = [sys.executable, "-m", "synapsefs", "put", "-q", str(place.local)]
    command += [f"synapse://{place.path}", "--endpoint-url", server.url, "--token", TOKEN]
    given = json.dumps({"block_size": MIB, "resume": resume})
    environ = {**environment(), **place._environ, "FSSPEC_SYNAPSE": given}
    process = subprocess.Popen(command, env=environ)

    methods: list[str] = []

    async def kill(seen: Seen) -> None:
        if seen.method == "POST" and "PUT" in methods:
            server.hook = None
            process.kill()
        methods.append(seen.method)

    server.hook = kill
    assert process.wait(30) == -KILL
    with server.watching() as seen:
        assert subprocess.run(command, env=environ, check=False).returncode == 0
    assert (bytes_of_parts(seen) == 0) == resume
    place.assert_complete(data)


@slow
def test_a_tree_goes_on_with_the_files_that_are_missing(place: Place, tmp_path: Path) -> None:
    """A journal of content that the collections service has by now waits to be collected."""
    tree = tmp_path / "tree"
    tree.mkdir()
    files = {name: content(2 * PART + 1) for name in ("a.bin", "b.bin")}
    for name, data in files.items():
        (tree / name).write_bytes(data)
    options = {"max_concurrency": 1}
    total = 2 * (2 * PART + 1)
    where = (f"{tree}/", f"{place.base}/tree/")
    first = place.run("put", *where, recursive=True, fatal=KILL, at=total - 1, options=options)
    assert first.killed
    assert place.fs.find(place.base) == []
    with place.server.watching() as seen:
        second = place.run("put", *where, recursive=True, options=options)
    assert second.error is None
    assert bytes_of_parts(seen) <= PART + FORMS
    fresh = SynapseFileSystem(**place.options, skip_instance_cache=True)
    found = {name.rpartition("/")[2]: fresh.cat_file(name) for name in fresh.find(place.base)}
    assert found == files
    assert len(place.journals()) <= place.base.startswith("collections")


def test_a_journal_is_private_and_holds_no_secret(place: Place) -> None:
    place.local.write_bytes(content(LESS))
    assert place.put(fatal=KILL, at=2 * PART).killed
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o700
    for path in place.state.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [journal] = place.journals()
    text = journal.read_text()
    for secret in (TOKEN, API_KEY, "_blob", "sig", "Bearer", "?"):
        assert secret not in text


def rewrite(checkpoint: Path, facts: Any, **header: Any) -> None:
    """Say something else in a checkpoint, a line for what it is about and one of facts."""
    first = json.loads(checkpoint.read_text().splitlines()[0]) | header
    checkpoint.write_text(f"{json.dumps(first)}\n{json.dumps(facts)}\n")


def saved_in(checkpoint: Path) -> dict[str, Any]:
    """Give what a checkpoint says last of each thing."""
    facts: dict[str, Any] = {}
    for line in checkpoint.read_text().splitlines()[1:]:
        facts |= json.loads(line)
    return facts


def spoilt(name: str, journal: Path) -> None:
    facts = saved_in(journal)
    if name == "garbage":
        journal.write_bytes(b"\xff\x00{")
    elif name == "empty":
        journal.write_bytes(b"")
    elif name == "a list":
        journal.write_text("[]")
    elif name == "deep":
        rewrite(journal, facts)
        journal.write_text(journal.read_text() + "[" * 100_000 + "\n")
    elif name == "half a line":
        journal.write_text(journal.read_text() + '{"offset"')
    elif name == "another format":
        rewrite(journal, facts, format=99)
    elif name == "another key":
        rewrite(journal, facts, key={"path": "x"})
    elif name == "no facts":
        rewrite(journal, 7)
    elif name == "wrong facts":
        rewrite(journal, {fact: [1] for fact in facts} | {"source": facts.get("source")})
    elif name == "open to others":
        journal.chmod(0o644)
    elif name == "a directory":
        journal.unlink()
        journal.mkdir()


SPOILT = [
    "garbage", "a list", "another format", "another key", "no facts", "deep", "open to others",
    "a directory", "half a line",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["wrong facts", "empty", *(pytest.param(name, marks=slow) for name in SPOILT)]
)
def test_a_broken_journal_never_hurts(
    server: ObservedServer, nursery: Clients, tmp_path: Path, name: str
) -> None:
    place = Place(server, nursery, "collections", tmp_path)
    data = content(4 * MIB + 1)
    small = {"block_size": MIB}
    place.local.write_bytes(data)
    assert place.put(fatal=KILL, at=2 * MIB, options=small).killed
    [journal] = place.journals()
    spoilt(name, journal)
    assert place.put(options=small).error is None
    assert place.fs.cat_file(place.path) == data
    target = {"options": small, "fatal": KILL, "at": 4 * MIB}
    assert place.run("get_file", place.path, str(tmp_path / "got"), **target).killed
    spoilt(name, next(path for path in place.journals() if path != journal))
    assert place.run("get_file", place.path, str(tmp_path / "got"), options=small).error is None
    assert (tmp_path / "got").read_bytes() == data


@slow
def test_an_upload_that_the_service_forgot_starts_over(place: Place) -> None:
    data = content(LESS)
    place.local.write_bytes(data)
    assert place.put(fatal=KILL, at=2 * PART).killed
    [journal] = place.journals()
    facts = saved_in(journal)
    rewrite(journal, facts | {fact: str(uuid.uuid4()) for fact in {"id", "entry"} & facts.keys()})
    second = place.put()
    assert second.error is None
    assert second.says("starting over")
    place.assert_complete(data)


@slow
def test_without_a_state_folder_transfers_still_work(place: Place, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    data = content(LESS)
    place.local.write_bytes(data)
    assert place.put().error is None
    place.local.unlink()
    assert place.get().error is None
    assert place.local.read_bytes() == data


@slow
def test_journals_that_nobody_comes_back_for_are_collected(place: Place, tmp_path: Path) -> None:
    data = content(LESS)
    place.fs.pipe_file(place.path, data)
    assert place.get(fatal=KILL, at=2 * PART).killed
    assert len(place.partials()) == 1
    [journal] = place.journals()
    long_ago = journal.stat().st_mtime - KEPT_SECONDS - 60
    os.utime(journal, (long_ago, long_ago))
    assert place.run("get_file", place.path, str(tmp_path / "elsewhere")).error is None
    assert place.journals() == []
    assert place.partials() == []


@slow
@pytest.mark.parametrize("verb", ["put_file", "get_file"])
def test_two_processes_at_the_same_transfer(place: Place, verb: str) -> None:
    data = content(LESS)
    if verb == "put_file":
        place.local.write_bytes(data)
        where = (str(place.local), place.path)
    else:
        place.fs.pipe_file(place.path, data)
        where = (place.path, str(place.local))
    with clients() as others:
        place.start(verb, *where, fatal=signal.SIGSTOP, at=2 * PART)
        stopped = place._nursery.pid
        try:
            while not _stopped(stopped):
                os.sched_yield()
            other = others.run(place.options, verb, *where, environ=place._environ)
            assert other.error is None
            assert len(place.journals()) == 1
        finally:
            os.kill(stopped, signal.SIGCONT)
            outcome = place._nursery.wait()
    assert outcome.error is None
    assert place.local.read_bytes() == data
    fresh = SynapseFileSystem(**place.options, skip_instance_cache=True)
    assert {fresh.cat_file(path) for path in fresh.find(place.base)} == {data}
    assert place.journals() == []
    assert place.partials() == []


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@slow
@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_against_the_strictest_reading(
    strict_server: ObservedServer, nursery: Clients, tmp_path: Path, root: str
) -> None:
    """Where a second ``initiate`` is another upload, all parts are sent anew; nothing is lost."""
    place = Place(strict_server, nursery, root, tmp_path)
    data = content()
    place.local.write_bytes(data)
    parts = 2 if root == "collections" else 1
    assert place.put(fatal=KILL, at=parts * PART).killed
    with strict_server.watching() as seen:
        second = place.put()
    assert second.error is None
    if root == "collections":
        assert bytes_of_parts(seen) <= SIZE - PART + FORMS
    else:
        assert second.says("starting over")
    place.assert_complete(data)
    assert place.pending() == []
    place.local.unlink()
    first = place.get(fatal=KILL, at=2 * PART)
    assert first.killed
    with strict_server.watching() as seen:
        assert place.get().error is None
    assert sum(r.size for r in seen if r.is_object) <= SIZE - first.fatal_at + PART
    assert place.local.read_bytes() == data
