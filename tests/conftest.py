"""Fixtures: real servers over temporary directories, and fresh filesystem instances."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synapsefs import SynapseFileSystem


@pytest.fixture(autouse=True)
def _fresh_instances() -> Iterator[None]:
    """Let no test see another's instance."""
    yield
    SynapseFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that embedded servers of this test session share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def options(store: Path) -> dict[str, Any]:
    """Options that make an instance over the session's store."""
    return {"endpoint_url": store.as_uri()}


@pytest.fixture
def fs(options: dict[str, Any]) -> SynapseFileSystem:
    """A fresh instance: nothing cached."""
    return SynapseFileSystem(**options, skip_instance_cache=True)


@pytest.fixture
def another(options: dict[str, Any]) -> SynapseFileSystem:
    """A second instance over the same store, as another process would have it."""
    return SynapseFileSystem(**options, skip_instance_cache=True)


@pytest.fixture(params=["collections", "datasets"])
def base(request: pytest.FixtureRequest, options: dict[str, Any]) -> str:
    """A fresh directory to write into, on each root in turn; made by an instance of its own."""
    maker = SynapseFileSystem(**options, skip_instance_cache=True)
    container = f"{request.param}/t-{uuid.uuid4().hex[:12]}"
    maker.mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container
