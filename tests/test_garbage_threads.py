"""Files that the garbage collector closes in a thread that serves them: nobody waits for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.running import python

SCRIPT = """
import asyncio, gc, json, sys, threading, warnings
import fsspec
from synapsefs import DiscardedWarning, SynapseFileSystem

options, thread = json.loads(sys.argv[1])
warnings.simplefilter("always")
fs = SynapseFileSystem(**options, block_size=2**20)
fs.makedirs("datasets/d", exist_ok=True)
names = {t.ident: t.name for t in threading.enumerate()}
running = [o for o in gc.get_objects() if isinstance(o, asyncio.BaseEventLoop) and o.is_running()]
[loop] = [one for one in running if names[one._thread_id] == thread]
gc.disable()


class Owner:
    def __init__(self, mode, content):
        self.file, self.content = fs.open("datasets/d/f.bin", mode), content
        self.file.write(content)
        self.me = self

    def __del__(self):
        self.file.write(self.content)
        self.file.close()


def rows():
    with fs.open("datasets/d/f.bin", "wb") as file:
        file.write(bytes(3 * 2**20))
        me = yield
        yield


def suspended():
    one = rows()
    next(one)
    one.send(one)


def archive():
    one = fsspec.filesystem(
        "zip", fo="synapse://datasets/d/f.bin", mode="w", target_protocol="synapse",
        target_options=options, skip_instance_cache=True,
    )
    one.pipe_file("a", b"content")
    one.me = one


makers = {
    "large": lambda: Owner("wb", bytes(3 * 2**20)),
    "small": lambda: Owner("wb", b"content"),
    "text": lambda: Owner("w", "content"),
    "generator": suspended,
    "archive": archive,
}
for name, make in makers.items():
    done = threading.Event()
    with warnings.catch_warnings(record=True) as caught:
        make()
        loop.call_soon_threadsafe(lambda: (gc.collect(), done.set()))
        assert done.wait(10), name
    told = [str(w.message) for w in caught if issubclass(w.category, DiscardedWarning)]
    assert len(told) == 1, (name, told)
    assert "datasets/d/f.bin" in told[0] and "garbage collector" in told[0], (name, told)
    fs.pipe_file("datasets/d/after.bin", name.encode())
    assert fs.find("datasets/d", refresh=True) == ["datasets/d/after.bin"], name
print(len(makers))
"""


@pytest.mark.parametrize("thread", ["fsspecIO", "synapsefs-server"])
def test_a_collection_in_a_serving_thread_does_not_wait(tmp_path: Path, thread: str) -> None:
    options = {"endpoint_url": tmp_path.as_uri()}
    done = python(SCRIPT, json.dumps([options, thread]), seconds=60)
    assert (done.stdout, done.stderr) == ("5\n", "")
