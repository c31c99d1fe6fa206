"""The score of the PhysioNet/CinC Challenge 2021: partial credit for diagnoses treated alike.

1 is perfect, 0 is what "sinus rhythm, always" gets, and it can be negative. The weights say how much
credit a predicted diagnosis gets for a true one. They come as a table of class names, where `a|b` is
one class of two codes that count as the same.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.bootstrap import (
    DRAWS,
    LEVEL,
    BoolArray,
    FloatArray,
    Interval,
    clusters,
    differences,
    intervals,
    summed,
)
from eval.checks import check_classes, check_lengths

PUBLISHED = Path(__file__).parent / "cinc2021_weights.csv"
"""The challenge's own table; source and licence are in cinc2021_weights.md beside it."""

SINUS_RHYTHM = "426783006"
"""SNOMED CT code of the class that 0 stands for."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Credit for predicting a class, by true class."""

    classes: tuple[str, ...]
    """`a|b` where two codes are one class."""
    credit: FloatArray
    """Shape (true class, predicted class)."""
    normal: int
    """The class that 0 stands for."""

    def class_of(self) -> Mapping[str, int]:
        """Return the number of the class of each code."""
        return {code: place for place, name in enumerate(self.classes) for code in name.split("|")}


@dataclass(frozen=True)
class Challenge:
    """The score. NaN where predicting the normal class always is already perfect."""

    score: Interval
    n_records: int
    n_groups: int
    method: str


def read_weights(path: Path = PUBLISHED, normal: str = SINUS_RHYTHM) -> Weights:
    """Read a table of weights in the published form: class names in the first row and column.

    Args:
        path: CSV file.
        normal: code of the class that 0 stands for.

    Raises:
        ValueError: the table is not square, names its rows and columns differently, holds something
            else than numbers, or has no class `normal`; names the file.
    """
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[""]]
    names = tuple(head[1:])
    if not names or [row[0] for row in rows] != list(names) or {len(row) for row in rows} != {len(head)}:
        raise ValueError(f"{path}: expected the same classes in the first row and the first column")
    try:
        credit = np.array([[float(cell) for cell in row[1:]] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not np.isfinite(credit).all():
        raise ValueError(f"{path}: a weight is no finite number")
    codes = [code for name in names for code in name.split("|")]
    if len(set(codes)) != len(codes) or normal not in codes:
        raise ValueError(f"{path}: a code occurs twice, or the normal class {normal} does not occur")
    normal_class = next(place for place, name in enumerate(names) if normal in name.split("|"))
    return Weights(names, credit, normal_class)


def merge_codes(values: BoolArray, codes: Sequence[str], weights: Weights) -> BoolArray:
    """Return labels or decisions by the classes of the weights: any of the codes that are one class.

    Args:
        values: shape (record, code).
        codes: names of the columns; what the weights do not know is not scored.
        weights: whose classes are wanted.

    Returns:
        Shape (record, class).
    """
    return _merged(values.astype(np.float64), codes, weights) > 0


def merge_scores(values: FloatArray, codes: Sequence[str], weights: Weights) -> FloatArray:
    """Return scores by the classes of the weights: the mean of the codes that are one class.

    Raises:
        ValueError: a class has no column, so that it has no score.
    """
    columns = _merged(np.ones((1, len(codes))), codes, weights)
    if (columns == 0).any():
        without = [weights.classes[place] for place in np.flatnonzero(columns[0] == 0)]
        raise ValueError(f"no scores of {len(without)} classes: {', '.join(without)}")
    return _merged(values, codes, weights) / columns


def challenge_score(
    y_true: BoolArray,
    y_pred: BoolArray,
    classes: Sequence[str],
    weights: Weights,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Challenge:
    """Judge decisions by the challenge's score.

    Args:
        y_true: shape (record, class).
        y_pred: shape (record, class), decisions.
        classes: names of the columns; must be those of the weights, in their order.
        weights: from `read_weights`.
        groups: the group of each record.
        draws: of the bootstrap; 0 gives no interval.
        level: of the interval.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, shapes differ, or the classes are not those of the weights.

    Source:
        Reyna et al. 2021, Will Two Do?, Computing in Cardiology 48; `compute_challenge_metric` of
        physionetchallenges/evaluation-2021 (which returns 0 where this is NaN).
    """
    sums = _sums(y_true, y_pred, classes, weights, groups)
    drawn_from = clusters(groups, draws=draws, level=level, seed=seed)
    (score,) = intervals(drawn_from, summed(sums, drawn_from, _score))
    return Challenge(score, len(y_true), drawn_from.count, drawn_from.method)


def challenge_difference(
    y_true: BoolArray,
    before: BoolArray,
    after: BoolArray,
    classes: Sequence[str],
    weights: Weights,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return "after minus before" of the score, over the same draws of groups.

    Raises:
        ValueError: as in `challenge_score`.
    """
    drawn_from = clusters(groups, draws=draws, level=level, seed=seed)
    first, second = (
        summed(_sums(y_true, side, classes, weights, groups), drawn_from, _score) for side in (before, after)
    )
    (difference,) = differences(drawn_from, first, second)
    return difference


def _sums(
    y_true: BoolArray, y_pred: BoolArray, classes: Sequence[str], weights: Weights, groups: Sequence[str]
) -> FloatArray:
    """Return each record's credit for its decisions, its own labels and the normal class: (record, 3)."""
    check_classes(weights.classes, classes)
    check_lengths(labels=y_true, decisions=y_pred, groups=groups)
    if y_true.shape != y_pred.shape or y_true.shape[1] != len(classes):
        raise ValueError(
            f"labels of shape {y_true.shape}, decisions of shape {y_pred.shape}, {len(classes)} classes"
        )
    normal = np.zeros_like(y_true)
    normal[:, weights.normal] = True
    credit = y_true @ weights.credit
    return np.column_stack([_credit(y_true, said, credit) for said in (y_pred, y_true, normal)])


def _credit(y_true: BoolArray, said: BoolArray, credit: FloatArray) -> FloatArray:
    """Return the credit of each record, over the number of classes that are true or said."""
    total: FloatArray = (credit * said).sum(axis=1) / np.maximum((y_true | said).sum(axis=1), 1)
    return total


def _score(totals: FloatArray) -> FloatArray:
    said, right, normal = totals.T
    score = np.full(len(totals), np.nan)
    np.divide(said - normal, right - normal, out=score, where=right != normal)
    return score[:, None]


def _merged(values: FloatArray, codes: Sequence[str], weights: Weights) -> FloatArray:
    class_of = weights.class_of()
    into = np.zeros((len(codes), len(weights.classes)))
    for place, code in enumerate(codes):
        if code in class_of:
            into[place, class_of[code]] = 1
    merged: FloatArray = values @ into
    return merged
