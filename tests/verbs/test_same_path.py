"""A source that is its own target, in whatever spelling: refused, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fsspec.generic import GenericFileSystem

from synapsefs import SynapseFileSystem, sync
from synapsefs.cli import main
from synapsefs.errors import InvalidRequestError
from synapsefs.location import Location
from synapsefs.wire.datasets import requests

CONTENT = {"a.csv": b"a", "b.csv": b"b", "deep/c.csv": b"c"}


@pytest.fixture
def tree(another: SynapseFileSystem, base: str) -> str:
    """A directory with files and a directory."""
    another.pipe({f"{base}/{name}": data for name, data in CONTENT.items()})
    return base


def all_of(fs: SynapseFileSystem, base: str) -> dict[str, bytes]:
    fs.invalidate_cache()
    return {path.removeprefix(f"{base}/"): fs.cat_file(path) for path in fs.find(base)}


def by_id(fs: SynapseFileSystem, path: str) -> str:
    """Write a file's path with its id."""
    info = fs.info(path)
    return f"{path.rpartition('/')[0]}/@{info['unit' if 'unit' in info else 'id']}"


def in_container_by_id(fs: SynapseFileSystem, path: str) -> str:
    """Write a path with the id of its collection or dataset."""
    root, container, *inner = path.split("/")
    return "/".join([root, f"@{fs.info(f'{root}/{container}')['id']}", *inner])


FILE_FORMS: dict[str, Callable[[SynapseFileSystem, str], tuple[Any, Any]]] = {
    "the same text": lambda fs, base: (f"{base}/a.csv", f"{base}/a.csv"),
    "its directory": lambda fs, base: (f"{base}/a.csv", f"{base}/"),
    "its directory without slash": lambda fs, base: (f"{base}/a.csv", base),
    "a pattern": lambda fs, base: (f"{base}/*.csv", f"{base}/"),
    "the source by id": lambda fs, base: (by_id(fs, f"{base}/a.csv"), f"{base}/a.csv"),
    "the target by id": lambda fs, base: (f"{base}/a.csv", by_id(fs, f"{base}/a.csv")),
    "the source's container by id": lambda fs, base: (
        in_container_by_id(fs, f"{base}/a.csv"),
        f"{base}/a.csv",
    ),
    "the target's container by id": lambda fs, base: (
        f"{base}/a.csv",
        in_container_by_id(fs, f"{base}/a.csv"),
    ),
    "into the container by id": lambda fs, base: (
        f"{base}/a.csv",
        in_container_by_id(fs, base) + "/",
    ),
    "a URL": lambda fs, base: (f"{base}/a.csv", f"synapse://{base}//a.csv"),
    "an escaped character": lambda fs, base: (f"{base}/a.csv", f"{base}/a%2Ecsv"),
    "one of several": lambda fs, base: (
        [f"{base}/a.csv", f"{base}/b.csv"],
        [f"{base}/new.csv", f"{base}/b.csv"],
    ),
}
TREE_FORMS: dict[str, Callable[[SynapseFileSystem, str], tuple[Any, Any]]] = {
    "the same text": lambda fs, base: (f"{base}/deep", f"{base}/deep"),
    "its directory": lambda fs, base: (f"{base}/deep", f"{base}/"),
    "its directory without slash": lambda fs, base: (f"{base}/deep", base),
    "what it holds": lambda fs, base: (f"{base}/deep/", f"{base}/deep"),
    "everything": lambda fs, base: (f"{base}/", f"{base}/"),
    "a pattern": lambda fs, base: (f"{base}/*", f"{base}/"),
    "the container by id": lambda fs, base: (
        f"{base}/deep/",
        in_container_by_id(fs, base) + "/deep",
    ),
    "itself": lambda fs, base: (f"{base}/deep", f"{base}/deep/deeper"),
    "itself by the container's id": lambda fs, base: (
        f"{base}/deep",
        in_container_by_id(fs, base) + "/deep/deeper",
    ),
    "the whole container": lambda fs, base: (container(base), base.split("/")[0] + "/"),
    "the whole container without slash": lambda fs, base: (container(base), base.split("/")[0]),
    "the whole container by id": lambda fs, base: (
        in_container_by_id(fs, container(base)),
        container(base) + "/",
    ),
    "the whole container into itself": lambda fs, base: (container(base), container(base)),
}


def container(path: str) -> str:
    return "/".join(path.split("/")[:2])


def test_a_file_onto_itself(fs, another, tree):
    for form, spelled in FILE_FORMS.items():
        source, target = spelled(fs, tree)
        for verb in ("mv", "cp"):
            with pytest.raises(InvalidRequestError, match="same file") as caught:
                getattr(fs, verb)(source, target)
            shown = str(caught.value)
            assert shown.count("csv") + shown.count("@") >= 2, f"{form}: both are named"
        assert all_of(another, tree) == CONTENT, form


