"""A curve over time -> the share of each pixel that a round pen covers. Exact in y, by quarter or eighth pixels in x.

A lead is a function of time, so what a disc moving along it covers is one interval in each upright line: the union
over the disc's width of connected intervals that vary continuously. Cutting each pixel column into a few upright
strips, the interval of each strip is found once, and its overlap with each pixel is exact. Nothing is drawn larger
and scaled down, and only pixels that carry ink are touched.

Only sums, products, roots, floors and comparisons are used, element by element: IEEE 754 fixes their results, so the
same numbers come out on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FAR = 1e12


class Ink(NamedTuple):
    """Pixels with ink, each once: row, column, and the share of it that is covered, in (0, 1]."""

    row: Ints
    column: Ints
    covered: Floats


def draw_trace(
    x: float, step: float, y: Floats, pen: float, size: tuple[int, int], *, antialias: bool = True
) -> Ink:
    """Return the ink of a curve through evenly spaced points.

    Args:
        x: place of the first point, in pixels from the left edge; the first pixel's middle is at 0.5.
        step: distance of the points in x, in pixels, above 0.
        y: shape (time,), in pixels from the upper edge, finite.
        pen: diameter of the pen, in pixels.
        size: height and width of the image, in pixels. What lies outside is left out.
        antialias: without it a pixel is either covered or not, and the pen a whole number of pixels wide.
    """
    height, width = size
    if not antialias:
        pen = max(0.0, round(pen) - 1.0)
    radius = pen / 2
    strips = (4 if radius >= 1.5 else 8) if antialias else 1
    first = max(0, int(np.floor(x - radius)))
    last = min(width, int(np.floor(x + step * (len(y) - 1) + radius)) + 1)
    if first >= last:
        return Ink(*(np.zeros(0, np.int64),) * 2, np.zeros(0))
    y = np.clip(y, -8.0 * height, 9.0 * height)
    margin = int(radius) + 2  # strips to the left and right from which the pen still reaches in
    low, high = _span_of_strips(x, step, y, first - margin, last + margin, strips)
    low, high = _under_pen(low, high, radius, strips, antialias)
    inner = slice(margin * strips, (margin + last - first) * strips)
    low, high = low[inner].reshape(-1, strips), high[inner].reshape(-1, strips)
    return _covered(low, high, first, height, antialias)


def _span_of_strips(
    x: float, step: float, y: Floats, first: int, last: int, strips: int
) -> tuple[Floats, Floats]:
    """Return the smallest and the largest y of the curve in each strip; `FAR` and `-FAR` where there is no curve."""
    edges = np.arange((last - first) * strips + 1) / strips + first
    place = (edges - x) / step
    inside = (place >= 0) & (place <= len(y) - 1)
    before = np.clip(np.floor(place).astype(np.int64), 0, max(len(y) - 2, 0))
    after = np.minimum(before + 1, len(y) - 1)
    at_edge = y[before] + (y[after] - y[before]) * (place - before)
    low = np.where(inside, at_edge, FAR)
    high = np.where(inside, at_edge, -FAR)
    low, high = np.minimum(low[:-1], low[1:]), np.maximum(high[:-1], high[1:])
    strip = np.floor((x + step * np.arange(len(y)) - first) * strips).astype(np.int64)
    seen = (strip >= 0) & (strip < len(low))
    strip, y = strip[seen], y[seen]
    if len(strip):
        starts = np.flatnonzero(np.diff(strip, prepend=strip[0] - 1))
        at = strip[starts]
        low[at] = np.minimum(low[at], np.minimum.reduceat(y, starts))
        high[at] = np.maximum(high[at], np.maximum.reduceat(y, starts))
    return low, high


def _under_pen(
    low: Floats, high: Floats, radius: float, strips: int, round_pen: bool
) -> tuple[Floats, Floats]:
    """Return the interval that the pen covers in each strip: the curve's, widened by the disc from either side."""
    reach = max(0, round(radius * strips - 0.5)) if round_pen else int(radius)
    wide_low, wide_high = low - radius, high + radius
    for shift in range(1, reach + 1):
        outer = (
            shift + 0.5
        ) / strips  # where the strip ends that lies `shift` away: the curve is taken up to there
        half = max(radius * radius - outer * outer, 0.0) ** 0.5 if round_pen else radius
        for here, there in (
            (slice(shift, None), slice(None, -shift)),
            (slice(None, -shift), slice(shift, None)),
        ):
            np.minimum(wide_low[here], low[there] - half, out=wide_low[here])
            np.maximum(wide_high[here], high[there] + half, out=wide_high[here])
    return wide_low, wide_high


def _covered(low: Floats, high: Floats, first: int, height: int, antialias: bool) -> Ink:
    """Return the ink of intervals, shape (column, strip), in columns from `first`."""
    top = np.clip(np.floor(low.min(axis=1)), 0, height).astype(np.int64)
    end = np.clip(np.floor(high.max(axis=1)) + 1, 0, height).astype(np.int64)
    count = np.maximum(end - top, 0)
    column = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(column)) - np.repeat(np.cumsum(count) - count - top, count)
    if not antialias:
        return Ink(row, column + first, np.ones(len(row)))
    empty = high < low
    low, high = np.where(empty, -FAR, low), np.where(empty, -FAR, high)
    above, below = (edge.T[:, column] - row for edge in (low, high))  # shape (strip, pixel)
    for edge in (above, below):
        np.minimum(np.maximum(edge, 0.0, out=edge), 1.0, out=edge)
    covered = (below - above).sum(axis=0) / low.shape[
        1
    ]  # over the first axis: one after another, in a fixed order
    inked = covered > 0
    return Ink(row[inked], column[inked] + first, covered[inked])
