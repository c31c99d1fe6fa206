"""Choosing by validation records: their scores, whether they are better than before, when to stop waiting.

A score that is no number is never better, and counts as an evaluation without improvement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from eval.multilabel import score_labels
from runner.native.errors import NativeError
from runner.native.feed import Rows
from runner.native.model import EcgModel, Outputs
from runner.native.normalisation import mode

FloatArray: TypeAlias = NDArray[np.floating[Any]]

SELECTED_BY: Mapping[str, str] = MappingProxyType({"macro_map": "average_precision", "macro_auc": "auc"})
"""Word of `train.select` -> score: macro means over the classes that validation has; higher is better."""


@dataclass(frozen=True)
class Held:
    """Scores of the validation records."""

    loss: float
    """Mean binary cross-entropy over records and classes, in nats; the auxiliary part is not in it."""
    average_precision: float
    """Macro mean over the defined classes; NaN where there is none."""
    auc: float
    """Likewise."""
    classes_defined: int
    """Classes with a positive and a negative among the records."""
    classes: int
    records: int

    def value(self, word: str) -> float:
        """Return the score that `word` of `SELECTED_BY` names."""
        found: float = getattr(self, SELECTED_BY[word])
        return found


@torch.no_grad()
def logits_of(
    model: EcgModel,
    rows: Rows,
    places: NDArray[np.integer[Any]],
    batch: int,
    device: torch.device,
    precision: str,
) -> FloatArray:
    """Return the logits (record, class), float32, of some rows, by stored statistics and without a graph."""
    parts: list[FloatArray] = []
    with mode(model, "running", train=False):
        for first in range(0, len(places), batch):
            signal = torch.from_numpy(
                np.ascontiguousarray(rows.signals(places[first : first + batch]), np.float32)
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                outputs: Outputs = model(signal.to(device))
            parts.append(outputs.logits.float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, model.classes), np.float32)


def held_scores(logits: FloatArray, labels: FloatArray) -> Held:
    """Judge logits (record, class) by multi-hot labels (record, class).

    Logits that are no numbers give NaN for every score.
    """
    truth, wide = labels > 0.5, logits.astype(np.float64)
    present = truth.any(axis=0) & ~truth.all(axis=0)
    counts = int(present.sum()), truth.shape[1], len(truth)
    if not np.isfinite(wide).all():
        return Held(math.nan, math.nan, math.nan, *counts)
    loss = float((np.logaddexp(0.0, wide) - truth * wide).mean())
    names = [str(place) for place in range(truth.shape[1])]
    groups = [str(place) for place in range(len(truth))]
    found = score_labels(truth, wide > 0, names, groups, y_score=wide, draws=0)
    precision = [found.per_class[place].average_precision.value for place in np.flatnonzero(present)]
    return Held(loss, float(np.mean(precision)) if precision else math.nan, found.auc_present.value, *counts)


def probabilities(logits: FloatArray) -> FloatArray:
    """Return sigmoid(logits), float64."""
    chances: FloatArray = expit(logits.astype(np.float64))
    return chances


@dataclass
class Watch:
    """The best evaluation so far, and how long ago it was.

    Args:
        select: a word of `SELECTED_BY`.
        patience: evaluations without improvement after which to stop; None never stops.
    """

    select: str
    patience: int | None
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    evaluations: int = 0

    def __post_init__(self) -> None:
        if self.select not in SELECTED_BY:
            raise NativeError(
                f"train.select: unknown value {self.select!r}; allowed: {', '.join(SELECTED_BY)}"
            )

    def see(self, step: int, held: Held) -> bool:
        """Take an evaluation in, and return whether it is better than all before."""
        value = held.value(self.select)
        self.evaluations += 1
        if math.isfinite(value) and (self.best is None or value > self.best):
            self.best, self.best_step, self.waited = value, step, 0
            return True
        self.waited += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """Return all of it, as JSON."""
        return asdict(self)

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            NativeError: it is of another selection.
        """
        if state["select"] != self.select:
            raise NativeError(
                f"resume: best so far is by {state['select']}, this run selects by {self.select}"
            )
        for name in ("best", "best_step", "waited", "evaluations"):
            setattr(self, name, state[name])
