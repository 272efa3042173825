"""The table of the services' operations names tests and calls that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "parity.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| Official")
]


@cache
def named_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE))))
def test_every_test_exists(name: str) -> None:
    path, _, test = name.partition("::")
    assert test in named_in(HERE / path)


def test_every_call_exists() -> None:
    calls = set(re.findall(r"\bfs\.([a-z]\w*)", PAGE))
    assert len(calls) > 20
    assert [name for name in sorted(calls) if not hasattr(SynapseFileSystem, name)] == []


def test_every_row_is_proved_by_a_test() -> None:
    assert len(ROWS) > 55
    for official, ours, proof in ROWS:
        assert official
        assert ours
        assert "::test_" in proof, official
