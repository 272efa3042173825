"""Everything that goes wrong is an OSError with errno and path, and tells no secret."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import pickle
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import AccessDeniedError, NotFoundError, SynapseFileSystem
from synapsefs.errors import (
    InvalidPathError,
    InvalidRequestError,
    StorageFullError,
    SynapseError,
    UnreachableError,
)
from tests.support.killable import nursery
from tests.support.observed import ObservedServer, observed_server

SECRETS = ("syn_top-secret-token", "key_top-secret-key", "syn_other-secret", "key_other-secret")
TOKEN, API_KEY, OTHER_TOKEN, OTHER_KEY = SECRETS
BASES = {"collections": "collections/c/data_1", "datasets": "datasets/d"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObservedServer]:
    given = {"tokens": (TOKEN,), "api_keys": (API_KEY, OTHER_KEY)}
    with observed_server(tmp_path / "root", **given) as running:
        yield running


@pytest.fixture
def make(server: ObservedServer) -> Callable[..., SynapseFileSystem]:
    def make(**changes: Any) -> SynapseFileSystem:
        options = {"endpoint_url": server.url, "token": TOKEN, "datasets_token": API_KEY}
        return SynapseFileSystem(**{**options, "retries": 1, **changes}, skip_instance_cache=True)

    return make


@pytest.fixture
def fs(make: Callable[..., SynapseFileSystem]) -> SynapseFileSystem:
    made = make()
    for container in ("collections/c", "datasets/d"):
        made.mkdir(container)
    for base in BASES.values():
        made.pipe({f"{base}/a.bin": b"a" * 1000, f"{base}/b.txt": b"text"})
    return made


@pytest.fixture(autouse=True)
def _no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log everything, of every library, and look through it in the end."""
    caplog.set_level(logging.DEBUG)
    for name in ("synapsefs", "fsspec", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    assert_no_secret(caplog.text + "".join(repr(vars(record)) for record in caplog.records))


def assert_no_secret(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text
    assert "signature=" not in text
    assert "Bearer ey" not in text


def failed(
    work: Callable[[], Any], kind: type[OSError], code: int, path: str | None, *words: str
) -> OSError:
    """Do what must fail, and look at every way in which people see the error."""
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    assert error.errno == code
    assert error.filename == path
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    shown += [repr(error.args), repr(vars(error))]
    assert_no_secret("\n".join(shown))
    assert all(word in str(error) for word in words)
    if isinstance(error, SynapseError):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.errno) == (type(error), str(error), error.errno)
        assert again.filename == error.filename
    return error


VERBS: dict[str, Callable[[SynapseFileSystem, str], Any]] = {
    "ls": lambda fs, path: fs.ls(path),
    "info": lambda fs, path: fs.info(path),
    "exists": lambda fs, path: fs.exists(path),
    "isfile": lambda fs, path: fs.isfile(path),
    "find": lambda fs, path: fs.find(path),
    "glob": lambda fs, path: fs.glob(f"{path}/*"),
    "cat_file": lambda fs, path: fs.cat_file(path),
    "open": lambda fs, path: fs.open(path).read(),
    "pipe_file": lambda fs, path: fs.pipe_file(path, b"x"),
    "rm": lambda fs, path: fs.rm(path),
    "cp": lambda fs, path: fs.cp(path, f"{path}.copy"),
}


# --- credentials ---------------------------------------------------------------------------


@pytest.mark.parametrize("root", BASES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_credential(
    fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem], root: str, verb: str
) -> None:
    path = f"{BASES[root]}/a.bin"
    wrong = make(token="syn_other-secret", datasets_token="key_other-secret-not-known")
    with pytest.raises(AccessDeniedError) as caught:
        VERBS[verb](wrong, path)
    error = failed(
        lambda: VERBS[verb](wrong, path), PermissionError, errno.EACCES, caught.value.filename
    )
    assert error.filename is not None
    assert str(error.filename).startswith(root)
    assert getattr(error, "status", None) in {401, 403}
    assert fs.cat_file(path) == b"a" * 1000


@pytest.mark.parametrize("root", BASES)
def test_no_credential(
    fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem], root: str
) -> None:
    nobody = make(token=None, datasets_token="x")
    path = f"{BASES[root]}/a.bin"
    failed(lambda: nobody.cat_file(path), AccessDeniedError, errno.EACCES, path)
    assert fs.exists(path)


def test_another_tenant(
    fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem], server: ObservedServer
) -> None:
    path = "collections/c/data_1/a.bin"
    crossed = make(tenant="rival")
    failed(lambda: crossed.cat_file(path), AccessDeniedError, errno.EACCES, path, "403")
    with observed_server(server.root, tokens=(OTHER_TOKEN,), tenant="rival") as other:
        theirs = make(endpoint_url=other.url, token=OTHER_TOKEN)
        failed(lambda: theirs.cat_file(path), NotFoundError, errno.ENOENT, path)
        identifier = fs.info("collections/c")["id"]
        by_id = f"collections/@{identifier}/data_1/a.bin"
        assert fs.cat_file(by_id) == b"a" * 1000
        failed(lambda: theirs.cat_file(by_id), NotFoundError, errno.ENOENT, by_id)
        assert theirs.ls("collections") == []


