"""One of a few answers, from stored likelihoods and written answers; floors, calibration, sub-groups.

Metrics without a prefix are those of the likeliest label: the softmax over the labels' log likelihoods, each divided as
`normalise` says. Where labels differ in length this decides, so the accuracy in another way stands beside. Metrics with
`generated_` are of written answers, where one that names no label, or two, is unparsed and wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.alike import used_in, without_interval
from eval.bootstrap import DRAWS, LEVEL, FloatArray, IntArray, Interval
from eval.classification import (
    OVERALL,
    PER_CLASS,
    Classification,
    class_differences,
    classification_differences,
    classify,
)
from eval.floors_tabular import METHOD as FLOORS
from eval.judges import Line, class_notes, paired
from eval.judges.class_notes import accuracy_gained
from eval.judges.class_tables import (
    confusion_table,
    per_class_table,
    reliability_table,
    subgroup_table,
)
from eval.judges.labelled import (
    Judged,
    Side,
    decided,
    logits,
    normalised,
    of_split,
    other_way,
    part_of,
    probabilities,
    read,
)
from eval.likelihood import METRICS as SCORES
from eval.likelihood import (
    BinaryScores,
    Temperature,
    binary_differences,
    fit_temperature,
    score_binary,
)
from eval.numbers import interval_json

GENERATED = "generated_"
CALIBRATION = ("brier", "calibration_error")
SCALED = "_scaled"
"""After the name of a calibration metric: with the temperature that was fitted on validation records."""
HEADLINE = ("accuracy", "weighted_f1", "auc")
GENERATED_HEADLINE = ("generated_accuracy", "generated_weighted_f1", "generated_parse_rate")
NO_PARSING = ("accuracy_parsed", "parse_rate")
"""Say nothing of likelihoods, which always give a label."""

METHOD = (
    "likelihood: softmax over the labels' log likelihoods right after the prompt, {divided}, the token that ends an answer "
    "left out, the output layer in float32; generation: greedy answers, read by the task's words, unparsed where none or two "
    "labels are named"
)
DIVIDED = {
    "none": "not divided by their length",
    "token": "each divided by its tokens",
    "byte": "each divided by the bytes of its word",
}

Numbers = dict[str, dict[str, float | None]]


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; lines of another split than the task's only set the temperature.

    Raises:
        ValueError: no lines, an id twice, labels or classes that are not the task's, a lacking floor.
    """
    of = of_split(task, lines)
    result: dict[str, Any] = {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": len(of.lines),
        "n_groups": len(set(of.groups)),
        "n_prompt_cut": sum(line["prompt_cut"] > 0 for line in of.lines),
        "metrics": {},
        "headline": [],
        "floors": {name: _floor(task, of, name) for name in task["floors"]},
        "floors_method": FLOORS if task["floors"] else None,
        "floors_words": {name: of.lines[0]["floors"][name]["words"] for name in task["floors"]},
        "tables": {},
    }
    sides = []
    if "likelihood" in task["scoring"]:
        sides.append(_add_likelihood(result, task, of, lines))
    if "generation" in task["scoring"]:
        sides.append(_add_generation(result, task, of))
    metrics, first = result["metrics"], sides[0].found
    gained = {name: {side.name: accuracy_gained(of, side, name) for side in sides} for name in task["floors"]}
    chance = [class_notes.against_one_label(of, side) for side in sides]
    chance += class_notes.against_a_coin(metrics["auc"]) if "auc" in metrics else []
    return result | {
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "method": f"{first.method}{used_in(metrics)}; {METHOD.format(divided=DIVIDED[normalised(task)])}",
        "narrow": first.narrow,
        "chance": [one.json() for one in chance],
        "floor_differences": {
            floor: {name: interval_json(change) for name, change in changes.items()}
            for floor, changes in gained.items()
        },
        "notes": [
            *(one.text for one in chance if one.where != "above"),
            *class_notes.beside_floors(of, sides, result, gained),
            *class_notes.lacking(sides),
            *(class_notes.otherwise_divided(task, of) if "likelihood" in task["scoring"] else ()),
            *without_interval(metrics),
            *class_notes.cut_or_at_limit(result),
        ],
        "examples": _examples(task, of),
    }


