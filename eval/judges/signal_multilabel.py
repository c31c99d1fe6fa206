"""Any number of labels a recording, from stored logits: areas, decisions at thresholds, calibration, sub-groups.

A stored line holds `id`, `group` (the patient), `split`, `labels` (names of the true classes), `logits` (class ->
number) and `attributes`, and for the challenge score also `codes`, every code of the record. The task says `classes`, the columns in their order, and `codes`, class -> SNOMED CT
codes, beside its options in the spec. Lines of the validation split choose the thresholds and nothing else.

A class without a positive or a negative has no area. The mean over all classes then does not exist, and the same
name with `_present` is the mean over the others; how many these are stands in the notes. With `_cinc` it is the mean as
the challenges' own programs make it, in which a missing class that was decided for some counts 0.

Shares of records and of decisions have Wilson's interval where all groups are alike (`eval.alike`); what has no interval
says why. Beside the model stand two floors that no recording is looked at for (`eval.judges.label_floors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from eval.alike import change_of_share, share, used_in, without_interval
from eval.bootstrap import BoolArray, IntArray, Interval, clusters
from eval.challenge import Weights, challenge_difference, challenge_score, merge_codes, read_weights
from eval.judges import Line, label_floors, label_words, paired
from eval.judges.class_notes import BesideChance, against_a_coin
from eval.judges.class_tables import reliability_table, subgroup_table
from eval.judges.label_lines import PRESENT, Judged, of_split, thresholds_of
from eval.likelihood import BinaryScores, binary_differences, score_binary
from eval.multilabel import MultiLabel, checked_bound, label_differences, score_labels
from eval.numbers import interval_json
from eval.thresholds import (
    Threshold,
    as_chosen,
    beta_differences,
    beta_scores,
    decided,
)

# Name of a result -> field of `MultiLabel`.
MACRO = {
    "macro_auc": "auc",
    "average_precision": "average_precision",
    "macro_f1": "f1",
    "f_beta_weighed": "f_beta",
    "g_beta_weighed": "g_beta",
    "auc_hard": "auc_hard",
}
OFFICIAL = {
    "macro_f1_cinc": "f1_cinc",
    "f_beta_weighed_cinc": "f_beta_cinc",
    "g_beta_weighed_cinc": "g_beta_cinc",
}
"""Means as the challenges' own programs make them: they are those of MACRO but where a class is missing."""
OVER_ALL = ("coverage", "ranking_loss", "hamming_loss", "exact_match")
SHARES = ("ranking_loss", "hamming_loss", "exact_match")
"""Means of a share of each record, 0 to 1."""
BETA = ("f_beta", "g_beta")
CALIBRATION = ("brier", "calibration_error")
HEADLINE = ("macro_auc", "average_precision", "f_beta")
SUBGROUP = tuple(f"{name}{PRESENT}" for name in HEADLINE)
"""Of sub-groups only these: a small one seldom has every class."""

