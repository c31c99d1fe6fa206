"""Scores of a yes/no question: how well they rank, and whether they mean what they say.

Ranking: area under the ROC curve, average precision. Meaning: Brier score, expected calibration error
and the reliability table behind it, whose bins are stated with the result. A temperature that makes
scores mean what they say is fitted on validation records only.

The calibration error has neither an interval nor a verdict (docs/decisions/0014). It adds up the sizes of
gaps, and chance opens a gap in every bin, so that a calibrated model of 200 records has one of 0.08; in
drawn records the gaps are wider still, and 95 % intervals held the truth never. Beside it stands what chance
alone gives. The Brier score tells two models apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit

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
    without_ends,
)
from eval.checks import check_lengths, check_scores
from eval.ranks import auc, average_precision

METRICS = ("auc", "average_precision", "brier", "calibration_error")
BINS = 10
Binning = Literal["equal_mass", "equal_width"]

BIASED = (
    "noise adds to it{}, and draws of the records add more; for the same reason its difference has no verdict"
)
"""Why a calibration error has no interval."""
_TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True)
class Bin:
    """One row of the reliability table: scores in [low, high), in the last bin [low, high]."""

    low: float
    high: float
    records: int
    mean_score: float
    """NaN where the bin is empty, as is the next."""
    positive_share: float


@dataclass(frozen=True)
class BinaryScores:
    """How scores of being positive fare. NaN where a class is in `missing`."""

    auc: Interval
    """Area under the ROC curve."""
    average_precision: Interval
    """To be read beside the share of positives, which is what a random score gets."""
    brier: Interval
    """Mean squared distance of score and outcome, 0 to 1, lower is better."""
    calibration_error: Interval
    """Mean over records of |mean score - positive share| of their bin; lower is better. Never with an interval."""
    bins: tuple[Bin, ...]
    binning: str
    """How the bins were made, in words."""
    missing: tuple[str, ...]
    """`positive` or `negative`, where there is no such record."""
    n_positive: int
    n_records: int
    n_groups: int
    method: str


def score_binary(
    y_true: BoolArray,
    y_score: FloatArray,
    groups: Sequence[str],
    *,
    bins: int = BINS,
    binning: Binning = "equal_mass",
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> BinaryScores:
    """Judge probabilities of being positive.

    Args:
        y_true: shape (record,), True for a positive.
        y_score: shape (record,), probability of being positive, 0 to 1.
        groups: the group of each record.
        bins: of the reliability table and the calibration error; fewer where scores are tied.
        binning: bins of equally many records, or of equal width. Their edges stay those of all
            records in every draw.
        draws: of the bootstrap; 0 gives no intervals.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, lengths differ, or a score is no probability.

    Source:
        Brier 1950; expected calibration error: Naeini et al. 2015 (equal width), Nixon et al. 2019
        (equal mass).
    """
    truth, score = _checked(y_true, y_score, groups)
    drawn_from = clusters(groups, _outcomes(truth), draws=draws, level=level, seed=seed)
    edges = _edges(score, bins, binning)
    present = {"positive": truth.any(), "negative": not truth.all()}
    found = dict(
        zip(METRICS, intervals(drawn_from, _statistic(truth, score, edges, drawn_from)), strict=True)
    )
    by_chance = error_by_chance(truth, score, edges, drawn_from)
    told = "" if np.isnan(by_chance) else f": about {by_chance:.3f} for a calibrated model of as many records"
    found["calibration_error"] = without_ends(found["calibration_error"].value, BIASED.format(told))
    return BinaryScores(
        **found,
        bins=_table(truth, score, edges),
        binning=f"{len(edges) - 1} bins of {'equal width' if binning == 'equal_width' else 'equal mass'}"
        + (f" ({bins} asked for; scores are tied)" if len(edges) - 1 != bins else ""),
        missing=tuple(name for name, there in present.items() if not there),
        n_positive=int(truth.sum()),
        n_records=len(truth),
        n_groups=drawn_from.count,
        method=drawn_from.method,
    )


def binary_differences(
    y_true: BoolArray,
    before: FloatArray,
    after: FloatArray,
    groups: Sequence[str],
    *,
    bins: int = BINS,
    binning: Binning = "equal_mass",
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of METRICS, over the same draws of groups.

    Args:
        y_true: shape (record,).
        before: shape (record,), probabilities before tuning.
        after: shape (record,), probabilities of the same records after tuning.
        groups: as in `score_binary`.
        bins: as in `score_binary`; each side has edges of its own.
        binning: as in `score_binary`.
        draws: as in `score_binary`.
        level: as in `score_binary`.
        seed: as in `score_binary`.

    Raises:
        ValueError: as in `score_binary`.
    """
    truth, first = _checked(y_true, before, groups)
    _, second = _checked(y_true, after, groups)
    drawn_from = clusters(groups, _outcomes(truth), draws=draws, level=level, seed=seed)
    of_before, of_after = (
        _statistic(truth, score, _edges(score, bins, binning), drawn_from) for score in (first, second)
    )
    found = dict(zip(METRICS, differences(drawn_from, of_before, of_after), strict=True))
    found["calibration_error"] = without_ends(found["calibration_error"].value, BIASED.format(""))
    return found


