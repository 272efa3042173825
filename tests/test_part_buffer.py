"""Parts that are cut from a stream of writes."""

from __future__ import annotations

import pytest

from synapsefs.files import PartBuffer


@pytest.mark.parametrize("step", [1, 7, 10, 25, 100])
def test_parts_have_their_size_and_the_last_is_kept_back(step: int) -> None:
    data = bytes(range(100))
    buffer = PartBuffer(10)
    parts = [part for at in range(0, 100, step) for part in buffer.feed(data[at : at + step])]
    assert [len(part) for part in parts] == [10] * 9
    assert b"".join([*parts, buffer.rest()]) == data
    assert bytes(buffer.rest()) == b""


def test_parts_may_be_garbage_in_a_cycle() -> None:
    """Exported buffers of ``io.BytesIO`` crash some interpreters when a cycle is collected."""
    buffer = PartBuffer(10)
    assert isinstance(buffer.rest().obj, bytearray)


def test_bytes_of_whole_parts_are_not_copied() -> None:
    """They are given out as they are; the end of them begins the next part."""
    data = bytes(range(35))
    buffer = PartBuffer(10)
    parts = list(buffer.feed(data))
    assert [part.obj is data for part in parts] == [True] * 3
    assert bytes(buffer.rest()) == data[30:]
    [*first] = buffer.feed(data[:10])
    [part] = buffer.feed(b"more")
    assert not first
    assert isinstance(part.obj, bytes)
    assert (bytes(part), bytes(buffer.rest())) == (data[:10], b"more")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_may_change_is_copied(kind: type) -> None:
    data = bytearray(b"x" * 25)
    buffer = PartBuffer(10)
    parts = list(buffer.feed(kind(data)))
    data[:] = b"y" * 25
    assert b"".join([*parts, buffer.rest()]) == b"x" * 25


def test_memory_is_used_again_only_when_nobody_looks_at_it() -> None:
    buffer = PartBuffer(10)
    seen: list[memoryview] = []
    for number in range(6):
        seen += buffer.feed(bytearray([number]) * 10)
    assert [bytes(part) for part in seen] == [bytes([number]) * 10 for number in range(5)]
    assert len({id(part.obj) for part in seen}) == 5
    free = id(seen[3].obj)
    del seen[3]
    [part] = buffer.feed(bytearray(b"x"))
    assert bytes(part) == b"\x05" * 10
    held = buffer.rest()
    assert (id(held.obj), bytes(held)) == (free, b"x")
    assert [bytes(part) for part in seen] == [bytes([number]) * 10 for number in (0, 1, 2, 4)]
