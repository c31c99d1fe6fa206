"""The model that is judged: loaded, on its device, its adapter attached and proven to act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from runner.files import sha256_of
from runner.spec.problems import MachineError, StageError
from runner.tokens import Row

WEIGHTS = ("*.safetensors", "*.bin")


def load_model(settings: Mapping[str, Any]) -> Any:
    """Return the model on its device, in evaluation mode, without its adapter.

    Raises:
        MachineError: the weights cannot be loaded, or the device is not there.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    device = device_of(settings["device"])
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    try:
        loader = AutoModelForImageTextToText if settings["images"] else AutoModelForCausalLM
        model = loader.from_pretrained(
            settings["model"],
            revision=settings["revision"],
            dtype=kinds[settings["precision"]],
            attn_implementation=settings["attention"],
            trust_remote_code=settings["trust_remote_code"],
        )
    except (
        OSError,
        ValueError,
        ImportError,
        KeyError,
        RuntimeError,
        UnpicklingError,
        SafetensorError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(f"the model {settings['model']!r} cannot be loaded: {reason}") from error
    return model.to(device).eval()


def device_of(wanted: str) -> str:
    """Return the torch device for the spec's word.

    Raises:
        MachineError: the wanted device is not on this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, present in there.items() if present)
    if not there[wanted]:
        raise MachineError(
            f"this machine has no {wanted} device; it has: {', '.join(n for n, present in there.items() if present)}"
        )
    return wanted


def attach_adapter(
    model: Any, adapter: str, rows: Sequence[Row], look: Callable[[Any], Mapping[str, Any]] = lambda ids: {}
) -> tuple[Any, dict[str, Any]]:
    """Return the model with its adapter, and the proof that the adapter acts.

    The proof: every weight that the model expects of the adapter is in its file, and some logit of
    `rows` differs from the base model's.

    Args:
        model: the base.
        adapter: folder or hub id.
        rows: of the records on which the adapter must change a prediction.
        look: padded ids -> what forward takes beside them: the rows' images, which an adapter on the vision tower
            alone needs.

    Raises:
        MachineError: the adapter cannot be loaded.
        StageError: weights are missing from it, or it changes nothing.
    """
    import torch
    from peft import PeftModel

    ids, mask = padded(rows, model.device)
    seen = look(ids)
    with torch.inference_mode():
        before = model(input_ids=ids, attention_mask=mask, use_cache=False, **seen).logits.float()
        try:
            tuned = PeftModel.from_pretrained(model, adapter, is_trainable=False).eval()
        except (OSError, ValueError) as error:
            raise MachineError(f"the adapter {adapter!r} cannot be loaded: {error}") from error
        after = tuned(input_ids=ids, attention_mask=mask, use_cache=False, **seen).logits.float()
    _same_weights(tuned, adapter)
    largest = float((after - before).abs()[mask.bool()].max())
    if not largest > 0:
        raise StageError(
            f"the adapter {adapter!r} changes no prediction of the base model: it was not trained, or "
            "belongs to another model"
        )
    return tuned, {"largest_logit_change": largest}


def _same_weights(model: Any, adapter: str) -> None:
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    path = Path(adapter) / "adapter_model.safetensors"
    if not path.is_file():
        return
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
    lacking = sorted(set(get_peft_model_state_dict(model)) - stored)
    if lacking:
        raise StageError(
            f"{path} lacks {len(lacking)} weights that the adapter should have, among them {lacking[0]}"
        )


def identity_of(place: str, model: Any) -> dict[str, Any]:
    """Return what tells these weights from any others: hashes by file, or the commit on the hub.

    Args:
        place: the folder or hub id that they were loaded from.
        model: the loaded model, which knows the commit that a hub id was resolved to.
    """
    folder = Path(place)
    if not folder.is_dir():
        return {"commit": getattr(getattr(model, "config", None), "_commit_hash", None)}
    files = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
    return {"sha256": {file.name: sha256_of(file) for file in files}}


def padded(rows: Sequence[Row], device: Any) -> tuple[Any, Any]:
    """Return input ids and attention mask, shape (record, token), padded on the right with id 0."""
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask[place, : len(row.input_ids)] = 1
    return ids.to(device), mask.to(device)
