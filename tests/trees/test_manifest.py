"""Descriptions and metadata of a tree's files and folders, from a manifest."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.errors import (
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
from synapsefs.local.manifest import attributes_in, read_manifest
from synapsefs.local.walk import local_tree
from tests.trees.test_ignoring import make

PLAIN = {
    "tree": {
        "a.csv": "What was measured",
        "b.bin": {"description": "Raw", "metadata": {"unit": "mV", "channels": [1, 2]}},
        "src": {"main.py": {"metadata": {"version": 2}}, "deep": {"x.txt": "Deep down"}},
    }
}
WITH_ENTRIES = {
    "tree/": {
        "description": "All of it",
        "entries": {
            "a.csv": "What was measured",
            "src/": {
                "description": "Programs",
                "metadata": {"language": "Python"},
                "entries": {"main.py": "Starts it", "deep/": {"entries": {"x.txt": "Deep down"}}},
            },
        },
    }
}
YAML = """
tree:  # the folder
  a.csv: What was measured
  src/:
    description: Programs
    entries:
      main.py: {metadata: {version: 2}}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree", "a.csv", "b.bin", "src/main.py", "src/deep/x.txt", "empty/")


@pytest.fixture
def dataset() -> str:
    """A dataset that is not there yet."""
    return f"datasets/m-{uuid.uuid4().hex[:12]}"


def said(tree: Path, text: str, name: str = "manifest.json") -> dict[str, Any]:
    (tree.parent / name).write_text(text, "utf-8")
    path, held = read_manifest(str(tree.parent / name), str(tree))
    found = attributes_in(held, ["tree"], local_tree(str(tree)), path)
    return {"/".join(parts): about for parts, about in found.items()}


def test_the_plain_format(tree: Path) -> None:
    assert said(tree, json.dumps(PLAIN)) == {
        "a.csv": {"description": "What was measured"},
        "b.bin": {"description": "Raw", "metadata": {"unit": "mV", "channels": [1, 2]}},
        "src/main.py": {"metadata": {"version": 2}},
        "src/deep/x.txt": {"description": "Deep down"},
    }


def test_the_format_with_entries(tree: Path) -> None:
    assert said(tree, json.dumps(WITH_ENTRIES)) == {
        "": {"description": "All of it"},
        "a.csv": {"description": "What was measured"},
        "src": {"description": "Programs", "metadata": {"language": "Python"}},
        "src/main.py": {"description": "Starts it"},
        "src/deep": {},
        "src/deep/x.txt": {"description": "Deep down"},
    }


@pytest.mark.parametrize("name", ["manifest.yaml", "Manifest.YML"])
def test_yaml(tree: Path, name: str) -> None:
    assert said(tree, YAML, name) == {
        "a.csv": {"description": "What was measured"},
        "src": {"description": "Programs"},
        "src/main.py": {"metadata": {"version": 2}},
    }


def test_a_folder_as_text_or_as_a_leaf(tree: Path) -> None:
    held = {"tree": {"src": "Programs", "empty": {"description": "Nothing", "metadata": {"n": 0}}}}
    assert said(tree, json.dumps(held)) == {
        "src": {"description": "Programs"},
        "empty": {"description": "Nothing", "metadata": {"n": 0}},
    }


