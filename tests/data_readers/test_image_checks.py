"""Image files that can be used, those that are put right, and those that are refused with a reason."""

from __future__ import annotations

import hashlib
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from runner.data_readers.image_checks import ready
from runner.data_readers.images import ImageFault, ReadyImage

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


RGB = encoded(Image.fromarray(PIXELS))


def check(
    tmp_path: Path, content: bytes, name: str = "a.png", megapixels: float = 40
) -> ReadyImage | ImageFault:
    file = tmp_path / name
    file.write_bytes(content)
    return ready(file, megapixels, tmp_path / "cache")


def fault(tmp_path: Path, content: bytes, **options: float) -> str:
    found = check(tmp_path, content, megapixels=options.get("megapixels", 40))
    assert isinstance(found, ImageFault)
    assert not found.missing
    return found.reason


def test_an_rgb_image_is_used_where_it_lies(tmp_path: Path) -> None:
    found = check(tmp_path, RGB)
    assert found == ReadyImage(
        str(tmp_path / "a.png"), hashlib.sha256(RGB).hexdigest(), len(RGB), 60, 40, str(tmp_path / "a.png")
    )
    assert not (tmp_path / "cache").exists()


def test_a_jpeg_too(tmp_path: Path) -> None:
    found = check(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG"), "a.jpg")
    assert isinstance(found, ReadyImage)
    assert found.path.endswith("a.jpg")


def test_transparent_parts_become_white_paper(tmp_path: Path) -> None:
    """Left half: red, half seen: 255 * 0.5 + 255 * 0.5 = 255 red, and 127 or 128 of the others. Right half: nothing."""
    pixels = np.zeros((4, 8, 4), dtype=np.uint8)
    pixels[:, :4] = (255, 0, 0, 128)
    found = check(tmp_path, encoded(Image.fromarray(pixels)))
    assert isinstance(found, ReadyImage)
    with Image.open(found.path) as image:
        assert image.mode == "RGB"
        red, green, _ = np.asarray(image)[0, 0]
        assert (red, int(green) in (127, 128)) == (255, True)
        assert (np.asarray(image)[0, 7] == 255).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    found = check(tmp_path, encoded(Image.fromarray(PIXELS).convert(mode)))
    assert isinstance(found, ReadyImage)
    with Image.open(found.path) as image:
        assert (image.mode, image.size, (found.width, found.height)) == ("RGB", (60, 40), (60, 40))
    assert found.sha256 == hashlib.sha256(Path(found.path).read_bytes()).hexdigest()


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    found = check(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG", exif=exif))
    assert isinstance(found, ReadyImage)
    assert (found.width, found.height) == (40, 60)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG")
    assert "colour mode CMYK; expected RGB" in fault(tmp_path, content)


def test_sixteen_bit_grey_is_refused(tmp_path: Path) -> None:
    assert "colour mode I;16" in fault(tmp_path, encoded(Image.fromarray(np.zeros((4, 4), dtype=np.uint16))))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_is_refused(tmp_path: Path, form: str) -> None:
    still = Image.fromarray(PIXELS)
    more = [Image.fromarray(PIXELS[::-1].copy())]
    assert "animated or of several pages (2)" in fault(
        tmp_path, encoded(still, form, save_all=True, append_images=more)
    )


def bomb(side: int) -> bytes:
    """Return a PNG of side x side pixels whose bytes are few: its data begin, and never come."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [7000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, side: int) -> None:
    assert "million" in fault(tmp_path, bomb(side))


def test_the_limit_is_the_spec_s(tmp_path: Path) -> None:
    assert isinstance(check(tmp_path, RGB, megapixels=0.0024), ReadyImage)
    assert "60 x 40 pixels, above 0.0023 million (data.limits.megapixels)" in fault(
        tmp_path, RGB, megapixels=0.0023
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(RGB) - 1))
def test_an_image_cut_off_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    """Pillow has all pixels before the last 16 bytes; the file is not what was written all the same."""
    assert isinstance(check(tmp_path, RGB[:length]), ImageFault)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_used(tmp_path: Path, content: bytes) -> None:
    assert isinstance(check(tmp_path, content), ImageFault)


def test_a_page_of_text_is_no_image(tmp_path: Path) -> None:
    assert "no image in one of PNG, JPEG" in fault(tmp_path, b"<html>not found</html>")
    assert fault(tmp_path, b"") == "empty file"


def test_a_postscript_file_is_not_run(tmp_path: Path) -> None:
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n"
    assert "no image in one of" in fault(tmp_path, content)


def test_no_file_is_missing_and_not_damaged(tmp_path: Path) -> None:
    found = ready(tmp_path / "none.png", 40, tmp_path)
    assert found == ImageFault(True, "no such file")


@pytest.mark.realdata
def test_real_images(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ecg_images"
    files = sorted([*folder.rglob("*.png"), *folder.rglob("*.jpg")])
    found = [ready(file, 40, tmp_path) for file in files]
    assert len(found) == 11
    for one, file in zip(found, files, strict=True):
        assert isinstance(one, ReadyImage), (file, one)
        with Image.open(one.path) as image:
            assert image.mode == "RGB"
