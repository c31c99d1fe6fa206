"""Weights on disk: safetensors of our own, and the published pickle format through torch's weights-only loader.

Nothing here unpickles objects. A head of another number of classes is refused, or left as it is and reported where
the caller asks for a new head; every tensor that is not loaded is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from runner.files import follow_umask
from runner.native.backbone import Backbone, sinusoids
from runner.native.errors import NativeError
from runner.native.model import EcgModel

OtherClasses = Literal["refuse", "new_head"]
ENCODER_PARTS = {
    "conv1.conv": "conv1",
    "conv2.conv": "conv2",
    "conv3.conv": "shortcut",
    "bn1": "bn1",
    "bn2": "bn2",
}
BLOCK_PARTS = {"self_attention.c_attn": "attention.qkv", "self_attention.c_proj": "attention.proj"}
STORED_IN_OUT = ("self_attention.c_attn.weight", "self_attention.c_proj.weight")  # all else is (out, in)


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint gave a model.

    Args:
        names: tensors of the model that were set.
        new: tensors of the model that keep their random start.
        left_out: tensors of the file that were not used, with the reason.
    """

    names: tuple[str, ...]
    new: tuple[str, ...]
    left_out: Mapping[str, str]


def save(model: nn.Module, path: Path, facts: Mapping[str, str], *, trained_only: bool = False) -> None:
    """Write the tensors of `model` and `facts` (architecture, classes, ...) to `path`, by a temporary name.

    Args:
        model: parameters and persistent buffers are written, adapters included.
        path: ends in .safetensors.
        facts: text by name.
        trained_only: leave frozen parameters out; buffers are written all the same.
    """
    frozen = {name for name, part in model.named_parameters() if trained_only and not part.requires_grad}
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
        if name not in frozen
    }
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, {"facts": json.dumps(dict(facts), sort_keys=True)})
    follow_umask(temporary)
    temporary.replace(path)


def facts_of(path: Path) -> dict[str, str]:
    """Return the facts that `save` wrote into `path`."""
    with _opened(path) as file:
        facts: dict[str, str] = json.loads((file.metadata() or {}).get("facts", "{}"))
        return facts


def load(
    model: EcgModel, path: Path, *, other_classes: OtherClasses = "refuse", partial: bool = False
) -> Loaded:
    """Set the tensors of `model` from a safetensors file.

    Args:
        model: changed in place; untouched where something is wrong.
        path: what `save` wrote.
        other_classes: what to do about a last layer of another number of classes.
        partial: allow tensors of the model to be missing from the file (adapters alone, for example).

    Raises:
        NativeError: no such file, damaged, of another architecture, or of another number of classes.
    """
    with _opened(path) as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return assign(model, stored, str(path), other_classes=other_classes, partial=partial)


def load_upstream(model: Backbone, path: Path, *, other_classes: OtherClasses = "new_head") -> Loaded:
    """Set the tensors of `model` from a pre-trained checkpoint in the published format.

    Names are mapped, attention matrices turned, the mask buffer dropped. The published files have 6 classes, so the
    last layer is new unless `other_classes` says to refuse. No auxiliary head is in any of them: it stays random.

    Raises:
        NativeError: the file holds more than tensors, or does not fit the model.
    """
    if not path.is_file():  # a pipe would be waited for
        raise NativeError(f"{path}: no such checkpoint")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise NativeError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damaged bytes end in KeyError, IndexError, struct.error and others
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise NativeError(
            f"{path}: cannot be read as weights alone ({reason}); files that hold objects are never loaded, for "
            "loading them runs their code; ask for the state dict"
        ) from None
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise NativeError(f"{path}: expected a mapping of names to tensors, got a {type(stored).__name__}")
    tensors, left_out = from_upstream(stored, str(path))
    loaded = assign(model, tensors, str(path), other_classes=other_classes, new=("aux_classifier.",))
    return Loaded(loaded.names, loaded.new, {**left_out, **loaded.left_out})


