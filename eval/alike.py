"""Intervals of shares where all records are alike, so that drawing them anew says nothing.

40 of 40 right is not "100 % to 100 %": a share of 0 or 1 has the Wilson interval, and one rule serves the
difference of two shares too. Where n groups are all alike, the share of groups that are otherwise is at
most the upper end r of the Wilson interval of 0 of n, and a group that is otherwise is off by no more than
the ends of the scale allow. So a share of 1 is at least 1 - r, a difference of 0 lies in -r to r, and one of
+1 is at least 1 - 2 r. Groups are counted and not records, for records of one group are no evidence of
their own; of groups of unequal size the effective number counts (`eval.bootstrap.effective_number`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from eval.bootstrap import LEVEL, NO_DRAWS, ONE_GROUP, SAME, Interval, effective_number

WILSON = "Wilson interval over the groups, which are all alike"


def share(interval: Interval, groups: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of a share of records, 0 to 1; see `_bounded`."""
    return _bounded(interval, groups, 0.0, level)


def change_of_share(interval: Interval, groups: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of a difference of two shares of the same records, -1 to 1; see `_bounded`."""
    return _bounded(interval, groups, -1.0, level)


def _bounded(interval: Interval, groups: Sequence[str], least: float, level: float) -> Interval:
    """Return the interval as it is, or where all draws gave the same number what that number leaves open.

    Args:
        interval: of the bootstrap.
        groups: the group of each record that counts; may repeat.
        least: the lowest value there can be; the highest is 1.
        level: probability that the interval is to hold.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22: for 0 of n the upper end is z^2 / (n + z^2).
    """
    if interval.reason != SAME:
        return interval
    square = float(norm.ppf(0.5 + level / 2)) ** 2
    count = effective_number(np.array(list(Counter(groups).values())))
    reach = square / (count + square)
    value = interval.value
    return Interval(value, value - reach * (value - least), value + reach * (1 - value), WILSON)


NEAR_ONE = 0.97
"""An area from which on its interval is called too narrow."""
AREA_NEAR_ONE = "an area near 1 was held in 0.87 to 0.90 of simulated sets in place of 0.95 (docs/trust.md), so take a verdict by it with care"


def used_in(found: Mapping[str, Interval]) -> str:
    """Say of which metrics the interval is this one, to be put behind the method; empty where of none.

    >>> used_in({"accuracy": Interval(1.0, 0.9, 1.0, WILSON), "auc": Interval(0.8, 0.7, 0.9)})
    '; Wilson interval over the groups, which are all alike: accuracy'
    """
    names = [name for name, interval in found.items() if interval.reason == WILSON]
    return f"; {WILSON}: {', '.join(names)}" if names else ""


def without_interval(found: Mapping[str, Interval]) -> list[str]:
    """Say which metrics have a value and no interval, and why; a reason that holds for all is left to the method.

    Areas near 1 have an interval, and it is said that it is too narrow.

    >>> without_interval({"rouge2": Interval(0.0, float("nan"), float("nan"), SAME), "auc": Interval(0.8, 0.7, 0.9)})
    ['no interval of rouge2: every draw gives the same number']
    >>> without_interval({"auc": Interval(0.99, 0.98, 0.995)})[0][:38]
    'the interval of auc is too narrow: an '
    """
    names: dict[str, list[str]] = {}
    for name, interval in found.items():
        if math.isnan(interval.low) and interval.reason not in ("", ONE_GROUP, NO_DRAWS):
            names.setdefault(interval.reason, []).append(name)
    near = [
        name
        for name, interval in found.items()
        if "auc" in name and interval.value >= NEAR_ONE and not math.isnan(interval.low)
    ]
    warning = [f"the interval of {', '.join(near)} is too narrow: {AREA_NEAR_ONE}"] if near else []
    return [f"no interval of {', '.join(of)}: {reason}" for reason, of in names.items()] + warning
