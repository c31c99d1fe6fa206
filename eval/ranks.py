"""What follows from the order of scores: areas under curves over records, losses within a record.

Areas do not add up over records, so a bootstrap would sort the records again in every draw. Here they
are sorted once; a draw only changes the records' weights, and running sums of the weights in the
order of the scores give each draw's area. Unweighted, both equal those of scikit-learn
(`roc_auc_score`, `average_precision_score`), which the tests compare to 1e-12. Coverage and ranking
loss are one number a record; their means are scikit-learn's `coverage_error`, `label_ranking_loss`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval.bootstrap import BoolArray, FloatArray, IntArray

_AT_ONCE = 8192
"""Records whose scores of classes are sorted together."""

Area = Callable[[IntArray], FloatArray]
"""Takes how often each group is drawn, shape (draw, group); returns shape (draw,)."""


def auc(positive: BoolArray, score: FloatArray, member: IntArray) -> Area:
    """Return the area under the ROC curve as a function of drawn groups.

    It is the share of pairs of a positive and a negative in which the positive scores higher; equal
    scores count half. NaN where a draw has no positive or no negative.

    Args:
        positive: shape (record,).
        score: shape (record,), higher for what is held to be positive; finite.
        member: shape (record,), the number of each record's group.

    Source:
        Mann-Whitney U; Hanley and McNeil 1982, Radiology 143(1).
    """
    if positive.all() or not positive.any():
        return _nothing
    if 2 * positive.sum() > len(positive):  # fewer look-ups; 1 - AUC of the negatives, mirrored
        positive, score = ~positive, -score
    few = np.flatnonzero(positive)[np.argsort(score[positive], kind="stable")]
    many = np.flatnonzero(~positive)[np.argsort(score[~positive], kind="stable")]
    below = np.searchsorted(score[many], score[few], side="left")
    not_above = np.searchsorted(score[many], score[few], side="right")
    few_member, many_member = member[few], member[many]

    def area(times: IntArray) -> FloatArray:
        running = np.zeros((len(times), len(many) + 1), dtype=np.int64)
        np.cumsum(times[:, many_member], axis=1, out=running[:, 1:])
        weight = times[:, few_member]
        won_twice = (weight * (running[:, below] + running[:, not_above])).sum(axis=1)
        return _ratio(won_twice, 2 * weight.sum(axis=1) * running[:, -1])

    return area


def average_precision(positive: BoolArray, score: FloatArray, member: IntArray) -> Area:
    """Return the average precision as a function of drawn groups.

    The mean, over the positives, of the precision among all records that score at least as high; the
    step-wise area under the precision-recall curve. NaN where a draw has no positive.

    Args:
        positive: shape (record,).
        score: shape (record,), higher for what is held to be positive; finite.
        member: shape (record,), the number of each record's group.
    """
    if not positive.any():
        return _nothing
    order = np.argsort(-score, kind="stable")
    falling, member = -score[order], member[order]
    hits = np.flatnonzero(positive[order])
    reached = np.searchsorted(falling, falling[hits], side="right") - 1  # last record of equal score
    reached_hit = np.searchsorted(falling[hits], falling[hits], side="right") - 1

    def area(times: IntArray) -> FloatArray:
        weight = times[:, member]
        seen = np.cumsum(weight, axis=1)
        hit_weight = weight[:, hits]
        found = np.cumsum(hit_weight, axis=1)
        precision = found[:, reached_hit] / np.maximum(seen[:, reached], 1)  # 0 seen: 0 found
        return _ratio((hit_weight * precision).sum(axis=1), found[:, -1])

    return area


def coverage(y_true: BoolArray, y_score: FloatArray) -> FloatArray:
    """Return how many of the best-scored classes hold all true ones of each record, shape (record,).

    Equal scores count as reached together; 0 where a record has no label.
    """
    lowest = np.where(y_true, y_score, np.inf).min(axis=1, keepdims=True)
    reached: FloatArray = (y_score >= lowest).sum(axis=1).astype(np.float64)
    return reached


def ranking_loss(y_true: BoolArray, y_score: FloatArray) -> FloatArray:
    """Return the share of (true, false) pairs in which the true class does not score higher.

    Returns:
        Shape (record,); 0 where a record has no such pair.
    """
    losses = [
        _ranking_loss(y_true[start : start + _AT_ONCE], y_score[start : start + _AT_ONCE])
        for start in range(0, len(y_true), _AT_ONCE)
    ]
    return np.concatenate(losses)


def _ranking_loss(y_true: BoolArray, y_score: FloatArray) -> FloatArray:
    order = np.lexsort((y_true, -y_score), axis=1)  # best first; of equal scores the false ones
    truth = np.take_along_axis(y_true, order, axis=1)
    false_above = np.cumsum(~truth, axis=1)
    wrong = (false_above * truth).sum(axis=1)
    pairs = truth.sum(axis=1) * (~truth).sum(axis=1)
    loss: FloatArray = wrong / np.maximum(pairs, 1)
    return loss


def _nothing(times: IntArray) -> FloatArray:
    return np.full(len(times), np.nan)


def _ratio(part: FloatArray | IntArray, whole: IntArray) -> FloatArray:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
