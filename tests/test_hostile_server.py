"""Servers that mean harm: right bytes or a clear error, no credential given away, never a hang."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from synapsefs import ChangedError, SynapseFileSystem
from synapsefs.errors import IntegrityError, SynapseError
from tests.support.liar import Answer, Liar, liar, listening

LARGE = os.urandom(1_500_000)
SECRET_HEADERS = ("authorization", "synapse-access-token", "synapse-tenant", "cookie")
LONGEST = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    with liar(tmp_path_factory.mktemp("lies")) as one:
        yield one


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Let nothing hang."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST


@pytest.fixture
def fs(server: Liar) -> SynapseFileSystem:
    return SynapseFileSystem(**server.options)


@pytest.fixture
def honest(server: Liar) -> SynapseFileSystem:
    return SynapseFileSystem(**server.honest.options, skip_instance_cache=True)


@pytest.fixture(params=["collections", "datasets"])
def base(request: pytest.FixtureRequest, honest: SynapseFileSystem) -> str:
    container = f"{request.param}/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container


def refused(work: Callable[[], Any], path: str | None = None) -> OSError:
    """Do what must fail clearly; give the error."""
    with pytest.raises(OSError) as caught:
        work()
    error = caught.value
    assert isinstance(error, SynapseError)
    assert error.errno
    assert len(str(error)) > 10
    assert "signature" not in str(error)
    if path is not None:
        assert error.filename == path
    return error


def objects(change: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """Lie about stored bytes only."""

    def lie(answer: Answer) -> None:
        if answer.is_object and answer.status < 400:
            change(answer)

    return lie


# --- bytes ---------------------------------------------------------------------------------


def short(answer: Answer) -> None:
    answer.length, answer.body = len(answer.body), answer.body[: len(answer.body) // 2]


def cut(answer: Answer) -> None:
    answer.body = answer.body[:-10]


def longer(answer: Answer) -> None:
    answer.body += b"surplus"


def flipped(answer: Answer) -> None:
    middle = len(answer.body) // 2
    answer.body = (
        answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :]
    )


def page(answer: Answer) -> None:
    answer.body, answer.status = b"<html>please log in</html>", 200
    answer.headers = CIMultiDict({"Content-Type": "text/html"})


def nothing(answer: Answer) -> None:
    answer.body = b""


def packed(answer: Answer) -> None:
    answer.body, answer.headers["Content-Encoding"] = gzip.compress(answer.body), "gzip"


def endless(answer: Answer) -> None:
    answer.body, answer.endless, answer.length = b"x" * 65536, True, 0


def endless_range(answer: Answer) -> None:
    answer.status, answer.endless, answer.length = 206, True, 0
    answer.headers["Content-Range"] = "bytes 0-99999999999999/100000000000000"


def no_content(answer: Answer) -> None:
    answer.status, answer.body = 204, b""


def negative(answer: Answer) -> None:
    answer.headers["Content-Range"] = "bytes -5-2/-3"


WHOLE = [short, cut, longer, flipped, page, nothing, packed, endless, endless_range, no_content]


@pytest.mark.parametrize("change", WHOLE)
def test_a_whole_file_is_right_or_not_read(
    fs: SynapseFileSystem,
    honest: SynapseFileSystem,
    server: Liar,
    base: str,
    change: Callable[[Answer], None],
    tmp_path: Path,
) -> None:
    path, target = f"{base}/large.bin", tmp_path / "target" / "large.bin"
    honest.pipe_file(path, LARGE)
    target.parent.mkdir()
    target.write_bytes(b"before")
    with server.lying(objects(change)):
        refused(lambda: fs.cat_file(path), path)
        refused(lambda: fs.get_file(path, str(target)), path)
        refused(lambda: fs.get(base, str(tmp_path / "tree"), recursive=True), path)
        assert server.told >= 3
    assert target.read_bytes() == b"before"
    assert os.listdir(target.parent) == ["large.bin"]
    assert not [p for p in (tmp_path / "tree").rglob("*") if p.is_file()]
    assert fs.cat_file(path) == LARGE


def other_range(answer: Answer) -> None:
    answer.headers["Content-Range"] = answer.headers["Content-Range"].replace("bytes ", "bytes 1")


def other_size(answer: Answer) -> None:
    answer.headers["Content-Range"] = answer.headers["Content-Range"].partition("/")[0] + "/7"


def no_range(answer: Answer) -> None:
    answer.headers.pop("Content-Range", None)


RANGES = [short, cut, longer, page, nothing, packed, endless_range, negative]
RANGES += [other_range, other_size, no_range]


@pytest.mark.parametrize("change", RANGES)
def test_a_range_is_right_or_not_read(
    fs: SynapseFileSystem,
    honest: SynapseFileSystem,
    server: Liar,
    base: str,
    change: Callable[[Answer], None],
) -> None:
    path = f"{base}/large.bin"
    honest.pipe_file(path, LARGE)
    with server.lying(objects(change)):
        refused(lambda: fs.cat_file(path, 1000, 200_000), path)
        refused(lambda: fs.open(path).read(1000), path)
        assert server.told >= 2
    assert fs.cat_file(path, 1000, 200_000) == LARGE[1000:200_000]


def test_a_server_that_ignores_ranges_is_read_right(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str
) -> None:
    path = f"{base}/large.bin"
    honest.pipe_file(path, LARGE)

    def whole(answer: Answer) -> None:
        answer.headers.pop("Content-Range", None)
        answer.status, answer.body = 200, LARGE

    with server.lying(objects(whole)):
        assert fs.cat_file(path, 1_000_000, 1_000_100) == LARGE[1_000_000:1_000_100]


def test_another_version_in_mid_read(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str
) -> None:
    path = f"{base}/large.bin"
    honest.pipe_file(path, LARGE)

    def replaced(answer: Answer) -> None:
        answer.headers["ETag"] = '"another"'

    with fs.open(path, cache_type="none") as file:
        assert file.read(100) == LARGE[:100]
        file.seek(700_000)
        with server.lying(objects(replaced)):
            error = refused(lambda: file.read(100), path)
            assert isinstance(error, ChangedError)
            assert server.told


# --- redirects -----------------------------------------------------------------------------


@contextlib.contextmanager
def stranger(server: Liar) -> Iterator[Liar]:
    """Another host: same machine, other port."""
    with listening(Liar(server.honest)) as other:
        yield other


def assert_no_secret_came(other: Liar) -> None:
    for heard in other.heard:
        assert not set(SECRET_HEADERS) & {name.lower() for name in heard.headers}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_service_that_redirects_gets_no_credential_elsewhere(
    fs: SynapseFileSystem, server: Liar, base: str, status: int
) -> None:
    with stranger(server) as other:

        def away(answer: Answer) -> None:
            answer.status, answer.body = status, b""
            answer.headers["Location"] = f"{other.url}{answer.path}?{answer.query}"

        with server.lying(away):
            error = refused(lambda: fs.ls(base))
            assert "redirect" in str(error)
            refused(lambda: fs.pipe_file(f"{base}/a.bin", b"x"))
            assert server.told
        assert other.heard == []


def test_storage_that_redirects_gets_no_credential(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str
) -> None:
    path = f"{base}/large.bin"
    honest.pipe_file(path, LARGE)
    with stranger(server) as other:

        def away(answer: Answer) -> None:
            answer.status, answer.body = 307, b""
            answer.headers["Location"] = f"{other.url}{answer.path}?{answer.query}"

        with server.lying(objects(away)):
            with contextlib.suppress(OSError):
                fs.cat_file(path)
            assert server.told
        assert other.heard
        assert_no_secret_came(other)
    assert all(
        not set(SECRET_HEADERS) & {name.lower() for name in heard.headers}
        for heard in server.heard
        if heard.path.startswith("/_blob/")
    )


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "http://", "//", "http://[::", "loop"]
)
def test_redirects_to_nowhere(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str, target: str
) -> None:
    path = f"{base}/large.bin"
    honest.pipe_file(path, LARGE)

    def away(answer: Answer) -> None:
        answer.status, answer.body = 302, b"root:x:0:0"
        here = f"{server.url}{answer.path}?{answer.query}"
        answer.headers["Location"] = here if target == "loop" else target

    with server.lying(objects(away)):
        refused(lambda: fs.cat_file(path), path)


def test_urls_that_a_service_hands_out_get_no_credential(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str
) -> None:
    """Signed URLs, URLs of chunks and of next pages may point anywhere."""
    path = f"{base}/large.bin"
    honest.pipe({f"{base}/{n}.bin": b"x" * 100_000 for n in range(3)})
    with stranger(server) as other:

        def elsewhere(answer: Answer) -> None:
            answer.body = answer.body.replace(server.url.encode(), other.url.encode())

        with server.lying(elsewhere):
            with contextlib.suppress(OSError):
                fs.cat(fs.find(base))
            with contextlib.suppress(OSError), fs.open(path, "wb", block_size=5 * 2**20) as file:
                file.write(LARGE * 4)
            assert server.told
        assert_no_secret_came(other)
        assert all(heard.path.startswith("/_blob/") for heard in other.heard)


# --- answers -------------------------------------------------------------------------------


def swap(body: bytes, content_type: str = "application/json") -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        answer.body, answer.headers["Content-Type"] = body, content_type

    return change


ANSWERS: dict[str, Callable[[Answer], None]] = {
    "empty": swap(b""),
    "broken": swap(b'{"results": ['),
    "null": swap(b"null"),
    "a list": swap(b"[1, 2]"),
    "a page": swap(b"<html>please log in</html>", "text/html"),
    "no UTF-8": swap(b'{"name": "\xff"}'),
    "deep": swap(b"[" * 200_000 + b"]" * 200_000),
    "a number": swap(b"9" * 100_000),
    "huge": endless,
    "short": short,
    "packed wrong": lambda answer: answer.headers.update({"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_that_make_no_sense(
    fs: SynapseFileSystem,
    honest: SynapseFileSystem,
    server: Liar,
    base: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synapsefs.http.MAX_REPLY", 2**23)
    honest.pipe_file(f"{base}/a.bin", b"x")

    def lie(answer: Answer) -> None:
        if answer.path not in {"/auth/login", "/health/"}:
            ANSWERS[kind](answer)

    with server.lying(lie):
        refused(lambda: fs.ls(base))
        refused(lambda: fs.cat_file(f"{base}/a.bin"))
        refused(lambda: fs.pipe_file(f"{base}/b.bin", b"y"))
        assert server.told
    assert honest.cat_file(f"{base}/a.bin") == b"x"


def test_an_answer_that_unpacks_without_end(
    fs: SynapseFileSystem,
    honest: SynapseFileSystem,
    server: Liar,
    base: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synapsefs.http.MAX_REPLY", 2**23)
    honest.pipe_file(f"{base}/a.bin", b"x")
    bomb = gzip.compress(b" " * 2**27)

    def lie(answer: Answer) -> None:
        if not answer.is_object:
            answer.body, answer.headers["Content-Encoding"] = bomb, "gzip"

    with server.lying(lie):
        error = refused(lambda: fs.ls(base, refresh=True))
    assert isinstance(error, IntegrityError)


def test_errors_that_make_no_sense(server: Liar, base: str) -> None:
    fs = SynapseFileSystem(**{**server.options, "retries": 0})
    bodies = [b"", b"[" * 100_000, b"\xff\xfe", b'{"detail": {"detail": []}}', b"null"]
    for status, body in itertools.product([400, 401, 404, 409, 413, 418, 500, 507, 599], bodies):

        def lie(answer: Answer, status: int = status, body: bytes = body) -> None:
            answer.status, answer.body = status, body

        with server.lying(lie):
            refused(lambda: fs.ls(base))


def test_waits_that_make_no_sense(server: Liar, base: str) -> None:
    fs = SynapseFileSystem(**{**server.options, "retries": 0})
    for value in ("\u00b2", "-1", "nan", "1e9", "Fri, 99 Foo 2026", "9" * 5000):

        def lie(answer: Answer, value: str = value) -> None:
            answer.status, answer.headers["Retry-After"] = 429, value

        with server.lying(lie):
            refused(lambda: fs.ls(base))


@pytest.mark.parametrize("token", ["", "a\r\nX-Evil: 1", "\u00e9", "a\0b"])
def test_logins_that_make_no_sense(server: Liar, token: str) -> None:
    fs = SynapseFileSystem(**{**server.options, "datasets_token": f"key_{uuid.uuid4().hex}"})

    def lie(answer: Answer) -> None:
        if answer.path == "/auth/login":
            answer.status, answer.headers["Content-Type"] = 200, "application/json"
            answer.set_json({"access_token": token, "expires_in": 3600})

    with server.lying(lie):
        refused(lambda: fs.ls("datasets/any"))


def test_sizes_below_nothing(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, base: str
) -> None:
    path = f"{base}/a.bin"
    honest.pipe_file(path, LARGE)

    def lie(answer: Answer) -> None:
        text = answer.body.decode("utf-8", "replace")
        if not answer.is_object:
            answer.body = text.replace(f'"size":{len(LARGE)}', '"size":-5').encode()

    with server.lying(lie):
        with contextlib.suppress(IntegrityError):
            assert fs.info(path)["size"] == len(LARGE)
            assert fs.cat_file(path, 5, 10) == LARGE[5:10]
        assert server.told


@pytest.mark.parametrize("block_size", [500_000, 5_000_000])
def test_a_checksum_that_lies(server: Liar, honest: SynapseFileSystem, block_size: int) -> None:
    """What was stored is not what was sent: the writer hears of it, and nothing appears."""
    base = f"collections/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(base)
    fs, path = SynapseFileSystem(**{**server.options, "block_size": block_size}), f"{base}/data_1/a"

    def lie(answer: Answer) -> None:
        found = answer.json
        if isinstance(found, dict) and len(found.get("checksum") or "") in {32, 40, 64}:
            answer.set_json({**found, "checksum": "0" * len(found["checksum"])})

    with server.lying(lie):
        refused(lambda: fs.pipe_file(path, LARGE), path)
        assert server.told
    assert honest.find(base) == []


@pytest.mark.parametrize("offset", [-1, 0, 10**12, None])
def test_offsets_that_lie(server: Liar, honest: SynapseFileSystem, offset: int | None) -> None:
    base = f"collections/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(base)
    fs = SynapseFileSystem(**{**server.options, "block_size": 500_000})
    path = f"{base}/data_1/a.bin"

    def lie(answer: Answer) -> None:
        found = answer.json
        if answer.path.startswith("/chunked_upload/") and isinstance(found, dict):
            answer.set_json({**found, "offset": offset})

    with server.lying(lie):
        with contextlib.suppress(OSError):
            fs.pipe_file(path, LARGE)
        assert server.told
    assert honest.find(base) in ([], [path])
    if honest.exists(path):
        assert honest.cat_file(path) == LARGE


# --- lists ---------------------------------------------------------------------------------


def units(change: Callable[[dict[str, Any]], None]) -> Callable[[Answer], None]:
    """Lie about the pages of a collection's units."""

    def lie(answer: Answer) -> None:
        if answer.path == "/data_units/" and answer.method == "GET":
            found = answer.json
            change(found)
            answer.set_json(found)

    return lie


