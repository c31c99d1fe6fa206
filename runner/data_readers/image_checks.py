"""Whether an image file can be used, and a plain RGB file of it where the engine could not take it as it is."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from runner.data_readers.common import Progress
from runner.data_readers.image_files import Found
from runner.data_readers.images import PNG_END, ImageFault, ImageSetup, ReadyImage
from runner.files import write_bytes
from runner.native.parallel import processes_for, spread

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""What is opened at all; of these only still pictures."""
AS_IT_IS = ("RGB",)
FLATTENED = ("RGBA", "RGBa", "LA", "La", "PA", "P", "L", "1")
"""Modes that become RGB, on white paper where they are transparent."""
MOST_BYTES = 512 << 20
ORIENTATION = 0x0112
"""EXIF tag: how a camera was held; 1 is upright."""


class _UnusableError(Exception):
    """Why an image is of no use."""


def ready(
    path: Path, megapixels: float, cache: Path, came_from: str | None = None
) -> ReadyImage | ImageFault:
    """Return the image `path` as the engine can open it, or why it cannot.

    The file is decoded to its end. Where it is RGB and upright it is used where it lies; else a copy in RGB,
    transparent parts on white, upright, is kept in `cache` under the hash of the file.

    Args:
        path: the file.
        megapixels: largest image that is decoded, in million pixels.
        cache: folder of copies.
        came_from: what to say of where it is from; the path without it.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            return ImageFault(False, f"file of {path.stat().st_size >> 20} MiB; at most {MOST_BYTES >> 20}")
        content = path.read_bytes()
    except FileNotFoundError:
        return ImageFault(True, "no such file")
    except OSError as error:
        return ImageFault(False, f"cannot be read: {error.strerror or error}")
    digest = hashlib.sha256(content).hexdigest()
    copy = cache / "rgb" / digest[:2] / f"{digest}.png"
    if copy.is_file():  # made of these very bytes, earlier
        return _described(copy, copy.read_bytes(), came_from or str(path))
    with warnings.catch_warnings():  # Pillow warns below its own limit; ours is the one that holds
        warnings.simplefilter("ignore")
        try:
            converted = _checked(content, megapixels)
        except _UnusableError as error:
            return ImageFault(False, str(error))
    if converted is None:
        return _described(path.absolute(), content, came_from or str(path))
    out = BytesIO()
    converted.save(out, "PNG", compress_level=6)
    write_bytes(copy, out.getvalue())
    return _described(copy, out.getvalue(), came_from or str(path))


def _described(path: Path, content: bytes, came_from: str) -> ReadyImage:
    width, height = _size(content)
    digest = hashlib.sha256(content).hexdigest()
    return ReadyImage(str(path), digest, len(content), width, height, came_from)


def all_ready(
    found: Mapping[str, Found], setup: ImageSetup, progress: Progress
) -> dict[str, ReadyImage | ImageFault]:
    """Return each image file ready for the engine, or why it is not; decoded by several processes."""
    names = list(found)
    work = partial(_ready, [found[name] for name in names], setup)
    result: dict[str, ReadyImage | ImageFault] = {}
    for number, one in spread(work, range(len(names)), processes_for(setup.workers, len(names))):
        result[names[number]] = one
        progress(len(result), len(names), "images")
    return result


def _ready(found: Sequence[Found], setup: ImageSetup, number: int) -> ReadyImage | ImageFault:
    one = found[number]
    return ready(one.path, setup.limits.megapixels, setup.cache, one.came_from)


def _size(content: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
    return width, height


def _checked(content: bytes, megapixels: float) -> Image | None:
    """Decode an image; return it in RGB where the file itself will not do.

    Raises:
        _UnusableError: no image, too large, animated, of another colour space, or damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise _UnusableError(
            "empty file" if not content else f"no image in one of {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError as error:
        raise _UnusableError(f"above {megapixels:g} million pixels: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise _UnusableError(f"damaged: {error!s:.100}") from error
    with opened as image:
        width, height = image.size
        if width * height > megapixels * 1e6:
            raise _UnusableError(
                f"{width} x {height} pixels, above {megapixels:g} million (data.limits.megapixels)"
            )
        try:
            if getattr(image, "n_frames", 1) > 1:
                raise _UnusableError(f"animated or of several pages ({getattr(image, 'n_frames', 0)})")
            if image.mode not in (*AS_IT_IS, *FLATTENED):
                raise _UnusableError(f"colour mode {image.mode}; expected RGB, grey or a palette")
            image.load()
            turned = image.getexif().get(ORIENTATION, 1) != 1
        except _UnusableError:
            raise
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, TypeError) as error:
            # Pillow has no exception of its own for a damaged file: a decoder ends in any of these.
            raise _UnusableError(f"truncated or damaged: {error!s:.100}") from error
        if image.format == "PNG" and PNG_END not in content:
            raise _UnusableError("truncated: its last chunk is missing")
        if image.mode in AS_IT_IS and not turned and "transparency" not in image.info:
            return None
        upright = ImageOps.exif_transpose(image)
        seen = upright.convert("RGBA")
        page = Image.new("RGB", seen.size, "white")
        page.paste(seen, mask=seen.getchannel("A"))
        return page
