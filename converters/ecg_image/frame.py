"""What is the same on every page of one rendering: paper, grid, lettering, pulses. Drawn once and kept.

A pixel is one byte here, `ground * LEVELS + level`: how much ink lies on which ground. Colours come last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from converters.ecg_image.colours import LEVELS, MAJOR_MM, MINOR_MM, Bytes, palette
from converters.ecg_image.layout import Panel, Placement, place, pulse_points
from converters.ecg_image.lettering import PEN, Stroke, draw_strokes, text_strokes, text_width
from converters.ecg_image.trace import Floats, Ink
from runner.spec.ecg_image import Artefacts, Render

LETTER_MM = 3.0
SEPARATOR_MM = 0.4
PULSE_MASK, TEXT_MASK = 254, 255
"""What the mask holds for a calibration pulse and for lettering; 1, 2, ... are the drawn leads, 0 is no ink."""


@dataclass(frozen=True)
class Frame:
    """A page without its traces. Arrays are read-only: pages copy them.

    Attributes:
        canvas: shape (height, width), ground and ink of each pixel.
        mask: shape (height, width).
        colours: shape (255, 3), the colour of each value of `canvas`.
        placement: where the leads go, in mm.
        text_boxes: corners of each panel's name, shape (4, 2) as [y, x], None where names are off.
    """

    canvas: Bytes
    mask: Bytes
    colours: Bytes
    placement: Placement
    text_boxes: tuple[Floats | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        height, width = self.canvas.shape
        return height, width


def size_px(options: Render) -> tuple[int, int]:
    """Return height and width of the page in pixels.

    >>> size_px(Render())
    (1700, 2200)
    """
    return round(options.paper.height * options.scale), round(options.paper.width * options.scale)


def frame_of(options: Render) -> Frame:
    """Return the frame of a rendering; what differs between its pages does not count."""
    same = {"seed": 0, "artefacts": Artefacts(), "mask": False, "plotted_pixels": True, "baseline": "keep"}
    return _frame(options.model_copy(update=same))


@lru_cache(maxsize=4)
def _frame(options: Render) -> Frame:
    placement, scale = place(options), options.scale
    canvas = _grid(options)
    mask = np.zeros_like(canvas)
    for x, y in placement.pulses:
        stroke = _in_pixels(pulse_points(x, y, options), scale)
        add_ink(canvas, _drawn([stroke], options.line, options), options.line * scale, mask, PULSE_MASK)
    if options.separators:
        for panel in placement.panels:
            if panel.column:
                for up in (-4.0, 2.0):  # above and below the trace, which must not be mistaken for them
                    ends = ((panel.x_mm, panel.y_mm + up), (panel.x_mm, panel.y_mm + up + 2.0))
                    ink = _drawn([_in_pixels(ends, scale)], SEPARATOR_MM, options)
                    add_ink(canvas, ink, SEPARATOR_MM * scale, mask, TEXT_MASK)
    boxes: list[Floats | None] = [None] * len(placement.panels)
    if options.lead_names:
        for number, panel in enumerate(placement.panels):
            x, y = _name_place(panel, placement.row_height_mm)
            boxes[number] = _write(panel.label, x, y, options, canvas, mask)
    if options.footer:
        words = f"{options.speed:g} mm/s   {options.gain:g} mm/mV"
        left = placement.panels[0].x_mm
        _write(words, left, options.paper.height - 4.0, options, canvas, mask)
    canvas.setflags(write=False)
    mask.setflags(write=False)
    return Frame(canvas, mask, palette(options.scheme, scale), placement, tuple(boxes))


def add_ink(canvas: Bytes, ink: Ink, pen: float, mask: Bytes | None, label: int) -> None:
    """Put the ink of a pen (diameter in pixels) on a canvas, in place.

    Where ink lies already the stronger of the two stays. The mask takes the label where about half of what such a pen
    can cover of a pixel is covered: a line between two rows of pixels belongs to both.
    """
    where = ink.row * canvas.shape[1] + ink.column
    level = np.floor(ink.covered * (LEVELS - 1) + 0.5).astype(np.uint8)
    flat = canvas.reshape(-1)
    before = flat[where]
    have = before % LEVELS
    flat[where] = before + (np.maximum(level, have) - have)
    if mask is not None:
        mask.reshape(-1)[where[ink.covered >= 0.45 * min(1.0, pen)]] = label


def _grid(options: Render) -> Bytes:
    """Return paper and grid, shape (height, width). Lines lie on whole pixels, as print does."""
    height, width = size_px(options)
    vertical, horizontal = (_lines(length, options) for length in (width, height))
    return np.asarray(np.maximum(vertical[None, :], horizontal[:, None]) * LEVELS)


def _lines(length_px: int, options: Render) -> Bytes:
    """Return which ground each pixel along one side is: 0 paper, 1 minor line, 2 major line."""
    ground = np.zeros(length_px, np.uint8)
    kinds = {"full": ((1, 1, MINOR_MM), (5, 2, MAJOR_MM)), "major": ((5, 2, MAJOR_MM),), "none": ()}
    for every_mm, value, width_mm in kinds[options.grid]:
        thick = max(1, round(width_mm * options.scale))
        middle = np.arange(0, length_px / options.scale + every_mm, every_mm) * options.scale
        start = np.floor(middle - thick / 2 + 0.5).astype(np.int64)
        for shift in range(thick):
            at = start + shift
            ground[at[(at >= 0) & (at < length_px)]] = value
    return ground


def _name_place(panel: Panel, row_height_mm: float) -> tuple[float, float]:
    """Return the lower left corner of a lead's name in mm: above the trace, as far as the row has room."""
    return panel.x_mm + 1.5, panel.y_mm - min(8.0, 0.25 * row_height_mm)


def _write(text: str, x_mm: float, y_mm: float, options: Render, canvas: Bytes, mask: Bytes) -> Floats:
    """Write a text and return the four corners of its box, [y, x] in pixels, from the upper left clockwise."""
    pen = PEN * LETTER_MM
    strokes = [_in_pixels(stroke, options.scale) for stroke in text_strokes(text, x_mm, y_mm, LETTER_MM)]
    add_ink(canvas, _drawn(strokes, pen, options), pen * options.scale, mask, TEXT_MASK)
    left, right = x_mm - pen / 2, x_mm + text_width(text) * LETTER_MM + pen / 2
    top, bottom = y_mm - LETTER_MM - pen / 2, y_mm + pen / 2
    soft = 0.5 if options.antialias else 1.0  # smooth edges reach half a pixel further
    box = np.array([[top, left], [top, right], [bottom, right], [bottom, left]]) * options.scale
    return box + soft * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])


def _drawn(strokes: list[Stroke], pen_mm: float, options: Render) -> Ink:
    return draw_strokes(strokes, pen_mm * options.scale, size_px(options), antialias=options.antialias)


def _in_pixels(points: tuple[tuple[float, float], ...], scale: float) -> Stroke:
    return tuple((x * scale, y * scale) for x, y in points)
