"""The house stays in order: imports point one way, and nothing grows too large or stands twice."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from synapsefs.sync import SERVER_THREADS

HERE = Path(__file__).parent.parent
PACKAGE = HERE / "synapsefs"
MAX_LINES = 500
MAX_METHODS = 25
NOTEWORTHY_STATEMENTS = 6

LAYERS = [
    {"_version", "errors", "metadata"},
    {"local", "options"},
    {
        "location",
        "sync",
        "concurrency",
        "config",
        "integrity",
        "wire",
    },
    {"sessions", "cache"},
    {"http"},
    {"checkpoint"},
    {"remote_object"},
    {"partial_file"},
    {"download"},
    {"services.base", "services.paths", "services.shared", "services.tree", "services.wireio"},
    {"services.catalog"},
    {"services.index_cache"},
    {"services.resolver"},
    {"services.collections", "services.datasets"},
    {"transfer"},
    {"files", "readers", "wrappers"},
    {"verbs"},
    {"filesystem"},
    {"cli"},
    {"__main__"},
]
"""Units of the client, lowest first: each imports only from layers below its own."""

EXPLAINED = (HERE / "docs" / "architecture.md").read_text("utf-8")


@cache
def modules() -> dict[str, ast.Module]:
    """Give all modules by dotted name below the package, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def imports_in(tree: ast.AST) -> Iterator[str]:
    """Give what a piece of code imports of the package, as dotted names below it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "synapsefs":
                yield module_of(name.removeprefix("synapsefs").lstrip("."))


def module_of(name: str) -> str:
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


def unit_of(module: str) -> str:
    """Give the unit of :data:`LAYERS` that a module belongs to."""
    units = {unit for layer in LAYERS for unit in layer} | {"server", ""}
    while module not in units:
        assert module, f"a module that no layer names: {module}"
        module = module.rpartition(".")[0]
    return module


def client_modules() -> list[str]:
    empty = {"services"}
    return [name for name in modules() if name and name not in empty and unit_of(name) != "server"]


@pytest.mark.parametrize("module", client_modules())
def test_imports_point_down(module: str) -> None:
    levels = {unit: level for level, layer in enumerate(LAYERS) for unit in layer}
    own = unit_of(module)
    for imported in imports_in(modules()[module]):
        unit = unit_of(imported)
        if unit in {own, "server"}:
            continue
        assert unit, f"{module} imports the package itself"
        assert levels[unit] < levels[own], f"{module} imports {imported}"


def test_every_unit_exists() -> None:
    assert {unit_of(name) for name in client_modules()} == {u for layer in LAYERS for u in layer}


def test_no_import_cycles() -> None:
    waiting = {name: set(imports_in(tree)) - {name} for name, tree in modules().items() if name}
    while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting


def test_client_and_server_meet_only_in_wire() -> None:
    allowed = {"server", "wire", "_version"}
    for name, tree in modules().items():
        if name.split(".")[0] == "server":
            assert {unit_of(imported) for imported in imports_in(tree)} <= allowed, name


def test_wire_stands_alone() -> None:
    for name, tree in modules().items():
        if name.split(".")[0] == "wire":
            assert {unit_of(imported) for imported in imports_in(tree)} <= {"wire"}, name


def test_the_server_is_imported_only_when_it_runs() -> None:
    importers = {
        name
        for name in client_modules()
        if any(unit_of(imported) == "server" for imported in imports_in(modules()[name]))
    }
    assert importers == {"verbs.base", "cli.serve"}
    for name in importers:
        for statement in modules()[name].body:
            if not _for_types_only(statement) and not isinstance(statement, _DEFINITIONS):
                assert not any(unit_of(found) == "server" for found in imports_in(statement))


def test_the_client_knows_the_threads_of_the_server() -> None:
    names = {
        keyword.value.value
        for name, tree in modules().items()
        if name.split(".")[0] == "server"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Thread", "Executor"))
        for keyword in node.keywords
        if keyword.arg in {"name", "thread_name_prefix"} and isinstance(keyword.value, ast.Constant)
    }
    assert names == SERVER_THREADS


def test_only_the_core_names_the_two_services() -> None:
    services = {"services.collections", "services.datasets"}
    for name in client_modules():
        named = {unit_of(imported) for imported in imports_in(modules()[name])} & services
        assert named <= {unit_of(name)} or name == "verbs.base", name


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


def _for_types_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def test_no_file_is_too_long() -> None:
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(HERE).as_posix()
        lines = path.read_text("utf-8").count("\n")
        assert lines <= MAX_LINES or f"`{name}`" in EXPLAINED, f"{name} has {lines} lines"


def test_no_class_has_too_many_methods() -> None:
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                count = sum(isinstance(child, _FUNCTIONS) for child in node.body)
                explained = f"`{node.name}`" in EXPLAINED
                assert count <= MAX_METHODS or explained, f"{module}.{node.name}: {count} methods"


def test_no_function_body_stands_twice() -> None:
    bodies: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                whole = ast.Module(body, type_ignores=[])
                statements = sum(isinstance(part, ast.stmt) for part in ast.walk(whole))
                if statements >= NOTEWORTHY_STATEMENTS:
                    bodies[ast.dump(whole)].append(f"{module}.{node.name}")
    assert not [names for names in bodies.values() if len(names) > 1]
