"""Small models, options and batches for the tests of the native backend; everything follows from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.native.adapters import PUBLISHED_TARGETS, LoraOptions, attach
from runner.native.backbone import Backbone, backbone
from runner.native.streams import built, generator

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
