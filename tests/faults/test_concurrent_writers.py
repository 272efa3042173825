"""Concurrent writers: the last complete writer wins, and nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from synapsefs import SynapseFileSystem
from tests.faults.bench import Bench
from tests.faults.operations import PAIRED, operations
from tests.faults.report import COUNTS
from tests.faults.writers import content
from tests.support.running import environment
from tests.support.sizing import sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WRITERS, ROUNDS = 4, sized(4, 8)


@dataclass(frozen=True)
class Write:
    """One process's report of one write; times are those of the machine."""

    writer: int
    turn: int
    path: str
    error: str
    began: float
    ended: float

    @property
    def content(self) -> bytes:
        return content(self.writer, self.turn)


def run(bench: Bench, scenario: str, base: str, rounds: int = ROUNDS) -> list[Write]:
    """Let several processes write concurrently; give their reports."""
    options = json.dumps(bench.options())
    command = [sys.executable, "-m", "tests.faults.writers", options, scenario, base]
    found: list[Write] = []
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(writer), str(rounds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment(),
                )
            )
            for writer in range(WRITERS)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
        for process in processes:
            assert process.stdin is not None
            print("go", file=process.stdin, flush=True)
        for process in processes:
            out, _ = process.communicate(timeout=120)
            found += [Write(**json.loads(line)) for line in out.splitlines()]
    assert len(found) == WRITERS * rounds
    COUNTS["writes among other writers"] += len(found)
    return found


def base_of(bench: Bench, root: str) -> str:
    container = bench.container(root, operations(root)["pipe"])
    return f"{container}/data_1" if root == "collections" else container


def latest(writes: list[Write]) -> set[bytes]:
    """Give the possible final contents: those before whose end no later write began."""
    last_begin = max(write.began for write in writes)
    return {write.content for write in writes if write.ended >= last_begin}


@pytest.fixture
def fs(bench: Bench):
    with bench.client() as made:
        yield made


@pytest.mark.parametrize("root", ["collections", "datasets"])
@pytest.mark.parametrize("scenario", ["same", "same_text"])
def test_the_same_path(bench: Bench, fs: SynapseFileSystem, root: str, scenario: str) -> None:
    base = base_of(bench, root)
    path = f"{base}/same.bin" if scenario == "same" else f"{base}/same.txt"
    with bench.client() as first:
        first.pipe_file(path, b"before")
    writes = run(bench, scenario, base)
    assert {write.error for write in writes} <= {"", "ConflictError"}
    done = [write for write in writes if not write.error]
    assert len(done) > len(writes) // 2
    assert fs.cat_file(path) in latest(done)
    assert fs.find(base) == [path]


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_disjoint_paths_in_folders_that_are_made_meanwhile(
    bench: Bench, fs: SynapseFileSystem, root: str
) -> None:
    base = base_of(bench, root)
    writes = run(bench, "disjoint", base)
    assert {write.error for write in writes} == {""}
    assert fs.find(base) == sorted(write.path for write in writes)
    assert fs.cat(fs.find(base)) == {write.path: write.content for write in writes}


@pytest.mark.parametrize("root", ["collections", "datasets"])
def test_creation_is_refused_where_something_is(
    bench: Bench, fs: SynapseFileSystem, root: str
) -> None:
    """The services have no precondition: simultaneous creations may all succeed."""
    base = base_of(bench, root)
    writes = run(bench, "create", base)
    for turn in range(ROUNDS):
        created = [write for write in writes if write.turn == turn and not write.error]
        refused = {write.error for write in writes if write.turn == turn and write.error}
        assert refused <= {"AlreadyExistsError"}
        first = min(write.ended for write in created)
        assert all(write.began < first for write in created)
        assert fs.cat_file(created[0].path) in {write.content for write in created}


def test_both_files_of_a_unit(bench: Bench, fs: SynapseFileSystem) -> None:
    """Each writer replaces one file of units whose other file is replaced by others."""
    base = bench.container("collections", operations("collections")["put units"])
    specifications = [spec["name"] for spec in PAIRED["file_specifications"]]
    with bench.client() as first:
        first.pipe(
            {f"{base}/{s}/unit-{turn}.bin": b"before" for s in specifications for turn in range(4)}
        )
    writes = run(bench, "halves", base, rounds=4)
    assert {write.error for write in writes} == {""}
    for specification in specifications:
        for turn in range(4):
            path = f"{base}/{specification}/unit-{turn}.bin"
            assert fs.cat_file(path) in latest([write for write in writes if write.path == path])
    assert len(fs.find(base)) == 8


def test_overlapping_units(bench: Bench, fs: SynapseFileSystem) -> None:
    base = bench.container("collections", operations("collections")["put units"])
    writes = run(bench, "units", base)
    assert {write.error for write in writes} == {""}
    names = {write.path for write in writes} | {f"shared-{turn}" for turn in range(ROUNDS)}
    found = fs.cat(fs.find(base))
    assert len(found) == 2 * len(names)
    for name in names:
        pair = [
            found[f"{base}/{spec['name']}/{name}.bin"] for spec in PAIRED["file_specifications"]
        ]
        image, meta = (piece.split(b"-")[:2] for piece in pair)
        assert image == meta
