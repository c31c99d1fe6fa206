"""Is a result within chance? What guessing would give, and how often it would do as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest, norm

from eval.bootstrap import Interval


@dataclass(frozen=True)
class Chance:
    """An accuracy beside that of guessing."""

    observed: float
    expected: float
    low: float
    """Between this and `high` guessing falls with the stated probability."""
    high: float
    standard_error: float
    """Of guessing."""
    p_value: float
    """Probability that guessing is as far from the expected value, on either side."""
    within: bool
    """The result is not different from chance: p is at least 1 - level."""
    method: str

    def sentence(self) -> str:
        """Say it in words, in percent."""
        verdict = "not different from chance" if self.within else "different from chance"
        return (
            f"{verdict}: {self.observed:.1%}, guessing gives {self.expected:.1%} "
            f"({self.low:.1%} to {self.high:.1%}), p = {self.p_value:.2g}, {self.method}"
        )


def against_chance(correct: int, options: Sequence[int], *, level: float = 0.95) -> Chance:
    """Compare a count of right answers with guessing evenly among the options of each question.

    Exact (binomial) where all questions have as many options, else the normal approximation with
    the sum of the questions' variances. Questions are taken to be answered independently.

    Args:
        correct: questions answered rightly.
        options: how many answers each question offers.
        level: probability of the range, in (0, 1).

    Raises:
        ValueError: there are no questions, one has no option, or more are right than were asked.

    >>> against_chance(273, [4] * 1089).sentence()
    'not different from chance: 25.1%, guessing gives 25.0% (22.4% to 27.5%), p = 0.97, exact binomial test'
    """
    count = len(options)
    if count == 0 or min(options) < 1 or not 0 <= correct <= count:
        raise ValueError(
            f"{correct} right of {count} questions, with {min(options, default=0)} or more options"
        )
    shares = 1 / np.asarray(options, dtype=np.float64)
    if len(set(options)) == 1:
        return against_rate(correct, count, float(shares[0]), level=level)
    expected = float(shares.mean())
    error = float(np.sqrt((shares * (1 - shares)).sum())) / count
    reach = float(norm.ppf(0.5 + level / 2)) * error
    p_value = float(2 * norm.sf(abs(correct / count - expected) / error)) if error else 1.0
    return Chance(
        correct / count,
        expected,
        max(0.0, expected - reach),
        min(1.0, expected + reach),
        error,
        p_value,
        p_value >= 1 - level,
        "normal approximation",
    )


def against_rate(correct: int, count: int, rate: float, *, level: float = 0.95) -> Chance:
    """Compare a count of right answers with a known rate, such as the share of the majority class.

    Raises:
        ValueError: there are no questions, more are right than were asked, or the rate is none.
    """
    if count < 1 or not 0 <= correct <= count or not 0 <= rate <= 1:
        raise ValueError(f"{correct} right of {count} questions, against a rate of {rate}")
    low, high = (float(end) / count for end in binom.interval(level, count, rate))
    p_value = float(binomtest(correct, count, rate).pvalue)
    error = float(np.sqrt(rate * (1 - rate) / count))
    within = p_value >= 1 - level
    return Chance(correct / count, rate, low, high, error, p_value, within, "exact binomial test")


def holds(interval: Interval, value: float) -> bool | None:
    """Say whether an interval holds a value (0.5 for an AUC); None where it has no ends."""
    if np.isnan([interval.low, interval.high]).any():
        return None
    return interval.low <= value <= interval.high
