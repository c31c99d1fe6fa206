"""Any number of labels a record: areas from scores, and what follows from decisions.

`auc` needs scores. `auc_hard` is what some papers call AUC but compute from decisions: the mean of
sensitivity and specificity. The two never share a name here, or a column.

A class without a positive or without a negative has no area: its value and every mean over all
classes are NaN and the class is named. The means ending in `_present` are over the other classes.
Those ending in `_cinc` are made as the programs of the CinC challenges make them: a class that no record has and
that was decided for some counts 0, and one that was never decided either is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bootstrap import (
    DRAWS,
    LEVEL,
    BoolArray,
    Clusters,
    FloatArray,
    IntArray,
    Interval,
    Statistic,
    clusters,
    differences,
    intervals,
    summed,
)
from eval.checks import check_classes, check_lengths, check_scores
from eval.ranks import auc, average_precision, coverage, ranking_loss

FROM_SCORES = ("auc", "auc_present", "average_precision", "coverage", "ranking_loss")
FROM_DECISIONS = (
    "auc_hard",
    "auc_hard_present",
    "f1",
    "f1_present",
    "f_beta",
    "g_beta",
    "f1_cinc",
    "f_beta_cinc",
    "g_beta_cinc",
    "hamming_loss",
    "exact_match",
)
METRICS = FROM_SCORES + FROM_DECISIONS
PER_CLASS = ("auc", "average_precision", "auc_hard", "f1", "sensitivity", "specificity")
BETA = 2.0
"""Of F-beta and G-beta in the CinC challenges: a missed label weighs more than a false one."""


@dataclass(frozen=True)
class LabelScore:
    """One class. Areas are NaN where there are no scores, or where the class is missing."""

    name: str
    positives: int
    auc: Interval
    average_precision: Interval
    auc_hard: Interval
    f1: Interval
    sensitivity: Interval
    specificity: Interval


@dataclass(frozen=True)
class Bound:
    """Hamming loss <= 2 (1 - auc_hard), which holds for any decisions over the same classes.

    For one class of prevalence p, sensitivity s and specificity t the loss is
    p (1 - s) + (1 - p) (1 - t) <= (1 - s) + (1 - t) = 2 (1 - (s + t) / 2); means keep it.

    >>> Bound(hamming_loss=0.11, auc_hard=0.98).holds  # so this AUC is not one of decisions
    False
    """

    hamming_loss: float
    auc_hard: float

    @property
    def limit(self) -> float:
        """The largest Hamming loss that this `auc_hard` allows."""
        return 2 * (1 - self.auc_hard)

    @property
    def holds(self) -> bool:
        """Whether the two numbers can be of the same decisions; up to rounding."""
        return self.hamming_loss <= self.limit + 1e-9


def checked_bound(found: MultiLabel) -> dict[str, float] | None:
    """Return Hamming loss, hard AUC and the limit that this sets, over the classes that have both outcomes.

    Raises:
        RuntimeError: the two are not of the same decisions, which is a mistake of ours.
    """
    bound = found.bound
    if bound is None:
        return None
    if not bound.holds:
        raise RuntimeError(
            f"a Hamming loss of {bound.hamming_loss:g} cannot go with a hard AUC of {bound.auc_hard:g}, which "
            f"allows {bound.limit:g} at most: they are not of the same decisions"
        )
    return {"hamming_loss": bound.hamming_loss, "auc_hard": bound.auc_hard, "limit": bound.limit}


@dataclass(frozen=True)
class MultiLabel:
    """Means over the classes unless said otherwise; NaN from scores where none were given."""

    auc: Interval
    """Macro area under the ROC curve, from scores."""
    auc_present: Interval
    average_precision: Interval
    coverage: Interval
    """How far down the ranked classes all true ones are reached: mean count, lower is better."""
    ranking_loss: Interval
    """Share of (true, false) pairs of classes ranked wrongly or alike, mean over records."""
    auc_hard: Interval
    """Mean of sensitivity and specificity of the decisions, macro."""
    auc_hard_present: Interval
    f1: Interval
    """Macro F1; NaN with a class that has no positive."""
    f1_present: Interval
    f_beta: Interval
    """F with beta = 2, each record weighing 1 / its number of labels; macro."""
    g_beta: Interval
    """TP / (TP + FP + beta FN), weighed likewise; macro."""
    f1_cinc: Interval
    """Macro F1 as in CinC 2021: over the classes with a positive or a decision; NaN where there is none."""
    f_beta_cinc: Interval
    """`f_beta` over those classes, as in CinC 2020: of the labels as they are, where the program of 2020 first took
    the normal class from records with another one and gave it to those with none."""
    g_beta_cinc: Interval
    hamming_loss: Interval
    """Share of (record, class) decisions that are wrong."""
    exact_match: Interval
    """Share of records whose decisions are all right."""
    per_class: tuple[LabelScore, ...]
    missing: tuple[str, ...]
    """Classes without a positive, or without a negative."""
    bound: Bound | None
    """Of our own decisions, over the classes that are not missing; None where all are."""
    n_records: int
    n_groups: int
    method: str


def score_labels(
    y_true: BoolArray,
    y_pred: BoolArray,
    classes: Sequence[str],
    groups: Sequence[str],
    *,
    y_score: FloatArray | None = None,
    score_classes: Sequence[str] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> MultiLabel:
    """Judge decisions, and scores where there are any.

    Args:
        y_true: shape (record, class).
        y_pred: shape (record, class), decisions.
        classes: names of the columns.
        groups: the group of each record.
        y_score: shape (record, class), higher for more likely; any scale.
        score_classes: the columns as training stated them, where known; must be `classes`.
        draws: of the bootstrap; 0 gives no intervals.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, shapes or class lists differ, labels are not True and False, or a
            score is no number.

    Source:
        F-beta and G-beta: PhysioNet/CinC Challenge 2020, physionetchallenges/evaluation-2020,
        `compute_beta_measures`; F1: 2021, physionetchallenges/evaluation-2021, `compute_f_measure`. There a class
        without labels and outputs is left out of the mean, and one with outputs alone counts 0.
        Coverage and ranking loss: Tsoumakas et al. 2010, as in scikit-learn.
    """
    check_classes(classes, classes if score_classes is None else score_classes)
    _check(y_true, y_pred, y_score, classes, groups)
    drawn_from = clusters(groups, np.hstack([y_true, ~y_true]), draws=draws, level=level, seed=seed)
    present = _present(y_true)
    found = intervals(drawn_from, _statistic(y_true, y_pred, y_score, drawn_from))
    named = dict(zip(METRICS, found, strict=False))
    in_class = found[len(METRICS) :]
    return MultiLabel(
        **named,
        per_class=tuple(
            LabelScore(name, int(y_true[:, place].sum()), *in_class[place :: len(classes)])
            for place, name in enumerate(classes)
        ),
        missing=tuple(name for name, there in zip(classes, present, strict=True) if not there),
        bound=_bound(y_true, y_pred, present, named["auc_hard_present"].value),
        n_records=len(y_true),
        n_groups=drawn_from.count,
        method=drawn_from.method,
    )


def label_differences(
    y_true: BoolArray,
    before: tuple[BoolArray, FloatArray | None],
    after: tuple[BoolArray, FloatArray | None],
    classes: Sequence[str],
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of METRICS, over the same draws of groups.

    Args:
        y_true: shape (record, class).
        before: decisions and scores (or None) before tuning, each of shape (record, class).
        after: the same after tuning, of the same records.
        classes: as in `score_labels`.
        groups: as in `score_labels`.
        draws: as in `score_labels`.
        level: as in `score_labels`.
        seed: as in `score_labels`.

    Raises:
        ValueError: as in `score_labels`.
    """
    check_classes(classes, classes)
    for y_pred, y_score in (before, after):
        _check(y_true, y_pred, y_score, classes, groups)
    drawn_from = clusters(groups, np.hstack([y_true, ~y_true]), draws=draws, level=level, seed=seed)
    first, second = (_statistic(y_true, *side, drawn_from, per_class=False) for side in (before, after))
    return dict(zip(METRICS, differences(drawn_from, first, second), strict=True))


