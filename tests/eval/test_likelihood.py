from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from eval.bootstrap import SAME, FloatArray, clusters, named_intervals
from eval.likelihood import (
    METRICS,
    BinaryScores,
    binary_differences,
    error_by_chance,
    fit_temperature,
    score_binary,
    two_logits,
)


def judged(y_true: list[bool], y_score: list[float], **options: object) -> BinaryScores:
    options = {"draws": 0, **options}
    groups = [str(n) for n in range(len(y_true))]
    return score_binary(np.array(y_true, dtype=bool), np.array(y_score), groups, **options)


def test_four_scores_by_hand() -> None:
    """Two bins of equal mass: (0.1 n, 0.3 y) is 0.2 against 0.5, (0.6 n, 0.9 y) is 0.75 against 0.5."""
    found = judged([False, True, False, True], [0.1, 0.3, 0.6, 0.9], bins=2)
    assert found.auc.value == 0.75
    assert found.average_precision.value == pytest.approx((1 + 2 / 3) / 2)
    assert found.brier.value == pytest.approx((0.01 + 0.49 + 0.36 + 0.01) / 4)
    assert found.calibration_error.value == pytest.approx(0.5 * 0.3 + 0.5 * 0.25)
    assert found.binning == "2 bins of equal mass"
    assert [(b.low, b.high, b.records, b.positive_share) for b in found.bins] == [
        (0.0, 0.6, 2, 0.5),
        (0.6, 1.0, 2, 0.5),
    ]
    assert [b.mean_score for b in found.bins] == pytest.approx([0.2, 0.75])
    assert (found.n_positive, found.n_records, found.missing) == (2, 4, ())


def random_scores(seed: int) -> tuple[np.ndarray, FloatArray]:
    rng = np.random.default_rng(seed)
    score = rng.random(500)
    return rng.random(500) < score**2, score


@pytest.mark.parametrize("seed", range(10))
def test_all_numbers_are_those_of_scikit_learn(seed: int) -> None:
    truth, score = random_scores(seed)
    found = judged(truth.tolist(), score.tolist(), binning="equal_width")
    assert found.auc.value == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert found.brier.value == pytest.approx(brier_score_loss(truth, score), abs=1e-12)
    share, mean = calibration_curve(truth, score, n_bins=10)
    assert [b.positive_share for b in found.bins] == pytest.approx(list(share), abs=1e-12)
    assert [b.mean_score for b in found.bins] == pytest.approx(list(mean), abs=1e-12)
    gap = sum(b.records * abs(b.mean_score - b.positive_share) for b in found.bins) / 500
    assert found.calibration_error.value == pytest.approx(gap, abs=1e-12)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["equal_mass", "equal_width"]),
)
def test_every_record_is_in_one_bin_whatever_the_ties(
    rows: list[tuple[bool, int]], bins: int, binning: str
) -> None:
    found = judged([t for t, _ in rows], [s / 20 for _, s in rows], bins=bins, binning=binning)
    assert sum(b.records for b in found.bins) == len(rows)
    assert all(b.low < b.high or b.low == 1 for b in found.bins)
    for b in found.bins:
        assert b.records == 0 or b.low - 1e-12 <= b.mean_score <= b.high + 1e-12
        assert math.isnan(b.mean_score) == (b.records == 0)
    if binning == "equal_mass":
        assert all(b.records for b in found.bins)
    assert 0 <= found.calibration_error.value <= 1


def test_equal_mass_is_equally_many() -> None:
    truth, score = random_scores(3)
    assert {b.records for b in judged(truth.tolist(), score.tolist()).bins} == {50}


def test_tied_scores_share_a_bin_and_the_result_says_so() -> None:
    found = judged([True, False, True], [0.5, 0.5, 0.5])
    assert found.binning == "1 bins of equal mass (10 asked for; scores are tied)"
    assert found.calibration_error.value == pytest.approx(1 / 6)
    assert found.auc.value == 0.5


@pytest.mark.parametrize(("label", "missing"), [(True, "negative"), (False, "positive")])
def test_a_class_that_is_not_there_is_named(label: bool, missing: str) -> None:
    found = judged([label] * 3, [0.1, 0.2, 0.3], draws=1000)
    assert found.missing == (missing,)
    assert math.isnan(found.auc.value)
    assert math.isnan(found.auc.low)
    assert not math.isnan(found.brier.low)


def test_one_positive_in_a_thousand_keeps_its_interval() -> None:
    score = np.random.default_rng(1).random(1000)
    found = judged([n == 0 for n in range(1000)], score.tolist(), draws=1000)
    for name, interval in named_intervals(found).items():
        assert interval.low <= interval.value <= interval.high or name == "calibration_error"


def test_differences_are_paired() -> None:
    """A monotonous change moves no rank: no difference in AUC in any draw, but in the Brier score."""
    truth, score = random_scores(5)
    found = binary_differences(truth, score, score**2, [str(n) for n in range(500)], draws=1000)
    assert tuple(found) == METRICS
    assert (found["auc"].value, found["auc"].reason) == (0, SAME)
    assert found["brier"].high < 0
    assert found["calibration_error"].value < 0


def test_a_calibration_error_has_no_interval_and_says_what_chance_gives() -> None:
    """Four records in one bin, with gaps of 0.2, 0.2, 0.2 and -0.8: their mean is -0.05, the squares about it add to 0.75.

    Times 4 / 3 that is 1. So the standard error of their sum is 1, and chance gives sqrt(2 / pi) / 4 = 0.199.
    """
    found = judged([False, False, False, True], [0.2] * 4, draws=100)
    assert found.calibration_error.value == pytest.approx(0.05)
    assert math.isnan(found.calibration_error.low)
    assert math.isnan(found.calibration_error.high)
    assert "about 0.199 for a calibrated model of as many records" in found.calibration_error.reason