def test_a_directory_onto_or_into_itself(fs, another, tree):
    for form, spelled in TREE_FORMS.items():
        source, target = spelled(fs, tree)
        for verb in ("mv", "cp"):
            with pytest.raises(InvalidRequestError, match=r"the same|into itself"):
                getattr(fs, verb)(source, target, recursive=True)
        assert all_of(another, tree) == CONTENT, form


def test_by_every_name_of_the_verb(fs, another, tree):
    for verb in ("rename", "move", "mv_file", "cp_file", "copy"):
        with pytest.raises(InvalidRequestError, match="same file"):
            getattr(fs, verb)(f"{tree}/a.csv", by_id(fs, f"{tree}/a.csv"))
        assert all_of(another, tree) == CONTENT, verb


def test_one_name_of_two_entries(fs, another, base):
    """``name@id`` is another file than ``name``, and is the same as ``@id``."""
    if base.startswith("collections"):
        pytest.skip("no two units of one name are made through this package")
    ids = [twin(another, base, text) for text in ("old", "new")]
    path, older = f"{base}/t.txt", f"{base}/t@{ids[0]}.txt"
    assert fs.cat([path, older]) == {path: b"new", older: b"old"}
    with pytest.raises(InvalidRequestError, match="same file"):
        fs.mv(older, f"{base}/@{ids[0]}")
    fs.mv(older, f"{base}/moved.txt")
    assert all_of(another, base) == {"t.txt": b"new", "moved.txt": b"old"}


def twin(fs: SynapseFileSystem, dataset: str, text: str) -> str:
    """Make an entry by the service's own route, whatever is there; give its id."""
    entry = requests.EntryCreate(
        name="t.txt", content=text, file_path="t.txt", dataset_id=fs.info(dataset)["id"]
    )

    async def create() -> Any:
        service: Any = await fs._service(Location.parse(dataset))
        return await service.api.create_entry(entry, dataset, replay=True)

    return sync.run(fs.loop, create()).data_storage.id


def test_a_chain(fs, another, tree):
    """What is a target of the call is not removed as a source."""
    fs.mv([f"{tree}/a.csv", f"{tree}/b.csv"], [f"{tree}/b.csv", f"{tree}/z.csv"])
    assert all_of(another, tree) == {"b.csv": b"a", "z.csv": b"b", "deep/c.csv": b"c"}


def test_an_exchange(fs, another, tree):
    a, b = f"{tree}/a.csv", f"{tree}/b.csv"
    fs.mv([a, b], [b, a])
    assert all_of(another, tree) == {"a.csv": b"b", "b.csv": b"a", "deep/c.csv": b"c"}


def test_two_files_to_one_path(fs, another, tree):
    with pytest.raises(InvalidRequestError, match="two files for one path"):
        fs.mv([f"{tree}/a.csv", f"{tree}/b.csv"], [f"{tree}/z.csv", f"{tree}/z.csv"])
    assert all_of(another, tree) == CONTENT
    fs.cp([f"{tree}/a.csv", f"{tree}/b.csv"], [f"{tree}/z.csv", f"{tree}/z.csv"])
    assert all_of(another, tree) == {**CONTENT, "z.csv": b"b"}


def test_the_command_line(another, options, tree, capsys):
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    given = [part.replace("_", "-") if part.startswith("--") else part for part in given]
    for arguments in (
        ["mv", f"synapse://{tree}/*.csv", f"synapse://{tree}/"],
        ["mv", "-r", f"synapse://{tree}/deep", f"synapse://{tree}/"],
        ["cp", f"synapse://{tree}/a.csv", f"synapse://{tree}/a.csv"],
    ):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *given])
        assert end.value.code == 1
        assert "the same" in capsys.readouterr().err
    assert all_of(another, tree) == CONTENT


def test_rsync_onto_itself(options, another, tree):
    fs = SynapseFileSystem(**options)
    generic = GenericFileSystem(default_method="current", skip_instance_cache=True)
    targets = (tree, in_container_by_id(fs, tree))
    for target, condition in itertools.product(targets, ("always", "different")):
        given = {"delete_missing": True, "update_cond": condition}
        if condition == "always":
            with pytest.raises(InvalidRequestError, match="same file"):
                generic.rsync(f"synapse://{tree}", f"synapse://{target}", **given)
        else:
            generic.rsync(f"synapse://{tree}", f"synapse://{target}", **given)
        assert all_of(another, tree) == CONTENT


def test_a_move_of_a_directory_still_moves(fs, another, tree):
    fs.mv(f"{tree}/deep", f"{tree}/{uuid.uuid4().hex[:6]}/moved", recursive=True)
    found = all_of(another, tree)
    assert sorted(os.path.basename(name) for name in found) == ["a.csv", "b.csv", "c.csv"]
    assert "deep/c.csv" not in found
