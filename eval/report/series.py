"""Curves before they are drawn: what is no number left out, a smoothed trend, and points thinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SMOOTHING = 0.02
"""Width of the kernel (its standard deviation) as a share of the points."""
MOST_POINTS = 2000
"""Points of a curve that are drawn; a page of a long training stays small."""


@dataclass(frozen=True)
class Curve:
    """One line of a picture: shape (point,) each, x ascending."""

    x: FloatArray
    y: FloatArray

    def __len__(self) -> int:
        return len(self.x)


def curve(events: Sequence[Mapping[str, Any]], name: str, x: str = "step") -> Curve:
    """Return one value of each event over its step, without those that are no finite number.

    A step that was done twice, before and after an interruption, counts as it was done last.
    """
    found: dict[float, float] = {}
    for event in events:
        value = event.get(name)
        if isinstance(value, int | float) and np.isfinite(value):
            found[float(event[x])] = float(value)
    order = sorted(found)
    return Curve(np.array(order), np.array([found[step] for step in order]))


def width(points: int, share: float = SMOOTHING) -> float:
    """Return the standard deviation of the kernel that smooths a curve of so many points, in points.

    >>> width(6), width(1000)
    (1.0, 20.0)
    """
    return max(share * points, 1.0)


def smoothed(y: FloatArray, share: float = SMOOTHING) -> FloatArray:
    """Return the centred Gaussian average of a curve, of the same shape (point,).

    The kernel's standard deviation is `share` of the points, at least one point. Near the ends the
    average is over the points that are there, so the trend neither lags nor bends towards zero.

    >>> smoothed(np.array([1.0, 1.0, 1.0]))
    array([1., 1., 1.])
    """
    if len(y) == 0:
        return y
    sigma = width(len(y), share)
    reach = min(int(np.ceil(3 * sigma)), len(y) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    middle = slice(reach, reach + len(y))
    weights: FloatArray = np.convolve(np.ones(len(y)), kernel)[middle]
    sums: FloatArray = np.convolve(y, kernel)[middle]
    return sums / weights


def thinned(line: Curve, most: int = MOST_POINTS) -> Curve:
    """Return at most `most` points: of equal stretches the lowest and the highest, so that no peak is lost."""
    if len(line) <= most:
        return line
    kept: set[int] = {0, len(line) - 1}
    for part in np.array_split(np.arange(len(line)), (most - 2) // 2):
        values = line.y[part]
        kept |= {int(part[values.argmin()]), int(part[values.argmax()])}
    order = sorted(kept)
    return Curve(line.x[order], line.y[order])
