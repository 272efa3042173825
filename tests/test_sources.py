"""Locations of registered collections become paths that stay below their entry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapsefs.services.datasets.entry import from_response
from synapsefs.services.datasets.sources import connection, pieces_of, redact
from synapsefs.wire.datasets import answers

MOMENT = "2026-01-01T00:00:00"
UUID = "11111111-1111-1111-1111-111111111111"


def answer(*configs: dict[str, Any], collection: bool = True) -> answers.EntryResponse:
    entry = {
        "id": UUID,
        "name": "r",
        "status": "active",
        "created_at": MOMENT,
        "modified_at": MOMENT,
        "is_collection": collection,
    }
    locations = [
        {
            "id": UUID,
            "data_storage_id": UUID,
            "created_at": MOMENT,
            "storage_config": {"storage_type": "gcs", "content_type": "file", **config},
        }
        for config in configs
    ]
    return answers.EntryResponse.model_validate(
        {"data_storage": entry, "storage_locations": locations}
    )


def place(key: str | None, url: str = "https://s/x?sig", **metadata: Any) -> dict[str, Any]:
    return {
        "location": key,
        "signed_url": url,
        "metadata": {"bucket_name": "b", **metadata},
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (place("p/a.txt", prefix="p/"), ("a.txt",)),
        (place("p/a.txt", prefix="p"), ("p", "a.txt")),
        (place("p/q/a.txt", prefix="p/q"), ("q", "a.txt")),
        (place("gs://b/p/a.txt", prefix="p/"), ("a.txt",)),
        (place("b/p/a.txt", prefix="p/"), ("a.txt",)),
        (place(None, "https://storage/b/p/a%20b.txt?sig=1", prefix="p/"), ("a b.txt",)),
        (place("../../etc/passwd"), ("%2E%2E", "%2E%2E", "etc", "passwd")),
        (place("/abs"), ("%2Fabs",)),
    ],
)
def test_an_object_lies_below_its_entry(config: dict[str, Any], expected: tuple[str, ...]) -> None:
    pieces = pieces_of(answer(config))
    assert pieces is not None
    assert [piece.segments for piece in pieces] == [expected]


@given(st.text(min_size=1), st.text())
def test_no_key_leads_out(key: str, prefix: str) -> None:
    for piece in pieces_of(answer(place(key, prefix=prefix))) or ():
        assert piece.segments
        assert not {"", ".", ".."} & set(piece.segments)
        assert not any("/" in segment for segment in piece.segments)


def test_one_own_object_is_a_file_and_several_are_not() -> None:
    own = {"location": "x", "signed_url": "https://s/x", "metadata": {"size": 3}}
    assert pieces_of(answer(own, collection=False)) is None
    assert pieces_of(answer(own, collection=True)) is None
    several = pieces_of(answer({**own, "location": "x"}, {**own, "location": "y"}))
    assert several is not None
    assert [(piece.key, piece.size) for piece in several] == [("x", 3), ("y", 3)]
    assert pieces_of(answer(place("a"), collection=False)) is None


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        3,
        "text",
        [],
        {"synapsefs": 3},
        {"synapsefs": {"user": 3}},
        {"synapsefs": {"size": "x", "md5": 7, "revision": []}},
        {"synapsefs": {"size": True, "md5": "0" * 32}},
        {"size": True},
    ],
)
def test_any_metadata_is_borne(metadata: Any) -> None:
    own = {"location": "x", "signed_url": "https://s/x", "metadata": metadata}
    record = from_response(answer(own, collection=False))
    assert (record.kind, record.md5, record.metadata) == ("file", None, {})
    assert record.size is None


def test_credentials_are_covered() -> None:
    config = answers.StorageConfig(
        storage_type="link",
        content_type="text",
        location="https://x",
        metadata={"api_key": "k", "Password": "p", "access_token": "t", "region": "eu"},
    )
    assert redact(connection(config)) == {
        "storage_type": "link",
        "content_type": "text",
        "location": "https://x",
        "api_key": "***",
        "Password": "***",
        "access_token": "***",
        "region": "eu",
    }
