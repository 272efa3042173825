"""Options of the filesystem and of its verbs: unknown, misspelt, as text, without an endpoint."""

from __future__ import annotations

import asyncio
import errno
import http.server
import json
import logging
import os
import pickle
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from synapsefs import AccessDeniedError, NotFoundError, SynapseFileSystem, UnreachableError
from tests.support.observed import TOKEN, ObservedServer, observed_server
from tests.support.running import environment, python

Options = dict[str, Any]
ANYWHERE = "http://127.0.0.1:1"
SETTINGS = ("FSSPEC_SYNAPSE", "SYNAPSE_", "EDISON_")


@pytest.fixture(autouse=True)
def _nothing_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> Options:
    """What fsspec's configuration says of this package."""
    options: Options = {}
    monkeypatch.setitem(fsspec.config.conf, "synapse", options)
    return options


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObservedServer]:
    with observed_server(tmp_path / "root", tenant="default") as running:
        yield running


CLEAN = """
import json, os, pickle, sys
import synapsefs

for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        os.environ.update(job["environ"])
        fs = pickle.loads(bytes.fromhex(job["fs"]))
        try:
            answer = repr(eval(job["work"]))
        except Exception as error:
            answer = repr(error)
        os.write(1, (answer + "\\n").encode())
        os._exit(0)
    os.wait()
"""
"""Does jobs in children that inherit no configuration and have imported the package already."""