@pytest.fixture
def collection(honest: SynapseFileSystem) -> str:
    base = f"collections/t-{uuid.uuid4().hex[:12]}/data_1"
    honest.mkdir(base.rpartition("/")[0])
    honest.pipe({f"{base}/{name}.bin": name.encode() for name in "abc"})
    return base


@pytest.mark.parametrize("query", ["page=1", "page=2", "cursor=x", "page=99999999&x="])
def test_pages_that_go_in_circles(
    fs: SynapseFileSystem, server: Liar, collection: str, query: str
) -> None:
    turn = iter(range(10**9))

    def change(found: dict[str, Any]) -> None:
        found["next"] = f"http://elsewhere.example/data_units/?{query}&turn={next(turn)}"
        found["count"] = 10**12

    def anything(answer: Answer) -> None:
        if answer.path == "/data_units/":
            if answer.status == 404:
                answer.status, answer.headers["Content-Type"] = 200, "application/json"
                answer.set_json({"results": [{"id": 1, "data_collection": 1}]})
            units(change)(answer)

    with server.lying(anything):
        error = refused(lambda: fs.find(collection))
    assert isinstance(error, IntegrityError)
    assert "repeats itself" in str(error)


@pytest.mark.parametrize("count", [-5, 0, 1, 10**15])
def test_totals_that_lie(fs: SynapseFileSystem, server: Liar, collection: str, count: int) -> None:
    def change(found: dict[str, Any]) -> None:
        if "next" in found:
            found["count"] = count
            found["next"] = "http://x/data_units/?page=2&page_size=1000"

    with server.lying(units(change)):
        outcome: list[str] = []
        with contextlib.suppress(OSError):
            outcome = fs.find(collection)
    assert outcome in ([], fs.find(collection))


