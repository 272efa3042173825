"""Manifests: descriptions and metadata for the files and folders of a tree, in JSON or YAML.

Two formats are in use, and both are read. A folder is a plain object of what it holds, or one with
``entries`` and a ``description`` and ``metadata`` of its own. A file is its description, or an
object with ``description`` and ``metadata``. The whole begins with the folder's name::

    {"tree": {"a.csv": "What was measured",
              "src": {"main.py": {"description": "The program", "metadata": {"version": 2}}}}}

    {"tree": {"description": "All of it",
              "entries": {"a.csv": "What was measured", "src/": {"entries": {"main.py": "It"}}}}}

Nothing is ignored: an entry for a file that is not there is an error.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs.errors import InvalidRequestError, NotFoundError, TooLargeError, enumerated
from synapsefs.local.walk import LocalItem
from synapsefs.metadata import metadata_problem

LONGEST = 16 * 2**20
"""Bytes."""
DESCRIPTION, METADATA, ENTRIES = "description", "metadata", "entries"
_YAML = (".yaml", ".yml")

Said = dict[str, Any]
"""``description`` and ``metadata`` of one file or folder, as far as they are given."""


def read_manifest(filename: str, folder: str) -> tuple[str, Any]:
    """Give the path and the content of a manifest, from its tree or the working directory.

    Raises
    ------
    NotFoundError
        When there is none.
    InvalidRequestError
        For what is neither JSON nor YAML, keys that stand twice, and aliases in YAML.
    TooLargeError
        For more than 16 MiB.
    """
    inside = os.path.join(folder, filename)
    path = inside if os.path.isfile(inside) else filename
    if not os.path.isfile(path):
        raise NotFoundError("no such manifest, in the folder or in the working directory", filename)
    if os.path.getsize(path) > LONGEST:
        raise TooLargeError(f"a manifest has at most {LONGEST} bytes", path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in {".json", *_YAML}:
        raise InvalidRequestError("a manifest's name ends in .json, .yaml or .yml", path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
        return path, _from_yaml(text) if suffix in _YAML else _from_json(text)
    except InvalidRequestError as error:
        error.filename = path
        raise
    except RecursionError as error:
        raise InvalidRequestError("the manifest is nested too deeply", path) from error
    except ValueError as error:
        raise InvalidRequestError(f"the manifest cannot be read: {error}", path) from error


def _from_json(text: str) -> Any:
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        _require_unique(name for name, _ in pairs)
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _require_unique(names: Iterable[Any]) -> None:
    twice = sorted(name for name, count in Counter(map(repr, names)).items() if count > 1)
    if twice:
        raise InvalidRequestError(f"{enumerated(twice)} stands twice")


def _from_yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - only where there is such a manifest

    class Loader(yaml.SafeLoader):
        """Knows no aliases, with which a small text stands for a huge one, and no double keys."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise InvalidRequestError("aliases (*name) are not read: write it out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _require_unique(self.construct_object(key, deep=True) for key, _ in node.value)
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - made of the safe loader  # nosec B506
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"the manifest is not YAML: {error}") from error


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read of a manifest for a tree, and what is wrong with it."""

    items: Mapping[tuple[str, ...], LocalItem]
    attributes: dict[tuple[str, ...], Said]
    problems: list[str]

    def entry(self, parts: tuple[str, ...], value: Any) -> None:
        """Read what stands for one file or folder."""
        if isinstance(value, str):
            self.attributes[parts] = {DESCRIPTION: value}
        elif not isinstance(value, Mapping):
            self._wrong(parts, "is neither text nor an object")
        elif isinstance(value.get(ENTRIES), Mapping):
            self._attributes(parts, value, {DESCRIPTION, METADATA, ENTRIES})
            self._inside(parts, value[ENTRIES])
        elif DESCRIPTION in value or METADATA in value:
            self._attributes(parts, value, {DESCRIPTION, METADATA})
        else:
            self._inside(parts, value)

    def _attributes(
        self, parts: tuple[str, ...], value: Mapping[str, Any], known: set[str]
    ) -> None:
        for key in value:
            if key not in known:
                self._wrong(parts, f"has {key!r}, which is none of {', '.join(sorted(known))}")
        description, metadata = value.get(DESCRIPTION), value.get(METADATA)
        if description is not None and not isinstance(description, str):
            self._wrong(parts, "has a description that is no text")
        if metadata is not None and (problem := metadata_problem(metadata)):
            self._wrong(parts, f"has metadata that {problem}")
        held = {DESCRIPTION: description, METADATA: metadata}
        self.attributes[parts] = {name: one for name, one in held.items() if one is not None}

    def _inside(self, parts: tuple[str, ...], value: Mapping[Any, Any]) -> None:
        if value and not self.items[parts].folder:
            self._wrong(parts, "is a file, and holds nothing")
            return
        seen: set[str] = set()
        for key, held in value.items():
            if not isinstance(key, str):
                self._wrong(parts, f"has the key {key!r}, which is no text: put it in quotes")
                continue
            name = key.removesuffix("/")
            below = (*parts, name)
            if name in seen:
                self._wrong(below, "stands twice")
            elif below not in self.items:
                self._wrong(below, "is not among what is put")
            elif key != name and not self.items[below].folder:
                self._wrong(below, "is a file, no folder")
            else:
                self.entry(below, held)
            seen.add(name)

    def _wrong(self, parts: tuple[str, ...], rule: str) -> None:
        self.problems.append(f"{'/'.join(parts) or 'the folder'} {rule}")


def attributes_in(
    manifest: Any, names: Sequence[str], items: Sequence[LocalItem], path: str
) -> dict[tuple[str, ...], Said]:
    """Give what a manifest holds for each file and directory, by names from the root down.

    Parameters
    ----------
    manifest, path
        As :func:`read_manifest` gave them.
    names
        Names under which the tree's directory may stand in it.
    items
        The tree, its root first.

    Raises
    ------
    InvalidRequestError
        One error that lists every problem.
    """
    if not isinstance(manifest, Mapping):
        raise InvalidRequestError("a manifest is an object with the folder's name as a key", path)
    entries = {str(key).removesuffix("/"): value for key, value in manifest.items()}
    name = next((name for name in names if name in entries), None)
    if name is None:
        speaks = enumerated([repr(key) for key in entries]) or "nothing"
        raise InvalidRequestError(f"nothing about {names[0]!r}; it speaks of {speaks}", path)
    reading = _Reading({item.parts: item for item in items}, {}, [])
    reading.entry((), entries[name])
    if reading.problems:
        raise InvalidRequestError(f"the manifest: {enumerated(reading.problems)}", path)
    return reading.attributes
