"""What a method reached and what it cost: three scores with intervals, memory, time per step, trained weights. Pure.

One row is one model of an ECG run. Memory is the highest allocated: within the training steps alone, and of the whole
run with loading and evaluations, which is what the published numbers hold (FUSION 3.9).
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Json = Mapping[str, Any]

SCORES = ("macro_auc", "average_precision", "f_beta")
"""AUC, MAP, F-beta: means over the classes."""
PRESENT = "_present"
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Cost:
    """What a training took; None where it did not tell."""

    memory_training_gib: float | None = None
    memory_run_gib: float | None = None
    reserved_training_gib: float | None = None
    """On CUDA alone."""
    reserved_run_gib: float | None = None
    step_s: float | None = None
    """Median over the optimiser steps, without evaluations and checkpoints."""
    trainable: int | None = None
    total: int | None = None
    """Weights of the model while it is trained, adapters included."""


@dataclass(frozen=True)
class MethodRow:
    """One row of the table of methods."""

    who: str
    """Of which model: before training, a teacher, or the tuned one."""
    method: str
    scores: Mapping[str, Mapping[str, float | None]]
    """Name as in `SCORES` -> value, low, high; of the classes that are present where not all are."""
    beta: float | None
    split: str | None
    classes: tuple[int, int] | None
    """How many classes the means are over, and how many there are."""
    narrow: str | None = None
    """Why the intervals are too narrow to judge by."""
    cost: Cost = field(default=Cost())

    def json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def method_row(who: str, method: str, results: Sequence[Json], cost: Cost) -> MethodRow:
    """Return the row of a model from its results; without a score where it was not judged.

    Of several tasks the one on the test records counts.
    """
    fitting = [result for result in results if result["task"] == "signal_multilabel"]
    found = next((result for result in fitting if result["split"] == "test"), next(iter(fitting), None))
    if found is None:
        return MethodRow(who, method, {}, None, None, None, cost=cost)
    defined, classes = found["n_classes_defined"], found["n_classes"]
    ending = "" if defined == classes else PRESENT
    scores = {
        name: found["metrics"][f"{name}{ending}"] for name in SCORES if f"{name}{ending}" in found["metrics"]
    }
    beta = found.get("lock", {}).get("task", {}).get("beta")
    return MethodRow(who, method, scores, beta, found["split"], (defined, classes), found.get("narrow"), cost)


def cost_of(metrics: Sequence[Json], proof: Json) -> Cost:
    """Return what a training took.

    Args:
        metrics: its step and evaluation events.
        proof: what it proved; empty where it did not come that far. A run that went on after an interruption has the
            peaks of its last process there, those of all of them in its steps.
    """
    steps = [event for event in metrics if event["event"] == "step"]
    return Cost(
        memory_training_gib=_peak(steps, "memory_training_mib", proof, "training", "allocated_mib"),
        memory_run_gib=_peak(steps, "memory_mib", proof, "whole_run", "allocated_mib"),
        reserved_training_gib=_peak((), "", proof, "training", "reserved_mib"),
        reserved_run_gib=_peak((), "", proof, "whole_run", "reserved_mib"),
        step_s=median_step_s(steps),
        trainable=proof.get("trainable"),
        total=proof.get("total"),
    )


def _peak(steps: Sequence[Json], name: str, proof: Json, window: str, kind: str) -> float | None:
    """Return the largest of a peak, GiB, that steps and proof tell."""
    told = [step.get(name) for step in steps] + [proof.get("memory", {}).get(window, {}).get(kind)]
    known = [value for value in told if value is not None]
    return max(known) / MIB_PER_GIB if known else None


def median_step_s(steps: Sequence[Json]) -> float | None:
    """Return the median time of an optimiser step in seconds; None where a step does not tell its pace.

    An event may be of several steps: each of them then counts with their mean.

    >>> median_step_s([{"step": 1, "rows_seen": 8, "records_per_s": 4.0}, {"step": 3, "rows_seen": 24, "records_per_s": 16.0}])
    0.5
    """
    first = {"step": 0, "rows_seen": 0}
    seconds: list[float] = []
    for before, after in itertools.pairwise([first, *steps]):
        pace, count = after.get("records_per_s"), after["step"] - before["step"]
        if not isinstance(pace, float) or pace <= 0:
            return None
        seconds += [(after["rows_seen"] - before["rows_seen"]) / pace / count] * count
    return statistics.median(seconds) if seconds else None
