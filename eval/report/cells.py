"""Cells that several tables share: a value with its interval, a difference with the word it earns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.report.format import MISSING, decimals_of, decimals_of_change, number, span
from eval.report.metrics import verdict
from eval.report.view import Cell, Tone

TONES: Mapping[str, Tone] = {"better": "good", "worse": "bad", "not different": "unsure"}
LEVEL = "95 % interval"
TOO_FEW = "too few groups for a verdict"
"""In the place of better or worse, where the interval is too narrow."""
TOO_NARROW = "Too few groups to trust these intervals."
NO_VERDICT = "No difference is called better or worse here."
ABBREVIATIONS: Mapping[str, str] = {"mmlu": "MMLU", "rouge": "ROUGE", "lm": "LM"}
"""Words of task names that are written in capitals."""


def difference_cell(
    metric: str,
    change: float | None,
    interval: Sequence[float | None] | None,
    *,
    narrow: bool,
    rehearsal: bool,
) -> Cell:
    """Return a difference with its interval, and what that says.

    Args:
        metric: its name in a result.
        change: after minus before; None where one of them does not exist.
        interval: its ends; None where the two are not paired.
        narrow: whether the interval rests on too few groups, so that it earns no verdict.
        rehearsal: whether a model of random weights was judged, whose gain is no good news.
    """
    if change is None:
        return Cell(MISSING)
    low, high = interval or (None, None)
    places = decimals_of_change(change, low, high)
    shown = number(change, places, sign=True)
    if low is None or high is None:
        return Cell(shown, sort=change)
    word = TOO_FEW if narrow else verdict(metric, low, high)
    notes = [span(low, high, places, sign=True), word]
    tone: Tone = "" if rehearsal else TONES.get(word, "")
    return Cell(shown, sort=change, note=", ".join(filter(None, notes)), tone=tone)


def value_cell(value: float | None, interval: Sequence[float] | None, places: int | None = None) -> Cell:
    """Return a value with its interval below it; a dash where it does not exist."""
    low, high = interval or (None, None)
    if places is None and value is not None:
        places = decimals_of(value, low, high)
    return Cell(number(value, places), sort=value, note=span(low, high, places) if interval else "")


def narrow_sentence(reason: object) -> str:
    """Return why intervals are too narrow, from a result's `narrow`: a reason, or only that they are.

    >>> narrow_sentence("too narrow, for there are only 7 groups")
    'Too narrow, for there are only 7 groups.'
    >>> narrow_sentence(True)
    'Too few groups of records were judged.'
    """
    said = reason.strip().rstrip(".") if isinstance(reason, str) else "too few groups of records were judged"
    return f"{said[:1].upper()}{said[1:]}."


def words(name: str) -> str:
    """Return a name of a file's with spaces."""
    return name.replace("_", " ")


def heading(name: str) -> str:
    """Return a task's or a table's name as a heading.

    >>> heading("mmlu_virology")
    'MMLU virology'
    """
    parts = [ABBREVIATIONS.get(word, word) for word in words(name).split()]
    return " ".join([parts[0][:1].upper() + parts[0][1:], *parts[1:]])
