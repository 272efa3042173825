"""The command line: every command, its errors, and the server it starts."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.cli import main
from synapsefs.errors import StorageFullError, TooLargeError
from synapsefs.server.settings import STRICT_SECONDS
from tests.support.running import environment

TOKEN, API_KEY = "syn_cli-secret-token", "key_cli-secret"
Run = Callable[..., str]


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.fixture
def call(endpoint: str, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Any]:
    """Run a command; give its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[Any, bytes, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--endpoint-url", endpoint])
        out, err = capfdbinary.readouterr()
        return end.value.code, out, err.decode()

    return call


@pytest.fixture
def run(call: Callable[..., Any]) -> Run:
    """Run a command that succeeds without a word on standard error; give its lines."""

    def run(*arguments: str) -> list[str]:
        code, out, err = call(*arguments)
        assert (code, err) == (0, "")
        return out.decode().splitlines()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha\r\n")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)))
    return folder


def test_trees(run: Run, call: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (folder / ".gitignore").write_text("*.bin\n")
    (tmp_path / "m.yaml").write_text("here: {a.txt: The first}\n")
    whole = ("put", "-r", f"{folder}/")
    run(*whole, "synapse://datasets/all")
    assert len(run("find", "synapse://datasets/all")) == 3
    manifest = ("--manifest", str(tmp_path / "m.yaml"))
    run(*whole, "synapse://datasets/d", "--ignore-file", ".gitignore", "--ignore", ".*", *manifest)
    assert run("find", "synapse://datasets/d") == ["synapse://datasets/d/a.txt"]
    [found] = [json.loads("\n".join(run("info", "synapse://datasets/d/a.txt")))]
    assert found["description"] == "The first"
    run("put", "--as-collection", str(folder), "synapse://datasets/d/")
    run("get", "--unzip", "synapse://datasets/d/here.zip", str(tmp_path / "back"))
    assert (tmp_path / "back/a.txt").read_bytes() == b"alpha\r\n"
    code, out, err = call("get", "--unzip", "synapse://datasets/d/a.txt", str(tmp_path / "no"))
    assert (code, out) == (1, b"")
    assert err.startswith("synapsefs: datasets/d/a.txt: not a sound zip archive")


@pytest.mark.parametrize("target", ["synapse://datasets/d", "synapse://collections/c/data_1"])
def test_there_and_back(run: Run, folder: Path, tmp_path: Path, target: str) -> None:
    run("mkdir", "/".join(target.split("/")[:4]))
    run("put", "-r", f"{folder}/", f"{target}/x")
    assert run("find", target) == [f"{target}/x/a.txt", f"{target}/x/deep/b.bin"]
    assert run("find", "--maxdepth", "2", target) == [f"{target}/x/a.txt"]
    assert run("ls", f"{target}/x") == [f"{target}/x/a.txt", f"{target}/x/deep"]
    run("get", "-r", f"{target}/x/", f"{tmp_path}/back/")
    assert (tmp_path / "back/deep/b.bin").read_bytes() == bytes(range(256))
    run("cp", f"{target}/x/a.txt", f"{target}/y.txt")
    run("mv", f"{target}/x/deep/b.bin", f"{target}/z.bin")
    run("rm", f"{target}/x/a.txt")
    assert run("find", target) == [f"{target}/y.txt", f"{target}/z.bin"]
    run("rm", "-r", "/".join(target.split("/")[:4]))
    assert run("ls", "/".join(target.split("/")[:3])) == []


def test_several_sources(run: Run, folder: Path, tmp_path: Path) -> None:
    run("mkdir", "synapse://datasets/d")
    run("put", f"{folder}/a.txt", f"{folder}/deep/b.bin", "synapse://datasets/d/")
    names = ["synapse://datasets/d/a.txt", "synapse://datasets/d/b.bin"]
    run("get", *names, f"{tmp_path}/out/")
    assert sorted(os.listdir(tmp_path / "out")) == ["a.txt", "b.bin"]
    run("rm", *names)
    assert run("ls", "synapse://datasets/d") == []


def test_a_directory_without_recursive_is_refused(
    run: Run, call: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """Nothing is done, not for the files beside it either."""
    for base in ("synapse://datasets/d", "synapse://collections/c/data_1"):
        run("mkdir", "/".join(base.split("/")[:4]))
        run("put", "-r", f"{folder}/", f"{base}/x")
        before = run("find", base)
        remote, local = f"{base}/x/deep", f"{folder}/deep"
        for arguments, named in {
            ("put", local, f"{base}/y"): local,
            ("put", f"{folder}/a.txt", local, f"{base}/"): local,
            ("put", f"{folder}/*", f"{base}/"): local,
            ("get", remote, f"{tmp_path}/out"): remote,
            ("get", f"{base}/x/a.txt", remote, f"{tmp_path}/out/"): remote,
            ("cp", remote, f"{base}/y"): remote,
            ("cp", f"{base}/x/*", f"{base}/y/"): remote,
            ("mv", remote, f"{base}/y"): remote,
        }.items():
            code, out, err = call(*arguments)
            assert (code, out) == (1, b""), arguments
            assert err.startswith(f"synapsefs: {named.removeprefix('synapse://')}: "), err
            assert "-r" in err
            assert err.count("\n") == 1
        assert run("find", base) == before
        assert not (tmp_path / "out").exists()


def test_local_names_with_brackets(run: Run, call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "photo[1].png").write_bytes(b"photo")
    run("mkdir", "synapse://datasets/d")
    run("put", f"{tmp_path}/photo[1].png", "synapse://datasets/d/")
    assert run("ls", "synapse://datasets/d") == ["synapse://datasets/d/photo[1].png"]
    code, out, err = call("put", f"{tmp_path}/no[1].png", "synapse://datasets/d/")
    assert (code, out) == (1, b"")
    assert err == f"synapsefs: {tmp_path}/no[1].png: no local file or directory matches\n"


def test_telling(run: Run, call: Callable[..., Any], folder: Path) -> None:
    assert run("ls") == ["synapse://collections", "synapse://datasets"]
    run("mkdir", "synapse://datasets/d")
    run("put", "-r", f"{folder}/", "synapse://datasets/d")
    file, directory = (line.split() for line in run("ls", "-l", "synapse://datasets/d"))
    assert (file[0], file[-1]) == ("7", "synapse://datasets/d/a.txt")
    assert (directory[0], directory[-1]) == ("-", "synapse://datasets/d/deep")
    told = json.loads("\n".join(run("info", "synapse://datasets/d/a.txt")))
    assert (told["size"], told["type"]) == (7, "file")
    assert run("du", "synapse://datasets/d") == ["263\tsynapse://datasets/d"]
    assert run("du", "-H", "synapse://datasets/d/a.txt") == ["7.00B\tsynapse://datasets/d/a.txt"]
    code, out, _ = call("cat", "synapse://datasets/d/a.txt", "synapse://datasets/d/*/b.bin")
    assert (code, out) == (0, b"alpha\r\n" + bytes(range(256)))


def test_search_finds_by_words_and_criteria(
    run: Run, call: Callable[..., Any], endpoint: str
) -> None:
    fs = SynapseFileSystem(endpoint_url=endpoint)
    fs.mkdir("datasets/d")
    fs.pipe_file("datasets/d/a.txt", b"river", tags=["raw"])
    fs.pipe_file("datasets/d/sub/b.md", b"river", tags=["made", "2026"])
    a, b = "synapse://datasets/d/a.txt", "synapse://datasets/d/sub/b.md"
    assert sorted(run("search", "river")) == [a, b]
    assert run("search", "river", "--in", "synapse://datasets/d/sub") == [b]
    assert run("search", "--where", "tags equals raw") == [a]
    assert run("search", "--where", "tags equals raw", "--where", "name ends_with .md") == []
    either = ("--any", "--where", "tags in raw,none", "--where", "name ends_with .md")
    assert sorted(run("search", *either, "--in", "synapse://datasets/d")) == [a, b]
    assert len(run("search", "river", "--size", "1")) == 1
    assert run("search", "river", "-l", "--where", "tags equals raw")[0].split()[0] == "5"
    code, _, error = call("search", "--where", "tags")
    assert (code, error) == (1, "synapsefs: tags: a criterion is 'field operator value'\n")


def test_what_a_terminal_would_obey_is_written_out(run: Run, endpoint: str) -> None:
    fs = SynapseFileSystem(endpoint_url=endpoint)
    fs.mkdir("datasets/d")
    fs.pipe_file("datasets/d/\x1b[2J\nx.txt", b"")
    assert run("find", "synapse://datasets/d") == ["synapse://datasets/d/\\x1b[2J\\nx.txt"]


def test_replaced_units_are_gone_when_the_command_ends(
    run: Run, folder: Path, endpoint: str
) -> None:
    run("mkdir", "synapse://collections/c")
    for content in (b"first", b"second"):
        (folder / "a.txt").write_bytes(content)
        SynapseFileSystem.clear_instance_cache()
        run("put", f"{folder}/a.txt", "synapse://collections/c/data_1/a.txt")
    fs = SynapseFileSystem(endpoint_url=endpoint, skip_instance_cache=True)
    assert fs.find("collections/c", detail=True)["collections/c/data_1/a.txt"]["unit"] == 2
    fs.rm_file("collections/c/data_1/a.txt")
    assert fs.find("collections/c") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "synapse://datasets/no"], "datasets/no: there is no dataset 'no'"),
        (["find", "synapse://collections/no"], "there is no collection 'no'"),
        (["cat", "synapse://elsewhere/x"], "neither 'collections' nor 'datasets'"),
        (["rm", "synapse://datasets"], "this is a directory"),
        (["put", "/no/such/file", "synapse://datasets/d/"], "No such file"),
        (["mkdir", "synapse://datasets/a/../b"], "'..'"),
    ],
)
def test_errors_are_one_line(call: Callable[..., Any], arguments: list[str], words: str) -> None:
    assert call("mkdir", "synapse://datasets/d") == (0, b"", "")
    code, out, err = call(*arguments)
    assert (code, out) == (1, b"")
    assert err.startswith("synapsefs: ")
    assert err.count("\n") == 1
    assert words in err