def _check(
    y_true: BoolArray,
    y_pred: BoolArray,
    y_score: FloatArray | None,
    classes: Sequence[str],
    groups: Sequence[str],
) -> None:
    count = check_lengths(labels=y_true, decisions=y_pred, groups=groups)
    for name, values in (("labels", y_true), ("decisions", y_pred), ("scores", y_score)):
        if values is None:
            continue
        if values.shape != (count, len(classes)):
            expected = (count, len(classes))
            raise ValueError(f"{name} of shape {values.shape}, expected (record, class) = {expected}")
        if name != "scores" and values.dtype != np.bool_:
            raise ValueError(f"expected {name} of True and False, got {values.dtype}")
    if y_score is not None:
        check_scores(y_score, probabilities=False)


def _present(y_true: BoolArray) -> BoolArray:
    return np.asarray(y_true.any(axis=0) & ~y_true.all(axis=0))


def _bound(y_true: BoolArray, y_pred: BoolArray, present: BoolArray, auc_hard: float) -> Bound | None:
    if not present.any():
        return None
    return Bound(float((y_true != y_pred)[:, present].mean()), auc_hard)


def _statistic(
    y_true: BoolArray,
    y_pred: BoolArray,
    y_score: FloatArray | None,
    drawn_from: Clusters,
    *,
    per_class: bool = True,
) -> Statistic:
    """Return METRICS, and then PER_CLASS (metric by metric), as one function of drawn groups."""
    present, count = _present(y_true), y_true.shape[1]
    sums = np.column_stack([_decision_sums(y_true, y_pred), _score_sums(y_true, y_score)])
    rest = summed(sums, drawn_from, _ratios(present))
    areas = [
        [make(truth, score, drawn_from.member) for truth, score in zip(y_true.T, y_score.T, strict=True)]
        if y_score is not None
        else []
        for make in (auc, average_precision)
    ]

    def statistic(times: IntArray) -> FloatArray:
        ranked = np.full((2, len(times), count), np.nan)
        for kind, of_class in enumerate(areas):
            for place, area in enumerate(of_class):
                ranked[kind, :, place] = area(times)
        from_sums = rest(times)
        macro = [ranked[0].mean(axis=1), _mean(ranked[0], present), ranked[1].mean(axis=1)]
        overall = len(METRICS) - len(macro)
        parts = [*macro, from_sums[:, :overall]]
        return np.column_stack([*parts, *ranked, from_sums[:, overall:]] if per_class else parts)

    return statistic


