"""The stored lines of a task with any number of labels, as arrays, and the thresholds that they choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.bootstrap import BoolArray, FloatArray, IntArray
from eval.checks import check_classes, check_ids
from eval.judges import Line
from eval.thresholds import Threshold, fit_thresholds

PRESENT = "_present"
"""Behind the name of a mean over the classes that the judged records have."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Lines as arrays."""

    lines: Sequence[Line]
    classes: tuple[str, ...]
    truth: BoolArray
    """Shape (record, class)."""
    logits: FloatArray
    """Shape (record, class)."""
    groups: tuple[str, ...]

    def part(self, rows: IntArray) -> Judged:
        """Return some of the records."""
        lines, groups = [self.lines[row] for row in rows], tuple(self.groups[row] for row in rows)
        return Judged(lines, self.classes, self.truth[rows], self.logits[rows], groups)

    def of_classes(self, places: IntArray) -> Judged:
        """Return the same records with some of the classes."""
        names = tuple(self.classes[place] for place in places)
        return replace(self, classes=names, truth=self.truth[:, places], logits=self.logits[:, places])

    @property
    def present(self) -> IntArray:
        """Places of the classes with a positive and a negative."""
        return np.flatnonzero(self.truth.any(axis=0) & ~self.truth.all(axis=0))


def of_split(task: Mapping[str, Any], lines: Sequence[Line], split: str) -> Judged:
    """Return the lines of one split as arrays.

    Raises:
        ValueError: an id twice, no lines of the split, classes that are not the task's, a label that is none.
    """
    ids = [line["id"] for line in lines]
    check_ids(ids, ids)
    kept = [line for line in lines if line["split"] == split]
    if not kept:
        raise ValueError(f"no records of the split {split} to judge")
    classes = tuple(task["classes"])
    for line in kept:
        check_classes(classes, list(line["logits"]))
        if unknown := set(line["labels"]) - set(classes):
            raise ValueError(f"record {line['id']!r} has labels that are no class: {sorted(unknown)}")
    truth = np.array([[name in line["labels"] for name in classes] for line in kept])
    logits = np.array([[line["logits"][name] for name in classes] for line in kept], dtype=np.float64)
    return Judged(kept, classes, truth, logits, tuple(line["group"] for line in kept))


def thresholds_of(task: Mapping[str, Any], lines: Sequence[Line]) -> tuple[Threshold, ...]:
    """Return the thresholds, on the scale of the logits, of the lines of the validation split.

    Raises:
        ValueError: thresholds are to come from validation records, and there are none.
    """
    if task["thresholds"] == "half":
        return tuple(Threshold(name, 0.0, float("nan"), 0, False) for name in task["classes"])
    held = of_split(task, lines, "validation")
    return fit_thresholds(
        held.truth, held.logits, held.classes, split="validation", beta=task["beta"], fallback=0.0
    )
