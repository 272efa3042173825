"""One client writes, a moment later another writes with a stale listing: no update is lost.

Every ordered pair of verbs runs. Afterwards a client with a cold cache sees every acknowledged
change, as a plain model has it. An error must be specific, and leave nothing done.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults.actors import Actor, Answer, Call, actors, call
from tests.faults.bench import Bench
from tests.faults.pairs import (
    KINDS,
    VERBS,
    Model,
    Pair,
    Refused,
    Scene,
    before,
    container_options,
    pairs,
)
from tests.faults.report import COUNTS
from tests.support.sizing import sized

SELECTED = 16
"""Pairs of each kind in the default suite."""
TOGETHER = 120
DELAYS = sized((0.3,), (0.3, 1.5, 3.0))
MAY_REFUSE: frozenset[str] = frozenset()
"""Pairs whose second operation may be refused although it is possible."""


@dataclass
class Case:
    """A pair in a container of its own, and its outcome."""

    pair: Pair
    container: str
    model: Model
    second: Answer | None = None


@pytest.fixture(scope="module")
def three() -> Iterator[list[Actor]]:
    """Three processes: one acts first, one holds a stale listing, one checks afterwards."""
    with actors(3) as found:
        yield found


def _calls(pair: Pair, name: str, actor: str, container: str, believed: Model) -> list[Call]:
    return VERBS[name].calls(Scene(container, actor, pair.key, believed))


def _after(model: Model, pair: Pair, name: str, actor: str) -> Model | None:
    """Give the state after a verb; None if it is impossible."""
    changed = model.copy()
    try:
        VERBS[name].effect(changed, Scene("", actor, pair.key, model))
    except Refused:
        return None
    return changed


def _prepare(case: Case) -> list[Call]:
    kind, model, base = case.pair.kind, case.model, case.container
    calls = [call("mkdir", base, **container_options(kind))]
    for key, attributes in model.attributes.items():
        contents = {f"{base}/{name}": model.files[name] for name in model.names(key)}
        said = {"tags": sorted(model.tags[key])} if model.in_dataset else {}
        calls.append(call("pipe", contents, metadata=attributes, **said))
    if "empty" in model.folders:
        calls.append(call("mkdir", f"{base}/empty"))
    return calls


def _hold(case: Case) -> list[Call]:
    """List everything, so that listings and details are cached."""
    paths = [f"{case.container}/{name}" for name in case.model.files]
    return [
        *(call("info", path) for path in paths),
        call("cat", paths),
        call("find", case.container, withdirs=True, detail=True),
    ]


def _raised(answers: list[Answer]) -> list[str]:
    return [f"{answer.error}: {answer.message}" for answer in answers if answer.error]


def run(bench: Bench, three: list[Actor], chosen: list[Pair], delay: float) -> list[str]:
    """Run all pairs concurrently; give the problems."""
    first, second, last = three
    cases = [
        Case(pair, f"{_root(pair.kind)}/t-{uuid.uuid4().hex[:12]}", before(pair.kind))
        for pair in chosen
    ]
    made = first.ask([("A", _prepare(case)) for case in cases], A=bench.options())
    assert not _raised(made)
    believing = bench.options(listings_expiry_time=600)
    held = second.ask([("B", _hold(case)) for case in cases], B=believing)
    assert not _raised(held)
    acted = first.ask(
        [
            ("A", _calls(case.pair, case.pair.first, "A", case.container, case.model))
            for case in cases
        ]
    )
    failed = [
        f"{case.pair}: alone, without anybody else: {answer.error}: {answer.message}"
        for case, answer in zip(cases, acted, strict=True)
        if answer.error
    ]
    cases = [case for case, answer in zip(cases, acted, strict=True) if not answer.error]
    time.sleep(delay)
    for case in cases:
        after = _after(case.model, case.pair, case.pair.first, "A")
        assert after is not None
        case.model = after
    answers = second.ask(
        [
            ("B", _calls(case.pair, case.pair.second, "B", case.container, case.model))
            for case in cases
        ]
    )
    for case, answer in zip(cases, answers, strict=True):
        case.second = answer
    looked = last.ask([("C", [call("exists", "collections")])], C=bench.options())
    assert not _raised(looked)
    COUNTS["pairs of verbs by two clients"] += len(cases)
    return failed + _judged(last, cases)


def _root(kind: str) -> str:
    return "datasets" if kind in {"binary", "text"} else "collections"


def _judged(last: Actor, cases: list[Case]) -> list[str]:
    """Compare the actual state with each model."""
    expected = [_expected(case) for case in cases]
    there = last.ask(
        [("C", [call("find", case.container, withdirs=True, detail=True)]) for case in cases]
    )
    contents = last.ask(
        [("C", [call("cat", _files(answer), on_error="return")]) for answer in there]
    )
    keys = [[key for key in model.attributes if _has(model, key)] for model, _ in expected]
    looks = [
        (index, key, what)
        for index, found in enumerate(keys)
        for key in found
        for what in ("getxattrs", "get_tags")[: 1 + expected[index][0].in_dataset]
    ]
    said = last.ask(
        [
            ("C", [call(what, f"{cases[index].container}/{expected[index][0].names(key)[0]}")])
            for index, key, what in looks
        ]
    )
    wrong: list[str] = []
    for index, case in enumerate(cases):
        model, complaints = expected[index]
        complaints = [*complaints, *_differences(case, model, there[index], contents[index])]
        complaints += [
            problem
            for (owner, key, what), answer in zip(looks, said, strict=True)
            if owner == index
            for problem in _lost(model, key, what, answer)
        ]
        if complaints:
            wrong.append(f"{case.pair}: {'; '.join(complaints)}")
    return wrong


def _has(model: Model, key: str) -> bool:
    return model.names(key)[0] in model.files


def _files(answer: Answer) -> list[str]:
    found = answer.value or {}
    return [path for path, info in found.items() if info["type"] == "file"]


def _expected(case: Case) -> tuple[Model, list[str]]:
    """Give the required state, and the problems of the second operation's outcome."""
    answer, pair = case.second, case.pair
    assert answer is not None
    after = _after(case.model, pair, pair.second, "B")
    if not answer.error:
        return after or case.model, []
    wrong = []
    if not answer.is_clear or case.container.partition("/")[2] not in answer.message:
        wrong.append(f"no clear error: {answer.error}: {answer.message}")
    if after is not None and str(pair) not in MAY_REFUSE:
        wrong.append(f"refused: {answer.error}: {answer.message}")
    return case.model, wrong


