"""Older revisions of files in datasets are listed, described and read."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from synapsefs import (
    ChangedError,
    InvalidRequestError,
    NotFoundError,
    SynapseFileSystem,
    UnsupportedError,
)
from synapsefs.errors import FolderError
from synapsefs.services.datasets import revisions

TEXTS = [b"one\r\n", b"two two\n", b"three three three"]
OBJECTS = [b"\xff\x00one", b"\xff\x00two" * 3, b"\xff\x00three" * 9]


@pytest.fixture(params=["texts", "objects"])
def written(request: pytest.FixtureRequest, fs: SynapseFileSystem, dataset: str) -> Any:
    """A file that was written three times, and its contents, oldest first."""
    contents = TEXTS if request.param == "texts" else OBJECTS
    path = f"{dataset}/folder/f.txt"
    for number, content in enumerate(contents):
        fs.pipe_file(path, content, metadata={"number": number})
    return path, contents


def test_revisions_are_listed_newest_first(another: SynapseFileSystem, written: Any) -> None:
    path, contents = written
    found = another.revisions(path)
    assert [one["revision"] for one in found] == [2, 1, 0]
    assert [one["current"] for one in found] == [True, False, False]
    assert [one["metadata"] for one in found] == [{"number": 2}, {"number": 1}, {"number": 0}]
    assert [one["size"] for one in found] == [len(content) for content in reversed(contents)]
    assert [one["base_version"] for one in found] == [
        found[1]["version"],
        found[2]["version"],
        None,
    ]
    assert found[0]["published"] >= found[1]["published"] >= found[2]["published"]
    assert {one["name"] for one in found} == {path}


def test_an_older_revision_is_read_by_id_and_by_number(
    another: SynapseFileSystem, written: Any, tmp_path: Path
) -> None:
    path, contents = written
    for one in another.revisions(path):
        expected = contents[one["revision"]]
        for version in (one["version"], one["revision"]):
            assert another.cat_file(path, version=version) == expected
            assert another.cat_file(path, 1, 3, version=version) == expected[1:3]
            with another.open(path, version=version) as file:
                assert file.read(2) == expected[:2]
                with pickle.loads(pickle.dumps(file)) as copy:
                    assert copy.read() == expected[2:]
            info = another.info(path, version=version)
            assert (info["size"], info["version"]) == (len(expected), one["version"])
            assert (info["revision"], info["metadata"]) == (one["revision"], one["metadata"])
            for get in (another.get_file, another.get):
                (tmp_path / "got").unlink(missing_ok=True)
                get(path, str(tmp_path / "got"), version=version)
                assert (tmp_path / "got").read_bytes() == expected
            assert (tmp_path / "got").read_bytes() == expected
    assert another.cat_file(path) == contents[-1]
    assert another.info(path)["metadata"] == {"number": 2}


def test_many_revisions_are_listed_page_by_page(
    fs: SynapseFileSystem, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "PAGE", 2)
    for number in range(5):
        fs.pipe_file(f"{dataset}/f.txt", str(number).encode())
    found = fs.revisions(f"{dataset}/f.txt")
    assert [one["revision"] for one in found] == [4, 3, 2, 1, 0]


def test_a_write_may_name_its_base_by_number(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path = f"{dataset}/f.txt"
    fs.pipe_file(path, b"0")
    fs.pipe_file(path, b"1", base_version=0)
    with pytest.raises(ChangedError):
        another.pipe_file(path, b"2", base_version=0)
    another.pipe_file(path, b"2", base_version=1)
    assert fs.cat_file(path, version=2) == b"2"


def test_an_old_text_is_read_as_text(another: SynapseFileSystem, dataset: str) -> None:
    for content in ("first", "second"):
        another.pipe_file(f"{dataset}/t.txt", content.encode())
    with another.open(f"{dataset}/t.txt", "r", version=0) as file:
        assert file.read() == "first"


def test_a_reader_goes_on_with_the_version_that_it_opened(
    fs: SynapseFileSystem, another: SynapseFileSystem, dataset: str
) -> None:
    path, data = f"{dataset}/b.bin", b"\xff" + b"x" * 300_000
    fs.pipe_file(path, data)
    with another.open(path) as file:
        assert file.read(10) == data[:10]
        fs.pipe_file(path, b"\xfe other")
        assert file.read() == data[10:]
    assert another.cat_file(path, version=0) == data


@pytest.mark.parametrize("version", [7, "11111111-1111-1111-1111-111111111111", "id@then"])
def test_there_is_no_such_revision(fs: SynapseFileSystem, dataset: str, version: str | int) -> None:
    fs.pipe_file(f"{dataset}/f.txt", b"x")
    with pytest.raises(NotFoundError) as caught:
        fs.cat_file(f"{dataset}/f.txt", version=version)
    assert caught.value.filename == f"{dataset}/f.txt"


@pytest.mark.parametrize("version", [True, "", 1.5])
def test_a_version_is_an_id_or_a_number(fs: SynapseFileSystem, dataset: str, version: Any) -> None:
    fs.pipe_file(f"{dataset}/f.txt", b"x")
    with pytest.raises(InvalidRequestError, match="a revision's id or its number"):
        fs.cat_file(f"{dataset}/f.txt", version=version)


def test_the_version_that_info_tells_can_be_opened(
    fs: SynapseFileSystem, another: SynapseFileSystem, base: str
) -> None:
    fs.pipe_file(f"{base}/f.bin", b"\xffx")
    assert another.cat_file(f"{base}/f.bin", version=another.info(f"{base}/f.bin")["version"])
    listed = another.ls(base, detail=True)[0]["version"]
    assert fs.cat_file(f"{base}/f.bin", version=listed) == b"\xffx"


def test_only_files_of_datasets_have_revisions(fs: SynapseFileSystem, base: str) -> None:
    fs.pipe_file(f"{base}/f.bin", b"x")
    if base.startswith("datasets"):
        with pytest.raises(FolderError):
            fs.revisions(base)
    else:
        with pytest.raises(UnsupportedError, match="no older versions"):
            fs.revisions(f"{base}/f.bin")
        with pytest.raises(UnsupportedError, match="no older versions"):
            fs.cat_file(f"{base}/f.bin", version="other")


def test_asynchronously(options: dict[str, Any], dataset: str) -> None:
    path = f"{dataset}/f.txt"

    async def main() -> None:
        fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        async with fs:
            for content in TEXTS:
                await fs._pipe_file(path, content)
            found = await fs._revisions(path)
            assert [one["revision"] for one in found] == [2, 1, 0]
            assert await fs._cat_file(path, version=0) == TEXTS[0]
            async with await fs.open_async(path, version=found[1]["version"]) as file:
                assert await file.read() == TEXTS[1]
            async with await fs.open_async(path, "wb", base_version=found[0]["version"]) as file:
                await file.write(b"four")
            assert await fs._cat_file(path) == b"four"

    asyncio.run(main())
