"""Sparse directions: which entries of a zeroth-order direction are kept, drawn anew at each step.

A mask is drawn from a stream of its own, so the same step gives the same mask at the plus side, at the minus side
and when the direction is regenerated. `upstream` is the defective rule of the published code, for ablation: the
zeroed share is Phi(s) in place of s, and one mask serves the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from runner.native.errors import NativeError


@dataclass(frozen=True)
class Sparsity:
    """How much of a direction is zeroed.

    Args:
        fraction: share of entries that are zeroed, in [0, 1).
        per_tensor: another share for the tensors named here.
        kind: `bernoulli` keeps each entry with probability 1 - fraction; `exact` keeps round((1 - fraction) n) of
            each tensor; `upstream` zeroes where a normal number is below the fraction.
        rescale: multiply what is kept by (1 - fraction) ** -0.5, so that E[z z^T] stays the identity and the
            estimate of the gradient keeps its mean.
    """

    fraction: float
    per_tensor: Mapping[str, float]
    kind: Literal["bernoulli", "exact", "upstream"]
    rescale: bool

    def __post_init__(self) -> None:
        for where, share in {"fraction": self.fraction, **self.per_tensor}.items():
            if not 0 <= share < 1:
                raise NativeError(f"sparsity: {where}: expected a share in [0, 1), got {share}")

    @property
    def fixed(self) -> bool:
        """Whether one mask serves the whole run."""
        return self.kind == "upstream"

    def share(self, name: str) -> float:
        """Return the share of the tensor `name` that is zeroed."""
        return self.per_tensor.get(name, self.fraction)

    def sparsen(self, direction: Tensor, name: str, draw: torch.Generator) -> None:
        """Zero part of `direction`, of the tensor called `name`, in place."""
        share = self.share(name)
        direction.mul_(keep_mask(direction.shape, share, self.kind, draw))
        if self.rescale:
            direction.mul_(1 / math.sqrt(1 - share))


def keep_mask(shape: torch.Size, share: float, kind: str, draw: torch.Generator) -> Tensor:
    """Return a boolean tensor, True where an entry is kept, on the device of `draw`.

    >>> keep_mask(torch.Size([4, 5]), 0.4, "exact", torch.Generator().manual_seed(0)).sum().item()
    12
    """
    if kind == "upstream":
        return torch.randn(shape, generator=draw, device=draw.device) >= share
    uniform = torch.rand(shape, generator=draw, device=draw.device)
    if kind == "bernoulli":
        return uniform >= share
    kept = round((1 - share) * uniform.numel())
    mask = torch.zeros(uniform.numel(), dtype=torch.bool, device=draw.device)
    mask[uniform.flatten().argsort()[:kept]] = True
    return mask.view(shape)
