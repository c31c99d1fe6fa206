"""Held-out loss, perplexity and bits per byte from each record's sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import DRAWS, LEVEL, FloatArray, clustered_intervals
from eval.judges import Line, paired
from eval.numbers import interval_json
from eval.perplexity import METHOD, METRICS, RecordScore, held_out, ratios

HEADLINE = ("perplexity", "loss", "bits_per_byte")
_SUMS = ("nll", "label_tokens", "answer_bytes", "correct", "entropy")
_FIELDS = tuple(field.name for field in dataclasses.fields(RecordScore))


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds a record's sums over its label tokens."""
    scores = [RecordScore(**{name: line[name] for name in _FIELDS}) for line in _with_answer(lines)]
    metrics = held_out(scores)
    return {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": len(scores),
        "n_groups": len({score.group for score in scores}),
        "n_without_answer": len(lines) - len(scores),
        "n_cut": sum(bool(line["cut"]) for line in lines),
        "label_tokens": sum(score.label_tokens for score in scores),
        "answer_bytes": sum(score.answer_bytes for score in scores),
        "metrics": {name: interval_json(getattr(metrics, name)) for name in METRICS},
        "headline": list(HEADLINE),
        "method": METHOD.format(level=LEVEL, draws=DRAWS, seed=0),
        "notes": [],
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups."""
    paired(before, after)
    before, after = _with_answer(before), _with_answer(after)
    sums = np.hstack([_sums(before), _sums(after)])
    width = len(_SUMS)

    def change(totals: FloatArray) -> FloatArray:
        return ratios(totals[:, width:]) - ratios(totals[:, :width])

    found = clustered_intervals(sums, [line["group"] for line in after], change)
    return {name: interval_json(interval) for name, interval in zip(METRICS, found, strict=True)}


def _with_answer(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line["label_tokens"]]


def _sums(lines: Sequence[Line]) -> FloatArray:
    return np.array([[line[name] for name in _SUMS] for line in lines], np.float64)