Elsewhere = Callable[..., str]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Evaluate an expression about a pickled ``fs`` in a process without any configuration."""
    kept = {name: value for name, value in environment().items() if not name.startswith(SETTINGS)}
    with subprocess.Popen(
        [sys.executable, "-c", CLEAN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=kept,
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def evaluate(fs: SynapseFileSystem, work: str, **environ: str) -> str:
            job = {"fs": pickle.dumps(fs).hex(), "work": work, "environ": environ}
            print(json.dumps(job), file=stdin, flush=True)
            return stdout.readline().strip()

        yield evaluate
        process.kill()


# --- unknown options -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": ANYWHERE}, "'endpoint'; did you mean 'endpoint_url'?"),
        ({"endpoint_url": ANYWHERE, "tokn": "x"}, "'tokn'; did you mean 'token'?"),
        ({"timout": 3}, "'timout'; did you mean 'connect_timeout' or 'read_timeout'?"),
        ({"use_listing_cache": False}, "did you mean 'use_listings_cache'?"),
        ({"anon": True}, "no option 'anon'; its options are"),
    ],
)
def test_an_unknown_option_is_refused(options: Options, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        fsspec.filesystem("synapse", **options)
    assert words in str(caught.value)
    with pytest.raises(TypeError):
        fsspec.open("synapse://datasets/d/a.txt", "w", **options)


def test_positional_options_are_counted() -> None:
    with pytest.raises(TypeError, match=r"5 positional options .* but 6 were given"):
        SynapseFileSystem(ANYWHERE, "a", "b", ANYWHERE, "c", "d")  # type: ignore[misc]
    with pytest.raises(TypeError, match="'token' by position and by name"):
        SynapseFileSystem(ANYWHERE, "a", token="b")  # type: ignore[misc]


def test_what_fsspec_itself_takes_is_taken() -> None:
    fs = SynapseFileSystem(
        ANYWHERE,
        asynchronous=False,
        loop=None,
        batch_size=7,
        use_listings_cache=True,
        listings_expiry_time=3,
        max_paths=5,
        skip_instance_cache=True,
    )
    assert fs.batch_size == 7


def test_a_subclass_has_options_of_its_own() -> None:
    class Special(SynapseFileSystem):
        def __init__(self, *args: Any, colour: str = "", **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.colour = colour

    assert Special(endpoint_url=ANYWHERE, colour="red").colour == "red"
    with pytest.raises(TypeError, match="did you mean 'colour'"):
        Special(endpoint_url=ANYWHERE, color="red")


# --- options as text -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("read_timeout", "60", 60.0),
        ("connect_timeout", "5", 5.0),
        ("retries", "2", 2),
        ("max_connections", "8", 8),
        ("max_concurrency", "4", 4),
        ("block_size", "6000000", 6_000_000),
        ("trust_env", "False", False),
        ("trust_env", "yes", True),
    ],
)
def test_numbers_and_switches_may_be_text(conf: Options, name: str, text: str, value: Any) -> None:
    conf[name] = text
    assert getattr(SynapseFileSystem(ANYWHERE).options, name) == value
    conf.clear()
    assert getattr(SynapseFileSystem(ANYWHERE, **{name: text}).options, name) == value


def test_text_that_switches_off(conf: Options, server: ObservedServer) -> None:
    conf.update(endpoint_url=server.url, token=TOKEN, asynchronous="False")
    conf.update(use_listings_cache="False", resume="False")
    fs = SynapseFileSystem(datasets='{"named": "11111111-1111-1111-1111-111111111111"}')
    assert not fs.asynchronous
    fs.mkdir("collections/c")
    fs.pipe_file("collections/c/data_1/a.bin", b"x")
    fs.ls("collections/c/data_1")
    before = fs.stats()["requests"]
    fs.ls("collections/c/data_1")
    assert fs.stats()["requests"] > before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": -1}, "retries=-1: must be at least 0"),
        ({"block_size": 0}, "block_size=0: must be at least 1"),
        ({"read_timeout": 0}, "read_timeout=0: must be more than 0"),
        ({"read_timeout": float("nan")}, "read_timeout=nan"),
        ({"connect_timeout": "soon"}, "connect_timeout='soon': "),
        ({"use_listings_cache": "perhaps"}, "use_listings_cache='perhaps': "),
        ({"datasets": "a=b"}, "datasets='a=b': "),
        ({"max_concurrency": 2.5}, "max_concurrency=2.5: "),
    ],
)
def test_a_value_that_makes_no_sense_is_named(conf: Options, options: Options, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        SynapseFileSystem(ANYWHERE, **options)
    assert words in str(caught.value)
    assert isinstance(caught.value, OSError)
    conf.update(options)
    with pytest.raises(ValueError) as caught:
        SynapseFileSystem(ANYWHERE)
    assert "([synapse] in fsspec's configuration)" in str(caught.value)


def test_a_value_of_the_environment_names_its_variable(
    conf: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSPEC_SYNAPSE_READ_TIMEOUT", "soon")
    fsspec.config.set_conf_env(fsspec.config.conf)
    with pytest.raises(ValueError) as caught:
        SynapseFileSystem()
    assert "read_timeout='soon' (FSSPEC_SYNAPSE_READ_TIMEOUT)" in str(caught.value)
    conf.clear()
    monkeypatch.delenv("FSSPEC_SYNAPSE_READ_TIMEOUT")
    monkeypatch.setenv("FSSPEC_SYNAPSE_TOKN", "x")
    fsspec.config.set_conf_env(fsspec.config.conf)
    with pytest.raises(TypeError) as unknown:
        SynapseFileSystem()
    assert "'tokn' (FSSPEC_SYNAPSE_TOKN); did you mean 'token'?" in str(unknown.value)


@pytest.mark.parametrize("text", ["007", "1e400", "true", "12"])
def test_a_token_that_reads_as_a_number_stays_text(
    conf: Options, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    conf["endpoint_url"] = ANYWHERE
    monkeypatch.setenv("FSSPEC_SYNAPSE_TOKEN", text)
    fsspec.config.set_conf_env(fsspec.config.conf)
    assert SynapseFileSystem().settings.collections.secret == text


def test_the_package_is_imported_without_pydantic() -> None:
    script = """
