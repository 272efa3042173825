"""What users may rely on."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
import json

import fsspec

import synapsefs
from tests.support.running import python

PUBLIC = {
    "AccessDeniedError",
    "AlreadyExistsError",
    "ChangedError",
    "ChecksumError",
    "ConflictError",
    "DiscardedWarning",
    "InvalidPathError",
    "InvalidRequestError",
    "NotFoundError",
    "SynapseError",
    "SynapseFileSystem",
    "UnreachableError",
    "UnsupportedError",
    "__version__",
}
HEAVY = {
    "difflib",
    "jsonschema",
    "numpy",
    "pandas",
    "pathspec",
    "platformdirs",
    "pyarrow",
    "pydantic",
    "sqlite3",
    "synapsefs.cli",
    "synapsefs.server",
    "synapsefs.services.collections",
    "synapsefs.services.datasets",
    "synapsefs.wire",
    "tqdm",
    "typer",
    "yaml",
}
"""Modules that are imported when they are first needed."""
ARGUMENTS = ["endpoint_url", "token", "tenant", "datasets_endpoint_url", "datasets_token"]


def test_public_names() -> None:
    assert set(synapsefs.__all__) == PUBLIC
    assert list(synapsefs.__all__) == sorted(synapsefs.__all__)
    for name in synapsefs.__all__:
        assert hasattr(synapsefs, name)


def test_first_arguments_keep_their_names_and_order() -> None:
    signature = inspect.signature(synapsefs.SynapseFileSystem.__init__)
    assert list(signature.parameters)[1 : 1 + len(ARGUMENTS)] == ARGUMENTS


def test_fsspec_finds_the_protocol() -> None:
    points = importlib.metadata.entry_points(group="fsspec.specs", name="synapse")
    assert [point.value for point in points] == ["synapsefs.SynapseFileSystem"]
    assert fsspec.get_filesystem_class("synapse") is synapsefs.SynapseFileSystem


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("synapsefs").joinpath("py.typed").is_file()


def test_one_version() -> None:
    assert importlib.metadata.version("synapsefs") == synapsefs.__version__


def test_import_leaves_heavy_modules_alone() -> None:
    done = python("import json, sys, synapsefs; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(json.loads(done.stdout))
