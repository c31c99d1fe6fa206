"""Tables of a classification: confusion, classes, reliability, sub-groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.bootstrap import IntArray, Interval
from eval.classification import PER_CLASS, Classification
from eval.judges import Line
from eval.likelihood import BinaryScores
from eval.numbers import finite, interval_json
from eval.parse import UNPARSED
from eval.subgroups import FLOOR, subgroups

Table = dict[str, Any]

CHANCE_AUC = 0.5


def confusion_table(labels: Sequence[str], found: Classification) -> Table:
    """Return records by true and predicted label; the last column is unparsed."""
    rows = [[label, *map(int, counts)] for label, counts in zip(labels, found.confusion, strict=True)]
    return {"columns": ["true", *labels, UNPARSED], "rows": rows}


def per_class_table(found: Classification) -> Table:
    """Return precision, recall and F1 of each class with their intervals."""
    columns = ["class", "positives", "predicted"]
    for name in PER_CLASS:
        columns += [name, f"{name}_low", f"{name}_high"]
    rows = []
    for score in found.per_class:
        row: list[Any] = [score.name, score.records, score.predicted]
        for name in PER_CLASS:
            row += interval_json(getattr(score, name)).values()
        rows.append(row)
    return {"columns": columns, "rows": rows}


def reliability_table(found: BinaryScores) -> Table:
    """Return the bins of the calibration error, from the lowest scores to the highest."""
    rows = [
        [bin_.low, bin_.high, bin_.records, finite(bin_.mean_score), finite(bin_.positive_share)]
        for bin_ in found.bins
    ]
    return {"columns": ["low", "high", "count", "mean_score", "share_positive"], "rows": rows}


def subgroup_table(
    names: Sequence[str],
    lines: Sequence[Line],
    groups: Sequence[str],
    judge: Callable[[IntArray], Mapping[str, Interval]],
) -> Table:
    """Return metrics of the records that share a value of an attribute; a small part has its size alone.

    The last column says why a value has no interval, or one that is too narrow.

    Raises:
        ValueError: no record has the attribute.
    """
    for name in names:
        if not any(name in line["attributes"] for line in lines):
            raise ValueError(f"no record has the attribute {name!r}, by which sub-groups are to be made")
    attributes = {name: [line["attributes"].get(name) for line in lines] for name in names}
    rows: list[list[Any]] = []
    for part in subgroups(attributes, groups, judge):
        start = [part.attribute, part.value, part.n_records]
        if part.metrics is None:
            rows.append([*start, f"fewer than {FLOOR} records", None, None, None, None])
            continue
        rows += [
            [*start, name, *interval_json(value).values(), value.reason or None]
            for name, value in part.metrics.items()
        ]
    columns = ["attribute", "value", "records", "metric", "value_", "low", "high", "warning"]
    return {"columns": columns, "rows": rows}
