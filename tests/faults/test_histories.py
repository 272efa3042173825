"""Processes read, write, copy, move and remove the same few files: every read is checked."""

from __future__ import annotations

import random
import uuid

import pytest

from tests.faults.actors import Actor, Answer, Call, actors, call
from tests.faults.bench import Bench
from tests.faults.histories import ABSENT, ANY, History, Read, Write
from tests.faults.report import COUNTS
from tests.support.sizing import sized

PROCESSES, THREADS, CALLS = 3, 2, sized(60, 600)
NAMES = [f"k{number}" for number in range(4)]
SLACK = 1.0
"""Time limit of a listing in seconds on a busy machine: its age counts from its request."""
LEGAL = {"NotFoundError", "ConflictError", "ChangedError", "AlreadyExistsError"}
"""Errors allowed while others change the same files."""
VERBS = {"put": 6, "cat": 8, "ls": 3, "rm": 2, "mv": 2, "cp": 2, "setxattrs": 1}


def plan(base: str, suffix: str, who: int, seed: int) -> list[Call]:
    """Choose the calls of one process; every content is written once."""
    chance = random.Random(f"{who} {seed}")
    found = []
    for number in range(CALLS):
        verb = chance.choices(list(VERBS), list(VERBS.values()))[0]
        first, second = (f"{base}/{name}{suffix}" for name in chance.sample(NAMES, 2))
        content = f"{who}-{number}|".encode() * 50 + (b"" if suffix == ".txt" else b"\xff")
        found.append(
            {
                "put": call("pipe_file", first, content),
                "cat": call("cat_file", first),
                "ls": call("ls", base, detail=False),
                "rm": call("rm", first),
                "mv": call("mv", first, second),
                "cp": call("cp_file", first, second),
                "setxattrs": call("setxattrs", first, {"label": f"{who}-{number}"}),
            }[verb]
        )
    return found


def writes_of(done: Call, answer: Answer) -> list[Write]:
    """Give the writes of a call, or the possible ones if it failed."""
    began, ended, sure = answer.began, answer.ended, not answer.error
    path = done.arguments[0]
    if answer.error == "NotFoundError" and done.verb in {"rm", "cp_file", "setxattrs"}:
        return []
    if done.verb == "pipe_file":
        return [Write(path, began, ended, done.arguments[1], is_sure=sure)]
    if done.verb == "rm":
        return [Write(path, began, ended, ABSENT, is_sure=sure)]
    if done.verb == "setxattrs":
        return [Write(path, began, ended, source=path, is_sure=sure)]
    if done.verb not in {"cp_file", "mv"}:
        return []
    found = [Write(done.arguments[1], began, ended, source=path, is_sure=sure)]
    if done.verb == "mv":
        found.append(Write(path, began, ended, ABSENT, is_sure=sure))
    return found


def reads_of(done: Call, answer: Answer, base: str, suffix: str, expiry: float) -> list[Read]:
    """Give the reads of a call."""
    began, ended = answer.began, answer.ended
    if done.verb == "cat_file" and answer.error in {"", "NotFoundError"}:
        return [Read(done.arguments[0], began, ended, answer.value, expiry)]
    if done.verb != "ls" or answer.error:
        return []
    return [
        Read(path, began, ended, ANY if path in answer.value else ABSENT, expiry)
        for path in (f"{base}/{name}{suffix}" for name in NAMES)
    ]


def unexpected(done: Call, answer: Answer) -> bool:
    return answer.error not in LEGAL | {""} or not answer.is_clear


@pytest.fixture(scope="module")
def several():
    with actors(PROCESSES) as found:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("expiry", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["collections .bin", "datasets .bin", "datasets .txt"])
def test_every_read_is_right(bench: Bench, several: list[Actor], kind: str, expiry: float) -> None:
    root, suffix = kind.split()
    container = f"{root}/t-{uuid.uuid4().hex[:12]}"
    base = f"{container}/data_1" if root == "collections" else f"{container}/folder"
    several[0].ask([("maker", [call("mkdir", container)])], maker=bench.options())
    for actor in several:
        actor.ask([], mine=bench.options(listings_expiry_time=expiry))
    plans = [plan(base, suffix, who, seed=1) for who in range(PROCESSES)]
    for actor, calls in zip(several, plans, strict=True):
        actor.send([("mine", [one]) for one in calls], at_a_time=THREADS)
    done = [
        pair
        for actor, calls in zip(several, plans, strict=True)
        for pair in zip(calls, actor.receive(), strict=True)
    ]
    last = [call("cat_file", f"{base}/{name}{suffix}") for name in NAMES]
    looked = several[0].ask([("fresh", [one]) for one in last], fresh=bench.options())
    history = History(write for one, answer in done for write in writes_of(one, answer))
    older = expiry + SLACK if expiry else 0.0
    reads = [r for one, answer in done for r in reads_of(one, answer, base, suffix, older)]
    reads += [
        r
        for one, answer in zip(last, looked, strict=True)
        for r in reads_of(one, answer, base, suffix, 0.0)
    ]
    COUNTS["reads judged among writers"] += len(reads)
    assert [f"{a.error}: {a.message}" for one, a in done if unexpected(one, a)] == []
    assert [str(read) for read in reads if not history.explains(read)] == []


# --- the checker itself ---------------------------------------------------------------------


def judged(writes: list[Write], read: Read) -> bool:
    return History(writes).explains(read)


def test_the_judge_accepts_what_may_be():
    first, second = Write("a", 1, 2, b"1"), Write("a", 3, 5, b"2")
    assert judged([first], Read("a", 3, 4, b"1"))
    assert judged([first, second], Read("a", 4, 6, b"1"))
    assert judged([first, second], Read("a", 4, 6, b"2"))
    assert judged([first, second], Read("a", 5.2, 6, b"1", expiry=0.3))
    assert judged([], Read("a", 1, 2, ABSENT))
    assert judged([first, Write("a", 3, 4, ABSENT)], Read("a", 5, 6, ABSENT))
    assert judged([first, Write("a", 3, 4, b"2", is_sure=False)], Read("a", 9, 10, b"1"))
    assert judged([first, Write("a", 3, 4, b"2", is_sure=False)], Read("a", 9, 10, b"2"))
    copied = Write("b", 3, 4, source="a")
    assert judged([first, copied], Read("b", 5, 6, b"1"))
    assert judged([first, copied], Read("b", 5, 6, ANY))


def test_the_judge_refuses_what_may_not():
    first, second = Write("a", 1, 2, b"1"), Write("a", 3, 4, b"2")
    assert not judged([first, second], Read("a", 5, 6, b"1"))
    assert not judged([first, second], Read("a", 5, 6, b"1", expiry=0.3))
    assert not judged([first, second], Read("a", 5, 6, ABSENT))
    assert not judged([first, Write("a", 3, 4, ABSENT)], Read("a", 5, 6, b"1"))
    assert not judged([first, Write("a", 3, 4, ABSENT)], Read("a", 5, 6, ANY))
    assert not judged([first], Read("a", 3, 4, b"other"))
    assert not judged([second], Read("a", 1, 2, b"2"))
    copied = Write("b", 5, 6, source="a")
    assert not judged([first, second, copied], Read("b", 7, 8, b"1"))
    assert not judged([first, second, copied], Read("b", 7, 8, ABSENT))
