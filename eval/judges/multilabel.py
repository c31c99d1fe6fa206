"""Any number of labels a record, from a language model: label likelihoods, and labels read from written answers.

Metrics without a prefix are those of likelihoods; with `generated_` those of written answers, which are decisions
and have no area under a curve: `generated_auc_hard` is what some papers call their AUC. A written answer that says
nothing of the set counts as one without labels; how many those are is the parse rate.

A class without a positive or a negative has no area. Means over all classes then do not exist, and the same name with
`_present` is the mean over the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from eval.alike import used_in, without_interval
from eval.bootstrap import BoolArray, IntArray, Interval, clusters
from eval.judges import Line, paired
from eval.judges.class_tables import reliability_table, subgroup_table
from eval.judges.label_metrics import (
    PRESENT,
    beside_chance,
    changes_of,
    headline_of,
    labelled,
    metrics_of,
    of_present,
    per_class_table,
)
from eval.judges.multilabel_lines import (
    BY_LIKELIHOOD,
    NO,
    WRITTEN,
    YES,
    Judged,
    Side,
    of_split,
    sides_of,
    thresholds_of,
)
from eval.label_sets import label_set
from eval.likelihood import BinaryScores, binary_differences, score_binary
from eval.multilabel import MultiLabel, checked_bound, score_labels
from eval.numbers import finite, interval_json
from eval.thresholds import Threshold, as_chosen, chosen_by, chosen_on_judged

CALIBRATION = ("brier", "calibration_error")
FLOOR = "commonest_labels"
EXAMPLES = 8

Numbers = dict[str, dict[str, float | None]]

ASKED = {
    "each": "each label asked for by itself with the same image; score: log likelihood of yes minus that of no",
    "record": "the label as the answer to the record's own question, written as records of that question are answered; "
    "score: its log likelihood a token, which is no probability",
}


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; lines of another split than the task's only set the thresholds.

    Without any line no record has labels of the set: the result has no metric, and says why in `not_judged`.

    Raises:
        ValueError: lines, but none of the split, an id twice, labels or likelihoods that are not the set's, no validation
            lines to choose thresholds on.
    """
    if not lines:
        return _not_judged(task)
    of = of_split(task, lines, task["split"])
    sides = sides_of(task, of, lines)
    found = [labelled(of, side) for side in sides]
    metrics = {
        name: value
        for side, one in zip(sides, found, strict=True)
        for name, value in metrics_of(of, side, one).items()
    }
    thresholds = thresholds_of(task, lines) if "likelihood" in task["scoring"] else ()
    calibrated = _calibrated(task, of, sides[0])
    if calibrated is not None:
        metrics |= {name: getattr(calibrated, name) for name in CALIBRATION}
    metrics = as_chosen(task, metrics)
    chance = beside_chance(of, sides, metrics)
    tables = {
        f"{side.prefix}per_class": per_class_table(one, side) for side, one in zip(sides, found, strict=True)
    }
    tables |= {"thresholds": _threshold_table(thresholds)} if thresholds else {}
    tables |= {"reliability": reliability_table(calibrated)} if calibrated is not None else {}
    if task["subgroups"]:
        tables["subgroups"] = _subgroups(task, of, sides[0])
    floor = _floor(of)
    return {
        "task": task["task"],
        "name": _name(task),
        "split": task["split"],
        "label_set": label_set(task["label_set"]).title,
        "n_records": len(of.lines),
        "n_groups": found[0].n_groups,
        "n_classes": len(of.classes),
        "n_classes_defined": len(of.present),
        "n_prompt_cut": sum(line["prompt_cut"] > 0 for line in of.lines),
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": headline_of(sides, found[0]),
        "method": _method(task, found[0]) + used_in(metrics),
        "binning": f"calibration over all (record, class) pairs, {calibrated.binning}"
        if calibrated
        else None,
        "narrow": clusters(of.groups, np.hstack([of.truth, ~of.truth])).narrow,
        "consistency": {
            f"{side.prefix}auc_hard": checked_bound(one) for side, one in zip(sides, found, strict=True)
        },
        "chance": [one.json() for one in chance],
        "floors": {FLOOR: {name: interval_json(value) for name, value in floor.items()}},
        "floors_method": "the commonest labels: for every record those labels that more than half of the judged records have",
        "tables": tables,
        "notes": [
            *(one.text for one in chance if one.where != "above"),
            *_notes(task, of, sides, thresholds),
            *without_interval(metrics),
        ],
        "examples": _examples(of, sides),
    }