def from_upstream(stored: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors under our names and shapes, and what was left out with the reason.

    Raises:
        NativeError: a name that the format does not have, or another position table.
    """
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, value in stored.items():
        if name == "position_encoding.positional_encoding":
            _check_positions(value, where)
            left_out[name] = "the fixed position table, equal to ours"
        elif name.endswith(".self_attention.bias"):
            left_out[name] = "the causal mask"
        else:
            tensor = value.t() if name.endswith(STORED_IN_OUT) else value
            squeeze = name.startswith("encoder_layers.") and tensor.ndim == 4
            tensors[_our_name(name, where)] = (tensor.squeeze(2) if squeeze else tensor).contiguous()
    return tensors, left_out


def _our_name(name: str, where: str) -> str:
    family, _, rest = name.partition(".")
    if family == "classifier":
        return name
    number, _, inner = rest.partition(".")
    part, _, kind = inner.rpartition(".")
    if family == "encoder_layers" and part in ENCODER_PARTS:
        return f"encoder.{number}.{ENCODER_PARTS[part]}.{kind}"
    if family == "transformer_layers" and part in {*BLOCK_PARTS, "norm1", "norm2", "fc1", "fc2"}:
        return f"blocks.{number}.{BLOCK_PARTS.get(part, part)}.{kind}"
    raise NativeError(f"{where}: unknown tensor {name!r}; this is no checkpoint of the published backbone")


def _check_positions(table: Tensor, where: str) -> None:
    width = table.shape[-1]
    ours = sinusoids(table.numel() // width, width)
    if not torch.allclose(table.reshape(-1, width).float(), ours, atol=1e-3):
        raise NativeError(f"{where}: the position table is not the sinusoidal one that this backbone adds")


def assign(
    model: EcgModel,
    stored: Mapping[str, Tensor],
    where: str,
    *,
    other_classes: OtherClasses,
    partial: bool = False,
    new: tuple[str, ...] = (),
) -> Loaded:
    """Set tensors of `model` by name after all shapes were checked; `new` starts names that may be missing.

    Raises:
        NativeError: names or shapes do not fit; lists up to five of each kind.
    """
    own = model.state_dict()
    last = model.last_head_weight()
    head = (last, last.removesuffix("weight") + "bias")
    left_out = _other_head(own, stored, head, where, other_classes)
    usable = {name: value for name, value in stored.items() if name not in left_out}
    problems = [f"{name} is unknown" for name in usable if name not in own]
    problems += [
        f"{name} is {tuple(value.shape)} there and {tuple(own[name].shape)} here"
        for name, value in usable.items()
        if name in own and value.shape != own[name].shape
    ]
    missing = [name for name in own if name not in usable]
    needed = [name for name in missing if name not in left_out and not name.startswith(new or ("\0",))]
    if not partial:
        problems += [f"{name} is missing" for name in needed]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise NativeError(
            f"{where}: does not fit this model: {'; '.join(problems[:5])}{more}; nothing was loaded"
        )
    model.load_state_dict(usable, strict=False)
    return Loaded(tuple(usable), tuple(missing), left_out)


def _other_head(
    own: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    head: tuple[str, str],
    where: str,
    policy: OtherClasses,
) -> dict[str, str]:
    weight = head[0]
    if weight not in stored or stored[weight].shape[0] == own[weight].shape[0]:
        return {}
    theirs, ours = stored[weight].shape[0], own[weight].shape[0]
    if policy == "refuse":
        raise NativeError(
            f"{where}: the checkpoint has {theirs} classes, this model {ours}; use records with the classes that it "
            "was trained for, or train from it: as model.checkpoint it gives all but the head"
        )
    return {name: f"{theirs} classes there, {ours} here: a new head" for name in head if name in stored}


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise NativeError(f"{path}: no such checkpoint")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise NativeError(f"{path}: no safetensors file, or a damaged one: {error}") from None