def _differences(case: Case, model: Model, there: Answer, contents: Answer) -> list[str]:
    if there.error or contents.error:
        return [*_raised([there, contents])]
    base = f"{case.container}/"
    now = {path.removeprefix(base): data for path, data in (contents.value or {}).items()}
    wrong = [f"{name} is lost" for name in model.files if name not in now]
    for name, data in now.items():
        if name not in model.files:
            wrong.append(f"{name} is there: {data!r}")
        elif data != model.files[name]:
            wrong.append(f"{name} is {data!r}, not {model.files[name]!r}")
    folders = {path.removeprefix(base) for path in there.value}
    wrong += [f"folder {name} is lost" for name in model.folders if name not in folders]
    if bool(there.value) != model.exists:
        wrong.append(f"the container {'is gone' if model.exists else 'is there'}")
    return wrong


def _lost(model: Model, key: str, what: str, answer: Answer) -> list[str]:
    if answer.error:
        return []
    if what == "get_tags":
        lacking = sorted(model.tags[key] - set(answer.value))
    else:
        now = answer.value
        lacking = sorted(n for n, value in model.attributes[key].items() if now.get(n) != value)
    return [f"{what} of {key} lacks {lacking}"] if lacking else []


def selected(kind: str) -> list[Pair]:
    """Choose some pairs, always the same ones."""
    return random.Random(kind).sample(list(pairs(kind)), SELECTED)


def test_some_pairs(bench: Bench, three: list[Actor]) -> None:
    chosen = [pair for kind in KINDS for pair in selected(kind)]
    assert run(bench, three, chosen, 0.3) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_pair(bench: Bench, three: list[Actor], kind: str, delay: float) -> None:
    every = list(pairs(kind))
    wrong: list[str] = []
    for start in range(0, len(every), TOGETHER):
        wrong += run(bench, three, every[start : start + TOGETHER], delay)
    assert wrong == []
