"""Held-out loss, perplexity and bits per byte from each record's sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eval.alike import used_in, without_interval
from eval.judges import Line, paired
from eval.numbers import interval_json
from eval.perplexity import METRICS, RecordScore, held_out, held_out_differences

HEADLINE = ("perplexity", "loss", "bits_per_byte")
_FIELDS = tuple(field.name for field in dataclasses.fields(RecordScore))


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds a record's sums over its label tokens."""
    scores = _scores(lines)
    found = held_out(scores)
    metrics = {name: getattr(found, name) for name in METRICS}
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
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": list(HEADLINE),
        "method": found.method + used_in(metrics),
        "narrow": found.narrow,
        "notes": without_interval(metrics),
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups."""
    paired(before, after)
    found = held_out_differences(_scores(before), _scores(after))
    return {name: interval_json(interval) for name, interval in found.items()}


def _scores(lines: Sequence[Line]) -> list[RecordScore]:
    """Return the records that have an answer."""
    return [RecordScore(**{name: line[name] for name in _FIELDS}) for line in lines if line["label_tokens"]]
