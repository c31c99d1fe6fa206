"""Distillation: a small student learns labels and a teacher's opinion, from all leads or a few of them.

    loss = label_weight * objective(student) + kd_weight * T^2 * BCE(student / T, sigmoid(teacher / T))

The teacher always sees the whole signal of the batch, the student its leads; the others are zero, the channels stay.

Source: FUSION section 5 (temperature 1 and both weights 1 as published).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from runner.native.errors import DivergedError, NativeError
from runner.native.method import Batch, Setup, Stateful, StepStats
from runner.native.model import EcgModel, Outputs
from runner.native.normalisation import mode
from runner.native.objective import mask_leads

# Number of leads -> their places in I, II, III, aVR, aVL, aVF, V1 to V6: all; II, V1, V5; I.
LEADS: Mapping[int, tuple[int, ...]] = MappingProxyType({12: tuple(range(12)), 3: (1, 6, 10), 1: (0,)})


@dataclass(frozen=True)
class Options:
    """The method `distill`.

    Args:
        teacher: on the student's device, adapters merged; neither trained nor changed.
        label_weight: of the objective on the labels.
        kd_weight: of the loss against the teacher.
        temperature: both sides' logits are divided by it.
        leads: how many leads the student sees: 12, 3 or 1.
        bn: the student's normalisation, as for `full`.
    """

    teacher: EcgModel
    label_weight: float
    kd_weight: float
    temperature: float
    leads: int
    bn: Literal["running", "batch"]

    def __post_init__(self) -> None:
        if self.leads not in LEADS:
            raise NativeError(
                f"distill.leads: unknown value {self.leads}; allowed: {', '.join(map(str, LEADS))}"
            )
        if self.temperature <= 0:
            raise NativeError(f"distill.temperature: expected a number above 0, got {self.temperature}")


def teacher_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean binary cross-entropy between two sets of logits (record, class), times temperature squared.

    At temperature 1 its gradient with respect to a student logit is (sigmoid(s) - sigmoid(t)) / (records * classes).
    """
    wanted = (teacher / temperature).sigmoid()
    loss = functional.binary_cross_entropy_with_logits(student / temperature, wanted)
    return temperature**2 * loss


class Distill(Stateful):
    """Train a student under a teacher."""

    def __init__(self, setup: Setup, options: Options) -> None:
        super().__init__(setup)
        if options.teacher.classes != setup.model.classes:
            raise NativeError(
                f"distill: the teacher has {options.teacher.classes} classes, the student {setup.model.classes}"
            )
        self._options = options
        options.teacher.requires_grad_(False)

    def step(self, batch: Batch) -> StepStats:
        """Ask the teacher, differentiate the student's loss, and update once."""
        setup, options = self.setup, self._options
        setup.update.clear()
        wanted = self._opinion(batch.signal)
        seen = mask_leads(batch.signal, LEADS[options.leads])
        with mode(setup.model, options.bn, train=True), setup.autocast(seen.device):
            outputs: Outputs = (setup.wrapped or setup.model)(seen)
            loss = options.label_weight * setup.objective(outputs, batch.target)
            loss = loss + options.kd_weight * teacher_loss(outputs.logits, wanted, options.temperature)
        torch.autograd.backward(loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(self.at, f"the loss is {value}")
        lr = setup.update.lr
        norm = setup.update.step()
        self.at += 1
        return StepStats(loss=value, loss_records=len(seen), lr=lr, grad_norm=norm)

    def _opinion(self, signal: Tensor) -> Tensor:
        teacher = self._options.teacher
        with torch.no_grad(), mode(teacher, "running", train=False), self.setup.autocast(signal.device):
            outputs: Outputs = teacher(signal)
        return outputs.logits.to(signal.dtype)


def method(setup: Setup, options: Options) -> Distill:
    """Return the method, ready for its first step."""
    return Distill(setup, options)
