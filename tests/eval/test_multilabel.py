from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    average_precision_score,
    coverage_error,
    f1_score,
    hamming_loss,
    label_ranking_loss,
    roc_auc_score,
)

from eval.bootstrap import SAME, BoolArray, FloatArray, named_intervals
from eval.multilabel import (
    FROM_SCORES,
    METRICS,
    Bound,
    MultiLabel,
    label_differences,
    score_labels,
)
from eval.ranks import coverage, ranking_loss

BY_HAND_TRUE = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=bool)
BY_HAND_PRED = np.array([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=bool)
BY_HAND_SCORE = np.array([[0.9, 0.2], [0.3, 0.8], [0.6, 0.1], [0.4, 0.4]])


def judged(y_true: BoolArray, y_pred: BoolArray, **options: object) -> MultiLabel:
    options = {"draws": 0, **options}
    classes = [f"c{n}" for n in range(y_true.shape[1])]
    return score_labels(y_true, y_pred, classes, [str(n) for n in range(len(y_true))], **options)


def test_four_records_of_two_classes_by_hand() -> None:
    """c0: TP, FN, FP, TN. c1: TN, TP, TN, FN. The second record has two labels, so it weighs half."""
    found = judged(BY_HAND_TRUE, BY_HAND_PRED, y_score=BY_HAND_SCORE)
    assert found.hamming_loss.value == 3 / 8
    assert found.exact_match.value == 1 / 4
    assert found.f1.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.auc_hard.value == pytest.approx((1 / 2 + 3 / 4) / 2)
    # c0: TP 1, FN 1/2, FP 1 -> 5 / (5 + 1 + 4/2); c1: TP 1/2, FN 1 -> 2.5 / (2.5 + 4)
    assert found.f_beta.value == pytest.approx((5 / 8 + 2.5 / 6.5) / 2)
    # c0: 1 / (1 + 1 + 2/2); c1: 0.5 / (0.5 + 2)
    assert found.g_beta.value == pytest.approx((1 / 3 + 0.5 / 2.5) / 2)
    # c0: positives 0.9 and 0.3 against 0.6 and 0.4: 2 of 4; c1: 0.8 and 0.4 against 0.2 and 0.1: 4 of 4
    assert found.auc.value == pytest.approx((0.5 + 1) / 2)
    # all of two labels are reached after 1, 2, 0 and 2 classes (tied); lost pairs: 0, -, -, 1 of 1 (tied)
    assert found.coverage.value == 5 / 4
    assert found.ranking_loss.value == 1 / 4
    assert found.per_class[0].sensitivity.value == found.per_class[0].specificity.value == 0.5
    assert (found.per_class[1].name, found.per_class[1].positives) == ("c1", 2)
    assert found.per_class[1].auc_hard.value == 0.75
    assert found.per_class[1].auc.value == 1.0


def random_case(seed: int) -> tuple[BoolArray, BoolArray, FloatArray]:
    rng = np.random.default_rng(seed)
    shape = (300, int(rng.integers(2, 9)))
    truth = rng.random(shape) < rng.uniform(0.05, 0.6, shape[1])
    truth[0], truth[1] = True, False
    score = np.round(rng.random(shape) + 0.4 * truth, 2 if seed % 2 else 12)
    return truth, score > 0.7, score


@pytest.mark.parametrize("seed", range(20))
def test_all_numbers_are_those_of_scikit_learn(seed: int) -> None:
    truth, decided, score = random_case(seed)
    found = judged(truth, decided, y_score=score)
    expected = {
        "auc": roc_auc_score(truth, score),
        "average_precision": average_precision_score(truth, score),
        "coverage": coverage_error(truth, score),
        "ranking_loss": label_ranking_loss(truth, score),
        "auc_hard": roc_auc_score(truth, decided.astype(float)),
        "f1": f1_score(truth, decided, average="macro"),
        "hamming_loss": hamming_loss(truth, decided),
        "exact_match": (truth == decided).all(axis=1).mean(),
    }
    assert {name: getattr(found, name).value for name in expected} == pytest.approx(expected, abs=1e-12)
    per_class = [metric.auc.value for metric in found.per_class]
    assert per_class == pytest.approx(roc_auc_score(truth, score, average=None).tolist(), abs=1e-12)
    present = (found.auc_present.value, found.f1_present.value)
    assert present == pytest.approx((found.auc.value, found.f1.value), abs=1e-15)


def test_means_as_the_challenges_make_them_by_hand() -> None:
    """c0 and c3: TP, FN each. c1: no positive, one FP. c2: neither, so that it is left out.

    F1: 2 / 3, 0 and 2 / 3. The first record has two labels and weighs half: with TP 1/2 and FN 1, F-beta of c0 and c3
    is 2.5 / (2.5 + 4), G-beta 0.5 / (0.5 + 2).
    """
    truth = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=bool)
    said = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    found = judged(truth, said)
    assert found.f1_cinc.value == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    assert found.f1_present.value == pytest.approx(2 / 3)
    assert found.f_beta_cinc.value == pytest.approx((2.5 / 6.5 + 0 + 2.5 / 6.5) / 3)
    assert found.g_beta_cinc.value == pytest.approx((0.2 + 0 + 0.2) / 3)
    assert math.isnan(found.f1.value)
    silent = judged(np.zeros((2, 2), dtype=bool), np.zeros((2, 2), dtype=bool))
    assert math.isnan(silent.f1_cinc.value)