def test_cursors_that_go_in_circles(fs: SynapseFileSystem, server: Liar, collection: str) -> None:
    def lie(answer: Answer) -> None:
        found = answer.json
        if answer.path == "/data_units/":
            for unit in found["results"]:
                for file in unit["files"].values() if isinstance(unit["files"], dict) else ():
                    file.pop("size", None)
            answer.set_json(found)
        if answer.path == "/v2/data-files/":
            found["meta"]["pagination"]["next_cursor"] = uuid.uuid4().hex
            answer.status = 200
            answer.set_json(found)

    with server.lying(lie):
        with contextlib.suppress(OSError):
            assert fs.du(collection) == 3
        assert server.told


def test_the_same_unit_twice(fs: SynapseFileSystem, server: Liar, collection: str) -> None:
    def change(found: dict[str, Any]) -> None:
        found["results"] *= 3

    with server.lying(units(change)):
        assert fs.find(collection) == [f"{collection}/{name}.bin" for name in "abc"]
        assert server.told
        assert fs.cat_file(f"{collection}/b.bin") == b"b"


@pytest.fixture
def dataset(honest: SynapseFileSystem) -> str:
    base = f"datasets/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(base)
    honest.mkdir(f"{base}/one")
    honest.mkdir(f"{base}/one/two")
    honest.pipe({f"{base}/one/two/a.txt": b"a", f"{base}/b.txt": b"b"})
    return base


