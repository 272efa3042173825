"""Search by criteria, by text and by embedding."""

import pytest

from synapsefs.wire.datasets.answers import SearchHit
from synapsefs.wire.datasets.constants import SEARCH_PATH, SIMILARITY_PATH


async def search(api, *criteria, **members):
    body = {
        "criteria": [dict(zip(("field", "operator", "value"), c, strict=True)) for c in criteria],
        **members,
    }
    answer = await api.call("POST", SEARCH_PATH, body)
    assert answer.status == 200, answer.body
    return [SearchHit.model_validate(hit) for hit in answer.json]


async def names(api, *criteria, **members):
    return {hit.name for hit in await search(api, *criteria, **members)}


@pytest.fixture
async def filled(api):
    await api.create("Alpha report", content="The quick brown fox", tags=["red", "blue"])
    await api.create("beta", content="lazy dog", description="Quick notes", metadata={"n": 5})
    await api.create("gamma.txt", content="", file_path="/a/gamma.txt", tags=["red"])
    await api.create("tree")
    return api


@pytest.mark.parametrize(
    ("criterion", "found"),
    [
        (("name", "equals", "beta"), {"beta"}),
        (("name", "equals", "Beta"), set()),
        (("name", "equals", ["beta", "tree"]), {"beta", "tree"}),
        (("name", "in", ["beta", "tree"]), {"beta", "tree"}),
        (("name", "contains", "ALPHA"), {"Alpha report"}),
        (("name", "starts_with", "alpha r"), {"Alpha report"}),
        (("name", "ends_with", ".TXT"), {"gamma.txt"}),
        (("content", "fulltext", "fox cat"), {"Alpha report"}),
        (("description", "fulltext", "quick"), {"beta"}),
        (("content", "contains", "lazy d"), {"beta"}),
        (("tags", "equals", "red"), {"Alpha report", "gamma.txt"}),
        (("tags", "contains", "blu"), {"Alpha report"}),
        (("tags", "fulltext", "blue"), {"Alpha report"}),
        (("metadata.n", "greater_than", "4"), {"beta"}),
        (("metadata.n", "between", ["1", "5"]), {"beta"}),
        (("metadata.n", "less_than", 5), set()),
        (("size", "greater_than", "10"), {"Alpha report"}),
        (("status", "equals", "pending"), set()),
        (
            ("created_at", "greater_than", "2020-01-01"),
            {"Alpha report", "beta", "gamma.txt", "tree"},
        ),
        (("created_at", "less_than", "2020-01-01T00:00:00Z"), set()),
        (("is_collection", "equals", True), set()),
        (("is_collection", "equals", "false"), {"Alpha report", "beta", "gamma.txt", "tree"}),
        (("nothing", "equals", "x"), set()),
        (("name", "fulltext", "!?"), set()),
        (("name", "contains", "%_"), set()),
        (("name", "fulltext", '" OR beta NEAR('), {"beta"}),
    ],
)
async def test_operators(filled, criterion, found):
    assert await names(filled, criterion) == found


async def test_logic(filled):
    both = ("tags", "equals", "red"), ("name", "contains", "alpha")
    assert await names(filled, *both, filter_logic="AND") == {"Alpha report"}
    assert await names(filled, *both, filter_logic="OR") == {"Alpha report", "gamma.txt"}
    first = (await search(filled, *both))[0]
    assert first.name == "Alpha report"
    assert len(await search(filled, *both, limit=1)) == 1
    assert (await search(filled, *both, limit=1, offset=1))[0].name == "gamma.txt"


async def test_text_query(filled):
    assert await names(filled, text_query="quick") == {"Alpha report", "beta"}
    assert await names(filled, ("tags", "equals", "red"), text_query="quick") == {"Alpha report"}
    assert len(await search(filled)) == 4
    assert await names(filled, text_query="!?") == set()


async def test_highlights_only_when_asked(filled):
    [hit] = await search(filled, text_query="fox")
    assert hit.highlights is None
    [hit] = await search(filled, text_query="fox", highlight=True, highlight_fields=["content"])
    assert hit.highlights == {"content": ["The quick brown <em>fox</em>"]}
    [hit] = await search(
        filled,
        text_query="brown",
        highlight=True,
        highlight_fragment_size=5,
        highlight_num_fragments=1,
    )
    assert hit.highlights == {"content": ["<em>brown</em>"]}


async def test_search_follows_changes(api):
    entry = await api.create("old", content="one")
    key = entry.data_storage.id
    await api.patch(
        key,
        revision_id="5f0f1b62-0000-4000-8000-000000000001",
        base_revision_id=entry.revision_id,
        content="two",
        name="new",
    )
    assert await names(api, text_query="one old") == set()
    assert await names(api, text_query="two") == {"new"}
    await api.patch(key, tags=["green"])
    assert await names(api, text_query="green") == {"new"}
    await api.delete(key)
    assert await names(api, text_query="two new green") == set()


async def test_others_private_entries_are_not_found(two_users):
    owner, other = two_users
    key = (await owner.create("x", content="fox", embedding=[1.0, 0.0])).data_storage.id
    assert await names(other, text_query="fox") == set()
    await owner.patch(key, share_status="public")
    assert await names(other, text_query="fox") == {"x"}


async def test_malformed_searches_are_unprocessable(api):
    for body in (
        {"criteria": [{"field": "name", "operator": "like", "value": "x"}]},
        {"criteria": [{"field": "size", "operator": "between", "value": ["1"]}]},
        {"criteria": [], "limit": 1001},
        {"criteria": [], "limit": 0},
    ):
        assert (await api.call("POST", SEARCH_PATH, body)).status == 422


async def test_similarity(api):
    dataset = await api.dataset()
    await api.create("same", content="", embedding=[1.0, 0.0], tags=["t"])
    await api.create("near", content="", embedding=[1.0, 0.5], dataset_id=dataset)
    await api.create("far", content="", embedding=[0.0, 1.0])
    await api.create("longer", content="", embedding=[1.0, 0.0, 0.0])

    async def similar(**members):
        answer = await api.call("POST", SIMILARITY_PATH, {"embedding": [2.0, 0.0], **members})
        return [(hit["name"], round(hit["score"], 3)) for hit in answer.json]

    assert await similar() == [("same", 1.0), ("near", 0.894)]
    assert await similar(size=1) == [("same", 1.0)]
    assert await similar(tags=["t", "u"]) == [("same", 1.0)]
    assert await similar(dataset_id=dataset) == [("near", 0.894)]
    assert await similar(min_score=-0.5) == [("same", 1.0), ("near", 0.894), ("far", 0.0)]


async def test_a_strict_search_is_late(serving):
    api = await serving(strict=True)
    await api.create("x", content="fox")
    assert await names(api, text_query="fox") == set()
