"""A set of ECGBench: written answers read rightly, and beside them the published scorer's reading of the same answers.

Metrics without a prefix are of the right reading: whole words, negation, the answer behind "Answer:", nothing guessed.
Those with `pulse_` are what the published program would print, as shares of 1: they stand beside published numbers.
Reports are compared by their findings, and by a judge's grades where the task names one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from eval.checks import check_ids
from eval.ecgbench import SETS, BenchSet, grading_of
from eval.judge.rubrics import rubric
from eval.judges import Line, by_rubric, ecgbench_choices, ecgbench_labels, entities, paired
from eval.numbers import interval_json

EXAMPLES = 8
NO_GRADE = (
    "the published score of this set is a judge's grade of the text, which this is not: `judge` of this task has the "
    "answers to a file's items graded"
)

Numbers = dict[str, dict[str, float | None]]


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds `question`, `answer`, `reference` and `labels`.

    Raises:
        ValueError: there are no lines, an id stands twice, or a reference is no answer of the set.
    """
    ids = [line["id"] for line in lines]
    check_ids(ids, ids)
    if not lines:
        raise ValueError("no records to judge")
    of = SETS[task["set"]]
    made = JUDGED[of.kind](task, of, lines)
    overlap = _in_training(lines)
    if overlap is not None:
        made["tables"] = {**made.get("tables", {}), "in_training": _overlap_table(overlap)}
    return {
        "task": task["task"],
        "name": f"{task['task']}_{task['set']}",
        "split": task["split"],
        "ecgbench": {"set": of.title, "published_items": of.published, "in_domain_of_pulse": of.in_domain},
        "n_records": len(lines),
        "n_groups": len({line["group"] for line in lines}),
        **({} if overlap is None else {"in_training": overlap}),
        **made,
        "notes": [*_size(of, lines), *(_overlap_notes(overlap) if overlap else ()), *made["notes"]],
        "examples": _examples(lines, grading_of(task)),
    }


def differences(task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]) -> Numbers:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Raises:
        ValueError: the two are not of the same records.
    """
    paired(before, after)
    of = SETS[task["set"]]
    if of.kind == "report":
        grading = grading_of(task)
        if grading is not None:
            return by_rubric.differences(grading, before, after)
        return entities.differences(task, before, after)
    changes = (ecgbench_labels if of.kind == "labels" else ecgbench_choices).changes(task, of, before, after)
    return {name: interval_json(value) for name, value in changes.items()}


# ------------------------------------------------------------------------------------ reports, words


def _reports(task: Mapping[str, Any], of: BenchSet, lines: Sequence[Line]) -> dict[str, Any]:
    kept = ("metrics", "headline", "method", "narrow", "tables", "notes")
    grading = grading_of(task)
    if grading is None:
        found = entities.judged(task, lines)
        return {**{name: found[name] for name in kept}, "notes": [*found["notes"], NO_GRADE]}
    found = by_rubric.judged({**task, **grading}, lines)
    return {name: found[name] for name in (*kept, "n_judged", "n_bad", "judge")}


def _size(of: BenchSet, lines: Sequence[Line]) -> list[str]:
    if len(lines) == of.published:
        return []
    return [
        f"{len(lines)} items; the published set has {of.published}, so its numbers are not of the same items"
    ]


def _in_training(lines: Sequence[Line]) -> dict[str, int] | None:
    """Return how many of a file's items show what was trained on; None where the items are the run's own records.

    `recording`: training records show the same one. `patient`: training shows the patient, in this recording or another.
    `patient_unknown`: of the other items, those of which it is not known whose recording they show.
    """
    told = [line["in_training"] for line in lines if "in_training" in line]
    if not told:
        return None
    return {
        "items": len(told),
        "recording": sum(one["recording"] for one in told),
        "patient": sum(one["patient"] is True for one in told),
        "patient_unknown": sum(one["patient"] is None for one in told),
    }


def _overlap_table(found: Mapping[str, int]) -> dict[str, Any]:
    rows = [
        ["the same recording", found["recording"]],
        ["the same patient, in this recording or another", found["patient"]],
        ["not known whose recording it is", found["patient_unknown"]],
    ]
    return {"columns": ["what training shows", "items"], "rows": rows}


def _overlap_notes(found: Mapping[str, int]) -> list[str]:
    items, recording, patient = found["items"], found["recording"], found["patient"]
    unknown = (
        f"; whose recording {found['patient_unknown']} show is not known, and another one of the patient may be there"
        if found["patient_unknown"]
        else ""
    )
    if not patient:
        return [
            f"none of {items} items shows a recording or a known patient of the training records{unknown}"
        ]
    return [
        f"{recording} of {items} items show a recording of the training records, and {patient} a patient of theirs in "
        f"this or another recording{unknown}: the numbers are not of unseen patients"
    ]


def _examples(lines: Sequence[Line], grading: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return some records, evenly spaced: chosen by place, not by how good the answer is."""
    step = max(1, len(lines) // EXAMPLES)
    shown = [lines[row] for row in range(0, len(lines), step)][:EXAMPLES]
    return [
        {
            "id": one["id"],
            "prompt": one["question"],
            "answer": one["answer"],
            "reference": one["reference"],
            **({} if grading is None else _grade(grading["rubric"], one)),
        }
        for one in shown
    ]


def _grade(name: str, line: Line) -> dict[str, Any]:
    """Return what became of the question to the judge, and the score by its grades."""
    asked = rubric(name)
    found = by_rubric.graded(asked, line)
    return {"outcome": line["outcome"], "score": None if found is None else asked.score(found)}


JUDGED = MappingProxyType(
    {
        "labels": ecgbench_labels.judged,
        "one_of": ecgbench_choices.judged,
        "all_of": ecgbench_choices.judged,
        "report": _reports,
    }
)
"""Kind of a set -> what makes metrics, tables and notes of its lines."""