@pytest.mark.parametrize("kind", ["itself", "each other", "a stranger", "a file"])
def test_folders_that_lie_in_themselves(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, dataset: str, kind: str
) -> None:
    """What no folder leads to is shown at the top: nothing is hidden, and nothing endless."""
    ids = {
        info["name"]: info["id"]
        for info in honest.find(dataset, detail=True, withdirs=True).values()
    }
    one, two = ids[f"{dataset}/one"], ids[f"{dataset}/one/two"]
    parents = {
        "itself": {one: one},
        "each other": {one: two},
        "a stranger": {one: str(uuid.uuid4())},
        "a file": {one: ids[f"{dataset}/b.txt"]},
    }[kind]

    def lie(answer: Answer) -> None:
        found = answer.json
        if isinstance(found, dict) and "data_storage_entries" in found:
            for entry in found["data_storage_entries"]:
                entry["parent_id"] = parents.get(entry["id"], entry.get("parent_id"))
            answer.set_json(found)

    with server.lying(lie):
        files = fs.find(dataset)
        assert server.told
        assert sorted(path.rpartition("/")[2] for path in files) == ["a.txt", "b.txt"]
        assert [fs.cat_file(path) for path in files if path.endswith("a.txt")] == [b"a"]
        assert len(list(fs.walk(dataset))) <= 4