def differences(task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]) -> Numbers:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Each side decides at thresholds of its own, chosen on its own validation lines. Where neither was judged there is
    no difference.

    Raises:
        ValueError: the two are not of the same records, or a record's labels differ.
    """
    paired(before, after)
    if not before:
        return {}
    of = of_split(task, before, task["split"])
    other = of_split(task, after, task["split"])
    if (of.truth != other.truth).any():
        raise ValueError("the labels of the same records differ before and after")
    found: dict[str, Interval] = {}
    pairs = zip(sides_of(task, of, before), sides_of(task, other, after), strict=True)
    for one, two in pairs:
        found |= changes_of(of, one, two)
        if _is_logit(task, one) and one.scores is not None and two.scores is not None:
            first, second = (expit(side).ravel() for side in (one.scores, two.scores))
            bins = task["calibration_bins"]
            changed = binary_differences(of.truth.ravel(), first, second, _pair_groups(of), bins=bins)
            found |= {name: changed[name] for name in CALIBRATION}
    return {name: interval_json(value) for name, value in as_chosen(task, found).items()}


def _not_judged(task: Mapping[str, Any]) -> dict[str, Any]:
    why = f"no record of the split {task['split']} has labels of the set {task['label_set']}"
    return {
        "task": task["task"],
        "name": _name(task),
        "split": task["split"],
        "label_set": label_set(task["label_set"]).title,
        "not_judged": why,
        "n_records": 0,
        "n_groups": 0,
        "n_classes": len(label_set(task["label_set"]).labels),
        "n_classes_defined": 0,
        "metrics": {},
        "headline": [],
        "method": f"not judged: {why}",
        "narrow": None,
        "chance": [],
        "floors": {},
        "tables": {},
        "notes": [f"not judged: {why}; a run whose records have them is needed for a number"],
        "examples": [],
    }


def _name(task: Mapping[str, Any]) -> str:
    return f"{task['task']}_{task['label_set']}"


# ------------------------------------------------------------------------------------------- metrics


def _is_logit(task: Mapping[str, Any], side: Side) -> bool:
    return side.prefix == BY_LIKELIHOOD and bool(task["ask"] == "each")


def _pair_groups(of: Judged) -> list[str]:
    return [group for group in of.groups for _ in of.classes]


def _calibrated(task: Mapping[str, Any], of: Judged, side: Side) -> BinaryScores | None:
    if side.scores is None or not _is_logit(task, side):
        return None
    chances = expit(side.scores).ravel()
    return score_binary(of.truth.ravel(), chances, _pair_groups(of), bins=task["calibration_bins"])


def _floor(of: Judged) -> dict[str, Interval]:
    """Return what the same answer for every record reaches: the labels that most records have."""
    decisions = np.broadcast_to(2 * of.truth.sum(axis=0) > len(of.truth), of.truth.shape)
    return metrics_of(
        of, Side(BY_LIKELIHOOD, decisions, None), score_labels(of.truth, decisions, of.classes, of.groups)
    )


# -------------------------------------------------------------------------------------- tables, words


def _threshold_table(thresholds: Sequence[Threshold]) -> dict[str, Any]:
    rows = [[one.name, one.value, finite(one.f_beta), one.positives, one.fallback] for one in thresholds]
    return {
        "columns": ["class", "score", "f_beta_validation", "positives_validation", "fallback"],
        "rows": rows,
    }


def _subgroups(task: Mapping[str, Any], of: Judged, side: Side) -> dict[str, Any]:
    def judge(rows: IntArray) -> Mapping[str, Interval]:
        found = of_present(of.part(rows), side.part(rows))
        return {f"{side.prefix}{name}": value for name, value in found.items()}

    return subgroup_table(task["subgroups"], of.lines, of.groups, judge)


def _method(task: Mapping[str, Any], found: MultiLabel) -> str:
    told = [found.method]
    if "likelihood" in task["scoring"]:
        told.append(f"likelihood: {ASKED[task['ask']]}, the output layer in float32")
        where = "0.5 for every label"
        if task["thresholds"] == "validation":
            where = f"of each label {chosen_by(task['beta'])}"
        told.append(f"decided at or above a threshold: {where}")
    if "generation" in task["scoring"]:
        told.append(
            f"generation: greedy answers of at most {task['max_new_tokens']} tokens; a label is there where one of its "
            f"words stands and is not denied ({label_set(task['label_set']).title}, version "
            f"{label_set(task['label_set']).version})"
        )
    return "; ".join([*told, "Hamming loss <= 2 (1 - hard AUC) was checked, which holds for any decisions"])


def _notes(
    task: Mapping[str, Any], of: Judged, sides: Sequence[Side], thresholds: Sequence[Threshold]
) -> list[str]:
    said = []
    lacking = [name for place, name in enumerate(of.classes) if place not in of.present]
    if lacking:
        said.append(
            f"{len(of.present)} of {len(of.classes)} labels have a positive and a negative among the judged records; "
            f"without: {', '.join(lacking)}. Means over all labels do not exist; those ending in {PRESENT} are over the "
            "others; those ending in _cinc count 0 for a label that only false decisions were made for"
        )
    if fallback := [one.name for one in thresholds if one.fallback]:
        said.append(
            f"no positive among the validation records, so that the threshold is a default: {', '.join(fallback)}"
        )
    if thresholds and chosen_on_judged(task):
        said.append("the thresholds were chosen on the very records that are judged: decisions look too good")
    for side in sides:
        if side.prefix == WRITTEN and side.parsed is not None and not side.parsed.all():
            said.append(
                f"{int((~side.parsed).sum())} of {len(of.lines)} answers say nothing of the set; they count as answers "
                "without a label, and are never guessed"
            )
    if "likelihood" in task["scoring"] and task["ask"] == "each":
        said += _lengths_differ(of)
    if cut := sum(line["prompt_cut"] > 0 for line in of.lines):
        said.append(f"{cut} of {len(of.lines)} prompts lost their beginning: the model has too few positions")
    return said


def _lengths_differ(of: Judged) -> list[str]:
    """Say where yes and no have not the same number of tokens: whole words are compared, which the shorter gains by."""
    tokens = of.lines[0]["label_tokens"]
    if tokens[YES] == tokens[NO]:
        return []
    return [
        f"yes has {tokens[YES]} and no {tokens[NO]} tokens; their likelihoods are of whole words, not divided by length, "
        "which moves every score alike: thresholds chosen on validation records make up for it, one half does not"
    ]


def _examples(of: Judged, sides: Sequence[Side]) -> list[dict[str, str]]:
    """Return some records, evenly spaced: chosen by place, not by how good the answer is."""
    step = max(1, len(of.lines) // EXAMPLES)
    side = sides[-1]
    return [
        {
            "id": of.lines[row]["id"],
            "prompt": of.lines[row]["prompt"],
            "answer": of.lines[row]["answer"] if side.prefix == WRITTEN else _named(of, side.decisions[row]),
            "reference": _named(of, of.truth[row]),
        }
        for row in list(range(0, len(of.lines), step))[:EXAMPLES]
    ]


def _named(of: Judged, decisions: BoolArray) -> str:
    return "; ".join(name for name, yes in zip(of.classes, decisions, strict=True) if yes)
