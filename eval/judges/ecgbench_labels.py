"""The sets of ECGBench with labels: what the answers name, read rightly and as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.alike import used_in, without_interval
from eval.bootstrap import BoolArray, Interval, clusters
from eval.ecgbench import BenchSet, pulse
from eval.ecgbench.options import final_answer
from eval.judges import Line
from eval.judges.ecgbench_words import OF_LABELS, PULSE, published, unparsed
from eval.judges.label_metrics import (
    OFFICIAL,
    beside_chance,
    changes_of,
    headline_of,
    labelled,
    metrics_of,
    per_class_table,
)
from eval.judges.multilabel_lines import Judged, Side
from eval.label_sets import label_set
from eval.labels import reader, truth_of
from eval.multilabel import checked_bound
from eval.numbers import interval_json


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One reading of answers of a set with labels."""

    of: Judged
    side: Side
    shown: frozenset[str]
    """Names of its metrics that are reported."""


def _sides(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> list[_Labelled]:
    groups = tuple(line["group"] for line in lines)
    read = reader(str(of.label_set))
    answers, references = ([line[key] for line in lines] for key in ("answer", "reference"))
    truth = truth_of([_true_labels(of, line) for line in lines], read.ids)
    said, meant = ([final_answer(text) for text in texts] for texts in (answers, references))
    decisions, parsed = read.answered(said, meant, truth)
    rightly = Judged(lines, read.ids, truth, groups)
    names = {*OF_LABELS, *OFFICIAL, "exact_match", "parse_rate", *(f"{name}_present" for name in OF_LABELS)}
    sides = [_Labelled(rightly, Side("", decisions, None, parsed), frozenset(names))]
    if "pulse" in task["compat"]:
        gold = [pulse.labels_meant(of, line["reference"]) for line in lines]
        classes = pulse.label_classes(gold)
        if not classes and any(line["labels"] is None for line in lines):
            raise ValueError(f"no reference names a label of {of.title}; is this the file of another set?")
        if not classes:  # no record has a label, as is known of each: nothing would be published of them
            return sides
        listed = [pulse.labels_said(of, answer) for answer in answers]
        as_published = Judged(lines, classes, _of_classes(gold, classes), groups)
        names = {f"{PULSE}{name}" for name in OF_LABELS}
        sides.append(
            _Labelled(as_published, Side(PULSE, _of_classes(listed, classes), None), frozenset(names))
        )
    return sides


def _true_labels(of: BenchSet, line: Line) -> Sequence[str]:
    """Return the record's own labels where it has them, else those that its reference names."""
    own: Sequence[str] | None = line["labels"]
    if own is not None:
        return own
    read = reader(str(of.label_set)).read(final_answer(line["reference"]))
    if not read.parsed:
        raise ValueError(
            f"record {line['id']!r}: the reference {line['reference'][:60]!r} names no label of {of.title}"
        )
    return sorted(read.affirmed)


def _of_classes(said: Sequence[Sequence[str]], classes: Sequence[str]) -> BoolArray:
    return np.array([[name in own for name in classes] for own in said], np.bool_).reshape(
        len(said), len(classes)
    )


def judged(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> dict[str, Any]:
    """Return metrics, method, tables and notes of one model."""
    sides = _sides(task, of, lines)
    found = [labelled(side.of, side.side) for side in sides]
    metrics = {
        name: value
        for side, one in zip(sides, found, strict=True)
        for name, value in metrics_of(side.of, side.side, one).items()
        if name in side.shown
    }
    rightly = sides[0]
    chance = beside_chance(rightly.of, [rightly.side], metrics)
    silent = int((~rightly.side.parsed).sum()) if rightly.side.parsed is not None else 0
    headline = headline_of([rightly.side], found[0])
    return {
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": [*headline, *(f"{PULSE}{name}" for name in OF_LABELS if f"{PULSE}{name}" in metrics)],
        "method": "; ".join(
            [
                found[0].method,
                f"labels by whole words and with negation ({label_set(str(of.label_set)).title}), behind the last 'Answer:'",
                "Hamming loss <= 2 (1 - hard AUC) was checked, which holds for any decisions",
                *published(task),
            ]
        )
        + used_in(metrics),
        "narrow": clusters(rightly.of.groups, np.hstack([rightly.of.truth, ~rightly.of.truth])).narrow,
        "consistency": {
            f"{s.side.prefix}auc_hard": checked_bound(one) for s, one in zip(sides, found, strict=True)
        },
        "chance": [one.json() for one in chance],
        "tables": {
            f"{s.side.prefix}per_class": per_class_table(one, s.side)
            for s, one in zip(sides, found, strict=True)
        },
        "notes": [
            *(one.text for one in chance if one.where != "above"),
            *unparsed(silent, len(lines), "they count as answers without a label"),
            *without_interval(metrics),
        ],
    }


def changes(
    task: Mapping[str, Any], of: BenchSet, before: Sequence[Line], after: Sequence[Line]
) -> dict[str, Interval]:
    """Return metric -> after minus before."""
    found: dict[str, Interval] = {}
    for one, two in zip(_sides(task, of, before), _sides(task, of, after), strict=True):
        changed = changes_of(one.of, one.side, two.side)
        found |= {name: value for name, value in changed.items() if name in one.shown}
    return found