import sys, synapsefs
synapsefs.SynapseFileSystem("http://127.0.0.1:1", retries=2)
print("pydantic" in sys.modules)
"""
    assert python(script).stdout == "False\n"


# --- endpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"token": "t"}, "endpoint_url"),
        ({"tenant": "t"}, "endpoint_url"),
        ({"datasets_token": "t"}, "datasets_endpoint_url"),
        ({"datasets": {"a": "11111111-1111-1111-1111-111111111111"}}, "datasets_endpoint_url"),
        ({"datasets_endpoint_url": ANYWHERE, "token": "t"}, "endpoint_url"),
    ],
)
def test_half_an_endpoint_is_never_the_embedded_store(
    tmp_path: Path, conf: Options, options: Options, missing: str
) -> None:
    with pytest.raises(ValueError, match=f" is given, but {missing} is missing"):
        fsspec.filesystem("synapse", **options)
    conf.update(options)
    with pytest.raises(ValueError, match="in fsspec's configuration"):
        fsspec.filesystem("synapse")
    assert not (tmp_path / "data").exists()


def test_who_configures_nothing_has_the_embedded_store(tmp_path: Path) -> None:
    fs = SynapseFileSystem(retries=2)
    assert fs.settings.embedded == tmp_path / "data" / "synapsefs" / "store"
    assert fs == pickle.loads(pickle.dumps(fs))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("SCRATCH/store", "did you mean 'file:///"),
        ("/var/store", "did you mean 'file:///var/store'?"),
        ("127.0.0.1:8400", "did you mean 'http://127.0.0.1:8400'?"),
        ("localhost:8400", "did you mean 'http://localhost:8400'?"),
        ("[::1]:8400", "did you mean 'http://[::1]:8400'?"),
        ("api.example.com", "did you mean 'https://api.example.com'?"),
        ("ftp://example.com", "an endpoint is https://"),
        ("https://", "an endpoint is https://"),
        ("http://host:port", "an endpoint is https://"),
    ],
)
@pytest.mark.parametrize("option", ["endpoint_url", "datasets_endpoint_url"])
def test_an_endpoint_that_is_no_url(option: str, url: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        SynapseFileSystem(**{option: url})
    assert words in str(caught.value)
    assert option in str(caught.value)
    assert caught.value.filename == url  # type: ignore[attr-defined]


def test_an_endpoint_that_is_no_url_tells_no_password() -> None:
    for url in ("https:/me:secret@host", "me:secret@host.example", "https://me:secret@?secret"):
        with pytest.raises(ValueError) as caught:
            SynapseFileSystem(url)
        assert "secret" not in str(caught.value)


def test_one_embedded_server_serves_both(tmp_path: Path) -> None:
    store = tmp_path.as_uri()
    assert SynapseFileSystem(datasets_endpoint_url=store).settings.embedded == tmp_path
    with pytest.raises(ValueError, match="give it as endpoint_url alone"):
        SynapseFileSystem(ANYWHERE, datasets_endpoint_url=store)


def test_a_stored_token_goes_to_its_own_host_alone(
    server: ObservedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    with pytest.raises(AccessDeniedError, match="no token was given"):
        SynapseFileSystem(server.url).ls("collections")
    assert server.requests
    assert TOKEN not in repr(server.requests)
    assert SynapseFileSystem().settings.collections.url == "https://api.synapse.sh"
    monkeypatch.delenv("SYNAPSE_ACCESS_TOKEN")
    login = Path(os.environ["HOME"]) / ".synapse" / "config.json"
    login.parent.mkdir(parents=True)
    login.write_text(json.dumps({"access_token": TOKEN}))
    with pytest.raises(AccessDeniedError, match="no token was given"):
        SynapseFileSystem(server.url).ls("collections")
    assert TOKEN not in repr(server.requests)
    login.write_text(json.dumps({"access_token": TOKEN, "host": server.url}))
    assert SynapseFileSystem(server.url).ls("collections") == []
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("SYNAPSE_HOST", server.url)
    assert SynapseFileSystem(server.url + "/").ls("collections") == []


def test_a_configured_token_goes_to_its_own_host_alone(
    server: ObservedServer, conf: Options
) -> None:
    conf.update(endpoint_url=ANYWHERE, token=TOKEN, datasets_token="key_configured")
    with pytest.raises(AccessDeniedError):
        SynapseFileSystem(server.url).ls("collections")
    with pytest.raises(AccessDeniedError):
        SynapseFileSystem(server.url).ls("datasets/d")
    assert "key_configured" not in repr(server.requests)
    assert TOKEN not in repr(server.requests)
    conf["endpoint_url"] = server.url
    assert SynapseFileSystem(server.url).ls("collections") == []


# --- other processes -----------------------------------------------------------------------


def test_a_pickled_instance_goes_to_the_same_endpoint(
    server: ObservedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    elsewhere: Elsewhere,
) -> None:
    monkeypatch.setenv("SYNAPSE_HOST", server.url)
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    fs = SynapseFileSystem()
    assert fs.ls("collections") == []
    for written in (pickle.dumps(fs).decode("latin-1"), fs.to_json(), repr(fs.storage_options)):
        assert server.url in written
        assert TOKEN not in written
    data = str(tmp_path / "elsewhere")
    printed = elsewhere(fs, "fs.ls('collections')", XDG_DATA_HOME=data)
    assert printed.startswith("AccessDeniedError")
    assert "no token was given" in printed
    assert server.url in printed
    assert not Path(data).exists()
    assert elsewhere(fs, "fs.ls('collections')", SYNAPSE_ACCESS_TOKEN=TOKEN).startswith(
        "AccessDenied"
    )
    given = {"SYNAPSE_HOST": server.url, "SYNAPSE_ACCESS_TOKEN": TOKEN}
    assert elsewhere(fs, "fs.ls('collections')", **given) == "[]"


def test_a_configured_secret_is_not_pickled(
    server: ObservedServer, conf: Options, elsewhere: Elsewhere
) -> None:
    conf.update(endpoint_url=server.url, token=TOKEN)
    fs = SynapseFileSystem()
    assert fs.ls("collections") == []
    assert TOKEN not in pickle.dumps(fs).decode("latin-1") + fs.to_json()
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert SynapseFileSystem.from_json(fs.to_json()) is fs
    assert "no token was given" in elsewhere(fs, "fs.ls('collections')")


def test_a_secret_that_was_an_argument_is_pickled_and_can_be_left_out(
    server: ObservedServer, elsewhere: Elsewhere
) -> None:
    fs = SynapseFileSystem(server.url, TOKEN, datasets_token="key_argument")
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert elsewhere(fs, "fs.ls('collections')") == "[]"
    safe = fs.to_json(include_password=False)
    assert TOKEN not in safe
    assert "key_argument" not in safe
    assert SynapseFileSystem.from_json(fs.to_json()) is fs


def test_the_same_arguments_give_the_same_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = SynapseFileSystem(ANYWHERE, "t", retries=2)
    assert SynapseFileSystem(retries=2, token="t", endpoint_url=ANYWHERE + "/") is fs
    assert SynapseFileSystem(ANYWHERE, "t", retries="2", tenant=None) is fs
    assert SynapseFileSystem(ANYWHERE, "u", retries=2) is not fs
    monkeypatch.setenv("SYNAPSE_HOST", "http://127.0.0.1:2")
    one = SynapseFileSystem()
    monkeypatch.setenv("SYNAPSE_HOST", "http://127.0.0.1:3")
    assert SynapseFileSystem() is not one


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"endpoint_url": ANYWHERE},
        {"endpoint_url": ANYWHERE, "token": "t"},
        {"endpoint_url": ANYWHERE, "datasets_token": "k"},
        {"endpoint_url": ANYWHERE, "datasets_endpoint_url": "http://127.0.0.1:2"},
        {"datasets_endpoint_url": ANYWHERE},
        {"endpoint_url": "https://api.platform.edisonscientific.com"},
        {"endpoint_url": "file:///tmp/none", "datasets_endpoint_url": ANYWHERE},
    ],
)
@pytest.mark.parametrize(
    "environ", [{}, {"EDISON_PLATFORM_API_KEY": "e"}, {"SYNAPSE_ACCESS_TOKEN": "s"}]
)
def test_an_instance_is_found_again_by_its_own_options(
    options: Options, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    fs = SynapseFileSystem(**options)
    assert SynapseFileSystem(**options) is fs
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert pickle.loads(pickle.dumps(fs)).settings == fs.settings


def test_the_datasets_service_is_the_same_in_a_process_with_a_key_of_its_own(
    elsewhere: Elsewhere,
) -> None:
    fs = SynapseFileSystem(ANYWHERE, "t")
    work = "fs.settings.datasets.url, fs.settings.datasets.secret"
    assert elsewhere(fs, work, EDISON_PLATFORM_API_KEY="k") == f"('{ANYWHERE}', 't')"


# --- errors name the endpoint --------------------------------------------------------------


@pytest.mark.parametrize("path", ["collections/none/data_1/a", "datasets/none/a"])
def test_not_found_names_the_endpoint(server: ObservedServer, path: str, tmp_path: Path) -> None:
    remote = SynapseFileSystem(**server.options)
    embedded = SynapseFileSystem((tmp_path / "store").as_uri())
    for fs, named in ((remote, server.url), (embedded, f"file://{tmp_path}/store")):
        for work in (
            fs.info,
            fs.cat_file,
            fs.open,
            fs.ls,
            fs.rm,
            fs.created,
            fs.sign,
        ):
            with pytest.raises(FileNotFoundError) as caught:
                work(path)
            assert str(caught.value).count(named) == 1
            assert getattr(caught.value, "endpoint", None) == named
        failed = fs.cat([path, path + "b"], on_error="return")
        assert all(named in str(error) for error in failed.values())


def test_patterns_without_a_match_are_named(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    pattern = f"{base}/*.none"
    for work in (fs.cat, fs.rm, lambda p: fs.cp(p, base), lambda p: fs.get(p, str(tmp_path))):
        with pytest.raises(FileNotFoundError) as caught:
            work(pattern)
        assert caught.value.errno == errno.ENOENT
        assert caught.value.filename == pattern
    with pytest.raises(FileNotFoundError, match="no local file or directory matches") as caught:
        fs.put(str(tmp_path / "*.none"), base)
    assert caught.value.filename == str(tmp_path / "*.none")


def test_denied_names_the_endpoint_and_the_missing_credential(server: ObservedServer) -> None:
    nobody = SynapseFileSystem(server.url)
    for path, option in (("collections/c", "token"), ("datasets/d", "datasets_token")):
        with pytest.raises(AccessDeniedError) as caught:
            nobody.ls(path)
        assert f"no {option} was given" in str(caught.value)
        assert server.url in str(caught.value)
    wrong = SynapseFileSystem(server.url, "syn_wrong", datasets_token="key_wrong")
    for path in ("collections/c", "datasets/d"):
        with pytest.raises(AccessDeniedError) as caught:
            wrong.ls(path)
        assert "was given" not in str(caught.value)
        assert server.url in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_an_endpoint_in_an_error_holds_no_user(server: ObservedServer) -> None:
    url = server.url.replace("http://", "http://me:secret@")
    with pytest.raises(AccessDeniedError) as caught:
        SynapseFileSystem(url).ls("collections")
    assert "secret" not in str(caught.value) + repr(caught.value)
    assert server.url in str(caught.value)


def test_the_command_line_says_what_is_wrong_with_the_configuration() -> None:
    for variable, words in (("TOKN", "did you mean 'token'"), ("RETRIES", "must be at least 0")):
        done = subprocess.run(
            [sys.executable, "-m", "synapsefs", "ls"],
            capture_output=True,
            text=True,
            env={**environment(), f"FSSPEC_SYNAPSE_{variable}": "-1"},
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert words in done.stderr


# --- options of verbs ----------------------------------------------------------------------

SLIPS: dict[str, tuple[Callable[..., Any], str]] = {
    "put": (
        lambda fs, p: fs.put(__file__, p, recusive=True),
        "'recusive'; did you mean 'recursive'",
    ),
    "pipe_file": (lambda fs, p: fs.pipe_file(p, b"", metdata={}), "did you mean 'metadata'"),
    "pipe": (lambda fs, p: fs.pipe({p: b""}, tag=["x"]), "did you mean 'tags'"),
    "open": (lambda fs, p: fs.open(p, "w", descripton="x"), "did you mean 'description'"),
    "find": (lambda fs, p: fs.find(p, max_depth=1), "did you mean 'maxdepth'"),
    "glob": (lambda fs, p: fs.glob(f"{p}/*", details=True), "did you mean 'detail'"),
    "get": (lambda fs, p: fs.get(p, "x", onerror="return"), "did you mean 'on_error'"),
    "ls": (lambda fs, p: fs.ls(p, refesh=True), "did you mean 'refresh'"),
    "cat": (lambda fs, p: fs.cat([p], onerror="omit"), "did you mean 'on_error'"),
    "rm": (lambda fs, p: fs.rm(p, recursve=True), "did you mean 'recursive'"),
    "mkdir": (lambda fs, p: fs.mkdir(p, descriptions="x"), "did you mean 'description'"),
    "sizes": (lambda fs, p: fs.sizes(p, batchsize=2), "did you mean 'batch_size'"),
    "asynchronous": (lambda fs, p: asyncio.run(fs._ls(p, refesh=True)), "did you mean 'refresh'"),
    "open_async": (
        lambda fs, p: asyncio.run(fs.open_async(p, "wb", tag=[])),
        "did you mean 'tags'",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_an_option_that_is_nearly_one_of_the_verbs_is_refused(slip: str) -> None:
    work, words = SLIPS[slip]
    with pytest.raises(TypeError) as caught:
        work(SynapseFileSystem(ANYWHERE), "datasets/d/x")
    assert words in str(caught.value)


def test_an_option_that_means_nothing_is_logged(
    fs: SynapseFileSystem, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "synapsefs"):
        for _ in range(2):
            fs.pipe_file(f"{base}/a.bin", b"x", colour="red")
            fs.find(base, requester_pays=True)
            fs.open(f"{base}/a.bin", acl="private").close()
    assert [record.getMessage() for record in caplog.records] == [
        "pipe_file() has no option 'colour': it is ignored",
        "find() has no option 'requester_pays': it is ignored",
        "open() has no option 'acl': it is ignored",
    ]


def test_attributes_have_any_name(fs: SynapseFileSystem) -> None:
    fs.mkdir("datasets/attributes")
    fs.pipe_file("datasets/attributes/a.bin", b"x")
    fs.setxattrs("datasets/attributes/a.bin", metdata=1, pth=2)
    assert fs.getxattr("datasets/attributes/a.bin", "metdata") == 1
    assert isinstance(NotFoundError("x"), OSError)


# --- certificates --------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, and its key, that no authority has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    made = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(made)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    return made


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[str]:
    """A server that speaks TLS and has no collections."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"count": 0, "next": null, "previous": null, "results": []}')

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_certificates_of_ones_own(
    tls_server: str, certificate: Path, conf: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnreachableError, match="certificate"):
        SynapseFileSystem(tls_server, "t", retries=0).ls("collections")
    context = ssl.create_default_context(cafile=str(certificate))
    for trusted in (str(certificate), certificate, context):
        fs = SynapseFileSystem(tls_server, "t", ssl=trusted)
        assert fs.ls("collections") == []
    by_path = SynapseFileSystem(tls_server, "t", ssl=certificate)
    assert SynapseFileSystem.from_json(by_path.to_json()) is by_path
    conf["ssl"] = str(certificate)
    fs = SynapseFileSystem(tls_server, "t")
    assert fs.ls("collections") == []
    assert pickle.loads(pickle.dumps(fs)) is fs
    conf.clear()
    for nonsense in (str(certificate.parent / "none"), certificate.with_name("key.pem"), False):
        with pytest.raises(ValueError, match="ssl="):
            SynapseFileSystem(tls_server, "t", ssl=nonsense)
