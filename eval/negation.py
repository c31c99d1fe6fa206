"""Which findings of a text are denied: cues and the reach of each, by the rules in `data/negation.yaml`.

A cue reaches to the end of its clause: to a full stop, semicolon, colon, bracket or line break, to a word
such as "but" or "with", to an "and" that begins something affirmed, and to a comma, unless an "or" later in
the clause shows that the list goes on ("no murmurs, rubs or gallops").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from eval.phrases import Span, Word, words_of

FINDING = "finding"
CUES = ("before", "after", "either", "no_cues", "ends")
_ENDS = frozenset(".;:!?()\n")
_LIST_WORDS = frozenset({"or", "nor"})
_SINGULAR = frozenset({"is", "was", "has", "isnt", "wasnt"})


@cache
def rules() -> Mapping[str, Any]:
    """Return the cues by kind, as they stand in the file."""
    text = (Path(__file__).parent / "data" / "negation.yaml").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded


@cache
def _affirming() -> frozenset[str]:
    """Return the words after which an "and" is the end of a denied list."""
    return frozenset(words_of(word)[0].folded for word in rules()["and_ends_before"])


def denied(words: Sequence[Word], spans: Sequence[Span]) -> frozenset[int]:
    """Return the positions in `spans` of the findings that a cue denies.

    Args:
        words: of the text.
        spans: its findings (kind `finding`) and cues (their kind's name), from left to right.
    """
    closed = {place for span in spans if span.kind == "ends" for place in range(span.start, span.end)}
    found: set[int] = set()
    for cue in spans:
        if cue.kind in ("after", "either"):
            back = _within(spans, _start(words, closed, cue), cue.start)
            if back or cue.kind == "after":
                found |= back
                continue
        if cue.kind in ("before", "either"):
            found |= _within(spans, cue.end, _end(words, closed, cue.end))
    return frozenset(found)


def _within(spans: Sequence[Span], start: int, end: int) -> set[int]:
    return {
        number
        for number, span in enumerate(spans)
        if span.kind == FINDING and start <= span.start and span.end <= end
    }


def _end(words: Sequence[Word], closed: set[int], place: int) -> int:
    """Return where the reach of a cue that ends at `place` ends."""
    clause = place
    while clause < len(words) and words[clause].raw not in _ENDS and clause not in closed:
        clause += 1
    last_or = max((i for i in range(place, clause) if words[i].folded in _LIST_WORDS), default=place)
    for i in range(place, clause):
        if words[i].raw == "," and i > last_or:
            return i
        if words[i].folded == "and" and i + 1 < clause and words[i + 1].folded in _affirming():
            return i
    return clause


def _start(words: Sequence[Word], closed: set[int], cue: Span) -> int:
    """Return where the reach of a cue after its findings begins; a colon right before the cue is passed.

    A verb in the singular denies one finding, so its reach does not pass an "and".
    """
    single = words[cue.start].folded in _SINGULAR
    place = cue.start
    if place and words[place - 1].raw == ":":
        place -= 1
    while place and words[place - 1].raw not in _ENDS | {","} and place - 1 not in closed:
        if single and words[place - 1].folded == "and":
            break
        place -= 1
    return place
