"""The fewest promises that allow a set of calls that was seen.

Law: a call counts as often as it differs to the filter: two calls that no rule tells apart have one
`shape`. A set of words is judged by the very rules that are compiled (filter.decisions), so what is
found here is allowed there. Where several words would do, RANK prefers what gives away less.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import combinations
from typing import NamedTuple

from supervisor.kernel.seccomp.filter import decisions
from supervisor.kernel.seccomp.general import ALWAYS, opening
from supervisor.kernel.seccomp.rule import ALLOW, WHOLE, Condition, Decision, Rule
from supervisor.kernel.seccomp.words import IMPLIED, WORDS

_OPENING = ("rpath", "wpath", "cpath")  # these combine: see general.opening
# From what gives away least to what gives away most, of words that share calls.
_RANK = (
    "rpath", "wpath", "flock", "recvfd", "sendfd", "unix", "inet", "dns", "route", "dpath",
    "cpath", "fattr", "proc", "exec",
)  # fmt: skip
_SINGLES = tuple(word for word in WORDS if word not in ("app", *IMPLIED))

Shape = tuple[int, ...]  # of six arguments: what any rule about this call can see of them


class Seen(NamedTuple):
    """`family`: of the socket that it is about, 0 where there is none."""

    call: str
    shape: Shape
    family: int = 0


class Least(NamedTuple):
    """`words` in the order of the table, `stdio` first; `why`: the calls that each is for;
    `never`: calls that no word allows."""

    words: tuple[str, ...]
    why: Mapping[str, tuple[str, ...]]
    never: tuple[str, ...]


def shape(call: str, args: Collection[int]) -> Shape:
    """`args`: the six registers of one call."""
    return tuple(
        (1 if value else 0) if pointer else value & mask
        for value, (mask, pointer) in zip(args, _seen(call), strict=True)
    )


def least(calls: Iterable[Seen]) -> Least:
    """The words for all of `calls`."""
    ways = {one: _ways_of_family(one) for one in sorted(set(calls))}
    never = tuple(dict.fromkeys(one.call for one, found in ways.items() if not found))
    wanted = {found for found in ways.values() if found and frozenset() not in found}
    words = _cheapest(frozenset(), sorted(wanted, key=len))
    chosen = tuple(word for word in WORDS if word in words or word in IMPLIED)
    why: dict[str, list[str]] = {word: [] for word in chosen}
    for one, found in ways.items():
        used = next((way for way in found if way <= words), frozenset[str]())
        for word in used:
            if one.call not in why[word]:
                why[word].append(one.call)
    return Least(chosen, {word: tuple(names) for word, names in why.items()}, never)


def allowed(words: Collection[str], call: str, args: Collection[int]) -> bool:
    """Whether a filter of these words lets this call through."""
    values = tuple(args)
    for rule in _rules(frozenset(words)).get(call, ()):
        if all(_holds(test, values) for test in rule.tests):
            return rule.action == ALLOW
    return False


def _holds(test: Condition, args: tuple[int, ...]) -> bool:
    return (args[test.arg] & test.mask in test.values) == test.holds


@cache
def _rules(words: frozenset[str]) -> Mapping[str, Decision]:
    return decisions(sorted(words), "log")


@cache
def _ways(call: str, args: Shape) -> tuple[frozenset[str], ...]:
    """The smallest sets of words that allow it; an empty one where it needs none."""
    if allowed((), call, args):
        return (frozenset(),)
    singles = tuple(frozenset((word,)) for word in _SINGLES if allowed((word,), call, args))
    if singles:
        return singles
    for size in (2, 3):
        for words in combinations(_OPENING, size):
            if allowed(words, call, args):
                return (frozenset(words),)
    return ()


def _ways_of_family(one: Seen) -> tuple[frozenset[str], ...]:
    """What a socket's call needs is promised by the word that such sockets are made by, if that
    allows it: a filter does not see what a descriptor is."""
    ways = _ways(one.call, one.shape)
    made = _makers(one.family) if one.family else frozenset[str]()
    return tuple(way for way in ways if way <= made and way) or ways


@cache
def _makers(family: int) -> frozenset[str]:
    kinds = ((family, kind, 0, 0, 0, 0) for kind in (1, 2, 3))
    return frozenset(
        word for args in kinds for word in _SINGLES if allowed((word,), "socket", args)
    )


def _cheapest(
    words: frozenset[str], wanted: list[tuple[frozenset[str], ...]]
) -> frozenset[str]:
    """`words` and what else all of `wanted` takes, each of which is open to several ways."""
    rest = [ways for ways in wanted if not any(way <= words for way in ways)]
    if not rest:
        return words
    found = [_cheapest(words | way, rest[1:]) for way in rest[0]]
    return min(found, key=lambda one: (sum(map(_cost, one)), sorted(one)))


def _cost(word: str) -> int:
    return 1 + _RANK.index(word) if word in _RANK else 1 + 2 * len(_RANK)


@cache
def _seen(call: str) -> tuple[tuple[int, bool], ...]:
    """Of each of the six arguments: the bits that a rule tests, and whether it is a pointer."""
    rules: list[Rule] = [rule for name, rule in ALWAYS if name == call]
    rules += [
        Rule(tuple(tests), ALLOW)
        for word in WORDS.values() for name, *tests in word.rules if name == call
    ]  # fmt: skip
    for size in (1, 2, 3):
        for words in combinations(_OPENING, size):
            rules += [rule for name, rule in opening(words) if name == call]
    masks, pointers = [0] * 6, [False] * 6
    for test in (test for rule in rules for test in rule.tests):
        if test.mask == WHOLE and test.values == (0,):
            pointers[test.arg] = True
        else:
            masks[test.arg] |= test.mask
    return tuple(zip(masks, pointers, strict=True))
