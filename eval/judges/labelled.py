"""The stored lines of a classification as labels, groups, probabilities and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from eval.bootstrap import FloatArray, IntArray
from eval.checks import check_classes, check_ids
from eval.classification import Classification
from eval.judges import Line
from eval.lock import ADDED
from eval.parse import LabelParser

PER_TOKEN, UNDIVIDED = "accuracy_per_token", "accuracy_undivided"
"""Accuracy of likelihoods that are divided in another way than the task says."""


@dataclass(frozen=True)
class Judged:
    """The lines of the judged split as arrays."""

    lines: Sequence[Line]
    labels: tuple[str, ...]
    positive: int
    truth: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def is_positive(self) -> Any:
        """Shape (record,), whether the record is positive."""
        return np.array([label == self.labels[self.positive] for label in self.truth])


@dataclass(frozen=True)
class Side:
    """One way of asking: likelihoods, or written answers."""

    prefix: str
    answers: Sequence[str]
    """The label that was decided on, of each record."""
    found: Classification

    @property
    def name(self) -> str:
        """Name of its accuracy."""
        return f"{self.prefix}accuracy"


def of_split(task: Mapping[str, Any], lines: Sequence[Line]) -> Judged:
    """Return the lines of the judged split.

    Raises:
        ValueError: an id stands twice, there is no such line, or a line has likelihoods of other labels.
    """
    ids = [line["id"] for line in lines]
    check_ids(ids, ids)
    kept = [line for line in lines if line["split"] == task["split"]]
    if not kept:
        raise ValueError(f"no records of the split {task['split']} to judge")
    labels = tuple(task["labels"])
    if "likelihood" in task["scoring"]:
        for line in lines:
            check_classes(labels, list(line["log_likelihoods"]))
    truth, groups = tuple(line["label"] for line in kept), tuple(line["group"] for line in kept)
    return Judged(kept, labels, labels.index(task["positive"]), truth, groups)


def normalised(task: Mapping[str, Any]) -> str:
    """Return what likelihoods are divided by: `none`, `token` or `byte`."""
    return str(task.get("normalise", ADDED["task.normalise"]))


def lengths(task: Mapping[str, Any], lines: Sequence[Line], by: str) -> FloatArray:
    """Return what each label's log likelihood is divided by, shape (record, class)."""
    if by == "token":
        return np.array(
            [[line["label_tokens"][name] for name in task["labels"]] for line in lines], np.float64
        )
    sizes = [len(words[0].encode()) if by == "byte" else 1 for words in task["labels"].values()]
    return np.full((len(lines), len(sizes)), sizes, np.float64)


def logits(task: Mapping[str, Any], lines: Sequence[Line], by: str | None = None) -> FloatArray:
    """Return log likelihoods in nats, divided as the task says or as `by` says, shape (record, class)."""
    nats = np.array([[line["log_likelihoods"][name] for name in task["labels"]] for line in lines])
    divided: FloatArray = nats / lengths(task, lines, by or normalised(task))
    return divided


def probabilities(task: Mapping[str, Any], of: Judged, by: str | None = None) -> FloatArray:
    """Return each label's probability among the labels, shape (record, class); `by` as in `logits`."""
    chances: FloatArray = softmax(logits(task, of.lines, by), axis=1)
    return chances


def other_way(task: Mapping[str, Any], of: Judged) -> tuple[str, str] | None:
    """Return how else likelihoods could be divided, and the name of that accuracy; None where it could change nothing."""
    by = normalised(task)
    measured = lengths(task, of.lines, "token" if by == "none" else by)
    if (measured == measured[:, :1]).all():
        return None
    return ("token", PER_TOKEN) if by == "none" else ("none", UNDIVIDED)


def decided(of: Judged, scores: FloatArray) -> list[str]:
    """Return the likeliest label of each record; of equals the first."""
    return [of.labels[place] for place in scores.argmax(axis=1)]


def read(task: Mapping[str, Any], of: Judged) -> list[str]:
    """Return the label that each written answer names, or `unparsed`."""
    parser = LabelParser(task["labels"])
    return [parser.label(line["answer"]) for line in of.lines]


def part_of(of: Judged, rows: IntArray) -> Judged:
    """Return some of the records, by their numbers."""
    kept = ([values[row] for row in rows] for values in (of.lines, of.truth, of.groups))
    lines, truth, groups = kept
    return Judged(lines, of.labels, of.positive, tuple(truth), tuple(groups))
