"""Intervals by bootstrap over groups of records that belong together.

Records about one disease, or of one patient, are alike; drawing them one by one would pretend to
more evidence than there is. So whole groups are drawn with replacement (the cluster bootstrap,
Davison and Hinkley 1997, section 3.8), and the interval is between percentiles of the draws.

A statistic is a function of how often each group is drawn, for many draws at once. What adds up over
records (accuracy, F1, perplexity) needs only the groups' sums; what does not (the area under a curve,
`eval.ranks`) gets the same numbers as weights of the records. Equal groups, classes and seed give
equal draws, so that a difference of two statistics is taken within each draw: it is paired.

A draw must not lose a class, for then its score does not exist. Drawing within the classes would
keep them, but where groups hold several classes it cannot, and it hides how much the share of a class
varies, which makes intervals of accuracy too narrow. So only what may be lost is protected: see
`clusters`.

A percentile interval of few groups is too narrow, for it takes the groups' own spread for that of all there
could be. So its tails are those of Student's t for n groups, times sqrt(n / (n - 1)) (Hesterberg 2015, section
4.3.2): with 8 groups the ends are at 0.6 and 99.4 % of the draws. Groups of unequal size count as fewer: see
`effective_number`. So do the groups that hold a class, but as 20 at the least, for not every metric hangs on it.

No interval makes up for what was not seen. Where there are few groups, or few that hold a class, it is still too
narrow: `Clusters.narrow` says so alone, `Clusters.method` among the rest, and each `Interval.reason`. What simulated
sets had, `benchmarks/coverage.py` prints, and docs/trust.md has as tables.

Where every draw gives the same number, the draws say nothing of how sure it is: 40 of 40 right is not
"100 % to 100 %". Then there are no ends, and `Interval.reason` says so; `eval.alike` gives them to shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from eval.report.format import counted

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Statistic = Callable[[IntArray], FloatArray]
"""Takes how often each group is drawn, shape (draw, group); returns shape (draw, statistic)."""

DRAWS = 2000
LEVEL = 0.95
_CELLS_AT_ONCE = 500_000
"""Draws times records that are computed together: they fit in a cache, which halves the time."""
_SCARCE = 1e-3
"""A class that a draw loses with at least this probability is drawn within its own groups."""
_GUARDED = 1e-9
"""A class that a draw loses with at least this probability is looked for in every draw."""
_FEW = 10
"""Groups below which the intervals are called too narrow."""
_FEW_EFFECTIVE = 5
"""The same of the number that groups of unequal size count as."""
_FEW_OF_CLASS = 20
"""The same of the groups that hold a class."""
_PART = 1 / 3
"""Groups of unequal size that hold a class may count as fewer than 20 where they count as this part of all."""
TOO_NARROW = "too narrow"
"""How a reason begins that is a warning of ends which are there."""
SAME = "every draw gives the same number"
ONE_GROUP = "all records are of one group"
NO_DRAWS = "no draws were made"
UNDEFINED = "some draws have no such number"
_SAME_WITHIN = 1e-12
"""Spread of the draws, relative to the value where that is above 1, that is rounding alone."""
_REDRAWS = 100
"""How often the draws that lost a class are drawn anew, before they stay as they are."""


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval; the ends are NaN where the draws tell none."""

    value: float
    low: float
    high: float
    reason: str = field(default="", compare=False, repr=False)
    """Why a value has no ends, or ends that are too narrow or not of the bootstrap; else empty."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The groups of the records, and how they are drawn; made by `clusters`."""

    count: int
    """Number of groups."""
    member: IntArray
    """Shape (record,): the number of each record's group."""
    strata: tuple[IntArray, ...]
    """Groups that are drawn among themselves, as many as there are."""
    guarded: BoolArray
    """Shape (group, outcome): which groups hold an outcome that a draw might lose."""
    effective: float
    """What the groups count as, for their sizes differ; see `effective_number`."""
    fewest: int
    """Groups that hold the rarest outcome, of those that occur."""
    fewest_effective: float
    """What the groups that hold an outcome count as, by its records; the least of all outcomes that occur."""
    draws: int
    level: float
    seed: int

    @property
    def method(self) -> str:
        """Say in words how the intervals are made."""
        if self.count == 1 or self.draws == 0:
            return f"no intervals: {counted(self.count, 'group')}, {self.draws} draws"
        return (
            f"{self.level:.0%} percentile interval, bootstrap over {self.count} whole groups of "
            f"{len(self.member)} records{self._counting}, {self.draws} draws, seed {self.seed}; "
            f"tails of Student's t; {self._protection}"
            f"{f'; {self.narrow}' if self.narrow else ''}"
        )

    @property
    def tail(self) -> float:
        """Return the share of the draws that lies beyond each end.

        >>> clusters([str(number) for number in range(8)]).tail  # t of 7: 2.365, times sqrt(8 / 7)
        0.0057...
        >>> clusters([str(number) for number in range(1000)]).tail  # 0.025 without end
        0.0248...
        """
        n = min(self.effective, max(self.fewest_effective, _FEW_OF_CLASS))
        reach = stdtrit(n - 1, 0.5 + self.level / 2) * np.sqrt(n / (n - 1))
        return float(ndtr(-reach))

    @property
    def narrow(self) -> str | None:
        """Say why the intervals are too narrow to be believed; None where nothing speaks against them."""
        if self.count == 1 or self.draws == 0:
            return None
        if self.count < _FEW or self.effective < _FEW_EFFECTIVE:
            return f"{TOO_NARROW}, for there are only {self.count} groups{self._counting}"
        if self.fewest < _FEW_OF_CLASS:
            return f"{TOO_NARROW} where a class counts that only {counted(self.fewest, 'group holds', 'groups hold')}"
        if self.fewest_effective < min(_FEW_OF_CLASS, _PART * self.effective):
            number = f"{self.fewest_effective:.1f}"
            return f"{TOO_NARROW} where a class counts whose groups count as only {number} of equal size"
        return None

    @property
    def _counting(self) -> str:
        """Say what groups of unequal size count as; nothing where that is what they are."""
        return (
            f", which count as {self.effective:.1f} of equal size"
            if self.count - self.effective > 0.5
            else ""
        )

    @property
    def _protection(self) -> str:
        if len(self.strata) > 1:
            return (
                f"groups with a class that few groups have are drawn among themselves "
                f"({len(self.strata)} strata), draws that still lose a class are drawn anew"
            )
        return "draws that lose a class are drawn anew" if self.guarded.any() else "no class can be lost"