BAD = {
    "not-json": ('{"tree": ', "cannot be read: Expecting value: line 1"),
    "no-object": ("[]", "an object with the folder's name"),
    "another-folder": ('{"other": {}, "more": {}}', "nothing about 'tree'; it speaks of 'other'"),
    "empty": ("{}", "nothing about 'tree'; it speaks of nothing"),
    "unknown": ('{"tree": {"nowhere": "x"}}', "nowhere is not among what is put"),
    "file-as-folder": ('{"tree": {"a.csv": {"x": "y"}}}', "a.csv is a file, and holds nothing"),
    "file-with-slash": ('{"tree": {"a.csv/": "x"}}', "a.csv is a file, no folder"),
    "number": ('{"tree": {"a.csv": 3}}', "a.csv is neither text nor an object"),
    "null": ('{"tree": {"a.csv": null}}', "a.csv is neither text nor an object"),
    "description": ('{"tree": {"a.csv": {"description": 3}}}', "a.csv has a description that is"),
    "metadata": ('{"tree": {"a.csv": {"metadata": [1]}}}', "a.csv has metadata that is no mapping"),
    "nan": (
        '{"tree": {"a.csv": {"metadata": {"x": NaN}}}}',
        "a.csv has metadata that cannot be written as JSON",
    ),
    "key": ('{"tree": {"a.csv": {"description": "x", "size": 1}}}', "a.csv has 'size', which is"),
    "twice": ('{"tree": {"a.csv": "x", "a.csv": "y"}}', "'a.csv' stands twice"),
    "twice-slash": ('{"tree": {"src": "x", "src/": "y"}}', "src stands twice"),
    "deep": ("[" * 100_000, "nested too deeply"),
}
BAD_YAML = {
    "syntax": ("tree: [", "not YAML"),
    "alias": ("tree: &all {a.csv: x}\nother: *all", "aliases (*name) are not read"),
    "twice": ("tree: {a.csv: x, a.csv: y}", "'a.csv' stands twice"),
    "number": ("tree: {1: x}", "the folder has the key 1, which is no text"),
    "date": (
        "tree: {a.csv: {metadata: {day: 2024-01-01}}}",
        "metadata that cannot be written as JSON",
    ),
    "object": ("tree: !!python/object/apply:os.system ['false']", "not YAML"),
    "binary-key": ("tree: {? [a, b] : x}", "not YAML"),
    "two": ("tree: {}\n---\ntree: {}", "not YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_json(tree: Path, case: str) -> None:
    text, words = BAD[case]
    with pytest.raises(InvalidRequestError) as caught:
        said(tree, text)
    assert words in str(caught.value)
    assert caught.value.filename == str(tree.parent / "manifest.json")


@pytest.mark.parametrize("case", BAD_YAML)
def test_bad_yaml(tree: Path, case: str) -> None:
    text, words = BAD_YAML[case]
    with pytest.raises(InvalidRequestError) as caught:
        said(tree, text, "manifest.yaml")
    assert words in str(caught.value)
    assert caught.value.filename == str(tree.parent / "manifest.yaml")


def test_every_problem_is_listed(tree: Path) -> None:
    held = {"a.csv": 3, "lost": "x", "src": {"main.py": {"description": 1}}, "b.bin": {"k": "v"}}
    with pytest.raises(InvalidRequestError) as caught:
        said(tree, json.dumps({"tree": held}))
    for name in ("a.csv is", "lost is", "src/main.py has", "b.bin is"):
        assert name in str(caught.value)


def test_a_manifest_has_a_readable_name_and_size(tree: Path) -> None:
    (tree / "m.toml").write_text("")
    (tree / "m.json").write_bytes(b"\xff")
    with (tree / "huge.json").open("wb") as file:
        file.truncate(17 * 2**20)
    for name, error, words in (
        ("none.json", NotFoundError, "no such manifest"),
        ("m.toml", InvalidRequestError, "ends in .json, .yaml or .yml"),
        ("m.json", InvalidRequestError, "cannot be read"),
        ("huge.json", TooLargeError, "at most"),
    ):
        with pytest.raises(error, match=words):
            read_manifest(name, str(tree))


# --- put with a manifest -------------------------------------------------------------------


def about(fs: SynapseFileSystem, path: str) -> tuple[str, dict[str, Any]]:
    told = fs.getxattrs(path)
    return told.pop("description", ""), told


def told_of(fs: SynapseFileSystem, path: str) -> bool:
    """Say whether the service tells the metadata: of directories, the strictest one does not."""
    return os.environ.get("SYNAPSEFS_TEST_SERVER") != "strict" or fs.isfile(path)


@pytest.mark.parametrize("held", [PLAIN, WITH_ENTRIES], ids=["plain", "entries"])
def test_files_and_folders_are_described(
    fs: SynapseFileSystem,
    another: SynapseFileSystem,
    tree: Path,
    dataset: str,
    held: dict[str, Any],
) -> None:
    (tree / "manifest.json").write_text(json.dumps(held))
    fs.mkdir(dataset)
    fs.put(str(tree), f"{dataset}/", recursive=True, manifest_filename="manifest.json")
    wanted = said(tree, json.dumps(held))
    for name in ("", "/a.csv", "/b.bin", "/src", "/src/main.py", "/src/deep/x.txt", "/empty"):
        says = wanted.get(name.lstrip("/"), {})
        place = f"{dataset}/tree{name}"
        found = about(another, place)
        metadata = says.get("metadata", {}) if told_of(another, place) else {}
        assert found == (says.get("description", ""), metadata), name
    assert another.cat_file(f"{dataset}/tree/b.bin") == b"b.bin"
    assert another.isfile(f"{dataset}/tree/manifest.json")


def test_the_tree_may_be_the_dataset(
    fs: SynapseFileSystem, another: SynapseFileSystem, tree: Path, dataset: str
) -> None:
    (tree / "m.yaml").write_text(YAML + "  empty: Nothing\n")
    fs.put(str(tree), dataset, recursive=True, manifest_filename="m.yaml", ignore_patterns=["m.*"])
    assert another.find(dataset)[0] == f"{dataset}/a.csv"
    assert about(another, f"{dataset}/src") == ("Programs", {})
    assert about(another, f"{dataset}/empty") == ("Nothing", {})


def test_the_dataset_itself_is_described(
    fs: SynapseFileSystem, another: SynapseFileSystem, tree: Path, dataset: str
) -> None:
    (tree / "m.json").write_text(json.dumps(WITH_ENTRIES))
    fs.put(str(tree), dataset, recursive=True, manifest_filename="m.json")
    assert fs.info(dataset)["description"] == "All of it"


def test_the_working_directory_is_looked_in_too(
    fs: SynapseFileSystem, tree: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    Path("m.json").write_text(json.dumps(PLAIN))
    fs.put("tree", dataset, recursive=True, manifest_filename="m.json")
    assert about(fs, f"{dataset}/b.bin") == ("Raw", {"unit": "mV", "channels": [1, 2]})
    assert not fs.exists(f"{dataset}/m.json")


def test_what_all_files_say_comes_after_the_manifest(
    fs: SynapseFileSystem, tree: Path, dataset: str
) -> None:
    (tree.parent / "m.json").write_text(json.dumps(PLAIN))
    fs.put(
        str(tree),
        dataset,
        recursive=True,
        manifest_filename=str(tree.parent / "m.json"),
        description="One of many",
        metadata={"unit": "V", "run": 7},
        tags=["run"],
    )
    assert about(fs, f"{dataset}/a.csv") == ("What was measured", {"unit": "V", "run": 7})
    assert about(fs, f"{dataset}/b.bin") == ("Raw", {"unit": "mV", "channels": [1, 2], "run": 7})
    assert about(fs, f"{dataset}/src/main.py")[0] == "One of many"
    assert fs.get_tags(f"{dataset}/b.bin") == ["run"]


def test_the_same_again_changes_nothing_but_another_description_of_a_folder_is_refused(
    fs: SynapseFileSystem, another: SynapseFileSystem, tree: Path, dataset: str
) -> None:
    manifest = tree.parent / "m.json"
    manifest.write_text(json.dumps(WITH_ENTRIES))
    options = {"recursive": True, "manifest_filename": str(manifest)}
    fs.put(f"{tree}/", dataset, **options)
    fs.put(f"{tree}/", dataset, **options)
    metadata = {"language": "Python"} if told_of(another, f"{dataset}/src") else {}
    assert about(another, f"{dataset}/src") == ("Programs", metadata)
    fs.mkdir(f"{dataset}/bare")
    (tree / "bare").mkdir()
    for other in ({"src": "Other"}, {"bare": "Something"}):
        manifest.write_text(json.dumps({"tree": {"a.csv": "New", **other}}))
        (tree / "a.csv").write_text("new")
        with pytest.raises(UnsupportedError, match="described when it is made"):
            fs.put(f"{tree}/", dataset, **options)
    assert another.cat_file(f"{dataset}/a.csv") == b"a.csv"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"tree": {"lost": "x"}}, "lost is not among what is put"),
        ({"tree": {"b.bin": "left out"}}, "b.bin is not among what is put"),
        ({"tree": {"a.csv": {"metadata": {"synapsefs": 1}}}}, "reserved"),
        ({"tree": {"src": {"metadata": {"synapsefs": 1}}}}, "reserved"),
        ({"tree": {"description": "x", "metadata": {"a": 1}}}, "a description, but no metadata"),
    ],
    ids=repr,
)
def test_a_bad_manifest_creates_nothing(
    fs: SynapseFileSystem, tree: Path, dataset: str, held: dict[str, Any], words: str
) -> None:
    (tree / "m.json").write_text(json.dumps(held))
    with pytest.raises(OSError, match=words):
        fs.put(
            str(tree),
            dataset,
            recursive=True,
            manifest_filename="m.json",
            ignore_patterns=["b.bin"],
        )
    assert not fs.exists(dataset)


def test_a_manifest_wants_one_folder_in_a_dataset(
    fs: SynapseFileSystem, base: str, tree: Path, dataset: str
) -> None:
    (tree / "m.json").write_text(json.dumps(PLAIN))
    for source in (str(tree / "a.csv"), [str(tree / "a.csv")], str(tree / "*")):
        with pytest.raises(InvalidRequestError, match="one local folder"):
            fs.put(source, dataset, recursive=True, manifest_filename=str(tree / "m.json"))
    if base.startswith("collections"):
        with pytest.raises(InvalidRequestError, match="not taken by collections"):
            fs.put(str(tree), f"{base}/t", recursive=True, manifest_filename="m.json")
        assert not fs.exists(f"{base}/t")


def test_a_directory_is_described_when_it_is_made(fs: SynapseFileSystem, dataset: str) -> None:
    fs.mkdir(f"{dataset}/sub", description="About", metadata={"a": 1}, tags=["x"])
    assert about(fs, f"{dataset}/sub") == ("About", {"a": 1} if told_of(fs, dataset) else {})
    assert fs.get_tags(f"{dataset}/sub") == ["x"]
    assert fs.info(dataset)["description"] == ""
