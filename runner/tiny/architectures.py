"""Any causal language model, or one that sees, shrunk to a few layers, with the module names of the full size.

The names matter: what a method matches, freezes, adapts or saves is decided by them. So the small
model is built from the architecture's own configuration class, and its module and parameter names
are compared with those of that class's default (full) size on the meta device, which holds no
weights. Sizes not listed here stay as the class has them.

Field names checked against transformers 5.16.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from runner.load_back import WITH_IMAGES
from runner.spec.nearest import nearest
from runner.spec.problems import MachineError
from runner.tiny.tokenizer import MLLAMA_IMAGE

LAYERS = 2
"""Layers of a small model, unless a pattern of the spec names a later one."""

LEAST_LAYERS: Mapping[str, int] = MappingProxyType({"mllama": 5})
"""Architecture -> layers at least, where two are too few: Llama 3.2 Vision first looks at the image in layer 3."""

GATE = 0.5
"""What a small model's gates are set to; they act through a hyperbolic tangent."""

AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"siglip_vision_model": {"vision_use_head": False}}
)
"""Tower -> what the published models have otherwise than their class: Gemma 3's tower has no pooling head."""

SIZES: Mapping[str, int] = MappingProxyType(
    {
        "hidden_size": 64,
        "n_embd": 64,
        "d_model": 64,
        "word_embed_proj_dim": 64,
        "hidden_size_per_layer_input": 16,
        "num_attention_heads": 4,
        "num_heads": 4,
        "n_head": 4,
        "n_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 128,
        "n_inner": 128,
        "ffn_dim": 128,
        "num_experts": 4,
        "num_local_experts": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
        "rotary_dim": 8,
    }
)
"""Configuration field -> size, for every architecture that has the field and sets it."""

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")

OWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        "gpt2": {},
        "gemma3_text": {"query_pre_attn_scalar": 16, "sliding_window": 32},
        "gemma3": {"mm_tokens_per_image": 4},
        "siglip_vision_model": {"image_size": 64},
        "mllama_text_model": {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        "mllama_vision_model": {
            "image_size": 56,
            "attention_heads": 4,
            "num_global_layers": 2,
            "intermediate_layers_indices": [1, 3],
            "vision_output_dim": 3 * 64,  # the two above and the last
        },
        "qwen2": {},
        "qwen3": {},
        "mistral": {"sliding_window": None},
        "deepseek_v3": {"head_dim": 8},
        "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    }
)
"""Architecture, or one of its towers -> what `SIZES` does not say. One that is not listed here is built
from `SIZES` alone."""

_UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a configuration or model class raises when sizes do not fit together."""


def tiny_fields(architecture: str, tokenizer: Any, context: int, layers: int = LAYERS) -> dict[str, Any]:
    """Return the fields that make the architecture's configuration class small.

    Args:
        architecture: a Hugging Face `model_type` of which a causal language model is made.
        tokenizer: the tokenizer whose vocabulary and special tokens the model gets.
        context: longest sequence, in tokens.
        layers: at least this many layers; more where the architecture has more kinds of layer.

    Raises:
        MachineError: the installed transformers does not know the architecture, or it is no causal
            language model.
    """
    default = default_config(architecture)
    image_token = image_token_of(tokenizer)
    words = {
        # The image token of Llama 3.2 Vision is the last, and none of the classes of its output layer.
        "vocab_size": len(tokenizer) - (image_token == len(tokenizer) - 1),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    towers = {
        name: tower for name in default.sub_configs if (tower := getattr(default, name, None)) is not None
    }
    if not towers:
        return {**_shrunk(default, context, layers), **words, **OWN.get(architecture, {})}
    fields: dict[str, Any] = {
        name: {
            **_shrunk(tower, context, layers),
            **(words if name == "text_config" else {}),
            **AS_PUBLISHED.get(tower.model_type, {}),
            **OWN.get(tower.model_type, {}),
        }
        for name, tower in towers.items()
    }
    if image_token is not None:
        fields["image_token_index"] = image_token
    return {**fields, **OWN.get(architecture, {})}


def image_token_of(tokenizer: Any) -> int | None:
    """Return the id of the token that stands for an image, None of a tokenizer without one.

    Gemma 3's tokenizer names it; Llama 3.2's has it in its vocabulary alone.
    """
    if getattr(tokenizer, "image_token", None) is not None:
        return int(tokenizer.image_token_id)
    found = tokenizer.get_vocab().get(MLLAMA_IMAGE)
    return None if found is None else int(found)


def default_config(architecture: str) -> Any:
    """Return the architecture's configuration class at its own default sizes.

    One with towers (vision, text) will do where a causal language model is made of it, as of `gemma3`:
    its text tower then works on text alone.

    Raises:
        MachineError: the architecture is unknown or no causal language model.
    """
    import transformers
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    if architecture not in CONFIG_MAPPING:
        guess = nearest(architecture, list(CONFIG_MAPPING))
        raise MachineError(
            f"model.architecture: transformers {transformers.__version__} knows no model_type {architecture!r}"
            + (f"\n  nearest: {guess}" if guess else "")
        )
    default = CONFIG_MAPPING[architecture]()
    if architecture in WITH_IMAGES:
        for name in default.sub_configs:
            tower = getattr(default, name)
            for field, value in AS_PUBLISHED.get(tower.model_type, {}).items():
                setattr(tower, field, value)
        return default
    if type(default) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        text = getattr(default, "text_config", None)
        hint = f"; its language part is {text.model_type!r}" if text is not None else ""
        raise MachineError(f"model.architecture: {architecture!r} is not a causal language model{hint}")
    return default


def build(architecture: str, tokenizer: Any, context: int, seed: int, patterns: Sequence[str] = ()) -> Any:
    """Return the small model with random float32 weights; no global random state is changed.

    Args:
        architecture: a Hugging Face `model_type`.
        tokenizer: sets the vocabulary.
        context: longest sequence, in tokens.
        seed: of the weights.
        patterns: regular expressions over module or parameter names; the model gets as many layers
            as they need to match what they match at full size (`layers.17.` needs 18).

    Raises:
        MachineError: the class does not build at these sizes, computes no finite loss, or has other
            module or parameter names than at full size; names the fields and the names.
    """
    import torch

    full = names_at_full_size(architecture)
    least = LEAST_LAYERS.get(architecture, LAYERS)
    fields = tiny_fields(architecture, tokenizer, context, max(least, layers_needed(patterns, full)))
    ids = torch.arange(8)[None] % len(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = type(default_config(architecture))(**fields)
            model = _class_for(architecture).from_config(config, dtype=torch.float32)
            _open_gates(model)
            with torch.no_grad():
                loss = float(model.eval()(input_ids=ids, labels=ids).loss)
        except _refusals() as error:
            raise _unbuildable(architecture, fields, error) from error
    if not math.isfinite(loss):
        raise _unbuildable(architecture, fields, ValueError(f"its loss is {loss}"))
    _same_names(architecture, full, names_of(model))
    return model


def names_at_full_size(architecture: str) -> tuple[str, ...]:
    """Return the module and parameter names of the architecture at its class's default size."""
    import torch

    config = default_config(architecture)
    try:
        with torch.device("meta"):
            return names_of(_class_for(architecture).from_config(config))
    except _refusals() as error:
        raise _unbuildable(architecture, {}, error) from error


def _open_gates(model: Any) -> None:
    """Let what is seen reach the text: Llama 3.2 Vision's gates and Gemma 3's projector begin at 0."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.numel() == 1 and name.endswith("gate"):
                parameter.fill_(GATE)
            elif name.endswith("mm_input_projection_weight"):
                parameter.normal_(std=parameter.shape[0] ** -0.5)


def _class_for(architecture: str) -> Any:
    """Return the class by which the engine loads such a model."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if architecture in WITH_IMAGES else AutoModelForCausalLM


