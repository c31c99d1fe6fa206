"""One label a record: accuracy, precision, recall and F1, with unparsed answers in plain sight.

An unparsed answer is wrong: it lowers accuracy and recall, and no precision, for it names no class.
Weighted recall is accuracy, by algebra: sum over classes of (n_c / n) (TP_c / n_c). Both are
printed; read per-class recall.

A class that has records and is never predicted has no precision: no prediction could be right or wrong.
scikit-learn writes 0 there, and with it a model that learns to say the word once looks "better". Here it is
NaN, and so are macro and weighted precision. F1 exists, for 2 hits / (predicted + records) is 0 by count:
none was found. But what it gains when the class is predicted at all is no measure of skill, so its
difference has a value and no interval, and nothing is better or worse by it.

Everything follows from three sums a class (hits, predictions, records), so one function gives the
value and every draw of the bootstrap. But for that precision it equals scikit-learn, to which the tests
compare it. Shares of records that are all alike have the intervals of `eval.alike`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.alike import change_of_share, share
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
    without_ends,
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
UNPREDICTED = "a class is never predicted before or after"
"""Why the difference of an F1 has no interval."""
_SHARES = ("accuracy", "parse_rate", "weighted_recall")
"""Shares of all records; weighted recall is one by algebra."""


@dataclass(frozen=True)
class ClassScore:
    """One class against the rest."""

    name: str
    records: int
    predicted: int
    """0: nothing was predicted to be this class, and it has no precision."""
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True)
class Classification:
    """Shares of 1. NaN where a class has no record (`missing`), or no prediction (`unpredicted`: precision)."""

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
    unpredicted: tuple[str, ...]
    """Classes with records that are never predicted."""
    n_records: int
    n_groups: int
    method: str
    narrow: str | None
    """Why the intervals are too narrow, where they are."""


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
    drawn = intervals(drawn_from, summed(_sums(truth, answer, classes), drawn_from, _ratios(len(classes))))
    found = _with_shares(drawn, truth, answer, np.asarray(groups), len(classes), level)
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
        unpredicted=_unpredicted(truth, answer, classes),
        n_records=len(truth),
        n_groups=drawn_from.count,
        method=drawn_from.method,
        narrow=drawn_from.narrow,
    )


def _with_shares(
    drawn: Sequence[Interval], truth: IntArray, answer: IntArray, groups: Any, classes: int, level: float
) -> list[Interval]:
    """Return the intervals, those of shares of records also where all these records are alike."""
    found = list(drawn)
    for name in _SHARES:
        found[OVERALL.index(name)] = share(found[OVERALL.index(name)], groups, level=level)
    parsed = OVERALL.index("accuracy_parsed")
    found[parsed] = share(found[parsed], groups[answer < classes], level=level)
    for number in range(classes):
        start = len(OVERALL) + len(PER_CLASS) * number
        for place, rows in ((start, answer == number), (start + 1, truth == number)):  # precision, recall
            found[place] = share(found[place], groups[rows], level=level)
    return found


def _unpredicted(truth: IntArray, answer: IntArray, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        name
        for number, name in enumerate(classes)
        if (truth == number).any() and not (answer == number).any()
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
    found = dict(zip(OVERALL, differences(drawn_from, of_before, of_after), strict=False))
    found |= {name: change_of_share(found[name], groups, level=level) for name in _SHARES}
    if any(_unpredicted(truth, answer, classes) for answer in (first, second)):
        found |= {name: without_ends(found[name].value, UNPREDICTED) for name in ("macro_f1", "weighted_f1")}
    return found


def class_differences(
    y_true: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    name: str,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of PER_CLASS of the class `name`, over the same draws of groups.

    Args:
        y_true: label of each record.
        before: predictions before tuning.
        after: predictions for the same records after tuning.
        name: of the class; all others are the rest.
        groups: as in `classify`.
        draws: as in `classify`.
        level: as in `classify`.
        seed: as in `classify`.

    Raises:
        ValueError: no records, or lengths differ.
    """
    check_lengths(labels=y_true, before=before, after=after, groups=groups)
    truth, first, second = (
        np.array([label != name for label in labels], np.int64) for labels in (y_true, before, after)
    )
    is_class = truth == 0
    drawn_from = clusters(groups, np.column_stack([is_class, ~is_class]), draws=draws, level=level, seed=seed)
    of_before, of_after = (
        summed(_sums(truth, answer, (name,)), drawn_from, _of_one) for answer in (first, second)
    )
    drawn = differences(drawn_from, of_before, of_after)
    found = dict(zip(PER_CLASS, drawn, strict=True))
    found["recall"] = change_of_share(found["recall"], np.asarray(groups)[is_class], level=level)
    if any(_unpredicted(truth, answer, (name,)) for answer in (first, second)):
        found["f1"] = without_ends(found["f1"].value, UNPREDICTED)
    return found


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
        each = _of_classes(hits, predicted, records)
        weight = records / total[:, None]
        overall = [correct / total, _share(correct, parsed), parsed / total, each[1].mean(axis=1)]
        overall += [metric.mean(axis=1) for metric in each]
        overall += [np.where(records > 0, weight * metric, 0.0).sum(axis=1) for metric in each]
        return np.column_stack([*overall, np.stack(each, axis=2).reshape(len(totals), -1)])

    return ratios


def _of_one(totals: FloatArray) -> FloatArray:
    """Return PER_CLASS of one class, shape (draw, 3)."""
    hits, predicted, records = totals.T
    return np.stack(_of_classes(hits, predicted, records), axis=1)


def _of_classes(hits: FloatArray, predicted: FloatArray, records: FloatArray) -> tuple[FloatArray, ...]:
    """Return PER_CLASS of totals of any shape; NaN where there is no record, or for precision no prediction."""
    precision = np.where(records > 0, _share(hits, predicted), np.nan)
    f1 = np.where(records > 0, _share(2 * hits, predicted + records), np.nan)
    return precision, _share(hits, records), f1


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    found = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _of_class(found: Sequence[Interval], place: int) -> Sequence[Interval]:
    start = len(OVERALL) + len(PER_CLASS) * place
    return found[start : start + len(PER_CLASS)]
