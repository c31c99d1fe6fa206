"""Numbers as JSON holds them: it has no word for NaN or infinity, so these become None."""

from __future__ import annotations

import math

from eval.bootstrap import Interval


def finite(value: float) -> float | None:
    """Return the value, or None where it is no finite number."""
    return value if math.isfinite(value) else None


def interval_json(interval: Interval) -> dict[str, float | None]:
    """Return `{"value", "low", "high"}`; an end that does not exist is None (why: `Interval.reason`)."""
    return {
        "value": finite(interval.value),
        "low": finite(interval.low),
        "high": finite(interval.high),
    }