def test_no_server_and_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--endpoint-url", "http://127.0.0.1:9", "--token", TOKEN]
    with pytest.raises(SystemExit) as end:
        main(["ls", "synapse://collections", *options])
    said = "".join(capfd.readouterr())
    assert end.value.code == 1
    assert "127.0.0.1:9" in said
    assert TOKEN not in said


def test_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["get"])
    assert end.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


def test_version_and_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "synapsefs", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.count(".") == 2


def test_progress_in_a_terminal(endpoint: str, folder: Path) -> None:
    fs = SynapseFileSystem(endpoint_url=endpoint)
    fs.mkdir("datasets/d")
    upper, lower = pty.openpty()
    termios.tcsetwinsize(lower, (24, 80))
    arguments = ["put", f"{folder}/deep/b.bin", "synapse://datasets/d/", "--endpoint-url", endpoint]
    with subprocess.Popen(
        [sys.executable, "-m", "synapsefs", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=lower,
        env=environment(),
    ) as process:
        os.close(lower)
        shown = b""
        with contextlib.suppress(OSError):
            while data := os.read(upper, 4096):
                shown += data
    os.close(upper)
    assert process.returncode == 0
    assert fs.cat_file("datasets/d/b.bin") == bytes(range(256))
    assert b"100%" in shown
    assert b"256/256" in shown


# --- serve ---------------------------------------------------------------------------------


HINT = "your commands on this machine find its token by themselves; for others: {}"


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "synapsefs", "serve", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_a_signal(tmp_path: Path, servers: Path, number: signal.Signals) -> None:
    with serving("--root", str(tmp_path / "root")) as (url, process):
        with urllib.request.urlopen(f"{url}/health/", timeout=10) as answer:
            assert answer.status == 200
            assert answer.headers["X-Synapsefs-Server"]
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "")
        assert err.splitlines() == [HINT.format(tmp_path / "root" / "secret")]
        assert not list(servers.iterdir())


