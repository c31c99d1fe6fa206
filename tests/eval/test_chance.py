from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.bootstrap import Interval
from eval.chance import against_chance, against_rate, holds


def test_ten_coins_by_hand() -> None:
    """8 or more heads of 10, or 2 or fewer: 2 * (45 + 10 + 1) / 1024."""
    found = against_chance(8, [2] * 10)
    assert found.p_value == pytest.approx(112 / 1024)
    assert found.within
    assert (found.expected, found.low, found.high) == (0.5, 0.2, 0.8)
    assert not against_chance(9, [2] * 10).within
    assert not against_chance(0, [2] * 10).within


def test_the_medical_subjects_of_mmlu() -> None:
    """1,089 questions of 4 answers: standard error 1.3 points, chance 22.4 to 27.6 %."""
    found = against_chance(270, [4] * 1089)
    assert found.standard_error == pytest.approx(0.0131, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.224, 0.276), abs=0.0006)
    assert found.within
    assert "not different from chance: 24.8%" in found.sentence()
    assert found.method == "exact binomial test"
    assert against_chance(330, [4] * 1089).sentence().startswith("different from chance")


def test_questions_of_different_sizes_are_summed() -> None:
    """50 of 2 and 50 of 4 answers: expected 37.5, variance 50 / 4 + 50 * 3 / 16 = 21.875."""
    found = against_chance(46, [2] * 50 + [4] * 50)
    assert found.expected == 0.375
    assert found.standard_error == pytest.approx(np.sqrt(21.875) / 100)
    assert found.high - found.expected == pytest.approx(1.959964 * found.standard_error)
    assert found.within
    assert found.method == "normal approximation"
    assert not against_chance(47, [2] * 50 + [4] * 50).within


def test_the_majority_class_is_a_rate_like_another() -> None:
    assert against_rate(520, 1000, 0.5).within
    assert not against_rate(540, 1000, 0.5).within


@given(st.integers(1, 200), st.data())
def test_the_range_and_the_test_agree(count: int, data: st.DataObject) -> None:
    """What the exact test calls different lies at or beyond an end of the range."""
    correct = data.draw(st.integers(0, count))
    found = against_chance(correct, [4] * count)
    assert found.within or found.observed <= found.low or found.observed >= found.high


@pytest.mark.parametrize(("correct", "options"), [(0, []), (3, [2, 2]), (-1, [2]), (1, [0])])
def test_impossible_counts_are_refused(correct: int, options: list[int]) -> None:
    with pytest.raises(ValueError, match="questions"):
        against_chance(correct, options)


@pytest.mark.parametrize(("correct", "count", "rate"), [(1, 0, 0.5), (2, 1, 0.5), (1, 2, 1.5)])
def test_impossible_rates_are_refused(correct: int, count: int, rate: float) -> None:
    with pytest.raises(ValueError, match="against a rate"):
        against_rate(correct, count, rate)


def test_an_interval_holds_a_value_or_cannot_say() -> None:
    assert holds(Interval(0.55, 0.48, 0.61), 0.5) is True
    assert holds(Interval(0.55, 0.51, 0.61), 0.5) is False
    assert holds(Interval(0.55, np.nan, np.nan), 0.5) is None
