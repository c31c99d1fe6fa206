"""Numbers of decisions about many labels, whoever made them: means, per class, differences, beside chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eval.alike import change_of_share, share
from eval.bootstrap import BoolArray, FloatArray, Interval, clustered_intervals, paired_differences
from eval.judges.class_notes import BesideChance, against_a_coin
from eval.judges.multilabel_lines import Judged, Side
from eval.multilabel import MultiLabel, label_differences, score_labels
from eval.numbers import interval_json

# Name of a result -> field of `MultiLabel`.
FROM_SCORES = {"macro_auc": "auc", "average_precision": "average_precision"}
FROM_DECISIONS = {"auc_hard": "auc_hard", "macro_f1": "f1"}
OFFICIAL = {"macro_f1_cinc": "f1_cinc"}
"""As the CinC challenges' programs make it; it is `macro_f1` but where a class is missing."""
OVER_ALL = ("hamming_loss", "exact_match")
PARSED = "parse_rate"
PRESENT = "_present"
HEADLINE = ("macro_auc", "auc_hard", "macro_f1", "hamming_loss")
PER_CLASS = ("auc", "average_precision", "auc_hard", "f1", "sensitivity", "specificity")


def labelled(of: Judged, side: Side) -> MultiLabel:
    """Return all numbers of one side's decisions and scores."""
    return score_labels(of.truth, side.decisions, of.classes, of.groups, y_score=side.scores)


def means_of(side: Side) -> dict[str, str]:
    """Return the means over classes of a side: areas only where there are scores."""
    return (FROM_SCORES if side.scores is not None else {}) | FROM_DECISIONS


def metrics_of(of: Judged, side: Side, found: MultiLabel) -> dict[str, Interval]:
    """Return the metrics of a side under its prefix.

    Args:
        of: the judged lines.
        side: decisions and scores.
        found: what `labelled` returned.
    """
    values = {name: getattr(found, field) for name, field in means_of(side).items()}
    values |= {name: getattr(found, name) for name in OVER_ALL}
    if side.parsed is not None:
        parsed = clustered_intervals(_counted(side.parsed), of.groups, _ratio)[0]
        values[PARSED] = share(parsed, of.groups)
    if found.missing:
        values |= {name: getattr(found, field) for name, field in OFFICIAL.items()}
        values |= of_present(of, side)
    return {f"{side.prefix}{name}": value for name, value in values.items()}


def of_present(of: Judged, side: Side) -> dict[str, Interval]:
    """Return the means over the classes that have both outcomes, without the prefix; nothing where none has."""
    places = of.present
    if not len(places):
        return {}
    part = side.of_classes(places)
    found = labelled(of.of_classes(places), part)
    return {f"{name}{PRESENT}": getattr(found, field) for name, field in means_of(part).items()}


def changes_of(of: Judged, one: Side, two: Side) -> dict[str, Interval]:
    """Return metric -> after minus before, of two sides that were asked in the same way."""
    found = _changes(of, one, two, "")
    if 0 < len(of.present) < len(of.classes):
        places = of.present
        found |= _changes(of.of_classes(places), one.of_classes(places), two.of_classes(places), PRESENT)
    if one.parsed is not None and two.parsed is not None:
        change = paired_differences(_counted(one.parsed), _counted(two.parsed), of.groups, _ratio)[0]
        found[f"{one.prefix}{PARSED}"] = change_of_share(change, of.groups)
    return found


def _changes(of: Judged, one: Side, two: Side, suffix: str) -> dict[str, Interval]:
    changes = label_differences(
        of.truth, (one.decisions, one.scores), (two.decisions, two.scores), of.classes, of.groups
    )
    found = {f"{one.prefix}{name}{suffix}": changes[field] for name, field in means_of(one).items()}
    if suffix:
        return found
    whole = dict(zip(OVER_ALL, OVER_ALL, strict=True)) | (
        OFFICIAL if len(of.present) < len(of.classes) else {}
    )
    return found | {f"{one.prefix}{name}": changes[field] for name, field in whole.items()}


def _counted(parsed: BoolArray) -> FloatArray:
    """Return what each record adds to a share: whether it counts, and 1."""
    return np.column_stack([parsed, np.ones(len(parsed))])


def _ratio(totals: FloatArray) -> FloatArray:
    ratio: FloatArray = totals[:, :1] / totals[:, 1:]
    return ratio


def per_class_table(found: MultiLabel, side: Side) -> dict[str, Any]:
    """Return positives, decisions and numbers of each class, with their intervals."""
    shown = [
        name for name in PER_CLASS if side.scores is not None or name not in ("auc", "average_precision")
    ]
    columns = ["class", "positives", "predicted"]
    for name in shown:
        columns += [name, f"{name}_low", f"{name}_high"]
    rows = []
    for place, score in enumerate(found.per_class):
        row: list[Any] = [score.name, score.positives, int(side.decisions[:, place].sum())]
        for name in shown:
            row += interval_json(getattr(score, name)).values()
        rows.append(row)
    return {"columns": columns, "rows": rows}


def headline_of(sides: Sequence[Side], found: MultiLabel) -> list[str]:
    """Return the names of the metrics to be shown first; means over the classes that there are."""
    shown = []
    for side in sides:
        means = means_of(side)
        names = [name for name in HEADLINE if name in means or name in OVER_ALL]
        shown += [
            f"{side.prefix}{name}{PRESENT if found.missing and name in means else ''}" for name in names
        ]
        shown += [f"{side.prefix}{PARSED}"] if side.parsed is not None else []
    return shown


def beside_chance(of: Judged, sides: Sequence[Side], metrics: Mapping[str, Interval]) -> list[BesideChance]:
    """Compare areas, and the hard ones of written answers, with 0.5."""
    suffix = PRESENT if len(of.present) < len(of.classes) else ""
    names = [f"{side.prefix}{'auc_hard' if side.scores is None else 'macro_auc'}{suffix}" for side in sides]
    return [
        replace(one, metric=name, text=one.text.replace("auc:", f"{name}:", 1))
        for name in names
        if name in metrics
        for one in against_a_coin(metrics[name])
    ]
