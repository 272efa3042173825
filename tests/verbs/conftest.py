"""A dataset of one's own."""

from __future__ import annotations

import uuid

import pytest

from synapsefs import SynapseFileSystem


@pytest.fixture
def dataset(fs: SynapseFileSystem) -> str:
    """A fresh dataset with a description."""
    path = f"datasets/d-{uuid.uuid4().hex[:10]}"
    fs.mkdir(path, description="all of it")
    return path