Numbers = dict[str, dict[str, float | None]]


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model.

    Raises:
        ValueError: no lines of the split, an id twice, classes that are not the task's, a logit that is no
            number, no validation lines to choose thresholds on.
    """
    of = of_split(task, lines, task["split"])
    thresholds = thresholds_of(task, lines)
    decisions = decided(of.logits, thresholds)
    found, beta = _labels(of, decisions), beta_scores(of.truth, decisions, of.groups, beta=task["beta"])
    calibrated = _calibrated(task, of)
    consistency = checked_bound(found)
    metrics = _macro(found) | _intervals(found, OVER_ALL) | _intervals(beta, BETA)
    metrics |= {name: share(metrics[name], of.groups) for name in SHARES}
    metrics |= _intervals(calibrated, CALIBRATION)
    if found.missing:
        metrics |= {name: getattr(found, field) for name, field in OFFICIAL.items()}
        metrics |= _of_present(task, of, thresholds)
    chance = _against_a_coin("macro_auc_present" if found.missing else "macro_auc", metrics)
    challenge, of_challenge = _challenge(task, of, decisions)
    metrics = as_chosen(task, metrics | challenge)
    labels = label_floors.Labels(of.truth, of.classes, of.groups, task["beta"], of.present, PRESENT)
    floors = label_floors.floors(labels)
    gained = {
        floor: as_chosen(task, changes) for floor, changes in label_floors.gained(labels, decisions).items()
    }
    narrow = clusters(of.groups, np.hstack([of.truth, ~of.truth])).narrow
    tables = {
        "per_class": label_words.per_class(of, found, beta, decisions),
        "thresholds": label_words.threshold_table(thresholds),
        "reliability": reliability_table(calibrated),
    }
    if task["subgroups"]:

        def judge(rows: IntArray) -> Mapping[str, Interval]:
            found = _of_present(task, of.part(rows), thresholds)
            return {name: found[name] for name in SUBGROUP if name in found}

        tables["subgroups"] = subgroup_table(task["subgroups"], of.lines, of.groups, judge)
    return {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": len(of.lines),
        "n_groups": found.n_groups,
        "n_classes": len(of.classes),
        "n_classes_defined": len(of.present),
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": [
            *(f"{name}{PRESENT}" if found.missing else name for name in HEADLINE),
            *(["challenge_score"] if challenge else []),
        ],
        "method": f"{found.method}{used_in(metrics)}; {label_words.method(task)}; calibration over all (record, class) pairs, "
        f"{calibrated.binning}",
        "consistency": consistency,
        "narrow": narrow,
        "chance": [one.json() for one in chance],
        "notes": [
            *label_words.notes(task, of, found, thresholds),
            *of_challenge,
            *(one.text for one in chance if one.where != "above"),
            *label_floors.beside_floors(metrics, floors, gained, narrow),
            *label_words.never_decided(of, decisions),
            *without_interval(metrics),
        ],
        "floors": _json(floors),
        "floors_method": "floors give every recording the same answer",
        "floors_words": dict(label_floors.SAID),
        "floor_differences": _json(gained),
        "tables": tables,
        "examples": label_words.examples(of, decisions),
    }


def _json(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, Numbers]:
    return {
        floor: {name: interval_json(value) for name, value in values.items()}
        for floor, values in found.items()
    }


def differences(task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]) -> Numbers:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Each side decides at thresholds of its own, chosen on its own validation lines.

    Raises:
        ValueError: the two are not of the same records, or a record's labels differ.
    """
    paired(before, after)
    one, two = (of_split(task, side, task["split"]) for side in (before, after))
    if (one.truth != two.truth).any():
        raise ValueError("the labels of the same records differ before and after")
    said = [decided(side.logits, thresholds_of(task, lines)) for side, lines in ((one, before), (two, after))]
    found = _changes(task, one, two, said, "")
    if 0 < len(one.present) < len(one.classes):
        places = one.present
        changes = _changes(
            task, one.of_classes(places), two.of_classes(places), [side[:, places] for side in said], PRESENT
        )
        found |= {f"{name}{PRESENT}": value for name, value in changes.items()}
    first, second = (expit(side.logits).ravel() for side in (one, two))
    of_pairs = binary_differences(
        one.truth.ravel(), first, second, _pair_groups(one), bins=task["calibration_bins"]
    )
    found |= {name: of_pairs[name] for name in CALIBRATION}
    if task["challenge_score"]:
        weights = read_weights()
        truth = _true(task, one, weights)
        first, second = (_merged(task, one, values, weights) for values in said)
        found["challenge_score"] = challenge_difference(
            truth, first, second, weights.classes, weights, one.groups
        )
    return {name: interval_json(value) for name, value in as_chosen(task, found).items()}


def _changes(
    task: Mapping[str, Any], one: Judged, two: Judged, said: Sequence[BoolArray], suffix: str
) -> dict[str, Interval]:
    sides = [(decisions, side.logits) for decisions, side in zip(said, (one, two), strict=True)]
    changes = label_differences(one.truth, sides[0], sides[1], one.classes, one.groups)
    found = {name: changes[field] for name, field in MACRO.items()}
    if not suffix:
        found |= (
            {name: changes[field] for name, field in OFFICIAL.items()}
            if len(one.present) < len(one.classes)
            else {}
        )
        found |= {name: changes[name] for name in OVER_ALL}
        found |= {name: change_of_share(changes[name], one.groups) for name in SHARES}
    return found | beta_differences(one.truth, said[0], said[1], one.groups, beta=task["beta"])


