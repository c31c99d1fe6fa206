"""What decisions about many labels reach without a look at the recording: every class always, no class ever.

F-beta with beta 2 forgives false labels, so that naming every class reaches 5p / (4p + 1) for a class that a share p
of the records has: 0.56 at p = 0.2. Most decisions are of absent classes, so that naming none has a Hamming loss of p.
Neither is known from the numbers of a model alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from eval.alike import change_of_share
from eval.bootstrap import SAME, BoolArray, FloatArray, IntArray, Interval, clustered_intervals, without_ends
from eval.judges.class_tables import CHANCE_AUC
from eval.judges.comparisons import WORDS, plainly, position
from eval.multilabel import label_differences, score_labels
from eval.thresholds import beta_differences, beta_scores

EVERY, NONE = "every_class", "no_class"
SAID: Mapping[str, str] = MappingProxyType(
    {
        EVERY: "every class is named for every recording, all with the same score",
        NONE: "no class is named for any recording",
    }
)
"""Floor -> what it answers."""
SHARES = ("hamming_loss", "exact_match")
"""Of records and of decisions; they exist whichever classes the records have."""
LOWER_IS_BETTER = frozenset({"hamming_loss"})

Numbers = Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of the judged records, and how means over the classes that they have are called."""

    truth: BoolArray
    """Shape (record, class)."""
    classes: Sequence[str]
    groups: Sequence[str]
    beta: float
    """Of F-beta and G-beta."""
    present: IntArray
    """Places of the classes with a positive and a negative."""
    suffix: str
    """Behind the name of a mean over those classes alone."""

    @property
    def is_whole(self) -> bool:
        """Whether every class is present."""
        return len(self.present) == len(self.classes)

    @property
    def ending(self) -> str:
        """What stands behind the name of a mean over classes that exists."""
        return "" if self.is_whole else self.suffix

    def of_present(self) -> Labels:
        """Return the labels of the classes that are present."""
        names = [self.classes[place] for place in self.present]
        return replace(self, truth=self.truth[:, self.present], classes=names, present=np.arange(len(names)))


def floors(of: Labels) -> dict[str, dict[str, Interval]]:
    """Return floor -> metric -> what it reaches on the records with these labels."""
    found = {name: _reached(name, of) for name in SAID}
    if of.is_whole or not len(of.present):
        return found
    part = of.of_present()
    return {
        name: {
            **numbers,
            **{f"{m}{of.suffix}": v for m, v in _reached(name, part).items() if m not in SHARES},
        }
        for name, numbers in found.items()
    }


def _reached(name: str, of: Labels) -> dict[str, Interval]:
    said = answers(name, of.truth)
    labels = score_labels(of.truth, said, of.classes, of.groups)
    weighted = beta_scores(of.truth, said, of.groups, beta=of.beta)
    found = {"macro_f1": labels.f1, "f_beta": weighted.f_beta, "g_beta": weighted.g_beta}
    found |= {share: getattr(labels, share) for share in SHARES}
    if name == NONE:
        return found
    area = CHANCE_AUC if of.is_whole else math.nan
    each = np.column_stack([of.truth, np.ones(len(of.truth))]).astype(np.float64)
    (precision,) = clustered_intervals(each, of.groups, _prevalence)
    return {"macro_auc": without_ends(area, SAME), "average_precision": precision, **found}


def _prevalence(totals: FloatArray) -> FloatArray:
    """Return the mean share of positives, shape (draw, 1): the average precision of equal scores."""
    positives, records = totals[:, :-1], totals[:, -1:]
    shares = np.where(positives > 0, positives / records, np.nan)
    mean: FloatArray = shares.mean(axis=1, keepdims=True)
    return mean


def answers(name: str, truth: BoolArray) -> BoolArray:
    """Return a floor's decisions, of the shape of the labels."""
    return np.full_like(truth, name == EVERY)


def gained(of: Labels, said: BoolArray) -> dict[str, dict[str, Interval]]:
    """Return floor -> metric -> model minus floor: F-beta where all is named, Hamming loss where nothing is.

    Args:
        of: the labels.
        said: the model's decisions, shape (record, class).
    """
    loss = label_differences(of.truth, (answers(NONE, of.truth), None), (said, None), of.classes, of.groups)
    found = {NONE: {"hamming_loss": change_of_share(loss["hamming_loss"], of.groups)}}
    if not len(of.present):
        return found
    part, kept = of.of_present(), said[:, of.present]
    f_beta = beta_differences(part.truth, answers(EVERY, part.truth), kept, of.groups, beta=of.beta)["f_beta"]
    return {EVERY: {f"f_beta{of.ending}": f_beta}, **found}


def beside_floors(
    metrics: Numbers,
    reached: Mapping[str, Numbers],
    changes: Mapping[str, Numbers],
    narrow: str | None,
) -> list[str]:
    """Say which decisions are worse than a floor, or not told apart from it; nothing where they are better.

    Args:
        metrics: of the model.
        reached: what `floors` returned.
        changes: what `gained` returned.
        narrow: why the intervals are too narrow, or None.
    """
    said = []
    for floor, numbers in changes.items():
        for name, change in numbers.items():
            where = position(_more_is_better(name, change))
            if where != "above":
                told = plainly(metrics[name].value, reached[floor][name].value, change, narrow)
                said.append(f"{name}: {WORDS[where]} the floor {floor.replace('_', ' ')}: {told}")
    return said


def _more_is_better(name: str, change: Interval) -> Interval:
    if name not in LOWER_IS_BETTER:
        return change
    return Interval(-change.value, -change.high, -change.low)