def error_by_chance(truth: BoolArray, score: FloatArray, edges: FloatArray, drawn_from: Clusters) -> float:
    """Return the calibration error that chance alone gives a calibrated model on as many records.

    A bin's gap is then near normal about 0, and the mean of its size is sqrt(2 / pi) of its standard error, which is
    that of the groups' gaps about the bin's own. NaN where all records of a bin are of one group.

    Args:
        truth: shape (record,).
        score: shape (record,), probabilities.
        edges: of the bins.
        drawn_from: the groups of the records.
    """
    bins = len(edges) - 1
    place = drawn_from.member * bins + _bin_of(score, edges)  # of the record's group and bin
    gaps, records = (
        np.bincount(place, weights, drawn_from.count * bins).reshape(-1, bins)
        for weights in (score - truth, np.ones(len(score)))
    )
    mean = gaps.sum(axis=0) / np.maximum(records.sum(axis=0), 1)
    groups = (records > 0).sum(axis=0)
    if (groups == 1).any():
        return float("nan")
    variance = ((gaps - records * mean) ** 2).sum(axis=0) * groups / np.maximum(groups - 1, 1)
    return float(np.sqrt(2 * variance / np.pi).sum() / len(score))


@dataclass(frozen=True)
class Temperature:
    """Scores are softmax(logits / value); above 1 it makes them less sure."""

    value: float
    nll_before: float
    """Nats a record, at temperature 1."""
    nll_after: float
    n_records: int
    at_limit: bool
    """The best value is beyond what was tried (0.01 to 100): the logits separate, or say nothing."""

    def applied(self, logits: FloatArray) -> FloatArray:
        """Return calibrated probabilities of logits of shape (record, class)."""
        probabilities: FloatArray = np.exp(log_softmax(logits / self.value, axis=1))
        return probabilities


