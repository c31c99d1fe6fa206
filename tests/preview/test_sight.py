"""Pixel values turned back into pictures, and pixels per mm, with numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.previewing.sight import Sight, attended, png_of, reaching, sheet_px_per_mm, sights, size_of
from runner.spec.problems import DataError

PLAIN = SimpleNamespace(
    do_normalize=True,
    do_rescale=True,
    rescale_factor=1 / 255,
    image_mean=(0.5, 0.4, 0.3),
    image_std=(0.5, 0.25, 0.2),
    max_image_tiles=4,
)
LETTER_200_DPI = (2200, 1700)
PER_MM = 200 / 25.4


def normalised(picture: np.ndarray) -> np.ndarray:
    """Return what a processor makes of (height, width, channel) bytes: (channel, height, width)."""
    values = (picture / 255 - np.array(PLAIN.image_mean)) / np.array(PLAIN.image_std)
    return np.moveaxis(values, -1, 0).astype(np.float32)


@given(st.integers(0, 2**32 - 1))
def test_a_picture_comes_back_byte_by_byte(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    (seen,) = sights("gemma3", {"pixel_values": normalised(picture)[None]}, [(3, 9)], PLAIN)
    assert np.array_equal(seen.picture, picture)
    assert (seen.size, seen.content, seen.tiles) == ((6, 6), (6, 6), (1, 1))


def test_tiles_are_put_together_in_reading_order() -> None:
    """A 300 x 250 image on tiles of 200: two rows and two columns, number 6 of (1, 1), (1, 2), ... (2, 2)."""
    pytest.importorskip("transformers", reason="needs the extra `train`")
    canvas = np.zeros((400, 400, 3), dtype=np.uint8)
    canvas[:200, :200], canvas[:200, 200:] = 10, 20
    canvas[200:, :200], canvas[200:, 200:] = 30, 40
    tiles = [canvas[:200, :200], canvas[:200, 200:], canvas[200:, :200], canvas[200:, 200:]]
    values = np.stack([normalised(tile) for tile in tiles])[None, None]
    inputs = {"pixel_values": values, "aspect_ratio_ids": np.array([[6]])}
    (seen,) = sights("mllama", inputs, [(300, 250)], PLAIN)
    assert np.array_equal(seen.picture, canvas)
    assert seen.tiles == (2, 2)
    assert seen.content == (300, 250), "an image that fits its canvas is not enlarged"


def test_a_wide_image_has_one_row_of_tiles() -> None:
    """600 x 100 on tiles of 200: number 3 is one row of three; unused tiles are left out."""
    pytest.importorskip("transformers", reason="needs the extra `train`")
    values = np.zeros((1, 1, 4, 3, 200, 200), dtype=np.float32)
    inputs = {"pixel_values": values, "aspect_ratio_ids": np.array([[3]])}
    (seen,) = sights("mllama", inputs, [(600, 100)], PLAIN)
    assert (seen.tiles, seen.size) == ((1, 3), (600, 200))


def sight_of(content: tuple[int, int], canvas: tuple[int, int], tiles: tuple[int, int] = (1, 1)) -> Sight:
    return Sight(np.zeros((canvas[1], canvas[0], 3), dtype=np.uint8), content, tiles)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (sight_of((896, 896), (896, 896)), (3.2069, 4.1501)),  # 7.874 x 896 / 2200 and x 896 / 1700
        (sight_of((1120, 865), (1120, 1120), (2, 2)), (4.0086, 4.0065)),
        (sight_of((560, 432), (560, 560)), (2.0043, 2.0009)),
    ],
)
def test_what_reaches_the_encoder_of_a_letter_page_at_200_dpi(
    seen: Sight, expected: tuple[float, float]
) -> None:
    assert reaching((PER_MM, PER_MM), LETTER_200_DPI, seen) == pytest.approx(expected, abs=1e-4)
    assert reaching(None, LETTER_200_DPI, seen) is None


def test_cross_attention_looks_at_every_patch_of_every_tile() -> None:
    """Llama 3.2 Vision: 40 x 40 patches of 14 pixels and one more, 1,601 a tile."""
    assert attended(sight_of((1120, 865), (1120, 1120), (2, 2)), 14) == 4 * 1601
    assert attended(sight_of((560, 432), (560, 560)), 14) == 1601


def test_the_scale_is_read_beside_the_image_and_follows_its_size(tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    assert sheet_px_per_mm(page, (100, 50)) is None
    manifest = {"px_per_mm": 8.0, "width": 200, "height": 200}
    page.with_suffix(".json").write_text(json.dumps(manifest), encoding="utf-8")
    assert sheet_px_per_mm(page, (200, 200)) == (8.0, 8.0)
    assert sheet_px_per_mm(page, (100, 50)) == (4.0, 2.0)
    page.with_suffix(".json").write_text('{"dpi": 200}', encoding="utf-8")
    assert sheet_px_per_mm(page, (100, 50)) is None


def test_sizes_are_read_without_pixels_and_no_image_is_said_to_be_none(tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(png_of(np.zeros((20, 30, 3), dtype=np.uint8)))
    assert size_of(page) == (30, 20)
    page.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"page\.png cannot be opened"):
        size_of(page)
