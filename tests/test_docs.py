"""The documentation is true: its examples run, and nothing public is left out."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec.config
import pytest

import synapsefs.errors
from synapsefs import SynapseFileSystem
from synapsefs.cli import app
from synapsefs.options import MIB, Options

HERE = Path(__file__).parent.parent
PAGES = sorted([*HERE.glob("*.md"), *HERE.glob("docs/*.md")])
REFERENCE = (HERE / "docs" / "reference.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path) -> Iterator[tuple[str, str, int]]:
    """Give a page's Python blocks: kind, text, and the number of lines in front."""
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start(2))


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p))], ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = {"endpoint_url": (tmp_path / "store").as_uri()}
    monkeypatch.setitem(fsspec.config.conf, "synapse", store)
    names: dict[str, Any] = {"__name__": "__main__"}
    for kind, text, above in blocks(page):
        if kind == "python":
            exec(compile("\n" * above + text, str(page), "exec"), names)
        else:
            examples = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), above)
            result = doctest.DocTestRunner().run(examples, clear_globs=False)
            assert result.failed == 0
            assert result.attempted > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_every_option_is_documented() -> None:
    options = inspect.signature(SynapseFileSystem.__init__).parameters
    for name in [name for name in options if name not in {"self", "kwargs"}]:
        assert f"| `{name}` |" in REFERENCE, name


def test_the_defaults_are_those_that_are_documented() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| ", REFERENCE, re.MULTILINE))
    for option in dataclasses.fields(Options):
        value = option.default
        if isinstance(value, bool):
            assert shown[option.name] == f"`{value}`"
        elif option.name == "block_size":
            assert shown[option.name] == f"{value // MIB} MiB"
        elif isinstance(value, int | float):
            assert shown[option.name] == f"{value:g}"


def test_every_error_is_documented() -> None:
    for name, value in vars(synapsefs.errors).items():
        if inspect.isclass(value) and issubclass(value, synapsefs.errors.SynapseError):
            assert f"| `{name}` |" in REFERENCE, name


def test_every_command_is_documented() -> None:
    names = [
        command.name or getattr(command.callback, "__name__", "")
        for command in app.registered_commands
    ]
    assert len(names) > 10
    for name in names:
        assert f"| `synapsefs {name} " in REFERENCE, name


def test_the_two_commands_are_what_ci_runs() -> None:
    readme = (HERE / "README.md").read_text("utf-8")
    script = (HERE / ".ci" / "run").read_text("utf-8")
    assert "'.[test]' && .venv/bin/python examples/quickstart.py" in readme
    assert "'.[test]' && .venv/bin/python -m pytest" in readme
    assert '"$venv/bin/python" examples/quickstart.py' in script
    assert '"$venv/bin/python" -m pytest\n' in script
