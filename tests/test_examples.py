"""The examples run, more than once over one store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from synapsefs import SynapseFileSystem
from tests.support.running import environment

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", os.fspath(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart_runs_twice(tmp_path: Path) -> None:
    for _ in range(2):
        said = run_example("quickstart.py", "--root", str(tmp_path))
        assert "every byte the same" in said
    fs = SynapseFileSystem(endpoint_url=tmp_path.as_uri())
    assert len(fs.ls("collections")) == len(fs.ls("datasets")) == 2
    assert len(fs.find("collections")) == 2 * 84
