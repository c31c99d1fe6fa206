"""The processor of a small model with a vision tower: what turns images into its inputs.

The engine loads one beside every such model, also where it is trained on text alone.
"""

from __future__ import annotations

from typing import Any

from runner.spec.problems import MachineError
from runner.tiny.tokenizer import MLLAMA_IMAGE


def processor_of(model: Any, tokenizer: Any) -> Any | None:
    """Return the processor, with the sizes of the model; None for a model that sees nothing.

    Raises:
        MachineError: the tokenizer has no image tokens.
    """
    of = {"gemma3": _gemma3, "mllama": _mllama}.get(model.config.model_type)
    return None if of is None else of(model, tokenizer)


def _gemma3(model: Any, tokenizer: Any) -> Any:
    from transformers import Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    if getattr(tokenizer, "boi_token", None) is None:
        raise MachineError(
            "the tokenizer has no image tokens (boi_token, eoi_token, image_token), which a gemma3 needs\n"
            "  leave model.tokenizer out for a rehearsal, or give that of a Gemma 3 with images"
        )
    side = model.config.vision_config.image_size
    images = Gemma3ImageProcessorPil(size={"height": side, "width": side})
    return Gemma3Processor(
        images,
        tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=model.config.mm_tokens_per_image,
    )


def _mllama(model: Any, tokenizer: Any) -> Any:
    from transformers import MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    if MLLAMA_IMAGE not in tokenizer.get_vocab():
        raise MachineError(
            f"the tokenizer has no image token {MLLAMA_IMAGE}, which an mllama needs\n"
            "  leave model.tokenizer out for a rehearsal, or give that of Llama 3.2 Vision"
        )
    vision = model.config.vision_config
    images = MllamaImageProcessorPil(
        size={"height": vision.image_size, "width": vision.image_size},
        max_image_tiles=vision.max_num_tiles,
    )
    return MllamaProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
