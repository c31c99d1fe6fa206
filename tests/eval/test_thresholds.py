"""Thresholds from validation records, and F-beta and G-beta of decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score

from eval.bootstrap import SAME
from eval.thresholds import (
    Threshold,
    beta_differences,
    beta_scores,
    chosen_by,
    decided,
    f_beta_curve,
    fit_thresholds,
)


def test_by_hand() -> None:
    """Scores .1 .4 .6 .9, positives at .4 and .9: at .4 TP 2, FP 1, so F2 = 10 / 11; at .9 TP 1, FN 1: 5 / 9."""
    truth, score = np.array([False, True, False, True]), np.array([0.1, 0.4, 0.6, 0.9])
    values, curve = f_beta_curve(truth, score, 2.0)
    assert values.tolist() == [0.1, 0.4, 0.6, 0.9]
    assert curve == pytest.approx([10 / 12, 10 / 11, 5 / 10, 5 / 9])
    (found,) = fit_thresholds(
        truth[:, None], score[:, None], ["AF"], split="validation"
    )  # midway of .1 and .4
    assert found == Threshold("AF", pytest.approx(0.25), pytest.approx(10 / 11), 2, False)


def test_a_method_says_where_a_threshold_lies() -> None:
    """Midway moves a headline F2 by hundredths on few validation records: it must be told beside the number."""
    from eval.judges import label_words

    task = {"thresholds": "validation", "beta": 2.0}
    assert label_words.method(task) == (
        "decided at or above a threshold: for each class the one with the highest F-beta on the validation records, "
        "midway to the next lower score, beta = 2"
    )
    assert "midway" not in label_words.method({**task, "thresholds": "half"})
    assert chosen_by(1.0) == (
        "the one with the highest F-beta on the validation records, midway to the next lower score, beta = 1"
    )


def test_one_positive_at_the_very_threshold_is_found() -> None:
    """Chosen with >= and applied with > this F2 is 0: the published defect."""
    truth, score = np.array([[True], [False]]), np.array([[0.7], [0.2]])
    found = fit_thresholds(truth, score, ["AF"], split="validation")
    assert decided(score, found).tolist() == [[True], [False]]
    assert found[0].f_beta == 1


def test_neighbouring_numbers_have_no_midway() -> None:
    low = 1.0
    high = np.nextafter(low, 2)
    (found,) = fit_thresholds(
        np.array([[True], [False]]), np.array([[high], [low]]), ["AF"], split="validation"
    )
    assert found.value == high


def test_a_class_without_a_positive_gets_the_fallback_and_is_marked() -> None:
    truth = np.array([[True, False], [False, False]])
    found = fit_thresholds(truth, np.array([[0.7, 0.1], [0.2, 0.3]]), ["AF", "LBBB"], split="validation")
    assert (found[1].value, found[1].fallback, found[1].positives) == (0.5, True, 0)
    assert not found[0].fallback


def test_test_records_choose_no_threshold() -> None:
    with pytest.raises(ValueError, match="chosen on validation records, not on 'test'"):
        fit_thresholds(np.array([[True]]), np.array([[0.5]]), ["AF"], split="test")


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=30),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_the_stored_threshold_gives_the_maximum_of_the_curve(
    rows: list[tuple[bool, int]], beta: float
) -> None:
    truth, score = np.array([row[0] for row in rows]), np.array([row[1] / 3 for row in rows])
    if not truth.any():
        return
    (found,) = fit_thresholds(truth[:, None], score[:, None], ["x"], split="validation", beta=beta)
    said = decided(score[:, None], [found])[:, 0]
    every = [fbeta_score(truth, score >= value, beta=beta, zero_division=0) for value in np.unique(score)]
    assert fbeta_score(truth, said, beta=beta, zero_division=0) == pytest.approx(max(every), abs=1e-12)
    assert found.f_beta == pytest.approx(max(every), abs=1e-12)


def test_f_beta_is_that_of_scikit_learn_and_g_beta_by_hand() -> None:
    draw = np.random.default_rng(5)
    truth, said = draw.random((50, 3)) < 0.4, draw.random((50, 3)) < 0.5
    found = beta_scores(truth, said, [str(row) for row in range(50)], draws=20)
    assert found.f_beta.value == pytest.approx(fbeta_score(truth, said, beta=2, average="macro"), abs=1e-12)
    hits, false, missed = (truth & said).sum(0), (~truth & said).sum(0), (truth & ~said).sum(0)
    assert found.g_beta.value == pytest.approx((hits / (hits + false + 2 * missed)).mean(), abs=1e-12)
    assert found.f_beta.low < found.f_beta.value < found.f_beta.high
    assert [one[0].value for one in found.per_class] == pytest.approx(
        fbeta_score(truth, said, beta=2, average=None)
    )


def test_without_a_positive_the_mean_does_not_exist() -> None:
    truth = np.array([[True, False], [True, False]])
    found = beta_scores(truth, truth, ["a", "b"], draws=0)
    assert np.isnan(found.f_beta.value)
    assert found.per_class[0][0].value == 1


def test_differences_are_paired() -> None:
    draw = np.random.default_rng(6)
    truth, said = draw.random((60, 2)) < 0.4, draw.random((60, 2)) < 0.5
    groups = [str(row // 2) for row in range(60)]
    same = beta_differences(truth, said, said, groups, draws=50)
    assert (same["f_beta"].value, same["f_beta"].reason) == (0, SAME)
    better = beta_differences(truth, said, truth, groups, draws=50)
    alone = beta_scores(truth, said, groups, draws=0)
    assert better["f_beta"].value == pytest.approx(1 - alone.f_beta.value)
    assert better["f_beta"].low > 0
