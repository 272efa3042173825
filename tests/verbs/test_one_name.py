"""One path in one call: a file or a directory, not both, and one file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from synapsefs.errors import FolderError, InvalidRequestError, NotAFolderError, NotFoundError


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"local")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "inner").write_bytes(b"inner")
    return tmp_path


def test_pipe(fs, another, base):
    before = fs.stats()["bytes_sent"]
    with pytest.raises(NotAFolderError) as caught:
        fs.pipe({f"{base}/x": b"f" * 100_000, f"{base}/x/y": b"f" * 100_000})
    assert caught.value.filename == f"{base}/x"
    assert fs.stats()["bytes_sent"] - before < 100_000, "refused before anything is sent"
    assert another.find(base) == []


def test_put(fs, another, base, local):
    with pytest.raises(NotAFolderError):
        fs.put([f"{local}/file", f"{local}/file"], [f"{base}/x", f"{base}/x/y"])
    with pytest.raises(NotAFolderError):
        fs.put([f"{local}/file", f"{local}/dir"], [f"{base}/x", f"{base}/x"])
    assert another.find(base) == []


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_cp_and_mv(fs, another, base, verb):
    content = {f"{base}/a": b"a", f"{base}/b": b"b"}
    fs.pipe(content)
    with pytest.raises(NotAFolderError):
        getattr(fs, verb)([f"{base}/a", f"{base}/b"], [f"{base}/x", f"{base}/x/y"])
    assert another.cat(another.find(base)) == content


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_directory_where_a_file_is(fs, another, base, verb):
    content = {f"{base}/m/1": b"1", f"{base}/blob": b"B"}
    fs.pipe(content)
    with pytest.raises((NotAFolderError, FileExistsError)):
        getattr(fs, verb)(f"{base}/m", f"{base}/blob", recursive=True)
    assert another.cat(another.find(base)) == content


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_file_where_a_directory_is(fs, another, base, verb):
    content = {f"{base}/m/1": b"1", f"{base}/blob": b"B"}
    fs.pipe(content)
    with pytest.raises((FolderError, NotAFolderError)):
        getattr(fs, verb)([f"{base}/blob"], [f"{base}/m"])
    with pytest.raises((FolderError, NotAFolderError)):
        getattr(fs, verb)([f"{base}/m/1"], [f"{base}/blob/1"])
    assert another.cat(another.find(base)) == content


def test_cp_of_two_files_to_one_path_is_the_last(fs, another, base):
    fs.pipe({f"{base}/a/f": b"1", f"{base}/b/f": b"22"})
    fs.cp([f"{base}/a/f", f"{base}/b/f"], f"{base}/c/")
    assert another.find(f"{base}/c") == [f"{base}/c/f"]
    assert another.cat_file(f"{base}/c/f") == b"22"


def test_get_of_two_files_to_one_path(fs, base, tmp_path):
    fs.pipe({f"{base}/p/x.txt": b"p", f"{base}/q/x.txt": b"q"})
    for on_error in ("raise", "return"):
        with pytest.raises(InvalidRequestError, match="two files for one path"):
            fs.get([f"{base}/p/x.txt", f"{base}/q/x.txt"], f"{tmp_path}/", on_error=on_error)
    assert list(tmp_path.iterdir()) == []


def test_put_of_two_files_to_one_path(fs, base, local):
    with pytest.raises(InvalidRequestError, match="two files for one path"):
        fs.put([f"{local}/file", f"{local}/dir/inner"], [f"{base}/x", f"{base}/x"])
    assert fs.find(base) == []


@pytest.mark.parametrize("verb", ["cp", "mv", "put", "get"])
def test_as_many_targets_as_sources(fs, another, base, local, verb):
    content = {f"{base}/a": b"a", f"{base}/b": b"b"}
    fs.pipe(content)
    paths = [f"{local}/file", f"{local}/dir/inner"] if verb == "put" else list(content)
    with pytest.raises(InvalidRequestError, match="one for each"):
        getattr(fs, verb)(paths, [f"{local}/x" if verb == "get" else f"{base}/x"])
    assert another.cat(another.find(base)) == content
    assert not (local / "x").exists()


# --- names with brackets, and patterns -----------------------------------------------------------


@pytest.mark.parametrize("name", ["photo[1].png", "what?.png", "a*.png"])
def test_a_local_name_with_brackets(fs, another, base, tmp_path, name):
    (tmp_path / name).write_bytes(b"one")
    (tmp_path / "photo1.png").write_bytes(b"other")
    fs.put(f"{tmp_path}/{name}", f"{base}/")
    assert another.find(base) == [f"{base}/{name}"]
    fs.put(f"{tmp_path}/{name}", f"{base}/plain.png")
    assert another.cat_file(f"{base}/plain.png") == b"one"
    fs.put([f"{tmp_path}/{name}"], f"{base}/more/")
    assert another.find(f"{base}/more") == [f"{base}/more/{name}"]
    fs.get(f"{base}/{name}", f"{tmp_path}/back/")
    assert [path.name for path in (tmp_path / "back").iterdir()] == [name]


def test_a_local_directory_with_brackets(fs, another, base, tmp_path):
    (tmp_path / "run[1]" / "sub").mkdir(parents=True)
    (tmp_path / "run[1]" / "sub" / "f").write_bytes(b"f")
    fs.put(f"{tmp_path}/run[1]", f"{base}/", recursive=True)
    fs.put([f"{tmp_path}/run[1]/sub"], f"{base}/flat", recursive=True)
    found = {path.removeprefix(f"{base}/") for path in another.find(base)}
    assert found == {"run[1]/sub/f", "flat/f"}
    fs.cp(f"{base}/run[1]", f"{base}/copy", recursive=True)
    assert another.cat_file(f"{base}/copy/sub/f") == b"f"


@pytest.mark.parametrize("verb", ["cat", "rm", "get", "cp", "mv", "put"])
def test_a_pattern_that_nothing_matches_is_named(fs, base, tmp_path, verb):
    pattern = f"{tmp_path}/no*.png" if verb == "put" else f"{base}/no*.png"
    arguments = {"get": [str(tmp_path)], "cp": [f"{base}/x"], "mv": [f"{base}/x"], "put": [base]}
    with pytest.raises(NotFoundError, match="pattern") as caught:
        getattr(fs, verb)(pattern, *arguments.get(verb, []))
    assert caught.value.filename == pattern
    assert caught.value.errno


# --- directories without recursive ----------------------------------------------------------------


def test_what_is_left_out_without_recursive_is_named(fs, base, local, caplog):
    fs.pipe({f"{base}/d/f": b"f", f"{base}/g": b"g"})
    calls = {
        f"{base}/d": (
            lambda: fs.get(f"{base}/d", f"{local}/out"),
            lambda: fs.cp(f"{base}/d", f"{base}/d2"),
            lambda: fs.mv(f"{base}/d", f"{base}/d3"),
            lambda: fs.cp(f"{base}/*", f"{base}/all/"),
        ),
        f"{local}/dir": (
            lambda: fs.put(f"{local}/dir", f"{base}/d4"),
            lambda: fs.put(f"{local}/*", f"{base}/d5/"),
        ),
    }
    for path, works in calls.items():
        for work in works:
            caplog.clear()
            with caplog.at_level(logging.WARNING, "synapsefs"):
                work()
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert path in caplog.text
    caplog.clear()
    fs.put(f"{local}/dir", f"{base}/d6", recursive=True)
    fs.cp(f"{base}/g", f"{base}/h")
    assert caplog.records == []
    found = {path.removeprefix(f"{base}/") for path in fs.find(base)}
    assert found == {"d/f", "g", "h", "all/g", "d5/file", "d6/inner"}
