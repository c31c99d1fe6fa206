"""Which records are shown: few, but unlike each other, and the same ones every time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TRAIN = "data/train.jsonl"


@dataclass(frozen=True)
class Chosen:
    """A record of the training split, and why it was taken."""

    line: int
    """In the file, from 1."""
    record: Mapping[str, Any]
    why: tuple[str, ...]


@dataclass
class _Found:
    """What one pass over the records keeps: never more than a handful of them."""

    first: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    longest: tuple[int, int, Mapping[str, Any]] | None = None
    shortest: tuple[int, int, Mapping[str, Any]] | None = None
    kinds: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    head: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)


def choose(records: Iterable[Mapping[str, Any]], most: int) -> tuple[Chosen, ...]:
    """Return at most `most` records, in the order in which they are looked for.

    The first of each source, those of the most and the fewest characters (tokens are not counted of all), the first of each kind of question; what is left is filled
    with the first records of the file. A record that is two of these is taken once, and says both.

    >>> rows = [{"id": "a", "source": "x", "messages": [{"content": "long text"}]},
    ...         {"id": "b", "source": "x", "messages": [{"content": "no"}]}]
    >>> [(one.record["id"], one.why) for one in choose(rows, 2)]
    [('a', ('the first of x', 'the most characters')), ('b', ('the fewest characters',))]
    """
    found = _look_through(records, most)
    asked: list[tuple[str, int, Mapping[str, Any]]] = [
        (f"the first of {source}", line, record) for source, (line, record) in found.first.items()
    ]
    asked += [("the most characters", *found.longest[1:])] if found.longest else []
    asked += [("the fewest characters", *found.shortest[1:])] if found.shortest else []
    asked += [
        (f"the first that asks for {kind}", line, record) for kind, (line, record) in found.kinds.items()
    ]
    asked += [("one of the first", line, record) for line, record in found.head]
    why: dict[int, list[str]] = {}
    taken: dict[int, Mapping[str, Any]] = {}
    for reason, line, record in asked:
        if line not in taken and len(taken) == most:
            continue
        taken[line] = record
        if reason != "one of the first" or line not in why:
            why.setdefault(line, []).append(reason)
    return tuple(Chosen(line, record, tuple(why[line])) for line, record in taken.items())


def _look_through(records: Iterable[Mapping[str, Any]], most: int) -> _Found:
    found = _Found()
    for line, record in enumerate(records, start=1):
        size = length(record)
        found.first.setdefault(str(record.get("source")), (line, record))
        if found.longest is None or size > found.longest[0]:
            found.longest = (size, line, record)
        if found.shortest is None or size < found.shortest[0]:
            found.shortest = (size, line, record)
        if record.get("asks"):
            found.kinds.setdefault(str(record["asks"]), (line, record))
        if len(found.head) < most:
            found.head.append((line, record))
    return found


def length(record: Mapping[str, Any]) -> int:
    """Return the characters of all that is said in a record."""
    return sum(len(message["content"]) for message in record["messages"])
