"""Regular expressions that take time in proportion to the text, whatever they are.

Python's engine backtracks: a short pattern can keep it busy for years, and no other thread runs
meanwhile. Here a pattern becomes an automaton, all of whose states are followed at once. Sets of
states that occur are remembered, so that most characters cost one look-up in a dictionary.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

_parser: Any = importlib.import_module("re._parser")

MAX_LENGTH: Final = 1000
"""Most characters of a pattern."""

MAX_STATES: Final = 2000
"""Most states of its automaton; counted repeats have a copy for each time."""

MAX_REMEMBERED: Final = 10_000
"""Most states in the steps that are remembered of a pattern: about a megabyte."""

_UNKNOWN: Final = "unknown"
_FLAGS: Final = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.ASCII | re.LOCALE

Test = Callable[[str], bool]
States = frozenset[int]


class BudgetError(Exception):
    """What was asked takes too many steps."""


class PatternError(ValueError):
    """A pattern is wrong, or has what cannot be matched in bounded time."""


class Budget:
    """Steps that may still be taken.

    Parameters
    ----------
    left
        How many.
    """

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, steps: int) -> None:
        """Take some of them.

        Raises
        ------
        BudgetError
            There are not so many.
        """
        self.left -= steps
        if self.left < 0:
            raise BudgetError


class Pattern:
    """A compiled pattern.

    Parameters
    ----------
    pattern
        In Python's syntax, without flags, references to groups, assertions about what comes
        before or after, and atomic groups.

    Raises
    ------
    PatternError
        It is something else, or too long.
    """

    def __init__(self, pattern: str) -> None:
        self._tests: list[Test | None] = []
        self._positions: list[str | None] = []
        self._next: list[tuple[int, ...]] = []
        self._steps: dict[tuple[States, int, str, bool], States | None] = {}
        self._remembered = 0
        if len(pattern) > MAX_LENGTH:
            raise PatternError(f"it has more than {MAX_LENGTH} characters")
        try:
            parsed = _parser.parse(pattern)
            if parsed.state.flags & _FLAGS:
                raise PatternError("it has flags")
            self._match = self._add(())
            self._start = self._sequence(parsed, self._match)
        except (re.error, OverflowError) as error:
            raise PatternError(f"it is no regular expression: {error}") from None
        except RecursionError:
            raise PatternError("its groups are too deep") from None

    def search(self, text: str, budget: Budget) -> bool:
        """Say whether the pattern matches anywhere in a text.

        Raises
        ------
        BudgetError
            That takes too many steps.
        """
        budget.spend(len(text) + 1)
        states: States = frozenset()
        before = ""
        last = len(text) - 1
        for index in range(len(text) + 1):
            char = text[index] if index <= last else ""
            kind = 0 if index == 0 else 2 if _is_word(before) else 1
            key = (states, kind, char, index == last and char == "\n")
            known = self._steps.get(key, _UNKNOWN)
            following = self._step(key, budget) if isinstance(known, str) else known
            if following is None:
                return True
            states, before = following, char
        return False

    def _step(self, key: tuple[States, int, str, bool], budget: Budget) -> States | None:
        """Follow a character from a set of states; None where the pattern has matched."""
        states, kind, char, ends = key
        reached = self._reach((*states, self._start), kind, char, ends=ends)
        budget.spend(4 * len(reached))
        following: States | None = None
        if self._match not in reached:
            following = frozenset(
                self._next[state][0]
                for state in reached
                if char and (test := self._tests[state]) is not None and test(char)
            )
        self._remembered += 1 + len(following or ())
        if self._remembered > MAX_REMEMBERED:
            self._steps.clear()
            self._remembered = 0
        self._steps[key] = following
        return following

    def _reach(self, states: Iterable[int], kind: int, char: str, *, ends: bool) -> set[int]:
        """Return the states that need no further character, from between two characters."""
        holds = {
            "AT_BEGINNING": kind == 0,
            "AT_BEGINNING_STRING": kind == 0,
            "AT_END": not char or ends,
            "AT_END_STRING": not char,
            "AT_BOUNDARY": (kind == 2) != _is_word(char),
            "AT_NON_BOUNDARY": (kind == 2) == _is_word(char),
        }
        reached = set[int]()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state in reached:
                continue
            reached.add(state)
            position = self._positions[state]
            if self._tests[state] is None and (position is None or holds[position]):
                waiting.extend(self._next[state])
        return reached

    def _add(
        self, following: tuple[int, ...], test: Test | None = None, position: str | None = None
    ) -> int:
        if len(self._next) >= MAX_STATES:
            raise PatternError("it repeats too much")
        self._tests.append(test)
        self._positions.append(position)
        self._next.append(following)
        return len(self._next) - 1

    def _sequence(self, parsed: Iterable[tuple[Any, Any]], following: int) -> int:
        """Add the states of a parsed pattern before `following`; return the first."""
        for operator, argument in reversed(list(parsed)):
            following = self._one(str(operator), argument, following)
        return following

    def _one(self, operator: str, argument: Any, following: int) -> int:
        if operator in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, parsed = argument
            return self._repeat(parsed, least, most, following)
        if operator == "BRANCH":
            starts = tuple(self._sequence(branch, following) for branch in argument[1])
            return self._add(starts)
        if operator == "SUBPATTERN":
            _, added, removed, parsed = argument
            if added or removed:
                raise PatternError("it has flags")
            return self._sequence(parsed, following)
        if operator == "AT":
            return self._add((following,), position=str(argument))
        return self._add((following,), test=_test(operator, argument))

    def _repeat(self, parsed: Any, least: int, most: int, following: int) -> int:
        if most is _parser.MAXREPEAT:
            loop = self._add(())
            self._next[loop] = (self._sequence(parsed, loop), following)
            start = loop
        else:
            start = following
            for _ in range(most - least):
                start = self._add((self._sequence(parsed, start), following))
        for _ in range(least):
            start = self._sequence(parsed, start)
        return start


compiled = lru_cache(maxsize=256)(Pattern)
"""Compile a pattern, or get the one that was compiled before."""


def _test(operator: str, argument: Any) -> Test:
    """Return the function that says whether one character fits."""
    if operator == "LITERAL":
        literal = chr(argument)
        return lambda char: char == literal
    if operator == "NOT_LITERAL":
        literal = chr(argument)
        return lambda char: char != literal
    if operator == "ANY":
        return lambda char: char != "\n"
    if operator == "IN":
        return _in_class(argument)
    raise PatternError(f"it has what cannot be matched in bounded time ({operator.lower()})")


def _in_class(items: Sequence[tuple[Any, Any]]) -> Test:
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    tests = [_member(str(kind), argument) for kind, argument in items[negated:]]
    return lambda char: any(test(char) for test in tests) != negated


def _member(kind: str, argument: Any) -> Test:
    if kind == "RANGE":
        low, high = argument
        return lambda char: low <= ord(char) <= high
    if kind == "CATEGORY":
        name = str(argument).removeprefix("CATEGORY_")
        known = _CATEGORIES.get(name.removeprefix("NOT_"))
        if known is None:
            raise PatternError(f"it has an unknown kind of characters ({name.lower()})")
        negated = name.startswith("NOT_")
        return lambda char: known(char) != negated
    return _test(kind, argument)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


_CATEGORIES: Final[dict[str, Test]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": _is_word,
}
