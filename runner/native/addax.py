"""Addax: one step along a weighted sum of a zeroth-order and a first-order gradient of two parts of the batch.

    g = alpha rho z + (1 - alpha) g_fo

rho z is raw and global (not rescaled per tensor), over every trained parameter; the first `bp_batch` records give
g_fo, all others rho. Addax itself steps by plain SGD: give the optimiser that name.

Source: Addax, arXiv 2410.06441 (ICLR 2025), as FUSION 3.8 records it; no code of its authors was read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from runner.native.errors import NativeError
from runner.native.first_order import tiny_batch_loss
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import trainable
from runner.native.zeroth_order import FullBatch, Spsa, ZerothOrder


@dataclass(frozen=True)
class Options:
    """The method `addax`.

    Args:
        estimator: how the loss is probed.
        bp_batch: first records of each batch that are backpropagated; the others are probed.
        alpha: weight of the zeroth-order part, in [0, 1].
    """

    estimator: ZerothOrder
    bp_batch: int
    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise NativeError(f"addax.alpha: expected a number in [0, 1], got {self.alpha}")
        if self.bp_batch < 1:
            raise NativeError(f"addax.bp_batch: expected at least 1 record, got {self.bp_batch}")


class Addax(Stateful):
    """Mixed-order descent."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        self._options = options
        self._trained = trainable(setup.model)
        self._spsa = Spsa(self._trained, options.estimator, setup.seed)
        self._bp_batch = setup.together.part(options.bp_batch)

    def step(self, batch: Batch) -> StepStats:
        """Probe one part of the batch, differentiate the other, and update once."""
        setup, options = self.setup, self._options
        # The last batch of an epoch may be as small as bp_batch: one record is left to probe, and a lone one does both.
        tiny = min(self._bp_batch, len(batch.signal) - 1)
        probed = Batch(batch.signal[tiny:], batch.target[tiny:])
        setup.update.clear()
        loss = FullBatch(setup.model, setup.objective, options.estimator, probed, setup.together)
        estimate = self._spsa.estimate(loss, self.at)
        torch.autograd.backward(tiny_batch_loss(setup, batch.first(max(tiny, 1))))
        setup.together.average(part.grad for part in self._trained.values())
        first = [part.grad for part in self._trained.values() if part.grad is not None]
        fo_norm = float(torch.nn.utils.get_total_norm(first))
        for parameters, zeroth in self._spsa.gradients(estimate):
            for part, direction in zip(parameters, zeroth, strict=True):
                direction.mul_(options.alpha)
                part.grad = (
                    direction if part.grad is None else part.grad.mul_(1 - options.alpha).add_(direction)
                )
        lr = setup.update.lr
        norm = setup.update.step()
        self.at += 1
        return StepStats(
            loss=estimate.loss,
            loss_records=len(probed.signal),
            lr=lr,
            grad_norm=norm,
            coefficient=1 - options.alpha,
            rho=estimate.rhos[0],
            fo_norm=fo_norm,
            forwards=estimate.forwards,
        )


def method(setup: Setup, options: Options) -> Addax:
    """Return the method, ready for its first step."""
    return Addax(setup, options)
