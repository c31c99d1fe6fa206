"""Both sides of a zeroth-order probe in one forward, tried against one after the other.

`torch.func.vmap` runs the features once over trained parameters stacked as (side, ...): layers whose weights are shared
see 2 x record, adapters and biases one set a side. It holds the activations of both sides and a second copy of the
trained parameters. Only `benchmarks.native.step` uses it; what it measured is why the trainer does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from runner.native.adapters import LoraConv1d
from runner.native.backbone import Backbone
from runner.native.directions import Directions
from runner.native.method import Batch
from runner.native.model import backbone_part
from runner.native.normalisation import mode
from runner.native.objective import Objective
from runner.native.zeroth_order import ZerothOrder, in_double


class Features(nn.Module):
    """The features of a model as a module, which `functional_call` asks for."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor) -> Tensor:
        """Return (record, feature) for (record, lead, time)."""
        return self.model.features(signal)


def losses_at_once(
    model: Backbone,
    objective: Objective,
    options: ZerothOrder,
    batch: Batch,
    directions: Directions,
    step: int,
) -> tuple[float, float]:
    """Return the loss of `batch` at the plus and the minus side of the step's direction; nothing is changed."""
    names = iter(backbone_part(model))
    stacked = {
        f"model.{next(names)}": torch.stack((part + options.eps * way, part - options.eps * way))
        for parameters, ways in directions.drawn(step)
        for part, way in zip((one.detach() for one in parameters), ways, strict=True)
    }
    module = Features(model)

    def of_side(parameters: dict[str, Tensor], signal: Tensor) -> Tensor:
        found: Tensor = functional_call(module, parameters, (signal,))
        return found

    with torch.no_grad(), mode(model, "running", train=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # that is what is measured
        parts = torch.split(batch.signal, options.micro_batch or len(batch.signal))
        sides = torch.cat([vmap(of_side, in_dims=(0, None))(stacked, part) for part in parts], dim=1)
        target = batch.target.cpu().double()
        plus, minus = (float(objective(in_double(model.head(side)), target)) for side in sides)
    return plus, minus


@contextmanager
def rules_for_all(model: Backbone) -> Iterator[None]:
    """Inside, every operation has a batching rule: adapters without an in-place product, attention written out.

    What has none, `vmap` runs once a side: `baddbmm_` and the fused attention of the CPU.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, LoraConv1d)]
    for layer in layers:
        layer.forward = _apart(layer)  # type: ignore[method-assign, assignment]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for layer in layers:
            del layer.forward


def _apart(layer: LoraConv1d) -> Callable[[Tensor], Tensor]:
    def forward(signal: Tensor) -> Tensor:
        low = layer._convolve(signal, layer.lora_a.view(-1, *layer.weight.shape[1:]), None)
        return layer._convolve(signal, layer.weight, layer.bias) + layer.scale * (layer.lora_b @ low)

    return forward


def in_channels_last(model: Backbone) -> None:
    """Make every adapted convolution an image of height 1 with channels last; the layers around stay as they are."""
    for layer in model.modules():
        if isinstance(layer, LoraConv1d):
            layer._convolve = _as_image(layer)  # type: ignore[method-assign, assignment]


def _as_image(layer: LoraConv1d) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    stride, padding, dilation = layer.stride[0], int(layer.padding[0]), layer.dilation[0]

    def convolve(signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        image, filters = (
            part[:, :, None].contiguous(memory_format=torch.channels_last) for part in (signal, weight)
        )
        found = functional.conv2d(image, filters, bias, (1, stride), (0, padding), (1, dilation))
        return found.squeeze(2)

    return convolve
