"""Type checkers know the verbs: those that there are, with just the options that they take."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.verbs.calls import FOREIGN

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "synapsefs"
STUB = ast.parse((PACKAGE / "verbs" / "synchronous.pyi").read_text("utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
VERBS = {
    node.name: node
    for node in CLASSES["SynchronousVerbs"].body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__getattr__"
}
"""Of several overloads the last, which takes whatever the others take."""
ALIASES = {
    node.targets[0].id: node.value.id
    for node in CLASSES["SynchronousVerbs"].body
    if isinstance(node, ast.Assign)
    if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Name)
}
ATTRIBUTES = {
    node.target.id
    for node in CLASSES["SynchronousVerbs"].body
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
}


def keys(name: str) -> set[str]:
    """Give the keys of a ``TypedDict`` of the stub, those of its bases among them."""
    if name not in CLASSES:
        return set()
    node = CLASSES[name]
    own = {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    return own.union(*(keys(base.id) for base in node.bases if isinstance(base, ast.Name)))


def in_class_bodies() -> set[str]:
    """Give the names that the package's own classes define where a type checker sees it."""
    names: set[str] = set()
    for cls in SynapseFileSystem.__mro__:
        if cls.__module__.startswith("synapsefs."):
            tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                    names |= {getattr(part, "name", "") for part in node.body}
    return names


def test_every_public_name_has_types() -> None:
    public = {name for name in dir(SynapseFileSystem) if not name.startswith("_")}
    declared = VERBS.keys() | ALIASES.keys() | ATTRIBUTES
    made_at_run_time = {"asynchronous", "storage_options"}
    assert not declared - public - made_at_run_time
    typed = {"loop", "protocol", "root_marker", "transaction_type"}
    assert not public - declared - in_class_bodies() - typed


@pytest.mark.parametrize("name", sorted(VERBS))
def test_types_have_the_arguments_of_the_verb(name: str) -> None:
    arguments = VERBS[name].args
    typed = [argument.arg for argument in arguments.args][1:]
    defaults = dict(zip(reversed(typed), reversed(arguments.defaults), strict=False))
    function = getattr(SynapseFileSystem, name)
    if not isinstance(inspect.getattr_static(SynapseFileSystem, name), FunctionType):
        assert typed == list(inspect.signature(function).parameters)
        return
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert typed == [p.name for p in positional]
    for parameter in positional:
        default: Any = defaults.get(parameter.name, ast.Name("empty"))
        if isinstance(default, ast.Constant) and default.value is not ...:
            assert default.value == parameter.default
        else:
            assert (parameter.default is parameter.empty) == (parameter.name not in defaults)
    options = {argument.arg for argument in arguments.kwonlyargs}
    if arguments.kwarg is not None:
        options |= keys(ast.unparse(arguments.kwarg.annotation)[len("Unpack[") : -1])
    rules = getattr(function, "rules", None) or getattr(
        inspect.getattr_static(SynapseFileSystem, f"_{name}", None), "rules", None
    )
    if rules is not None and rules.options is not None:
        assert options == rules.options - set(typed) - FOREIGN.get(name, frozenset())


def test_aliases_are_fsspecs() -> None:
    for name, verb in ALIASES.items():
        assert f".{verb}(" in inspect.getsource(getattr(SynapseFileSystem, name)), name


def mypy(file: str, cache: Path) -> str:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-error-summary"]
    options = ["--follow-imports=silent", f"--cache-dir={cache}", "--hide-error-context"]
    done = subprocess.run(
        [*command, *options, f"tests/typing/{file}"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.xdist_group("typing")
def test_right_calls_have_types(cache: Path) -> None:
    assert mypy("right.py", cache) == ""


@pytest.mark.slow
@pytest.mark.xdist_group("typing")
def test_wrong_calls_are_refused(cache: Path) -> None:
    said: dict[int, str] = {}
    for found in re.finditer(r"^\S+?:(\d+): error: (.*)$", mypy("wrong.py", cache), re.MULTILINE):
        said[int(found[1])] = said.get(int(found[1]), "") + found[2]
    lines = (HERE / "typing" / "wrong.py").read_text("utf-8").splitlines()
    expected = {
        number: line.partition("# error: ")[2]
        for number, line in enumerate(lines, 1)
        if "# error: " in line
    }
    assert said.keys() == expected.keys()
    for number, words in expected.items():
        assert words in said[number], lines[number - 1]
