"""What ``put`` leaves out on request: ``.gitignore`` rules, as git reads them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import InvalidRequestError
from synapsefs.local.ignore import DEFAULTS, ignoring
from synapsefs.local.walk import local_tree


def make(root: Path, *names: str, **contents: str) -> Path:
    """Make files, each holding its own name, and folders, whose names end in ``/``."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(contents.get(name, name), "utf-8")
    return root


def kept(root: Path, *patterns: str, filename: str | None = None, defaults: bool = False) -> set:
    rules = ignoring(patterns, filename, defaults=defaults)
    return {"/".join(item.parts) for item in local_tree(str(root), rules) if not item.folder}


CASES = {
    "*.log": {"a.log", "sub/b.log"},
    "/a.log": {"a.log"},
    "sub/": {"sub/b.log", "sub/deep/c.txt", "sub/x"},
    "deep": {"sub/deep/c.txt"},
    "sub/**/c.txt": {"sub/deep/c.txt"},
    "*.log\n!a.log": {"sub/b.log"},
    "sub\n!sub/x": {"sub/b.log", "sub/deep/c.txt", "sub/x"},
    "x": {"sub/x"},
    "x/": set(),
    "# a.log": set(),
    "\\#odd": {"#odd"},
    "[ab].log": {"a.log", "sub/b.log"},
    "sub/*": {"sub/b.log", "sub/deep/c.txt", "sub/x"},
    "sub/*\n!sub/x": {"sub/b.log", "sub/deep/c.txt"},
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(
        tmp_path / "tree", "a.log", "#odd", "keep.txt", "sub/b.log", "sub/x", "sub/deep/c.txt"
    )


@pytest.mark.parametrize("lines", CASES, ids=repr)
def test_patterns(tree: Path, lines: str) -> None:
    everything = kept(tree)
    assert everything - kept(tree, *lines.splitlines()) == CASES[lines]


@pytest.mark.parametrize("lines", CASES, ids=repr)
def test_as_git_does(tree: Path, lines: str) -> None:
    (tree / ".gitignore").write_text(lines, "utf-8")
    (tree / "sub/.gitignore").write_text("!b.log\ndeep/*\n", "utf-8")
    try:
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    command = ["git", "-C", str(tree), "ls-files", "-z", "-o", "--exclude-per-directory=.gitignore"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert kept(tree, filename=".gitignore", defaults=True) == set(listed.split("\0")[:-1])


def test_which_patterns_decide(tmp_path: Path) -> None:
    root = make(tmp_path, "lib/.keep", "lib/a.pyc", "lib/b.pyc", "node_modules/m.js")
    (root / ".rules").write_text("!*.pyc\n", "utf-8")
    (root / "lib/.rules").write_text("b.pyc\n", "utf-8")
    own = {".rules", "lib/.rules", "lib/.keep"}
    assert kept(root, filename=".rules", defaults=True) == own | {"lib/a.pyc"}
    assert kept(root, "!b.pyc", filename=".rules", defaults=True) == own | {
        "lib/a.pyc",
        "lib/b.pyc",
    }
    assert kept(root, "!node_modules", defaults=True) == own | {"node_modules/m.js"}


def test_a_byte_order_mark_is_no_pattern(tmp_path: Path) -> None:
    root = make(tmp_path, "a", "b")
    (root / ".gitignore").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert kept(root, filename=".gitignore") == {"b", ".gitignore"}


def names(fs: SynapseFileSystem, place: str) -> set[str]:
    return {name.removeprefix(f"{place}/") for name in fs.find(place)}


def test_put_leaves_out_what_is_asked_for(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    root = make(tmp_path / "t", "a.txt", "b.tmp", ".git/config", "sub/c.tmp", "sub/d.txt", "x.pyc")
    (root / ".gitignore").write_text("*.tmp\n", "utf-8")
    fs.put(str(root), f"{base}/all", recursive=True)
    everything = {"a.txt", "b.tmp", ".git/config", "sub/c.tmp", "sub/d.txt", "x.pyc", ".gitignore"}
    assert names(fs, f"{base}/all") == everything
    fs.put(str(root), f"{base}/file", recursive=True, ignore_filename=".gitignore")
    assert names(fs, f"{base}/file") == {"a.txt", "sub/d.txt", ".gitignore"}
    fs.put(str(root), f"{base}/pattern", recursive=True, ignore_patterns=["sub/", "*.txt"])
    assert names(fs, f"{base}/pattern") == {"b.tmp", ".gitignore"}
    fs.put(
        root, f"{base}/own", recursive=True, ignore_patterns=["/sub", ".*"], ignore_defaults=False
    )
    assert names(fs, f"{base}/own") == {"a.txt", "b.tmp", "x.pyc"}
    fs.put(str(root), f"{base}/defaults", recursive=True, ignore_patterns=[])
    assert names(fs, f"{base}/defaults") == everything - {".git/config", "x.pyc"}


def test_folders_that_are_left_out_are_not_made(fs: SynapseFileSystem, tmp_path: Path) -> None:
    root = make(tmp_path / "t", "src/a.txt", "node_modules/m/i.js", "empty/", "build/")
    fs.put(str(root), f"datasets/{tmp_path.name}", recursive=True, ignore_patterns=["build/"])
    found = fs.find(f"datasets/{tmp_path.name}", withdirs=True)
    assert {name.split("/", 2)[-1] for name in found[1:]} == {"src", "src/a.txt", "empty"}


def test_the_defaults_are_those_of_the_service() -> None:
    assert set(DEFAULTS) == {".git", "__pycache__", "*.pyc", ".DS_Store", "node_modules"}


def test_the_callers_list_stays_as_it_is(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    patterns = ["*.tmp"]
    root = make(tmp_path / "t", "a")
    fs.put(str(root), f"{base}/t", recursive=True, ignore_patterns=patterns)
    assert patterns == ["*.tmp"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"ignore_patterns": ["*.log", "!", "[z-a]"]}, "'!' is no pattern; '[z-a]' is no pattern"),
        ({"ignore_patterns": "*.log"}, "a list of patterns"),
        ({"ignore_patterns": [3]}, "3 is no pattern"),
        ({"ignore_filename": "../rules"}, "a name without folders"),
        ({"ignore_filename": ""}, "a name without folders"),
        ({"ignore_filename": "bad"}, "line 2: '!' is no pattern"),
        ({"ignore_filename": "binary"}, "not UTF-8"),
    ],
    ids=repr,
)
def test_bad_rules_send_nothing(
    fs: SynapseFileSystem, base: str, tmp_path: Path, rules: dict[str, Any], words: str
) -> None:
    root = make(tmp_path / "t", "a", "bad", bad="a\n!\n")
    (root / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError) as caught:
        fs.put(str(root), f"{base}/t", recursive=True, **rules)
    assert words in str(caught.value)
    assert not fs.exists(f"{base}/t")


def test_rules_want_one_folder(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    root = make(tmp_path / "t", "a", "b")
    for source in (str(root / "*"), [str(root / "a")], str(root / "a")):
        with pytest.raises(InvalidRequestError, match="one local folder"):
            fs.put(source, f"{base}/t", recursive=True, ignore_patterns=["a"])
    with pytest.raises(InvalidRequestError, match="one local folder"):
        fs.put(str(root), f"{base}/t", ignore_patterns=["a"])
    assert not fs.exists(f"{base}/t")


# --- what cannot be sent -------------------------------------------------------------------


def test_everything_that_cannot_be_sent_is_named_at_once(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "t", "good", "sub/good")
    (root / "lost").symlink_to("nowhere")
    (root / "sub/circle").symlink_to("..")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"bad-\xff")).write_text("x")
    with pytest.raises(InvalidRequestError) as caught:
        fs.put(str(root), f"{base}/t", recursive=True)
    words = str(caught.value)
    assert "lost: a link that leads nowhere" in words
    assert "sub/circle: a link to a folder that it lies in" in words
    assert "pipe: neither a file nor a folder" in words
    assert "the name is not UTF-8" in words
    assert not fs.exists(f"{base}/t")
    fs.put(
        str(root),
        f"{base}/t",
        recursive=True,
        ignore_patterns=["lost", "circle", "pipe", "bad-*"],
    )
    assert names(fs, f"{base}/t") == {"good", "sub/good"}


