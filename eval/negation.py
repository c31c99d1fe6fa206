"""Which findings of a text are denied: cues and the reach of each, by the rules in `data/negation.yaml`.

A cue reaches to the end of its clause: to a full stop, semicolon, colon, bracket or line break, to a word
such as "but" or "with", to an "and" that begins something affirmed, and to a comma, unless an "or" later in
the clause shows that the list goes on ("no murmurs, rubs or gallops"). A comma right behind the cue always ends it
("No, it shows hypertrophy").

A cue that answers reaches back instead: "no" in "MI: no, HYP: yes" is said of MI. It stands behind a finding, with or
without a mark between them, and its clause ends there, goes on with the next pair, or says the same once more
("MI: no evidence of infarction").
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
_ENDS = frozenset(".;:=!?()\n")
_PARTS_A_PAIR = frozenset(":=?(")
_AFFIRMS = frozenset({"yes", "present", "true", "positive"})
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
    ends = _clause_ends(words, spans)
    found: set[int] = set()
    for cue in spans:
        if cue.kind in ("before", "either") and (of := _answered(words, spans, ends, cue)):
            found |= of
            continue
        if cue.kind in ("after", "either"):
            back = _within(spans, _start(words, ends, cue, past=_marks_passed(words, cue)), cue.start)
            if back or cue.kind == "after":
                found |= back
                continue
        if cue.kind in ("before", "either"):
            found |= _within(spans, cue.end, _end(words, ends, cue.end))
    return frozenset(found)


def _clause_ends(words: Sequence[Word], spans: Sequence[Span]) -> set[int]:
    """Return the places of marks and words that end a clause; a bracket within a finding ends none ("PRC(S)")."""
    of_kind = {
        kind: {place for span in spans if span.kind == kind for place in range(span.start, span.end)}
        for kind in ("ends", FINDING)
    }
    return {place for place, word in enumerate(words) if word.raw in _ENDS} - of_kind[FINDING] | of_kind[
        "ends"
    ]


def _answered(words: Sequence[Word], spans: Sequence[Span], ends: set[int], cue: Span) -> set[int]:
    """Return the positions of the findings that a cue answers ("AF: no"), none where it is no answer."""
    parted = cue.start > 0 and words[cue.start - 1].raw in _PARTS_A_PAIR
    of = _within(spans, _start(words, ends, cue, past=_PARTS_A_PAIR), cue.start)
    if not of or not (parted or any(spans[one].end == cue.start for one in of)):
        return set()
    if cue.end == len(words) or words[cue.end].raw in _ENDS | {","}:
        return of
    if not parted:
        return set()
    if any(span.kind == FINDING and span.start == cue.end and _is_paired(words, span) for span in spans):
        return of
    repeated = _within(spans, cue.end, _end(words, ends, cue.end)) if cue.kind == "before" else set()
    names = {spans[one].name for one in repeated}
    return of | repeated if names and names == {spans[one].name for one in of} else set()


def _is_paired(words: Sequence[Word], finding: Span) -> bool:
    """Return whether a mark that parts a pair, or a word that affirms, stands right behind a finding."""
    return finding.end < len(words) and (
        words[finding.end].raw in _PARTS_A_PAIR - {"("}
        or words[finding.end].folded in _AFFIRMS
        or (words[finding.end].raw == "(" and _is_answer(words, finding.end + 1))
    )


def _is_answer(words: Sequence[Word], place: int) -> bool:
    """Return whether a bracket that opens before `place` holds one word that affirms or denies."""
    answers = _AFFIRMS | {"no", "absent", "none", "negative"}
    return place + 1 < len(words) and words[place].folded in answers and words[place + 1].raw == ")"


def _marks_passed(words: Sequence[Word], cue: Span) -> frozenset[str]:
    """Return the marks that a cue after its findings passes: all that part a pair where its clause ends with it.

    "MI (absent)" denies, "AF (absent P waves)" and "AF: absent P waves" do not.
    """
    if cue.end == len(words) or words[cue.end].raw in _ENDS | {","}:
        return _PARTS_A_PAIR
    return frozenset(":=") if cue.kind == "after" else frozenset()


def _within(spans: Sequence[Span], start: int, end: int) -> set[int]:
    return {
        number
        for number, span in enumerate(spans)
        if span.kind == FINDING and start <= span.start and span.end <= end
    }


def _end(words: Sequence[Word], ends: set[int], place: int) -> int:
    """Return where the reach of a cue that ends at `place` ends."""
    if place < len(words) and words[place].raw == ",":
        return place
    clause = place
    while clause < len(words) and clause not in ends:
        clause += 1
    last_or = max((i for i in range(place, clause) if words[i].folded in _LIST_WORDS), default=place)
    for i in range(place, clause):
        if words[i].raw == "," and i > last_or:
            return i
        if words[i].folded == "and" and i + 1 < clause and words[i + 1].folded in _affirming():
            return i
    return clause


def _start(words: Sequence[Word], ends: set[int], cue: Span, *, past: frozenset[str]) -> int:
    """Return where the reach of a cue after its findings begins; a mark of `past` right before the cue is passed.

    A verb in the singular denies one finding, so its reach does not pass an "and".
    """
    single = words[cue.start].folded in _SINGULAR
    place = cue.start
    if place and words[place - 1].raw in past:
        place -= 1
    while place and place - 1 not in ends and words[place - 1].raw != ",":
        if single and words[place - 1].folded == "and":
            break
        place -= 1
    return place
