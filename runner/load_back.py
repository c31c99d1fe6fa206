"""Loading trained weights back from the disk, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner import checkpoints
from runner.files import read_json

WITH_IMAGES = ("gemma3", "mllama")
"""Model types of which the engine loads the vision tower too, whatever the records are."""


def trusts(config: Mapping[str, Any]) -> bool:
    """Return whether an Axolotl config lets the model's own code run."""
    return bool(config.get("trust_remote_code"))


def class_of(place: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Return the class by which a model is loaded whole, with its vision tower where it has one.

    Raises:
        OSError or ValueError: its configuration cannot be read.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=trust_remote_code)
    return AutoModelForImageTextToText if config.model_type in WITH_IMAGES else AutoModelForCausalLM


def fault_of(final: Path, *, adapter: bool, proof: Mapping[str, Any], trust_remote_code: bool) -> str:
    """Load trained weights the way their user will, and return what is wrong; empty where nothing is.

    Args:
        final: the folder of the weights.
        adapter: whether it holds an adapter, which is checked without its base.
        proof: `trainable` and `total` parameters as counted in training.
        trust_remote_code: whether the model's own code may run.
    """
    try:
        shapes = checkpoints.weights_in(final)
    except ValueError as error:
        return str(error)
    if adapter:
        return _adapter_fault(final, shapes, proof) or ""
    return _model_fault(final, proof, trust_remote_code) or ""


def _adapter_fault(
    final: Path, shapes: Mapping[str, tuple[int, ...]], proof: Mapping[str, Any]
) -> str | None:
    """Check an adapter without its base: settings, pairs of matrices, and every number."""
    import torch
    from safetensors.torch import load_file

    path = final / "adapter_config.json"
    if not path.is_file():
        return f"{path.name} is missing"
    rank = read_json(path)["r"]
    downs = {
        name: shape for name, shape in shapes.items() if ".lora_A." in name or ".lora_embedding_A" in name
    }
    if not downs:
        return "it has no adapter weights"
    for name, shape in downs.items():
        partner = name.replace(".lora_A.", ".lora_B.").replace(".lora_embedding_A", ".lora_embedding_B")
        if shape[0] != rank or shapes.get(partner, (0, 0))[1] != rank:
            return f"{name} and {partner} are no pair of rank {rank}"
    stored = 0
    for file in checkpoints.weight_files(final):
        for name, tensor in load_file(file).items():
            stored += tensor.numel()
            if not torch.isfinite(tensor).all():
                return f"{name} has values that are not finite"
    if stored < proof["trainable"]:
        return f"it holds {stored:,} weights, {proof['trainable']:,} were trained"
    return None


def _model_fault(final: Path, proof: Mapping[str, Any], trust: bool) -> str | None:
    """Load a whole model the way its user will."""
    import torch
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(final, trust_remote_code=trust)
        model, loading = class_of(str(final), trust_remote_code=trust).from_pretrained(
            final, dtype="auto", trust_remote_code=trust, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        return str(error)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(kind):
            return f"{kind.replace('_', ' ')}: {', '.join(map(str, sorted(loading[kind])[:5]))}"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"{name} has values that are not finite"
    total = sum(parameter.numel() for parameter in model.parameters())
    if total != proof["total"]:
        return f"it has {total:,} parameters, {proof['total']:,} were trained"
    return None
