"""Which lead stands where on the sheet, in millimetres and seconds. No pixels yet.

The origin is the sheet's upper left corner, x to the right and y down. Baselines lie on grid lines where the sheet
has room for it, so that a pulse of 1 mV reaches exactly two large squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runner.spec.ecg_image import Render

PULSE_MV = 1.0
PULSE_S = 0.2
LARGE_MM = 5.0
LEAD_IN_MM = 1.0
"""Flat ink before and after a calibration pulse."""
TOP_MM = 8.0
FOOTER_MM = 12.0
"""What the first and the last row keep from the edge; below it stand speed and gain."""


@dataclass(frozen=True)
class Layout:
    """Leads in reading order, row by row; `-aVR` is aVR upside down. `rhythm` leads run along the whole page."""

    rows: tuple[tuple[str, ...], ...]
    rhythm: tuple[str, ...] = ()


LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
THREE_BY_FOUR = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
SIX_BY_TWO = tuple(zip(LIMB, CHEST, strict=True))
CABRERA = (("aVL", "II", "V1", "V4"), ("I", "aVF", "V2", "V5"), ("-aVR", "III", "V3", "V6"))

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "3x4": Layout(THREE_BY_FOUR),
        "3x4+II": Layout(THREE_BY_FOUR, ("II",)),
        "3x4+V1": Layout(THREE_BY_FOUR, ("V1",)),
        "3x4+II+V1+V5": Layout(THREE_BY_FOUR, ("II", "V1", "V5")),
        "3x4 Cabrera+II": Layout(CABRERA, ("II",)),
        "6x2": Layout(SIX_BY_TWO),
        "6x2+II": Layout(SIX_BY_TWO, ("II",)),
        "2x6+II": Layout((LIMB, CHEST), ("II",)),
        "4x3": Layout((LIMB[:3], LIMB[3:], CHEST[:3], CHEST[3:])),
        "12x1": Layout(tuple((lead,) for lead in LIMB + CHEST)),
        "limb 6x1": Layout(tuple((lead,) for lead in LIMB)),
        "chest 6x1": Layout(tuple((lead,) for lead in CHEST)),
        "II": Layout((), ("II",)),
    }
)


@dataclass(frozen=True)
class Panel:
    """One lead's place: where its time axis starts, where 0 mV lies, and which seconds of the window it shows."""

    label: str
    row: int
    column: int
    x_mm: float
    y_mm: float
    start_s: float
    end_s: float

    @property
    def lead(self) -> str:
        """Return the lead that is drawn, whichever way up."""
        return self.label.removeprefix("-")

    @property
    def sign(self) -> float:
        """Return -1 for a lead that is drawn upside down."""
        return -1.0 if self.label.startswith("-") else 1.0


@dataclass(frozen=True)
class Placement:
    """All panels, and the left end and the base line of each row's calibration pulse."""

    panels: tuple[Panel, ...]
    pulses: tuple[tuple[float, float], ...]
    row_height_mm: float


def needed_mm(options: Render) -> tuple[float, float]:
    """Return width and height in mm below which the sheet cannot hold the layout: 10 mm a row at least."""
    return _pulse_width(options) + options.seconds * options.speed, TOP_MM + FOOTER_MM + 10.0 * len(
        _rows(options)
    )


def place(options: Render) -> Placement:
    """Return where everything stands. The sheet is at least as large as `needed_mm` says.

    >>> [panel.start_s for panel in place(Render()).panels if panel.row == 0]
    [0.0, 2.5, 5.0, 7.5]
    """
    rows, pulse = _rows(options), _pulse_width(options)
    left = _on_grid((options.paper.width - pulse - options.seconds * options.speed) / 2 + pulse, pulse)
    height = (options.paper.height - TOP_MM - FOOTER_MM) / len(rows)
    panels, pulses = [], []
    for number, leads in enumerate(rows):
        y = TOP_MM + height * (number + 0.5)
        y = float(round(y)) if height > LARGE_MM else y
        pulses.append((left - pulse, y))
        seconds = options.seconds / len(leads)
        for column, label in enumerate(leads):
            start = 0.0 if options.columns == "simultaneous" else column * seconds
            x = left + column * seconds * options.speed
            panels.append(Panel(label, number, column, x, y, start, start + seconds))
    return Placement(tuple(panels), tuple(pulses) if options.calibration else (), height)


def pulse_points(x_mm: float, y_mm: float, options: Render) -> tuple[tuple[float, float], ...]:
    """Return the corners (x, y) in mm of a calibration pulse whose flat ink starts at `x_mm`."""
    up, down = x_mm + LEAD_IN_MM, x_mm + LEAD_IN_MM + PULSE_S * options.speed
    top = y_mm - PULSE_MV * options.gain
    return ((x_mm, y_mm), (up, y_mm), (up, top), (down, top), (down, y_mm), (down + LEAD_IN_MM, y_mm))


def _rows(options: Render) -> tuple[tuple[str, ...], ...]:
    layout = LAYOUTS[options.layout]
    return layout.rows + tuple((lead,) for lead in layout.rhythm)


def _pulse_width(options: Render) -> float:
    return PULSE_S * options.speed + 2 * LEAD_IN_MM + 0.5 if options.calibration else 0.0


def _on_grid(x_mm: float, least_mm: float) -> float:
    """Return `x_mm` moved left to a large grid line, if that still leaves `least_mm` before it."""
    snapped = x_mm // LARGE_MM * LARGE_MM
    return snapped if snapped >= least_mm else x_mm
