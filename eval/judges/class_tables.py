"""Tables and sentences of a classification: confusion, classes, reliability, sub-groups, what to note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.bootstrap import IntArray, Interval
from eval.chance import against_rate
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
            rows.append([*start, f"fewer than {FLOOR} records", None, None, None])
            continue
        rows += [[*start, name, *interval_json(value).values()] for name, value in part.metrics.items()]
    columns = ["attribute", "value", "records", "metric", "value_", "low", "high"]
    return {"columns": columns, "rows": rows}


def notes(result: Mapping[str, Any], decisions: Sequence[str], truth: Sequence[str]) -> list[str]:
    """Say what a reader must know: chance, floors that are not beaten, classes without records, cut prompts.

    Args:
        result: with metrics, floors and tables.
        decisions: names of the accuracies in it.
        truth: label of each record.
    """
    said = []
    for name in decisions:
        said += _chance(name, result["metrics"][name]["value"], truth)
        said += _below_floors(name, result)
    auc = result["metrics"].get("auc", {"low": None, "high": None})
    if None not in (auc["low"], auc["high"]) and auc["low"] <= CHANCE_AUC <= auc["high"]:
        said.append(f"auc: not different from chance, its interval holds {CHANCE_AUC}")
    said += _missing(result, truth)
    if result["n_prompt_cut"]:
        said.append(
            f"{result['n_prompt_cut']} of {len(truth)} prompts lost their beginning: the model has too few positions"
        )
    if result.get("temperature", {}).get("at_limit"):
        said.append("the temperature is at the limit of what was tried: the scores say nothing, or separate")
    return said


def _chance(name: str, value: float, truth: Sequence[str]) -> list[str]:
    """Compare an accuracy with always saying the commonest label of the judged records."""
    label, count = Counter(truth).most_common(1)[0]
    chance = against_rate(round(value * len(truth)), len(truth), count / len(truth))
    if not chance.within:
        return []
    return [
        f"{name}: not different from always saying {label!r} ({chance.observed:.1%} to {chance.expected:.1%}, "
        f"p = {chance.p_value:.2g}, {chance.method})"
    ]


def _below_floors(name: str, result: Mapping[str, Any]) -> list[str]:
    said = []
    value = result["metrics"][name]["value"]
    for floor, metrics in result["floors"].items():
        reached, words = metrics["accuracy"]["value"], result["floors_words"][floor]
        if value >= reached:
            continue
        what = f"one threshold on {words.split(' ')[0]}" if floor == "one_rule" else floor.replace("_", " ")
        said.append(f"{name}: worse than {what} ({value:.1%} to {reached:.1%}; {words})")
    return said


def _missing(result: Mapping[str, Any], truth: Sequence[str]) -> list[str]:
    table = next(iter(result["tables"].values()))
    lacking = [row[0] for row in table["rows"] if row[0] not in truth]
    if not lacking:
        return []
    return [
        f"no judged record has the label {', '.join(map(repr, lacking))}: metrics that need one do not exist"
    ]
