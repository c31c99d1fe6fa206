"""One label a record: accuracy, precision, recall and F1, with unparsed answers in plain sight.

An unparsed answer is wrong: it lowers accuracy and recall, and no precision, for it names no class.
Weighted recall is accuracy, by algebra: sum over classes of (n_c / n) (TP_c / n_c). Both are
printed; read per-class recall.

Everything follows from three sums a class (hits, predictions, records), so one function gives the
value and every draw of the bootstrap. It equals scikit-learn, to which the tests compare it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bootstrap import (
    DRAWS,
    LEVEL,
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    clusters,
    differences,
    intervals,
    summed,
)
from eval.checks import check_lengths, class_numbers
from eval.parse import UNPARSED

OVERALL = (
    "accuracy",
    "accuracy_parsed",
    "parse_rate",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
)
PER_CLASS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class ClassScore:
    """One class against the rest."""

    name: str
    records: int
    predicted: int
    """0: nothing was predicted to be this class, and its precision is 0 by convention."""
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True)
class Classification:
    """Shares of 1. NaN where a class has no record; such classes are named in `missing`."""

    accuracy: Interval
    """Strict: an unparsed answer is wrong."""
    accuracy_parsed: Interval
    """Among the parsed answers."""
    parse_rate: Interval
    balanced_accuracy: Interval
    """Mean recall of the classes."""
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    weighted_precision: Interval
    """Weighted by the records of each class, as are the next two."""
    weighted_recall: Interval
    """The same number as accuracy."""
    weighted_f1: Interval
    per_class: tuple[ClassScore, ...]
    confusion: IntArray
    """Shape (class, class + 1): records by label and prediction; the last column is unparsed."""
    missing: tuple[str, ...]
    """Classes without a record."""
    n_records: int
    n_groups: int
    method: str


def classify(
    y_true: Sequence[str],
    y_pred: Sequence[str],
    classes: Sequence[str],
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Classification:
    """Judge predicted labels.

    Args:
        y_true: label of each record, one of `classes`.
        y_pred: predicted label of the same records, one of `classes` or `unparsed`.
        classes: all of them, in the order of the tables.
        groups: the group of each record.
        draws: of the bootstrap; 0 gives no intervals.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, lengths differ, or a label is no stated class.
    """
    truth, answer = _numbers(y_true, y_pred, classes, groups)
    drawn_from = clusters(groups, _outcomes(truth, answer, classes), draws=draws, level=level, seed=seed)
    found = intervals(drawn_from, summed(_sums(truth, answer, classes), drawn_from, _ratios(len(classes))))
    confusion = np.zeros((len(classes), len(classes) + 1), dtype=np.int64)
    np.add.at(confusion, (truth, answer), 1)
    records, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return Classification(
        **dict(zip(OVERALL, found, strict=False)),
        per_class=tuple(
            ClassScore(name, int(records[place]), int(predicted[place]), *_of_class(found, place))
            for place, name in enumerate(classes)
        ),
        confusion=confusion,
        missing=tuple(name for name, count in zip(classes, records, strict=True) if count == 0),
        n_records=len(truth),
        n_groups=drawn_from.count,
        method=drawn_from.method,
    )


def classification_differences(
    y_true: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    classes: Sequence[str],
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of each overall metric, over the same draws of groups.

    Args:
        y_true: label of each record.
        before: predictions before tuning.
        after: predictions for the same records after tuning.
        classes: as in `classify`.
        groups: as in `classify`.
        draws: as in `classify`.
        level: as in `classify`.
        seed: as in `classify`.

    Raises:
        ValueError: as in `classify`.
    """
    truth, first = _numbers(y_true, before, classes, groups)
    _, second = _numbers(y_true, after, classes, groups)
    outcomes = np.hstack([_outcomes(truth, answer, classes) for answer in (first, second)])
    drawn_from = clusters(groups, outcomes, draws=draws, level=level, seed=seed)
    of_before, of_after = (
        summed(_sums(truth, answer, classes), drawn_from, _ratios(len(classes))) for answer in (first, second)
    )
    return dict(zip(OVERALL, differences(drawn_from, of_before, of_after), strict=False))


def _numbers(
    y_true: Sequence[str], y_pred: Sequence[str], classes: Sequence[str], groups: Sequence[str]
) -> tuple[IntArray, IntArray]:
    check_lengths(labels=y_true, predictions=y_pred, groups=groups)
    truth = class_numbers(y_true, classes, "labels")
    return truth, class_numbers(y_pred, (*classes, UNPARSED), "predictions")


def _outcomes(truth: IntArray, answer: IntArray, classes: Sequence[str]) -> BoolArray:
    """Return what no draw may lose: a record of each class, and a parsed answer."""
    return np.column_stack([truth[:, None] == np.arange(len(classes)), answer < len(classes)])


def _sums(truth: IntArray, answer: IntArray, classes: Sequence[str]) -> FloatArray:
    """Return what each record adds to hits, predictions and records of each class: (record, 3 * class)."""
    numbers = np.arange(len(classes))
    is_class, says_class = truth[:, None] == numbers, answer[:, None] == numbers
    return np.hstack([is_class & says_class, says_class, is_class]).astype(np.float64)


def _ratios(count: int) -> Callable[[FloatArray], FloatArray]:
    def ratios(totals: FloatArray) -> FloatArray:
        """Return OVERALL and then PER_CLASS of each class, shape (draw, 10 + 3 * class)."""
        hits, predicted, records = totals.reshape(len(totals), 3, count).transpose(1, 0, 2)
        total, parsed, correct = records.sum(axis=1), predicted.sum(axis=1), hits.sum(axis=1)
        recall = _share(hits, records)
        precision = np.where(records > 0, _share(hits, predicted, empty=0.0), np.nan)
        f1 = np.where(records > 0, _share(2 * hits, predicted + records), np.nan)
        weight = records / total[:, None]
        overall = [correct / total, _share(correct, parsed), parsed / total, recall.mean(axis=1)]
        overall += [metric.mean(axis=1) for metric in (precision, recall, f1)]
        overall += [np.nansum(weight * metric, axis=1) for metric in (precision, recall, f1)]
        return np.column_stack([*overall, np.stack([precision, recall, f1], axis=2).reshape(len(totals), -1)])

    return ratios


def _share(part: FloatArray, whole: FloatArray, empty: float = np.nan) -> FloatArray:
    share = np.full(whole.shape, empty)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _of_class(found: Sequence[Interval], place: int) -> Sequence[Interval]:
    start = len(OVERALL) + len(PER_CLASS) * place
    return found[start : start + len(PER_CLASS)]