def fit_temperature(logits: FloatArray, y_true: IntArray, *, split: str) -> Temperature:
    """Fit one temperature by the likelihood of validation records.

    Args:
        logits: shape (record, class), natural logarithms up to a constant a record.
        y_true: shape (record,), the number of the right class.
        split: where the records are from; only `validation` will do, for a temperature fitted on the
            records it is judged on is no evidence.

    Raises:
        ValueError: the split is another, there are no records, lengths differ, a logit is no number,
            or a class has no column.

    Source:
        Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    if split != "validation":
        raise ValueError(f"a temperature is fitted on validation records, not on {split!r}")
    count = check_lengths(logits=logits, labels=y_true)
    check_scores(logits, probabilities=False)
    if y_true.min() < 0 or y_true.max() >= logits.shape[1]:
        raise ValueError(f"labels {y_true.min()} to {y_true.max()} with {logits.shape[1]} columns of logits")

    def nll(log_value: float) -> float:
        likelihood = log_softmax(logits * np.exp(-log_value), axis=1)
        return -float(likelihood[np.arange(count), y_true].mean())

    bounds = [float(np.log(limit)) for limit in _TEMPERATURES]
    inside = float(minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)
    best = min([*bounds, inside], key=nll)  # a limit wins where nothing inside is better
    return Temperature(float(np.exp(best)), nll(0.0), nll(best), count, at_limit=best in bounds)


def two_logits(y_score: FloatArray) -> FloatArray:
    """Return logits of (negative, positive), shape (record, 2), of probabilities of being positive.

    Probabilities of 0 and 1 are taken for the nearest number that has a logarithm.
    """
    inside = np.clip(y_score, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).eps)
    return np.column_stack([np.zeros(len(inside)), logit(inside)])


def _checked(y_true: BoolArray, y_score: FloatArray, groups: Sequence[str]) -> tuple[BoolArray, FloatArray]:
    check_lengths(labels=y_true, scores=y_score, groups=groups)
    truth, score = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    if truth.dtype != np.bool_:
        raise ValueError(f"expected labels of True and False, got {truth.dtype}")
    check_scores(score, probabilities=True)
    return truth, score


def _outcomes(truth: BoolArray) -> BoolArray:
    return np.column_stack([truth, ~truth])


def _statistic(truth: BoolArray, score: FloatArray, edges: FloatArray, drawn_from: Clusters) -> Statistic:
    """Return METRICS as one function of drawn groups."""
    area = auc(truth, score, drawn_from.member)
    precision = average_precision(truth, score, drawn_from.member)
    in_bin = _bin_of(score, edges)[:, None] == np.arange(len(edges) - 1)
    gap = in_bin * (score - truth)[:, None]
    sums = np.column_stack([np.ones(len(score)), (score - truth) ** 2, gap])
    rest = summed(sums, drawn_from, _brier_and_calibration)
    return lambda times: np.column_stack([area(times), precision(times), rest(times)])


def _brier_and_calibration(totals: FloatArray) -> FloatArray:
    """Return both, shape (draw, 2), of totals: records, squared distances, and each bin's score - outcome."""
    records = totals[:, 0]
    return np.column_stack([totals[:, 1] / records, np.abs(totals[:, 2:]).sum(axis=1) / records])


def _edges(score: FloatArray, bins: int, binning: Binning) -> FloatArray:
    """Return the edges of the bins, ascending; equal scores are never split over two bins."""
    if bins < 1 or binning not in ("equal_mass", "equal_width"):
        raise ValueError(f"expected 1 bin or more, equal_mass or equal_width, got {bins} and {binning!r}")
    if binning == "equal_width":
        return np.linspace(0, 1, bins + 1)
    inner = np.unique(np.quantile(score, np.arange(1, bins) / bins, method="higher"))
    edges: FloatArray = np.concatenate([[0.0], inner[inner > score.min()], [1.0]])
    return edges


def _bin_of(score: FloatArray, edges: FloatArray) -> IntArray:
    number: IntArray = np.searchsorted(edges[1:-1], score, side="right")
    return number


def _table(truth: BoolArray, score: FloatArray, edges: FloatArray) -> tuple[Bin, ...]:
    number, count = _bin_of(score, edges), len(edges) - 1
    records = np.bincount(number, minlength=count)
    sums = (np.bincount(number, values, count) for values in (score, truth.astype(np.float64)))
    means = [np.where(records > 0, total / np.maximum(records, 1), np.nan) for total in sums]
    return tuple(
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(records[place]),
            *(float(m[place]) for m in means),
        )
        for place in range(count)
    )