def test_links_are_followed(fs: SynapseFileSystem, base: str, tmp_path: Path) -> None:
    root = make(tmp_path / "t", "sub/a")
    make(tmp_path / "elsewhere", "b")
    (root / "file").symlink_to("sub/a")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    fs.put(str(root), f"{base}/t", recursive=True)
    assert names(fs, f"{base}/t") == {"sub/a", "file", "folder/b"}
    assert fs.cat_file(f"{base}/t/file") == b"sub/a"
    assert fs.cat_file(f"{base}/t/folder/b") == b"b"


def test_names_that_begin_with_an_at_sign_go_there_and_back(
    fs: SynapseFileSystem, base: str, tmp_path: Path
) -> None:
    ids = {"@7", "@abcdefgh", "@11111111-2222-3333-4444-555555555555"}
    root = make(tmp_path / "@t", "@scope/a", "b@c", "100%", "sp ace", "[x]", "*", "@a.bin", *ids)
    fs.put(str(root), f"{base}/", recursive=True)
    written = fs.find(base)
    assert {f"{base}/@t/@scope/a", f"{base}/@t/@a.bin"} < set(written)
    escaped = {path.rpartition("/%40")[2] for path in written if "%40" in path}
    numbers = base.startswith("collections")
    assert escaped == {name[1:] for name in ids if (name == "@7") == numbers}
    fs.get(f"{base}/@t", str(tmp_path / "back/"), recursive=True)
    found = {
        str(p.relative_to(tmp_path / "back")) for p in (tmp_path / "back").rglob("*") if p.is_file()
    }
    assert found == {"@scope/a", "b@c", "100%", "sp ace", "[x]", "*", "@a.bin", *ids}


def test_a_dataset_that_was_made_for_a_tree_goes_when_the_tree_is_refused(
    fs: SynapseFileSystem, another: SynapseFileSystem, tmp_path: Path
) -> None:
    root = make(tmp_path / "t", "n" * 256 if os.name == "nt" else "%40" + "n" * 3, "@nnn")
    with pytest.raises(InvalidRequestError, match="two files for one path"):
        fs.put(str(root), f"datasets/gone-{tmp_path.name}", recursive=True)
    assert not another.exists(f"datasets/gone-{tmp_path.name}")
