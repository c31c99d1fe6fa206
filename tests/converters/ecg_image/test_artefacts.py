"""What happens to a page: the image, the mask and the manifest move together, and chance is settled by the key."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converters.ecg_image import Page, RenderError, render
from converters.ecg_image.artefacts import ARTEFACTS
from converters.ecg_image.chance import Draws
from converters.ecg_image.jpeg import after_jpeg
from converters.ecg_image.movements import half_tangent, square_to
from converters.ecg_image.sheet import after, inverse, mapped
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Artefacts, Render

STRONG: dict[str, dict[str, Any]] = {
    "creases": {"count": 3},
    "wrinkles": {"darkness": [0.2, 0.3]},
    "folds": {"count": 2, "shortening": [0.02, 0.05]},
    "shadows": {"darkness": [0.4, 0.5]},
    "rotation": {"angle": [12, 12]},
    "skew": {"angle": [8, 8]},
    "perspective": {"strength": [0.1, 0.1]},
    "crop": {"share": [0.02, 0.04]},
    "colour_temperature": {"temperature": [3000, 3000]},
    "gaussian_noise": {"deviation": [10, 10]},
    "salt_and_pepper": {"share": [0.02, 0.02]},
    "jpeg": {"quality": [40, 40]},
}


def options(*names: str, **changes: Any) -> Render:
    """Return a rendering with strong artefacts of these names."""
    artefacts = Artefacts.model_validate_json(json.dumps({name: STRONG[name] for name in names}))
    return Render(px_per_mm=3, mask=True, artefacts=artefacts, **changes)


def page_with(signal: np.ndarray, *names: str, record: str = "r", window: int = 0, seed: int = 0) -> Page:
    return render(signal, 500, LEADS, options(*names), record=record, window=window, seed=seed)


def inside(box: np.ndarray, points: np.ndarray, slack: float) -> np.ndarray:
    """Return which points [y, x] lie in a convex quadrangle given clockwise on the screen, or so near to it."""
    within = np.ones(len(points), bool)
    for start, end in zip(box, np.roll(box, -1, axis=0), strict=True):
        along = end - start
        away = (along[1] * (points[:, 0] - start[0]) - along[0] * (points[:, 1] - start[1])) / np.hypot(
            *along
        )
        within &= away >= -slack
    return within


def test_every_artefact_is_tested() -> None:
    assert STRONG.keys() == ARTEFACTS.keys()


@pytest.mark.parametrize("names", [*((name,) for name in STRONG), tuple(STRONG)], ids="+".join)
def test_boxes_and_samples_go_where_the_ink_goes(signal: np.ndarray, names: tuple[str, ...]) -> None:
    page = page_with(signal, *names)
    assert page.mask is not None
    assert page.mask.shape == page.image.shape[:2]
    assert [entry["name"] for entry in page.manifest["artefacts"]] == list(names)
    height, width = page.mask.shape
    for number, lead in enumerate(page.leads, 1):
        ink = np.argwhere(page.mask == number) + 0.5
        assert len(ink) > 100
        assert inside(lead.box, ink, slack=1.0).all()
        assert inside(lead.box, lead.pixels, slack=1e-6).all()
        y, x = np.floor(lead.pixels).astype(int).T
        seen = (y >= 1) & (y < height - 1) & (x >= 1) & (x < width - 1)
        assert lead.off_page == ((y < 0) | (y >= height) | (x < 0) | (x >= width)).sum()
        near = np.zeros(seen.sum(), bool)
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                near |= np.isin(page.mask[y[seen] + down, x[seen] + across], (number, 254, 255)) | (
                    page.mask[y[seen] + down, x[seen] + across] > number  # a later lead drawn over it
                )
        assert near.mean() > 0.99
    text = np.argwhere(page.mask == 255) + 0.5
    for lead in page.leads:
        assert lead.text_box is not None
        if (lead.text_box > 0).all() and (lead.text_box < (height, width)).all():
            assert inside(lead.text_box, text, slack=1.0).sum() > 5


@pytest.mark.parametrize("name", STRONG)
def test_each_artefact_changes_the_page_by_its_key_alone(signal: np.ndarray, name: str) -> None:
    page, again = page_with(signal, name), page_with(signal, name)
    assert np.array_equal(page.image, again.image)
    assert page.manifest == again.manifest
    others = [page_with(signal, name, record="q"), page_with(signal, name, seed=2)]
    if name not in ("colour_temperature", "jpeg", "skew"):  # a fixed value here, and nothing else by chance
        assert all(not np.array_equal(page.image, other.image) for other in others if other.size == page.size)
    assert not np.array_equal(page.image, page_with(signal).image)


def test_another_artefact_does_not_change_what_the_first_drew(signal: np.ndarray) -> None:
    alone, both = page_with(signal, "shadows"), page_with(signal, "creases", "shadows")
    assert alone.manifest["artefacts"][0] == both.manifest["artefacts"][1]


def test_probability_is_the_share_of_pages() -> None:
    happens = [Draws(0, f"record{number}", 0, "jpeg").uniform(0, 1) < 0.3 for number in range(2000)]
    assert np.mean(happens) == pytest.approx(0.3, abs=0.03)


def test_probability_zero_leaves_the_page_as_it_is(signal: np.ndarray) -> None:
    artefacts = Artefacts.model_validate_json('{"jpeg": {"probability": 0}}')
    page = render(signal, 500, LEADS, Render(px_per_mm=3, mask=True, artefacts=artefacts), record="r")
    assert page.manifest["artefacts"] == []
    assert np.array_equal(page.image, page_with(signal).image)


def test_a_span_upside_down_is_refused(signal: np.ndarray) -> None:
    artefacts = Artefacts.model_validate_json('{"rotation": {"angle": [5, -5]}}')
    with pytest.raises(
        RenderError, match=r"artefacts.rotation.angle: expected the smallest .* got \[5, -5\]; write"
    ):
        render(signal, 500, LEADS, Render(artefacts=artefacts), record="r")


def test_a_turn_by_twelve_degrees(signal: np.ndarray) -> None:
    flat, turned = page_with(signal), page_with(signal, "rotation")
    middle = np.array(flat.size) / 2
    (y, x), (new_y, new_x) = flat.leads[0].pixels[0] - middle, turned.leads[0].pixels[0] - middle
    cosine, sine = np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
    assert (new_x, new_y) == pytest.approx((x * cosine - y * sine, x * sine + y * cosine), abs=1e-3)


@given(st.floats(-45, 45))
def test_half_tangents_without_a_sine(degrees: float) -> None:
    assert half_tangent(degrees) == pytest.approx(np.tan(np.deg2rad(degrees) / 2), abs=4e-7)


def test_maps_go_back_and_corners_go_to_corners() -> None:
    corners = ((3.0, 5.0), (97.0, 2.0), (90.0, 80.0), (8.0, 95.0))
    matrix = square_to(corners)
    square = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)  # [y, x]
    np.testing.assert_allclose(mapped(square, matrix)[:, ::-1], corners, atol=1e-9)
    points = np.random.default_rng(0).random((50, 2))
    np.testing.assert_allclose(mapped(mapped(points, matrix), inverse(matrix)), points, atol=1e-9)
    np.testing.assert_allclose(mapped(points, after(inverse(matrix), matrix)), points, atol=1e-9)


def test_noise_has_the_deviation_that_was_asked_for(signal: np.ndarray) -> None:
    flat, noisy = (page_with(signal, *names).image.astype(int) for names in ((), ("gaussian_noise",)))
    grey = (flat > 60) & (flat < 200)  # elsewhere black and white cut it off
    difference = (noisy - flat)[grey]
    assert difference.std() == pytest.approx(10, abs=0.2)
    assert difference.mean() == pytest.approx(0, abs=0.2)


def test_salt_and_pepper_hit_their_share(signal: np.ndarray) -> None:
    flat, hit = (page_with(signal, *names).image for names in ((), ("salt_and_pepper",)))
    changed = (flat != hit).any(axis=2)
    assert hit[changed].min(axis=1).tolist() == hit[changed].max(axis=1).tolist()  # black or white
    pepper = (hit[changed] == 0).all(axis=1).sum() / changed.size
    assert pepper == pytest.approx(0.01, abs=0.001)


def test_warm_light_takes_blue_and_cold_light_red(signal: np.ndarray) -> None:
    flat, warm = (page_with(signal, *names).image for names in ((), ("colour_temperature",)))
    assert np.array_equal(warm[:, :, 0], flat[:, :, 0])
    assert warm[:, :, 2].mean() < 0.5 * flat[:, :, 2].mean()


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
def test_jpeg_loses_what_pillows_jpeg_loses(signal: np.ndarray, quality: int) -> None:
    """Not bit by bit, for decoders smooth the colours each in its own way: the same error, and near to each other."""
    pixels = page_with(signal).image
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=quality, subsampling=2)
    theirs, ours = np.asarray(Image.open(stored)).astype(float), after_jpeg(pixels, quality).astype(float)
    error, other = (np.sqrt(((image - pixels) ** 2).mean()) for image in (ours, theirs))
    assert error == pytest.approx(other, rel=0.15)
    weights = np.array([0.299, 0.587, 0.114])
    assert np.sqrt((((ours - theirs) @ weights) ** 2).mean()) < 0.25 * error + 1


ALL = """
import hashlib, sys
sys.path.insert(0, "tests/support")
from ecg_pages import beats
from converters.ecg_image import render
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Artefacts, Render
artefacts = Artefacts.model_validate_json('{%s}' % ", ".join(f'"{name}": {{}}' for name in Artefacts.model_fields))
page = render(beats(), 500, LEADS, Render(px_per_mm=4, artefacts=artefacts, seed=3), record="golden")
print(hashlib.sha256(page.png()).hexdigest()[:16], hashlib.sha256(page.image.tobytes()).hexdigest()[:16])
"""


@pytest.mark.parametrize("without", ["", "AVX2 FMA3 AVX512F AVX512_SKX AVX512_ICL AVX512_SPR X86_V3 X86_V4"])
def test_the_same_page_on_a_processor_without_wide_registers(without: str) -> None:
    """All artefacts at once, golden, with and without the instructions that let NumPy round elsewhere."""
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": without}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALL],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2a4fe3c9e53fe547", "ac074ff380bb0dde"]


def test_keys_do_not_run_into_each_other() -> None:
    streams = [Draws(1, "1", 1), Draws(11, "", 1), Draws(1, "11", 1), Draws(1, "1", 11), Draws("1", "1", 1)]
    assert len({stream.words(4).tobytes() for stream in streams}) == len(streams)
    assert hashlib.sha256(Draws(0, "r", 0).words(1000).tobytes()).hexdigest()[:16] == "d143ef54c842d0ac"
