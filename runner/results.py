"""Published, baseline and tuned numbers, set side by side. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval.report.metrics import metric_name, same_decision


@dataclass(frozen=True)
class _Measured:
    """One metric of one task, as it was judged."""

    metric: str
    split: str
    task: str | None
    """Name of the result; None: told by the training itself."""
    value: Mapping[str, float | None]
    """value, low, high."""
    headline: bool = True
    difference: Mapping[str, float | None] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    narrow: str | bool | None = None
    """Why the intervals are too narrow to judge by, or only that they are."""


def results_of(
    reference: Mapping[str, Any] | None,
    *,
    baseline: Sequence[Mapping[str, Any]],
    tuned: Sequence[Mapping[str, Any]],
    metrics: Sequence[Mapping[str, Any]],
    rehearsal: bool,
    best_step: int | None,
    parameters: int | None = None,
) -> dict[str, Any]:
    """Return the results of a run: one row per metric, task and split.

    Args:
        reference: the spec's published numbers, or None. A metric is that of the first task that gives
            it, unless it is named with its task: `mmlu_anatomy.acc`.
        baseline: results of the evaluation before training, `{"split", "metrics": {name: {"value", "low", "high"}}}`.
        tuned: the same after training; `differences` in it are paired with the baseline.
        metrics: the step and evaluation events of the training.
        rehearsal: whether the model was a tiny random one; nothing is then comparable.
        best_step: the step whose checkpoint became the final weights; None: the last one.
        parameters: weights of the trained model, where a published number may be of them.
    """
    before = {(m.metric, m.split, m.task): m for m in _measured(baseline)}
    after = [*_of_training(metrics, best_step), *_measured(tuned)]
    if parameters is not None:
        after.append(_Measured("parameters", "train", None, {"value": float(parameters)}))
    after += [m for key, m in before.items() if key not in {(a.metric, a.split, a.task) for a in after}]
    rows, taken = [], set()
    for published in (reference or {}).get("metrics", ()):
        found = _named(published, after)
        if found is not None:
            taken.add(id(found))
        rows.append(_row(published, found, before, rehearsal=rehearsal))
    rest = sorted((m for m in after if id(m) not in taken), key=lambda m: (not m.headline, m.task is None))
    rows += [_row(None, m, before, rehearsal=rehearsal) for m in rest]
    return {"format": 1, "rehearsal": rehearsal, "source": (reference or {}).get("source"), "table": rows}


def _named(published: Mapping[str, Any], measured: Iterable[_Measured]) -> _Measured | None:
    """Return what a published number is set beside: of the same split, by `metric` or `task.metric`.

    Where a training figure and a judged one share a name, the judged one is meant.
    """
    fitting = [
        m
        for m in measured
        if m.split == published["split"] and published["metric"] in (m.metric, f"{m.task}.{m.metric}")
    ]
    return min(fitting, key=lambda m: m.task is None, default=None)


def _row(
    published: Mapping[str, Any] | None,
    measured: _Measured | None,
    before: Mapping[tuple[str, str, str | None], _Measured],
    *,
    rehearsal: bool,
) -> dict[str, Any]:
    metric, split = (measured.metric, measured.split) if measured else _key(published)
    same = before.get((metric, split, measured.task)) if measured else None
    after = None if measured is None or measured is same else measured
    tuned = after.value["value"] if after else None
    base = same.value["value"] if same else None
    change = after.difference if after else {}
    comparable = None
    if published:
        comparable = "no: rehearsal" if rehearsal else published["comparable"]
    return {
        "metric": metric,
        "split": split,
        "task": measured.task if measured else None,
        "unit": published["unit"] if published else None,
        "published": published["value"] if published else None,
        "published_baseline": published["baseline"] if published else None,
        "floor": _best_floor(metric, measured.floors) if measured else None,
        "baseline": base,
        "baseline_interval": _interval(same.value) if same else None,
        "tuned": tuned,
        "interval": _interval(after.value) if after else None,
        "difference": None if tuned is None or base is None else tuned - base,
        "difference_interval": _interval(change),
        "narrow": (after.narrow if after else None) or (same.narrow if same else None) or None,
        "comparable": comparable,
        "note": published["note"] if published else None,
        "why_missing": None if tuned is not None else _why_missing(measured, after),
        "headline": published is not None or (measured is not None and measured.headline),
    }


def _key(published: Mapping[str, Any] | None) -> tuple[str, str]:
    if published is None:
        raise ValueError("a row is of a published number, a measured one, or both")
    return published["metric"], published["split"]


def _why_missing(measured: _Measured | None, after: _Measured | None) -> str:
    if measured is None:
        return "not measured: no task in the spec gives it"
    return "not measured after training" if after is None else "does not exist on these records"


def _interval(value: Mapping[str, float | None]) -> list[float] | None:
    low, high = value.get("low"), value.get("high")
    return None if low is None or high is None else [low, high]


def _best_floor(metric: str, floors: Mapping[str, float]) -> dict[str, Any] | None:
    """Return the floor that is hardest to beat; None where it is not known which way is better."""
    better = metric_name(metric).better
    if not floors or better is None:
        return None
    name = (max if better == "higher" else min)(floors, key=lambda floor: floors[floor])
    return {"name": name, "value": floors[name]}


def _measured(results: Sequence[Mapping[str, Any]]) -> list[_Measured]:
    """Return every metric of the results; without a headline list all of them are headlines."""
    return [
        _Measured(
            metric=name,
            split=result["split"],
            task=result.get("name", result.get("task")),
            value=value,
            headline=name in result.get("headline", result["metrics"]),
            difference=result.get("differences", {}).get(name, {}),
            floors={
                floor: numbers[same_decision(name)]["value"]
                for floor, numbers in result.get("floors", {}).items()
                if numbers.get(same_decision(name), {}).get("value") is not None
            },
            narrow=result.get("narrow"),
        )
        for result in results
        for name, value in result["metrics"].items()
    ]


def _of_training(metrics: Sequence[Mapping[str, Any]], best_step: int | None) -> list[_Measured]:
    """Return what the training itself tells: mean loss, duration, pace, memory, the final weights' validation loss.

    The mean is over label tokens. The duration is that of the steps alone, without evaluations and
    checkpoints, and without the time between an interruption and its continuation.
    """
    found: dict[tuple[str, str], float] = {}
    steps = [event for event in metrics if event["event"] == "step"]
    labels = _increments(steps, "label_tokens_seen") if steps and "label_tokens_seen" in steps[0] else []
    if sum(labels) > 0:
        mean = sum(n * event["loss"] for n, event in zip(labels, steps, strict=True)) / sum(labels)
        found["train_loss", "train"] = mean
    seconds = seconds_of_steps(steps)
    if seconds is not None:
        found["train_minutes", "train"] = seconds / 60
        found["train_records_per_s", "train"] = steps[-1]["rows_seen"] / seconds
    if steps and "memory_training_mib" in steps[-1]:
        found["memory_training", "train"] = steps[-1]["memory_training_mib"] / 1024
    evaluations = [e for e in metrics if e["event"] == "evaluation" and best_step in (None, e["step"])]
    if evaluations and isinstance(evaluations[-1]["loss"], float) and math.isfinite(evaluations[-1]["loss"]):
        of_signals = "average_precision" in evaluations[-1]
        found["bce" if of_signals else "loss", "validation"] = evaluations[-1]["loss"]
    return [_Measured(metric, split, None, {"value": value}) for (metric, split), value in found.items()]


def seconds_of_steps(steps: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the time of the steps alone, from their pace in tokens or records; None where a step does not tell it."""
    of_records = bool(steps) and "records_per_s" in steps[0]
    pace_name, seen = ("records_per_s", "rows_seen") if of_records else ("tokens_per_s", "tokens_seen")
    paces = [event[pace_name] for event in steps]
    if not steps or not all(isinstance(pace, float) and pace > 0 for pace in paces):
        return None
    seconds: float = sum(n / pace for n, pace in zip(_increments(steps, seen), paces, strict=True))
    return seconds


def _increments(steps: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    totals = [0, *(event[name] for event in steps)]
    return [after - before for before, after in itertools.pairwise(totals)]
