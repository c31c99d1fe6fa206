"""What an encoder of images is given, turned back into pictures; and how much of the paper's detail reaches it.

`SEEN` says for each architecture how its pixel values lie. Sizes are (width, height) in pixels throughout.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from runner.spec.problems import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_PX_PER_MM = 3.0
"""Below it the 1 mm squares of ECG paper, 0.1 mV and 40 ms each, run into each other."""

FULL_SIZE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "gemma3": {"size": {"height": 896, "width": 896}},
        "mllama": {"size": {"height": 560, "width": 560}, "max_image_tiles": 4},
    }
)
"""Architecture -> what the published processors have (google/medgemma-4b-it, meta-llama/Llama-3.2-11B-Vision-Instruct:
preprocessor_config.json). A rehearsal's own encoder is too small to show anything."""


@dataclass(frozen=True)
class Sight:
    """One image as an encoder gets it.

    Attributes:
        picture: shape (height, width, 3), as it was before it was made into normalised numbers.
        content: size of what the image itself became in it; what lies right of it and below is padding.
        tiles: rows and columns of tiles that the picture was cut into; (1, 1) where it was not.
    """

    picture: NDArray[np.uint8]
    content: tuple[int, int]
    tiles: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the picture."""
        return int(self.picture.shape[1]), int(self.picture.shape[0])


def size_of(file: Path) -> tuple[int, int]:
    """Return width and height of an image file, without reading its pixels.

    Raises:
        DataError: it cannot be opened; names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"the image {file} cannot be opened: {error}") from error
    return int(width), int(height)


def sights(
    architecture: str, inputs: Mapping[str, Any], sizes: Sequence[tuple[int, int]], image_processor: Any
) -> list[Sight]:
    """Return what the model is given of each image of a row.

    Args:
        architecture: with a vision tower.
        inputs: of a batch of this one row; holds `pixel_values`.
        sizes: of the images, in order.
        image_processor: made the pixel values.
    """
    return SEEN[architecture](inputs, sizes, image_processor)


def full_size_sights(architecture: str, files: Sequence[Path], image_processor: Any) -> list[Sight]:
    """Return what the published processor of the architecture gives of some images."""
    from PIL import Image

    published = type(image_processor)(**FULL_SIZE[architecture])
    found = []
    for file in files:
        with Image.open(file) as image:
            inputs = published(images=[image.convert("RGB")], return_tensors="np")
        found += sights(architecture, inputs, [size_of(file)], published)
    return found


def _gemma3(inputs: Mapping[str, Any], sizes: Sequence[tuple[int, int]], image_processor: Any) -> list[Sight]:
    """Return the squares of Gemma 3: `pixel_values` (image, channel, height, width), squeezed without padding.

    With pan and scan the crops of an image follow it, and are no sights of their own.
    """
    import numpy as np

    values = np.asarray(inputs["pixel_values"], dtype=np.float64)
    crops = len(values) - len(sizes)
    if crops and len(sizes) > 1:
        raise DataError(
            f"{len(values)} pictures were made of {len(sizes)} images: which is a crop of which is not known here"
        )
    pictures = [_as_bytes(value, image_processor) for value in values[: len(sizes)]]
    return [Sight(one, (one.shape[1], one.shape[0]), (1, 1)) for one in pictures]


def _mllama(inputs: Mapping[str, Any], sizes: Sequence[tuple[int, int]], image_processor: Any) -> list[Sight]:
    """Return the canvases of Llama 3.2 Vision, its tiles put together again.

    `pixel_values` is (row, image, tile, channel, height, width), `aspect_ratio_ids` (row, image) counts from 1
    through the arrangements (rows, columns) of tiles.
    """
    import numpy as np
    from transformers.models.mllama.image_processing_pil_mllama import (
        get_all_supported_aspect_ratios,
        get_image_size_fit_to_canvas,
    )

    values = np.asarray(inputs["pixel_values"], dtype=np.float64)[0]
    arrangements = get_all_supported_aspect_ratios(image_processor.max_image_tiles)
    found = []
    for image, (width, height), number in zip(
        values, sizes, np.asarray(inputs["aspect_ratio_ids"])[0], strict=False
    ):
        rows, columns = arrangements[int(number) - 1]
        side = image.shape[-1]
        tiles = [_as_bytes(tile, image_processor) for tile in image[: rows * columns]]
        lines = [np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
        fitted = get_image_size_fit_to_canvas(height, width, rows * side, columns * side, side)
        found.append(Sight(np.concatenate(lines), (int(fitted[1]), int(fitted[0])), (rows, columns)))
    return found


Seen = Callable[[Mapping[str, Any], Sequence[tuple[int, int]], Any], list[Sight]]

SEEN: Mapping[str, Seen] = MappingProxyType({"gemma3": _gemma3, "mllama": _mllama})
"""Architecture -> how its pixel values become pictures."""


def _as_bytes(values: NDArray[np.float64], image_processor: Any) -> NDArray[np.uint8]:
    """Undo the last steps of a processor: shape (channel, height, width) -> (height, width, channel), 0 to 255."""
    import numpy as np

    pixels = np.moveaxis(values, 0, -1)
    if image_processor.do_normalize:
        pixels = pixels * np.asarray(image_processor.image_std) + np.asarray(image_processor.image_mean)
    if image_processor.do_rescale:
        pixels = pixels / image_processor.rescale_factor
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def sheet_px_per_mm(file: Path, size: tuple[int, int]) -> tuple[float, float] | None:
    """Return the pixels per mm of paper of an image, across and down, from the manifest beside it.

    None where there is no manifest, or one that does not say. An image that was resized since it was drawn is
    measured as it is.
    """
    try:
        manifest = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        scale = float(manifest["px_per_mm"])
        drawn = int(manifest["width"]), int(manifest["height"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return scale * size[0] / drawn[0], scale * size[1] / drawn[1]


def reaching(
    sheet: tuple[float, float] | None, size: tuple[int, int], sight: Sight
) -> tuple[float, float] | None:
    """Return the pixels per mm of paper that reach the encoder, across and down.

    Args:
        sheet: pixels per mm of the image.
        size: of the image.
        sight: what became of it.
    """
    if sheet is None:
        return None
    return sheet[0] * sight.content[0] / size[0], sheet[1] * sight.content[1] / size[1]


def attended(one: Sight, patch_px: int) -> int:
    """Return how many positions cross-attention may look at: the patches of every tile, and one for each tile."""
    rows, columns = one.tiles
    side = one.size[0] // columns
    return rows * columns * ((side // patch_px) ** 2 + 1)


def png_of(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    return file.getvalue()
