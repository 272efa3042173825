"""Local paths that are no plain new files: links, devices, FIFOs, standard input and output."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synapsefs import InvalidRequestError, SynapseFileSystem, UnsupportedError
from synapsefs.cli import main
from tests.support.running import environment, python

SMALL = b"a small file\n"
LARGE = os.urandom(3 * 2**20 + 17)
"""More than two parts, and more than a FIFO holds."""

sizes = pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "block_size": 2**20}


class Reader(threading.Thread):
    """Reads a FIFO to its end."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.content = b""
        self.start()

    def run(self) -> None:
        self.content = self.path.read_bytes()

    def result(self) -> bytes:
        self.join(20)
        assert not self.is_alive()
        return self.content


def writer(path: Path, content: bytes) -> threading.Thread:
    thread = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


def kind(path: Path) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


@sizes
def test_get_follows_a_link(
    fs: SynapseFileSystem, base: str, tmp_path: Path, content: bytes
) -> None:
    fs.pipe_file(f"{base}/a.bin", content)
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there/target.bin", tmp_path / "link.bin"
    target.write_bytes(b"before")
    link.symlink_to("there/target.bin")
    fs.get_file(f"{base}/a.bin", str(link))
    assert link.is_symlink()
    assert target.read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["target.bin"]


def test_get_makes_the_target_of_a_link_to_nothing(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    fs.pipe_file(f"{base}/a.bin", SMALL)
    (tmp_path / "link").symlink_to("new")
    fs.get(f"{base}/a.bin", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_bytes() == SMALL


def test_a_circle_of_links_is_an_error(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{base}/a.bin", SMALL)
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links") as raised:
        fs.get_file(f"{base}/a.bin", str(tmp_path / "link"))
    assert (raised.value.errno, raised.value.filename) == (errno.ELOOP, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()


@sizes
@pytest.mark.parametrize("mode", [0o600, 0o755, 0o640])
def test_a_replaced_file_keeps_its_mode(
    fs: SynapseFileSystem, base: str, tmp_path: Path, content: bytes, mode: int
) -> None:
    fs.pipe_file(f"{base}/a.bin", content)
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    target.chmod(mode)
    fs.get_file(f"{base}/a.bin", str(target))
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{base}/a.bin", SMALL)
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    os.chown(target, 1234, 2345)
    fs.get_file(f"{base}/a.bin", str(target))
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


@sizes
def test_get_writes_through_a_fifo(
    fs: SynapseFileSystem, base: str, tmp_path: Path, content: bytes
) -> None:
    fs.pipe_file(f"{base}/a.bin", content)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = Reader(fifo)
    fs.get_file(f"{base}/a.bin", str(fifo))
    assert reader.result() == content
    assert kind(fifo) == stat.S_IFIFO
    assert os.listdir(tmp_path) == ["fifo"]


@sizes
def test_get_writes_through_a_device(
    fs: SynapseFileSystem, base: str, tmp_path: Path, content: bytes
) -> None:
    fs.pipe_file(f"{base}/a.bin", content)
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    fs.get_file(f"{base}/a.bin", str(null))
    assert kind(null) == stat.S_IFCHR
    assert os.listdir(tmp_path) == ["null"]


def test_get_refuses_a_socket(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{base}/a.bin", SMALL)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        with pytest.raises(UnsupportedError, match="socket") as raised:
            fs.get_file(f"{base}/a.bin", path)
        assert raised.value.filename == path
        assert kind(Path(path)) == stat.S_IFSOCK


def test_a_fifo_without_a_reader_can_be_interrupted(
    options: dict[str, Any], fs: SynapseFileSystem, tmp_path: Path
) -> None:
    name = f"datasets/i-{os.urandom(6).hex()}"
    fs.mkdir(name)
    fs.pipe_file(f"{name}/a.bin", SMALL)
    os.mkfifo(tmp_path / "fifo")
    done = python(
        """
        import json, os, signal, sys, threading, time
        from synapsefs import SynapseFileSystem
        fs = SynapseFileSystem(**json.loads(sys.argv[1]))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            fs.get_file(sys.argv[2], sys.argv[3])
        except KeyboardInterrupt:
            print("interrupted")
        """,
        json.dumps(options),
        f"{name}/a.bin",
        str(tmp_path / "fifo"),
        seconds=20,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@sizes
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_put_reads_a_fifo(
    fs: SynapseFileSystem, base: str, tmp_path: Path, content: bytes, on_error: str
) -> None:
    fifo = tmp_path / "fifo.bin"
    os.mkfifo(fifo)
    thread = writer(fifo, content)
    fs.put(str(fifo), f"{base}/", on_error=on_error)
    thread.join(20)
    assert fs.cat_file(f"{base}/fifo.bin") == content


def test_put_reads_a_fifo_that_is_filled_later(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def fill() -> None:
        with open(fifo, "wb", buffering=0) as file:
            for piece in (b"first ", b"second"):
                time.sleep(0.1)
                file.write(piece)

    thread = threading.Thread(target=fill)
    thread.start()
    fs.put_file(str(fifo), f"{base}/a.bin")
    thread.join()
    assert fs.cat_file(f"{base}/a.bin") == b"first second"


@pytest.fixture
def piped(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], options: Any
) -> Callable[..., tuple[Any, bytes, str]]:
    """Run a command with some standard input; give exit code, standard output and error."""
    names = {"token", "datasets_token", "endpoint_url"} & options.keys()
    connection = [f"--{name.replace('_', '-')}={options[name]}" for name in sorted(names)]

    def run(*arguments: str, given: bytes = b"") -> tuple[Any, bytes, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as end:
            main([*arguments, *connection])
        out, err = capfdbinary.readouterr()
        return end.value.code, out, err.decode()

    return run


def test_a_dash_is_standard_output(
    fs: SynapseFileSystem, base: str, piped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fs.pipe({f"{base}/a.bin": LARGE, f"{base}/b.bin": SMALL})
    assert piped("get", f"synapse://{base}/a.bin", "-") == (0, LARGE, "")
    both = piped("get", f"synapse://{base}/a.bin", f"synapse://{base}/b.bin", "-")
    assert both == (0, LARGE + SMALL, "")
    assert os.listdir(tmp_path) == []


def test_a_dash_is_standard_input(fs: SynapseFileSystem, base: str, piped: Any) -> None:
    assert piped("put", "-", f"synapse://{base}/a.bin", given=LARGE) == (0, b"", "")
    assert fs.cat_file(f"{base}/a.bin") == LARGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("put", "-", "synapse://{base}/"),
        ("put", "-", "-", "synapse://{base}/a.bin"),
        ("put", "-r", "-", "synapse://{base}/a.bin"),
        ("put", "--sync", "-", "synapse://{base}/a.bin"),
        ("get", "-r", "synapse://{base}", "-"),
        ("get", "--unzip", "synapse://{base}/a.zip", "-"),
    ],
)
def test_a_dash_is_one_file(
    fs: SynapseFileSystem, base: str, piped: Any, arguments: tuple[str, ...]
) -> None:
    code, out, err = piped(*(part.format(base=base) for part in arguments), given=SMALL)
    assert (code, out, err.count("\n")) == (1, b"", 1)
    assert fs.find(base) == []


@pytest.mark.slow
def test_the_standard_streams_by_their_paths(endpoint: str, tmp_path: Path) -> None:
    """What the shell connected is used as it stands, and stays what it is."""
    url = "synapse://datasets/d/a.bin"

    def run(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "synapsefs", *arguments, "--endpoint-url", endpoint]
        return subprocess.run(command, env=environment(), timeout=60, check=True, **streams)

    run("mkdir", "synapse://datasets/d")
    run("put", "/dev/stdin", url, input=LARGE)
    assert run("get", url, "/dev/stdout", stdout=subprocess.PIPE).stdout == LARGE
    with open(tmp_path / "out", "wb") as out:
        out.write(b"before ")
        out.flush()
        run("get", url, "/dev/stdout", stdout=out)
    assert (tmp_path / "out").read_bytes() == b"before " + LARGE


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def test_a_unit_of_a_fifo(fs: SynapseFileSystem, options: dict[str, Any], tmp_path: Path) -> None:
    name = f"collections/u-{os.urandom(6).hex()}"
    fs.mkdir(name)
    fifo = tmp_path / "fifo.bin"
    os.mkfifo(fifo)
    thread = writer(fifo, SMALL)
    unit = fs.put_unit(name, {"data_1": str(fifo)})
    thread.join(20)
    [path] = unit["paths"].values()
    assert fs.cat_file(path) == SMALL


def test_a_tree_with_a_fifo_is_refused(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree/fifo")
    with pytest.raises(InvalidRequestError, match="fifo"):
        fs.put(str(tmp_path / "tree"), base, recursive=True)
