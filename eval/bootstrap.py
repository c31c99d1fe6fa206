"""Intervals by bootstrap over groups of records that belong together.

Records about one disease, or of one patient, are alike; drawing them one by one would pretend to
more evidence than there is. So whole groups are drawn with replacement (the cluster bootstrap,
Davison and Hinkley 1997, section 3.8), and the interval is between percentiles of the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
_AT_ONCE = 256
"""Draws computed together, which bounds the memory to this many times the number of groups."""


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval; the ends are NaN where there is one group only."""

    value: float
    low: float
    high: float


def clustered_intervals(
    sums: FloatArray,
    groups: Sequence[str],
    statistic: Callable[[FloatArray], FloatArray],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """Return each statistic of summed columns with its percentile interval over drawn groups.

    Args:
        sums: shape (record, column): what each record adds to each column.
        groups: the group of each record, length record.
        statistic: takes column totals, shape (draw, column), returns shape (draw, statistic).
        draws: how often all groups are drawn anew.
        level: probability that the interval is to hold, in (0, 1).
        seed: of a generator of its own.

    Raises:
        ValueError: no records, or as many groups are not given as records.

    >>> mean = lambda totals: totals[:, :1] / totals[:, 1:]
    >>> clustered_intervals(np.array([[2.0, 1.0], [2.0, 1.0]]), ["a", "b"], mean)
    (Interval(value=2.0, low=2.0, high=2.0),)
    """
    if len(sums) == 0 or len(sums) != len(groups):
        raise ValueError(f"{len(sums)} records with {len(groups)} groups")
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    per_group = np.zeros((len(names), sums.shape[1]))
    np.add.at(per_group, member, sums)
    values = statistic(sums.sum(axis=0, keepdims=True))[0]
    if len(names) == 1:
        return tuple(Interval(float(value), float("nan"), float("nan")) for value in values)
    drawn = _drawn(per_group, statistic, draws, np.random.default_rng(seed))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return tuple(Interval(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True))


def _drawn(
    per_group: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    draws: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Return the statistic of every draw, shape (draw, statistic)."""
    count = len(per_group)
    parts = []
    for start in range(0, draws, _AT_ONCE):
        size = min(_AT_ONCE, draws - start)
        times = generator.multinomial(count, np.full(count, 1 / count), size=size)
        parts.append(statistic(times.astype(np.float64) @ per_group))
    return np.concatenate(parts)
