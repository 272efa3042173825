"""What a successful command or script leaves on standard error when it ends: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import environment
from tests.support.sizing import sized

RUNS = sized(10, 100)

SCRIPT = """
import sys
import fsspec

fs = fsspec.filesystem("synapse", endpoint_url=sys.argv[1])
fs.makedirs("datasets/d", exist_ok=True)
with fs.open("datasets/d/a.bin", "wb") as file:
    file.write(bytes(3 * 2**20))
reader = fs.open("datasets/d/a.bin")
reader.read(10)
"""

IN_A_CHILD = """
import multiprocessing, sys
import fsspec


def work(url):
    print(fsspec.filesystem("synapse", endpoint_url=url).ls("datasets"), flush=True)


for method in ("fork", "spawn"):
    child = multiprocessing.get_context(method).Process(target=work, args=(sys.argv[1],))
    if __name__ == "__main__":
        child.start()
        child.join()
"""


def listed(root: Path) -> str:
    """List datasets of a fresh embedded store by the command line; give standard error."""
    command = [sys.executable, "-m", "synapsefs", "ls", "synapse://datasets"]
    done = subprocess.run(
        [*command, "--endpoint-url", root.as_uri()],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def test_a_command_ends_quietly(tmp_path: Path) -> None:
    assert "".join(listed(tmp_path / str(number)) for number in range(2)) == ""


@pytest.mark.slow
def test_commands_end_quietly(tmp_path: Path) -> None:
    said = [listed(tmp_path / str(number)) for number in range(RUNS)]
    assert said == [""] * RUNS


@pytest.mark.slow
@pytest.mark.parametrize("script", [SCRIPT, IN_A_CHILD], ids=["plain", "children"])
def test_scripts_end_quietly(tmp_path: Path, script: str) -> None:
    for number in range(RUNS // 4):
        path = tmp_path / f"script{number}.py"
        path.write_text(script)
        root = (tmp_path / str(number)).as_uri()
        done = subprocess.run(
            [sys.executable, str(path), root],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
