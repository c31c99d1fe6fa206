"""What a model of images is given beside token ids: pixels once, and at every later token what is left to say of them.

Pixels are made by the processor's own image part from the same file, by the same reader as in training. Text and the
tokens that stand for an image are `runner.tokens`' affair; `check_processor` proves that both agree with the
processor's own way through its chat template, which is the engine's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from converters.image_rows import in_parts
from runner.spec.problems import DataError, StageError

BLANK = "blank:"
"""Before a path: an image of the size of that one which holds nothing."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Seen:
    """What forward takes beside ids, mask and positions."""

    first: Mapping[str, Any]
    """While the images are read: with the prompt."""
    mask: Any = None
    """Llama 3.2 Vision: which tokens look at which tiles, shape (record, token, image, tile); over all tokens so far."""

    def later(self, tokens: int) -> tuple[Seen, dict[str, Any]]:
        """Return the state after `tokens` more, and what forward takes with them; the image stands in the cache."""
        if self.mask is None:
            return self, {}
        import torch

        grown = torch.cat([self.mask, self.mask[:, -1:].expand(-1, tokens, -1, -1)], dim=1)
        return replace(self, mask=grown), {"cross_attention_mask": grown}

    def kept(self, rows: Any) -> Seen:
        """Return the state of some rows, by their numbers."""
        return self if self.mask is None else replace(self, mask=self.mask[rows])

    def repeated(self, times: int) -> Seen:
        """Return the state with each row `times` times, one after another."""
        return self if self.mask is None else replace(self, mask=self.mask.repeat_interleave(times, dim=0))


NOTHING = Seen({})
"""Of a model that reads text alone."""


class Sight:
    """Gives images to a model of a family that is known here.

    Args:
        processor: of the model.
        model_type: `gemma3` or `mllama`.
    """

    def __init__(self, processor: Any, model_type: str) -> None:
        looks = {"gemma3": self._gemma3, "mllama": self._mllama}
        if model_type not in looks:
            raise StageError(
                f"images cannot be given to a model of type {model_type!r}; known: {', '.join(looks)}"
            )
        self._processor, self._looks = processor, looks[model_type]

    def look(self, model: Any, ids: Any, images: Sequence[Sequence[str]]) -> Seen:
        """Return what the model takes beside ids.

        Args:
            model: gives device and number format.
            ids: padded token ids, shape (record, token).
            images: paths of each record's images, one or more.

        Raises:
            DataError: an image cannot be read; names it.
        """
        pictures = [[load_image(path) for path in of] for of in images]
        return self._looks(model, ids, pictures)

    def _gemma3(self, model: Any, ids: Any, pictures: list[list[Any]]) -> Seen:
        flat = [picture for of in pictures for picture in of]
        pixels = self._processor.image_processor(flat, return_tensors="pt")["pixel_values"]
        image_token = self._processor.image_token_id
        # Tokens of one image attend to each other in both directions.
        kinds = (ids == image_token).long()
        return Seen({"pixel_values": pixels.to(model.device, model.dtype), "token_type_ids": kinds})

    def _mllama(self, model: Any, ids: Any, pictures: list[list[Any]]) -> Seen:
        import torch
        from transformers.models.mllama.processing_mllama import (
            convert_sparse_cross_attention_mask_to_dense,
            get_cross_attention_token_mask,
        )

        part = self._processor.image_processor
        made = part(pictures, return_tensors="pt")
        mask = torch.from_numpy(
            convert_sparse_cross_attention_mask_to_dense(
                [get_cross_attention_token_mask(row, self._processor.image_token_id) for row in ids.tolist()],
                num_tiles=made["num_tiles"],
                max_num_tiles=part.max_image_tiles,
                length=ids.shape[1],
            )
        ).to(model.device)
        first = {
            "pixel_values": made["pixel_values"].to(model.device, model.dtype),
            "aspect_ratio_ids": made["aspect_ratio_ids"].to(model.device),
            "aspect_ratio_mask": made["aspect_ratio_mask"].to(model.device),
            "cross_attention_mask": mask,
        }
        return Seen(first, mask)


def load_image(path: str) -> Any:
    """Return an image as the engine's processor loads it; one marked as blank is white and of the same size.

    Raises:
        DataError: there is no such file, or it is no image.
    """
    from PIL import Image
    from transformers.image_utils import load_image as loaded

    try:
        if path.startswith(BLANK):
            with Image.open(path.removeprefix(BLANK)) as real:
                return Image.new("RGB", real.size, WHITE)
        return loaded(path)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image {path.removeprefix(BLANK)} cannot be read: {error}") from error


def check_processor(
    processor: Any, record: Mapping[str, Any], template: str, ids: Sequence[int]
) -> dict[str, Any]:
    """Compare a record's tokens with those that the processor makes of it in the engine's way; return the proof.

    Args:
        processor: of the model.
        record: canonical, with images.
        template: Jinja text.
        ids: its tokens as evaluation makes them, uncut.

    Raises:
        StageError: they differ; says from where on.
    """
    made = processor.apply_chat_template(
        [in_parts(record["messages"], record["images"])],
        add_generation_prompt=False,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        chat_template=template,
        processor_kwargs={"padding": True},
    )["input_ids"][0].tolist()
    if list(ids) != made:
        place = next(
            (n for n, (a, b) in enumerate(zip(ids, made, strict=False)) if a != b), min(len(ids), len(made))
        )
        raise StageError(
            f"record {record['id']!r} is made into {len(ids)} tokens here and into {len(made)} by the processor, and "
            f"they differ from position {place} on\n  the image would not be where the model looks for it"
        )
    return {"record": record["id"], "tokens": len(made), "sha256": ids_sha256(made)}


def ids_sha256(ids: Sequence[int]) -> str:
    """Return the hash of token ids."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()
