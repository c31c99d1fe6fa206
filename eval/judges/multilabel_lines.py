"""The stored lines of a multi-label task as arrays: true labels, scores by likelihood, labels read from answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from eval.bootstrap import BoolArray, FloatArray, IntArray
from eval.checks import check_classes, check_ids
from eval.judges import Line
from eval.label_sets import label_set
from eval.labels import reader, truth_of
from eval.thresholds import Threshold, decided, fit_thresholds

BY_LIKELIHOOD, WRITTEN = "", "generated_"
"""What stands before the metrics of each way of asking."""
YES, NO = "yes", "no"
"""Keys of the two answers where each label is asked for by itself."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Lines of one split, and some of the set's classes."""

    lines: Sequence[Line]
    classes: tuple[str, ...]
    truth: BoolArray
    """Shape (record, class)."""
    groups: tuple[str, ...]

    def part(self, rows: IntArray) -> Judged:
        """Return some of the records."""
        lines, groups = [self.lines[row] for row in rows], tuple(self.groups[row] for row in rows)
        return replace(self, lines=lines, truth=self.truth[rows], groups=groups)

    def of_classes(self, places: IntArray) -> Judged:
        """Return the same records with some of the classes."""
        return replace(
            self, classes=tuple(self.classes[place] for place in places), truth=self.truth[:, places]
        )

    @cached_property
    def present(self) -> IntArray:
        """Places of the classes with a positive and a negative."""
        return np.flatnonzero(self.truth.any(axis=0) & ~self.truth.all(axis=0))


@dataclass(frozen=True, eq=False)
class Side:
    """One way of asking, and what came of it."""

    prefix: str
    decisions: BoolArray
    """Shape (record, class)."""
    scores: FloatArray | None
    """Shape (record, class), higher for more likely; None for written answers."""
    parsed: BoolArray | None = None
    """Shape (record,): whether a written answer says anything of the set; None for likelihoods."""

    def part(self, rows: IntArray) -> Side:
        """Return some of the records."""
        scores = None if self.scores is None else self.scores[rows]
        parsed = None if self.parsed is None else self.parsed[rows]
        return Side(self.prefix, self.decisions[rows], scores, parsed)

    def of_classes(self, places: IntArray) -> Side:
        """Return some of the classes."""
        scores = None if self.scores is None else self.scores[:, places]
        return replace(self, decisions=self.decisions[:, places], scores=scores)


def of_split(task: Mapping[str, Any], lines: Sequence[Line], split: str) -> Judged:
    """Return the lines of a split.

    Raises:
        ValueError: an id stands twice, there is no such line, or a line has a label that is none of the set.
    """
    ids = [line["id"] for line in lines]
    check_ids(ids, ids)
    kept = [line for line in lines if line["split"] == split]
    if not kept:
        raise ValueError(f"no records of the split {split} to judge")
    classes = label_set(task["label_set"]).ids
    truth = truth_of([line["labels"] for line in kept], classes)
    return Judged(kept, classes, truth, tuple(line["group"] for line in kept))


def sides_of(task: Mapping[str, Any], of: Judged, lines: Sequence[Line]) -> list[Side]:
    """Return what each way of asking gave, likelihoods first.

    Raises:
        ValueError: a line has likelihoods of other labels, or there are no validation lines for thresholds.
    """
    sides = []
    if "likelihood" in task["scoring"]:
        scores = scores_of(task, of)
        sides.append(Side(BY_LIKELIHOOD, decided(scores, thresholds_of(task, lines)), scores))
    if "generation" in task["scoring"]:
        answers, references = ([line[key] for line in of.lines] for key in ("answer", "reference"))
        decisions, parsed = reader(task["label_set"]).answered(answers, references, of.truth)
        sides.append(Side(WRITTEN, decisions, None, parsed))
    return sides


def scores_of(task: Mapping[str, Any], of: Judged) -> FloatArray:
    """Return each label's score, shape (record, class).

    Where each label is asked for by itself: log likelihood of yes minus that of no, whole words however many tokens
    each has, which is the log of the odds between the two. Where its name is the answer to the record's own question:
    the log likelihood a token of the answer, in nats.
    """
    for line in of.lines:
        check_classes(of.classes, list(line["log_likelihoods"]))
    if task["ask"] == "each":
        return np.array([[_logit(line, name) for name in of.classes] for line in of.lines])
    return np.array(
        [
            [line["log_likelihoods"][name] / line["label_tokens"][name] for name in of.classes]
            for line in of.lines
        ]
    )


def _logit(line: Line, name: str) -> float:
    nats = line["log_likelihoods"][name]
    return float(nats[YES] - nats[NO])


def thresholds_of(task: Mapping[str, Any], lines: Sequence[Line]) -> tuple[Threshold, ...]:
    """Return the thresholds on the scale of the scores: from the validation lines, or where yes and no are alike.

    Raises:
        ValueError: thresholds are to come from validation records, and there are none.
    """
    classes = label_set(task["label_set"]).ids
    if task["thresholds"] == "half":
        return tuple(Threshold(name, 0.0, float("nan"), 0, False) for name in classes)
    held = of_split(task, lines, "validation")
    scores = scores_of(task, held)
    return fit_thresholds(
        held.truth,
        scores,
        classes,
        split="validation",
        beta=task["beta"],
        fallback=0.0 if task["ask"] == "each" else float(np.nextafter(scores.max(), np.inf)),
    )
