"""Fixtures: real servers over temporary directories, and fresh filesystem instances."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from synapsefs import SynapseFileSystem
from synapsefs.server.app import serve
from synapsefs.server.settings import STRICT_SECONDS, ServerSettings
from tests.faults.report import COUNTS
from tests.support.apart import apart

HEAVY = {
    "test_load": "endurance",
    "test_memory": "endurance",
    "test_scale": "endurance",
    "test_consumers": "bulk",
    "test_sizes": "bulk",
}
"""Modules that need a processor for themselves, and the group they run with. With ``--dist
loadgroup`` one worker has all of a group, while the others run tests that mostly wait."""


class HeavyTogether(LoadScopeScheduling):
    """Gives each group of heavy modules to one worker, and other tests to any idle worker.

    The groups of pytest-xdist 3.8 itself have no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return HEAVY.get(PurePosixPath(nodeid.partition("::")[0]).stem, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> HeavyTogether | None:
    """Group the heavy tests."""
    return HeavyTogether(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_xdist_auto_num_workers() -> int:
    """Use more workers than processors: tests wait for sockets and retries half of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, against the strictest server, tests that do not use the session's server at all."""
    if os.environ.get("SYNAPSEFS_TEST_SERVER") != "strict":
        return
    meeting = [item for item in items if {"server_options", "strict"} & set(_fixtures(item))]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(meeting)])
    items[:] = meeting


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def pytest_collection_finish() -> None:
    """Exempt all imported objects from later garbage collections, of which tests cause many."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fresh_instances() -> Iterator[None]:
    """Isolate the tests' instances from each other."""
    yield
    SynapseFileSystem.clear_instance_cache()


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the checkpoints of interrupted transfers out of the user's own directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that embedded servers of this test session share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def server_options(store: Path, strict: bool) -> Iterator[dict[str, Any]]:
    """Options for an instance over the session's server.

    That is the embedded one, or with ``SYNAPSEFS_TEST_SERVER=strict`` one that applies the
    strictest reading of the protocols.
    """
    if not strict:
        yield {"endpoint_url": store.as_uri()}
        return
    settings = ServerSettings(
        root=store,
        tokens=("syn_strict",),
        api_keys=("key_strict",),
        strict=True,
        url_lifetime=STRICT_SECONDS,
        bearer_lifetime=STRICT_SECONDS,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = asyncio.run_coroutine_threadsafe(serve(settings), loop).result()
    yield {
        "endpoint_url": running.url,
        "token": "syn_strict",
        "datasets_token": "key_strict",
    }
    asyncio.run_coroutine_threadsafe(running.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def strict() -> bool:
    """Whether the session's server applies the strictest reading of the protocols."""
    return os.environ.get("SYNAPSEFS_TEST_SERVER") == "strict"


@pytest.fixture(scope="session")
def extra_requests(strict: bool) -> int:
    """Extra requests of the strict server: short pages, without specifications and sizes."""
    return 12 if strict else 0


@pytest.fixture
def options(server_options: dict[str, Any]) -> dict[str, Any]:
    """Options for an instance over the session's server."""
    return dict(server_options)


@pytest.fixture
def fs(options: dict[str, Any]) -> SynapseFileSystem:
    """A fresh instance with a cold cache."""
    return SynapseFileSystem(**options, skip_instance_cache=True)


@pytest.fixture
def another(options: dict[str, Any]) -> SynapseFileSystem:
    """A second instance over the same store, as in another process."""
    return SynapseFileSystem(**apart(options), skip_instance_cache=True)


@pytest.fixture(params=["collections", "datasets"])
def base(request: pytest.FixtureRequest, options: dict[str, Any]) -> str:
    """A fresh writable directory, on each root in turn; created by an instance of its own."""
    maker = SynapseFileSystem(**options, skip_instance_cache=True)
    container = f"{request.param}/t-{uuid.uuid4().hex[:12]}"
    maker.mkdir(container)
    return f"{container}/data_1" if request.param == "collections" else container


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report the number of cases of this worker to the controller."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["cases"] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Sum up the workers' counts."""
    COUNTS.update(getattr(node, "workeroutput", {}).get("cases", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the number of cases."""
    for kind, count in sorted(COUNTS.items()):
        terminalreporter.write_line(f"{count} cases: {kind}")
