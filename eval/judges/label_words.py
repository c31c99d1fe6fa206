"""Tables, notes and examples of a task with any number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from eval.alike import share
from eval.bootstrap import BoolArray
from eval.judges.label_lines import PRESENT, Judged
from eval.multilabel import MultiLabel
from eval.numbers import finite, interval_json
from eval.thresholds import BetaScores, Threshold, chosen_by, chosen_on_judged

PER_CLASS = ("auc", "average_precision", "f1", "sensitivity", "specificity")
HALF = 0.5
EXAMPLES = 8


def per_class(of: Judged, found: MultiLabel, beta: BetaScores, decisions: BoolArray) -> dict[str, Any]:
    """Return positives, decisions and numbers of each class, with their intervals."""
    columns = ["class", "positives", "predicted"]
    for name in (*PER_CLASS, "f_beta"):
        columns += [name, f"{name}_low", f"{name}_high"]
    rows = []
    for place, score in enumerate(found.per_class):
        row: list[Any] = [score.name, score.positives, int(decisions[:, place].sum())]
        values = {name: getattr(score, name) for name in PER_CLASS}
        values |= {name: share(values[name], groups) for name, groups in _counted(of, place).items()}
        for value in (*values.values(), beta.per_class[place][0]):
            row += interval_json(value).values()
        rows.append(row)
    return {"columns": columns, "rows": rows}


def _counted(of: Judged, place: int) -> dict[str, list[str]]:
    """Return for each share of a class the groups of the records that it counts: with the label, and without."""
    has = of.truth[:, place]
    return {
        name: [group for group, yes in zip(of.groups, rows, strict=True) if yes]
        for name, rows in (("sensitivity", has), ("specificity", ~has))
    }


def threshold_table(thresholds: Sequence[Threshold]) -> dict[str, Any]:
    """Return where each class begins, as a logit and as a probability, and what that gave on the validation records."""
    rows = [
        [one.name, one.value, float(expit(one.value)), finite(one.f_beta), one.positives, one.fallback]
        for one in thresholds
    ]
    columns = ["class", "logit", "probability", "f_beta_validation", "positives_validation", "fallback"]
    return {"columns": columns, "rows": rows}


def method(task: Mapping[str, Any]) -> str:
    """Say how decisions were made of scores."""
    where = "0.5 for every class"
    if task["thresholds"] == "validation":
        where = f"for each class {chosen_by(task['beta'])}"
    return f"decided at or above a threshold: {where}"


def notes(
    task: Mapping[str, Any],
    of: Judged,
    found: MultiLabel,
    thresholds: Sequence[Threshold],
) -> list[str]:
    """Say what the means leave out, which thresholds are a fallback, and what else makes numbers look better."""
    said = []
    if found.missing:
        said.append(
            f"{len(of.present)} of {len(of.classes)} classes have a positive and a negative among the judged records; "
            f"without: {', '.join(found.missing)}. Means over all classes do not exist; those ending in {PRESENT} are "
            "over the others; those ending in _cinc count 0 for a class that only false decisions were made for"
        )
    if fallback := [one.name for one in thresholds if one.fallback]:
        said.append(
            f"no positive among the validation records, so that the threshold is {HALF}: {', '.join(fallback)}"
        )
    if chosen_on_judged(task):
        said.append("the thresholds were chosen on the very records that are judged: decisions look too good")
    return said


def of_challenge(covered: tuple[int, int], outside: Sequence[str], by_equivalent: int | None) -> list[str]:
    """Say which of the challenge's classes the score is over, and what became of equivalent codes.

    Args:
        covered: how many of its classes are among ours, and how many it has.
        outside: codes that count as one of these classes and are no class of ours.
        by_equivalent: how many labels records have by such a code alone; None where their codes are not known.
    """
    said = []
    if covered[0] < covered[1]:
        said.append(
            f"challenge_score: {covered[0]} of the challenge's {covered[1]} classes are among ours; labels and "
            "decisions of the others are absent on both sides"
        )
    codes = ", ".join(outside)
    if outside and by_equivalent is None:
        said.append(
            f"challenge_score: {codes} count there as a class of ours and are none here; the codes of these records were not "
            "kept, so that such labels are absent: convert the data again for the challenge's own number"
        )
    elif by_equivalent:
        said.append(
            f"challenge_score: {by_equivalent} labels are there by a code that is no class of ours and counts as one in the "
            f"challenge ({codes}); no other metric counts them"
        )
    return said


def never_decided(of: Judged, decisions: BoolArray) -> list[str]:
    """Name the classes that some records have and no record was decided for."""
    never = np.flatnonzero(of.truth.any(axis=0) & ~decisions.any(axis=0))
    names = ", ".join(of.classes[place] for place in never)
    said = "never decided, so that F1, F-beta and sensitivity are 0 in every draw, and their means look surer than they are"
    return [f"{names}: {said}"] if names else []


def examples(of: Judged, decisions: BoolArray) -> list[dict[str, str]]:
    """Return some records, evenly spaced: chosen by place, not by how good the answer is."""
    step = max(1, len(of.lines) // EXAMPLES)
    return [
        {
            "id": of.lines[row]["id"],
            "prompt": f"recording {of.lines[row]['id']}",
            "answer": "; ".join(
                f"{name} ({expit(logit):.0%})"
                for name, logit, yes in zip(of.classes, of.logits[row], decisions[row], strict=True)
                if yes
            ),
            "reference": "; ".join(of.lines[row]["labels"]),
        }
        for row in list(range(0, len(of.lines), step))[:EXAMPLES]
    ]
