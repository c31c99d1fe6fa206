"""Pixels -> a PNG file in true colour, byte for byte the same on every machine.

A page of few colours is compressed from its colour numbers: what is equal to the row above, or to one of the rows
before it, is a repetition, and so is a colour that goes on to the right. That finds the whole grid at once.
Photographs (pages with artefacts) get the difference to the row above, and codes by frequency.

Source: PNG (ISO/IEC 15948), sections 5 (chunks), 9 (filters) and 11.3.5 (pHYs, the resolution).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from converters.ecg_image.colours import Bytes
from converters.ecg_image.deflate import FARTHEST, Tokens, matches, zlib_stream

Ints = NDArray[np.int64]
ROWS_BACK = (1, 2, 3)
"""How far up a row's twin is looked for: beyond a grid line, the row before it comes again."""
LITERAL, LEFT = 0, 1
"""Kinds of pixels; `LEFT + n` is equal to the pixel `n` rows above."""


def png_of_numbers(numbers: Bytes, colours: Bytes, px_per_mm: float) -> bytes:
    """Return the file of a page of at most 256 colours.

    Args:
        numbers: shape (height, width).
        colours: shape (number, 3), red, green, blue.
        px_per_mm: written into the file as its resolution.
    """
    height, width = numbers.shape
    raw = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    raw[:, 1:] = colours[numbers].reshape(height, -1)
    return _file(
        numbers.shape, px_per_mm, zlib_stream(_tokens_of_numbers(numbers, raw), zlib.adler32(raw.data))
    )


def png_of_pixels(pixels: Bytes, px_per_mm: float | None) -> bytes:
    """Return the file of an image of shape (height, width, 3), or (height, width) for grey."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    raw = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # filter 2: difference to the row above
    raw[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=raw[1:, 1:])
    stream = zlib_stream(_tokens_of_bytes(raw.reshape(-1)), zlib.adler32(raw.data))
    return _file((height, width), px_per_mm, stream, colour_type=2 if pixels.ndim == 3 else 0)


def _tokens_of_numbers(numbers: Bytes, raw: Bytes) -> Tokens:
    """Return what to write for a page of few colours. A cell is a row's filter byte, or a pixel of three bytes."""
    height, width = numbers.shape
    stride = 1 + 3 * width
    back = _twin_rows(numbers, stride)
    kind = np.zeros((height, width + 1), np.uint8)
    kind[:, 2:][numbers[:, 1:] == numbers[:, :-1]] = LEFT
    has_twin = np.flatnonzero(back)
    twin = numbers[has_twin] == numbers[has_twin - back[has_twin]]
    copied = (back[has_twin, None] + LEFT).astype(np.uint8)
    kind[has_twin, 1:] = np.where(twin, copied, kind[has_twin, 1:])
    kind[has_twin, 0] = np.where(twin[:, 0], copied[:, 0], LITERAL)  # alone it would be too short to repeat
    flat = kind.reshape(-1)
    change = np.ones(len(flat), bool)
    np.not_equal(flat[1:], flat[:-1], out=change[1:])
    change |= flat == LITERAL
    start = np.flatnonzero(change)
    return _woven(start, flat[start], raw.reshape(-1), width, stride)


def _twin_rows(numbers: Bytes, stride: int) -> Ints:
    """Return for each row how far above the row stands that is most like it, judged by every eighth pixel; 0: none."""
    height = len(numbers)
    sample = np.ascontiguousarray(numbers[:, ::8])
    best, back = np.zeros(height, np.int64), np.zeros(height, np.int64)
    for rows in ROWS_BACK:
        if rows * stride > FARTHEST or rows >= height:
            break
        alike = np.zeros(height, np.int64)
        alike[rows:] = np.count_nonzero(sample[rows:] == sample[:-rows], axis=1)
        back[alike > best] = rows
        best = np.maximum(best, alike)
    return back


def _woven(start: Ints, kind: Bytes, raw: Bytes, width: int, stride: int) -> Tokens:
    """Return the tokens of runs of cells that begin at `start`, in order."""
    first = start // (width + 1) * stride + _byte_of_cell(start % (width + 1))
    size = np.diff(first, append=len(raw))
    literal = kind == LITERAL
    distance = np.where(kind == LEFT, 3, (kind.astype(np.int64) - LEFT) * stride)
    count = np.where(literal, size, 0)
    copy = np.flatnonzero(~literal)
    count[copy], repeated = matches(size[copy], distance[copy])
    total = int(count.sum())
    value, length = np.zeros(total, np.int64), np.zeros(total, np.int64)
    is_copy = np.repeat(~literal, count)
    value[is_copy], length[is_copy] = repeated
    plain = np.flatnonzero(~is_copy)
    begin = np.cumsum(count) - count
    value[plain] = raw[np.repeat(first - begin, count)[plain] + plain]
    return Tokens(value, length)


def _byte_of_cell(cell: Ints) -> Ints:
    return np.where(cell == 0, 0, 3 * cell - 2)


def _tokens_of_bytes(raw: Bytes) -> Tokens:
    """Return what to write for any bytes: five or more equal ones are one and its repetition."""
    start = np.flatnonzero(np.concatenate([[True], raw[1:] != raw[:-1]]))
    size = np.diff(start, append=len(raw))
    long = size >= 5
    copies, repeated = matches(size[long] - 1, np.ones(int(long.sum()), np.int64))
    count = size.copy()
    count[long] = copies + 1
    first = np.cumsum(count) - count
    value = np.repeat(raw[start].astype(np.int64), count)
    length = np.zeros(len(value), np.int64)
    is_copy = np.repeat(long, count)
    is_copy[first[long]] = False
    value[is_copy], length[is_copy] = repeated
    return Tokens(value, length)


def _file(size: tuple[int, ...], px_per_mm: float | None, stream: bytes, colour_type: int = 2) -> bytes:
    height, width = size
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))]
    if px_per_mm is not None:
        per_metre = round(px_per_mm * 1000)
        chunks.append((b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)))
    chunks += [(b"IDAT", stream), (b"IEND", b"")]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        parts += [
            struct.pack(">I", len(content)),
            name,
            content,
            struct.pack(">I", zlib.crc32(name + content)),
        ]
    return b"".join(parts)
