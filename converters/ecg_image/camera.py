"""Artefacts of camera and file: noise, and what JPEG loses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.ecg_image.chance import Draws
from converters.ecg_image.jpeg import after_jpeg
from converters.ecg_image.sheet import Sheet
from converters.ecg_image.trace import Floats
from runner.spec.ecg_image import GaussianNoise, Jpeg, SaltAndPepper

Drawn = dict[str, Any]
ROWS_AT_ONCE = 64


def noisy(sheet: Sheet, options: GaussianNoise, draws: Draws) -> tuple[Sheet, Drawn]:
    """Add noise to each pixel and colour, in whole grey levels: 16 random bits choose one of as many quantiles."""
    deviation = draws.between(options.deviation)
    table = np.floor(_quantiles() * deviation + 0.5).astype(np.int16)
    pixels = np.empty_like(sheet.pixels)
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        part = sheet.pixels[top : top + ROWS_AT_ONCE]
        chosen = draws.words(-(-part.size // 4)).astype("<u8").view("<u2")[: part.size]
        pixels[top : top + ROWS_AT_ONCE] = np.clip(part + table[chosen].reshape(part.shape), 0, 255)
    return replace(sheet, pixels=pixels), {"deviation": deviation}


def peppered(sheet: Sheet, options: SaltAndPepper, draws: Draws) -> tuple[Sheet, Drawn]:
    """Make pixels black or white. A pixel that is hit twice counts once, so a little fewer than the share change."""
    share = draws.between(options.share)
    height, width = sheet.size
    count = int(share * height * width)
    place = (draws.shares(count) * (height * width)).astype(np.int64)
    white = draws.shares(count) < 0.5
    pixels = sheet.pixels.copy()
    flat = pixels.reshape(-1, 3)
    flat[place[white]] = 255
    flat[place[~white]] = 0
    return replace(sheet, pixels=pixels), {"share": share}


def compressed(sheet: Sheet, options: Jpeg, draws: Draws) -> tuple[Sheet, Drawn]:
    """Store as JPEG and read again."""
    quality = round(draws.between(options.quality))
    return replace(sheet, pixels=after_jpeg(sheet.pixels, quality)), {"quality": quality}


@cache
def _quantiles() -> Floats:
    """Return the 65,536 evenly spaced quantiles of the normal distribution, shape (65536,)."""
    normal = NormalDist()
    upper = [normal.inv_cdf((number + 0.5) / 65536) for number in range(32768, 65536)]
    half: NDArray[np.float64] = np.array(upper)
    values: Floats = np.concatenate([-half[::-1], half])
    values.setflags(write=False)
    return values
