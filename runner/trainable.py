"""Which parameters a method must train, counted from the method's words and the model's own modules.

The count is made before the engine has touched the model, and compared with what the engine then
really trains. No torch import: modules are asked for their shapes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.plugin_settings import MethodSettings
from runner.spec.problems import StageError

NAMES_SHOWN = 20

LAYER = re.compile(r"\.layers\.(\d+)(?=\.|$)")
"""The number of a layer in the name of a module."""

ADAPTER_PARTS = re.compile(
    r"\.(?:base_layer|lora_(?:A|B|embedding_A|embedding_B|magnitude_vector)|modules_to_save|original_module)"
    r"(?:\..*)?$"
)
"""What PEFT puts behind the name of a module that it has wrapped."""


@dataclass(frozen=True)
class Trained:
    """The trained part of a model."""

    trainable: int
    """Parameters that get a gradient."""
    total: int
    """Parameters of the model, adapters included."""
    modules: tuple[str, ...]
    """Names of the modules that have them, as the model was called before adapters were added."""


def size_of(parameter: Any) -> int:
    """Return the number of weights of a parameter, also where a process holds a part or 4-bit pairs."""
    sharded = getattr(parameter, "ds_numel", None)  # DeepSpeed ZeRO stage 3 keeps an empty rest
    if sharded is not None:
        return int(sharded)
    if type(parameter).__name__ == "Params4bit" and getattr(parameter, "quant_state", None) is not None:
        return int(parameter.quant_state.shape.numel())
    return int(parameter.numel())


def expected_trainable(method: MethodSettings, model: Any, *, keep_tied: bool = False) -> int:
    """Return how many parameters `method` trains on `model`, which has no adapter yet.

    An adapter of rank r on a module with `in` inputs and `out` outputs has r * (in + out) weights; DoRA
    adds one magnitude per output; a module in `train_fully` is trained as a full copy. With `keep_tied`
    (PEFT: ensure_weight_tying) the copies of one weight that two modules share stay one.

    Raises:
        StageError: the pattern matches no module, or one that cannot carry an adapter.
    """
    if method.name == "full":
        return sum(size_of(parameter) for _, parameter in model.named_parameters())
    if method.name == "partial":
        patterns = [re.compile(pattern) for pattern in method.parameters]
        return sum(
            size_of(parameter)
            for name, parameter in model.named_parameters()
            if any(pattern.fullmatch(name) for pattern in patterns)
        )
    modules = {name: module for name, module in model.named_modules() if name}
    pattern = re.compile(method.pattern or "")
    matched = {name: module for name, module in modules.items() if pattern.fullmatch(name)}
    if not matched:
        raise StageError(_no_match(f"method.pattern {method.pattern!r} matches no module", modules))
    rank = method.rank or 0
    total = 0
    for name, module in matched.items():
        inputs, outputs = _shape_of(name, module)
        total += rank * (inputs + outputs) + (outputs if method.name == "dora" else 0)
    return total + _copied(method.train_fully, modules, keep_tied)


def _copied(suffixes: Iterable[str], modules: Mapping[str, Any], keep_tied: bool) -> int:
    """Return how many parameters the full copies of the named modules have."""
    sizes: dict[tuple[str, str] | int, int] = {}
    for suffix in suffixes:
        copies = {name: module for name, module in modules.items() if f".{name}".endswith(f".{suffix}")}
        if not copies:
            raise StageError(_no_match(f"method.train_fully names {suffix!r}, which is no module", modules))
        for name, module in copies.items():
            for part, parameter in module.named_parameters():
                sizes[id(parameter) if keep_tied else (name, part)] = size_of(parameter)
    return sum(sizes.values())


def _shape_of(name: str, module: Any) -> tuple[int, int]:
    """Return the inputs and outputs of a linear map or an embedding."""
    for inputs, outputs in (
        ("in_features", "out_features"),
        ("nx", "nf"),  # transformers' Conv1D, the linear map of GPT-2
        ("num_embeddings", "embedding_dim"),
    ):
        if hasattr(module, inputs) and hasattr(module, outputs):
            return int(getattr(module, inputs)), int(getattr(module, outputs))
    raise StageError(
        f"the method's pattern matches {name!r}, a {type(module).__name__}, which cannot carry an adapter; "
        "match linear maps and embeddings only"
    )


def measure(model: Any) -> Trained:
    """Return what `model` really trains, after the engine has prepared it."""
    trainable = total = 0
    modules: dict[str, None] = {}
    for name, parameter in model.named_parameters():
        count = size_of(parameter)
        total += count
        if parameter.requires_grad:
            trainable += count
            modules[_module_of(name)] = None
    return Trained(trainable, total, tuple(modules))


def _module_of(parameter: str) -> str:
    """Return the plain name of the module that a parameter belongs to.

    >>> _module_of("base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight")
    'model.layers.0.mlp.up_proj'
    >>> _module_of("transformer.h.0.mlp.c_fc.bias")
    'transformer.h.0.mlp.c_fc'
    """
    name = parameter.removeprefix("base_model.model.")
    stripped = ADAPTER_PARTS.sub("", name)
    return stripped if stripped != name else name.rpartition(".")[0]


def matched_counts(method: MethodSettings, modules: Iterable[str]) -> dict[str, int]:
    """Return how many trained modules each group of the method has; without groups, of its pattern.

    >>> matched_counts(MethodSettings(name="full"), ["lm_head", "model.norm"])
    {'all': 2}
    """
    names = list(modules)
    groups: Mapping[str, str] = method.groups or ({method.pattern: method.pattern} if method.pattern else {})
    if not groups:
        return {"all": len(names)}
    return {
        group: sum(re.fullmatch(pattern, name) is not None for name in names)
        for group, pattern in groups.items()
    }


def check(method: MethodSettings, expected: int, trained: Trained, all_modules: Iterable[str]) -> None:
    """Refuse a model that does not train what the method says.

    Raises:
        StageError: the counts differ, nothing is trained, or a module group has no trained module.
    """
    all_modules = list(all_modules)
    for group, count in matched_counts(method, trained.modules).items():
        if count == 0:
            raise StageError(
                _no_match(
                    f"the module group {group!r} has no trained module", all_modules, method.groups.get(group)
                )
            )
    _check_layers(method, trained.modules, all_modules)
    if trained.trainable != expected or not trained.trainable:
        shown = ", ".join(trained.modules[:NAMES_SHOWN])
        raise StageError(
            f"method {method.name} should train {expected:,} parameters, the engine trains "
            f"{trained.trainable:,} of {trained.total:,}\n  trained modules: {shown or 'none'}"
        )


def _check_layers(method: MethodSettings, trained: Iterable[str], all_modules: Iterable[str]) -> None:
    """Refuse a group whose layers, which it knows by their numbers, are others in this model."""
    trained, all_modules = list(trained), list(all_modules)
    for group, told_by in method.layers_told_by.items():
        meant = {found[1] for name in all_modules if (found := re.fullmatch(told_by, name))}
        own = [name for name in trained if re.fullmatch(method.groups[group], name)]
        touched = {found[1] for name in own if (found := LAYER.search(name))}
        if meant != touched:
            raise StageError(
                f"the module group {group!r} trains layers {_numbers(touched)}; in this model it is layers "
                f"{_numbers(meant)}\n  give their parameters by method.parameters"
            )


def _numbers(layers: Iterable[str]) -> str:
    return ", ".join(map(str, sorted(map(int, layers)))) or "none"


def _no_match(what: str, modules: Iterable[str], pattern: str | None = None) -> str:
    kinds = sorted({re.sub(r"\d+", "*", name) for name in modules if name})
    shown = ", ".join(kinds[:NAMES_SHOWN]) + (", ..." if len(kinds) > NAMES_SHOWN else "")
    return f"{what}{f' ({pattern})' if pattern else ''}\n  modules of this model: {shown}"
