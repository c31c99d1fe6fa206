"""How a processor writes an image into the text: what its template marks, and the tokens that the mark becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.spec.problems import MachineError


@dataclass(frozen=True)
class ImageText:
    """The place of an image in the text of one processor."""

    mark: str
    """What the chat template writes for an image."""
    written: str
    """What stands in its place when the text is cut into tokens."""

    def expanded(self, text: str) -> str:
        """Return a rendered conversation as it is cut into tokens.

        >>> ImageText("<start_of_image>", "<start_of_image><i><i>").expanded("<start_of_image>What?")
        '<start_of_image><i><i>What?'
        """
        return text.replace(self.mark, self.written)


def image_text_of(processor: Any) -> ImageText:
    """Return how a processor of Gemma 3 or Llama 3.2 Vision writes an image.

    Raises:
        MachineError: it is of another family, or cuts images into crops, whose number depends on the image.
    """
    name = type(processor).__name__
    if name == "Gemma3Processor":
        if getattr(processor.image_processor, "do_pan_and_scan", False):
            raise MachineError(
                "the processor cuts images into crops (do_pan_and_scan), so that the tokens of an image are not "
                "known before it is opened\n  set do_pan_and_scan: false in its preprocessor_config.json"
            )
        return ImageText(str(processor.boi_token), str(processor.full_image_sequence))
    if name == "MllamaProcessor":
        return ImageText(str(processor.image_token), str(processor.image_token))
    raise MachineError(f"how a {name} writes an image into the text is not known here")


def load_processor(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Return the processor of a local folder or hub id, with its tokenizer.

    Raises:
        MachineError: there is none, or it cannot be read; names it.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"no processor of images can be loaded from {name!r}: {reason}\n"
            "  give a hub id that is reachable or in the cache, or a folder with preprocessor_config.json"
        ) from error
