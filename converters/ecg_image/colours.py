"""Colours of paper, grid and ink. One visible table; the words are those of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Bytes = NDArray[np.uint8]

LEVELS = 85
"""Steps of ink from none to full, for each of three grounds: 255 colours, so that one byte names a pixel's colour."""
GROUNDS = 3
"""Paper, minor grid line, major grid line."""
MINOR_MM = 0.1
MAJOR_MM = 0.2


class Scheme(NamedTuple):
    """Red, green and blue from 0 to 255."""

    paper: Colour
    minor: Colour
    major: Colour
    ink: Colour


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "red": Scheme((255, 255, 255), (246, 188, 184), (222, 74, 70), (10, 10, 12)),
        "pink": Scheme((255, 240, 241), (250, 196, 202), (238, 130, 146), (24, 22, 26)),
        "orange": Scheme((255, 251, 244), (250, 208, 168), (232, 140, 66), (16, 14, 14)),
        "green": Scheme((250, 255, 250), (186, 224, 190), (92, 172, 110), (12, 16, 14)),
        "blue": Scheme((250, 252, 255), (188, 208, 240), (98, 142, 212), (10, 12, 24)),
        "grey": Scheme((255, 255, 255), (214, 214, 214), (158, 158, 158), (0, 0, 0)),
        "black and white": Scheme((255, 255, 255), (206, 206, 206), (128, 128, 128), (0, 0, 0)),
    }
)


def palette(name: str, px_per_mm: float) -> Bytes:
    """Return the colours of a page, shape (255, 3): number `ground * LEVELS + level`.

    A grid line that is thinner than a pixel is drawn one pixel wide and as much paler.
    """
    scheme = SCHEMES[name]
    grounds = (
        np.array(scheme.paper, np.float64),
        *(
            _mixed(scheme.paper, colour, min(1.0, width * px_per_mm))
            for colour, width in ((scheme.minor, MINOR_MM), (scheme.major, MAJOR_MM))
        ),
    )
    share = np.arange(LEVELS)[:, None] / (LEVELS - 1)
    colours = [ground + (np.array(scheme.ink) - ground) * share for ground in grounds]
    return np.asarray(np.floor(np.concatenate(colours) + 0.5).astype(np.uint8))


def _mixed(paper: Colour, line: Colour, share: float) -> NDArray[np.float64]:
    return np.asarray(np.array(paper) + (np.array(line) - np.array(paper)) * share)
