"""The rules between the fields of `kind: vlm`: those of `kind: llm`, and what images add. See `rules.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.spec.rule import Broken, Rule
from runner.spec.rules import RULES as OF_TEXT

if TYPE_CHECKING:
    from runner.spec.vlm import VlmSpec

TEMPLATES = {"gemma3": "gemma3", "mllama": "llama3_2_vision"}
"""Architecture with a vision tower -> its chat template."""


def _architecture_sees(spec: VlmSpec) -> Broken:
    if spec.model.architecture not in TEMPLATES:
        yield ("model", "architecture"), f"{spec.model.architecture!r} with images"


def _template_fits(spec: VlmSpec) -> Broken:
    own = TEMPLATES.get(spec.model.architecture)
    if own is not None and spec.data.template != own:
        yield (
            ("data", "template"),
            f"{spec.data.template!r} with the architecture {spec.model.architecture!r}, which has {own!r}",
        )


RULES: tuple[Rule[Any], ...] = (
    *OF_TEXT,
    Rule(
        "R090",
        "the architecture must be one whose images are known here: gemma3, mllama",
        "The place of the image, its tokens and its parts' names differ from one architecture to the next.",
        "write gemma3 (Gemma 3, MedGemma) or mllama (Llama 3.2 Vision); for text alone take kind: llm",
        _architecture_sees,
    ),
    Rule(
        "R091",
        "the chat template must be that of the architecture",
        "Another one writes no image token, or one that the processor does not know: the image would be ignored, "
        "or the training would stop.",
        "write gemma3 for gemma3, llama3_2_vision for mllama",
        _template_fits,
    ),
)
