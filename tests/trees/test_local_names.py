"""No remote name leads out of the local target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidPathError
from synapsefs.local.names import escaping, refused_here, require_inside
from tests.support.foreign import ForeignServer, foreign_server

NAMES = [
    "..",
    ".",
    "../../evil",
    "/etc/evil",
    "a/../../../evil",
    "..\\..\\evil",
    "C:\\evil",
    "C:evil",
    "//host/share",
    "a\0b",
    "a\nb\x1b[2J\x7f",
    "CON",
    "nul.txt",
    " ",
    "~",
    "@7",
    "@../../evil",
    "%2E%2E%2Fevil",
    "%40x",
    "",
    "ünï\u202ecode",
    "n" * 255,
]


@pytest.fixture
def server() -> Iterator[ForeignServer]:
    with foreign_server() as one:
        yield one


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder several levels above the target, which alone may change."""
    (tmp_path / "outside/a/b/c").mkdir(parents=True)
    return tmp_path / "outside"


def fetched(server: ForeignServer, outside: Path, remote: str = "datasets/d") -> dict[str, bytes]:
    """Get everything; see that nothing stands beside the target; give what was written."""
    fs = SynapseFileSystem(**server.options)
    target = outside / "a/b/c/target"
    fs.get(remote, str(target), recursive=True)
    written = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    beside = [p for p in outside.rglob("*") if not p.is_dir() and not p.is_relative_to(target)]
    assert not beside
    assert sorted(p.name for p in outside.rglob("*") if p.parent == target.parent) == ["target"]
    return written


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_files(server: ForeignServer, outside: Path, name: str) -> None:
    server.add(name)
    server.add("harmless")
    written = fetched(server, outside)
    assert sorted(written.values()) == sorted([name.encode(), b"harmless"])
    assert len([path for path in written if "/" in path]) == 0


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_folders(server: ForeignServer, outside: Path, name: str) -> None:
    inner = server.add_folder(name, parent=server.add_folder(name))
    server.add("file", parent=inner)
    written = fetched(server, outside)
    assert list(written.values()) == [b"file"]
    assert next(iter(written)).count("/") == 2


@pytest.mark.parametrize("name", ["", "same", "same.txt"])
@pytest.mark.parametrize("identifier", ["../../../evil", "/evil", "..", "a\0b", "x/y"], ids=ascii)
def test_ids_in_names(server: ForeignServer, outside: Path, name: str, identifier: str) -> None:
    server.add(name, text="one", identifier=identifier)
    server.add(name, text="two", identifier="!plain")
    written = fetched(server, outside)
    assert sorted(written.values()) == [b"one", b"two"]
    assert len([path for path in written if "/" in path]) == 0


def test_names_that_differ_by_case_are_different(server: ForeignServer, outside: Path) -> None:
    for name in ("readme", "README", "Readme"):
        server.add(name)
    assert fetched(server, outside) == {n: n.encode() for n in ("readme", "README", "Readme")}


def test_a_file_and_a_folder_of_one_name(server: ForeignServer, outside: Path) -> None:
    server.add("both")
    server.add("inside", parent=server.add_folder("both"))
    assert sorted(fetched(server, outside).values()) == [b"both", b"inside"]


def test_what_lies_there_stays_when_a_name_is_too_long(
    server: ForeignServer, outside: Path
) -> None:
    server.add("n" * 300)
    with pytest.raises(OSError, match="too long"):
        fetched(server, outside)
    assert not [path for path in outside.rglob("*") if path.is_file()]


# --- the rules -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("..", "no name"),
        ("a/b", "separator"),
        ("a\\b", "separator"),
        ("a\tb", "control"),
        ("D:x", "drive"),
        ("Nul", "device"),
        ("com¹ ", "device"),
        ("LPT9.", "device"),
    ],
)
def test_what_leads_elsewhere_on_some_system(name: str, rule: str) -> None:
    assert rule in (escaping(name) or "")
    assert rule in (refused_here(name, windows=True) or "")


@pytest.mark.parametrize("name", ["aux.c", "con.txt", "a:", "what?", "dot.", "space "])
def test_what_only_windows_minds(name: str) -> None:
    assert refused_here(name, windows=True)
    assert refused_here(name, windows=False) is None


@pytest.mark.parametrize("name", ["console", "null", "com10", "...", "..a", "a b", "ünï", "-rf"])
def test_plain_names(name: str) -> None:
    assert escaping(name) is None
    assert refused_here(name, windows=False) is None


def test_targets_lie_inside() -> None:
    require_inside("/t", ["/t", "/t/a", "/t/a/b c"])
    require_inside("", ["/a"])
    for target in ("/t/../a", "/t/a/./b", "/u", "/t/a//b", "/t/a\0b", "/tmp"):
        with pytest.raises(InvalidPathError, match="cannot be a local file"):
            require_inside("/t", ["/t/fine", target])
