"""Acknowledged writes are on disk: content, name, directory, catalogue, and only then the response.

A power loss keeps everything flushed, and any subset of the rest. So the order in which a running
server flushes is recorded, and compared with the safe order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from synapsefs import SynapseFileSystem
from tests.faults.operations import DATASET_PART, noise
from tests.support.observed import ObservedServer, observed_server
from tests.support.recorder import Event, Recorder, recording

DURABLE = "wal 2"
"""A write-ahead log that is flushed at every commit (``synchronous=FULL``)."""


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with recording(tmp_path / "root") as found:
        yield found


@pytest.fixture
def server(tmp_path: Path, recorder: Recorder) -> Iterator[ObservedServer]:
    (tmp_path / "root").mkdir(exist_ok=True)
    with observed_server(tmp_path / "root") as running:
        running.on_answer = lambda seen: recorder.note("answer", f"{seen.method} {seen.path}")
        yield running


@pytest.fixture
def fs(server: ObservedServer) -> SynapseFileSystem:
    return SynapseFileSystem(**server.options, block_size=64 * 2**10, skip_instance_cache=True)


def answers(recorder: Recorder, method: str, ending: str) -> list[int]:
    found = recorder.positions(
        "answer", lambda e: e.path.startswith(method) and e.path.endswith(ending)
    )
    assert found, f"no answer to {method} …{ending}"
    return found


def objects(recorder: Recorder) -> list[Event]:
    return [
        event
        for event in recorder.events
        if event.kind == "replace" and event.path.startswith("objects/")
    ]


def assert_safe(recorder: Recorder, made: Event, answered: int) -> None:
    """Flush content, then name, then directory, then catalogue, and only then respond."""
    named = recorder.events.index(made)
    flushed = recorder.positions("fsync", lambda e: e.path == made.before)
    assert flushed, f"{made.path} was named before its bytes were flushed"
    assert min(flushed) < named
    folder = os.path.dirname(made.path)
    kept = [n for n in recorder.positions("fsync", lambda e: e.path == folder) if n > named]
    committed = [
        n for n in recorder.positions("commit", lambda e: e.path == DURABLE) if n > kept[0]
    ]
    assert committed
    assert kept[0] < committed[0] < answered
    assert [e.path for e in recorder.events if e.kind == "commit" and e.path != DURABLE] == []


def test_a_file_sent_whole(fs: SynapseFileSystem, recorder: Recorder) -> None:
    fs.mkdir("collections/c")
    fs.pipe_file("collections/c/data_1/a.bin", noise(5000))
    [made] = objects(recorder)
    [sent] = answers(recorder, "POST", "data_files/")
    assert_safe(recorder, made, sent)
    [bound] = answers(recorder, "POST", "data_units/")
    assert [n for n in recorder.positions("commit", lambda e: True) if sent < n < bound]


def test_a_file_sent_in_chunks(fs: SynapseFileSystem, recorder: Recorder) -> None:
    fs.mkdir("collections/c")
    fs.pipe_file("collections/c/data_1/a.bin", noise(200_000))
    chunks = list(recorder.positions("answer", lambda e: e.path.startswith("PUT /chunked_upload/")))
    assert len(chunks) == 4
    flushed = recorder.positions("fsync", lambda e: e.path.startswith("uploads/"))
    commits = recorder.positions("commit", lambda e: True)
    for before, answered in zip([0, *chunks], chunks, strict=False):
        [bytes_kept, *_] = [n for n in flushed if before < n < answered]
        assert [n for n in commits if bytes_kept < n < answered], "an offset without its bytes"
    [made] = objects(recorder)
    finished = recorder.positions("answer", lambda e: e.path.startswith("POST /chunked_upload/"))
    named, folder = recorder.events.index(made), os.path.dirname(made.path)
    kept = [n for n in recorder.positions("fsync", lambda e: e.path == folder) if n > named]
    assert chunks[-1] < named < kept[0]
    assert [n for n in commits if kept[0] < n < finished[0]]


@pytest.mark.parametrize("size", [5000, DATASET_PART + 5000])
def test_a_file_sent_in_parts(fs: SynapseFileSystem, recorder: Recorder, size: int) -> None:
    fs.mkdir("datasets/d")
    fs.pipe_file("datasets/d/a.bin", noise(size))
    made = objects(recorder)[-1]
    [complete] = answers(recorder, "POST", "/complete")
    assert_safe(recorder, made, complete)
    parts = recorder.positions("answer", lambda e: e.path.startswith("PUT /_blob/"))
    assert len(parts) == -(-size // DATASET_PART)
    for answered in parts:
        names = recorder.positions("replace", lambda e: True)
        assert [n for n in names if n < answered]
        assert [n for n in recorder.positions("commit", lambda e: True) if n < answered]


def test_text_inside_an_entry(fs: SynapseFileSystem, recorder: Recorder) -> None:
    fs.mkdir("datasets/d")
    before = len(recorder.events)
    fs.pipe_file("datasets/d/a.txt", b"text")
    created = answers(recorder, "POST", "/data-entries")[-1]
    commits = recorder.positions("commit", lambda e: e.path == DURABLE)
    assert [n for n in commits if before <= n < created]


def test_the_first_object_of_a_folder_keeps_its_folder(
    fs: SynapseFileSystem, recorder: Recorder
) -> None:
    fs.mkdir("collections/c")
    for number in range(4):
        fs.pipe_file(f"collections/c/data_1/{number}.bin", noise(100, number))
    for made in objects(recorder):
        named = recorder.events.index(made)
        assert [n for n in recorder.positions("fsync", lambda e: e.path == "objects") if n < named]


def test_content_that_is_there_already_is_flushed_again(
    fs: SynapseFileSystem, recorder: Recorder
) -> None:
    """The first writer may not have flushed the directory when the second gets its response."""
    fs.mkdir("collections/c")
    fs.pipe_file("collections/c/data_1/a.bin", noise(5000))
    [made] = objects(recorder)
    before = len(recorder.events)
    fs.pipe_file("collections/c/data_1/b.bin", noise(5000))
    folder = os.path.dirname(made.path)
    again = [n for n in recorder.positions("fsync", lambda e: e.path == folder) if n >= before]
    assert again
    assert again[0] < answers(recorder, "POST", "data_files/")[-1]
