"""Names of a service as path segments and back, for any name; and over the wire."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidPathError, InvalidRequestError
from synapsefs.location import (
    Location,
    Root,
    escape,
    escape_key,
    id_of,
    strip_protocol,
    unescape,
    unescape_key,
)

unhurried = settings(deadline=None)
SPECIAL = st.sampled_from(
    ["/", ".", "..", "@", "%", "%2F", "%2e", "%00", "%25", "%40", "\0", "\\", "~"]
)
UUID = "11111111-2222-3333-4444-555555555555"
IDS = ["@7", "@007", f"@{UUID}", f"@{UUID.upper()}", "@abcdefgh", "@required", "@a2b3c4d5"]
NO_IDS = ["@", "@types", "@at.bin", "@7.bin", f"@{UUID}.bin", "@abcdefghi", "@٣", "@" + "9" * 20]
ROOTS = st.sampled_from(list(Root))
NAMES = (
    st.sampled_from(IDS + NO_IDS)
    | st.text(max_size=30)
    | st.lists(SPECIAL | st.text(max_size=4), max_size=6).map("".join)
)
SEGMENTS = st.lists(
    SPECIAL.filter(lambda text: "/" not in text and "\0" not in text)
    | st.text(st.characters(exclude_characters="/\0"), max_size=4),
    max_size=6,
).map("".join)


@unhurried
@given(NAMES.filter(bool), ROOTS)
@example("..", Root.DATASETS)
@example("/", Root.DATASETS)
@example("%2F", Root.DATASETS)
@example("%252F", Root.COLLECTIONS)
@example("@7", Root.COLLECTIONS)
@example("%40types", Root.DATASETS)
@example("\0", Root.DATASETS)
def test_a_name_is_one_segment_and_comes_back(name: str, root: Root) -> None:
    segment = escape(name, root)
    assert unescape(segment) == name
    assert segment not in {"", ".", ".."}
    assert not {"/", "\0"} & set(segment)
    assert id_of(segment, root) is None
    assert Location.parse(f"{root}/{segment}").container == segment


@pytest.mark.parametrize("name", IDS + NO_IDS)
@pytest.mark.parametrize("root", Root)
def test_only_what_reads_as_an_id_of_the_service_is_escaped(root: Root, name: str) -> None:
    number = re.fullmatch("@[0-9]+", name) is not None
    reads = name in IDS and number == (root is Root.COLLECTIONS)
    assert (id_of(name, root) is not None) == reads
    assert escape(name, root) == (f"%40{name[1:]}" if reads else name)
    assert Location.parse(f"{root}/c/%40{name[1:]}").name == escape(name, root)


@pytest.mark.parametrize("name", ["a\ud800", "\udcff", "ü\udfff"])
@pytest.mark.parametrize("root", Root)
def test_a_lone_surrogate_is_in_no_path(root: Root, name: str) -> None:
    for path in (f"{root}/{name}", f"synapse://{root}/c/{name}/x"):
        with pytest.raises(InvalidPathError, match="lone surrogates"):
            Location.parse(path)


@unhurried
@given(NAMES.filter(bool), NAMES.filter(bool), ROOTS)
@example("%2F", "/", Root.DATASETS)
@example("%2f", "%2F", Root.DATASETS)
@example("a%", "a%25", Root.DATASETS)
@example("@types", "%40types", Root.DATASETS)
@example("@7", "%407", Root.COLLECTIONS)
def test_names_do_not_collide(one: str, other: str, root: Root) -> None:
    assert (escape(one, root) == escape(other, root)) == (one == other)


@unhurried
@given(NAMES)
def test_no_name_leaves_a_directory(name: str) -> None:
    assume(name)
    root = "/somewhere/target"
    joined = os.path.normpath(os.path.join(root, escape(name)))
    assert os.path.dirname(joined) == root
    key = os.path.normpath(os.path.join(root, *escape_key(name)))
    assert key.startswith(f"{root}/")


@unhurried
@given(SEGMENTS, ROOTS)
def test_any_segment_reads_as_a_name_that_reads_back(segment: str, root: Root) -> None:
    """People may escape more than is needed: it is the same place."""
    assume(segment and id_of(segment, root) is None)
    name = unescape(segment)
    assert unescape(escape(name, root)) == name


@unhurried
@given(NAMES, ROOTS)
@example("a//b", Root.COLLECTIONS)
@example("//", Root.COLLECTIONS)
@example("a/", Root.COLLECTIONS)
@example("/a", Root.COLLECTIONS)
@example("a/@7", Root.COLLECTIONS)
def test_a_key_is_segments_and_comes_back(key: str, root: Root) -> None:
    assume(key)
    segments = escape_key(key, root)
    assert segments
    assert unescape_key(segments) == key
    for segment in segments:
        assert segment not in {"", ".", ".."}
        assert not {"/", "\0"} & set(segment)


@unhurried
@given(NAMES.filter(bool), NAMES.filter(bool))
@example("a//b", "a/%2Fb")
def test_keys_do_not_collide(one: str, other: str) -> None:
    assert (escape_key(one) == escape_key(other)) == (one == other)


@unhurried
@given(st.lists(NAMES.filter(bool), min_size=1, max_size=4), ROOTS)
def test_a_path_of_names_is_a_location_and_reads_back(names: list[str], root: Root) -> None:
    path = "/".join([root, *(escape(name, root) for name in names)])
    for written in (path, f"synapse://{path}", f"synapse://{path}/"):
        location = Location.parse(written)
        assert location.path == path
        assert [unescape(segment) for segment in location.segments[1:]] == names
        assert Location.parse(str(location)) == location
        assert strip_protocol(strip_protocol(written)) == strip_protocol(written)


NASTY = [
    "..",
    "...",
    "a b",
    " lead",
    "%2F",
    "%252F",
    "100%",
    "@7",
    "@types",
    "@at.bin",
    "@abcdefgh",
    "@11111111-2222-3333-4444-555555555555",
    "a@7.txt",
    "~",
    "-rf",
    "a[1]",
    "*",
    "?",
    "a#b",
    "a?b=c&d",
    "ü\u0308",
    "\u202e",
    "日本.tar.gz",
    "a\tb",
    "a\nb",
    "'\"`$(x)",
    "a\\b",
    "x" * 150,
    ".hidden",
    "NUL",
    "+;,:=&",
    "{a}",
    "<|^`>",
    "".join(map(chr, range(1, 128))).replace("/", ""),
]


def test_nasty_names_come_back(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    """Written, listed by another instance, read, and fetched to disk and sent again."""
    root = Root(base.split("/", maxsplit=1)[0])
    wanted = {f"{base}/{escape(name, root)}": b"\xff" + name.encode() for name in NASTY}
    fs.pipe(wanted)
    fs.invalidate_cache()
    assert set(fs.find(base)) == set(wanted)
    assert fs.cat(list(wanted)) == wanted
    for path, content in wanted.items():
        assert fs.info(path)["name"] == path
        assert fs.cat_file(f"synapse://{path}") == content
    target = tmp_path / "target"
    fs.get(f"{base}/", str(target), recursive=True)
    written = {p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert written == set(wanted.values())
    assert set(tmp_path.iterdir()) == {target}


def test_nasty_names_of_containers(fs: SynapseFileSystem, options: dict[str, object]) -> None:
    suffix = uuid.uuid4().hex[:8]
    for name in (name for name in NASTY if len(name) < 90):
        for root in Root:
            container = f"{root}/{escape(name + suffix, root)}"
            fs.mkdir(container)
            path = f"{container}/data_1/a.txt" if root == "collections" else f"{container}/a.txt"
            fs.pipe_file(path, name.encode())
            assert fs.cat_file(path) == name.encode()
            assert fs.find(container) == [path]


def test_depth_has_no_end() -> None:
    deep = "/".join(["a"] * 50_000)
    assert unescape_key(escape_key(deep)) == deep
    assert len(Location.parse(f"datasets/{deep}").segments) == 50_001


def test_an_at_sign_in_front_of_a_plain_name_is_part_of_it(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    with fs.open(f"{base}/@types/@at.bin", "wb") as file:
        file.write(b"plain")
    assert another.find(base) == [f"{base}/@types/@at.bin"]
    for path in (f"{base}/@types/@at.bin", f"{base}/%40types/%40at.bin"):
        assert another.cat_file(path) == b"plain"
        assert another.info(path)["name"] == f"{base}/@types/@at.bin"
    another.mv(f"{base}/@types/@at.bin", f"{base}/@moved")
    assert fs.find(base, refresh=True) == [f"{base}/@moved"]


def test_a_name_that_reads_as_an_id_is_escaped_and_the_id_still_addresses(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    name, file = ("7", "unit") if base.startswith("collections") else ("abcdefgh", "id")
    with pytest.raises(InvalidPathError, match=f"addresses by id; .* '%40{name}'"):
        fs.pipe_file(f"{base}/@{name}", b"x")
    assert fs.stats()["bytes_sent"] == 0
    fs.pipe_file(f"{base}/%40{name}", b"x")
    assert another.find(base) == [f"{base}/%40{name}"]
    number = another.info(f"{base}/%40{name}")[file]
    assert another.cat_file(f"{base}/@{number}") == b"x"
    assert not another.exists(f"{base}/@{name}")


def test_a_lone_surrogate_is_refused_before_anything_is_sent(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    local = tmp_path / "a.bin"
    local.write_bytes(b"x")
    for work in (
        lambda path: fs.pipe_file(path, b"x"),
        lambda path: fs.put(str(local), path),
        fs.mkdir,
        lambda path: fs.open(path, "wb"),
        fs.exists,
    ):
        with pytest.raises(InvalidPathError, match="lone surrogates"):
            work(f"{base}/a\ud800")
    for words in ({"description": "\ud800"}, {"tags": ["\ud800"]}, {"metadata": {"a": "\ud800"}}):
        with pytest.raises(InvalidRequestError, match="lone surrogates"):
            fs.pipe_file(f"{base}/a.bin", b"x", **words)
    with pytest.raises(InvalidRequestError, match="key is Unicode text"):
        fs.put_unit("c", {"data_1": b"x"}, key="\ud800")
    assert fs.stats()["requests"] == 0