def _decision_sums(y_true: BoolArray, y_pred: BoolArray) -> FloatArray:
    """Return what each record adds, shape (record, 7 * class + 3).

    For all classes TP, FP, FN, the same over the record's number of labels, and positives; then the
    share of wrong decisions, whether all are right, and 1.
    """
    kinds = np.stack([y_true & y_pred, ~y_true & y_pred, y_true & ~y_pred], axis=1).astype(np.float64)
    weighed = kinds / np.maximum(y_true.sum(axis=1), 1)[:, None, None]
    wrong = (y_true != y_pred).mean(axis=1)
    per_class = np.concatenate([kinds, weighed], axis=1).reshape(len(y_true), -1)
    positives = y_true.astype(np.float64)
    return np.column_stack([per_class, positives, wrong, wrong == 0, np.ones(len(y_true))])


def _score_sums(y_true: BoolArray, y_score: FloatArray | None) -> FloatArray:
    if y_score is None:
        return np.full((len(y_true), 2), np.nan)
    return np.column_stack([coverage(y_true, y_score), ranking_loss(y_true, y_score)])


def _ratios(present: BoolArray) -> Callable[[FloatArray], FloatArray]:
    """Return a function of totals of `_decision_sums` and `_score_sums`."""
    count = len(present)

    def ratios(totals: FloatArray) -> FloatArray:
        sums = totals[:, : 7 * count].reshape(len(totals), 7, count).transpose(1, 0, 2)
        hits, false, missed, hits_w, false_w, missed_w, positives = sums
        wrong, exact, records, reached, misranked = totals[:, 7 * count :].T[:, :, None]
        sensitivity = _share(hits, positives)
        specificity = 1 - _share(false, records - positives)
        hard = (sensitivity + specificity) / 2
        f1 = _share(2 * hits, 2 * hits + false + missed)
        square = BETA**2
        f_beta = _share((1 + square) * hits_w, (1 + square) * hits_w + false_w + square * missed_w)
        g_beta = _share(hits_w, hits_w + false_w + BETA * missed_w)
        as_cinc = [_mean_of_known(value) for value in (f1, f_beta, g_beta)]
        f1, f_beta, g_beta = (np.where(positives > 0, value, np.nan) for value in (f1, f_beta, g_beta))
        means = [reached / records, misranked / records, hard.mean(axis=1), _mean(hard, present)]
        means += [f1.mean(axis=1), _mean(f1, present), f_beta.mean(axis=1), g_beta.mean(axis=1), *as_cinc]
        return np.column_stack([*means, wrong / records, exact / records, hard, f1, sensitivity, specificity])

    return ratios


def _mean(values: FloatArray, present: BoolArray) -> FloatArray:
    """Return the mean over the classes that are present, shape (draw,); NaN where none is."""
    if not present.any():
        return np.full(len(values), np.nan)
    mean: FloatArray = values[:, present].mean(axis=1)
    return mean


def _mean_of_known(values: FloatArray) -> FloatArray:
    """Return the mean over the classes that have a value in the draw, shape (draw,); NaN where none has."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    share = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=np.broadcast_to(whole > 0, part.shape))
    return share