def names_of(model: Any) -> tuple[str, ...]:
    """Return all module names, then all parameter names, of a torch model."""
    modules = [name for name, _ in model.named_modules() if name]
    return (*modules, *(name for name, _ in model.named_parameters()))


def masked(names: Iterable[str]) -> frozenset[str]:
    """Return the names with every number that stands alone between dots as `N`.

    >>> sorted(masked(["model.layers.0.mlp", "model.layers.1.mlp", "lm_head"]))
    ['lm_head', 'model.layers.N.mlp']
    """
    return frozenset(re.sub(r"(?<=\.)\d+(?=\.|$)", "N", name) for name in names)


def layers_needed(patterns: Sequence[str], names: Sequence[str]) -> int:
    r"""Return how many layers a model needs so that each pattern matches what it is meant to.

    A pattern that picks layers out (it matches a module in some layers and not in others) needs the
    last of them; one that takes any layer needs the first. A pattern that matches nothing at full
    size needs none: training reports it. A pattern is tried as it stands, and with `.` as a literal
    dot, as Axolotl reads the patterns of unfrozen parameters.

    >>> names = [f"h.{layer}.mlp" for layer in range(8)]
    >>> layers_needed([r"h\.[45]\.mlp"], names), layers_needed([r"h\.\d+\.mlp"], names)
    (6, 1)
    """
    return max((_layers_of(pattern, names) for pattern in patterns), default=0)


def _layers_of(pattern: str, names: Sequence[str]) -> int:
    for form in (pattern, pattern.replace(".", r"\.")):
        try:
            matched = {name for name in names if re.fullmatch(form, name)}
        except re.error:
            continue
        if matched:
            kinds = masked(matched)
            every = {name for name in names if masked([name]) <= kinds}
            ends = max if matched != every else min
            return ends(_layer(name) for name in matched) + 1
    return 0


def _layer(name: str) -> int:
    """Return the first number between dots, the layer; -1 for what stands outside the layers."""
    found = re.search(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)", name)
    return int(found[0]) if found else -1


def _shrunk(default: Any, context: int, layers: int) -> dict[str, Any]:
    """Return the fields that make `default` small; only fields that it sets, by their own names."""
    own = {name: value for name, value in vars(default).items() if name not in default.attribute_map}
    fields: dict[str, Any] = {
        name: SIZES[name] for name, value in own.items() if name in SIZES and isinstance(value, int)
    }
    kinds = list(dict.fromkeys(own.get("layer_types") or ()))
    count = max(layers, len(kinds))
    fields |= {name: count for name in LAYER_COUNTS if name in own}
    fields |= {name: max(context, 64) for name in POSITIONS if name in own}
    if "cross_attention_layers" in own:
        fields["cross_attention_layers"] = [layer for layer in own["cross_attention_layers"] if layer < count]
    if kinds:
        fields["layer_types"] = [kinds[index % len(kinds)] for index in range(count)]
    return fields


def _same_names(architecture: str, full: Iterable[str], tiny: Iterable[str]) -> None:
    lacking = sorted(masked(full) - masked(tiny))
    extra = sorted(masked(tiny) - masked(full))
    if lacking or extra:
        raise MachineError(
            f"a small {architecture} does not have the names of the full one, so it would prove nothing\n"
            f"  lacking: {', '.join(lacking[:6]) or 'none'}; extra: {', '.join(extra[:6]) or 'none'}"
        )


def _unbuildable(architecture: str, fields: Mapping[str, Any], error: Exception) -> MachineError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    shown = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return MachineError(
        f"no small {architecture} can be built: {reason}\n"
        f"  fields set on its configuration class: {shown or 'none, its own defaults'}"
    )


def _refusals() -> tuple[type[Exception], ...]:
    """Return what may be raised, with the validation errors of the configuration classes."""
    from huggingface_hub.errors import StrictDataclassError

    return (*_UNBUILDABLE, StrictDataclassError)
