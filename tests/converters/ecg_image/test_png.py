"""The PNG encoder: any image comes back as it was, from any reader, and limits of the format are kept."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from converters.ecg_image import render
from converters.ecg_image.deflate import TOKENS_A_BLOCK, Tokens, distance_code, matches, zlib_stream
from converters.ecg_image.huffman import LONGEST, code_lengths, codes_of, pack
from converters.ecg_image.png import png_of_numbers, png_of_pixels
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Render


def opened(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)


SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None, max_examples=150)
@given(arrays(np.uint8, SIDES, elements=st.integers(0, 3)))
def test_images_of_few_colours_come_back(numbers: np.ndarray) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (255, 3), dtype=np.uint8)
    assert np.array_equal(opened(png_of_numbers(numbers, colours, 8.0)), colours[numbers])


@settings(deadline=None, max_examples=100)
@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_images_in_true_colour_come_back(pixels: np.ndarray) -> None:
    assert np.array_equal(opened(png_of_pixels(pixels, 8.0)), pixels)
    assert np.array_equal(opened(png_of_pixels(pixels[:, :, 0], 8.0)), pixels[:, :, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 70000), (3, 40000), (700, 3), (600, 900)])
def test_shapes_at_the_edges_of_the_format(shape: tuple[int, int]) -> None:
    """One pixel; rows longer than the 32 KiB that a repetition may reach back; several blocks."""
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (255, 3), dtype=np.uint8)
    for numbers in (np.zeros(shape, np.uint8), rng.integers(0, 255, shape, dtype=np.uint8)):
        assert np.array_equal(opened(png_of_numbers(numbers, colours, 8.0)), colours[numbers])


def test_the_resolution_is_in_the_file(signal: np.ndarray) -> None:
    content = render(signal, 500, LEADS, Render(dpi=100), record="r").png()
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["dpi"] == pytest.approx((100, 100), abs=0.1)


def test_pages_are_smaller_than_zlib_makes_them_at_its_fastest(signal: np.ndarray) -> None:
    page = render(signal, 500, LEADS, Render(), record="r")
    numbers = page.picture.numbers  # type: ignore[union-attr]
    assert len(page.png()) < len(zlib.compress(numbers.tobytes(), 1))


def test_repetitions_of_every_length_and_distance() -> None:
    """A stream that says `a, b, c`, then copies of each length from three back, read by zlib."""
    lengths = np.arange(3, 1200)
    count, tokens = matches(lengths, np.full(len(lengths), 3))
    assert tokens.length.min() >= 3
    assert tokens.length.max() <= 258
    assert np.array_equal(np.add.reduceat(tokens.length, np.cumsum(count) - count), lengths)
    plain = b"abc" + (b"abc" * lengths.sum())[: lengths.sum()]
    stream = Tokens(np.concatenate([[97, 98, 99], tokens.value]), np.concatenate([[0, 0, 0], tokens.length]))
    assert zlib.decompress(zlib_stream(stream, zlib.adler32(plain))) == plain
    for distance in (1, 2, 4, 5, 8, 9, 255, 256, 257, 1024, 4097, 32768):
        random = np.random.default_rng(distance).integers(0, 256, distance)
        stream = Tokens(np.append(random, distance), np.append(np.zeros(distance, np.int64), 258))
        plain = bytes(random.astype(np.uint8))
        plain += bytes(plain[number % distance] for number in range(258))
        assert zlib.decompress(zlib_stream(stream, zlib.adler32(plain))) == plain
    assert distance_code(24577) == (29, 0, 13)


def test_blocks_join_at_any_bit() -> None:
    rng = np.random.default_rng(2)
    for count in (0, 1, TOKENS_A_BLOCK - 1, TOKENS_A_BLOCK, TOKENS_A_BLOCK + 1, 2 * TOKENS_A_BLOCK + 77):
        plain = rng.integers(0, 200, count).astype(np.uint8)
        stream = Tokens(plain.astype(np.int64), np.zeros(count, np.int64))
        assert zlib.decompress(zlib_stream(stream, zlib.adler32(plain.data))) == plain.tobytes()


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=286))
def test_codes_are_complete_and_never_too_long(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts))
    used = lengths[lengths > 0]
    assert np.array_equal(lengths > 0, np.array(counts) > 0)
    assert used.max(initial=0) <= LONGEST
    if len(used) > 1:
        assert (2.0 ** -used.astype(float)).sum() == 1.0  # Kraft: nothing left over, nothing twice


def test_counts_like_fibonaccis_would_need_codes_that_are_too_long() -> None:
    counts = [1, 1]
    while len(counts) < 40:
        counts.append(counts[-1] + counts[-2])
    lengths = code_lengths(np.array(counts))
    assert lengths.max() == LONGEST
    assert len(set(zip(codes_of(lengths).tolist(), lengths.tolist(), strict=True))) == 40


def test_bits_are_laid_lowest_first_across_words() -> None:
    value, bits = np.array([1, 0b101, 2**48 - 1, 0, 3]), np.array([1, 3, 48, 20, 2])
    words, total = pack(value, bits)
    whole = int(words[0]) | int(words[1]) << 64
    assert total == 74
    assert whole == 1 | 0b101 << 1 | (2**48 - 1) << 4 | 0 << 52 | 3 << 72
