"""Curves before they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.report.series import Curve, curve, smoothed, thinned

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def test_a_curve_leaves_out_what_is_no_number_and_keeps_the_last_of_a_step_done_twice() -> None:
    events = [
        {"step": 2, "loss": 5.0}, {"step": 1, "loss": 9.0}, {"step": 3, "loss": float("nan")},
        {"step": 4, "loss": None}, {"step": 5}, {"step": 2, "loss": 6.0},
    ]  # fmt: skip
    line = curve(events, "loss")
    assert (line.x.tolist(), line.y.tolist()) == ([1.0, 2.0], [9.0, 6.0])


def test_the_trend_of_three_points_worked_out_by_hand() -> None:
    """One point wide: weights 1, exp(-1/2), exp(-2), over the points that are there."""
    near, far = np.exp(-0.5), np.exp(-2.0)
    expected = [
        (0 + 3 * near + 6 * far) / (1 + near + far),
        (0 * near + 3 + 6 * near) / (1 + 2 * near),
        (0 * far + 3 * near + 6) / (1 + near + far),
    ]
    assert smoothed(np.array([0.0, 3.0, 6.0])) == pytest.approx(expected)


@given(NUMBERS)
def test_a_trend_stays_between_the_lowest_and_the_highest(values: list[float]) -> None:
    y = np.array(values)
    trend = smoothed(y)
    assert trend.shape == y.shape
    slack = 1e-9 * max(1.0, float(np.abs(y).max()))
    assert y.min() - slack <= trend.min()
    assert trend.max() <= y.max() + slack


@given(NUMBERS, st.integers(4, 50))
def test_thinning_keeps_the_ends_and_the_peaks(values: list[float], most: int) -> None:
    line = Curve(np.arange(len(values), dtype=np.float64), np.array(values))
    kept = thinned(line, most)
    assert len(kept) <= max(most, 4)
    assert (kept.x[0], kept.x[-1]) == (line.x[0], line.x[-1])
    assert (kept.y.min(), kept.y.max()) == (line.y.min(), line.y.max())
    assert (np.diff(kept.x) > 0).all()
