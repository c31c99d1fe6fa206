"""Which statistics batch normalisation uses, and whether it learns them, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# running: the stored statistics; batch: those of the batch, and the stored ones are updated;
# batch_only: those of the batch, and the stored ones stay.
Statistics = Literal["running", "batch", "batch_only"]


@contextmanager
def mode(model: nn.Module, statistics: Statistics, *, train: bool) -> Iterator[None]:
    """Set the modes of all modules of `model` and give the former ones back afterwards.

    Args:
        model: changed for the length of the block.
        statistics: of every batch normalisation.
        train: whether everything else (dropout) is in training mode.
    """
    before = [(module, module.training) for module in model.modules()]
    norms = [module for module, _ in before if isinstance(module, _BatchNorm)]
    tracked = [(norm, norm.track_running_stats) for norm in norms]
    try:
        for module, _ in before:
            module.training = train
        for norm in norms:
            norm.training = statistics != "running"
            norm.track_running_stats = statistics != "batch_only"
        yield
    finally:
        for module, was_training in before:
            module.training = was_training
        for norm, was_tracked in tracked:
            norm.track_running_stats = was_tracked
