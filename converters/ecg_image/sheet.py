"""A page as artefacts see it: pixels, mask, and every point of the manifest; and how all three move together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from converters.ecg_image.colours import Bytes
from converters.ecg_image.trace import Floats

Matrix = tuple[float, ...]
"""A projective map of the plane, row by row: (x, y, 1) -> (a, b, c), which is the point (a / c, b / c)."""
IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ROWS_AT_ONCE = 32
PART_BITS = 6
"""Pixels are mixed in steps of 1/64 pixel, in whole numbers."""
LANES = (0, 21, 42)
"""Where red, green and blue stand in a 64-bit word: 8 bits of colour and 12 of weight, three times."""


@dataclass(frozen=True)
class Sheet:
    """A page on its way through the artefacts.

    Attributes:
        pixels: shape (height, width, 3).
        mask: shape (height, width), or None.
        points: shape (point, 2), [y, x] in pixels: corners of boxes and places of samples.
        px_per_mm: of the flat sheet; for sizes of artefacts, which are given in mm.
    """

    pixels: Bytes
    mask: Bytes | None
    points: Floats
    px_per_mm: float

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


class Move(NamedTuple):
    """A projective map from the old places to the new ones, and the new height and width."""

    matrix: Matrix
    size: tuple[int, int]


def after(second: Matrix, first: Matrix) -> Matrix:
    """Return the map that does `first` and then `second`.

    >>> after((1, 0, 5, 0, 1, 0, 0, 0, 1), (2, 0, 0, 0, 2, 0, 0, 0, 1))
    (2, 0, 5, 0, 2, 0, 0, 0, 1)
    """
    return tuple(
        second[3 * i] * first[j] + second[3 * i + 1] * first[3 + j] + second[3 * i + 2] * first[6 + j]
        for i in range(3)
        for j in range(3)
    )


def inverse(matrix: Matrix) -> Matrix:
    """Return the map back, by cofactors; a factor common to all nine numbers does not count."""
    a, b, c, d, e, f, g, h, i = matrix
    upper = (e * i - f * h, c * h - b * i, b * f - c * e)
    middle = (f * g - d * i, a * i - c * g, c * d - a * f)
    lower = (d * h - e * g, b * g - a * h, a * e - b * d)
    return tuple(value / lower[2] for value in (*upper, *middle, *lower))


def mapped(points: Floats, matrix: Matrix) -> Floats:
    """Return where points [y, x] go."""
    y, x = points[:, 0], points[:, 1]
    a, b, c, d, e, f, g, h, i = matrix
    below = g * x + h * y + i
    return np.stack([(d * x + e * y + f) / below, (a * x + b * y + c) / below], axis=1)


def moved(sheet: Sheet, move: Move, background: int) -> Sheet:
    """Return the sheet with everything in its new place; `background` is the grey of what the sheet leaves free.

    Each pixel is mixed of the four around the place it comes from; the mask takes the nearest.
    """
    back = inverse(move.matrix)
    height, width = move.size
    old_height, old_width = sheet.size
    packed = _packed(sheet.pixels, background)
    pixels = np.empty((height, width, 3), np.uint8)
    mask = None if sheet.mask is None else np.zeros((height, width), np.uint8)
    a, b, c, d, e, f, g, h, i = back
    x = np.arange(width)[None, :] + 0.5
    for top in range(0, height, ROWS_AT_ONCE):
        y = np.arange(top, min(top + ROWS_AT_ONCE, height))[:, None] + 0.5
        below = g * x + h * y + i
        from_x, from_y = (a * x + b * y + c) / below, (d * x + e * y + f) / below
        pixels[top : top + len(y)] = _mixed(packed, from_x, from_y)
        if mask is not None and sheet.mask is not None:
            column, row = np.floor(from_x).astype(np.int64), np.floor(from_y).astype(np.int64)
            inside = (column >= 0) & (column < old_width) & (row >= 0) & (row < old_height)
            mask[top : top + len(y)][inside] = sheet.mask[row[inside], column[inside]]
    return replace(sheet, pixels=pixels, mask=mask, points=mapped(sheet.points, move.matrix))


def _packed(pixels: Bytes, background: int) -> np.ndarray:
    """Return colours as one word each, with a margin of two background pixels."""
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), constant_values=background)
    words = np.zeros(padded.shape[:2], np.uint64)
    for channel, lane in enumerate(LANES):
        words |= padded[:, :, channel].astype(np.uint64) << np.uint64(lane)
    return words


def _mixed(packed: np.ndarray, from_x: Floats, from_y: Floats) -> Bytes:
    """Return the colours at places of the unpadded image, shape (row, column, 3)."""
    rows, columns = packed.shape
    steps = 1 << PART_BITS
    x, y = (
        np.clip(np.floor((place + 1.5) * steps), 0, (count - 2) * steps).astype(np.int64)
        for place, count in ((from_x, columns), (from_y, rows))
    )
    part_x, part_y = (x & (steps - 1)).astype(np.uint64), (y & (steps - 1)).astype(np.uint64)
    at = (y >> PART_BITS) * columns + (x >> PART_BITS)
    flat, whole = packed.reshape(-1), np.uint64(steps)
    upper = flat[at] * (whole - part_x) + flat[at + 1] * part_x
    lower = flat[at + columns] * (whole - part_x) + flat[at + columns + 1] * part_x
    mixed = upper * (whole - part_y) + lower * part_y
    result = np.empty((*at.shape, 3), np.uint8)
    half, bits, byte = 1 << (2 * PART_BITS - 1), np.uint64(2 * PART_BITS), np.uint64(255)
    mixed += np.uint64(sum(half << lane for lane in LANES))
    for channel, lane in enumerate(LANES):
        result[:, :, channel] = mixed >> (np.uint64(lane) + bits) & byte
    return result


def enlarged(field: Floats, size: tuple[int, int]) -> Floats:
    """Return a coarse field at the size of an image, values in between mixed evenly; corners lie on corners."""
    for axis, count in enumerate(size):
        place = (np.arange(count) + 0.5) * ((field.shape[axis] - 1) / count)
        low = np.minimum(np.floor(place).astype(np.int64), field.shape[axis] - 2)
        part = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        field = np.take(field, low, axis) * (1 - part) + np.take(field, low + 1, axis) * part
    return field


def shaded(pixels: Bytes, light: Floats) -> Bytes:
    """Return pixels under a light: shape (height, width), 1 leaves them as they are, 0 makes them black."""
    steps = np.clip(np.floor(light * 256 + 0.5), 0, 256).astype(np.uint16)[:, :, None]
    return np.asarray(((pixels * steps + np.uint16(127)) >> 8).astype(np.uint8))
