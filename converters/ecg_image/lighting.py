"""Artefacts of paper and light: creases, wrinkles, folds, shadows, and the colour of the light.

Fields of light are made in millimetres, coarser than the image, and enlarged. Only sums, products, quotients, roots
and comparisons are used, so that they are the same everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from converters.ecg_image.chance import Draws
from converters.ecg_image.sheet import Sheet, enlarged, shaded
from converters.ecg_image.trace import Floats
from runner.spec.ecg_image import ColourTemperature, Creases, Folds, Shadows, Wrinkles

Drawn = dict[str, Any]
RIDGE_MM = 2.0
DAYLIGHT_K = 6500.0
LIGHTS = (  # temperature in K, then red, green, blue of a black body in sRGB
    (2000.0, 255.0, 137.0, 14.0),
    (3000.0, 255.0, 180.0, 107.0),
    (4000.0, 255.0, 209.0, 163.0),
    (5000.0, 255.0, 228.0, 206.0),
    (6500.0, 255.0, 249.0, 253.0),
    (8000.0, 227.0, 233.0, 255.0),
    (10000.0, 204.0, 219.0, 255.0),
    (12000.0, 191.0, 211.0, 255.0),
)
"""Source: M. Charity, Blackbody color datafile, CIE 1964 observer at 10 degrees, rounded; straight lines between."""


def creased(sheet: Sheet, options: Creases, draws: Draws) -> tuple[Sheet, Drawn]:
    """Draw thin dark lines across the sheet."""
    x, y = _places_mm(sheet, 0.5)
    light = np.ones(np.broadcast_shapes(x.shape, y.shape))
    lines = []
    for _ in range(options.count):
        across, down = draws.direction()
        at_x, at_y = draws.uniform(0, float(x[0, -1])), draws.uniform(0, float(y[-1, 0]))
        width, darkness = draws.between(options.width), draws.between(options.darkness)
        away = (x - at_x) * across + (y - at_y) * down
        light *= 1 - darkness * _bump(away / width)
        lines.append(_rounded(x=at_x, y=at_y, across=across, down=down, width=width, darkness=darkness))
    return replace(sheet, pixels=shaded(sheet.pixels, enlarged(light, sheet.size))), {"lines_mm": lines}


def wrinkled(sheet: Sheet, options: Wrinkles, draws: Draws) -> tuple[Sheet, Drawn]:
    """Shade flat facets, each leaning its own way, those nearest to evenly scattered points; and the ridges between."""
    x, y = _places_mm(sheet, 1.0)
    width, height = float(x[0, -1]), float(y[-1, 0])
    size, darkness = draws.between(options.size), draws.between(options.darkness)
    nearest = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
    second, light = nearest, np.ones(nearest.shape)
    count = max(2, int(width * height / (size * size)))
    for at_x, at_y, lean_x, lean_y, level in draws.shares(5 * count).reshape(count, 5):
        from_x, from_y = x - at_x * width, y - at_y * height
        distance = from_x * from_x + from_y * from_y
        slope = ((2 * lean_x - 1) * from_x + (2 * lean_y - 1) * from_y) / size
        here = distance < nearest
        light[here] = (1 - darkness * np.clip(0.3 * level + 0.7 * slope, 0, 1))[here]
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    light *= 1 - 0.5 * darkness * _bump((np.sqrt(second) - np.sqrt(nearest)) / RIDGE_MM)
    return replace(sheet, pixels=shaded(sheet.pixels, enlarged(light, sheet.size))), {
        "size": size,
        "darkness": darkness,
        "facets": count,
    }


def shadowed(sheet: Sheet, options: Shadows, draws: Draws) -> tuple[Sheet, Drawn]:
    """Darken what lies beyond a straight edge, softly."""
    x, y = _places_mm(sheet, 1.0)
    light = np.ones(np.broadcast_shapes(x.shape, y.shape))
    shadows = []
    for _ in range(options.count):
        across, down = draws.direction()
        side = 1.0 if draws.uniform(0, 1) < 0.5 else -1.0
        at_x, at_y = draws.uniform(0, float(x[0, -1])), draws.uniform(0, float(y[-1, 0]))
        darkness, softness = draws.between(options.darkness), draws.between(options.softness)
        beyond = np.clip(side * ((x - at_x) * across + (y - at_y) * down) / softness + 0.5, 0, 1)
        light *= 1 - darkness * beyond * beyond * (3 - 2 * beyond)
        across, down = side * across, side * down
        shadows.append(
            _rounded(x=at_x, y=at_y, across=across, down=down, darkness=darkness, softness=softness)
        )
    return replace(sheet, pixels=shaded(sheet.pixels, enlarged(light, sheet.size))), {"shadows_mm": shadows}


def folded(sheet: Sheet, options: Folds, draws: Draws) -> tuple[Sheet, Drawn]:
    """Fold the sheet parallel to an edge: what lies beyond each fold is shortened, and darker towards the fold.

    Image and points are moved along one axis by the same broken line, so boxes stay boxes. The size stays; the far edge
    repeats where the sheet became shorter.
    """
    folds = []
    for _ in range(options.count):
        upright = draws.uniform(0, 1) < 0.5
        place = float(f"{draws.uniform(0.2, 0.8):.6g}")
        darkness, shortening = draws.between(options.darkness), draws.between(options.shortening)
        sheet = _one_fold(sheet, upright, place, darkness, shortening)
        folds.append({"upright": upright, "place": place, "darkness": darkness, "shortening": shortening})
    return sheet, {"folds": folds}


def _one_fold(sheet: Sheet, upright: bool, place: float, darkness: float, shortening: float) -> Sheet:
    axis = 1 if upright else 0
    length = sheet.size[axis]
    fold = place * length
    new: Floats = np.arange(length, dtype=np.float64) + 0.5
    old = np.where(new > fold, fold + (new - fold) / (1 - shortening), new) - 0.5
    low = np.clip(np.floor(old), 0, length - 2).astype(np.int64)
    part = np.floor(np.clip(old - low, 0, 1) * 64 + 0.5).astype(np.uint16)
    part = part.reshape((1, -1, 1) if upright else (-1, 1, 1))
    pixels = np.take(sheet.pixels, low, axis) * (64 - part) + np.take(sheet.pixels, low + 1, axis) * part
    away = (new - fold) / (0.25 * length)
    light = np.where(away > 0, 1 - darkness * np.clip(1 - 0.7 * away, 0.3, 1), 1.0)
    light = light * (1 - 0.5 * darkness * _bump((new - fold) / (0.6 * sheet.px_per_mm)))
    light = np.broadcast_to(light[None, :] if upright else light[:, None], sheet.size)
    points = sheet.points.copy()
    beyond = points[:, axis] > fold
    points[beyond, axis] = fold + (points[beyond, axis] - fold) * (1 - shortening)
    mask = sheet.mask
    if mask is not None:
        mask = np.take(mask, np.clip(np.floor(old + 0.5), 0, length - 1).astype(np.int64), axis)
    mixed = ((pixels + np.uint16(32)) >> 6).astype(np.uint8)
    return replace(sheet, pixels=shaded(mixed, light), mask=mask, points=points)


def lit(sheet: Sheet, options: ColourTemperature, draws: Draws) -> tuple[Sheet, Drawn]:
    """Look at the sheet under light of another colour temperature; the brightest channel stays."""
    temperature = draws.between(options.temperature)
    light, daylight = _light(temperature), _light(DAYLIGHT_K)
    gains = [here / there for here, there in zip(light, daylight, strict=True)]
    gains = [gain / max(gains) for gain in gains]
    pixels = np.empty_like(sheet.pixels)
    for channel, gain in enumerate(gains):
        table = np.floor(np.arange(256) * gain + 0.5).astype(np.uint8)
        pixels[:, :, channel] = table[sheet.pixels[:, :, channel]]
    return replace(sheet, pixels=pixels), {"temperature": temperature}


def _light(temperature: float) -> tuple[float, ...]:
    for (cold, *before), (warm, *behind) in pairwise(LIGHTS):
        if temperature <= warm:
            part = (temperature - cold) / (warm - cold)
            return tuple(a + (b - a) * part for a, b in zip(before, behind, strict=True))
    return LIGHTS[-1][1:]


def _places_mm(sheet: Sheet, step_mm: float) -> tuple[Floats, Floats]:
    """Return x, shape (1, column), and y, shape (row, 1), in mm, about `step_mm` apart, both ends included."""
    height, width = (pixels / sheet.px_per_mm for pixels in sheet.size)
    columns, rows = int(width / step_mm) + 2, int(height / step_mm) + 2
    x: Floats = np.arange(columns, dtype=np.float64) * (width / (columns - 1))
    y: Floats = np.arange(rows, dtype=np.float64) * (height / (rows - 1))
    return x[None, :], y[:, None]


def _bump(away: Floats) -> Floats:
    """Return 1 at 0, falling smoothly to 0 at -1 and 1."""
    inside = np.clip(1 - away * away, 0, 1)
    return inside * inside


def _rounded(**values: float) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items()}
