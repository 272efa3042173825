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
