"""Clinical findings that written answers share with their references, from the stored texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import FloatArray, clustered_intervals, clusters
from eval.entities import (
    METRICS,
    EntityCounts,
    Finding,
    column_sums,
    compared,
    entity_score,
    findings,
    ratios,
    vocabulary,
)
from eval.judges import Line, paired
from eval.numbers import interval_json

HEADLINE = ("entity_f1", "entity_contradicted")
EXAMPLES = 20
SHOWN = 30
"""Entities in the table, those that the references name most often."""


Pair = tuple[frozenset[Finding], frozenset[Finding]]
"""Findings of an answer, and of its reference."""


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds `answer` and `reference`."""
    found = read(lines)
    drawn_from = clusters([line["group"] for line in lines])
    return {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": len(lines),
        "n_groups": len({line["group"] for line in lines}),
        "metrics": metrics(lines, found),
        "headline": list(HEADLINE),
        "method": drawn_from.method,
        "narrow": drawn_from.narrow,
        "notes": notes(found),
        "tables": {"entities": table(found)},
        "examples": examples(lines),
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups."""
    paired(before, after)
    sums = np.hstack([column_sums(_counts(read(before))), column_sums(_counts(read(after)))])
    width = sums.shape[1] // 2

    def change(totals: FloatArray) -> FloatArray:
        return ratios(totals[:, width:]) - ratios(totals[:, :width])

    found = clustered_intervals(sums, [line["group"] for line in after], change)
    return {name: interval_json(interval) for name, interval in zip(METRICS, found, strict=True)}


def read(lines: Sequence[Line]) -> list[Pair]:
    """Return the findings of each answer and of its reference."""
    return [(findings(line["answer"]), findings(line["reference"])) for line in lines]


def metrics(lines: Sequence[Line], found: Sequence[Pair]) -> dict[str, dict[str, float | None]]:
    """Return metric -> value and interval."""
    score = entity_score(_counts(found), [line["group"] for line in lines])
    return {name: interval_json(value) for name, value in _fields(score)}


def notes(found: Sequence[Pair]) -> list[str]:
    """Return what has to be known beside the numbers."""
    all_counts = _counts(found)
    silent = sum(c.referenced == 0 for c in all_counts)
    empty = sum(c.answered + c.referenced == 0 for c in all_counts)
    said = [
        f"Findings are those of our vocabulary (version {vocabulary().version}) with negation; numbers, places "
        "and anything outside it are not seen."
    ]
    if silent:
        said.append(
            f"{silent} of {len(found)} references hold no finding of the vocabulary; {empty} of these records have "
            "none in the answer either and are left out of the means over records."
        )
    return said


def table(found: Sequence[Pair]) -> dict[str, Any]:
    """Return how often each finding is in the references, in the answers, and in both."""
    referenced: Counter[tuple[str, bool]] = Counter()
    answered: Counter[tuple[str, bool]] = Counter()
    shared: Counter[tuple[str, bool]] = Counter()
    for pair in found:
        one, other = ({(finding.entity, finding.negated) for finding in side} for side in pair)
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


def _counts(found: Sequence[Pair]) -> list[EntityCounts]:
    return [compared(*pair) for pair in found]


def _fields(score: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(score, name)) for name in METRICS]
