from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.bootstrap import ONE_GROUP, SAME, FloatArray, clustered_intervals, clusters


def mean(totals: FloatArray) -> FloatArray:
    """Column 0 over column 1."""
    return totals[:, :1] / totals[:, 1:2]


def pairs(values: list[float]) -> FloatArray:
    return np.array([[value, 1.0] for value in values])


def test_the_value_is_that_of_all_records() -> None:
    (interval,) = clustered_intervals(pairs([1.0, 2.0, 6.0]), ["a", "b", "c"], mean)
    assert interval.value == 3.0
    assert interval.low < 3.0 < interval.high


def test_two_groups_have_an_exact_distribution() -> None:
    """Two groups drawn twice: (a, a) 1/4, a and b 1/2, (b, b) 1/4; the 95 % ends are the extremes.

    At a level of 0.2 the t of one degree of freedom is tan(18 degrees) = 0.325, times sqrt(2) 0.459: the ends are at
    32 and 68 % of the draws, in the half that is a and b.
    """
    (interval,) = clustered_intervals(pairs([0.0, 10.0]), ["a", "b"], mean, draws=4000)
    assert (interval.low, interval.high) == (0.0, 10.0)
    (half,) = clustered_intervals(pairs([0.0, 10.0]), ["a", "b"], mean, draws=4000, level=0.2)
    assert (half.low, half.high) == (5.0, 5.0)


def test_the_spread_is_that_of_the_mean() -> None:
    """400 records of variance 1, each its own group: the standard error of the mean is 1 / 20."""
    values = np.random.default_rng(3).standard_normal(400)
    values = (values - values.mean()) / values.std()
    (interval,) = clustered_intervals(pairs(list(values)), [str(n) for n in range(400)], mean, draws=4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 20, rel=0.06)


def test_records_that_are_alike_within_groups_widen_the_interval() -> None:
    """20 groups of 10 equal records hold the evidence of 20 records, not of 200: sqrt(10) wider."""
    values = [float(value) for value in np.random.default_rng(5).standard_normal(20) for _ in range(10)]
    (alone,) = clustered_intervals(pairs(values), [str(n) for n in range(200)], mean)
    (grouped,) = clustered_intervals(pairs(values), [str(n // 10) for n in range(200)], mean)
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.12)


def test_few_groups_have_the_tails_of_students_t() -> None:
    """Of 5 groups t is 2.7764, times sqrt(5 / 4) 3.1041: 0.0955 % of the draws lie beyond each end."""
    names = ["a", "b", "c", "d", "e"]
    assert clusters(names).tail == pytest.approx(0.000955, abs=1e-6)
    assert clusters(names * 7).tail == clusters(names).tail
    assert clusters([str(n) for n in range(100_000)]).tail == pytest.approx(0.025, abs=1e-5)


def test_groups_of_unequal_size_count_as_fewer() -> None:
    """Sizes 4, 1, 1, 1, 1: Kish's number is 64 / 20 = 3.2, that of the squares 400 / 260 = 1.538; sqrt(4.923) = 2.219."""
    drawn = clusters(["a"] * 4 + ["b", "c", "d", "e"])
    assert drawn.effective == pytest.approx(2.2188, abs=1e-4)
    assert "5 whole groups of 8 records, which count as 2.2 of equal size" in drawn.method
    assert drawn.tail < clusters(["a", "b", "c", "d", "e"]).tail
    tokens = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert clusters(["a"] * 4 + ["b", "c", "d", "e"], sizes=tokens).effective == drawn.effective
    assert clusters(["a", "b"], sizes=np.array([3.0, 3.0])).effective == 2


def test_one_group_has_no_interval() -> None:
    (interval,) = clustered_intervals(pairs([1.0, 3.0]), ["a", "a"], mean)
    assert interval.value == 2.0
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.reason == ONE_GROUP


def test_the_seed_decides() -> None:
    records, groups = pairs([1.0, 2.0, 4.0, 9.0]), ["a", "b", "c", "d"]
    first = clustered_intervals(records, groups, mean, draws=1000, seed=1)
    assert first == clustered_intervals(records, groups, mean, draws=1000, seed=1)


@pytest.mark.parametrize("groups", [[], ["a"]])
def test_groups_must_be_given_for_each_record(groups: list[str]) -> None:
    with pytest.raises(ValueError, match="2 records with"):
        clustered_intervals(pairs([1.0, 2.0]), groups, mean)


def test_no_records_are_refused() -> None:
    with pytest.raises(ValueError, match="0 records"):
        clustered_intervals(np.empty((0, 2)), [], mean)


@given(
    value=st.integers(-100, 100),
    groups=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30).filter(lambda g: len(set(g)) > 1),
)
def test_equal_records_tell_no_interval(value: int, groups: list[str]) -> None:
    """Every draw gives the same number, which says nothing of how sure it is."""
    (interval,) = clustered_intervals(pairs([float(value)] * len(groups)), groups, mean, draws=200)
    assert interval.value == value
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.reason == SAME


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(-5, 5)), min_size=2, max_size=30).filter(
        lambda rows: len({group for group, _ in rows}) > 1
    )
)
def test_the_order_of_the_records_does_not_matter(rows: list[tuple[str, float]]) -> None:
    def interval(order: list[tuple[str, float]]) -> list[float]:
        groups, values = [group for group, _ in order], [value for _, value in order]
        (found,) = clustered_intervals(pairs(values), groups, mean, draws=200)
        return [found.value, found.low, found.high]

    assert interval(rows) == pytest.approx(interval(rows[::-1]), abs=1e-9, nan_ok=True)
