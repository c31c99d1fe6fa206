"""Pages to measure on: an exact signal, and a reader that goes back from pixels to millivolts."""

from __future__ import annotations

import numpy as np

from converters.ecg_image import Page
from converters.ecg_image.colours import SCHEMES
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Render

BARE = {"grid": "none", "lead_names": False, "separators": False, "calibration": False, "footer": False}
"""Nothing but traces."""
FAINT = 0.02


def beats(fs_hz: float = 500.0, seconds: float = 10.0, period_s: float = 0.8) -> np.ndarray:
    """Return twelve leads of P, QRS and T made of straight lines and parabolas: the same bits on every machine.

    Shape (lead, time), mV. Lead n is `(n + 4) / 8` times the first shape, every third one upside down.
    """
    time = np.arange(round(fs_hz * seconds)) / fs_hz
    phase = time - np.floor(time / period_s) * period_s
    wave = 0.15 * _hill(phase, 0.2, 0.05) + 0.3 * _hill(phase, 0.56, 0.09)
    wave -= 0.15 * _spike(phase, 0.335, 0.015)
    wave += 1.2 * _spike(phase, 0.36, 0.022)
    wave -= 0.25 * _spike(phase, 0.39, 0.02)
    factors = np.array([(number + 4) / 8 * (-1 if number % 3 == 2 else 1) for number in range(len(LEADS))])
    return factors[:, None] * wave


def _hill(phase: np.ndarray, at: float, half: float) -> np.ndarray:
    away = (phase - at) / half
    return np.clip(1 - away * away, 0, None) ** 2


def _spike(phase: np.ndarray, at: float, half: float) -> np.ndarray:
    return np.clip(1 - np.abs(phase - at) / half, 0, None)


def ink(page: Page, top: int = 0, bottom: int | None = None) -> np.ndarray:
    """Return the share of ink of each pixel between two rows of a page in red without grid, by its red."""
    paper, black = SCHEMES["red"].paper[0], SCHEMES["red"].ink[0]
    return (paper - page.image[top:bottom, :, 0].astype(float)) / (paper - black)


def edges_of(
    covered: np.ndarray, first: int, last: int, pen: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns with ink from `first` up to `last`, and the upper and lower edge of their ink.

    An edge pixel counts by its share of ink, so edges are known to parts of a pixel.
    """
    part = covered[:, first:last]
    found = np.flatnonzero((part > FAINT).any(axis=0))
    part = part[:, found]
    top = (part > FAINT).argmax(axis=0)
    bottom = len(part) - 1 - (part > FAINT)[::-1].argmax(axis=0)
    across = np.arange(len(found))
    solid = min(1.0, pen)  # a pen thinner than a pixel never covers one
    return found + first, top + 1 - part[top, across] / solid, bottom + part[bottom, across] / solid


def tip_of(covered: np.ndarray, pen: float) -> tuple[float, float]:
    """Return x and y of the point on which a round pen turned, for ink whose uppermost part is that turn.

    The ink in the first row tells how deep the pen reaches into it: to depth t a disc of radius r has about
    4/3 * sqrt(2 * r) * t**1.5 of its area, up to its middle, and below it the pen's width times the rest.
    """
    row = int((covered > FAINT).any(axis=1).argmax())
    radius, area = pen / 2, covered[row].sum()
    half = np.pi * radius**2 / 2
    depth = (area / (4 / 3 * np.sqrt(2 * radius))) ** (2 / 3) if area < half else radius + (area - half) / pen
    near = covered[row : row + 2].sum(axis=0)
    x = (near * (np.arange(covered.shape[1]) + 0.5)).sum() / near.sum()
    return float(x), float(row + 1 - depth + radius)


def runs_of(covered: np.ndarray, pen: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, left edge and right edge of each run of ink along a row, to parts of a pixel."""
    padded = np.pad(covered, ((0, 0), (1, 1)))
    edge = np.flatnonzero(np.diff((padded > FAINT).reshape(-1).astype(np.int8))).reshape(-1, 2)
    flat = padded.reshape(-1)
    wide = padded.shape[1]
    first, last = edge[:, 0] + 1, edge[:, 1]
    solid = min(1.0, pen)
    left, right = first % wide - 1 + (1 - flat[first] / solid), last % wide - 1 + flat[last] / solid
    return first // wide + 0.5, left, right


def curve_of(covered: np.ndarray, pen: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points (x, y) of the one curve that was drawn with a pen, in pixels, by rising x.

    Where it is flat, the middle of each column's ink; where it is steep, the middle of each row's; at tips, where the
    flanks hang together, the edges less half a pen.
    """
    column, upper, lower = edges_of(covered, 0, covered.shape[1], pen)
    flat = lower - upper <= 1.5 * pen
    row, left, right = runs_of(covered, pen)
    narrow = right - left <= 1.5 * pen
    joined = ~narrow & (right - left <= 6 * pen)
    points = [
        np.stack([column[flat] + 0.5, ((upper + lower) / 2)[flat]]),
        np.stack([(left + right)[narrow] / 2, row[narrow]]),
    ]
    steep = np.zeros(covered.shape[1], bool)
    steep[column[~flat]] = True
    for x in (left[joined] + pen / 2, right[joined] - pen / 2):
        kept = steep[x.astype(int)]
        points.append(np.stack([x[kept], row[joined][kept]]))
    for edge, inwards in ((upper, 1.0), (-lower, -1.0)):
        tip = ~flat & (edge <= np.roll(edge, 1)) & (edge <= np.roll(edge, -1))
        points.append(np.stack([column[tip] + 0.5, inwards * (edge[tip] + pen / 2)]))
    x, y = np.concatenate(points, axis=1)
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def read_back(page: Page, options: Render, lead: int, y_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sample numbers and the millivolts read at them from the pixels of a bare page with one lead.

    Args:
        page: drawn with `BARE`, so that all its ink is the lead's.
        options: what it was drawn with.
        lead: its place in `page.leads`.
        y_mm: where its 0 mV lies.
    """
    scale = options.scale
    box = page.leads[lead].box
    top, bottom = max(0, int(box[0, 0]) - 2), int(box[2, 0]) + 3
    x, y = curve_of(ink(page, top, bottom), options.line * scale)
    y = y + top
    at = page.leads[lead].pixels[:, 1]
    return (
        np.arange(len(at)) + page.leads[lead].start_sample,
        (y_mm * scale - np.interp(at, x, y)) / (options.gain * scale),
    )
