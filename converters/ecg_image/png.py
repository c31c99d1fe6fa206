"""Pixels -> a PNG file, byte for byte the same on every machine.

A page of few colours is written with a palette, one byte a pixel. What is equal to one of the rows above is a
repetition, and so is a colour that goes on to the right: that finds the whole grid at once. Photographs (pages with
artefacts) are written in true colour, as differences to the row above, with codes by frequency.

Source: PNG (ISO/IEC 15948), sections 5 (chunks), 9 (filters) and 11.3.5 (pHYs, the resolution).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.ecg_image.colours import Bytes
from converters.ecg_image.deflate import FARTHEST, SHORTEST_MATCH, Tokens, matches, zlib_stream

Ints = NDArray[np.int64]
MOST_ROWS_BACK = 16
"""How far up a row's twin is looked for at most: two millimetres at 200 dpi, so that a grid line finds the last one."""
EVERY = 16
"""Rows are compared by one pixel of so many."""
LITERAL, LEFT = 0, 1
"""Kinds of bytes; `LEFT + n` is equal to the byte `n` rows above."""
GREY, TRUE_COLOUR, PALETTE = 0, 2, 3


def png_of_numbers(numbers: Bytes, colours: Bytes, px_per_mm: float) -> bytes:
    """Return the file of a page of at most 256 colours.

    Args:
        numbers: shape (height, width).
        colours: shape (number, 3), red, green, blue.
        px_per_mm: written into the file as its resolution.
    """
    height, width = numbers.shape
    raw = np.zeros((height, 1 + width), np.uint8)  # each row begins with its filter: 0, none
    raw[:, 1:] = numbers
    stream = zlib_stream(_tokens_of_rows(raw), zlib.adler32(raw.data))
    return _file(numbers.shape, PALETTE, stream, px_per_mm, [(b"PLTE", colours.tobytes())])


def png_of_pixels(pixels: Bytes, px_per_mm: float) -> bytes:
    """Return the file of an image of shape (height, width, 3), or (height, width) for grey."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    raw = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # filter 2: difference to the row above
    raw[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=raw[1:, 1:])
    stream = zlib_stream(_tokens_of_bytes(raw.reshape(-1)), zlib.adler32(raw.data))
    return _file((height, width), TRUE_COLOUR if pixels.ndim == 3 else GREY, stream, px_per_mm)


def _tokens_of_rows(raw: Bytes) -> Tokens:
    """Return what to write for rows of which many are alike, shape (row, byte)."""
    stride = raw.shape[1]
    back = _twin_rows(raw)
    kind = np.zeros(raw.shape, np.uint8)
    np.equal(raw[:, 1:], raw[:, :-1], out=kind[:, 1:].view(bool))  # LEFT is 1
    has_twin = np.flatnonzero(back)
    twin = raw[has_twin] == raw[has_twin - back[has_twin]]
    kind[has_twin] = np.where(twin, (back[has_twin, None] + LEFT).astype(np.uint8), kind[has_twin])
    flat = kind.ravel()
    start = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    size = np.diff(start, append=len(flat))
    of_run = flat[start].astype(np.int64)
    copied = (of_run != LITERAL) & (size >= SHORTEST_MATCH)
    distance = np.where(of_run == LEFT, 1, (of_run - LEFT) * stride)
    return _woven(raw.reshape(-1), start, size, copied, distance)


def _twin_rows(raw: Bytes) -> Ints:
    """Return how far above each row the nearest of those stands that are most like it; 0 where there is none."""
    height, stride = raw.shape
    sample = np.ascontiguousarray(raw[:, EVERY // 2 :: EVERY])
    best, back = np.zeros(height, np.int64), np.zeros(height, np.int64)
    for rows in range(1, min(MOST_ROWS_BACK, FARTHEST // stride, height - 1) + 1):
        alike = np.zeros(height, np.int64)
        alike[rows:] = np.count_nonzero(sample[rows:] == sample[:-rows], axis=1)
        back[alike > best] = rows
        best = np.maximum(best, alike)
    return back


def _woven(raw: Bytes, start: Ints, size: Ints, copied: NDArray[np.bool_], distance: Ints) -> Tokens:
    """Return the tokens of runs of bytes, in order: those `copied` as repetitions, the others byte by byte."""
    count = size.copy()
    count[copied], repeated = matches(size[copied], distance[copied])
    is_copy = np.repeat(copied, count)
    value = np.zeros(len(is_copy), np.int64)
    length = np.zeros(len(is_copy), np.int64)
    value[is_copy], length[is_copy] = repeated
    shift = np.repeat(start - (np.cumsum(count) - count), count)
    plain = np.flatnonzero(~is_copy)
    value[plain] = raw[plain + shift[plain]]
    return Tokens(value, length)


def _tokens_of_bytes(raw: Bytes) -> Tokens:
    """Return what to write for any bytes: what goes on after the first of four or more equal ones is its repetition."""
    same = np.concatenate([[False], raw[1:] == raw[:-1]])
    start = np.flatnonzero(np.concatenate([[True], same[1:] != same[:-1]]))
    size = np.diff(start, append=len(raw))
    return _woven(raw, start, size, same[start] & (size >= SHORTEST_MATCH), np.ones(len(start), np.int64))


def _file(
    size: tuple[int, ...],
    colour_type: int,
    stream: bytes,
    px_per_mm: float,
    between: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    height, width = size
    per_metre = round(px_per_mm * 1000)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)),
        (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
        *between,
        (b"IDAT", stream),
        (b"IEND", b""),
    ]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        parts += [
            struct.pack(">I", len(content)),
            name,
            content,
            struct.pack(">I", zlib.crc32(name + content)),
        ]
    return b"".join(parts)
