"""Gradient fusion: a tiny batch's exact gradient, mixed tensor by tensor with a full batch's zeroth-order direction.

For each trained tensor i of the backbone, with c the coefficient and rho z the zeroth-order estimate:

    g_i = c g_fo,i + (1 - c) ||g_fo,i|| rho z_i / (||rho z_i|| + norm_eps)

Heads get no zeroth-order noise: their gradient is exact, on the full batch (as in H-Tuning) or on the tiny one.
Only the sign of rho survives, and in D dimensions sign(rho) z has a cosine of about sqrt(2 / (pi D)) with the
gradient: always run the control c = 1 beside it.

Source: FUSION 3.3 to 3.7; defects of the published code are reproduced by `compat` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from runner.native import compat
from runner.native.coefficients import Coefficient
from runner.native.errors import DivergedError, NativeError
from runner.native.first_order import tiny_batch_loss
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import backbone_part, head_part
from runner.native.normalisation import mode
from runner.native.zeroth_order import (
    Estimate,
    FullBatch,
    Spsa,
    ZerothOrder,
    features_without_graph,
    head_gradients,
)


@dataclass(frozen=True)
class Options:
    """The method `fusion`.

    Args:
        estimator: how the full batch's loss is probed.
        bp_batch: first records of each batch that are backpropagated.
        coefficient: weight c of the first-order gradient over the run. Where it is 1 no perturbed forward is made.
        head: where the gradient of the heads comes from. `full_batch`: exact, on the features of the last forward
            (theta - eps z when two-sided; an unperturbed forward where c is 1). `tiny_batch`: from the tiny batch.
        norm_eps: added to the norm of rho z.
        compat: None, or `upstream` to reproduce the published code with its defects; see `runner.native.compat`.
    """

    estimator: ZerothOrder
    bp_batch: int
    coefficient: Coefficient
    head: Literal["full_batch", "tiny_batch"]
    norm_eps: float
    compat: Literal["upstream"] | None

    def __post_init__(self) -> None:
        if self.bp_batch < 1:
            raise NativeError(f"fusion.bp_batch: expected at least 1 record, got {self.bp_batch}")


@torch.no_grad()
def fuse(
    first: Sequence[Tensor], zeroth: Sequence[Tensor], coefficient: float, norm_eps: float
) -> list[Tensor]:
    """Return the fused gradient of each tensor.

    Args:
        first: first-order gradients; left alone.
        zeroth: rho z for each, of the same shape; used up.
        coefficient: c, in [0, 1]. At 1 the first-order gradients themselves are returned.
        norm_eps: added to the norm of each `zeroth`.
    """
    if coefficient == 1:
        return list(first)
    first_norms, zeroth_norms = torch._foreach_norm(list(first)), torch._foreach_norm(list(zeroth))
    scales = torch.stack(first_norms) / (torch.stack(zeroth_norms) + norm_eps) * (1 - coefficient)
    fused = list(zeroth)
    torch._foreach_mul_(fused, list(scales.unbind()))
    torch._foreach_add_(fused, list(first), alpha=coefficient)
    return fused


class Fusion(Stateful):
    """Gradient fusion; costs two full-batch forwards without a graph and one tiny backward pass a step."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        self._options = options = compat.as_upstream(options) if options.compat == "upstream" else options
        self._theta = backbone_part(setup.model)
        self._phi = list(head_part(setup.model).values())
        if not self._theta:
            raise NativeError(
                "fusion: nothing of the backbone is trained; add adapters (method.lora) or use linear_probe"
            )
        self._spsa = Spsa(self._theta, options.estimator, setup.seed)
        self._bp_batch = setup.together.part(options.bp_batch)

    def coefficient(self) -> float:
        """Return c of the next step."""
        return self._options.coefficient.at(self.at / self.setup.steps)

    def step(self, batch: Batch) -> StepStats:
        """Probe the full batch, differentiate the tiny one, fuse, and update once."""
        setup, c = self.setup, self.coefficient()
        setup.update.clear()
        estimate, features = self._probe(batch, c)
        of_heads: Sequence[Tensor] | None = None
        full_loss = estimate.loss if estimate else None
        if features is not None:
            of_heads, loss_of_heads = head_gradients(setup, features, batch.target)
            full_loss = loss_of_heads if full_loss is None else full_loss
        tiny = batch.first(self._bp_batch)
        tiny_loss = self._first_order(tiny, with_heads=of_heads is None)
        fo_norm = float(torch.nn.utils.get_total_norm([_gradient(part) for part in self._theta.values()]))
        if estimate is not None:
            self._fuse(estimate, c)
        if of_heads is not None:
            for part, gradient in zip(self._phi, of_heads, strict=True):
                part.grad = gradient
        lr = setup.update.lr
        norm = setup.update.step()
        self.at += 1
        return StepStats(
            loss=tiny_loss if full_loss is None else full_loss,
            loss_records=len(tiny.signal if full_loss is None else batch.signal),
            lr=lr,
            grad_norm=norm,
            coefficient=c,
            rho=estimate.rhos[0] if estimate else None,
            fo_norm=fo_norm,
            forwards=estimate.forwards if estimate else int(features is not None),
        )

    def _probe(self, batch: Batch, c: float) -> tuple[Estimate | None, Tensor | None]:
        """Return the estimate, where c asks for one, and the features that the heads' gradient is taken on."""
        setup, options = self.setup, self._options
        heads_from_full = options.head == "full_batch"
        if c == 1:
            if not heads_from_full:
                return None, None
            with mode(setup.model, "running", train=False):
                return None, features_without_graph(setup.model, batch.signal, options.estimator.micro_batch)
        kind = compat.UpstreamFullBatch if options.compat == "upstream" else FullBatch
        loss = kind(setup.model, setup.objective, options.estimator, batch, setup.together)
        estimate = self._spsa.estimate(loss, self.at)
        return estimate, loss.features if heads_from_full else None

    def _first_order(self, tiny: Batch, *, with_heads: bool) -> float:
        loss = tiny_batch_loss(self.setup, tiny)
        inputs = [*self._theta.values(), *(self._phi if with_heads else [])]
        torch.autograd.backward(loss, inputs=inputs)
        self.setup.together.average(part.grad for part in inputs)
        value = self.setup.together.mean(float(loss.detach()), tiny.signal.device)
        if not math.isfinite(value):
            raise DivergedError(self.at, f"the loss of the tiny batch is {value}")
        for name, part in self._theta.items():
            if part.grad is None:
                raise NativeError(f"fusion: {name} is trained but the loss does not depend on it; freeze it")
        return value

    def _fuse(self, estimate: Estimate, c: float) -> None:
        for parameters, zeroth in self._spsa.gradients(estimate):
            fused = fuse([_gradient(part) for part in parameters], zeroth, c, self._options.norm_eps)
            for part, gradient in zip(parameters, fused, strict=True):
                part.grad = gradient


def _gradient(part: Tensor) -> Tensor:
    if part.grad is None:
        raise NativeError("fusion: a trained tensor has no first-order gradient")
    return part.grad


def method(setup: Setup, options: Options) -> Fusion:
    """Return the method, ready for its first step."""
    return Fusion(setup, options)
