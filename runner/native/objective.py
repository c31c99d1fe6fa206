"""The one training loss: binary cross-entropy over classes, with an auxiliary head where that can learn something.

The auxiliary target says whether a record has a finding. Published code sets it to "has any label", which is
constantly 1 once records without a label are dropped; a target without variance is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from runner.native.errors import NativeError
from runner.native.model import Outputs


@dataclass(frozen=True)
class AuxTarget:
    """What the auxiliary head is to say.

    Args:
        kind: `abnormal`: a class other than `normal` is set; `any_label`: any class is set, as upstream.
        normal: places of the classes that count as normal, such as sinus rhythm.
    """

    kind: Literal["abnormal", "any_label"]
    normal: tuple[int, ...] = ()

    def of(self, target: Tensor) -> Tensor:
        """Return (record, 1) for (record, class); a mixed record gets the largest share of an abnormal class."""
        if self.kind == "any_label":
            return (target.sum(dim=1, keepdim=True) > 0).to(target.dtype)
        counted = [place for place in range(target.shape[1]) if place not in self.normal]
        if not counted:
            raise NativeError("aux.target: every class counts as normal, so nothing is left to tell apart")
        return target[:, counted].amax(dim=1, keepdim=True)

    def check(self, train_labels: Tensor) -> None:
        """Raise NativeError where the target is the same for every training record.

        Args:
            train_labels: (record, class), multi-hot: all of the training split.
        """
        values = self.of(train_labels)
        if len(values) == 0 or bool((values == values[0]).all()):
            value = f"{float(values[0]):g}" if len(values) else "missing"
            raise NativeError(
                f"aux.target: {self.kind}: the target is {value} for all {len(values)} training records, so the "
                "auxiliary head can learn nothing; name the normal classes (aux.target.normal_only) or drop aux"
            )


@dataclass(frozen=True)
class Objective:
    """Mean binary cross-entropy over records and classes, plus `aux_weight` times that of the auxiliary head.

    Build one with an auxiliary part by `with_aux`, which checks its target.
    """

    aux_weight: float = 0.0
    aux_target: AuxTarget | None = None

    def __call__(self, outputs: Outputs, target: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            outputs: logits (record, class) and, where `aux_weight` is not 0, aux (record, 1).
            target: (record, class), in [0, 1].

        Raises:
            NativeError: the number of classes differs, or the auxiliary head is missing.
        """
        main = self.main(outputs, target)
        if self.aux_target is None or self.aux_weight == 0:
            return main
        if outputs.aux is None:
            raise NativeError("aux.weight: the model has no auxiliary head; build it with aux=True")
        aux = functional.binary_cross_entropy_with_logits(
            outputs.aux.to(target.dtype), self.aux_target.of(target)
        )
        return main + self.aux_weight * aux

    def main(self, outputs: Outputs, target: Tensor) -> Tensor:
        """Return the loss without its auxiliary part."""
        if outputs.logits.shape != target.shape:
            raise NativeError(
                f"target: expected (record, class) = {tuple(outputs.logits.shape)}, got {tuple(target.shape)}"
            )
        return functional.binary_cross_entropy_with_logits(outputs.logits.to(target.dtype), target)


def with_aux(weight: float, target: AuxTarget, train_labels: Tensor) -> Objective:
    """Return an objective with an auxiliary part.

    Raises:
        NativeError: the auxiliary target has no variance over `train_labels`, (record, class).
    """
    target.check(train_labels)
    return Objective(weight, target)


def cutmix(
    signal: Tensor, target: Tensor, draw: torch.Generator, alpha: float = 0.75
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of leads x time from a permutation of the batch into each record, and mix the labels.

    lambda ~ Beta(alpha, alpha); each side of the rectangle is the share sqrt(1 - lambda) of its axis, about a uniform
    centre, clipped at the edges; labels are mixed by the area that was really pasted.

    Args:
        signal: (record, lead, time); left alone.
        target: (record, class).
        draw: a CPU generator of this step's own.
        alpha: of the Beta distribution.

    Returns:
        New tensors of the same shapes; the labels are soft.
    """
    mix = drawn_mix(len(signal), signal.shape[1], signal.shape[2], draw, alpha)
    order = mix.order.to(signal.device)
    return mix.applied(signal, target, signal[order], target[order])


@dataclass(frozen=True, eq=False)
class Mix:
    """What CutMix does to one batch: partner of each record, rectangle, and its share of leads x time."""

    order: Tensor
    leads: slice
    times: slice
    area: float

    def applied(
        self, signal: Tensor, target: Tensor, partners: Tensor, their_target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return new records (record, lead, time) with the partners' rectangle, and the mixed labels."""
        mixed = signal.clone()
        mixed[:, self.leads, self.times] = partners[:, self.leads, self.times]
        return mixed, (1 - self.area) * target + self.area * their_target


def drawn_mix(records: int, leads: int, samples: int, draw: torch.Generator, alpha: float) -> Mix:
    """Return the mix of one batch of `records`; see `cutmix`."""
    share = _beta(alpha, draw)
    side = (1 - share) ** 0.5
    rows, columns = (_span(size, side, draw) for size in (leads, samples))
    order = torch.randperm(records, generator=draw)
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / (leads * samples)
    return Mix(order, rows, columns, area)


def _beta(alpha: float, draw: torch.Generator) -> float:
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=draw)
    return float(gammas[0] / gammas.sum())


def _span(size: int, side: float, draw: torch.Generator) -> slice:
    length = int(size * side)
    centre = int(torch.randint(size, (), generator=draw))
    return slice(max(0, centre - length // 2), min(size, centre + length // 2))


def mask_leads(signal: Tensor, kept: Sequence[int]) -> Tensor:
    """Return a new (record, lead, time) in which all leads but those at the places `kept` are zero."""
    masked = torch.zeros_like(signal)
    places = list(kept)
    masked[:, places] = signal[:, places]
    return masked
