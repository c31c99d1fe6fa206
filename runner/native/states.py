"""The state of a run between two steps, in one safetensors file: tensors as they are, the rest as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from runner.files import follow_umask
from runner.native.errors import NativeError
from runner.native.method import Method


def save_state(path: Path, model: nn.Module, method: Method, extra: Mapping[str, Any]) -> None:
    """Write model, method and `extra` (the trainer's own counters; JSON and tensors) by a temporary name.

    Frozen parameters are not written: whoever goes on has them, and the trainer's checksum says that they are the same.
    """
    tensors: dict[str, Tensor] = {}
    frozen = _frozen(model)
    changing = {name: value for name, value in model.state_dict().items() if name not in frozen}
    whole = {"model": changing, "method": method.state_dict(), "extra": dict(extra)}
    skeleton = _taken_apart(whole, tensors)
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, {"skeleton": json.dumps(skeleton)})
    follow_umask(temporary)
    temporary.replace(path)


def load_state(path: Path, model: nn.Module, method: Method) -> dict[str, Any]:
    """Set model and method to what `save_state` wrote, and return its `extra`; frozen parameters stay as they are.

    Raises:
        NativeError: no such file, damaged, or of another model or seed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["skeleton"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, FileNotFoundError, KeyError, TypeError) as error:
        raise NativeError(f"{path}: no state to resume from: {error}") from None
    whole = _put_together(skeleton, tensors)
    frozen = _frozen(model)
    kept = {name: value for name, value in model.state_dict().items() if name in frozen}
    try:
        model.load_state_dict(kept | whole["model"])
    except RuntimeError as error:
        raise NativeError(f"{path}: the state is of another model: {error}") from None
    method.load_state_dict(whole["method"])
    extra: dict[str, Any] = whole["extra"]
    return extra


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, part in model.named_parameters() if not part.requires_grad}


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return JSON for `value`, and put its tensors into `tensors` under running numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):  # pairs: an optimiser's keys are whole numbers, which JSON has no keys of
        return {"map": [[key, _taken_apart(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_taken_apart(part, tensors) for part in value], "tuple": isinstance(value, tuple)}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a state holds tensors, numbers and text, not a {type(value).__name__}")


def _put_together(part: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    if "tensor" in part:
        return tensors[part["tensor"]]
    if "map" in part:
        return {key: _put_together(value, tensors) for key, value in part["map"]}
    if "list" in part:
        values = [_put_together(value, tensors) for value in part["list"]]
        return tuple(values) if part["tuple"] else values
    return part["value"]
