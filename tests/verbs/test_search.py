"""Entries of datasets are found by text, by criteria and by embedding, with their paths."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synapsefs import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    SynapseFileSystem,
    UnsupportedError,
)
from tests.support.observed import TOKEN, observed_server

SECONDS = 15.0


def eventually(look: Callable[[], Any], expected: Any) -> None:
    """Look until search, which lags, shows what is expected."""
    end = time.monotonic() + SECONDS
    while (found := look()) != expected and time.monotonic() < end:
        time.sleep(0.1)
    assert found == expected


@pytest.fixture
def word() -> str:
    return f"w{uuid.uuid4().hex[:12]}"


@pytest.fixture
def papers(fs: SynapseFileSystem, dataset: str, word: str) -> str:
    fs.pipe_file(
        f"{dataset}/a.txt",
        f"the {word} flows\n".encode(),
        tags=["water", "deep"],
        description="about rivers",
        embedding=[1, 0],
    )
    fs.pipe_file(
        f"{dataset}/sub/b.md", f"a {word} stands".encode(), tags=["stone"], embedding=[0.6, 0.8]
    )
    fs.pipe_file(f"{dataset}/sub/c.bin", b"\xff\x00", description=f"bytes of {word}", tags=["deep"])
    return dataset


def names(fs: SynapseFileSystem, *args: Any, **kwargs: Any) -> set[str]:
    return {hit["name"] for hit in fs.search(*args, **kwargs)}


def test_text_is_found_everywhere_in_a_dataset_and_below_a_directory(
    another: SynapseFileSystem, papers: str, word: str
) -> None:
    everything = {f"{papers}/a.txt", f"{papers}/sub/b.md", f"{papers}/sub/c.bin"}
    eventually(lambda: names(another, query=word), everything)
    assert names(another, "synapse://", word) == everything
    assert names(another, papers, word) == everything
    assert names(another, f"{papers}/sub", word) == {f"{papers}/sub/b.md", f"{papers}/sub/c.bin"}
    assert names(another, papers, f"{word}none") == set()
    assert len(another.search(papers, word, size=1)) == 1
    hit = another.search(papers, word, criteria={"tags": "water"})[0]
    assert another.cat_file(hit["name"]) == f"the {word} flows\n".encode()
    assert (hit["type"], hit["description"], hit["tags"]) == (
        "file",
        "about rivers",
        ["water", "deep"],
    )
    assert hit["score"] > 0


def test_criteria_combine(another: SynapseFileSystem, papers: str, word: str) -> None:
    water = ("tags", "equals", "water")
    stone = {"field": "tags", "operator": "equals", "value": "stone"}
    ends = ("name", "ends_with", ".md")
    both = {f"{papers}/a.txt", f"{papers}/sub/b.md"}
    eventually(lambda: len(names(another, papers)), 4)
    assert names(another, papers, criteria=[water, stone], match="any") == both
    assert names(another, f"{papers}/sub", criteria=[water, stone], match="any") == {
        f"{papers}/sub/b.md"
    }
    assert names(another, papers, criteria=[water, stone]) == set()
    assert names(another, papers, criteria=[stone, ends]) == {f"{papers}/sub/b.md"}
    assert names(another, papers, criteria={"tags": ["stone", "water"]}) == both
    assert names(another, papers, criteria=[("content", "fulltext", word)]) == both
    assert names(another, papers, criteria=[("description", "contains", "RIVER")]) == {
        f"{papers}/a.txt"
    }
    assert names(another, papers, criteria=[("name", "starts_with", "c.")]) == {
        f"{papers}/sub/c.bin"
    }
    assert names(another, papers, criteria=[("created_at", "greater_than", "2001-01-01")]) == {
        *both,
        f"{papers}/sub",
        f"{papers}/sub/c.bin",
    }
    span = ("created_at", "between", ["2001-01-01", "2002-01-01"])
    assert names(another, papers, criteria=[span]) == set()
    assert names(another, papers, criteria=[("created_at", "less_than", "2001-01-01")]) == set()


def test_matches_are_highlighted(another: SynapseFileSystem, papers: str, word: str) -> None:
    def fragments() -> Any:
        hits = another.search(papers, word, highlight=True, criteria={"tags": "water"})
        return [hit["highlights"] for hit in hits]

    eventually(fragments, [{"content": [f"the <em>{word}</em> flows\n"]}])
    given = {"fields": ["description"], "fragment_size": 40, "num_fragments": 1}
    hits = another.search(papers, word, highlight=given, criteria={"tags": "deep"})
    assert {str(hit.get("highlights")) for hit in hits if hit["name"].endswith(".bin")} == {
        str({"description": [f"bytes of <em>{word}</em>"]})
    }
    assert "highlights" not in another.search(papers, word)[0]


def test_what_was_removed_is_not_found(
    fs: SynapseFileSystem, another: SynapseFileSystem, papers: str, word: str
) -> None:
    eventually(lambda: len(names(another, papers, word)), 3)
    fs.rm(f"{papers}/sub", recursive=True)
    assert names(fs, papers, word) == {f"{papers}/a.txt"}


def test_hidden_entries_are_not_found(another: SynapseFileSystem, papers: str, word: str) -> None:
    another.pipe_file(f"{papers}/sub/c.bin", b"\xff\x01", tags=["deep"])
    eventually(lambda: len(names(another, papers, word)), 3)
    assert len(another.search(papers, size=100)) == 4


def test_similar_entries_are_found_nearest_first(another: SynapseFileSystem, papers: str) -> None:
    def near(*args: Any, **kwargs: Any) -> list[tuple[str, float]]:
        hits = another.search(papers, *args, **kwargs)
        return [(hit["name"], round(hit["score"], 6)) for hit in hits]

    a, b = f"{papers}/a.txt", f"{papers}/sub/b.md"
    eventually(lambda: near(similar_to=[1.0, 0.0], min_score=0.5), [(a, 1.0), (b, 0.6)])
    assert near(similar_to=[0, 2]) == [(b, 0.8)]
    assert near(similar_to=b, min_score=0.5) == [(b, 1.0), (a, 0.6)]
    assert near(similar_to=[1.0, 0.0], min_score=0.0, size=1) == [(a, 1.0)]
    assert near(similar_to=[1.0, 0.0], min_score=0.0, tags=["stone"]) == [(b, 0.6)]
    assert names(another, f"{papers}/sub", similar_to=[1, 0], min_score=0.0) == {b}
    with pytest.raises(InvalidRequestError, match="no embedding"):
        another.search(papers, similar_to=f"{papers}/sub/c.bin")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"match": "both"}, "match is 'all' or 'any'"),
        ({"size": 0}, "size is from 1 to 1000"),
        ({"size": 1001}, "size is from 1 to 1000"),
        ({"criteria": [("tags", "like", "x")]}, "operator"),
        ({"criteria": ["tags"]}, "a criterion is"),
        ({"criteria": [{"field": "tags"}]}, "Field required"),
        ({"highlight": {"colour": 1}}, "highlight takes no 'colour'"),
        ({"similar_to": [1.0], "query": "x"}, "takes no query"),
        ({"similar_to": []}, "embedding"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_unsent(
    fs: SynapseFileSystem, dataset: str, given: dict[str, Any], words: str
) -> None:
    fs.ls(dataset)
    before = fs.stats()["requests"]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        fs.search(dataset, **given)
    assert caught.value.filename == dataset
    assert fs.stats()["requests"] == before


@pytest.mark.parametrize("embedding", ["12", [], ["a"], [float("nan")], {"a": 1}])
def test_an_embedding_is_numbers(fs: SynapseFileSystem, dataset: str, embedding: Any) -> None:
    with pytest.raises(InvalidRequestError, match="list of finite numbers"):
        fs.pipe_file(f"{dataset}/a.txt", b"x", embedding=embedding)
    assert fs.ls(dataset) == []


def test_an_embedding_is_only_a_new_file_s(fs: SynapseFileSystem, dataset: str) -> None:
    fs.pipe_file(f"{dataset}/a.txt", b"x")
    with pytest.raises(UnsupportedError, match="only when a file is made"):
        fs.pipe_file(f"{dataset}/a.txt", b"y", embedding=[1])
    assert fs.cat_file(f"{dataset}/a.txt") == b"x"


def test_collections_have_no_search(fs: SynapseFileSystem) -> None:
    with pytest.raises(UnsupportedError):
        fs.search("collections", "x")


def test_asynchronously(options: dict[str, Any], papers: str, word: str) -> None:
    async def main() -> None:
        fs = SynapseFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        async with fs:
            end = time.monotonic() + SECONDS
            hits: list[dict[str, Any]] = []
            while len(hits) < 3 and time.monotonic() < end:
                await asyncio.sleep(0.1)
                hits = await fs._search(papers, word)
            assert len(hits) == 3
            near = await fs._search(papers, similar_to=[0.0, 1.0])
            assert [hit["name"] for hit in near] == [f"{papers}/sub/b.md"]

    asyncio.run(main())


def test_what_others_share_is_found_and_read_by_its_id(tmp_path: Path, word: str) -> None:
    with observed_server(tmp_path, api_keys=("key_a", "key_b"), strict=True) as server:
        options = {"token": TOKEN, "skip_instance_cache": True}
        ours = SynapseFileSystem(server.url, datasets_token="key_a", **options)
        theirs = SynapseFileSystem(server.url, datasets_token="key_b", **options)
        ours.mkdir("datasets/d")
        for name in ("shown.txt", "hidden.txt"):
            ours.pipe_file(f"datasets/d/{name}", f"{word} {name}".encode())
        info = ours.share("datasets/d/shown.txt", "public")
        found = f"datasets/@{info['dataset_id']}/shown.txt"
        eventually(lambda: names(theirs, query=word), {found})
        assert theirs.cat_file(found) == f"{word} shown.txt".encode()
        assert theirs.cat_file(f"datasets/@{info['id']}") == f"{word} shown.txt".encode()
        assert theirs.info(f"datasets/@{info['short_alias']}")["share_status"] == "public"
        hidden = ours.info("datasets/d/hidden.txt")["id"]
        with pytest.raises(NotFoundError):
            theirs.cat_file(f"datasets/@{hidden}")
        with pytest.raises((AccessDeniedError, NotFoundError)):
            theirs.rm(f"datasets/@{info['id']}")
        ours.share("datasets/d/shown.txt", "private")
        theirs.invalidate_cache()
        with pytest.raises(NotFoundError):
            theirs.cat_file(f"datasets/@{info['id']}")
