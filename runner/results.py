"""Published, baseline and tuned numbers, set side by side. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any


def results_of(
    reference: Mapping[str, Any] | None,
    *,
    baseline: Sequence[Mapping[str, Any]],
    tuned: Sequence[Mapping[str, Any]],
    metrics: Sequence[Mapping[str, Any]],
    rehearsal: bool,
    best_step: int | None,
) -> dict[str, Any]:
    """Return the results of a run: one row per metric and split.

    Args:
        reference: the spec's published numbers, or None.
        baseline: results of the evaluation before training, `{"split", "metrics": {name: {"value", "low", "high"}}}`.
        tuned: the same after training.
        metrics: the step and evaluation events of the training.
        rehearsal: whether the model was a tiny random one; nothing is then comparable.
        best_step: the step whose checkpoint became the final weights; None: the last one.
    """
    before, after = _by_metric(baseline), _by_metric(tuned)
    after = {**_of_training(metrics, best_step), **after}
    published = {(m["metric"], m["split"]): m for m in (reference or {}).get("metrics", ())}
    keys = [*published, *(key for key in after if key not in published)]
    rows = [
        _row(key, published.get(key), before.get(key), after.get(key), rehearsal=rehearsal) for key in keys
    ]
    return {"format": 1, "rehearsal": rehearsal, "source": (reference or {}).get("source"), "table": rows}


def _row(
    key: tuple[str, str],
    published: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    rehearsal: bool,
) -> dict[str, Any]:
    metric, split = key
    tuned = after["value"] if after else None
    base = before["value"] if before else None
    comparable = None
    if published:
        comparable = "no: rehearsal" if rehearsal else published["comparable"]
    return {
        "metric": metric,
        "split": split,
        "unit": published["unit"] if published else None,
        "published": published["value"] if published else None,
        "published_baseline": published["baseline"] if published else None,
        "baseline": base,
        "tuned": tuned,
        "interval": [after["low"], after["high"]] if after and after.get("low") is not None else None,
        "difference": None if tuned is None or base is None else tuned - base,
        "comparable": comparable,
        "note": published["note"] if published else None,
        "why_missing": None if after else "not measured: no task in the spec gives it",
    }


def _by_metric(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(name, result["split"]): value for result in results for name, value in result["metrics"].items()}


def _of_training(
    metrics: Sequence[Mapping[str, Any]], best_step: int | None
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what the training itself tells: mean loss, duration, pace, and the final weights' validation loss.

    The mean is over label tokens. The duration is that of the steps alone, without evaluations and
    checkpoints, and without the time between an interruption and its continuation.
    """
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    steps = [event for event in metrics if event["event"] == "step"]
    labels = _increments(steps, "label_tokens_seen")
    if sum(labels) > 0:
        mean = sum(n * event["loss"] for n, event in zip(labels, steps, strict=True)) / sum(labels)
        found["train_loss", "train"] = {"value": mean}
    paces = [event["tokens_per_s"] for event in steps]
    if steps and all(isinstance(pace, float) and pace > 0 for pace in paces):
        seconds = sum(n / pace for n, pace in zip(_increments(steps, "tokens_seen"), paces, strict=True))
        found["train_minutes", "train"] = {"value": seconds / 60}
        found["train_records_per_s", "train"] = {"value": steps[-1]["rows_seen"] / seconds}
    evaluations = [e for e in metrics if e["event"] == "evaluation" and best_step in (None, e["step"])]
    if evaluations and isinstance(evaluations[-1]["loss"], float) and math.isfinite(evaluations[-1]["loss"]):
        found["loss", "validation"] = {"value": evaluations[-1]["loss"]}
    return found


def _increments(steps: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    totals = [0, *(event[name] for event in steps)]
    return [after - before for before, after in itertools.pairwise(totals)]