def test_another_user(fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem]) -> None:
    path = "datasets/d/a.bin"
    other = make(datasets_token=OTHER_KEY)
    failed(lambda: other.cat_file(path), NotFoundError, errno.ENOENT, path)
    by_id = f"datasets/@{fs.info('datasets/d')['id']}/a.bin"
    assert fs.cat_file(by_id) == b"a" * 1000
    with pytest.raises((NotFoundError, AccessDeniedError)) as caught:
        other.cat_file(by_id)
    assert caught.value.filename == by_id
    with pytest.raises((NotFoundError, AccessDeniedError)):
        other.pipe_file(by_id, b"mine")
    assert fs.cat_file(path) == b"a" * 1000


@pytest.mark.parametrize("token", ["syn_top\nsecret", "syn_top-secret\0", "\x1b[31m"])
def test_a_credential_of_control_characters(
    make: Callable[..., SynapseFileSystem], token: str
) -> None:
    for option in ("token", "datasets_token", "tenant"):
        with pytest.raises(InvalidRequestError, match="control characters") as caught:
            make(**{option: token})
        assert "top" not in str(caught.value)


def test_space_around_a_credential(
    fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem]
) -> None:
    padded = make(token=f"{TOKEN}\n", datasets_token=f" {API_KEY}\r\n")
    for base in BASES.values():
        assert padded.cat_file(f"{base}/b.txt") == b"text"
    assert fs.exists("collections/c")


# --- paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("root", BASES)
def test_what_is_not_there(fs: SynapseFileSystem, root: str, tmp_path: Path) -> None:
    missing = f"{BASES[root]}/missing.bin"
    for verb in ("info", "cat_file", "open", "rm", "cp", "ls"):
        failed(lambda verb=verb: VERBS[verb](fs, missing), NotFoundError, errno.ENOENT, missing)
    target = str(tmp_path / "missing")
    failed(lambda: fs.get_file(missing, target), NotFoundError, errno.ENOENT, missing)
    failed(lambda: fs.mv(missing, f"{missing}.moved"), NotFoundError, errno.ENOENT, missing)
    assert not os.path.exists(target)
    assert not fs.exists(missing)
    elsewhere = f"{root}/nowhere/data_1/a.bin"
    for verb in ("info", "cat_file", "open", "pipe_file", "rm", "ls"):
        failed(lambda verb=verb: VERBS[verb](fs, elsewhere), NotFoundError, errno.ENOENT, elsewhere)
    assert not fs.exists(elsewhere)
    assert not fs.exists(f"{root}/nowhere")


def test_an_unknown_specification(fs: SynapseFileSystem, server: ObservedServer) -> None:
    path = "collections/c/image_7/a.png"
    with server.watching() as seen:
        failed(lambda: fs.pipe_file(path, b"x"), InvalidPathError, errno.EINVAL, path, "image_7")
        failed(lambda: fs.open(path, "wb"), InvalidPathError, errno.EINVAL, path, "image_7")
    assert not [request for request in seen if request.method != "GET"]
    failed(lambda: fs.cat_file(path), NotFoundError, errno.ENOENT, path)
    failed(
        lambda: fs.ls("collections/c/image_7"), NotFoundError, errno.ENOENT, "collections/c/image_7"
    )


# --- services that are not there -----------------------------------------------------------


@pytest.mark.parametrize("root", BASES)
@pytest.mark.parametrize("verb", ["ls", "exists", "cat_file", "pipe_file"])
def test_a_server_that_is_down(root: str, verb: str) -> None:
    options = {"token": TOKEN, "datasets_token": API_KEY, "retries": 0}
    down = SynapseFileSystem("http://127.0.0.1:9", **options, skip_instance_cache=True)
    path = f"{BASES[root]}/a.bin"
    with pytest.raises(UnreachableError) as caught:
        VERBS[verb](down, path)
    error = failed(
        lambda: VERBS[verb](down, path),
        ConnectionError,
        errno.ECONNREFUSED,
        caught.value.filename,
        "127.0.0.1:9",
    )
    assert error.filename


def test_a_server_that_goes_down(make: Callable[..., SynapseFileSystem], tmp_path: Path) -> None:
    """In mid-read and in mid-write, with connections open."""
    path = "collections/c/data_1/a.bin"
    with nursery() as servers:
        pid, url = servers.start(tmp_path / "other")
        there = make(endpoint_url=url, retries=0)
        there.mkdir("collections/c")
        there.pipe_file(path, os.urandom(5_000_000))
        reading = there.open(path, cache_type="none")
        reading.read(10)
        writing = there.open(f"{path}.new", "wb", block_size=2**20)
        writing.write(bytes(3 * 2**20))
        servers.kill(pid)
    with pytest.raises(ConnectionError) as caught:
        reading.read(10)
    assert caught.value.filename == path
    with pytest.raises(ConnectionError):
        writing.close()


