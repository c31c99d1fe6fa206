"""Low-rank adapters (LoRA) for convolutions, linear layers and fused query-key-value matrices.

An adapted layer keeps its own names (`weight`, `bias`) and gains `lora_a` and `lora_b`; `lora_b` starts at zero,
so the model starts as it was. The low-rank path applies the two factors one after the other and never builds
the dense product, which would stay in memory for the backward pass whatever the batch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.native.backbone import FusedQkv
from runner.native.errors import NativeError
from runner.native.model import EcgModel, is_head

Path = Literal["low_rank", "dense"]
PUBLISHED_TARGETS = ("conv", "qkv", "ffn", "head0")  # the output projection of attention carries none
INIT_STD = 0.02


@dataclass(frozen=True)
class LoraOptions:
    """How adapters look and what is trained beside them.

    Args:
        rank: of every adapter; the fused qkv has one of this rank for each of its three parts.
        scale: factor on the product; 1 as published.
        targets: groups of modules, of those that the model's `adapter_groups` names.
        train_bias: train every bias, those of the normalisations included.
        path: `low_rank`, or `dense` to build weight + product at each forward as upstream does.
        aux: `whole` trains the auxiliary head as it is; `upstream` gives its first layer an adapter and leaves
            its last weight at its random start.
    """

    rank: int
    scale: float
    targets: tuple[str, ...]
    train_bias: bool
    path: Path
    aux: Literal["whole", "upstream"]


class LoraLinear(nn.Linear):
    """A linear layer beside two factors: lora_a (rank, in), lora_b (out, rank)."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    path: Path

    @classmethod
    def around(cls, layer: nn.Linear, rank: int, scale: float, path: Path, draw: torch.Generator) -> Self:
        """Return an adapted layer that holds the very parameters of `layer`."""
        adapted = cls.__new__(cls)
        nn.Module.__init__(adapted)
        adapted.in_features, adapted.out_features = layer.in_features, layer.out_features
        adapted.weight, adapted.bias = layer.weight, layer.bias
        adapted.scale, adapted.path = scale, path
        adapted.lora_a, adapted.lora_b = cls._factors(layer, rank, draw)
        return adapted

    @classmethod
    def _factors(
        cls, layer: nn.Linear, rank: int, draw: torch.Generator
    ) -> tuple[nn.Parameter, nn.Parameter]:
        a = torch.empty(rank, layer.in_features).normal_(0, INIT_STD, generator=draw)
        return _like(layer.weight, a), _like(layer.weight, torch.zeros(layer.out_features, rank))

    def delta(self) -> Tensor:
        """Return scale * B A, (out, in)."""
        return self.scale * (self.lora_b @ self.lora_a)

    def forward(self, features: Tensor) -> Tensor:
        """Return (..., out) for (..., in)."""
        if self.path == "dense":
            return functional.linear(features, self.weight + self.delta(), self.bias)
        return super().forward(features) + self._low_rank(features)

    def _low_rank(self, features: Tensor) -> Tensor:
        low = functional.linear(features, self.lora_a)
        return functional.linear(low if self.scale == 1 else self.scale * low, self.lora_b)

    def plain(self) -> nn.Linear:
        """Return the merged layer."""
        return _plain_linear(self, nn.Linear)


class LoraQkv(LoraLinear):
    """Three independent adapters on one fused matrix: lora_a (3 rank, in), lora_b (3 out, rank)."""

    @classmethod
    def _factors(
        cls, layer: nn.Linear, rank: int, draw: torch.Generator
    ) -> tuple[nn.Parameter, nn.Parameter]:
        a = torch.empty(3 * rank, layer.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=draw)
        return _like(layer.weight, a), _like(layer.weight, torch.zeros(layer.out_features, rank))

    def delta(self) -> Tensor:
        """Return the three products one above the other, (3 out, in)."""
        rank = self.lora_b.shape[1]
        products = self.lora_b.view(3, -1, rank) @ self.lora_a.view(3, rank, -1)
        return self.scale * products.flatten(0, 1)

    def _low_rank(self, features: Tensor) -> Tensor:
        rank = self.lora_b.shape[1]
        low = functional.linear(features, self.lora_a)
        low = low.view(*low.shape[:-1], 3, rank)
        parts = torch.einsum("...pr,por->...po", self.scale * low, self.lora_b.view(3, -1, rank))
        return parts.flatten(-2)

    def plain(self) -> nn.Linear:
        """Return the merged layer."""
        return _plain_linear(self, FusedQkv)


