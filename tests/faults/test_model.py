"""Any sequence of verbs, by two clients, under faults, behaves like operations on a dictionary.

After a failed verb its files are in the old or the new state; the model adopts the actual one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from synapsefs import SynapseFileSystem
from tests.faults.bench import Bench
from tests.faults.operations import COLLECTION_PART, noise, operations
from tests.faults.report import COUNTS
from tests.support.faults import TRANSIENT, Exchange, Fault
from tests.support.sizing import sized

NAMES = ["a.bin", "b.txt", "folder/c.bin", "folder/deep/d.txt", "other/e.bin"]
CONTENTS = {
    "empty": b"",
    "text": b"caf\xc3\xa9\r\n",
    "no text": b"\xff\x00",
    "other text": b"two\nlines\n",
    "parts": noise(COLLECTION_PART + 77),
}
SURVIVED = sorted(
    TRANSIENT.keys()
    - {"answer shortened", "answer corrupted", "token or URL refused", "URL expired"}
    - {"never answered", "done, never answered", "answer stalled"}
)
HARMFUL = ["answer shortened", "URL expired", "500 although done"]
EXAMPLES, STEPS = 3, 12
LONG_EXAMPLES, LONG_STEPS = sized(5, 40), 30

names, contents = st.sampled_from(NAMES), st.sampled_from(sorted(CONTENTS))
clients = st.integers(0, 1)


class Machine(RuleBasedStateMachine):
    """Two clients behind proxies, a container, and the dictionary that must equal it."""

    bench: Bench
    root: str

    def __init__(self) -> None:
        super().__init__()
        container = self.bench.container(self.root, operations(self.root)["pipe"])
        self.base = f"{container}/data_1" if self.root == "collections" else container
        self.model: dict[str, bytes] = {}
        self._stack = [self.bench.through(None, listings_expiry_time=0) for _ in range(2)]
        self._clients = [entered.__enter__() for entered in self._stack]
        self._faults: dict[int, str] = {}
        self._local = self.bench.place(container, operations(self.root)["pipe"]).local

    def teardown(self) -> None:
        for entered in self._stack:
            entered.__exit__(None, None, None)

    # --- faults ----------------------------------------------------------------------------

    @rule(
        client=clients,
        fault=st.sampled_from(SURVIVED + HARMFUL),
        position=st.integers(0, 6),
    )
    def harm(self, client: int, fault: str, position: int) -> None:
        """Inject a fault into a request of the client's next verb."""

        def plan(exchange: Exchange) -> Fault | None:
            return TRANSIENT[fault] if exchange.position == position else None

        self._clients[client][0].arm(plan)
        self._faults[client] = fault

    def _do(
        self, client: int, after: dict[str, bytes], verb: Callable[[SynapseFileSystem], object]
    ) -> object:
        """Run a verb and update the model."""
        proxy, fs = self._clients[client]
        COUNTS[f"steps on {self.root} against a model"] += 1
        try:
            found = verb(fs)
        except OSError as error:
            if not (error.errno and proxy.struck and self._faults.get(client) in HARMFUL):
                raise
            self._follow(after)
            return None
        finally:
            proxy.arm(None)
        self.model = after
        return found

    def _follow(self, after: dict[str, bytes]) -> None:
        """Adopt the state after a failure, provided that each file is in its old or new state."""
        now = self.state()
        for name in {*now, *self.model, *after}:
            assert now.get(name) in (self.model.get(name), after.get(name)), name
        self.model = now

    def state(self) -> dict[str, bytes]:
        with self.bench.client() as fs:
            found = fs.find(self.base)
            return {path.removeprefix(f"{self.base}/"): fs.cat_file(path) for path in found}

    def _without(self, *gone: str) -> dict[str, bytes]:
        return {name: data for name, data in self.model.items() if name not in gone}

    # --- verbs -----------------------------------------------------------------------------

    @rule(client=clients, name=names, what=contents)
    def write(self, client: int, name: str, what: str) -> None:
        path, data = f"{self.base}/{name}", CONTENTS[what]

        def verb(fs: SynapseFileSystem) -> None:
            with fs.open(path, "wb") as file:
                file.write(data[:1000])
                file.write(data[1000:])

        self._do(client, {**self.model, name: data}, verb)

    @rule(client=clients, files=st.dictionaries(names, contents, min_size=1, max_size=3))
    def pipe(self, client: int, files: dict[str, str]) -> None:
        data = {name: CONTENTS[what] for name, what in files.items()}
        paths = {f"{self.base}/{name}": value for name, value in data.items()}
        self._do(client, {**self.model, **data}, lambda fs: fs.pipe(paths))

    @rule(client=clients, name=names, what=contents)
    def put(self, client: int, name: str, what: str) -> None:
        source = self._local / "source"
        source.write_bytes(CONTENTS[what])
        after = {**self.model, name: CONTENTS[what]}
        self._do(client, after, lambda fs: fs.put_file(str(source), f"{self.base}/{name}"))

    @rule(client=clients, name=names)
    def discard(self, client: int, name: str) -> None:
        """An exception inside the block: nothing is published."""

        def verb(fs: SynapseFileSystem) -> None:
            with pytest.raises(ZeroDivisionError), fs.open(f"{self.base}/{name}", "wb") as file:
                file.write(b"never seen")
                raise ZeroDivisionError

        self._do(client, self.model, verb)

    @rule(client=clients, name=names)
    def remove(self, client: int, name: str) -> None:
        def verb(fs: SynapseFileSystem) -> None:
            if name in self.model:
                fs.rm_file(f"{self.base}/{name}")
            else:
                with pytest.raises(FileNotFoundError):
                    fs.rm_file(f"{self.base}/{name}")

        self._do(client, self._without(name), verb)

    @rule(client=clients, source=names, onto=names, move=st.booleans())
    def copy(self, client: int, source: str, onto: str, move: bool) -> None:
        if source not in self.model or source == onto:
            return
        after = {**self.model, onto: self.model[source]}
        if move:
            del after[source]

        def verb(fs: SynapseFileSystem) -> None:
            ends = (f"{self.base}/{source}", f"{self.base}/{onto}")
            (fs.mv if move else fs.cp_file)(*ends)

        self._do(client, after, verb)

    @rule(client=clients, name=names, start=st.integers(-90, 90), length=st.integers(0, 90))
    def read(self, client: int, name: str, start: int, length: int) -> None:
        path, data = f"{self.base}/{name}", self.model.get(name)

        def verb(fs: SynapseFileSystem) -> None:
            assert fs.exists(path) == (data is not None)
            if data is None:
                with pytest.raises(FileNotFoundError):
                    fs.cat_file(path)
                return
            end = start + length if start >= 0 else None
            assert fs.cat_file(path) == data
            assert fs.cat_file(path, start, end) == data[start:end]
            assert fs.info(path)["size"] == len(data)
            with fs.open(path) as file:
                assert file.read() == data

        self._do(client, self.model, verb)

    @rule(client=clients)
    def find(self, client: int) -> None:
        def verb(fs: SynapseFileSystem) -> None:
            expected = sorted(f"{self.base}/{name}" for name in self.model)
            assert fs.find(self.base) == expected

        self._do(client, self.model, verb)

    @rule(client=clients)
    def get(self, client: int) -> None:
        target = self._local / uuid.uuid4().hex

        def verb(fs: SynapseFileSystem) -> None:
            for name, data in self.model.items():
                fs.get_file(f"{self.base}/{name}", str(target / name))
                assert (target / name).read_bytes() == data

        self._do(client, self.model, verb)
        for folder, _, files in os.walk(target):
            assert [name for name in files if name.endswith(".part")] == [], folder

    @invariant()
    def nothing_else_is_there(self) -> None:
        assert self.state() == self.model


@pytest.fixture(params=["collections", "datasets"])
def machine(bench: Bench, request: pytest.FixtureRequest) -> type[Machine]:
    return type("Bound", (Machine,), {"bench": bench, "root": request.param})


def profile(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def test_a_short_walk(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=profile(EXAMPLES, STEPS))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_walk(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=profile(LONG_EXAMPLES, LONG_STEPS))
