"""Verbs on a file or directory, their effects on a plain model, and all ordered pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.actors import Call, call

KINDS = ("single", "paired", "binary", "text")
"""A collection of one specification, one of two, and datasets without and with text, which the
service stores differently."""

OPTIONAL_META = {
    "category": "image",
    "file_specifications": [
        {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True,
         "function_type": "main"},
        {"name": "json_meta_1", "file_type": "data", "is_required": False,
         "function_type": "meta"},
    ],
}  # fmt: skip


class Refused(Exception):  # noqa: N818 - no error of the product
    """The operation is impossible in the model."""


@dataclass
class Model:
    """The expected state.

    Attributes
    ----------
    files
        Contents by path below the container.
    attributes, tags
        Values that must be among those of a key (a file, or the files of a unit).
    exists
        Whether the container does.
    folders
        Directories that were created.
    """

    kind: str
    files: dict[str, bytes] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    tags: dict[str, set[str]] = field(default_factory=dict)
    exists: bool = True
    folders: set[str] = field(default_factory=set)

    def copy(self) -> Model:
        return replace(
            self,
            files=dict(self.files),
            attributes={key: dict(found) for key, found in self.attributes.items()},
            tags={key: set(found) for key, found in self.tags.items()},
            folders=set(self.folders),
        )

    def names(self, key: str) -> list[str]:
        """Give the paths of a key, the main file first."""
        return {
            "single": [f"data_1/{key}.bin"],
            "paired": [f"image_1/{key}.png", f"json_meta_1/{key}.json"],
            "binary": [f"{key}.bin"],
            "text": [f"{key}.txt"],
        }[self.kind]

    def present(self, key: str) -> list[str]:
        """Give the files of a key.

        Raises
        ------
        Refused
            If it has none.
        """
        found = [name for name in self.names(key) if name in self.files]
        if not found:
            raise Refused
        return found

    @property
    def in_dataset(self) -> bool:
        return self.kind in {"binary", "text"}

    def content(self, words: str) -> bytes:
        return words.encode() + (b"\n" if self.kind == "text" else b"\xff")

    def write(self, key: str, contents: dict[str, bytes]) -> None:
        if not self.exists:
            raise Refused
        main = self.names(key)[0]
        if main not in self.files and main not in contents:
            raise Refused
        if self.kind == "single" or main not in self.files:
            self.attributes[key], self.tags[key] = {}, set()
        self.files.update(contents)

    def remove(self, names: list[str]) -> None:
        for name in names:
            if name not in self.files:
                raise Refused
            del self.files[name]

    def copy_key(self, source: str, target: str) -> None:
        """Copy a key to another, with its attributes if the target did not exist."""
        found = [name for name in self.names(source) if name in self.files]
        if not found or not self.exists:
            raise Refused
        fresh = self.names(target)[0] not in self.files
        for name, other in zip(self.names(source), self.names(target), strict=True):
            if name in self.files:
                self.files[other] = self.files[name]
        self.attributes[target] = dict(self.attributes.get(source, {})) if fresh else {}
        self.tags[target] = set(self.tags.get(source, ())) if fresh else set()


@dataclass(frozen=True)
class Scene:
    """One case: its container, its actors and its paths."""

    container: str
    actor: str
    key: str
    believed: Model

    def at(self, name: str) -> str:
        return f"{self.container}/{name}" if name else self.container

    def all(self, key: str) -> list[str]:
        """Give the paths of the files that an actor with the current state names."""
        names = self.believed.names(key)
        found = [name for name in names if name in self.believed.files] or names
        return [self.at(name) for name in found]

    def content(self, words: str) -> bytes:
        return self.believed.content(f"{self.actor} {words}")


Effect = Callable[[Model, Scene], None]


@dataclass(frozen=True)
class Verb:
    """An actor's operation.

    Attributes
    ----------
    calls
        Gives the calls.
    effect
        Applies the same to a model, or raises :class:`Refused`.
    kinds
        The kinds of container it applies to.
    """

    calls: Callable[[Scene], list[Call]]
    effect: Effect
    kinds: tuple[str, ...] = KINDS


DATASETS = ("binary", "text")
_FOLDERS = {"single": ["data_1/d"], "paired": ["image_1/d", "json_meta_1/d"]}


def _folders(scene: Scene, name: str = "d") -> list[str]:
    found = _FOLDERS.get(scene.believed.kind, ["d"])
    return [scene.at(f"{folder[:-1]}{name}") for folder in found]


def _main(scene: Scene, key: str | None = None) -> str:
    return scene.at(scene.believed.names(key or scene.key)[0])


def _write(model: Model, scene: Scene) -> None:
    model.write(scene.key, {model.names(scene.key)[0]: scene.content("main")})


def _write_meta(model: Model, scene: Scene) -> None:
    model.write(scene.key, {model.names(scene.key)[1]: scene.content("meta")})


def _both(scene: Scene) -> dict[str, bytes]:
    main, meta = scene.believed.names(scene.key)
    return {main: scene.content("main"), meta: scene.content("meta")}


def _create(model: Model, scene: Scene) -> None:
    if model.names(scene.key)[0] in model.files:
        raise Refused
    _write(model, scene)


def _remove(model: Model, scene: Scene) -> None:
    model.remove(model.present(scene.key))


def _remove_meta(model: Model, scene: Scene) -> None:
    model.remove([model.names(scene.key)[1]])


def _move(source: str, target: str) -> Effect:
    def effect(model: Model, scene: Scene) -> None:
        first, second = source or scene.key, target or scene.key
        model.copy_key(first, second)
        model.remove(model.present(first))

    return effect


def _copy(source: str, target: str) -> Effect:
    def effect(model: Model, scene: Scene) -> None:
        model.copy_key(source or scene.key, target or scene.key)

    return effect


def _between(verb: str, source: str, target: str) -> Callable[[Scene], list[Call]]:
    """Give calls that copy or move the files of a key concurrently."""

    def calls(scene: Scene) -> list[Call]:
        first = scene.all(source or scene.key)
        names = scene.believed.names(target or scene.key)[: len(first)]
        return [call(verb, first, [scene.at(name) for name in names])]

    return calls


def _annotate(model: Model, scene: Scene) -> None:
    model.present(scene.key)
    model.attributes.setdefault(scene.key, {})[f"by_{scene.actor}"] = "1"


def _tag(model: Model, scene: Scene) -> None:
    model.present(scene.key)
    model.tags.setdefault(scene.key, set()).add(f"by_{scene.actor}")


def _remove_folder(model: Model, _: Scene) -> None:
    found = [name for name in model.files if "/d/" in f"/{name}"]
    gone = {folder for folder in model.folders if f"{folder}/".startswith("d/")}
    if not found and not gone:
        raise Refused
    model.remove(found)
    model.folders -= gone


def _move_folder(model: Model, scene: Scene) -> None:
    before = model.copy()
    _remove_folder(model, scene)
    for name in before.files:
        if name not in model.files:
            model.files[f"/{name}".replace("/d/", "/e/")[1:]] = before.files[name]
    for key in list(model.attributes):
        if key.startswith("d/"):
            model.attributes[f"e/{key[2:]}"] = model.attributes[key]
    for key in list(model.tags):
        if key.startswith("d/"):
            model.tags[f"e/{key[2:]}"] = model.tags[key]
    moved = {f for f in before.folders if f.startswith("d/")}
    model.folders |= {f"e/{folder[2:]}" for folder in moved}


def _make_folder(model: Model, _: Scene) -> None:
    """Create missing parents too."""
    if "d/sub" in model.folders:
        raise Refused
    model.exists = True
    model.folders |= {"d", "d/sub"}


def _remove_empty(model: Model, _: Scene) -> None:
    if "empty" not in model.folders or any(name.startswith("empty/") for name in model.files):
        raise Refused
    model.folders.remove("empty")


def _fill(model: Model, scene: Scene) -> None:
    model.write("empty/f", {model.names("empty/f")[0]: scene.content("filled")})
    model.folders.add("empty")


def _remove_container(model: Model, _: Scene) -> None:
    if not model.exists:
        raise Refused
    model.files.clear()
    model.folders.clear()
    model.exists = False


def _remake(model: Model, scene: Scene) -> None:
    _remove_container(model, scene)
    model.exists = True


def container_options(kind: str) -> dict[str, Any]:
    """Give the options to create a container of a kind."""
    return OPTIONAL_META if kind == "paired" else {}


def _remade(scene: Scene) -> list[Call]:
    options = container_options(scene.believed.kind)
    return [
        call("rm", scene.container, recursive=True),
        call("mkdir", scene.container, **options),
    ]


VERBS: dict[str, Verb] = {
    "write": Verb(lambda s: [call("pipe_file", _main(s), s.content("main"))], _write),
    "write meta": Verb(
        lambda s: [call("pipe_file", s.at(s.believed.names(s.key)[1]), s.content("meta"))],
        _write_meta,
        ("paired",),
    ),
    "write both": Verb(
        lambda s: [call("pipe", {s.at(name): data for name, data in _both(s).items()})],
        lambda model, scene: model.write(scene.key, _both(scene)),
        ("paired",),
    ),
    "create": Verb(
        lambda s: [call("pipe_file", _main(s), s.content("main"), mode="create")], _create
    ),
    "remove": Verb(lambda s: [call("rm", s.all(s.key))], _remove),
    "remove one": Verb(
        lambda s: [call("rm_file", _main(s))], _remove, ("single", "binary", "text")
    ),
    "remove meta": Verb(
        lambda s: [call("rm", s.at(s.believed.names(s.key)[1]))], _remove_meta, ("paired",)
    ),
    "move away": Verb(_between("mv", "", "d/moved"), _move("", "d/moved")),
    "move onto": Verb(_between("mv", "d/b", ""), _move("d/b", "")),
    "copy away": Verb(_between("cp", "", "d/copy"), _copy("", "d/copy")),
    "copy onto": Verb(_between("cp", "d/b", ""), _copy("d/b", "")),
    "annotate": Verb(lambda s: [call("setxattrs", _main(s), {f"by_{s.actor}": "1"})], _annotate),
    "tag": Verb(
        lambda s: [call("put_tags", _main(s), [f"by_{s.actor}"], mode="m")], _tag, DATASETS
    ),
    "remove folder": Verb(lambda s: [call("rm", _folders(s), recursive=True)], _remove_folder),
    "move folder": Verb(
        lambda s: [call("mv", _folders(s)[0], _folders(s, "e")[0], recursive=True)],
        _move_folder,
        ("single", "binary", "text"),
    ),
    "make folder": Verb(lambda s: [call("mkdir", s.at("d/sub"))], _make_folder, DATASETS),
    "remove empty folder": Verb(lambda s: [call("rmdir", s.at("empty"))], _remove_empty, DATASETS),
    "fill empty folder": Verb(
        lambda s: [call("pipe_file", _main(s, "empty/f"), s.content("filled"))], _fill, DATASETS
    ),
    "remove container": Verb(
        lambda s: [call("rm", s.container, recursive=True)], _remove_container
    ),
    "remake container": Verb(_remade, _remake),
}


@dataclass(frozen=True)
class Pair:
    """Two operations, one after the other."""

    kind: str
    first: str
    second: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.first}, then {self.second} ({self.key})"


def before(kind: str) -> Model:
    """Give the initial state of a case: two keys with attributes, in a directory."""
    model = Model(kind)
    for key in ("d/a", "d/b"):
        for name in model.names(key):
            model.files[name] = model.content(f"base {name}")
        model.attributes[key] = {"origin": key}
        model.tags[key] = {"base"} if model.in_dataset else set()
    if model.in_dataset:
        model.folders = {"d", "empty"}
    return model


def pairs(kind: str) -> Iterator[Pair]:
    """Give every pair whose first operation is possible, on an existing key and on a new one."""
    names = [name for name, verb in VERBS.items() if kind in verb.kinds]
    for key in ("d/a", "d/new"):
        for first in names:
            known = before(kind)
            try:
                VERBS[first].effect(known, Scene("", "A", key, known))
            except Refused:
                continue
            yield from (Pair(kind, first, second, key) for second in names)
