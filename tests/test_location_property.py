"""Names of a service as path segments and back, for any name; and over the wire."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from synapsefs import SynapseFileSystem
from synapsefs.location import (
    Location,
    escape,
    escape_key,
    id_of,
    strip_protocol,
    unescape,
    unescape_key,
)

unhurried = settings(deadline=None)
SPECIAL = st.sampled_from(["/", ".", "..", "@", "%", "%2F", "%2e", "%00", "%25", "\0", "\\", "~"])
NAMES = st.text(max_size=30) | st.lists(SPECIAL | st.text(max_size=4), max_size=6).map("".join)
SEGMENTS = st.lists(
    SPECIAL.filter(lambda text: "/" not in text and "\0" not in text)
    | st.text(st.characters(exclude_characters="/\0"), max_size=4),
    max_size=6,
).map("".join)


@unhurried
@given(NAMES.filter(bool))
@example("..")
@example("/")
@example("%2F")
@example("%252F")
@example("@7")
@example("\0")
def test_a_name_is_one_segment_and_comes_back(name: str) -> None:
    segment = escape(name)
    assert unescape(segment) == name
    assert segment not in {"", ".", ".."}
    assert not {"/", "\0"} & set(segment)
    assert id_of(segment) is None
    assert Location.parse(f"datasets/{segment}").container == segment


@unhurried
@given(NAMES.filter(bool), NAMES.filter(bool))
@example("%2F", "/")
@example("%2f", "%2F")
@example("a%", "a%25")
def test_names_do_not_collide(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


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
@given(SEGMENTS)
def test_any_segment_reads_as_a_name_that_reads_back(segment: str) -> None:
    """People may escape more than is needed: it is the same place."""
    assume(segment and not segment.startswith("@"))
    name = unescape(segment)
    assert unescape(escape(name)) == name


@unhurried
@given(NAMES)
@example("a//b")
@example("//")
@example("a/")
@example("/a")
def test_a_key_is_segments_and_comes_back(key: str) -> None:
    assume(key)
    segments = escape_key(key)
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
@given(st.lists(NAMES.filter(bool), min_size=1, max_size=4))
def test_a_path_of_names_is_a_location_and_reads_back(names: list[str]) -> None:
    path = "/".join(["datasets", *map(escape, names)])
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
    wanted = {f"{base}/{escape(name)}": b"\xff" + name.encode() for name in NASTY}
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
        for root in ("collections", "datasets"):
            container = f"{root}/{escape(name + suffix)}"
            fs.mkdir(container)
            path = f"{container}/data_1/a.txt" if root == "collections" else f"{container}/a.txt"
            fs.pipe_file(path, name.encode())
            assert fs.cat_file(path) == name.encode()
            assert fs.find(container) == [path]


def test_depth_has_no_end() -> None:
    deep = "/".join(["a"] * 50_000)
    assert unescape_key(escape_key(deep)) == deep
    assert len(Location.parse(f"datasets/{deep}").segments) == 50_001
