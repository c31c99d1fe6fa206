"""From scores to decisions: one threshold a class, from validation records only, and what F-beta makes of decisions.

A record is decided for a class where its score is at or above the threshold, here and wherever a threshold is used:
chosen with >= and applied with >, the best threshold would lose the very record that it was found at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.bootstrap import (
    DRAWS,
    LEVEL,
    BoolArray,
    Clusters,
    FloatArray,
    Interval,
    Statistic,
    clusters,
    differences,
    intervals,
    summed,
    without_ends,
)
from eval.checks import check_classes, check_lengths, check_scores

CHOSEN_HERE = "its thresholds are chosen on the very records that are judged"
"""Why a metric of decisions has no interval."""
_WITHOUT_THRESHOLD = (
    "macro_auc",
    "average_precision",
    "coverage",
    "ranking_loss",
    "brier",
    "calibration_error",
    "parse_rate",
)


@dataclass(frozen=True)
class Threshold:
    """Where a class begins."""

    name: str
    value: float
    """On the scale of the scores; decided for the class at or above it."""
    f_beta: float
    """On the records it was chosen on; NaN where there was no positive."""
    positives: int
    """Of the class, among those records."""
    fallback: bool
    """Whether there was no positive, so that the value is the given one."""


@dataclass(frozen=True)
class BetaScores:
    """Means over the classes, each class once; NaN with a class that has no positive."""

    f_beta: Interval
    """(1 + beta^2) TP / ((1 + beta^2) TP + FP + beta^2 FN)."""
    g_beta: Interval
    """TP / (TP + FP + beta FN)."""
    per_class: tuple[tuple[Interval, Interval], ...]
    """F-beta and G-beta of each class."""


def fit_thresholds(
    y_true: BoolArray,
    y_score: FloatArray,
    classes: Sequence[str],
    *,
    split: str,
    beta: float = 2.0,
    fallback: float = 0.5,
) -> tuple[Threshold, ...]:
    """Return the threshold of each class with the highest F-beta; of equals the highest one.

    It lies midway between the lowest score that is decided for the class and the next one below: at that very score
    a new record that scores a little less would be lost, and F-beta here would be no higher.

    Args:
        y_true: shape (record, class).
        y_score: shape (record, class), on any scale.
        classes: names of the columns.
        split: where the records are from; only `validation` will do, for a threshold chosen on the records that
            are then judged is no evidence.
        beta: above 1 a missed label weighs more than a false one.
        fallback: threshold of a class without a positive, on the scale of the scores.

    Raises:
        ValueError: the split is another, shapes differ, there are no records, or a score is no number.

    >>> fit_thresholds(np.array([[True], [False]]), np.array([[0.9], [0.2]]), ["AF"], split="validation")[0].value
    0.55
    """
    if split != "validation":
        raise ValueError(f"thresholds are chosen on validation records, not on {split!r}")
    check_classes(classes, classes)
    check_lengths(labels=y_true, scores=y_score)
    check_scores(y_score, probabilities=False)
    if y_true.shape != y_score.shape or y_true.shape[1] != len(classes):
        raise ValueError(
            f"labels of shape {y_true.shape}, scores of shape {y_score.shape}, {len(classes)} classes"
        )
    columns = zip(classes, y_true.T, y_score.T, strict=True)
    return tuple(_threshold(name, truth, score, beta, fallback) for name, truth, score in columns)


def _threshold(name: str, truth: BoolArray, score: FloatArray, beta: float, fallback: float) -> Threshold:
    positives = int(truth.sum())
    if not positives:
        return Threshold(name, fallback, float("nan"), 0, True)
    values, f_beta = f_beta_curve(truth, score, beta)
    best = int(np.flatnonzero(f_beta == f_beta.max())[-1])
    lowest, below = float(values[best]), float(values[max(best - 1, 0)])
    midway = below + (lowest - below) / 2
    value = midway if midway > below else lowest  # neighbouring numbers have none between them
    return Threshold(name, value, float(f_beta[best]), positives, False)


def f_beta_curve(truth: BoolArray, score: FloatArray, beta: float) -> tuple[FloatArray, FloatArray]:
    """Return every threshold that changes a decision, ascending, and F-beta at each.

    Args:
        truth: shape (record,), with a positive.
        score: shape (record,).
        beta: as in `fit_thresholds`.
    """
    values, place = np.unique(score, return_inverse=True)
    hits = np.bincount(place, truth, len(values))[::-1].cumsum()[::-1]
    said = np.bincount(place, minlength=len(values))[::-1].cumsum()[::-1]
    square = beta**2
    curve: FloatArray = (1 + square) * hits / (said + square * truth.sum())
    return values, curve


def chosen_by(beta: float) -> str:
    """Say which threshold `fit_thresholds` takes; with few validation records midway is hundredths of a macro F-beta."""
    return (
        "the one with the highest F-beta on the validation records, midway to the next lower score, "
        f"beta = {beta:g}"
    )


def chosen_on_judged(task: Mapping[str, Any]) -> bool:
    """Return whether the thresholds of a task are chosen on the very records that it judges."""
    return bool(task["split"] == "validation" and task["thresholds"] == "validation")


def as_chosen(task: Mapping[str, Any], found: Mapping[str, Interval]) -> dict[str, Interval]:
    """Return metrics or their differences, those of decisions without an interval where thresholds are chosen on the judged.

    The best F2 of 200 records is 0.03 above what it is on others, and its interval held that in 0.92 of simulated sets.
    """
    if not chosen_on_judged(task):
        return dict(found)
    return {
        name: interval
        if name.partition("_present")[0] in _WITHOUT_THRESHOLD or name.startswith("generated_")
        else without_ends(interval.value, CHOSEN_HERE)
        for name, interval in found.items()
    }


def decided(y_score: FloatArray, thresholds: Sequence[Threshold]) -> BoolArray:
    """Return decisions, shape (record, class): at or above the threshold."""
    decisions: BoolArray = y_score >= np.array([one.value for one in thresholds])
    return decisions


# --------------------------------------------------------------------------------------- F-beta, G-beta


def beta_scores(
    y_true: BoolArray,
    y_pred: BoolArray,
    groups: Sequence[str],
    *,
    beta: float = 2.0,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> BetaScores:
    """Judge decisions by F-beta and G-beta, every record weighing the same.

    `eval.multilabel` has the variant of the CinC 2020 challenge, in which a record weighs 1 / its number of labels.

    Args:
        y_true: shape (record, class).
        y_pred: shape (record, class).
        groups: the group of each record.
        beta: of both.
        draws: of the bootstrap; 0 gives no intervals.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, or shapes differ.
    """
    drawn_from, statistic = _drawn(y_true, y_pred, groups, beta, draws, level, seed)
    found = intervals(drawn_from, statistic)
    count = y_true.shape[1]
    return BetaScores(found[0], found[1], tuple(zip(found[2 : 2 + count], found[2 + count :], strict=True)))


def beta_differences(
    y_true: BoolArray,
    before: BoolArray,
    after: BoolArray,
    groups: Sequence[str],
    *,
    beta: float = 2.0,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of the two means, over the same draws of groups.

    Raises:
        ValueError: as in `beta_scores`.
    """
    drawn_from, first = _drawn(y_true, before, groups, beta, draws, level, seed)
    _, second = _drawn(y_true, after, groups, beta, draws, level, seed)
    found = differences(drawn_from, first, second)
    return {"f_beta": found[0], "g_beta": found[1]}


