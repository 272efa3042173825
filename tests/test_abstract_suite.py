"""fsspec's own suites, unmodified, on both roots."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)

from synapsefs import SynapseFileSystem


class SynapseFixtures(AbstractFixtures):
    root: str

    @pytest.fixture
    def fs(self, options: dict[str, Any]) -> SynapseFileSystem:
        return SynapseFileSystem(**options)

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return posixpath.join

    @pytest.fixture
    def fs_path(self, fs: SynapseFileSystem, tmp_path: Any) -> str:
        container = f"{self.root}/{tmp_path.name}-{id(self)}"
        fs.mkdir(container)
        return f"{container}/data_1" if self.root == "collections" else container


class CollectionsFixtures(SynapseFixtures):
    root = "collections"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        """A collection's folders are the keys of its units: without a unit there is none."""
        return False


class DatasetsFixtures(SynapseFixtures):
    root = "datasets"


class TestCollectionsCopy(AbstractCopyTests, CollectionsFixtures):
    pass


class TestCollectionsGet(AbstractGetTests, CollectionsFixtures):
    pass


class TestCollectionsPut(AbstractPutTests, CollectionsFixtures):
    pass


class TestCollectionsPipe(AbstractPipeTests, CollectionsFixtures):
    pass


class TestCollectionsOpen(AbstractOpenTests, CollectionsFixtures):
    pass


class TestDatasetsCopy(AbstractCopyTests, DatasetsFixtures):
    pass


class TestDatasetsGet(AbstractGetTests, DatasetsFixtures):
    pass


class TestDatasetsPut(AbstractPutTests, DatasetsFixtures):
    pass


class TestDatasetsPipe(AbstractPipeTests, DatasetsFixtures):
    pass


class TestDatasetsOpen(AbstractOpenTests, DatasetsFixtures):
    pass