def differences(task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]) -> Numbers:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Raises:
        ValueError: the two are not of the same records.
    """
    paired(before, after)
    one, two = of_split(task, before), of_split(task, after)
    if one.truth != two.truth:
        raise ValueError("the labels of the same records differ before and after")
    found: dict[str, Interval] = {}
    if "likelihood" in task["scoring"]:
        first, second = probabilities(task, one), probabilities(task, two)
        found |= _changes(one, decided(one, first), decided(two, second))
        for name in NO_PARSING:
            del found[name]
        if (other := other_way(task, one)) and other == other_way(task, two):
            by, name = other
            said, after_said = (decided(side, probabilities(task, side, by)) for side in (one, two))
            found[name] = classification_differences(one.truth, said, after_said, one.labels, one.groups)[
                "accuracy"
            ]
        found |= binary_differences(
            one.is_positive,
            first[:, one.positive],
            second[:, one.positive],
            one.groups,
            bins=task["calibration_bins"],
        )
    if "generation" in task["scoring"]:
        changes = _changes(one, read(task, one), read(task, two))
        found |= {GENERATED + name: value for name, value in changes.items()}
    return {name: interval_json(interval) for name, interval in found.items()}


# ------------------------------------------------------------------------------------------- metrics


def _add_likelihood(
    result: dict[str, Any], task: Mapping[str, Any], of: Judged, lines: Sequence[Line]
) -> Side:
    scores = probabilities(task, of)
    answers = decided(of, scores)
    decisions = _classified(of, answers)
    binary = _binary(task, of, scores)
    result["metrics"] |= _numbers(of, decisions, binary)
    if other := other_way(task, of):
        by, name = other
        result["metrics"][name] = _classified(of, decided(of, probabilities(task, of, by))).accuracy
    result["headline"] += HEADLINE
    result["binning"] = binary.binning
    result["tables"] |= {
        "confusion": confusion_table(of.labels, decisions),
        "per_class": per_class_table(decisions),
        "reliability": reliability_table(binary),
    }
    if task["temperature_scaling"]:
        temperature = _temperature(task, of, [line for line in lines if line["split"] == "validation"])
        scaled = _binary(task, of, temperature.applied(logits(task, of.lines)))
        values = _intervals(scaled, CALIBRATION)
        result["metrics"] |= {name + SCALED: value for name, value in values.items()}
        result["tables"]["reliability_scaled"] = reliability_table(scaled)
        result["temperature"] = {
            "value": temperature.value,
            "fitted_on": f"{temperature.n_records} validation records",
            "nll_before": temperature.nll_before,
            "nll_after": temperature.nll_after,
            "at_limit": temperature.at_limit,
        }
    if task["subgroups"]:

        def judge(rows: IntArray) -> Mapping[str, Interval]:
            part = part_of(of, rows)
            values = _intervals(
                _classified(part, decided(part, scores[rows])), ("accuracy", "balanced_accuracy")
            )
            return values | _intervals(_binary(task, part, scores[rows]), ("auc",))

        result["tables"]["subgroups"] = subgroup_table(task["subgroups"], of.lines, of.groups, judge)
    return Side("", answers, decisions)


def _add_generation(result: dict[str, Any], task: Mapping[str, Any], of: Judged) -> Side:
    answers = read(task, of)
    decisions = _classified(of, answers)
    values = _intervals(decisions, OVERALL) | _of_positive(of, decisions)
    result["metrics"] |= {GENERATED + name: value for name, value in values.items()}
    result["headline"] += GENERATED_HEADLINE
    # Where likelihoods are judged too, the plain names are theirs.
    prefix = GENERATED if "confusion" in result["tables"] else ""
    result["tables"] |= {
        f"{prefix}confusion": confusion_table(of.labels, decisions),
        f"{prefix}per_class": per_class_table(decisions),
    }
    if task["subgroups"] and not prefix:

        def judge(rows: IntArray) -> Mapping[str, Interval]:
            part = part_of(of, rows)
            values = _intervals(_classified(part, [answers[row] for row in rows]), ("accuracy", "parse_rate"))
            return {GENERATED + name: value for name, value in values.items()}

        result["tables"]["subgroups"] = subgroup_table(task["subgroups"], of.lines, of.groups, judge)
    return Side(GENERATED, answers, decisions)


def _floor(task: Mapping[str, Any], of: Judged, name: str) -> Numbers:
    for line in of.lines:
        if name not in line["floors"]:
            raise ValueError(f"record {line['id']!r} has no decision of the floor {name!r}")
    decisions = _classified(of, [line["floors"][name]["label"] for line in of.lines])
    scores = np.array([[line["floors"][name]["scores"][label] for label in of.labels] for line in of.lines])
    found = _numbers(of, decisions, _binary(task, of, scores))
    return {name: interval_json(value) for name, value in found.items()}


def _numbers(of: Judged, decisions: Classification, binary: BinaryScores) -> dict[str, Interval]:
    overall = [name for name in OVERALL if name not in NO_PARSING]
    return _intervals(decisions, overall) | _of_positive(of, decisions) | _intervals(binary, SCORES)


def _classified(of: Judged, answers: Sequence[str]) -> Classification:
    return classify(of.truth, answers, of.labels, of.groups, draws=DRAWS, level=LEVEL)


def _binary(task: Mapping[str, Any], of: Judged, scores: FloatArray) -> BinaryScores:
    chances = np.clip(scores[:, of.positive], 0, 1)  # rounding may go 1e-16 beyond
    return score_binary(of.is_positive, chances, of.groups, bins=task["calibration_bins"])


def _temperature(task: Mapping[str, Any], of: Judged, held: Sequence[Line]) -> Temperature:
    numbers = np.array([of.labels.index(line["label"]) for line in held], dtype=np.int64)
    return fit_temperature(logits(task, held), numbers, split="validation")


def _intervals(found: Any, names: Sequence[str]) -> dict[str, Interval]:
    return {name: getattr(found, name) for name in names}


def _of_positive(of: Judged, decisions: Classification) -> dict[str, Interval]:
    return _intervals(decisions.per_class[of.positive], PER_CLASS)


def _changes(of: Judged, before: Sequence[str], after: Sequence[str]) -> dict[str, Interval]:
    found = classification_differences(of.truth, before, after, of.labels, of.groups)
    return found | class_differences(of.truth, before, after, of.labels[of.positive], of.groups)


def _examples(task: Mapping[str, Any], of: Judged) -> list[dict[str, str]]:
    """Return some records, evenly spaced: chosen by place, not by how good the answer is."""
    step = max(1, len(of.lines) // 8)
    rows = list(range(0, len(of.lines), step))[:8]
    if "generation" in task["scoring"]:
        answers = [of.lines[row]["answer"] for row in rows]
    else:
        scores = probabilities(task, of)
        answers = [f"{decided(of, scores[[row]])[0]} ({scores[row].max():.0%})" for row in rows]
    return [
        {
            "id": of.lines[row]["id"],
            "prompt": of.lines[row]["prompt"],
            "answer": answer,
            "reference": of.lines[row]["reference"],
        }
        for row, answer in zip(rows, answers, strict=True)
    ]
