"""What a page is asked to show, checked: leads by name, the window's samples, and everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.ecg_image.errors import RenderError
from converters.ecg_image.frame import size_px
from converters.ecg_image.layout import needed_mm
from converters.records.ecg.record import LEADS, FloatArray
from runner.spec.ecg_image import Render, contradictions
from runner.spec.nearest import nearest

MOST_PIXELS = 89_478_485
"""Above it Pillow warns of a decompression bomb when it opens the file."""
CANONICAL: Mapping[str, str] = {lead.casefold(): lead for lead in LEADS}


@dataclass(frozen=True)
class Window:
    """The part of a recording that a page shows.

    Attributes:
        signal_mv: shape (lead, time), in mV, the recording as a whole.
        row: where each lead stands in it, by its name in `LEADS`.
        fs_hz: sampling rate.
        start: number of the window's first sample.
        end: number of the sample after its last one.
    """

    signal_mv: FloatArray
    row: Mapping[str, int]
    fs_hz: float
    start: int
    end: int


def windows(samples: int, fs_hz: float, options: Render) -> int:
    """Return how many windows a recording has; the last one may be shorter.

    >>> windows(5000, 500, Render()), windows(5001, 500, Render())
    (1, 2)
    """
    length = options.seconds * fs_hz
    return max(1, -int(-(samples / length) // 1))


def window_of(
    signal_mv: FloatArray, fs_hz: float, leads: Sequence[str], options: Render, record: str, window: int
) -> Window:
    """Return the window that a page shows.

    Raises:
        RenderError: with everything that is wrong: options that contradict each other or do not fit the sheet, an
            image too large, a signal of another shape, leads unknown or given twice, no such window.
    """
    problems = [f"{path}: {message}; {hint}" for path, message, hint in contradictions(options)]
    problems += _misfits(options)
    row, wrong_names = _rows(leads)
    problems += wrong_names
    signal_mv = np.asarray(signal_mv)
    if signal_mv.ndim != 2 or len(signal_mv) != len(leads):
        problems.append(
            f"signal_mv: expected shape (lead, time) with {len(leads)} leads, got shape {signal_mv.shape}"
        )
    elif signal_mv.shape[1] == 0:
        problems.append("signal_mv: expected at least one sample, got none")
    elif not np.issubdtype(signal_mv.dtype, np.floating):
        problems.append(
            f"signal_mv: expected floating-point millivolts, got {signal_mv.dtype}; divide by the gain"
        )
    start = end = 0
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        problems.append(f"fs_hz: expected a number above 0, got {fs_hz!r}")
    elif not problems:
        count = windows(signal_mv.shape[1], fs_hz, options)
        if not 0 <= window < count:
            problems.append(
                f"window: expected 0 to {count - 1} ({signal_mv.shape[1]} samples at {fs_hz:g} Hz make {count} "
                f"of {options.seconds:g} s), got {window}"
            )
        start = round(window * options.seconds * fs_hz)
        end = min(signal_mv.shape[1], round((window + 1) * options.seconds * fs_hz))
    if problems:
        raise RenderError(record, problems)
    return Window(signal_mv, row, float(fs_hz), start, end)


def _rows(leads: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return where each lead stands, and what is wrong with the names."""
    row: dict[str, int] = {}
    problems = []
    for number, name in enumerate(leads):
        lead = CANONICAL.get(name.strip().casefold())
        if lead is None:
            near = nearest(name, LEADS)
            hint = f"; nearest: {near}" if near else ""
            problems.append(f"leads: unknown lead {name!r}; allowed: {', '.join(LEADS)}{hint}")
        elif row.setdefault(lead, number) != number:
            problems.append(
                f"leads: {lead} is given twice, in places {row[lead]} and {number}; leave one out"
            )
    return row, problems


def _misfits(options: Render) -> list[str]:
    """Return where sheet and layout, or sheet and resolution, do not go together."""
    problems = []
    paper = options.paper
    for side, least, has in zip(
        ("width", "height"), needed_mm(options), (paper.width, paper.height), strict=True
    ):
        if has < least:
            problems.append(
                f"paper.{side}: layout {options.layout!r} needs {least:g} mm, got {has:g}; take larger paper, fewer "
                "seconds or a lower speed"
            )
    height, width = size_px(options)
    if height * width > MOST_PIXELS:
        problems.append(
            f"px_per_mm: {options.scale:g} pixels per mm make an image of {width} x {height} = {height * width:,} "
            f"pixels; at most {MOST_PIXELS:,}: lower dpi or px_per_mm"
        )
    return problems
