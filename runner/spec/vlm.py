"""The typed spec of `kind: vlm`: a model that reads images and text. What is not said here is said in `model.py`."""

from typing import Annotated, Literal

from pydantic import Field

from runner.spec.model import AxolotlSpec, Full, LoraCommon, Partial
from runner.spec.section import key
from runner.spec.vlm_sources import VlmData

VlmModuleGroup = Literal[
    "language.attention",
    "language.mlp",
    "cross_attention",
    "cross_attention.layers",
    "vision",
    "projector",
    "lm_head",
    "embeddings",
]
"""The parts of a vision-language model. `cross_attention` is the attention from text to image alone, its norms and
gates included; `cross_attention.layers` is the whole of the layers that have it, their feed-forward part included."""


class VlmGroups(LoraCommon):
    """Adapters on the parts of a vision-language model."""

    include: tuple[VlmModuleGroup, ...] = key(
        ("language.attention", "language.mlp"),
        "Module groups that get an adapter: its linear layers. A group that matches nothing is an error. "
        "`cross_attention.layers` is `cross_attention` with the feed-forward part of its layers.",
    )
    exclude: tuple[VlmModuleGroup, ...] = key((), "Module groups left out of `include`.")
    train_fully: tuple[Literal["projector", "lm_head", "embeddings"], ...] = key(
        (),
        "Modules trained in full beside the adapters; each is a full copy in memory. Gemma 3's projector is a "
        "bare weight, which an adapter cannot reach: this is how it is trained.",
    )


class VlmLora(VlmGroups):
    """LoRA (Hu et al. 2021)."""

    name: Literal["lora"] = key(description="The word that selects this method.")


class VlmDora(VlmGroups):
    """DoRA, LoRA with the magnitude of each weight trained apart (Liu et al. 2024)."""

    name: Literal["dora"] = key(description="The word that selects this method.")


class VlmQlora(VlmGroups):
    """LoRA on a base held in 4-bit nf4 (Dettmers et al. 2023). Needs a GPU and bitsandbytes."""

    name: Literal["qlora"] = key(description="The word that selects this method.")


class VlmPartial(Partial):
    """Some weights are trained, the others are frozen; no adapter."""

    include: tuple[VlmModuleGroup, ...] = key(
        (),
        "Module groups whose weights are trained. Of Llama 3.2 Vision (11 B) `projector` with `cross_attention` "
        "are 367 million weights, with `cross_attention.layers` 1.78 billion.",
    )


VlmMethod = Annotated[Full | VlmLora | VlmDora | VlmQlora | VlmPartial, Field(discriminator="name")]


class VlmSpec(AxolotlSpec):
    """An experiment that tunes a model of images and text with Axolotl."""

    kind: Literal["vlm"] = key(description="Kind of experiment: a vision-language model.")
    data: VlmData = key(
        description="The records with their images, how they become text, and how they are divided."
    )
    method: VlmMethod = key(description="Which weights are trained.")
