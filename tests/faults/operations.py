"""The operations under test: initial files, the verb, the expected result."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapsefs import SynapseFileSystem

MIB = 2**20
COLLECTION_PART = 64 * 2**10
DATASET_PART = 5 * MIB
"""The minimum part size of the datasets service."""

PAIRED = {
    "category": "image",
    "file_specifications": [
        {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True,
         "function_type": "main"},
        {"name": "json_meta_1", "file_type": "data", "is_required": True, "function_type": "meta"},
    ],
}  # fmt: skip
"""A collection whose units have two files each."""


@functools.lru_cache(maxsize=16)
def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(size + seed).randbytes(size)


SMALL, OTHER, TEXT, NEW_TEXT = noise(3000), noise(2000), b"one line\r\n", b"another line\n"
WHOLE = noise(300_000)


def several_parts(root: str) -> bytes:
    """Give content of more than one part."""
    return noise(2 * COLLECTION_PART + 1000 if root == "collections" else DATASET_PART + 1000)


def five_parts(root: str) -> bytes:
    """Give content of five parts."""
    part = COLLECTION_PART if root == "collections" else DATASET_PART
    return noise(4 * part + 1000)


@dataclass(frozen=True)
class Place:
    """The setting of a case: a directory of its own, in a container that may be shared."""

    container: str
    folder: str
    local: Path

    @property
    def root(self) -> str:
        return self.container.partition("/")[0]

    def at(self, name: str) -> str:
        """Give the path of a name: ``a.bin``, or ``image_1:a.png`` for one file of a unit."""
        specification, _, last = name.rpartition(":")
        above = [self.container]
        if self.root == "collections":
            above.append(specification or "data_1")
        return "/".join([*above, self.folder, last])

    def name_of(self, path: str) -> str:
        """Undo :meth:`at`."""
        specification, _, last = path.partition(f"/{self.folder}/")
        specification = specification.removeprefix(self.container).strip("/")
        return f"{specification}:{last}" if specification not in {"", "data_1"} else last


State = dict[str, bytes]


@dataclass(frozen=True)
class Operation:
    """One verb under test.

    Attributes
    ----------
    before, after
        The files before and after it; ``after`` is None if nothing changes.
    act
        Runs it, and gives the value to compare with ``value``.
    together
        Whether ``after`` appears atomically.
    keeps
        Whether the same contents exist throughout, under one name or another.
    client
        Options of the instance that runs it.
    """

    act: Callable[[SynapseFileSystem, Place], Any]
    before: State = field(default_factory=dict)
    after: State | None = None
    value: Any = None
    roots: tuple[str, ...] = ("collections", "datasets")
    options: dict[str, Any] = field(default_factory=dict)
    together: bool = True
    keeps: bool = False
    client: dict[str, Any] = field(default_factory=dict)

    @property
    def heavy(self) -> bool:
        """Whether it transfers so much that a busy machine needs longer timeouts."""
        return sum(map(len, (self.after or {}).values())) > MIB


def _open_read(fs: SynapseFileSystem, place: Place) -> bytes:
    with fs.open(place.at("a.bin")) as file:
        return bytes(file.read())


def _fetched(fs: SynapseFileSystem, place: Place, *names: str) -> State:
    for name in names:
        fs.get_file(place.at(name), str(place.local / name))
    return local_files(place)


def local_files(place: Place) -> State:
    return {path.name: path.read_bytes() for path in place.local.rglob("*") if path.is_file()}


def _got(fs: SynapseFileSystem, place: Place) -> State:
    fs.get(place.at("").rstrip("/"), str(place.local / "tree"), recursive=True)
    return local_files(place)


def _write(fs: SynapseFileSystem, place: Place) -> None:
    data = several_parts(place.root)
    with fs.open(place.at("a.bin"), "wb") as file:
        for start in range(0, len(data), 50_000):
            file.write(data[start : start + 50_000])


def _write_five(fs: SynapseFileSystem, place: Place) -> None:
    data = five_parts(place.root)
    with fs.open(place.at("a.bin"), "wb") as file:
        for start in range(0, len(data), MIB):
            file.write(data[start : start + MIB])


def _one_by_one(fs: SynapseFileSystem, place: Place) -> None:
    """Write files, and record on disk which of them the service has acknowledged."""
    for name, data in TREE.items():
        fs.pipe_file(place.at(name), data)
        with (place.local / "acknowledged").open("a") as log:
            log.write(f"{name}\n")


def _put(fs: SynapseFileSystem, place: Place) -> None:
    source = place.local / "source"
    source.write_bytes(several_parts(place.root))
    fs.put_file(str(source), place.at("a.bin"))
    source.unlink()


TREE = {"sub/a.bin": SMALL, "sub/b.txt": TEXT, "c.bin": OTHER}
UNITS = {
    f"{specification}:{name}": noise(900, len(name + specification))
    for specification, name in (
        ("image_1", "a.png"),
        ("json_meta_1", "a.json"),
        ("image_1", "bb.png"),
        ("json_meta_1", "bb.json"),
    )
}


def _put_tree(fs: SynapseFileSystem, place: Place) -> None:
    source = place.local / "source"
    for name, data in TREE.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    fs.put(f"{source}/", place.at(""), recursive=True)


def _put_units(fs: SynapseFileSystem, place: Place) -> None:
    source = place.local / "units"
    for name, data in UNITS.items():
        spec, _, last = name.partition(":")
        file = source / spec / place.folder / last
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    fs.put(f"{source}/", f"{place.container}/", recursive=True)


def _transaction(fs: SynapseFileSystem, place: Place) -> None:
    with fs.transaction:
        for name, data in {"a.bin": SMALL, "b.bin": OTHER}.items():
            with fs.open(place.at(name), "wb") as file:
                file.write(data)


def _paired_transaction(fs: SynapseFileSystem, place: Place) -> None:
    with fs.transaction:
        for name, data in UNITS.items():
            fs.pipe_file(place.at(name), data)


def _names(fs: SynapseFileSystem, place: Place) -> list[str]:
    return [place.name_of(path) for path in fs.find(place.at("").rstrip("/"))]


def _listed(fs: SynapseFileSystem, place: Place) -> dict[str, int]:
    found = fs.ls(place.at("").rstrip("/"), detail=True)
    return {place.name_of(info["name"]): info["size"] for info in found}


FILES = {"a.bin": SMALL, "b.txt": TEXT}


def _rename_collection(fs: SynapseFileSystem, place: Place) -> int:
    """Two collections may have the old name: the service accepts the same request twice."""
    old = f"{place.container}-{place.folder}"
    fs.mkdir(old)
    number = fs.info(old)["id"]
    fs.mv(f"collections/@{number}", f"{old}-renamed", recursive=True)
    return int(fs.info(f"{old}-renamed")["id"]) - int(number)


READS: dict[str, Operation] = {
    "cat whole": Operation(
        lambda fs, place: fs.cat_file(place.at("a.bin")), {"a.bin": WHOLE}, value=WHOLE
    ),
    "cat text": Operation(
        lambda fs, place: fs.cat_file(place.at("b.txt")), {"b.txt": TEXT}, value=TEXT
    ),
    "cat range": Operation(
        lambda fs, place: fs.cat_file(place.at("a.bin"), 1000, 200_000),
        {"a.bin": WHOLE},
        value=WHOLE[1000:200_000],
    ),
    "open and read": Operation(_open_read, {"a.bin": WHOLE}, value=WHOLE),
    "get": Operation(
        lambda fs, place: _fetched(fs, place, "a.bin"), {"a.bin": WHOLE}, value={"a.bin": WHOLE}
    ),
    "get tree": Operation(_got, FILES, value=FILES),
    "ls": Operation(_listed, FILES, value={name: len(data) for name, data in FILES.items()}),
    "find": Operation(_names, FILES, value=sorted(FILES)),
    "info": Operation(
        lambda fs, place: fs.info(place.at("a.bin"))["size"], {"a.bin": SMALL}, value=len(SMALL)
    ),
    "exists": Operation(
        lambda fs, place: [fs.exists(place.at(name)) for name in ("a.bin", "nothing")],
        {"a.bin": SMALL},
        value=[True, False],
    ),
}

WRITES: dict[str, Operation] = {
    "pipe": Operation(
        lambda fs, place: fs.pipe_file(place.at("a.bin"), SMALL), after={"a.bin": SMALL}
    ),
    "pipe text": Operation(
        lambda fs, place: fs.pipe_file(place.at("b.txt"), TEXT), after={"b.txt": TEXT}
    ),
    "overwrite": Operation(
        lambda fs, place: fs.pipe_file(place.at("a.bin"), OTHER),
        {"a.bin": SMALL},
        {"a.bin": OTHER},
    ),
    "overwrite text": Operation(
        lambda fs, place: fs.pipe_file(place.at("b.txt"), NEW_TEXT),
        {"b.txt": TEXT},
        {"b.txt": NEW_TEXT},
    ),
    "create": Operation(
        lambda fs, place: fs.pipe_file(place.at("a.bin"), SMALL, mode="create"),
        after={"a.bin": SMALL},
    ),
    "touch": Operation(lambda fs, place: fs.touch(place.at("a.bin")), after={"a.bin": b""}),
    "put tree": Operation(_put_tree, after=TREE, together=False),
    "put together": Operation(
        _put_tree, after=TREE, roots=("collections",), client={"max_concurrency": 1}
    ),
    "put units": Operation(
        _put_units, after=UNITS, roots=("collections",), options=PAIRED, together=True
    ),
    "transaction": Operation(
        _transaction, after={"a.bin": SMALL, "b.bin": OTHER}, together=False
    ),
    "transaction of units": Operation(
        _paired_transaction, after=UNITS, roots=("collections",), options=PAIRED
    ),
    "cp": Operation(
        lambda fs, place: fs.cp_file(place.at("a.bin"), place.at("copy.bin")),
        {"a.bin": SMALL},
        {"a.bin": SMALL, "copy.bin": SMALL},
    ),
    "mv": Operation(
        lambda fs, place: fs.mv(place.at("a.bin"), place.at("moved.bin")),
        {"a.bin": SMALL},
        {"moved.bin": SMALL},
        together=False,
        keeps=True,
    ),
    "rm": Operation(lambda fs, place: fs.rm(place.at("a.bin")), FILES, {"b.txt": TEXT}),
    "rm tree": Operation(
        lambda fs, place: fs.rm(place.at("").rstrip("/"), recursive=True),
        FILES,
        {},
        together=False,
    ),
}  # fmt: skip


def _say(fs: SynapseFileSystem, place: Place) -> dict[str, Any]:
    path = place.at("a.bin")
    fs.pipe_file(path, OTHER, description="d", tags=["t"], metadata={"k": [1]})
    info = fs.info(path)
    return {name: info[name] for name in ("description", "tags", "metadata")}


def _tag(fs: SynapseFileSystem, place: Place) -> list[str]:
    fs.put_tags(place.at("b.txt"), ["t"])
    return fs.get_tags(place.at("b.txt"))


def _write_on_version(fs: SynapseFileSystem, place: Place) -> None:
    path = place.at("b.txt")
    fs.pipe_file(path, NEW_TEXT, base_version=fs.info(path)["version"])


def _older(fs: SynapseFileSystem, place: Place) -> bytes:
    [first] = fs.revisions(place.at("a.bin"))
    return fs.cat_file(place.at("a.bin"), version=first["version"])


COLLECTIONS: dict[str, Operation] = {
    "describe a collection": Operation(
        lambda fs, place: fs.setxattrs(place.container, description="anew")["description"],
        {"a.bin": SMALL},
        value="anew",
    ),
    "rename a collection": Operation(_rename_collection, value=0),
}
"""Operations for collections only."""

ENTRIES: dict[str, Operation] = {
    "say": Operation(
        _say,
        {"a.bin": SMALL},
        {"a.bin": OTHER},
        value={"description": "d", "tags": ["t"], "metadata": {"k": [1]}},
    ),
    "set attributes": Operation(
        lambda fs, place: fs.setxattrs(place.at("a.bin"), k=1), {"a.bin": SMALL}, value={"k": 1}
    ),
    "set attributes of text": Operation(
        lambda fs, place: fs.setxattrs(place.at("b.txt"), k=1), {"b.txt": TEXT}, value={"k": 1}
    ),
    "tag": Operation(_tag, {"b.txt": TEXT}, value=["t"]),
    "write on a version": Operation(_write_on_version, {"b.txt": TEXT}, {"b.txt": NEW_TEXT}),
    "read a revision": Operation(_older, {"a.bin": SMALL}, value=SMALL),
}
"""Operations for entries of datasets only."""


def _multipart(root: str) -> dict[str, Operation]:
    after = {"a.bin": several_parts(root)}
    return {
        "write parts": Operation(_write, after=after),
        "replace parts": Operation(_write, {"a.bin": SMALL}, after),
        "put parts": Operation(_put, after=after),
    }


def lasting(root: str) -> dict[str, Operation]:
    """Give the operations during which processes are killed."""
    five = {"a.bin": five_parts(root)}
    found = {
        "write five parts": Operation(_write_five, after=five),
        "replace by five parts": Operation(_write_five, {"a.bin": SMALL}, five),
        "put tree": WRITES["put tree"],
        "transaction": WRITES["transaction"],
        "one by one": Operation(_one_by_one, after=TREE, together=False),
    }
    if root == "collections":
        found["transaction of units"] = WRITES["transaction of units"]
    return found


def operations(root: str) -> dict[str, Operation]:
    """Give the operations of one root, by name."""
    own = {"collections": COLLECTIONS, "datasets": ENTRIES}
    found = {**READS, **WRITES, **_multipart(root), **own[root]}
    return {name: operation for name, operation in found.items() if root in operation.roots}


def act(fs: SynapseFileSystem, name: str, container: str, folder: str, local: str) -> None:
    """Run an operation in a process that will be killed."""
    place = Place(container, folder, Path(local))
    lasting(place.root)[name].act(fs, place)
