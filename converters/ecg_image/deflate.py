"""Tokens -> a zlib stream that is the same on every machine.

zlib, zlib-ng and the others compress the same bytes to different streams, so "the same seed gives the same file"
needs an encoder of our own. It is simple: the caller says which bytes repeat, and each part gets codes of its own.

Source: RFC 1950 and 1951.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from converters.ecg_image.huffman import Ints, block_header, code_lengths, codes_of, pack

SHORTEST_MATCH, LONGEST_MATCH = 3, 258
FARTHEST = 32768
END = 256
TOKENS_A_BLOCK = 1 << 18
"""A block's tokens fit the processor's cache, and its codes fit its part of the image."""


class Tokens(NamedTuple):
    """What a stream says: `length` 0 is the byte `value`; else `length` bytes as they stood `value` bytes before."""

    value: Ints
    length: Ints


def _length_tables() -> tuple[Ints, Ints, Ints]:
    """Return symbol, extra bits and their number for each match length from 0 to 258 (RFC 1951, 3.2.5)."""
    symbol, extra, bits = (np.zeros(LONGEST_MATCH + 1, np.int64) for _ in range(3))
    length = 3
    for code in range(257, 285):
        width = max(0, (code - 261) // 4)
        for rest in range(1 << width):
            symbol[length], extra[length], bits[length] = code, rest, width
            length = min(length + 1, LONGEST_MATCH)
    symbol[LONGEST_MATCH], extra[LONGEST_MATCH], bits[LONGEST_MATCH] = 285, 0, 0
    return symbol, extra, bits


LENGTH_SYMBOL, LENGTH_EXTRA, LENGTH_BITS = _length_tables()


def distance_code(distance: int) -> tuple[int, int, int]:
    """Return symbol, extra bits and their number for a distance (RFC 1951, 3.2.5).

    >>> distance_code(1), distance_code(5), distance_code(32768)
    ((0, 0, 0), (4, 0, 1), (29, 8191, 13))
    """
    if distance <= 4:
        return distance - 1, 0, 0
    bits = (distance - 1).bit_length() - 2
    half = (distance - 1) >> bits & 1
    return 2 * bits + 2 + half, (distance - 1) & ((1 << bits) - 1), bits


def zlib_stream(tokens: Tokens, adler32: int) -> bytes:
    """Return the stream of `tokens`, with the check sum of what they stand for."""
    values: list[Ints] = []
    widths: list[Ints] = []
    count = len(tokens.value)
    starts = range(0, max(count, 1), TOKENS_A_BLOCK)
    parts: list[bytes] = [b"\x78\x01"]
    carried = (0, 0)
    for start in starts:
        part = Tokens(*(column[start : start + TOKENS_A_BLOCK] for column in tokens))
        value, bits = _block(part, last=start + TOKENS_A_BLOCK >= count)
        values, widths = [np.array([carried[0]]), value], [np.array([carried[1]]), bits]
        words, total = pack(np.concatenate(values), np.concatenate(widths))
        whole = total // 8
        content = words.astype("<u8").tobytes()
        parts.append(content[:whole])
        carried = (content[whole] & ((1 << total % 8) - 1), total % 8)
    if carried[1]:
        parts.append(bytes([carried[0]]))
    return b"".join([*parts, adler32.to_bytes(4, "big")])


def _block(tokens: Tokens, *, last: bool) -> tuple[Ints, Ints]:
    """Return the values and widths of a block's bits: its codes, its tokens, its end."""
    match = tokens.length > 0
    symbol = np.where(match, LENGTH_SYMBOL[tokens.length], tokens.value)
    counts = np.bincount(symbol, minlength=286)
    counts[END] += 1
    lengths = code_lengths(counts)
    value, width = codes_of(lengths)[symbol], lengths[symbol]
    distance_lengths = np.zeros(30, np.int64)
    where = np.flatnonzero(match)
    if len(where):
        length = tokens.length[where]
        distances, which = np.unique(tokens.value[where], return_inverse=True)
        codes = np.array([distance_code(int(distance)) for distance in distances])
        distance_lengths = code_lengths(np.bincount(codes[which, 0], minlength=30))
        distance_value = (
            codes_of(distance_lengths)[codes[:, 0]] | codes[:, 1] << distance_lengths[codes[:, 0]]
        )
        distance_width = distance_lengths[codes[:, 0]] + codes[:, 2]
        at = width[where]
        value[where] |= LENGTH_EXTRA[length] << at
        at = at + LENGTH_BITS[length]
        value[where] |= distance_value[which] << at
        width[where] = at + distance_width[which]
    head = np.array(block_header(lengths, distance_lengths, last))
    return (
        np.concatenate([head[:, 0], value, codes_of(lengths)[END : END + 1]]),
        np.concatenate([head[:, 1], width, lengths[END : END + 1]]),
    )


def matches(total: Ints, distance: Ints) -> tuple[Ints, Tokens]:
    """Return how many tokens each repetition needs, and all of them in order: none shorter than 3 or longer than 258.

    Args:
        total: shape (run,), bytes that repeat, at least 3 each.
        distance: shape (run,), how far back they stand.

    >>> matches(np.array([3, 260]), np.array([1, 9]))[1].length.tolist()
    [3, 257, 3]
    """
    rest = total % LONGEST_MATCH
    count = total // LONGEST_MATCH + (rest > 0)
    length = np.full(int(count.sum()), LONGEST_MATCH)
    final = np.cumsum(count) - 1
    length[final] = np.where(rest == 0, LONGEST_MATCH, np.maximum(rest, 3))
    short = (rest > 0) & (rest < 3)  # the last one is 3 long, and the one before it as much shorter
    length[final[short] - 1] -= 3 - rest[short]
    return count, Tokens(np.repeat(distance, count), length)
