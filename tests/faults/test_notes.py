"""Entries without content are created once, whatever happens to the response."""

from __future__ import annotations

import pytest

from synapsefs import InvalidRequestError, NotFoundError
from tests.faults.bench import Bench
from tests.faults.operations import operations
from tests.faults.test_wire import TRANSIENT
from tests.support.faults import answering, at

TABLE = {"project_id": "p", "dataset_id": "d", "table_id": "t"}


@pytest.mark.parametrize("fault", ["reset before the answer", "503 although done", "502"])
def test_links_and_sources_are_noted_once(bench: Bench, fault: str) -> None:
    container = bench.container("datasets", operations("datasets")["pipe"])
    for number in range(7):
        with bench.through(at(number, TRANSIENT[fault])) as (_, fs):
            link = fs.link("https://example.org", f"{container}/{number}/link", tags=["t"])
            table = fs.register(f"{container}/{number}/table", "bigquery", metadata=TABLE)
        assert link["destination"] == "https://example.org"
        assert table["connection"].items() >= TABLE.items()
    with bench.client() as fs:
        found = fs.find(container)
    assert found == [f"{container}/{n}/{name}" for n in range(7) for name in ("link", "table")]


@pytest.mark.parametrize("status", [404, 422])
def test_a_service_without_revisions_keeps_what_is_said(bench: Bench, status: int) -> None:
    """A new entry replaces the old one; here every change of an entry is refused."""
    said = {"description": "d", "tags": ["t"], "metadata": {"k": 1}}
    container = bench.container("datasets", operations("datasets")["pipe"])
    path = f"{container}/a.txt"
    with bench.client() as fs:
        fs.pipe_file(path, b"before", **said)
    refused = answering(status)
    with bench.through(lambda e: refused if e.method == "PATCH" else None) as (proxy, fs):
        fs.pipe_file(path, b"after")
        assert proxy.struck
        with pytest.raises((InvalidRequestError, NotFoundError)):
            fs.pipe_file(path, b"later", base_version=fs.info(path)["version"])
    with bench.client() as fs:
        assert fs.find(container) == [path]
        assert fs.cat_file(path) == b"after"
        info = fs.info(path)
        assert {name: info[name] for name in said} == said
