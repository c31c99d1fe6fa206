"""Small models, options and batches for the tests of the native backend; everything follows from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.native.adapters import PUBLISHED_TARGETS, LoraOptions, attach
from runner.native.backbone import Backbone, backbone, sinusoids
from runner.native.method import Batch, Setup
from runner.native.model import EcgModel
from runner.native.objective import Objective
from runner.native.optimiser import OptimiserOptions, Update
from runner.native.streams import built, generator
from runner.native.zeroth_order import ZerothOrder

LORA = LoraOptions(
    rank=4, scale=1.0, targets=PUBLISHED_TARGETS, train_bias=True, path="low_rank", aux="whole"
)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def labels(records: int, classes: int, seed: int = 1) -> Tensor:
    """Return a multi-hot target in which about a third is set."""
    return (torch.rand(records, classes, generator=generator(seed)) < 0.3).float()


def lora_model(
    rank: int = 4,
    *,
    classes: int = 5,
    aux: bool = False,
    awake: bool = True,
    seed: int = 0,
    aux_mode: str = "whole",
    **changes: Any,
) -> Backbone:
    """Return a tinylight with adapters; `awake` gives their zero factors values, so that they do something."""
    model = built(seed, lambda: backbone("tinylight", classes, aux=aux))
    attach(model, replace(LORA, rank=rank, aux=aux_mode, **changes), generator(seed + 1))
    if awake:
        draw = generator(seed + 2)
        with torch.no_grad():
            for name, part in model.named_parameters():
                if name.endswith("lora_b"):
                    part.normal_(0, 0.05, generator=draw)
    return model


ESTIMATOR = ZerothOrder(
    eps=1e-4, sides="two", draws=1, micro_batch=None, bn="running", restore="snapshot", sparsity=None
)
PLAIN_SGD = OptimiserOptions("sgd", 0.1, 0.0, "all", "constant", 0, 100, None)
ADAMW = OptimiserOptions("adamw", 2.5e-3, 0.01, "all", "linear", 2, 200, None)


def batch(records: int = 6, classes: int = 5, samples: int = 256, seed: int = 3) -> Batch:
    """Return random records with random labels."""
    return Batch(normal(records, 12, samples, seed=seed), labels(records, classes, seed + 1))


def setup(
    model: EcgModel,
    optimiser: OptimiserOptions = PLAIN_SGD,
    *,
    objective: Objective | None = None,
    seed: int = 18,
    steps: int = 100,
    precision: str = "fp32",
) -> Setup:
    """Return what a method needs to train `model`."""
    update = Update(model.parameters(), optimiser)
    return Setup(model, objective or Objective(), update, seed, steps, precision)


def gradients(model: EcgModel) -> dict[str, Tensor]:
    """Return copies of the gradients that the model holds."""
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def learnable(records: int, classes: int, samples: int, seed: int) -> Batch:
    """Return records in which class c shows as a sine of its own frequency on lead c, so a model can learn it."""
    target = labels(records, classes, seed)
    time = torch.arange(samples) / samples
    signal = 0.3 * normal(records, 12, samples, seed=seed + 1)
    for place in range(classes):
        signal[:, place] += 2 * target[:, place, None] * torch.sin(2 * torch.pi * 4 * (place + 1) * time)
    return Batch(signal, target)


ENCODER = {"conv1": "conv1", "conv2": "conv2", "shortcut": "conv3"}


def in_published_format(model: Backbone) -> dict[str, Tensor]:
    """Return the tensors of `model` as the published files name and store them (FUSION 2.2)."""
    out: dict[str, Tensor] = {"position_encoding.positional_encoding": sinusoids(200, model.size.width)[None]}
    for name, value in model.state_dict().items():
        family, number, *rest = name.split(".")
        if family == "classifier":
            out[name] = value
        elif family == "encoder":
            part = ENCODER.get(rest[0])
            middle = f"{part}.conv" if part else rest[0]
            tensor = value[:, :, None] if part and rest[-1] == "weight" else value
            out[f"encoder_layers.{number}.{middle}.{rest[-1]}"] = tensor
        else:
            inner = ".".join(rest).replace("attention.qkv", "self_attention.c_attn")
            inner = inner.replace("attention.proj", "self_attention.c_proj")
            turned = inner.startswith("self_attention") and inner.endswith("weight")
            out[f"transformer_layers.{number}.{inner}"] = value.t().contiguous() if turned else value
    for number in range(model.size.blocks):
        out[f"transformer_layers.{number}.self_attention.bias"] = torch.ones(1, 1, 96, 96).tril()
    return out