@pytest.mark.parametrize("seed", range(3))
def test_where_no_class_is_missing_the_means_are_the_same(seed: int) -> None:
    truth, decided, _ = random_case(seed)
    found = judged(truth, decided)
    pairs = [(found.f1, found.f1_cinc), (found.f_beta, found.f_beta_cinc), (found.g_beta, found.g_beta_cinc)]
    assert [one.value for one, _ in pairs] == pytest.approx([other.value for _, other in pairs], abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_f_beta_and_g_beta_are_those_of_a_loop_over_the_definition(seed: int) -> None:
    truth, decided, _ = random_case(seed)
    f_beta, g_beta = [], []
    for label in range(truth.shape[1]):
        right = false = missed = 0.0
        for of_record, said in zip(truth, decided, strict=True):
            weight = 1 / max(of_record.sum(), 1)
            right += weight * (of_record[label] and said[label])
            false += weight * (not of_record[label] and said[label])
            missed += weight * (of_record[label] and not said[label])
        f_beta.append(5 * right / (5 * right + false + 4 * missed))
        g_beta.append(right / (right + false + 2 * missed))
    found = judged(truth, decided)
    assert found.f_beta.value == pytest.approx(np.mean(f_beta), abs=1e-12)
    assert found.g_beta.value == pytest.approx(np.mean(g_beta), abs=1e-12)


def test_decisions_alone_have_no_areas() -> None:
    found = judged(BY_HAND_TRUE, BY_HAND_PRED, draws=1000)
    assert all(math.isnan(getattr(found, name).value) for name in FROM_SCORES)
    assert not math.isnan(found.auc_hard.low)


def test_a_missing_class_is_named_and_no_mean_hides_it() -> None:
    """c2 has no positive, c3 no negative."""
    ends = np.array([[False, True]] * 4)
    truth = np.hstack([BY_HAND_TRUE, ends])
    found = judged(truth, np.hstack([BY_HAND_PRED, ends]), y_score=np.hstack([BY_HAND_SCORE] * 2), draws=1000)
    whole = judged(BY_HAND_TRUE, BY_HAND_PRED, y_score=BY_HAND_SCORE)
    assert found.missing == ("c2", "c3")
    for name in ("auc", "auc_hard", "f1", "f_beta", "g_beta", "average_precision"):
        assert math.isnan(getattr(found, name).value), name
    assert found.auc_present.value == whole.auc.value
    assert found.auc_hard_present.value == whole.auc_hard.value
    assert math.isnan(found.per_class[2].auc.value)
    assert math.isnan(found.per_class[3].auc_hard.value)
    assert found.per_class[3].f1.value == 1
    assert found.bound is not None
    assert found.bound.hamming_loss == 3 / 8
    assert found.hamming_loss.value == 3 / 16


def test_no_class_with_both_outcomes_has_no_bound() -> None:
    assert judged(np.zeros((3, 2), dtype=bool), np.zeros((3, 2), dtype=bool)).bound is None


def test_a_published_row_that_breaks_the_bound_is_found_out() -> None:
    """System D: AUC 0.98 with a Hamming loss of 0.11; decisions of that AUC allow 0.04."""
    published = Bound(hamming_loss=0.11, auc_hard=0.98)
    assert published.limit == pytest.approx(0.04)
    assert not published.holds
    assert Bound(hamming_loss=0.11, auc_hard=0.824).holds  # PULSE on PTB-XL Super


@given(
    arrays(bool, st.tuples(st.integers(2, 12), st.integers(1, 4))).flatmap(
        lambda truth: st.tuples(st.just(truth), arrays(bool, truth.shape))
    )
)
def test_our_own_decisions_keep_the_bound(case: tuple[BoolArray, BoolArray]) -> None:
    bound = judged(*case).bound
    assert bound is None or bound.holds


def test_intervals_hold_their_values_where_classes_are_rare() -> None:
    """One label on a single record of 400, one on two."""
    truth, decided, score = (part.copy() for part in random_case(6))
    truth[:, 0], truth[:, 1] = False, False
    truth[5, 0] = truth[7, 1] = truth[9, 1] = True
    found = judged(truth, decided, y_score=score, draws=1000)
    for name, interval in named_intervals(found).items():
        assert interval.low <= interval.value <= interval.high, name
    assert "drawn among themselves" in found.method


def test_differences_are_of_the_same_draws() -> None:
    truth, decided, score = random_case(2)
    groups = [str(n // 2) for n in range(300)]
    classes = [f"c{n}" for n in range(truth.shape[1])]
    found = label_differences(truth, (decided, score), (truth, score), classes, groups, draws=1000)
    assert tuple(found) == METRICS
    assert (found["auc"].value, found["auc"].reason) == (0, SAME)
    assert found["hamming_loss"].value == pytest.approx(-(truth != decided).mean())
    assert found["hamming_loss"].high < 0


def test_records_are_ranked_in_pieces_as_in_one() -> None:
    rng = np.random.default_rng(0)
    truth, score = rng.random((20_000, 5)) < 0.3, rng.integers(0, 4, (20_000, 5)).astype(float)
    assert ranking_loss(truth, score).mean() == pytest.approx(label_ranking_loss(truth, score), abs=1e-12)
    assert coverage(truth, score).mean() == pytest.approx(coverage_error(truth, score), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_pred": BY_HAND_PRED[:3]}, "4 labels, 3 decisions, 4 groups"),
        (
            {"y_pred": BY_HAND_PRED[:, :1]},
            r"decisions of shape \(4, 1\), expected \(record, class\) = \(4, 2\)",
        ),
        ({"y_pred": BY_HAND_PRED.astype(int)}, "expected decisions of True and False, got int64"),
        ({"y_score": BY_HAND_SCORE[:3]}, r"scores of shape \(3, 2\)"),
        (
            {"y_score": np.where(BY_HAND_TRUE, np.nan, 0.5)},
            "4 of 8 scores are NaN, the first at record 0, class 0",
        ),
        ({"groups": ["g"]}, "1 groups"),
        ({"classes": ["a", "a"]}, "stated once each"),
        ({"score_classes": ["b", "a"]}, "the same names in another order"),
        ({"score_classes": ["a", "c"]}, "missing: 'b'; new: 'c'"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, object], message: str) -> None:
    given_ = {"y_true": BY_HAND_TRUE, "y_pred": BY_HAND_PRED, "classes": ["a", "b"], "groups": list("wxyz")}
    with pytest.raises(ValueError, match=message):
        score_labels(**{**given_, **change})


def test_no_records_are_refused() -> None:
    nothing = np.zeros((0, 2), dtype=bool)
    with pytest.raises(ValueError, match="no records"):
        score_labels(nothing, nothing, ["a", "b"], [])