def test_a_bin_of_one_group_does_not_tell_what_chance_gives() -> None:
    found = score_binary(np.array([True, False]), np.array([0.4, 0.4]), ["a", "a"], draws=100)
    assert "about" not in found.calibration_error.reason
    assert found.calibration_error.reason.startswith("noise adds to it, and")


@pytest.mark.parametrize(("records", "groups"), [(200, 200), (1000, 1000), (1000, 200)])
def test_what_chance_gives_is_what_calibrated_models_have(records: int, groups: int) -> None:
    """200 sets each of scores that are the outcomes' own chances; those of a group have much in common."""
    rng, found, told = np.random.default_rng(records + groups), [], []
    member = np.arange(records) % groups
    drawn_from = clusters([f"{number:04}" for number in member], draws=0)
    for _ in range(200):
        score = expit(1.3 * rng.standard_normal(records))
        shared = rng.standard_normal(groups)[member]
        truth = norm.cdf(np.sqrt(0.5) * (shared + rng.standard_normal(records))) < score
        edges = np.quantile(score, np.linspace(0, 1, 11))
        found.append(score_binary(truth, score, member.astype(str).tolist(), draws=0).calibration_error.value)
        told.append(error_by_chance(truth, score, edges, drawn_from))
    assert np.mean(told) == pytest.approx(np.mean(found), rel=0.05)


@pytest.mark.parametrize("spread", [1.0, 2.0])
@pytest.mark.parametrize("records", [200, 1000])
def test_two_calibration_errors_are_never_called_different(records: int, spread: float) -> None:
    """Of two models that are equally calibrated, or equally far from it, neither gets a verdict."""
    rng = np.random.default_rng(records)
    one, other = rng.standard_normal((2, records))
    truth = rng.random(records) < expit(one + other)
    scores = [expit(spread * logit) for logit in (one, other)]
    found = binary_differences(truth, *scores, [str(number) for number in range(records)], draws=200)
    assert not math.isnan(found["calibration_error"].value)
    assert math.isnan(found["calibration_error"].low)
    assert math.isnan(found["calibration_error"].high)
    assert found["brier"].low < found["brier"].high


@pytest.mark.parametrize(
    ("y_true", "y_score", "message"),
    [
        ([True], [0.1, 0.2], "1 labels, 2 scores"),
        ([], [], "no records"),
        ([True, False], [0.1, math.nan], "1 of 2 scores are NaN, the first at record 1"),
        ([True, False], [0.1, 1.1], "outside 0 to 1"),
    ],
)
def test_wrong_input_is_refused(y_true: list[bool], y_score: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judged(y_true, y_score)


def test_labels_must_be_true_or_false() -> None:
    with pytest.raises(ValueError, match="expected labels of True and False, got int64"):
        score_binary(np.array([1, 2]), np.array([0.1, 0.2]), ["a", "b"])


@pytest.mark.parametrize(("bins", "binning"), [(0, "equal_mass"), (5, "by_eye")])
def test_bins_must_make_sense(bins: int, binning: str) -> None:
    with pytest.raises(ValueError, match="expected 1 bin or more"):
        judged([True, False], [0.1, 0.2], bins=bins, binning=binning)


# Temperature


def test_a_temperature_that_was_applied_is_found_again() -> None:
    """Labels drawn from softmax(logits), shown as 3 * logits: temperature 3."""
    rng = np.random.default_rng(7)
    logits = rng.standard_normal((20_000, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    found = fit_temperature(3 * logits, truth, split="validation")
    assert found.value == pytest.approx(3, rel=0.03)
    assert found.nll_after < found.nll_before
    assert not found.at_limit
    calibrated = found.applied(3 * logits)
    assert found.nll_after == pytest.approx(log_loss(truth, calibrated), abs=1e-12)


def test_three_right_of_four_at_one_score_by_hand() -> None:
    """The best probability is 3 / 4, logit ln 3: shown as logit 2 ln 3, the temperature is 2."""
    logits = two_logits(np.full(4, 0.9))
    assert logits[0] == pytest.approx([0, np.log(9)])
    found = fit_temperature(logits, np.array([1, 1, 1, 0]), split="validation")
    assert found.value == pytest.approx(2, abs=1e-6)
    assert found.applied(logits)[:, 1] == pytest.approx(0.75, abs=1e-6)


def test_logits_that_separate_the_classes_have_no_best_temperature() -> None:
    found = fit_temperature(np.array([[0, 1.0], [1.0, 0]]), np.array([1, 0]), split="validation")
    assert found.at_limit
    assert found.value == pytest.approx(0.01)


def test_logits_that_say_nothing_have_no_best_temperature() -> None:
    assert fit_temperature(np.zeros((2, 2)), np.array([1, 0]), split="validation").at_limit


def test_sure_scores_have_logits() -> None:
    assert np.isfinite(two_logits(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize(
    ("logits", "labels", "split", "message"),
    [
        ([[0.0, 1.0]], [1], "test", "fitted on validation records, not on 'test'"),
        ([[0.0, 1.0]], [1, 0], "validation", "1 logits, 2 labels"),
        ([[0.0, math.nan]], [1], "validation", "1 of 2 scores are NaN"),
        ([[0.0, 1.0]], [2], "validation", "labels 2 to 2 with 2 columns"),
    ],
)
def test_what_no_temperature_is_fitted_to(
    logits: list[list[float]], labels: list[int], split: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(np.array(logits), np.array(labels), split=split)