def clusters(
    groups: Sequence[str],
    outcomes: BoolArray | None = None,
    *,
    sizes: FloatArray | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Clusters:
    """Return the groups of the records, ready to be drawn without losing an outcome.

    All groups are drawn from one pot, but for those with a scarce outcome, one that a draw would lose
    with a probability above 0.001 (that is, fewer than about 7 groups hold it, however many there
    are): each of those belongs to the stratum of its scarcest outcome, and a stratum keeps its size.
    A draw that loses an outcome nevertheless is drawn anew. An outcome that no record has is ignored.

    Args:
        groups: the group of each record.
        outcomes: shape (record, outcome), what each record is an example of: for two classes, being
            positive and being negative. None where every draw will do.
        sizes: what each record counts, such as its tokens where a mean is over tokens; None: all the same.
        draws: how often all groups are drawn; 0 gives values without intervals.
        level: probability that an interval is to hold, in (0, 1).
        seed: of a generator of its own.

    Raises:
        ValueError: there are no records, as many outcomes are not given as groups, the draws are
            negative, or the level is no probability.
    """
    records = len(groups) if outcomes is None else len(outcomes)
    if records == 0 or records != len(groups):
        raise ValueError(f"{records} records with {len(groups)} groups")
    if draws < 0 or not 0 < level < 1:
        raise ValueError(f"expected draws of 0 or more and a level in (0, 1), got {draws} and {level}")
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    columns = [] if outcomes is None else list(outcomes.T)
    counted = np.zeros((len(names), len(columns)))
    for number, outcome in enumerate(columns):
        counted[:, number] = np.bincount(member, outcome, len(names))
    held = counted > 0
    holders = held.sum(axis=0)
    risk = np.where(holders > 0, (1 - holders / len(names)) ** len(names), 0.0)
    return Clusters(
        count=len(names),
        member=member,
        strata=_strata(held, holders, risk >= _SCARCE),
        guarded=held[:, risk >= _GUARDED],
        effective=effective_number(np.bincount(member, sizes, len(names))),
        fewest=int(holders[holders > 0].min(initial=len(names))),
        fewest_effective=min(map(effective_number, counted[:, holders > 0].T), default=float(len(names))),
        draws=draws,
        level=level,
        seed=seed,
    )


def effective_number(sizes: FloatArray | IntArray) -> float:
    """Return how many groups of equal size would tell as much as groups of these sizes.

    Kish's number, (sum m)^2 / sum m^2, is that of records which are not alike within a group; where all records of a
    group are, it is the same of the squares, which is far smaller. How alike they are is not known, so this is the
    geometric mean of the two, with which intervals of either kind held the truth in simulated sets.

    Source:
        Kish 1965, Survey Sampling, section 8.2; Carter, Schnepel and Steigerwald 2017, Rev. Econ. Stat. 99, 698.

    >>> effective_number(np.array([1, 1, 1]))
    3.0
    >>> effective_number(np.array([2, 1, 1]))  # 16 / 6 = 2.667 and 36 / 18 = 2
    2.309...
    """
    squares = np.asarray(sizes, np.float64) ** 2
    kish = np.sum(sizes) ** 2 / squares.sum()
    return float(np.sqrt(kish * squares.sum() ** 2 / (squares**2).sum()))


def _strata(held: BoolArray, sizes: IntArray, scarce: BoolArray) -> tuple[IntArray, ...]:
    """Return the groups by their scarcest outcome; those without a scarce one come first."""
    stratum = np.full(len(held), -1)
    for outcome in sorted(np.flatnonzero(scarce), key=lambda outcome: sizes[outcome]):
        stratum[held[:, outcome] & (stratum < 0)] = outcome
    return tuple(np.flatnonzero(stratum == name) for name in np.unique(stratum))


def intervals(drawn_from: Clusters, statistic: Statistic) -> tuple[Interval, ...]:
    """Return each value of the statistic with its interval over the draws."""
    values = statistic(np.ones((1, drawn_from.count), dtype=np.int64))[0]
    if drawn_from.count == 1 or drawn_from.draws == 0:
        reason = NO_DRAWS if drawn_from.draws == 0 else ONE_GROUP
        return tuple(without_ends(float(value), reason) for value in values)
    drawn = np.concatenate([statistic(times) for times in _times(drawn_from)])
    tail, narrow = drawn_from.tail, drawn_from.narrow or ""
    with np.errstate(invalid="ignore"):  # inf - inf, where a perplexity is beyond a float
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        spread = np.ptp(drawn, axis=0)
    undefined = np.isnan(drawn).any(axis=0)
    same = spread <= _SAME_WITHIN * np.maximum(1, np.abs(values))
    return tuple(
        without_ends(float(value), UNDEFINED if undefined[place] else SAME)
        if undefined[place] or same[place]
        else Interval(float(value), float(low[place]), float(high[place]), narrow)
        for place, value in enumerate(values)
    )


def without_ends(value: float, reason: str) -> Interval:
    """Return a value of which it is not known how sure it is, with the reason; NaN needs none."""
    return Interval(value, float("nan"), float("nan"), "" if np.isnan(value) else reason)


def differences(drawn_from: Clusters, before: Statistic, after: Statistic) -> tuple[Interval, ...]:
    """Return after minus before, each difference with its interval; both see the same draws."""
    return intervals(drawn_from, lambda times: after(times) - before(times))


def summed(
    sums: FloatArray, drawn_from: Clusters, statistic: Callable[[FloatArray], FloatArray]
) -> Statistic:
    """Return a statistic of column totals as one of drawn groups.

    Args:
        sums: shape (record, column): what each record adds to each column.
        drawn_from: the groups of the same records.
        statistic: takes column totals, shape (draw, column), returns shape (draw, statistic).
    """
    columns = [np.bincount(drawn_from.member, column, drawn_from.count) for column in np.asarray(sums).T]
    per_group = np.stack(columns, axis=1)
    return lambda times: statistic(times.astype(np.float64) @ per_group)


def clustered_intervals(
    sums: FloatArray,
    groups: Sequence[str],
    statistic: Callable[[FloatArray], FloatArray],
    *,
    outcomes: BoolArray | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """Return each statistic of summed columns with its percentile interval over drawn groups.

    Args:
        sums: shape (record, column): what each record adds to each column.
        groups: the group of each record, length record.
        statistic: takes column totals, shape (draw, column), returns shape (draw, statistic).
        outcomes: shape (record, outcome), what no draw may lose; see `clusters`.
        draws: how often all groups are drawn anew.
        level: probability that the interval is to hold, in (0, 1).
        seed: of a generator of its own.

    Raises:
        ValueError: no records, or as many groups are not given as records.

    >>> mean = lambda totals: totals[:, :1] / totals[:, 1:]
    >>> clustered_intervals(np.array([[2.0, 1.0], [4.0, 1.0]]), ["a", "b"], mean)
    (Interval(value=3.0, low=2.0, high=4.0),)
    """
    if len(sums) != len(groups):
        raise ValueError(f"{len(sums)} records with {len(groups)} groups")
    drawn_from = clusters(groups, outcomes, draws=draws, level=level, seed=seed)
    return intervals(drawn_from, summed(sums, drawn_from, statistic))


def paired_differences(
    before: FloatArray,
    after: FloatArray,
    groups: Sequence[str],
    statistic: Callable[[FloatArray], FloatArray],
    *,
    outcomes: BoolArray | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """Return "after minus before" of statistics of summed columns, over the same draws of groups.

    Args:
        before: shape (record, column): what each record adds to each column, before tuning.
        after: the same records in the same order, after tuning.
        groups: the group of each record.
        statistic: as in `clustered_intervals`.
        outcomes: as in `clustered_intervals`.
        draws: as in `clustered_intervals`.
        level: as in `clustered_intervals`.
        seed: as in `clustered_intervals`.

    Raises:
        ValueError: no records, or the two and the groups differ in length.

    >>> mean = lambda totals: totals[:, :1] / totals[:, 1:]
    >>> before, after = np.array([[0.0, 1.0], [8.0, 1.0]]), np.array([[1.0, 1.0], [11.0, 1.0]])
    >>> paired_differences(before, after, ["a", "b"], mean)
    (Interval(value=2.0, low=1.0, high=3.0),)
    """
    if len(before) != len(after) or len(before) != len(groups):
        raise ValueError(f"{len(before)} records before, {len(after)} after, {len(groups)} groups")
    drawn_from = clusters(groups, outcomes, draws=draws, level=level, seed=seed)
    return differences(
        drawn_from, summed(before, drawn_from, statistic), summed(after, drawn_from, statistic)
    )


def named_intervals(result: Any) -> dict[str, Interval]:
    """Return the fields of a result that are intervals, in their order, by name."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    return {name: value for name, value in values.items() if isinstance(value, Interval)}


def _times(drawn_from: Clusters) -> Iterator[IntArray]:
    """Yield how often each group is drawn, shape (draw, group), some draws at a time."""
    generator = np.random.default_rng(drawn_from.seed)
    at_once = max(1, min(256, _CELLS_AT_ONCE // len(drawn_from.member)))
    for start in range(0, drawn_from.draws, at_once):
        times = _drawn(drawn_from, min(at_once, drawn_from.draws - start), generator)
        for _ in range(_REDRAWS):
            lost = _loses(times, drawn_from.guarded)
            if not lost.any():
                break
            times[lost] = _drawn(drawn_from, int(lost.sum()), generator)
        yield times


def _drawn(drawn_from: Clusters, size: int, generator: np.random.Generator) -> IntArray:
    times = np.empty((size, drawn_from.count), dtype=np.int64)
    for stratum in drawn_from.strata:
        count = len(stratum)
        picked = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times[:, stratum] = np.bincount(picked.ravel(), minlength=size * count).reshape(size, count)
    return times


def _loses(times: IntArray, guarded: BoolArray) -> BoolArray:
    """Return which draws have no group of some guarded outcome, shape (draw,)."""
    lost = np.zeros(len(times), dtype=np.bool_)
    for outcome in guarded.T:
        lost |= ~times[:, outcome].any(axis=1)
    return lost