def _drawn(
    y_true: BoolArray,
    y_pred: BoolArray,
    groups: Sequence[str],
    beta: float,
    draws: int,
    level: float,
    seed: int,
) -> tuple[Clusters, Statistic]:
    check_lengths(labels=y_true, decisions=y_pred, groups=groups)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"labels of shape {y_true.shape}, decisions of shape {y_pred.shape}")
    drawn_from = clusters(groups, np.hstack([y_true, ~y_true]), draws=draws, level=level, seed=seed)
    sums = np.hstack([y_true & y_pred, ~y_true & y_pred, y_true & ~y_pred]).astype(np.float64)
    count = y_true.shape[1]

    def ratios(totals: FloatArray) -> FloatArray:
        hits, false, missed = (totals[:, place * count : (place + 1) * count] for place in range(3))
        square = beta**2
        f_beta = _share((1 + square) * hits, (1 + square) * hits + false + square * missed, hits + missed)
        g_beta = _share(hits, hits + false + beta * missed, hits + missed)
        return np.column_stack([f_beta.mean(axis=1), g_beta.mean(axis=1), f_beta, g_beta])

    return drawn_from, summed(sums, drawn_from, ratios)


def _share(part: FloatArray, whole: FloatArray, positives: FloatArray) -> FloatArray:
    share = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=positives > 0)
    return share
