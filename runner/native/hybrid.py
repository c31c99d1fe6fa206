"""LoHO: first-order gradients where they are cheap, zeroth-order ones elsewhere.

Between layers (`inter`): the last transformer blocks and the heads are backpropagated, everything before them is
probed, so no activation of the shallow layers is kept. Within layers (`intra`): in each tensor of the backbone a
fixed share of the entries follows the first-order gradient and the rest the zeroth-order one.

Source: the abstract of LoHO (AAAI 2025), as FUSION 3.8 records it. Which entries of a layer are first-order is not
said there; ours are drawn once from the run's seed. No code of its authors was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from runner.native.backbone import Backbone
from runner.native.errors import DivergedError, NativeError
from runner.native.first_order import tiny_batch_loss
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import backbone_part, head_part
from runner.native.normalisation import mode
from runner.native.streams import generator, stream_seed
from runner.native.zeroth_order import Estimate, FullBatch, Spsa, ZerothOrder


@dataclass(frozen=True)
class Options:
    """The method `hybrid`.

    Args:
        estimator: how the loss is probed.
        split: `inter` or `intra`, see above.
        deep_blocks: for `inter`: the last transformer blocks that are backpropagated; 0 leaves the heads.
        share: for `intra`: share of each tensor that follows the first-order gradient.
        bp_batch: first records that are backpropagated; None for all.
    """

    estimator: ZerothOrder
    split: Literal["inter", "intra"]
    deep_blocks: int
    share: float
    bp_batch: int | None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise NativeError(f"hybrid.share: expected a number in [0, 1], got {self.share}")
        if self.bp_batch is not None and self.bp_batch < 1:
            raise NativeError(f"hybrid.bp_batch: expected at least 1 record, got {self.bp_batch}")


class Hybrid(Stateful):
    """First order in one part of the model, zeroth order in the other."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        if not isinstance(setup.model, Backbone):
            raise NativeError(
                f"hybrid: {type(setup.model).__name__} cannot be cut in two; use a backbone of the family"
            )
        blocks = setup.model.size.blocks
        if not 0 <= options.deep_blocks <= blocks:
            raise NativeError(f"hybrid.deep_blocks: expected 0 to {blocks}, got {options.deep_blocks}")
        self._model, self._options = setup.model, options
        self._cut = blocks - options.deep_blocks if options.split == "inter" else 0
        theta = backbone_part(setup.model)
        self._deep = [
            part for name, part in theta.items() if options.split == "inter" and self._is_deep(name)
        ]
        probed = {
            name: part for name, part in theta.items() if options.split == "intra" or not self._is_deep(name)
        }
        self._spsa = Spsa(probed, options.estimator, setup.seed)
        self._bp_batch = setup.together.part(options.bp_batch)
        self._masks = self._drawn_masks(probed) if options.split == "intra" else {}

    def _is_deep(self, name: str) -> bool:
        kind, *rest = name.split(".")
        return kind == "blocks" and int(rest[0]) >= self._cut

    def _drawn_masks(self, probed: dict[str, torch.nn.Parameter]) -> dict[int, Tensor]:
        draw = generator(stream_seed(self.setup.seed, "hybrid"))
        return {
            id(part): (torch.rand(part.shape, generator=draw) < self._options.share).to(part.device)
            for part in probed.values()
        }

    def step(self, batch: Batch) -> StepStats:
        """Probe the shallow part, differentiate the deep one, and update once."""
        setup, options = self.setup, self._options
        setup.update.clear()
        loss = FullBatch(setup.model, setup.objective, options.estimator, batch, setup.together)
        estimate = self._spsa.estimate(loss, self.at)
        self._first_order(batch.first(self._bp_batch))
        self._join(estimate)
        lr = setup.update.lr
        norm = setup.update.step()
        self.at += 1
        return StepStats(
            loss=estimate.loss,
            loss_records=len(batch.signal),
            lr=lr,
            grad_norm=norm,
            rho=estimate.rhos[0],
            forwards=estimate.forwards,
        )

    def _first_order(self, batch: Batch) -> None:
        setup = self.setup
        if self._options.split == "intra":
            loss = tiny_batch_loss(setup, batch)
        else:
            with mode(setup.model, "running", train=True), setup.autocast(batch.signal.device):
                with torch.no_grad():
                    tokens = self._model.shallow(batch.signal, self._cut)
                outputs = self._model.head(self._model.deep(tokens, self._cut))
                loss = setup.objective(outputs, batch.target)
        if not torch.isfinite(loss):
            raise DivergedError(self.at, f"the loss of the first-order part is {float(loss.detach())}")
        deep = list(self._spsa.parameters) if self._options.split == "intra" else self._deep
        inputs = [*deep, *head_part(setup.model).values()]
        torch.autograd.backward(loss, inputs=inputs)
        setup.together.average(part.grad for part in inputs)

    def _join(self, estimate: Estimate) -> None:
        for parameters, zeroth in self._spsa.gradients(estimate):
            for part, direction in zip(parameters, zeroth, strict=True):
                mask = self._masks.get(id(part))
                if mask is not None and part.grad is not None:
                    direction = torch.where(mask, part.grad, direction)
                part.grad = direction


def method(setup: Setup, options: Options) -> Hybrid:
    """Return the method, ready for its first step."""
    return Hybrid(setup, options)