def test_the_same_entry_twice_and_names_of_others(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, dataset: str
) -> None:
    """Equal names, and one that reads like the other's with its id: all are shown."""
    identifier = honest.info(f"{dataset}/b.txt")["id"]

    def lie(answer: Answer) -> None:
        found = answer.json
        if isinstance(found, dict) and "data_storage_entries" in found:
            entries = found["data_storage_entries"]
            mine = next(entry for entry in entries if entry["id"] == identifier)
            newer = {"created_at": "2100-01-01T00:00:00Z", "modified_at": "2100-01-01T00:00:00Z"}
            entries.append({**mine, **newer, "id": "x1", "content": "1"})
            name = f"b@{identifier}.txt"
            entries.append({**mine, **newer, "id": "x2", "content": "2", "name": name})
            found["data_storage_entries"] = entries * 2
            answer.set_json(found)

    with server.lying(lie):
        names = {path.rpartition("/")[2] for path in fs.ls(dataset, detail=False)}
    assert names == {
        "one",
        "b.txt",
        f"b@{identifier}.txt",
        f"b@{identifier}@{identifier}.txt",
    }


# --- names ---------------------------------------------------------------------------------

EVIL = [
    "..",
    ".",
    "../../evil",
    "/etc/evil",
    "a/../../../evil",
    "..\\..\\evil",
    "C:\\evil",
    "~/evil",
    "~root",
    "NUL",
    "con.txt",
    "a\0b",
    "a\nb",
    "\x1b[2Jevil",
    "\u202etxt.evil",
    " ",
    "-rf",
    "$(evil)",
    "%2e%2e%2fevil",
    "%2F%2E%2E%2Fevil",
    "@7",
    "*",
    "[a]",
    "a" * 200,
    "a//b",
    "x/" * 300 + "deep",
]


