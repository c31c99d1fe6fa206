"""Clinical findings that written answers share with their references, from the stored texts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import DRAWS, LEVEL, FloatArray, clustered_intervals
from eval.entities import (
    METRICS,
    EntityCounts,
    column_sums,
    counts,
    entity_score,
    findings,
    ratios,
    vocabulary,
)
from eval.judges import Line, paired
from eval.numbers import interval_json

HEADLINE = ("entity_f1", "entity_contradicted")
METHOD = "{level:.0%} percentile interval, bootstrap over whole groups, {draws} draws, seed {seed}"
EXAMPLES = 20
SHOWN = 30
"""Entities in the table, those that the references name most often."""


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds `answer` and `reference`."""
    return {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": len(lines),
        "n_groups": len({line["group"] for line in lines}),
        "metrics": metrics(lines),
        "headline": list(HEADLINE),
        "method": METHOD.format(level=LEVEL, draws=DRAWS, seed=0),
        "notes": notes(lines),
        "tables": {"entities": table(lines)},
        "examples": examples(lines),
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups."""
    paired(before, after)
    sums = np.hstack([column_sums(_counts(before)), column_sums(_counts(after))])
    width = sums.shape[1] // 2

    def change(totals: FloatArray) -> FloatArray:
        return ratios(totals[:, width:]) - ratios(totals[:, :width])

    found = clustered_intervals(sums, [line["group"] for line in after], change)
    return {name: interval_json(interval) for name, interval in zip(METRICS, found, strict=True)}


def metrics(lines: Sequence[Line]) -> dict[str, dict[str, float | None]]:
    """Return metric -> value and interval."""
    score = entity_score(_counts(lines), [line["group"] for line in lines])
    return {name: interval_json(value) for name, value in _fields(score)}


def notes(lines: Sequence[Line]) -> list[str]:
    """Return what has to be known beside the numbers."""
    all_counts = _counts(lines)
    silent = sum(c.referenced == 0 for c in all_counts)
    empty = sum(c.answered + c.referenced == 0 for c in all_counts)
    said = [
        f"Findings are those of our vocabulary (version {vocabulary().version}) with negation; numbers, places "
        "and anything outside it are not seen."
    ]
    if silent:
        said.append(
            f"{silent} of {len(lines)} references hold no finding of the vocabulary; {empty} of these records have "
            "none in the answer either and are left out of the means over records."
        )
    return said


def table(lines: Sequence[Line]) -> dict[str, Any]:
    """Return how often each finding is in the references, in the answers, and in both."""
    referenced: Counter[tuple[str, bool]] = Counter()
    answered: Counter[tuple[str, bool]] = Counter()
    shared: Counter[tuple[str, bool]] = Counter()
    for line in lines:
        one = {dataclasses.astuple(finding) for finding in findings(line["answer"])}
        other = {dataclasses.astuple(finding) for finding in findings(line["reference"])}
        answered.update(one)
        referenced.update(other)
        shared.update(one & other)
    often = sorted(referenced, key=lambda key: (-referenced[key], key))[:SHOWN]
    rows = [
        [
            name,
            "denied" if negated else "affirmed",
            *(c[name, negated] for c in (referenced, answered, shared)),
        ]
        for name, negated in often
    ]
    return {"columns": ["entity", "said", "references", "answers", "both"], "rows": rows}


def examples(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the first answers beside their references."""
    return [
        {
            "id": line["id"],
            "prompt": line["prompt"],
            "answer": line["answer"],
            "reference": line["reference"],
        }
        for line in lines[:EXAMPLES]
    ]


def _counts(lines: Sequence[Line]) -> list[EntityCounts]:
    return [counts(line["answer"], line["reference"]) for line in lines]


def _fields(score: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(score, name)) for name in METRICS]
