"""The benchmark works, and the requests of bulk transfers are those that the protocols demand."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import fixture, report
from tests.benchmarks.__main__ import Benchmark
from tests.benchmarks.measure import measure
from tests.benchmarks.works import DATASETS, WORKS, Work

FILES = 24
ENTRIES = "/v0.1/data-storage/data-entries"
WORK_NAMES = ["download", "put-collections", "get-collections", "put-datasets", "get-datasets"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> report.Results:
    """What our own candidates cost in this process, of a few small files."""
    memory, disk = tmp_path_factory.mktemp("memory"), tmp_path_factory.mktemp("disk")
    local = fixture.LocalFiles(memory, fixture.Sizes(1_000_000, FILES, 2))
    benchmark = Benchmark(local, disk, 1, (0, 0), measure)
    benchmark.run([_ours(WORKS[name]) for name in WORK_NAMES], "discard")
    return benchmark.results


def _ours(work: Work) -> Work:
    ours = tuple(one for one in work.candidates if one.kind == "Synapsefs")
    return Work(work.name, work.title, work.data, work.up, ours, work.unit)


def _counts(results: report.Results, work: str) -> dict[str, int]:
    (runs,) = results.runs["discard", work].values()
    assert sum(runs[0].routes.values()) == runs[0].requests
    return runs[0].routes


def test_small_files_of_collections_cost_one_request_each(results):
    """Beyond that: three that look, and for each batch its signing, confirmation and units."""
    up = _counts(results, "put-collections")
    assert up.pop("PUT /_put/{key}/{number}") == FILES
    assert up.pop("POST /data_files/presigned_upload/upload/") == 1
    assert up.pop("POST /data_files/presigned_upload/confirm_upload/") == 1
    assert up.pop("POST /data_units/") == 1
    assert sum(up.values()) <= 6, up
    down = _counts(results, "get-collections")
    assert down.pop("GET /_blob/{key}/{name}") == FILES
    assert sum(down.values()) <= 2, down


def test_small_files_of_datasets_cost_what_the_protocol_demands(results):
    """Five requests up and two down, beyond that the tree's folder and the listings."""
    up = _counts(results, "put-datasets")
    assert up.pop(f"POST {ENTRIES}") == FILES + 1
    assert up.pop(f"POST {ENTRIES}/{{key}}/multipart-upload/initiate") == FILES
    assert up.pop("PUT /_put/{key}/{number}") == FILES
    assert up.pop(f"POST {ENTRIES}/{{key}}/multipart-upload/complete") == FILES
    assert up.pop(f"PATCH {ENTRIES}/{{key}}") == FILES
    assert sum(up.values()) <= 5, up
    down = _counts(results, "get-datasets")
    assert down.pop("GET /_blob/{key}/{name}") == FILES
    assert down.pop(f"GET {ENTRIES}/{{key}}") == FILES
    assert sum(down.values()) <= 2, down


def test_the_page_and_the_plot(results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = report.markdown(results, "python -m tests.benchmarks", fixture.Sizes(), 1)
    for name in WORK_NAMES:
        assert f"(`{name}`)" in text
    assert "| synapsefs, verified |" in text
    monkeypatch.setattr(report, "DOCS", tmp_path)
    report.write(results, text)
    assert (tmp_path / "benchmarks.md").read_text("utf-8").startswith("# Benchmarks")
    labels = ET.parse(tmp_path / "benchmarks.svg").getroot().itertext()
    assert "synapsefs, nothing to verify" in list(labels)


def test_a_checksum_in_a_form_that_nobody_knows_is_not_compared(results):
    downloads = results.runs["discard", "download"]
    assert list(downloads) == ["synapsefs, verified", "synapsefs, nothing to verify", DATASETS]
