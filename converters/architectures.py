r"""Where the module groups of each architecture are: exact patterns over module and parameter names. Pure data.

Names checked against transformers 5.16.1 (full-size models built on the meta device, tests/converters). The two
readers of these patterns, and their dialects, are described in `converters/modules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

GROUPS = (
    "language.attention",
    "language.mlp",
    "cross_attention",
    "cross_attention.layers",
    "vision",
    "projector",
    "lm_head",
    "embeddings",
)
"""Every module group of any architecture, in the order in which they are written."""


@dataclass(frozen=True)
class Part:
    """Where one module group is."""

    modules: str
    """Regular expression over whole names of the modules that hold its weights."""
    adapters: str | None
    """The same of those that an adapter can sit on; None where it has none (a bare weight)."""
    parameters: tuple[str, ...]
    """Axolotl's patterns over the names of its weights."""
    told_by: str | None = None
    """Where the group is some of the layers by their numbers: a regular expression over the names of the modules that
    those layers have and no others, the number in a group of its own. The engine's model decides."""
    saved: str | None = None
    """Name by which PEFT trains the whole of it in full; None where that is not offered."""


@dataclass(frozen=True)
class Architecture:
    """Where the groups of one architecture are. Names are those of the model that the engine loads."""

    layers: str
    """Name of the list of layers."""
    attention: tuple[str, ...]
    """Modules of the attention in one layer, relative to it."""
    mlp: tuple[str, ...]
    """Modules of the feed-forward part in one layer, relative to it."""
    embeddings: str
    """The token embeddings."""
    lm_head: str | None
    """The output layer; None where it is always the same weight as the token embeddings."""
    conv1d: bool = False
    """Whether the layers are `Conv1D`, which hold their weight transposed (PEFT: fan_in_fan_out)."""
    beside: Mapping[str, Part] = field(default_factory=dict)
    """Module group -> where it is, for the groups beside the language model."""

    def part(self, group: str) -> Part | None:
        """Return where a module group is; None where the architecture has none."""
        if group in ("lm_head", "embeddings"):
            name = self.lm_head if group == "lm_head" else self.embeddings
            if name is None:
                return None
            regex = re.escape(name)
            weights = "(weight|bias)" if group == "lm_head" else "weight"
            return Part(regex, regex, (f"^{name}.{weights}$",), saved=name.rpartition(".")[2])
        if group in ("language.attention", "language.mlp"):
            return _projections(self.layers, self.attention if group == "language.attention" else self.mlp)
        return self.beside.get(group)


def _projections(layers: str, names: tuple[str, ...]) -> Part:
    """Return the linear maps `names` of every layer, without the norms beside them (q_norm, k_norm)."""
    (parent,) = {name.rpartition(".")[0] for name in names}
    leaves = "|".join(name.rpartition(".")[2] for name in names)
    regex = rf"{re.escape(layers)}\.\d+\.{re.escape(parent)}\.({leaves})"
    return Part(regex, regex, (f"^{layers}.[0-9]+.{parent}.({leaves}).(weight|bias)$",))


_QKVO = tuple(f"self_attn.{name}_proj" for name in "qkvo")
_GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def _llama_like(
    prefix: str = "model", *, tied: bool = False, beside: Mapping[str, Part] | None = None
) -> Architecture:
    head = None if tied else "lm_head"
    names = (f"{prefix}.layers", _QKVO, _GATED, f"{prefix}.embed_tokens", head)
    return Architecture(*names, beside=MappingProxyType(dict(beside or {})))


_PROJECTOR = r"model\.multi_modal_projector"

_GEMMA3_BESIDE = {
    "vision": Part(
        r"model\.vision_tower(\..+)?",
        r"model\.vision_tower\.encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])",
        ("^model.vision_tower.[^ ]+$",),
    ),
    # Its matrix is a bare parameter of the projector, and no linear layer.
    "projector": Part(
        rf"{_PROJECTOR}(\.mm_soft_emb_norm)?",
        None,
        ("^model.multi_modal_projector.(mm_input_projection_weight|mm_soft_emb_norm.weight)$",),
        saved="multi_modal_projector",
    ),
}

_CROSSING = "[0-9]*[38]"
"""Numbers of the layers of Llama 3.2 Vision that attend to the image: 3, 8, 13, ... of 11 B and of 90 B."""

_MLLAMA_BESIDE = {
    "cross_attention": Part(
        # The gates are bare parameters of the layer itself.
        rf"model\.language_model\.layers\.{_CROSSING}(\.cross_attn\.([qkvo]_proj|[qk]_norm))?",
        r"model\.language_model\.layers\.\d+\.cross_attn\.[qkvo]_proj",
        (
            "^model.language_model.layers.[0-9]+.cross_attn.([qkvo]_proj|[qk]_norm).weight$",
            "^model.language_model.layers.[0-9]+.cross_attn_(attn|mlp)_gate$",
        ),
    ),
    "cross_attention.layers": Part(
        rf"model\.language_model\.layers\.{_CROSSING}(\..+)?",
        rf"model\.language_model\.layers\.{_CROSSING}\."
        r"(cross_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
        (f"^model.language_model.layers.{_CROSSING}.[^ ]+$",),
        told_by=r"model\.language_model\.layers\.(\d+)\.cross_attn",
    ),
    "vision": Part(
        r"model\.vision_model(\..+)?",
        r"model\.vision_model\.(global_)?transformer\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.fc[12])",
        ("^model.vision_model.[^ ]+$",),
    ),
    "projector": Part(
        _PROJECTOR,
        _PROJECTOR,
        ("^model.multi_modal_projector.(weight|bias)$",),
        saved="multi_modal_projector",
    ),
}

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "gpt2": Architecture(
            "transformer.h",
            ("attn.c_attn", "attn.c_proj"),
            ("mlp.c_fc", "mlp.c_proj"),
            "transformer.wte",
            None,
            conv1d=True,
        ),
        "llama": _llama_like(),
        "mistral": _llama_like(),
        "qwen2": _llama_like(),
        "qwen3": _llama_like(),
        "gemma2": _llama_like(tied=True),
        "gemma3_text": _llama_like(tied=True),
        "gemma3": _llama_like("model.language_model", tied=True, beside=_GEMMA3_BESIDE),
        "mllama": _llama_like("model.language_model", beside=_MLLAMA_BESIDE),
        "phi3": Architecture(
            "model.layers",
            ("self_attn.qkv_proj", "self_attn.o_proj"),
            ("mlp.gate_up_proj", "mlp.down_proj"),
            "model.embed_tokens",
            "lm_head",
        ),
    }
)
"""Hugging Face `model_type` -> its groups. `lm_head` of a Llama or Qwen may be tied as well: that is
known only from its config, so the engine's proof of what was trained decides."""
