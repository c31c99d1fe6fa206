"""What every ECG model offers: features, heads, and which of its parameters belong to which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from runner.native.errors import NativeError

HEADS = ("classifier", "aux_classifier")  # the first part of the names of all head parameters


class Outputs(NamedTuple):
    """What a model says about a batch."""

    logits: Tensor  # (record, class)
    aux: Tensor | None  # (record, 1): the auxiliary "has a finding" logit, where the model has that head


class EcgModel(nn.Module, ABC):
    """A network `(record, lead, time)` -> features `(record, feature)` -> `Outputs`.

    `classifier` is the main head, `aux_classifier` the auxiliary one or None. Every name that starts with one
    of `HEADS` is a head's; all other parameters are the backbone's.
    """

    leads: int
    classes: int
    classifier: nn.Sequential
    aux_classifier: nn.Sequential | None

    def check(self, signal: Tensor) -> None:
        """Raise NativeError where `signal` is not `(record, lead, time)` of a length that this model takes."""
        if signal.ndim != 3 or signal.shape[1] != self.leads:
            raise NativeError(
                f"signal: expected the shape (record, lead, time) with {self.leads} leads, got {tuple(signal.shape)}"
            )
        self.check_length(signal.shape[2])

    @abstractmethod
    def check_length(self, samples: int) -> None:
        """Raise NativeError where the model cannot take records of `samples` samples; call it before a run."""

    @abstractmethod
    def features(self, signal: Tensor) -> Tensor:
        """Return `(record, feature)` for `(record, lead, time)`."""

    def head(self, features: Tensor) -> Outputs:
        """Return the logits for `(record, feature)`."""
        aux = None if self.aux_classifier is None else self.aux_classifier(features)
        return Outputs(self.classifier(features), aux)

    def forward(self, signal: Tensor) -> Outputs:
        """Return `head(features(signal))`."""
        return self.head(self.features(signal))

    @abstractmethod
    def adapter_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the modules that may carry an adapter, by group."""

    def last_head_weight(self) -> str:
        """Return the name of the weight of the last layer of the main head."""
        last = max(
            int(name) for name, part in self.classifier.named_children() if isinstance(part, nn.Linear)
        )
        return f"classifier.{last}.weight"


def is_head(name: str) -> bool:
    """Say whether the parameter `name` belongs to a head.

    >>> is_head("classifier.1.weight"), is_head("blocks.0.fc1.bias")
    (True, False)
    """
    return name.split(".", 1)[0] in HEADS


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name, in the model's order."""
    return {name: part for name, part in model.named_parameters() if part.requires_grad}


def backbone_part(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters outside the heads (theta in the papers)."""
    return {name: part for name, part in trainable(model).items() if not is_head(name)}


def head_part(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters of the heads (phi in the papers)."""
    return {name: part for name, part in trainable(model).items() if is_head(name)}


def count(model: nn.Module, *, trained_only: bool = False) -> int:
    """Return the number of scalars in the parameters of `model`."""
    return sum(part.numel() for part in model.parameters() if part.requires_grad or not trained_only)
