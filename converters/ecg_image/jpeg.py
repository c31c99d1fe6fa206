"""What JPEG loses, and nothing else: cosine transform, quantisation and halved colour, without the file in between.

Decoders differ between libraries and processors by a level here and there; this one does not. Single precision,
element by element, in a fixed order.

Source: ITU-T T.81, annexes A.3 (transform) and K.1 (tables); JFIF 1.02 (colours); the scale of the quality is that of
the Independent JPEG Group's `jpeg_quality_scaling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.ecg_image.colours import Bytes

Singles = NDArray[np.float32]
ROWS_AT_ONCE = 64
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
COSINES = (1.0, 0.98078528, 0.92387953, 0.83146961, 0.70710678, 0.55557023, 0.38268343, 0.19509032)
"""cos(n * pi / 16) for n = 0 to 7."""


def after_jpeg(pixels: Bytes, quality: int) -> Bytes:
    """Return an image, shape (height, width, 3), as it comes back from JPEG of a quality from 1 to 100."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    tables = [quantisation(table, quality) for table in (LUMINANCE, CHROMINANCE, CHROMINANCE)]
    result = np.empty_like(padded)
    for top in range(0, len(padded), ROWS_AT_ONCE):  # whole blocks, few enough for the processor's cache
        red, green, blue = np.moveaxis(padded[top : top + ROWS_AT_ONCE].astype(np.float32), 2, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        planes = [luma - 128, _halved((blue - luma) * (0.5 / 0.886)), _halved((red - luma) * (0.5 / 0.701))]
        luma, to_blue, to_red = (_lossy(plane, table) for plane, table in zip(planes, tables, strict=True))
        to_blue, to_red = _doubled(to_blue), _doubled(to_red)
        luma = luma + 128
        red, blue = luma + 1.402 * to_red, luma + 1.772 * to_blue
        green = luma - 0.344136 * to_blue - 0.714136 * to_red
        for channel, plane in enumerate((red, green, blue)):
            result[top : top + len(plane), :, channel] = np.clip(np.floor(plane + 0.5), 0, 255)
    return result[:height, :width]


def quantisation(table: tuple[tuple[int, ...], ...], quality: int) -> Singles:
    """Return the steps to which coefficients are rounded, shape (8, 8).

    >>> quantisation(LUMINANCE, 50)[0].astype(int).tolist(), quantisation(LUMINANCE, 100).max()
    ([16, 11, 10, 16, 24, 40, 51, 61], np.float32(1.0))
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(table) * percent + 50) // 100, 1, 255).astype(np.float32)


def _lossy(plane: Singles, steps: Singles) -> Singles:
    """Return a plane of whole blocks after transform, rounding and the way back."""
    rows, columns = plane.shape
    blocks = np.ascontiguousarray(plane.reshape(rows // 8, 8, columns // 8, 8).transpose(1, 3, 0, 2))
    found = _transformed(_transformed(blocks).swapaxes(0, 1)).swapaxes(0, 1)
    scale = steps[:, :, None, None]
    found = np.floor(found / scale + np.float32(0.5)) * scale
    blocks = _restored(_restored(found).swapaxes(0, 1)).swapaxes(0, 1)
    return np.asarray(blocks.transpose(2, 0, 3, 1).reshape(rows, columns))


def _basis(frequency: int, place: int) -> np.float32:
    """Return half the orthonormal cosine: cos((2 * place + 1) * frequency * pi / 16), scaled."""
    step = (2 * place + 1) * frequency % 32
    step = 32 - step if step > 16 else step
    sign, step = (-1.0, 16 - step) if step > 8 else (1.0, step)
    cosine = 0.0 if step == 8 else COSINES[step]
    return np.float32(sign * cosine * (0.35355339 if frequency == 0 else 0.5))


BASIS = tuple(tuple(_basis(frequency, place) for place in range(4)) for frequency in range(8))
"""Of the first half of the places; the second half mirrors it, for odd frequencies with the other sign."""


def _transformed(places: Singles) -> Singles:
    """Return frequencies along the first axis, of 8."""
    sums = [places[k] + places[7 - k] for k in range(4)]
    differences = [places[k] - places[7 - k] for k in range(4)]
    found = np.empty_like(places)
    for frequency in range(8):
        a, b, c, d = differences if frequency % 2 else sums
        p, q, r, s = BASIS[frequency]
        found[frequency] = (p * a + q * b) + (r * c + s * d)
    return found


def _restored(found: Singles) -> Singles:
    """Return places along the first axis, of 8."""
    places = np.empty_like(found)
    for k in range(4):
        even = (BASIS[0][k] * found[0] + BASIS[2][k] * found[2]) + (
            BASIS[4][k] * found[4] + BASIS[6][k] * found[6]
        )
        odd = (BASIS[1][k] * found[1] + BASIS[3][k] * found[3]) + (
            BASIS[5][k] * found[5] + BASIS[7][k] * found[7]
        )
        places[k], places[7 - k] = even + odd, even - odd
    return places


def _halved(plane: Singles) -> Singles:
    """Return the means of two by two pixels."""
    return np.asarray(
        (plane[::2, ::2] + plane[::2, 1::2] + plane[1::2, ::2] + plane[1::2, 1::2]) * np.float32(0.25)
    )


def _doubled(plane: Singles) -> Singles:
    return np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1)