def secret_of(root: Path) -> dict[str, str]:
    """Read what the server made for a root."""
    return dict(json.loads((root / "secret").read_text()))


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the servers of this test are announced."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "synapsefs" / "servers"


def command(endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing but an endpoint."""
    return subprocess.run(
        [sys.executable, "-m", "synapsefs", *arguments],
        capture_output=True,
        text=True,
        env={**environment(), "FSSPEC_SYNAPSE_ENDPOINT_URL": endpoint},
        check=False,
    )


def test_the_commands_of_readme_work_as_they_stand(tmp_path: Path, servers: Path) -> None:
    """Commands of the same user find the token of a server on this machine by themselves."""
    root = tmp_path / "root"
    with serving("--root", str(root)) as (url, _):
        made = command(url, "mkdir", "synapse://datasets/weather")
        assert (made.returncode, made.stderr) == (0, "")
        for endpoint in (url, url.replace("127.0.0.1", "localhost"), root.as_uri()):
            fs = SynapseFileSystem(endpoint)
            assert fs.ls("datasets", detail=False) == ["datasets/weather"]
            assert fs.ls("collections") == []
        files = [root, *root.rglob("*"), servers, *servers.iterdir()]
        assert len(files) > 5
        assert not [path for path in files if path.stat().st_mode & 0o077]


def test_serve_lets_nobody_in_without_a_token(tmp_path: Path) -> None:
    with serving("--root", str(tmp_path / "root")) as (url, _):
        for path, body in (("/auth/login", {"api_key": "any"}), ("/data_units/", {})):
            with pytest.raises(urllib.error.HTTPError) as error:
                asked(url + path, body)
            with error.value:
                assert error.value.code == 401


def test_nobody_is_sent_the_token_of_a_killed_server(tmp_path: Path, servers: Path) -> None:
    """Whoever takes the port of a server that was killed does not learn what opened it."""
    heard = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            heard.append(str(self.headers).encode() + self.rfile.read(length))
            self.send_error(404)

        do_POST = do_GET  # noqa: N815 - as its base class has it

        def log_message(self, *_: Any) -> None:
            pass

    with serving("--root", str(tmp_path / "root")) as (url, process):
        process.kill()
        process.wait(20)
    assert list(servers.iterdir())
    port = int(url.rpartition(":")[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Listener) as taken:
        thread = threading.Thread(target=taken.serve_forever)
        thread.start()
        command(url, "ls", "synapse://datasets")
        taken.shutdown()
        thread.join()
    assert heard
    for secret in secret_of(tmp_path / "root").values():
        assert secret.encode() not in b"".join(heard)


def test_serve_takes_secrets_from_elsewhere_than_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("syn_first\n\nsyn_second\n")
    given = ["--root", str(tmp_path / "root"), "--token-file", str(tmp_path / "tokens")]
    command = [sys.executable, "-m", "synapsefs", "serve", *given]
    env = {**environment(), "SYNAPSEFS_API_KEY": "key_one key_two"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            for token, key in (("syn_first", "key_two"), ("syn_second", "key_one")):
                fs = SynapseFileSystem(url, token=token, datasets_token=key)
                assert fs.ls("collections") == fs.ls("datasets") == []
            with pytest.raises(PermissionError):
                SynapseFileSystem(url).ls("collections")
        finally:
            process.kill()


def test_serve_with_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a.txt").write_text("registered")
    given = ["--root", str(tmp_path / "root"), "--bucket", f"lab={tmp_path}/bucket"]
    with serving(*given) as (url, _):
        key = secret_of(tmp_path / "root")["api_key"]
        bearer = json.loads(asked(f"{url}/auth/login", {"api_key": key}))["access_token"]
        place = {"storage_type": "gcs", "content_type": "file", "location": "a.txt"}
        entry = {"name": "a", "existing_location": {**place, "metadata": {"bucket_name": "lab"}}}
        path = f"{url}/v0.1/data-storage/data-entries"
        made = json.loads(asked(path, entry, Authorization=f"Bearer {bearer}"))
        signed = made["storage_locations"][0]["storage_config"]["signed_url"]
        with urllib.request.urlopen(signed, timeout=10) as answer:
            assert answer.read() == b"registered"


def test_serve_strict(tmp_path: Path) -> None:
    with serving("--root", str(tmp_path), "--strict") as (url, _):
        body = {"files": [{"filename": "a", "size": 1}], "expiration": 3600}
        given = {"Synapse-Access-Token": secret_of(tmp_path)["token"]}
        answer = json.loads(asked(f"{url}/data_files/presigned_upload/upload/", body, **given))
        with urllib.request.urlopen(f"{url}/health/", timeout=10) as health:
            assert not health.headers["X-Synapsefs-Server"]
    expires = parse_qs(urlsplit(answer["files"][0]["presigned_url"]).query)["expires"]
    assert 0 < int(expires[0]) - time.time() <= STRICT_SECONDS


def asked(url: str, body: object, **headers: str) -> bytes:
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bucket", "no-url"], "a bucket is given as NAME=URL"),
        (["--bucket", "a/b=/tmp"], "a bucket is given as NAME=URL"),
        (["--table", "rows"], "tables need --postgres"),
    ],
)
def test_serve_refuses_sources(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", "--root", str(tmp_path / "root"), *arguments])
    assert end.value.code == 1
    assert words in capfd.readouterr().err
    assert not (tmp_path / "root").exists()


def test_serve_with_credentials(tmp_path: Path) -> None:
    given = ["--token", "syn_other", "--token", TOKEN, "--api-key", API_KEY, "--tenant", "acme"]
    with serving("--root", str(tmp_path), *given, "--strict") as (url, _):
        fs = SynapseFileSystem(url, token=TOKEN, datasets_token=API_KEY)
        for path in ("collections/c/data_1/a.txt", "datasets/d/a.txt"):
            fs.mkdir("/".join(path.split("/")[:2]))
            fs.pipe_file(path, b"served")
            assert fs.cat_file(path) == b"served"
        with pytest.raises(PermissionError):
            SynapseFileSystem(url, token="wrong").ls("collections")
        with pytest.raises(PermissionError):
            SynapseFileSystem(url, datasets_token="wrong").ls("datasets")


def test_serve_keeps_its_limits(tmp_path: Path) -> None:
    limits = ["--max-file-size", "1000000", "--max-total-size", "2000000", "--max-body-size", "999"]
    more = ["--max-connections", "50", "--request-timeout", "5"]
    with serving("--root", str(tmp_path), *limits, *more) as (url, _):
        fs = SynapseFileSystem(url, retries=0)
        fs.mkdir("collections/c")
        with pytest.raises(TooLargeError) as large:
            fs.pipe_file("collections/c/data_1/large.bin", bytes(1_000_001))
        assert (large.value.errno, large.value.status) == (errno.EFBIG, 413)
        assert large.value.filename == "collections/c/data_1/large.bin"
        fs.pipe_file("collections/c/data_1/a.bin", bytes(999_000))
        with pytest.raises(StorageFullError) as full:
            fs.pipe_file("collections/c/data_1/b.bin", b"x" * 999_000)
        assert (full.value.errno, full.value.status) == (errno.ENOSPC, 507)
        assert fs.find("collections/c") == ["collections/c/data_1/a.bin"]
        fs.mkdir("datasets/d")
        with pytest.raises(TooLargeError):
            fs.pipe_file("datasets/d/a.txt", b"x" * 1000)


@pytest.mark.parametrize(
    "given", [[], ["--token", TOKEN], ["--api-key", API_KEY]], ids=["none", "token", "key"]
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_serve_lets_no_stranger_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], host: str, given: list[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", "--root", str(tmp_path / "root"), "--host", host, *given])
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (1, "")
    assert "needs --token and --api-key" in err
    assert not (tmp_path / "root").exists()


def test_serve_reports_a_taken_port(tmp_path: Path) -> None:
    with serving("--root", str(tmp_path)) as (url, _):
        port = url.rpartition(":")[2]
        with serving("--root", str(tmp_path), "--port", port) as (line, process):
            _, err = process.communicate(timeout=20)
            assert line == ""
            assert process.returncode == 1
            assert "in use" in err
            assert err.count("\n") == 1


def test_commands_read_the_environment(tmp_path: Path) -> None:
    with serving("--root", str(tmp_path), "--token", TOKEN) as (url, _):
        done = subprocess.run(
            [sys.executable, "-m", "synapsefs", "ls", "synapse://"],
            capture_output=True,
            text=True,
            env={**environment(), "SYNAPSE_HOST": url, "SYNAPSE_ACCESS_TOKEN": TOKEN},
            check=False,
        )
    assert (done.stdout.split(), done.stderr) == (
        ["synapse://collections", "synapse://datasets"],
        "",
    )


def test_units(run: Run, call: Callable[..., Any], endpoint: str) -> None:
    fs = SynapseFileSystem(endpoint_url=endpoint, skip_instance_cache=True)
    fs.mkdir("collections/pets")
    for name, meta in (("a", {"label": "cat", "n": 1}), ("b", {"label": "dog", "n": 2})):
        fs.put_unit("pets", {"data_1": b"x"}, key=f"g/{name}", meta=meta)
    url = "synapse://collections/pets"
    rows = [json.loads(line) for line in run("units", url)]
    assert [(row["key"], row["meta.label"], row["groups"]) for row in rows] == [
        ("g/a", "cat", ["g"]),
        ("g/b", "dog", ["g"]),
    ]
    assert rows[0]["data_1"] == f"{url}/data_1/g/a"
    chosen = ["--column", "key", "--column", "groups", "--csv"]
    assert run("units", url, *chosen) == ["key,groups", 'g/a,"[""g""]"', 'g/b,"[""g""]"']
    assert run("units", url, *chosen, "--where", "meta.n>1") == ["key,groups", 'g/b,"[""g""]"']
    assert run("units", url, "--column", "id", "--where", "meta.label=cow") == []
    code, _, err = call("units", url, "--where", "nonsense")
    assert (code, "a condition is NAME=VALUE" in err) == (1, True)
    code, _, err = call("units", url, "--column", "nothing")
    assert (code, "there is no column nothing" in err) == (1, True)


def test_sync_and_dry_run(run: Run, folder: Path, fs: SynapseFileSystem, base: str) -> None:
    url = f"synapse://{base}/tree"
    planned = run("put", "-r", "--dry-run", f"{folder}/", url)
    assert planned == [
        f"   create  {folder}/a.txt -> {base}/tree/a.txt",
        f"   create  {folder}/deep/b.bin -> {base}/tree/deep/b.bin",
    ]
    assert fs.find(base) == []
    assert run("put", "-r", "--sync", f"{folder}/", url) == []
    (folder / "a.txt").write_bytes(b"another")
    again = run("put", "-r", "--sync", "--dry-run", f"{folder}/", url)
    assert [line.split()[0] for line in again] == ["replace", "unchanged"]
    back = folder.parent / "back"
    assert run("get", "-r", "--no-resume", url, str(back)) == []
    plan = run("get", "-r", "--sync", "--dry-run", f"{url}/", f"{back}/")
    assert [line.split()[0] for line in plan] == ["unchanged", "unchanged"]
