"""What a training method is: `step(batch)` -> `StepStats`, and a state that resumes it bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from runner.native.errors import NativeError
from runner.native.model import EcgModel
from runner.native.objective import Objective
from runner.native.optimiser import Update
from runner.native.together import ALONE, Together

# Word in the spec -> module that offers `Options` and `method(setup, options)`. Text: knowing the words imports nothing.
METHODS: Mapping[str, str] = MappingProxyType(
    {
        "full": "runner.native.first_order",
        "linear_probe": "runner.native.first_order",
        "lora": "runner.native.first_order",
        "zeroth_order": "runner.native.zeroth_order",
        "fusion": "runner.native.fusion",
        "addax": "runner.native.addax",
        "hybrid": "runner.native.hybrid",
        "distill": "runner.native.distill",
    }
)


@dataclass(frozen=True)
class Batch:
    """Records on the model's device.

    Args:
        signal: (record, lead, time).
        target: (record, class), in [0, 1]; soft where records were mixed.
    """

    signal: Tensor
    target: Tensor

    def first(self, records: int | None) -> Batch:
        """Return the first `records` records; all for None."""
        return Batch(self.signal[:records], self.target[:records])


@dataclass(frozen=True, kw_only=True)
class StepStats:
    """What a step did.

    Args:
        loss: mean objective over `loss_records` records; for perturbed forwards the mean of both sides.
        loss_records: how many records that loss is over.
        lr: learning rate of this step.
        grad_norm: norm of the gradient that was applied, before clipping.
        coefficient: weight of the first-order gradient, where two are mixed.
        rho: slope along the first direction, where the loss was probed.
        fo_norm: norm of the backbone's first-order gradient, where there is another one beside it.
        forwards: full-batch forwards of the backbone without a graph.
    """

    loss: float
    loss_records: int
    lr: float
    grad_norm: float
    coefficient: float | None = None
    rho: float | None = None
    fo_norm: float | None = None
    forwards: int = 0


@dataclass(frozen=True)
class Setup:
    """What every method needs; `model` already has the parameters frozen that are not trained.

    Args:
        model: on its device, in fp32: those are the master weights.
        objective: the one loss.
        update: optimiser, schedule and clipping over the trained parameters.
        seed: of the run; all noise follows from it and the step's number.
        steps: planned steps of the run, for schedules of the coefficient.
        precision: of first-order forwards and backwards; `bf16` by autocast. Probing a loss is always in fp32, for
            a perturbation of 1e-4 is lost in the rounding of half precision.
        wrapped: what a forward of a whole-model method calls, where that is not the model (data-parallel training).
        together: the processes that train; losses and gradients of methods without `wrapped` are means over them.
    """

    model: EcgModel
    objective: Objective
    update: Update
    seed: int
    steps: int
    precision: Literal["fp32", "bf16"] = "fp32"
    wrapped: torch.nn.Module | None = None
    together: Together = ALONE

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise NativeError(f"precision: unknown value {self.precision!r}; allowed: fp32, bf16")
        if self.steps < 1:
            raise NativeError(f"steps: expected at least 1, got {self.steps}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context of first-order forwards."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


class Method(Protocol):
    """What a trainer drives."""

    def step(self, batch: Batch) -> StepStats:
        """Do one optimiser step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on beside the model's own state."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        ...


class Stateful:
    """The step's number and the optimiser: together with the model, the whole state of each method here.

    Random streams need no state of their own, for they follow from the seed and the step's number.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the step's number, the seed and the optimiser's state."""
        return {"at": self.at, "seed": self.setup.seed, "update": self.setup.update.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            NativeError: the state is of a run with another seed.
        """
        if state["seed"] != self.setup.seed:
            raise NativeError(f"resume: the state has seed {state['seed']}, this run {self.setup.seed}")
        self.at = int(state["at"])
        self.setup.update.load_state_dict(state["update"])