class LoraConv1d(nn.Conv1d):
    """A convolution beside a narrow one and a 1x1: lora_a (rank, in * kernel), lora_b (out, rank)."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    path: Path

    @classmethod
    def around(cls, layer: nn.Conv1d, rank: int, scale: float, path: Path, draw: torch.Generator) -> Self:
        """Return an adapted layer that holds the very parameters of `layer`.

        Raises:
            NativeError: `layer` is grouped or does not pad with zeros, which the low-rank path does not cover.
        """
        if layer.groups != 1 or layer.padding_mode != "zeros":
            raise NativeError(f"lora: no adapter for {layer}; only ungrouped convolutions padded with zeros")
        adapted = cls(
            *(layer.in_channels, layer.out_channels, _single(layer.kernel_size), _single(layer.stride)),
            padding=layer.padding if isinstance(layer.padding, str) else _single(layer.padding),
            dilation=_single(layer.dilation),
            bias=False,
            device="meta",  # its own weight is replaced at once
        )
        adapted.weight, adapted.bias = layer.weight, layer.bias
        adapted.scale, adapted.path = scale, path
        a = torch.empty(rank, layer.weight[0].numel()).normal_(0, INIT_STD, generator=draw)
        adapted.lora_a = _like(layer.weight, a)
        adapted.lora_b = _like(layer.weight, torch.zeros(layer.out_channels, rank))
        return adapted

    def delta(self) -> Tensor:
        """Return scale * B A in the shape of the weight, (out, in, kernel)."""
        return (self.scale * (self.lora_b @ self.lora_a)).view_as(self.weight)

    def forward(self, signal: Tensor) -> Tensor:
        """Return (record, out, time') for (record, in, time)."""
        if self.path == "dense":
            return self._convolve(signal, self.weight + self.delta(), self.bias)
        low = self._convolve(signal, self.lora_a.view(-1, *self.weight.shape[1:]), None)
        main = self._convolve(signal, self.weight, self.bias)
        # Onto the main path, which no backward pass needs. Autocast does not reach in-place operations: cast here.
        factor = self.lora_b.to(low.dtype).expand(low.shape[0], -1, -1)
        return main.baddbmm_(factor, low, alpha=self.scale)

    def _convolve(self, signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv1d(signal, weight, bias, self.stride, self.padding, self.dilation)

    def plain(self) -> nn.Conv1d:
        """Return the merged layer."""
        layer = nn.Conv1d(
            *(self.in_channels, self.out_channels, _single(self.kernel_size), _single(self.stride)),
            padding=self.padding if isinstance(self.padding, str) else _single(self.padding),
            dilation=_single(self.dilation),
            bias=False,
            device="meta",
        )
        layer.weight, layer.bias = _merged(self), self.bias
        return layer


def attach(model: EcgModel, options: LoraOptions, draw: torch.Generator) -> tuple[str, ...]:
    """Put adapters on `model` in place and set what is trained; return the names of the adapted modules.

    Trained are: every adapter, every bias where asked, the last weight of the main head with its bias, and the
    auxiliary head. `draw` is a CPU generator for the start of the adapters.

    Raises:
        NativeError: a rank below 1, a target that the model does not have or that names nothing.
    """
    groups = model.adapter_groups()
    if options.rank < 1:
        raise NativeError(f"lora.rank: expected a whole number of at least 1, got {options.rank}")
    if unknown := [target for target in options.targets if not groups.get(target)]:
        raise NativeError(f"lora.targets: {unknown} name no module here; allowed: {', '.join(groups)}")
    targets = list(options.targets)
    if options.aux == "upstream" and "aux0" in groups:
        targets.append("aux0")
    names = tuple(name for target in dict.fromkeys(targets) for name in groups[target])
    for name in names:
        _replace(model, name, _adapted(model.get_submodule(name), options, draw))
    wanted = _trained_names(model, options)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
    return names


def merge(model: nn.Module) -> nn.Module:
    """Fold every adapter into its weight, in place, and return `model`; the names become the original ones."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLinear | LoraConv1d):
            _replace(model, name, layer.plain())
    return model


def train_all(model: nn.Module) -> None:
    """Train every parameter."""
    model.requires_grad_(True)


def train_heads(model: nn.Module) -> None:
    """Train the heads and freeze the backbone (linear probe)."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_head(name))


def set_path(model: nn.Module, path: Path) -> None:
    """Choose how all adapters of `model` are computed."""
    for layer in model.modules():
        if isinstance(layer, LoraLinear | LoraConv1d):
            layer.path = path


def _trained_names(model: EcgModel, options: LoraOptions) -> Collection[str]:
    last = model.last_head_weight()
    names = {last, last.removesuffix("weight") + "bias"}
    for name, _ in model.named_parameters():
        is_adapter = name.endswith((".lora_a", ".lora_b"))
        of_aux = options.aux == "whole" and name.startswith("aux_classifier.")
        if is_adapter or of_aux or (options.train_bias and name.endswith(".bias")):
            names.add(name)
    return names


def _adapted(layer: nn.Module, options: LoraOptions, draw: torch.Generator) -> nn.Module:
    settings = (options.rank, options.scale, options.path, draw)
    match layer:
        case LoraLinear() | LoraConv1d():
            raise NativeError("lora: the model carries adapters already; merge them first")
        case FusedQkv():
            return LoraQkv.around(layer, *settings)
        case nn.Linear():
            return LoraLinear.around(layer, *settings)
        case nn.Conv1d():
            return LoraConv1d.around(layer, *settings)
        case _:
            raise NativeError(f"lora: no adapter for a {type(layer).__name__}")


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer.train(model.training))


def _like(weight: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(device=weight.device, dtype=weight.dtype))


def _merged(layer: LoraLinear | LoraConv1d) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(layer.weight + layer.delta())


def _plain_linear(layer: LoraLinear, kind: type[nn.Linear]) -> nn.Linear:
    plain = kind(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.weight, plain.bias = _merged(layer), layer.bias
    return plain


def _single(values: Sequence[int]) -> int:
    (value,) = values
    return value
