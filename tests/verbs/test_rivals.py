"""Clients that replace different files of one unit in the same moment: each keeps the others'."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest

from synapsefs import SynapseFileSystem
from tests.faults.operations import PAIRED
from tests.support.observed import observed_server

IMAGE, META = "collections/c/image_1/a.png", "collections/c/json_meta_1/a.json"
PATIENCE = 20


class Gate:
    """Holds back requests that a test names, until it lets them through."""

    def __init__(self):
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}

    def hold(self, agent, method):
        self._held[agent, method] = threading.Event(), threading.Event()

    def arrived(self, agent, method):
        assert self._held[agent, method][0].wait(PATIENCE)

    def open(self, agent, method):
        self._held[agent, method][1].set()

    async def __call__(self, seen):
        agent = seen.headers.get("Synapse-Access-Token", "").rpartition("-")[2]
        events = self._held.get((agent, seen.method))
        if events and seen.path.startswith(("/data_units", "/v2/data-units")):
            events[0].set()
            assert await asyncio.to_thread(events[1].wait, PATIENCE)


@pytest.fixture
def service(tmp_path):
    names = ("first", "slow", "quick", "late")
    tokens = tuple(f"syn_of-{name}" for name in names)
    with observed_server(tmp_path / "root", tokens=tokens) as server:
        server.hook = Gate()
        options = {**server.options, "listings_expiry_time": 0, "skip_instance_cache": True}
        made = {
            name: SynapseFileSystem(**options | {"token": token})
            for name, token in zip(names, tokens, strict=True)
        }
        made["first"].mkdir("collections/c", **PAIRED)
        made["first"].pipe({IMAGE: b"old image", META: b"old meta"})
        yield server.hook, made


@contextmanager
def meanwhile(work, *arguments):
    """Do something in a thread; at the end of the block it must be done."""
    failed = []

    def run():
        try:
            work(*arguments)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert failed == []


@contextmanager
def overtaken(gate, fs):
    """The slow writer's unit is there, and what it replaced is not yet deleted by it."""
    gate.hold("slow", "POST")
    gate.hold("slow", "DELETE")
    with meanwhile(fs["slow"].pipe_file, META, b"slow meta"):
        gate.arrived("slow", "POST")
        fs["quick"].pipe_file(IMAGE, b"quick image")
        gate.open("slow", "POST")
        gate.arrived("slow", "DELETE")
        yield
        gate.open("slow", "DELETE")


def test_a_unit_that_carries_an_outdated_file_along_hides_no_newer_one(service):
    """The slow writer's unit is made after the quick one's, with the image from before it."""
    gate, fs = service
    with overtaken(gate, fs):
        seen = fs["first"].cat([IMAGE, META])
        assert seen == {IMAGE: b"quick image", META: b"slow meta"}
    assert fs["first"].cat([IMAGE, META]) == {IMAGE: b"quick image", META: b"slow meta"}
    assert fs["first"].find("collections/c") == [IMAGE, META]


def test_what_is_outdated_is_not_taken_over_by_a_third(service):
    """A third writer comes while the slow one's unit is there."""
    gate, fs = service
    with overtaken(gate, fs):
        fs["late"].pipe_file(META, b"late meta")
        assert fs["first"].cat([IMAGE, META]) == {IMAGE: b"quick image", META: b"late meta"}
    found = fs["first"].cat([IMAGE, META])
    assert found[IMAGE] == b"quick image"
    assert found[META] in {b"slow meta", b"late meta"}
    assert fs["first"].find("collections/c") == [IMAGE, META]
    assert fs["first"].units("collections/c").num_rows == 1


def test_two_writers_of_one_file_keep_the_other_file_of_its_unit(service):
    """The slow writer takes a file over from a unit that the quick writer replaces and deletes."""
    gate, fs = service
    gate.hold("slow", "POST")
    with meanwhile(fs["slow"].pipe_file, IMAGE, b"slow image"):
        gate.arrived("slow", "POST")
        fs["quick"].pipe_file(IMAGE, b"quick image")
        gate.open("slow", "POST")
    assert fs["first"].cat([IMAGE, META]) == {IMAGE: b"slow image", META: b"old meta"}
    assert fs["first"].find("collections/c") == [IMAGE, META]
    assert fs["first"].units("collections/c").num_rows == 1


def test_attributes_of_the_unit_that_was_written_meanwhile_stay(service):
    """The slow writer builds on the quick one's unit, not on what that replaced."""
    gate, fs = service
    gate.hold("slow", "POST")
    with meanwhile(fs["slow"].pipe_file, IMAGE, b"slow image"):
        gate.arrived("slow", "POST")
        fs["quick"].pipe_file(IMAGE, b"quick image")
        fs["quick"].setxattrs(IMAGE, checked="yes")
        gate.open("slow", "POST")
    assert fs["first"].cat([IMAGE, META]) == {IMAGE: b"slow image", META: b"old meta"}
    assert fs["first"].getxattr(IMAGE, "checked") == "yes"
    assert fs["first"].units("collections/c").num_rows == 1