# ------------------------------------------------------------------------------------------- metrics


def _labels(of: Judged, decisions: BoolArray) -> MultiLabel:
    return score_labels(of.truth, decisions, of.classes, of.groups, y_score=of.logits)


def _macro(found: MultiLabel) -> dict[str, Interval]:
    return {name: getattr(found, field) for name, field in MACRO.items()}


def _intervals(found: Any, names: Sequence[str]) -> dict[str, Interval]:
    return {name: getattr(found, name) for name in names}


def _of_present(task: Mapping[str, Any], of: Judged, thresholds: Sequence[Threshold]) -> dict[str, Interval]:
    """Return the means over the classes that are defined; nothing where none is."""
    places = of.present
    if not len(places):
        return {}
    part = of.of_classes(places)
    decisions = decided(part.logits, [thresholds[place] for place in places])
    found = _macro(_labels(part, decisions))
    found |= _intervals(beta_scores(part.truth, decisions, part.groups, beta=task["beta"]), BETA)
    return {f"{name}{PRESENT}": value for name, value in found.items()}


def _pair_groups(of: Judged) -> list[str]:
    return [group for group in of.groups for _ in of.classes]


def _calibrated(task: Mapping[str, Any], of: Judged) -> BinaryScores:
    return score_binary(
        of.truth.ravel(), expit(of.logits).ravel(), _pair_groups(of), bins=task["calibration_bins"]
    )


def _merged(task: Mapping[str, Any], of: Judged, values: BoolArray, weights: Weights) -> BoolArray:
    """Return labels or decisions by the classes of the challenge."""
    known = weights.class_of()
    codes = [next((code for code in task["codes"][name] if code in known), name) for name in of.classes]
    return merge_codes(values, codes, weights)


def _covered(task: Mapping[str, Any], of: Judged, weights: Weights) -> list[int]:
    """Return the places of the challenge's classes that ours are."""
    known = weights.class_of()
    return sorted({known[code] for name in of.classes for code in task["codes"][name] if code in known})


def _true(task: Mapping[str, Any], of: Judged, weights: Weights) -> BoolArray:
    """Return true labels by the classes of the challenge that ours are.

    A record has a class by any of its codes, also one that is no class of ours, as the challenge's program reads
    labels. Where the lines have no codes, as those of earlier versions, it has what our classes say.
    """
    if not all("codes" in line for line in of.lines):
        return _merged(task, of, of.truth, weights)
    codes = sorted(weights.class_of())
    has = np.array([[code in line["codes"] for code in codes] for line in of.lines], np.bool_)
    truth = merge_codes(has, codes, weights)
    ours = np.zeros(len(weights.classes), np.bool_)
    ours[_covered(task, of, weights)] = True
    return truth & ours


def _challenge(
    task: Mapping[str, Any], of: Judged, decisions: BoolArray
) -> tuple[dict[str, Interval], list[str]]:
    """Return the challenge score where it is asked for, and what has to be known of it."""
    if not task["challenge_score"]:
        return {}, []
    weights = read_weights()
    truth, said = _true(task, of, weights), _merged(task, of, decisions, weights)
    covered, known = _covered(task, of, weights), weights.class_of()
    found = challenge_score(truth, said, weights.classes, weights, of.groups)
    own = {code for name in of.classes for code in task["codes"][name]}
    outside = [code for code in known if known[code] in covered and code not in own]
    told = label_words.of_challenge(
        (len(covered), len(weights.classes)),
        outside,
        int((truth & ~_merged(task, of, of.truth, weights)).sum())
        if all("codes" in line for line in of.lines)
        else None,
    )
    return {"challenge_score": found.score}, told


def _against_a_coin(name: str, metrics: Mapping[str, Interval]) -> list[BesideChance]:
    if name not in metrics:
        return []
    return [
        replace(one, metric=name, text=one.text.replace("auc:", f"{name}:", 1))
        for one in against_a_coin(metrics[name])
    ]
