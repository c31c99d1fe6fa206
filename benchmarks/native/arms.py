"""The methods that the benchmarks set side by side, each ready for a step."""

from __future__ import annotations

import torch

from runner.native import adapters, first_order, fusion, zeroth_order
from runner.native.backbone import Backbone, backbone
from runner.native.coefficients import Constant
from runner.native.method import Batch, Method, Setup
from runner.native.objective import Objective
from runner.native.optimiser import OptimiserOptions, Update
from runner.native.streams import built, generator
from runner.native.zeroth_order import ZerothOrder

ARMS = ("fusion", "lora", "full", "zeroth_order", "linear_probe")
CLASSES, RANK, BP_BATCH, MICRO_BATCH = 18, 16, 2, 8
OPTIMISER = OptimiserOptions("adamw", 1e-3, 0.01, "all", "constant", 0, 1000, None)


def estimator(micro_batch: int | None = MICRO_BATCH) -> ZerothOrder:
    """Return how the fused arms probe the loss."""
    return ZerothOrder(1e-4, "two", 1, micro_batch, "running", "snapshot", None)


def started(
    name: str, size: str, rank: int, device: torch.device, micro_batch: int | None = MICRO_BATCH
) -> tuple[Method, Backbone]:
    """Return the method `name` on a fresh model of `size`."""
    model = built(0, lambda: backbone(size, CLASSES))
    if name == "linear_probe":
        adapters.train_heads(model)
    elif name != "full":
        lora = adapters.LoraOptions(rank, 1.0, adapters.PUBLISHED_TARGETS, True, "low_rank", "whole")
        adapters.attach(model, lora, generator(1))
    model.to(device)
    setup = Setup(model, Objective(), Update(model.parameters(), OPTIMISER), seed=0, steps=1000)
    probed = estimator(micro_batch)
    if name == "fusion":
        return fusion.method(
            setup, fusion.Options(probed, BP_BATCH, Constant(0.9), "full_batch", 1e-6, None)
        ), model
    if name == "zeroth_order":
        return zeroth_order.method(
            setup, zeroth_order.Options(probed, "zeroth_order", False, "in_place")
        ), model
    return first_order.method(setup, first_order.Options(bn="batch", micro_batch=None)), model


def batch_of(records: int, samples: int, device: torch.device) -> Batch:
    """Return random records of 12 leads with random labels."""
    draw = generator(0)
    signal = torch.randn(records, 12, samples, generator=draw)
    target = (torch.rand(records, CLASSES, generator=draw) < 0.2).float()
    return Batch(signal.to(device), target.to(device))
