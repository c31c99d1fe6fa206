"""A model beside what is simpler, on the same records: a floor, always the same label, a coin.

The verdict is that of the interval of the paired difference, model minus the other, and never that of two
values: "worse than" where all of it is below 0, "not told apart from" where it holds 0.
"""

from __future__ import annotations

import math
from typing import Literal

from eval.bootstrap import Interval

Position = Literal["below", "within", "above", "unknown"]
WORDS: dict[Position, str] = {
    "below": "worse than",
    "within": "not told apart from",
    "above": "better than",
    "unknown": "without an interval beside",
}


def position(difference: Interval, of: float = 0.0) -> Position:
    """Say where an interval lies; without ends it is known only of the value itself.

    >>> position(Interval(-0.1, -0.2, -0.05)), position(Interval(0.1, -0.1, 0.3)), position(Interval(0.9, 0.8, 1), 0.5)
    ('below', 'within', 'above')
    """
    if math.isnan(difference.low) or math.isnan(difference.high):
        return "within" if difference.value == of else "unknown"
    if difference.high < of:
        return "below"
    return "above" if difference.low > of else "within"


def in_percent(value: float, reached: float, difference: Interval, narrow: str | None = None) -> str:
    """Return two shares and their difference in words.

    >>> in_percent(0.475, 0.55, Interval(-0.075, -0.22, 0.07))
    '47.5 % against 55.0 %, difference -7.5 points (-22.0 to +7.0)'
    """
    points = Interval(100 * difference.value, 100 * difference.low, 100 * difference.high, difference.reason)
    values = f"{100 * value:.1f} % against {100 * reached:.1f} %"
    return f"{values}, difference {points.value:+.1f} points ({_ends(points, 1, narrow)})"


def plainly(value: float, reached: float, difference: Interval, narrow: str | None = None) -> str:
    """Return two values and their difference in words.

    >>> plainly(0.2, 0.3, Interval(-0.1, -0.15, -0.05), "too narrow, for there are only 8 groups")
    '0.2000 against 0.3000, difference -0.1000 (-0.1500 to -0.0500, too narrow, for there are only 8 groups)'
    """
    ends = _ends(difference, 4, narrow)
    return f"{value:.4f} against {reached:.4f}, difference {difference.value:+.4f} ({ends})"


def _ends(difference: Interval, places: int, narrow: str | None) -> str:
    if math.isnan(difference.low) or math.isnan(difference.high):
        return f"no interval: {difference.reason}"
    ends = f"{difference.low:+.{places}f} to {difference.high:+.{places}f}"
    return f"{ends}, {narrow}" if narrow else ends
