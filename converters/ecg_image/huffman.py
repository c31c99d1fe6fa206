"""Prefix codes and bits of a deflate stream, in whole numbers only.

Source: RFC 1951, section 3.2 (the codes), 3.2.5 (lengths and distances), 3.2.7 (how a block tells its codes).
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

LONGEST = 15
LONGEST_OF_LENGTHS = 7
LENGTH_CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def code_lengths(counts: Ints, longest: int = LONGEST) -> Ints:
    """Return the length in bits of each symbol's code, 0 where it does not occur.

    Huffman's method; ties go to the smaller symbol. Where a code would be longer than `longest`, counts are halved,
    rounded up, until none is. A lone symbol gets one bit.

    >>> code_lengths(np.array([5, 2, 1, 0, 1])).tolist()
    [1, 2, 3, 0, 3]
    """
    counts = counts.copy()
    lengths = np.zeros(len(counts), np.int64)
    used = np.flatnonzero(counts)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    while True:
        depth = _depths([int(counts[symbol]) for symbol in used])
        if max(depth) <= longest:
            lengths[used] = depth
            return lengths
        counts = (counts + 1) // 2


def _depths(counts: list[int]) -> list[int]:
    """Return the depth of each leaf of Huffman's tree."""
    heap = [(count, number) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = [0] * (2 * len(counts) - 1)
    for node in range(len(counts), len(parent)):
        (first, one), (second, other) = heapq.heappop(heap), heapq.heappop(heap)
        parent[one] = parent[other] = node
        heapq.heappush(heap, (first + second, node))
    depth = [0] * len(parent)
    for node in range(len(parent) - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    return depth[: len(counts)]


def codes_of(lengths: Ints) -> Ints:
    """Return each symbol's code, its bits already in the order in which the stream has them.

    >>> codes_of(np.array([2, 1, 3, 3])).tolist()  # 10, 0, 110, 111, turned round
    [1, 0, 3, 7]
    """
    codes = np.zeros(len(lengths), np.int64)
    code = 0
    for length in range(1, LONGEST + 1):
        for symbol in np.flatnonzero(lengths == length):
            codes[symbol] = int(f"{code:0{length}b}"[::-1], 2)
            code += 1
        code <<= 1
    return codes


def block_header(literal_lengths: Ints, distance_lengths: Ints, last: bool) -> list[tuple[int, int]]:
    """Return the (value, bits) pairs with which a block of its own codes begins."""
    literal_count = max(257, int(np.flatnonzero(literal_lengths)[-1]) + 1)
    distance_count = max(1, int(np.flatnonzero(distance_lengths).max(initial=0)) + 1)
    symbols = _run_lengths([*literal_lengths[:literal_count], *distance_lengths[:distance_count]])
    counts = np.bincount([symbol for symbol, _, _ in symbols], minlength=19)
    lengths = code_lengths(counts, LONGEST_OF_LENGTHS)
    codes = codes_of(lengths)
    told = max(4, max(place for place, symbol in enumerate(LENGTH_CODE_ORDER, 1) if lengths[symbol]))
    parts = [(int(last), 1), (2, 2), (literal_count - 257, 5), (distance_count - 1, 5), (told - 4, 4)]
    parts += [(int(lengths[symbol]), 3) for symbol in LENGTH_CODE_ORDER[:told]]
    for symbol, extra, bits in symbols:
        parts += [(int(codes[symbol]), int(lengths[symbol])), (extra, bits)]
    return parts


def _run_lengths(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Return (symbol, extra, bits): zeros in a row are told by their number, other lengths one by one."""
    told: list[tuple[int, int, int]] = []
    at = 0
    while at < len(lengths):
        run = 1
        while lengths[at] == 0 and at + run < len(lengths) and lengths[at + run] == 0 and run < 138:
            run += 1
        if run < 3:
            told += [(int(lengths[at]), 0, 0)] * run
        else:
            told.append((17, run - 3, 3) if run <= 10 else (18, run - 11, 7))
        at += run
    return told


def pack(value: Ints, bits: Ints) -> tuple[NDArray[np.uint64], int]:
    """Return values laid one after another, lowest bit first, in 64-bit words, and the number of bits.

    Args:
        value: shape (token,), each below 2**bits.
        bits: shape (token,), from 0 to 48.
    """
    end = np.cumsum(bits)
    start = end - bits
    word, shift = start >> 6, (start & 63).astype(np.uint64)
    total = int(end[-1]) if len(end) else 0
    words = np.zeros((total >> 6) + 2, np.uint64)
    unsigned = value.astype(np.uint64)
    firsts = np.flatnonzero(np.diff(word, prepend=-1))
    words[word[firsts]] = np.bitwise_or.reduceat(unsigned << shift, firsts) if len(firsts) else 0
    over = np.flatnonzero((start & 63) + bits > 64)  # at most one token a word reaches into the next
    words[word[over] + 1] |= unsigned[over] >> (np.uint64(64) - shift[over])
    return words, total
