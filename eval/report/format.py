"""Numbers as a table shows them: as many digits as they carry, thousands apart, true minus signs."""

from __future__ import annotations

import math

MISSING = "\u2013"
MINUS = "\u2212"
UNBROKEN = "\u00a0"
"""A space that a line does not break at."""
MOST_DECIMALS = 6


def decimals_of(value: float, low: float | None = None, high: float | None = None) -> int:
    """Return how many decimals a value is shown with.

    With an interval: so many that half its width has two digits, three at least for a share. Without:
    four digits in all.

    >>> decimals_of(3.3074, 3.0384, 3.5899), decimals_of(0.475, 0.325, 0.625), decimals_of(2.29251)
    (2, 3, 3)
    """
    half = (high - low) / 2 if low is not None and high is not None else 0.0
    share = 3 if all(abs(end) <= 1 for end in (value, low or 0.0, high or 0.0)) else 0
    if half > 0:
        wanted = max(1 - math.floor(math.log10(half)), share)
    elif low is not None:
        wanted = share
    else:
        wanted = 3 - math.floor(math.log10(abs(value))) if value else 3
    return min(max(wanted, 0), MOST_DECIMALS)


def decimals_of_change(value: float, low: float | None, high: float | None) -> int:
    """Return the decimals of a difference: so many that an end beside zero is not shown as zero.

    >>> decimals_of_change(0.0029, 0.00001, 0.0082), decimals_of_change(-1.0, -1.2, -0.8)
    (5, 2)
    """
    places = decimals_of(value, low, high)
    ends = [abs(end) for end in (low, high) if end]
    needed = max((-math.floor(math.log10(end)) for end in ends), default=0)
    return min(max(places, needed), MOST_DECIMALS)


def number(value: float | None, decimals: int | None = None, *, sign: bool = False) -> str:
    """Return a number as text; None is a dash.

    From 1,000 on there are no decimals, from 100 on one at most; below 0.0001 the form is 1.5e-05, if
    the number of decimals is not given.

    >>> number(1096.4644, 2), number(0.02514, 3, sign=True), number(None) == MISSING
    ('1,096', '+0.025', True)
    """
    if value is None:
        return MISSING
    if decimals is None and value != 0 and abs(value) < 1e-4:
        text = f"{value:+.3g}" if sign else f"{value:.3g}"
        return text.replace("-", MINUS)
    places = decimals_of(value) if decimals is None else decimals
    places = min(places, 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else places)
    if round(value, places) == 0:
        return f"{0:.{places}f}"
    text = f"{value:+,.{places}f}" if sign else f"{value:,.{places}f}"
    return text.replace("-", MINUS)


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number of things in words, with the plural where it is not one.

    >>> counted(1, "epoch"), counted(1200, "step"), counted(0, "entry", "entries")
    ('1 epoch', '1,200 steps', '0 entries')
    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def published(value: float | None) -> str:
    """Return a number as it was published, not rounded.

    >>> published(2.0423), published(103301284.0), published(None) == MISSING
    ('2.0423', '103,301,284', True)
    """
    if value is None:
        return MISSING
    text = f"{value:,.10f}".rstrip("0").rstrip(".") if abs(value) >= 1e-4 or value == 0 else repr(value)
    return text.replace("-", MINUS)


def span(low: float | None, high: float | None, decimals: int | None = None, *, sign: bool = False) -> str:
    """Return an interval as `low to high`, a dash where there is none.

    >>> span(3.0384, 3.5899, 2).replace(UNBROKEN, " ")
    '3.04 to 3.59'
    """
    if low is None or high is None:
        return MISSING
    places = decimals_of(low, low, high) if decimals is None else decimals
    return f"{number(low, places, sign=sign)}{UNBROKEN}to{UNBROKEN}{number(high, places, sign=sign)}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(0.234), duration(27.0), duration(4907.4), duration(172800)
    ('0.2 s', '27 s', '1 h 22 min', '2 d 0 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def size(count: int) -> str:
    """Return a number of bytes with its unit.

    >>> size(512), size(17181502)
    ('512 B', '17.2 MB')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
