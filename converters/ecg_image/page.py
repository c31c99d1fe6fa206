"""A drawn page: its pixels, its manifest, its mask, its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from converters.ecg_image.colours import Bytes
from converters.ecg_image.png import png_of_numbers, png_of_pixels
from converters.ecg_image.trace import Floats


@dataclass(frozen=True)
class Gap:
    """Samples of a shown lead that are not there: from `start_sample`, up to and without `end_sample`."""

    lead: str
    start_sample: int
    end_sample: int


@dataclass(frozen=True)
class DrawnLead:
    """One drawn lead. Places are [y, x] in pixels from the upper left corner; the first pixel's middle is (0.5, 0.5).

    Attributes:
        label: as written beside it; `-aVR` is upside down.
        rhythm: whether it runs along the whole page.
        box: corners of all its ink, shape (4, 2), clockwise from the upper left of the flat sheet.
        text_box: corners of its name, or None where names are off.
        pixels: place of each sample, shape (time, 2); NaN in a gap.
        start_sample, end_sample: which samples of the record, the end not among them.
        off_page: samples that lie beyond the edge of the image and are therefore not seen.
    """

    label: str
    rhythm: bool
    box: Floats
    text_box: Floats | None
    pixels: Floats
    start_sample: int
    end_sample: int
    off_page: int


@dataclass(frozen=True)
class Numbered:
    """An image of at most 256 colours: `numbers`, shape (height, width), and `colours`, shape (number, 3)."""

    numbers: Bytes
    colours: Bytes


@dataclass(frozen=True)
class Page:
    """An ECG on paper.

    Attributes:
        picture: the image, by colour numbers where nothing happened to the page.
        mask: shape (height, width): 0 no ink, n the n-th of `leads`, 254 calibration pulse, 255 lettering; or None.
        leads: what was drawn, in reading order.
        gaps: shown samples that are not there.
        missing_leads: leads of the layout without any sample; their places are empty.
        facts: what else the manifest says.
        px_per_mm: of the flat sheet.
    """

    picture: Numbered | Bytes
    mask: Bytes | None
    leads: tuple[DrawnLead, ...]
    gaps: tuple[Gap, ...]
    missing_leads: tuple[str, ...]
    facts: Mapping[str, Any]
    px_per_mm: float
    plotted_pixels: bool = True

    @cached_property
    def image(self) -> Bytes:
        """Return the pixels, shape (height, width, 3), red, green, blue."""
        if isinstance(self.picture, Numbered):
            return np.asarray(self.picture.colours[self.picture.numbers])
        return self.picture

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        shape = (self.picture.numbers if isinstance(self.picture, Numbered) else self.picture).shape
        return shape[0], shape[1]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Return what is on the page, ready for JSON, with the field names of ecg-image-kit and some of our own."""
        height, width = self.size
        return {
            "width": width,
            "height": height,
            **self.facts,
            "px_per_mm": self.px_per_mm,
            "leads": [self._lead(lead) for lead in self.leads],
            "missing_leads": list(self.missing_leads),
            "gaps": [
                {"lead_name": gap.lead, "start_sample": gap.start_sample, "end_sample": gap.end_sample}
                for gap in self.gaps
            ],
        }

    def png(self) -> bytes:
        """Return the image as a PNG file in true colour: the same bytes on every machine."""
        if isinstance(self.picture, Numbered):
            return png_of_numbers(self.picture.numbers, self.picture.colours, self.px_per_mm)
        return png_of_pixels(self.picture, self.px_per_mm)

    def mask_png(self) -> bytes:
        """Return the mask as a grey PNG file.

        Raises:
            ValueError: the page was drawn without a mask.
        """
        if self.mask is None:
            raise ValueError("this page has no mask; draw it with `mask: true`")
        return png_of_pixels(self.mask, self.px_per_mm)

    def _lead(self, lead: DrawnLead) -> dict[str, Any]:
        entry: dict[str, Any] = {"lead_name": lead.label, "rhythm_strip": lead.rhythm}
        entry["lead_bounding_box"] = _corners(lead.box)
        if lead.text_box is not None:
            entry["text_bounding_box"] = _corners(lead.text_box)
        entry["start_sample"], entry["end_sample"] = lead.start_sample, lead.end_sample
        entry["off_page_samples"] = lead.off_page
        if self.plotted_pixels:
            rows = np.round(lead.pixels, 2).tolist()
            gap = np.isnan(lead.pixels[:, 0])
            entry["plotted_pixels"] = (
                [None if lost else row for lost, row in zip(gap, rows, strict=True)] if gap.any() else rows
            )
        return entry


def _corners(box: Floats) -> dict[str, list[float]]:
    return {str(number): corner for number, corner in enumerate(np.round(box, 2).tolist())}