# --- disks that are full -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root, and the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("root", BASES)
def test_a_full_local_disk(fs: SynapseFileSystem, root: str, small_disk: Path) -> None:
    path, target = f"{BASES[root]}/large.bin", small_disk / "large.bin"
    fs.pipe_file(path, os.urandom(5_000_000))
    target.write_bytes(b"before")
    failed(lambda: fs.get_file(path, str(target)), OSError, errno.ENOSPC, str(target))
    tree = small_disk / "tree"
    failed(
        lambda: fs.get(BASES[root], str(tree), recursive=True),
        OSError,
        errno.ENOSPC,
        str(tree / "large.bin"),
    )
    assert target.read_bytes() == b"before"
    assert not list(small_disk.rglob("*.part"))
    assert sum(p.stat().st_size for p in small_disk.rglob("*")) < 100_000
    fs.get_file(f"{BASES[root]}/a.bin", str(target))
    assert target.read_bytes() == b"a" * 1000


@pytest.mark.parametrize("root", BASES)
def test_a_full_disk_of_the_server(
    make: Callable[..., SynapseFileSystem], root: str, small_disk: Path
) -> None:
    given = {"tokens": (TOKEN,), "api_keys": (API_KEY,)}
    with observed_server(small_disk / "root", **given) as server:
        fs = make(endpoint_url=server.url)
        fs.mkdir(f"{root}/c")
        base = f"{root}/c/data_1" if root == "collections" else f"{root}/c"
        fs.pipe_file(f"{base}/small.bin", b"small\0")
        path, data = f"{base}/large.bin", os.urandom(5_000_000)
        failed(lambda: fs.pipe_file(path, data), StorageFullError, errno.ENOSPC, path, "507")

        def write() -> None:
            with fs.open(path, "wb", block_size=2**20) as file:
                file.write(data)

        failed(write, StorageFullError, errno.ENOSPC, path, "507")
        assert not fs.exists(path)
        assert fs.find(base) == [f"{base}/small.bin"]
        assert fs.cat_file(f"{base}/small.bin") == b"small\0"


# --- what an instance shows ----------------------------------------------------------------


def test_instances_show_no_secret(fs: SynapseFileSystem) -> None:
    told = [repr(fs), str(fs), fs.to_json(include_password=False)]
    told += [repr(fs.to_dict(include_password=False)), repr(fs.settings), repr(fs.transport)]
    told += [repr(fs.info(f"{base}/a.bin")) for base in BASES.values()]
    told += [repr(fs.open(f"{base}/a.bin")) for base in BASES.values()]
    assert_no_secret("\n".join(told))
    assert TOKEN in fs.to_json()


def test_a_quiet_day_logs_no_secret(fs: SynapseFileSystem, tmp_path: Path) -> None:
    for base in BASES.values():
        fs.pipe_file(f"{base}/c.bin", bytes(100_000))
        fs.get(base, str(tmp_path / "got"), recursive=True)
        fs.cp(f"{base}/c.bin", f"{base}/d.bin")
        fs.mv(f"{base}/d.bin", f"{base}/e.bin")
        fs.rm(f"{base}/e.bin")
        with contextlib.suppress(OSError):
            fs.cat_file(f"{base}/nowhere")


def test_errors_of_coroutines_are_the_same(
    fs: SynapseFileSystem, make: Callable[..., SynapseFileSystem]
) -> None:
    path = "datasets/d/missing.bin"
    assert not fs.exists(path)

    async def look() -> None:
        async with make(asynchronous=True) as there:
            await there._cat_file(path)

    failed(lambda: asyncio.run(look()), NotFoundError, errno.ENOENT, path)


# --- the end of an instance ----------------------------------------------------------------


def test_closing_never_replaces_the_callers_exception(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that is gone at the end of ``async with`` leaves the exception what it is."""

    async def work() -> None:
        with observed_server(tmp_path / "gone", tokens=(TOKEN,)) as server:
            options = {"endpoint_url": server.url, "token": TOKEN, "retries": 0}
            fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(fs)
                await fs._mkdir("collections/c")
                writer = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
                async with writer:
                    many = [f"collections/c/data_1/{number}.bin" for number in range(60)]
                    await writer._pipe(dict.fromkeys(many, b"x"))
                await fs._pipe_file("collections/c/data_1/a.bin", b"x")
                server.hook = refuse
                raise KeyError("the caller's own")

    async def refuse(_: Any) -> None:
        raise ConnectionResetError

    with pytest.raises(KeyError, match="the caller's own"):
        asyncio.run(work())
    assert "replaced units could not be deleted yet" in caplog.text
