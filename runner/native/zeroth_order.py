"""Gradients from loss values alone (SPSA with the seed trick of MeZO), and MeZO itself as a method.

Two-sided: rho = (L(theta + eps z) - L(theta - eps z)) / (2 eps) for a standard normal z, so that rho z estimates the
gradient. One loss callable serves both sides. z is regenerated from (seed, step, draw) wherever it is needed; the
parameters come back from a copy, bit for bit, also when the loss raises.

Source: MeZO, arXiv 2305.17333; FUSION 3.2 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from runner.native.directions import Bucket, Directions
from runner.native.errors import DivergedError, NativeError
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import EcgModel, Outputs, backbone_part, head_part, trainable
from runner.native.normalisation import Statistics, mode
from runner.native.objective import Objective
from runner.native.sparsify import Sparsity
from runner.native.together import ALONE, Together


@dataclass(frozen=True)
class ZerothOrder:
    """How loss values are turned into a gradient.

    Args:
        eps: length of the perturbation; 1e-4 is best in fp32 (1e-5 drowns in round-off).
        sides: `two`, or `one` (plus side and unperturbed), which is biased by eps/2 tr(Hessian).
        draws: directions that are averaged in a step.
        micro_batch: records in one forward; None for the whole batch. Exact with `running` statistics.
        bn: `running` changes no buffer. `batch` normalises by each micro-batch (the same ones on both sides) and
            updates the stored statistics once for each micro-batch, at the plus side of the first draw only.
        restore: `snapshot` is exact; `arithmetic` adds and subtracts, saves a copy and drifts by about one
            rounding error per step (FUSION section 8, defect 5).
        sparsity: None for dense directions.
    """

    eps: float
    sides: Literal["one", "two"]
    draws: int
    micro_batch: int | None
    bn: Literal["running", "batch"]
    restore: Literal["snapshot", "arithmetic"]
    sparsity: Sparsity | None

    def __post_init__(self) -> None:
        if not (self.eps > 0 and math.isfinite(self.eps)):
            raise NativeError(f"zeroth order: eps: expected a number above 0, got {self.eps}")
        if self.draws < 1:
            raise NativeError(f"zeroth order: draws: expected at least 1, got {self.draws}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise NativeError(
                f"zeroth order: micro_batch: expected at least 1 record, got {self.micro_batch}"
            )


@dataclass(frozen=True)
class Estimate:
    """What one step's evaluations say: rho for each draw, and the mean of the losses that were seen."""

    step: int
    rhos: tuple[float, ...]
    loss: float
    forwards: int


