"""Letters as pen strokes: own work, so that a page needs no font and looks the same wherever it is drawn.

A glyph is a list of polylines in units of the height of a capital, from the lower left corner, y up. Only the
characters that a page needs are here: lead names, numbers, `mm/s` and `mm/mV`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from converters.ecg_image.trace import Floats, Ink

Point = tuple[float, float]
Stroke = tuple[Point, ...]
GAP = 0.22
"""Space between two letters, in heights of a capital."""
PEN = 0.13
"""Width of a stroke, in heights of a capital."""


def _arc(x: float, y: float, across: float, up: float, start: int, quarters: int) -> Stroke:
    """Return points on an ellipse, in quarter turns counter-clockwise from the right; negative turns clockwise.

    By t -> ((1 - t*t) / (1 + t*t), 2*t / (1 + t*t)), which needs no sine.
    """
    points = []
    for quarter in range(abs(quarters)):
        for part in range(0 if quarter == 0 else 1, 6):
            t = part / 5
            a, b = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
            if quarters < 0:
                b = -b
            turn = (start + (quarter if quarters > 0 else -quarter)) % 4
            a, b = ((a, b), (-b, a), (-a, -b), (b, -a))[turn]
            points.append((x + across * a, y + up * b))
    return tuple(points)


GLYPHS: Mapping[str, tuple[float, tuple[Stroke, ...]]] = MappingProxyType(
    {  # width, strokes
        " ": (0.3, ()),
        ".": (0.08, (((0.04, 0.0), (0.04, 0.02)),)),
        "-": (0.35, (((0.0, 0.42), (0.35, 0.42)),)),
        "/": (0.4, (((0.0, -0.1), (0.4, 1.05)),)),
        "0": (0.58, ((*_arc(0.29, 0.5, 0.29, 0.5, 0, 4),),)),
        "1": (0.28, (((0.0, 0.78), (0.26, 1.0), (0.26, 0.0)),)),
        "2": (0.56, ((*_arc(0.28, 0.73, 0.27, 0.27, 2, -2), (0.52, 0.6), (0.0, 0.0), (0.56, 0.0)),)),
        "3": (
            0.56,
            (
                (*_arc(0.26, 0.76, 0.25, 0.24, 2, -3), (0.2, 0.52)),
                ((0.2, 0.52), *_arc(0.26, 0.26, 0.29, 0.26, 1, -3)),
            ),
        ),
        "4": (0.6, (((0.46, 0.0), (0.46, 1.0), (0.0, 0.27), (0.6, 0.27)),)),
        "5": (
            0.56,
            (((0.5, 1.0), (0.08, 1.0), (0.04, 0.54)), ((0.04, 0.54), *_arc(0.25, 0.31, 0.3, 0.31, 1, -3))),
        ),
        "6": (0.56, (_arc(0.28, 0.29, 0.28, 0.29, 0, 4), (*_arc(0.4, 0.4, 0.4, 0.6, 2, -1), (0.46, 0.98)))),
        "7": (0.54, (((0.0, 1.0), (0.54, 1.0), (0.16, 0.0)),)),
        "8": (0.56, (_arc(0.28, 0.76, 0.23, 0.24, 3, 4), _arc(0.28, 0.26, 0.28, 0.26, 1, 4))),
        "9": (0.56, (_arc(0.28, 0.71, 0.28, 0.29, 0, 4), (*_arc(0.16, 0.6, 0.4, 0.6, 0, -1), (0.1, 0.02)))),
        "F": (0.52, (((0.52, 1.0), (0.0, 1.0), (0.0, 0.0)), ((0.0, 0.53), (0.42, 0.53)))),
        "I": (0.06, (((0.03, 0.0), (0.03, 1.0)),)),
        "L": (0.5, (((0.0, 1.0), (0.0, 0.0), (0.5, 0.0)),)),
        "R": (
            0.6,
            (
                ((0.0, 0.0), (0.0, 1.0), (0.3, 1.0), *_arc(0.3, 0.75, 0.27, 0.25, 1, -2), (0.0, 0.5)),
                ((0.28, 0.5), (0.6, 0.0)),
            ),
        ),
        "V": (0.68, (((0.0, 1.0), (0.34, 0.0), (0.68, 1.0)),)),
        "a": (0.48, (_arc(0.24, 0.32, 0.24, 0.32, 0, 4), ((0.48, 0.64), (0.48, 0.0)))),
        "m": (
            0.84,
            (
                ((0.0, 0.0), (0.0, 0.64)),
                ((0.0, 0.4), *_arc(0.21, 0.43, 0.21, 0.21, 2, -2), (0.42, 0.0)),
                ((0.42, 0.4), *_arc(0.63, 0.43, 0.21, 0.21, 2, -2), (0.84, 0.0)),
            ),
        ),
        "s": (
            0.42,
            (
                (*_arc(0.21, 0.48, 0.19, 0.16, 0, 3), (0.21, 0.32)),
                ((0.21, 0.32), *_arc(0.21, 0.16, 0.21, 0.16, 1, -3)),
            ),
        ),
    }
)


def text_width(text: str) -> float:
    """Return the width of a text in heights of a capital, the pen left out.

    >>> round(text_width("II"), 2)
    0.34
    """
    return sum(GLYPHS[letter][0] for letter in text) + GAP * (len(text) - 1)


def text_strokes(text: str, x: float, y: float, height: float) -> list[Stroke]:
    """Return the strokes of a text whose lower left corner is at (x, y), y down, in the unit of `height`."""
    strokes, at = [], x
    for letter in text:
        wide, lines = GLYPHS[letter]
        strokes += [tuple((at + height * a, y - height * b) for a, b in line) for line in lines]
        at += height * (wide + GAP)
    return strokes


def draw_strokes(
    strokes: Iterable[Sequence[Point]], pen: float, size: tuple[int, int], *, antialias: bool = True
) -> Ink:
    """Return the ink of straight strokes with round ends, by each pixel's distance to the nearest of them.

    Args:
        strokes: polylines of points (x, y), in pixels; the first pixel's middle is at 0.5.
        pen: diameter of the pen, in pixels.
        size: height and width of the image, in pixels.
        antialias: without it a pixel is either covered or not.
    """
    strokes = [stroke for stroke in strokes if stroke]
    height, width = size
    radius = pen / 2 if antialias else max(pen, 1.0) / 2
    xs, ys = ([point[axis] for stroke in strokes for point in stroke] for axis in (0, 1))
    if not strokes:
        return Ink(*(np.zeros(0, np.int64),) * 2, np.zeros(0))
    left, right = max(0, int(min(xs) - radius) - 2), min(width, int(max(xs) + radius) + 3)
    top, bottom = max(0, int(min(ys) - radius) - 2), min(height, int(max(ys) + radius) + 3)
    x: Floats = np.arange(left, right, dtype=np.float64)[None, :] + 0.5
    y: Floats = np.arange(top, bottom, dtype=np.float64)[:, None] + 0.5
    squared = np.full((max(bottom - top, 0), max(right - left, 0)), np.inf)
    for stroke in strokes:
        for start, end in pairwise(stroke):
            np.minimum(squared, _squared_distance(x, y, start, end), out=squared)
    distance = np.sqrt(squared)
    covered = np.clip(radius + 0.5 - distance, 0, min(1.0, 2 * radius))
    if not antialias:
        covered = (distance <= radius).astype(np.float64)
    row, column = np.nonzero(covered)
    return Ink(row + top, column + left, covered[row, column])


def _squared_distance(x: Floats, y: Floats, start: Point, end: Point) -> Floats:
    """Return the squared distance of each pixel's middle to a segment."""
    along, down = end[0] - start[0], end[1] - start[1]
    length = along * along + down * down
    part = np.clip(((x - start[0]) * along + (y - start[1]) * down) / length, 0, 1) if length else 0.0
    from_x, from_y = x - (start[0] + along * part), y - (start[1] + down * part)
    return np.asarray(from_x * from_x + from_y * from_y)
