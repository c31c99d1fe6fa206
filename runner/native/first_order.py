"""Backpropagation over the whole batch: `full`, `lora` and `linear_probe` differ only in what is trained.

Where nothing of the backbone is trained, its features are computed without a graph and only the heads are
differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from runner.native.errors import DivergedError, NativeError
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import Outputs, backbone_part, head_part
from runner.native.normalisation import mode
from runner.native.zeroth_order import features_without_graph


@dataclass(frozen=True)
class Options:
    """The methods `full`, `lora` and `linear_probe`.

    Args:
        bn: `batch` is ordinary training; `running` uses the stored statistics and leaves them alone. Where only
            heads are trained the backbone always uses the stored ones.
        micro_batch: records in one forward and backward, gradients added up; None for the whole batch. Exact with
            `running`.
    """

    bn: Literal["running", "batch"]
    micro_batch: int | None


class FirstOrder(Stateful):
    """Ordinary training."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        self._options = options
        self._probe = not backbone_part(setup.model)
        if options.micro_batch is not None and options.micro_batch < 1:
            raise NativeError(f"train.micro_batch: expected at least 1 record, got {options.micro_batch}")

    def step(self, batch: Batch) -> StepStats:
        """Differentiate the loss of `batch` and update once."""
        setup = self.setup
        setup.update.clear()
        lr = setup.update.lr
        statistics = "running" if self._probe else self._options.bn
        with mode(setup.model, statistics, train=True):
            loss = self._backward(batch)
        norm = setup.update.step()
        self.at += 1
        return StepStats(loss=loss, loss_records=len(batch.signal), lr=lr, grad_norm=norm)

    def _backward(self, batch: Batch) -> float:
        size = self._options.micro_batch or len(batch.signal)
        total = torch.zeros((), device=batch.signal.device)
        parts = list(zip(torch.split(batch.signal, size), torch.split(batch.target, size), strict=True))
        for place, (signal, target) in enumerate(parts):
            last = place == len(parts) - 1
            with self._no_exchange(last), self.setup.autocast(signal.device):
                loss = self.setup.objective(self._outputs(signal), target) * (len(signal) / len(batch.signal))
            with self._no_exchange(last):
                torch.autograd.backward(loss)
            total += loss.detach()
        value = float(total)
        if self._probe:
            self.setup.together.average(part.grad for part in head_part(self.setup.model).values())
        if value != value or abs(value) == float("inf"):
            raise DivergedError(self.at, f"the loss is {value}")
        return value

    def _outputs(self, signal: Tensor) -> Outputs:
        if self._probe:
            return self.setup.model.head(features_without_graph(self.setup.model, signal, None))
        forward: Callable[[Tensor], Outputs] = self.setup.wrapped or self.setup.model
        return forward(signal)

    def _no_exchange(self, last: bool) -> AbstractContextManager[None]:
        """Let processes exchange gradients once a step, at the last part."""
        no_sync: Callable[[], AbstractContextManager[None]] | None
        no_sync = getattr(self.setup.wrapped, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()


def method(setup: Setup, options: Options) -> FirstOrder:
    """Return the method, ready for its first step."""
    return FirstOrder(setup, options)


def tiny_batch_loss(setup: Setup, batch: Batch) -> Tensor:
    """Return the loss of a batch too small for statistics of its own, with its graph: stored statistics."""
    with mode(setup.model, "running", train=True), setup.autocast(batch.signal.device):
        outputs: Outputs = setup.model(batch.signal)
        return setup.objective(outputs, batch.target)