class Spsa:
    """Estimate the slope of a loss along random directions of `parameters`, and leave those as they were."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], options: ZerothOrder, seed: int) -> None:
        self.options = options
        self.parameters: list[Tensor] = list(parameters.values())
        self.directions = Directions(parameters, seed, options.sparsity)
        self._copy = [torch.empty_like(part) for part in self.parameters] if self._exact else []

    @property
    def _exact(self) -> bool:
        return self.options.restore == "snapshot"

    @torch.no_grad()
    def estimate(self, loss: Callable[[], float], step: int) -> Estimate:
        """Evaluate `loss`, one callable for all sides, and return the slopes.

        The last evaluation is at the minus side of the last draw, or unperturbed where `sides` is `one`.

        Raises:
            DivergedError: a loss is not finite; the parameters are as before.
        """
        eps, two = self.options.eps, self.options.sides == "two"
        if self._exact and self.parameters:
            torch._foreach_copy_(self._copy, self.parameters)
        seen: list[tuple[float, float]] = []
        for draw in range(self.options.draws):
            at = 0.0  # where the parameters stand along the direction, for the arithmetic restore
            try:
                at = self._move(step, draw, at, eps)
                plus = loss()
                if two:
                    at = self._move(step, draw, at, -eps)
                    seen.append((plus, loss()))
                else:
                    seen.append((plus, math.nan))
            finally:
                self._back(step, draw, at)
        if not two:
            middle = loss()
            seen = [(plus, middle) for plus, _ in seen]
        if not all(math.isfinite(value) for pair in seen for value in pair):
            raise DivergedError(step, f"the losses of the zeroth-order forwards are {seen}")
        distance = 2 * eps if two else eps
        rhos = tuple((plus - other) / distance for plus, other in seen)
        losses = [value for pair in seen for value in pair] if two else [seen[0][1]]
        forwards = len(seen) * 2 if two else len(seen) + 1
        return Estimate(step, rhos, sum(losses) / len(losses), forwards)

    @torch.no_grad()
    def gradients(self, estimate: Estimate) -> Iterator[Bucket]:
        """Yield parameters and the mean over draws of rho z, bucket by bucket; z is drawn again here."""
        streams = [self.directions.drawn(estimate.step, draw) for draw in range(len(estimate.rhos))]
        for together in zip(*streams, strict=True):
            parameters, total = together[0]
            torch._foreach_mul_(total, estimate.rhos[0] / len(estimate.rhos))
            for rho, (_, direction) in zip(estimate.rhos[1:], together[1:], strict=True):
                torch._foreach_add_(total, direction, alpha=rho / len(estimate.rhos))
            yield parameters, total

    def _move(self, step: int, draw: int, at: float, to: float) -> float:
        for (parameters, direction), copy in zip(
            self.directions.drawn(step, draw), self._copies(), strict=True
        ):
            if self._exact:
                torch._foreach_copy_(parameters, copy)
                torch._foreach_add_(parameters, direction, alpha=to)
            else:
                torch._foreach_add_(parameters, direction, alpha=to - at)
        return to

    def _back(self, step: int, draw: int, at: float) -> None:
        if not self._exact:
            self._move(step, draw, at, 0.0)
        elif self.parameters:
            torch._foreach_copy_(self.parameters, self._copy)

    def _copies(self) -> Iterator[list[Tensor]]:
        for first, last in self.directions.spans:
            yield self._copy[first:last]


class FullBatch:
    """The loss of a whole batch without a graph; remembers the features of the last evaluation.

    Called by `Spsa`: the backbone runs in micro-batches, the heads once on all features, and the loss is reduced
    in double precision, so that the difference of two near-equal losses keeps its digits. Several processes have equal
    parts of the batch.
    """

    def __init__(
        self,
        model: EcgModel,
        objective: Objective,
        options: ZerothOrder,
        batch: Batch,
        together: Together = ALONE,
    ) -> None:
        self.model, self.objective, self.options, self.batch = model, objective, options, batch
        self.together = together
        self.features: Tensor | None = None
        self._calls = 0

    def __call__(self) -> float:
        """Return the loss at the parameters as they are now, the same in all processes."""
        call = self._calls
        self._calls += 1
        with torch.no_grad(), mode(self.model, self.statistics(call), train=False):
            self.features = features_without_graph(self.model, self.batch.signal, self.options.micro_batch)
            loss = self.loss(self.model.head(self.features), call)
        return self.together.mean(loss, self.batch.signal.device)

    def loss(self, outputs: Outputs, call: int) -> float:
        """Return the objective, the same at every call."""
        del call
        return float(self.objective(in_double(outputs), self.batch.target.cpu().double()))

    def statistics(self, call: int) -> Statistics:
        """Return how batch normalisation works at a call: only the first one may update what is stored."""
        if self.options.bn == "running":
            return "running"
        return "batch" if call == 0 else "batch_only"


def in_double(outputs: Outputs) -> Outputs:
    """Return `outputs` on the CPU in double precision, which not every device has."""
    aux = None if outputs.aux is None else outputs.aux.cpu().double()
    return Outputs(outputs.logits.cpu().double(), aux)


def features_without_graph(model: EcgModel, signal: Tensor, micro_batch: int | None) -> Tensor:
    """Return the features (record, feature), computed `micro_batch` records at a time, as an ordinary tensor."""
    with torch.inference_mode():
        parts = [model.features(part) for part in torch.split(signal, micro_batch or len(signal))]
        features = torch.cat(parts)
    return features.clone()  # outside the block: a tensor that a graph may start from


def head_gradients(setup: Setup, features: Tensor, target: Tensor) -> tuple[Sequence[Tensor], float]:
    """Return the exact gradient of the heads on `features`, in the order of `head_part`, and the loss.

    By stored statistics; both are means over all processes.
    """
    heads = list(head_part(setup.model).values())
    with torch.enable_grad(), mode(setup.model, "running", train=False):
        loss = setup.objective(setup.model.head(features), target)
        gradients = torch.autograd.grad(loss, heads, materialize_grads=True)
    setup.together.average(gradients)
    return gradients, setup.together.mean(float(loss.detach()), features.device)


@dataclass(frozen=True)
class Options:
    """The method `zeroth_order`.

    Args:
        estimator: how the loss is probed.
        head: `zeroth_order` treats heads like everything else (MeZO); `full_batch` gives them their exact gradient
            on the features of the last evaluation, at no backward pass through the backbone.
        sign: use only the sign of rho.
        update: `in_place` is MeZO's own theta -= lr (rho z + decay theta), without a gradient in memory;
            `optimiser` hands rho z to the optimiser.
    """

    estimator: ZerothOrder
    head: Literal["zeroth_order", "full_batch"]
    sign: bool
    update: Literal["in_place", "optimiser"]


class MeZo(Stateful):
    """Descend along random directions, from loss values alone."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        self._options = options
        whole = options.head == "zeroth_order"
        self._spsa = Spsa(
            trainable(setup.model) if whole else backbone_part(setup.model), options.estimator, setup.seed
        )

    def step(self, batch: Batch) -> StepStats:
        """Probe the loss and update once."""
        setup, options = self.setup, self._options
        setup.update.clear()
        loss = FullBatch(setup.model, setup.objective, options.estimator, batch, setup.together)
        estimate = self._spsa.estimate(loss, self.at)
        slope = estimate.rhos[0]
        if options.sign:
            estimate = replace(estimate, rhos=tuple(math.copysign(1.0, rho) for rho in estimate.rhos))
        if options.head == "full_batch" and loss.features is not None:
            gradients, _ = head_gradients(setup, loss.features, batch.target)
            for part, gradient in zip(head_part(setup.model).values(), gradients, strict=True):
                part.grad = gradient
        lr = setup.update.lr
        norm = self._apply(estimate)
        self.at += 1
        return StepStats(
            loss=estimate.loss,
            loss_records=len(batch.signal),
            lr=lr,
            grad_norm=norm,
            rho=slope,
            forwards=estimate.forwards,
        )

    def _apply(self, estimate: Estimate) -> float:
        squares = 0.0
        for parameters, gradients in self._spsa.gradients(estimate):
            if self._options.update == "in_place":
                squares += float(torch.nn.utils.get_total_norm(gradients)) ** 2
                self.setup.update.in_place(parameters, gradients)
            else:
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
        norm = self.setup.update.step()  # what has a gradient: the heads, or all; and the schedule moves on
        return math.sqrt(squares + norm**2)


def method(setup: Setup, options: Options) -> MeZo:
    """Return the method, ready for its first step."""
    return MeZo(setup, options)
