"""The optimiser of all methods: AdamW or SGD, a schedule that is a formula, clipping, and a state to resume from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from runner.native.errors import DivergedError, NativeError


@dataclass(frozen=True)
class OptimiserOptions:
    """How parameters follow their gradients.

    Args:
        name: `adamw`, or `sgd` without momentum.
        learning_rate: at the top of the schedule.
        weight_decay: decoupled for adamw.
        decay: `all` decays every parameter, biases included, as published; `matrices` those of 2 or more axes.
        schedule: after the warm-up.
        warmup: steps over which the rate rises; step k of w uses (k + 1) / w, so that no step has rate 0.
        steps: planned steps; linear and cosine reach 0 after the last one.
        clip_norm: the largest norm of the whole gradient; None leaves it.
    """

    name: Literal["adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    decay: Literal["all", "matrices"]
    schedule: Literal["constant", "linear", "cosine"]
    warmup: int
    steps: int
    clip_norm: float | None

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup <= self.steps:
            raise NativeError(
                f"optimiser: expected at least 1 step and a warm-up within them, got {self.steps} and {self.warmup}"
            )
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise NativeError(f"optimiser.clip_norm: expected a number above 0, got {self.clip_norm}")

    def rate(self, step: int) -> float:
        """Return the learning rate of `step`, from 0.

        >>> options = OptimiserOptions("adamw", 1.0, 0.0, "all", "linear", 2, 6, None)
        >>> [options.rate(step) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        match self.schedule:
            case "constant":
                return self.learning_rate
            case "linear":
                return self.learning_rate * (1 - done)
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


class Update:
    """Applies the gradients that the parameters hold; parameters without one are left alone."""

    def __init__(self, parameters: Iterable[nn.Parameter], options: OptimiserOptions) -> None:
        self.parameters = [part for part in parameters if part.requires_grad]
        if not self.parameters:
            raise NativeError("optimiser: no parameter is trained; choose another method or other targets")
        self.options = options
        self.at = 0
        every = options.decay == "all"
        decayed = [part for part in self.parameters if every or part.ndim > 1]
        others = [part for part in self.parameters if not every and part.ndim <= 1]
        groups = [
            {"params": parts, "weight_decay": decay}
            for parts, decay in ((decayed, options.weight_decay), (others, 0.0))
            if parts
        ]
        kind = torch.optim.AdamW if options.name == "adamw" else torch.optim.SGD
        self.optimizer: torch.optim.Optimizer = kind(groups, lr=options.learning_rate)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.options.rate(self.at)

    def clear(self) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> float:
        """Apply the gradients, move the schedule on and return the norm of the gradients before clipping.

        Raises:
            DivergedError: that norm is not finite; no weight was updated.
        """
        gradients = [part.grad for part in self.parameters if part.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if not math.isfinite(norm):
            raise DivergedError(self.at, f"the norm of the gradient is {norm}")
        if self.options.clip_norm is not None and norm > self.options.clip_norm:
            torch._foreach_mul_(gradients, self.options.clip_norm / norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        if gradients:
            self.optimizer.step()
        self.at += 1
        return norm

    @torch.no_grad()
    def in_place(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Do theta -= lr (gradient + decay theta) on some parameters, without any state; `gradients` is used up."""
        every = self.options.decay == "all"
        for part, gradient in zip(parameters, gradients, strict=True):
            decay = self.options.weight_decay if every or part.ndim > 1 else 0.0
            part.add_(gradient.add_(part, alpha=decay), alpha=-self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Return the step's number and the optimiser's state."""
        return {"at": self.at, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.at = int(state["at"])
        self.optimizer.load_state_dict(dict(state["optimizer"]))