def assert_inside(target: Path, outside: Path) -> None:
    """Look for anything that was written beside the target."""
    beside = {p for p in outside.rglob("*") if p != target.parent and not p.is_relative_to(target)}
    assert not beside, beside


def test_names_of_entries_stay_inside(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, tmp_path: Path
) -> None:
    base = f"datasets/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(base)
    names = [name for name in EVIL if len(name) < 255]
    honest.pipe({f"{base}/{n}.txt": str(n).encode() for n in range(len(names))})

    def lie(answer: Answer) -> None:
        found = answer.json
        if isinstance(found, dict) and "data_storage_entries" in found:
            for entry in found["data_storage_entries"]:
                entry["name"] = names[int(entry["name"].removesuffix(".txt"))]
            answer.set_json(found)

    outside = tmp_path / "outside"
    target = outside / "deep" / "target"
    target.mkdir(parents=True)
    with server.lying(lie):
        found = fs.find(base)
        assert len(found) == len(names)
        contents = set(fs.cat(found).values())
        assert contents == {str(n).encode() for n in range(len(names))}
        fs.get(base, str(target), recursive=True)
    written = {p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert written == contents
    assert_inside(target, outside)


def test_names_of_units_stay_inside(
    fs: SynapseFileSystem, honest: SynapseFileSystem, server: Liar, tmp_path: Path
) -> None:
    base = f"collections/t-{uuid.uuid4().hex[:12]}"
    honest.mkdir(base)
    honest.pipe({f"{base}/data_1/{n}.bin": str(n).encode() for n in range(len(EVIL))})

    def change(found: dict[str, Any]) -> None:
        for unit in found["results"]:
            number = int(unit["meta"]["data_unit_key"])
            unit["meta"] = {"data_unit_key": EVIL[number]}

    outside = tmp_path / "outside"
    target = outside / "deep" / "target"
    target.mkdir(parents=True)
    with server.lying(units(change)):
        found = fs.find(base)
        assert len(found) == len(EVIL)
        contents = set(fs.cat(found).values())
        assert contents == {str(n).encode() for n in range(len(EVIL))}
        fs.get(base, str(target), recursive=True)
    written = {p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert written == contents
    assert_inside(target, outside)


@pytest.mark.parametrize("identifier", ["../../auth/login", "x?y=z", "x#y", "a b", "\n", "", ".."])
def test_ids_stay_in_their_routes(
    fs: SynapseFileSystem, server: Liar, dataset: str, identifier: str
) -> None:
    def lie(answer: Answer) -> None:
        found = answer.json
        if isinstance(found, dict) and "data_storage_entries" in found:
            for entry in found["data_storage_entries"]:
                if entry["name"] == "b.txt":
                    entry.update(id=identifier, content=None, size=None, signed_url=None)
            answer.set_json(found)

    server.heard.clear()
    with server.lying(lie):
        with contextlib.suppress(OSError):
            fs.cat_file(f"{dataset}/b.txt")
        with contextlib.suppress(OSError):
            fs.rm(f"{dataset}/b.txt")
    for heard in server.heard:
        assert heard.path.startswith(("/v0.1/data-storage/", "/auth/login", "/_synapsefs/"))
        assert heard.method != "DELETE" or heard.path.startswith("/v0.1/data-storage/data-entries/")
