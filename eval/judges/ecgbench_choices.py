"""The sets of ECGBench with options: which the answers choose, read rightly and as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.alike import change_of_share, share, used_in, without_interval
from eval.bootstrap import FloatArray, Interval, clustered_intervals, clusters, paired_differences
from eval.chance import against_chance
from eval.ecgbench import BenchSet, pulse
from eval.ecgbench.options import chosen_letter, chosen_options, lettered_options, listed_options, options_in
from eval.judges import Line
from eval.judges.ecgbench_words import CHOICES, PULSE, published, unparsed
from eval.numbers import interval_json
from eval.parse import folded


@dataclass(frozen=True, eq=False)
class _Choices:
    """One reading of answers to questions with options."""

    prefix: str
    sums: FloatArray
    """Shape (record, 3): right, parsed, 1."""
    shown: tuple[str, ...]


def _read(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> list[_Choices]:
    right, parsed = (_letters if of.kind == "one_of" else _all_options)(of, lines)
    found = [_Choices("", _sums(right, parsed), CHOICES)]
    if "pulse" not in task["compat"]:
        return found
    answers = [line["answer"] for line in lines]
    if of.kind == "one_of":
        said = pulse.letters_said(of, answers)
        published = [
            letter == pulse.letter_meant(of, line["reference"])
            for letter, line in zip(said, lines, strict=True)
        ]
    else:
        published = [
            pulse.options_said(line["question"], line["answer"]) == set(_gold(line)) for line in lines
        ]
    return [*found, _Choices(PULSE, _sums(published, [True] * len(lines)), CHOICES[:1])]


def _letters(of: BenchSet, lines: Sequence[Line]) -> tuple[list[bool], list[bool]]:
    right, parsed = [], []
    for line in lines:
        options = lettered_options(line["question"])
        meant = chosen_letter(line["reference"], options)
        if meant is None:
            raise ValueError(
                f"record {line['id']!r}: the reference {line['reference'][:60]!r} chooses no option"
            )
        said = chosen_letter(line["answer"], options)
        right.append(said == meant)
        parsed.append(said is not None)
    return right, parsed


def _all_options(of: BenchSet, lines: Sequence[Line]) -> tuple[list[bool], list[bool]]:
    right, parsed = [], []
    for line in lines:
        meant = options_in(line["reference"])
        if not meant:
            raise ValueError(
                f"record {line['id']!r}: the reference {line['reference'][:60]!r} names no option"
            )
        said = chosen_options(line["answer"], (*listed_options(line["question"]), *meant))
        right.append({folded(name) for name in said} == {folded(name) for name in meant})
        parsed.append(bool(said))
    return right, parsed


def _gold(line: Line) -> list[str]:
    """Return the right options, which a reference parts by commas."""
    return [option for part in line["reference"].split(",") if (option := part.strip())]


def _sums(right: Sequence[bool], parsed: Sequence[bool]) -> FloatArray:
    return np.column_stack([right, parsed, np.ones(len(right))]).astype(np.float64)


def _shares(totals: FloatArray) -> FloatArray:
    """Return CHOICES of totals, shape (draw, 3)."""
    right, parsed, records = totals.T
    of_parsed = np.divide(right, parsed, out=np.full_like(right, np.nan), where=parsed > 0)
    return np.stack([right / records, parsed / records, of_parsed], axis=1)


def judged(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> dict[str, Any]:
    """Return metrics, method, tables and notes of one model."""
    groups = [line["group"] for line in lines]
    readings = _read(task, of, lines)
    metrics: dict[str, Interval] = {}
    for one in readings:
        # What right answers are among the parsed needs a parsed one in every draw.
        outcomes = one.sums[:, 1:2].astype(np.bool_)
        found = clustered_intervals(one.sums, groups, _shares, outcomes=outcomes)
        named = dict(zip(CHOICES, found, strict=True))
        parsed = [group for group, yes in zip(groups, outcomes[:, 0], strict=True) if yes]
        named |= {name: share(named[name], groups) for name in CHOICES[:2]}
        named["accuracy_parsed"] = share(named["accuracy_parsed"], parsed or groups)
        metrics |= {f"{one.prefix}{name}": named[name] for name in one.shown}
    right, parsed_count = (int(total) for total in readings[0].sums[:, :2].sum(axis=0))
    drawn_from = clusters(groups)
    return {
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": ["accuracy", "parse_rate", *(["pulse_accuracy"] if "pulse_accuracy" in metrics else [])],
        "method": "; ".join([drawn_from.method, _reading(of), *published(task)]) + used_in(metrics),
        "narrow": drawn_from.narrow,
        "tables": {},
        "notes": [
            *_guessing(of, right, len(lines)),
            *unparsed(len(lines) - parsed_count, len(lines), "they count as wrong and are never guessed"),
            *_drawn(task, of, lines),
            *without_interval(metrics),
        ],
    }


def _reading(of: BenchSet) -> str:
    if of.kind == "one_of":
        return "right where the one letter that the answer sets, or else the one option whose words it holds, is the reference's"
    return "right where the listed options that the answer holds as whole words are exactly those of the reference"


def _guessing(of: BenchSet, right: int, count: int) -> list[str]:
    if of.options is None:
        return []
    beside = against_chance(right, [of.options] * count)
    return [f"accuracy: {beside.sentence()}"] if beside.within else []


def _drawn(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> list[str]:
    count = pulse.unread([line["answer"] for line in lines]) if of.kind == "one_of" else 0
    if not count or "pulse" not in task["compat"]:
        return []
    return [
        f"pulse_accuracy: {count} of its {len(lines)} answers were drawn at random, as published (seed {pulse.SEED})"
    ]


def changes(
    task: Mapping[str, Any], of: BenchSet, before: Sequence[Line], after: Sequence[Line]
) -> dict[str, Interval]:
    """Return metric -> after minus before."""
    groups = [line["group"] for line in after]
    found: dict[str, Interval] = {}
    for one, two in zip(_read(task, of, before), _read(task, of, after), strict=True):
        changed = dict(zip(CHOICES, paired_differences(one.sums, two.sums, groups, _shares), strict=True))
        changed |= {name: change_of_share(changed[name], groups) for name in CHOICES[:2]}
        found |= {f"{one.prefix}{name}": changed[name] for name in one.shown}
    return found
