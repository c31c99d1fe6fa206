"""ROUGE of written answers and of the floors, how many answers ended, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.alike import change_of_share, share, used_in, without_interval
from eval.bootstrap import DRAWS, LEVEL, FloatArray, Interval, clustered_intervals, paired_differences
from eval.checks import check_ids
from eval.floors_text import METHOD as FLOORS
from eval.judges import Line, paired
from eval.judges.comparisons import WORDS, plainly, position
from eval.numbers import interval_json
from eval.text import METRICS, Rouge, rouge, rouge_differences, rouge_scores

LENGTHS = ("ended", "answer_tokens")
"""Share of answers that the model ended itself; mean tokens of an answer, its end token not counted."""
EXAMPLES = 8

Numbers = dict[str, dict[str, float | None]]


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model; a line holds a record's answer, its reference and the floors' answers.

    Raises:
        ValueError: there are no lines, an id stands twice, or a line lacks a floor of the task.
    """
    ids = [line["id"] for line in lines]
    check_ids(ids, ids)
    found = _rouge(task, lines, [line["answer"] for line in lines])
    groups = _groups(lines)
    lengths = dict(zip(LENGTHS, clustered_intervals(_lengths(lines), groups, _means), strict=True))
    lengths["ended"] = share(lengths["ended"], groups)
    metrics = {name: getattr(found, name) for name in METRICS} | lengths
    floors = {name: _rouge(task, lines, [_floor(line, name) for line in lines]) for name in task["floors"]}
    gained = _gained(task, lines)
    return {
        "task": task["task"],
        "name": task["task"],
        "split": task["split"],
        "n_records": found.n_records,
        "n_groups": found.n_groups,
        "n_empty": found.empty,
        "n_ended": sum(bool(line["ended"]) for line in lines),
        "n_prompt_cut": sum(line["prompt_cut"] > 0 for line in lines),
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": list(METRICS),
        "method": f"mean F1 a record; {found.method}{used_in(metrics)}; {writing(task)}",
        "narrow": found.narrow,
        "notes": [
            *_notes(task, lines, found),
            *_beside_floors(found, floors, gained),
            *without_interval(metrics),
        ],
        "floors": {name: _numbers(floor) for name, floor in floors.items()},
        "floor_differences": {
            floor: {name: interval_json(change) for name, change in of.items()}
            for floor, of in gained.items()
        },
        "floors_method": FLOORS if floors else None,
        "tables": {},
        "examples": examples(lines),
    }


def differences(task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]) -> Numbers:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Raises:
        ValueError: the two are not of the same records.
    """
    paired(before, after)
    first, second = (_scores(task, lines) for lines in (before, after))
    groups = _groups(after)
    changes = rouge_differences(first, second, groups)
    lengths = paired_differences(_lengths(before), _lengths(after), groups, _means)
    changes |= dict(zip(LENGTHS, lengths, strict=True))
    changes["ended"] = change_of_share(changes["ended"], groups)
    return {name: interval_json(interval) for name, interval in changes.items()}


def writing(task: Mapping[str, Any]) -> str:
    """Say in words how answers were written.

    >>> writing({"temperature": 0.0, "max_new_tokens": 64})
    'greedy answers of at most 64 tokens'
    """
    limit = f"of at most {task['max_new_tokens']} tokens"
    if task["temperature"] == 0:
        return f"greedy answers {limit}"
    return (
        f"answers {limit} drawn at temperature {task['temperature']:g}, top_p {task['top_p']:g}, "
        f"seed {task['seed']}, a generator for each record"
    )


def examples(lines: Sequence[Line]) -> list[dict[str, str]]:
    """Return some lines for the reader, evenly spaced: chosen by place, not by how good they are."""
    step = max(1, len(lines) // EXAMPLES)
    shown = ("id", "prompt", "answer", "reference")
    return [{name: line[name] for name in shown} for line in lines[::step][:EXAMPLES]]


def _scores(task: Mapping[str, Any], lines: Sequence[Line], floor: str | None = None) -> FloatArray:
    """Return F1 a record of the model's answers, or of a floor's, shape (record, 3)."""
    references = [line["reference"] for line in lines]
    answers = [line["answer"] if floor is None else _floor(line, floor) for line in lines]
    return rouge_scores(references, answers, stemmer=task["stemmer"])


def _gained(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, dict[str, Interval]]:
    """Return floor -> metric -> the model's minus the floor's on the same records."""
    if not task["floors"]:
        return {}
    model, groups = _scores(task, lines), _groups(lines)
    return {floor: rouge_differences(_scores(task, lines, floor), model, groups) for floor in task["floors"]}


def _rouge(task: Mapping[str, Any], lines: Sequence[Line], answers: Sequence[str]) -> Rouge:
    references = [line["reference"] for line in lines]
    return rouge(references, answers, _groups(lines), stemmer=task["stemmer"], draws=DRAWS, level=LEVEL)


def _numbers(found: Rouge) -> Numbers:
    return {name: interval_json(getattr(found, name)) for name in METRICS}


def _floor(line: Line, name: str) -> str:
    if name not in line["floors"]:
        raise ValueError(f"record {line['id']!r} has no answer of the floor {name!r}")
    return str(line["floors"][name])


def _groups(lines: Sequence[Line]) -> list[str]:
    return [line["group"] for line in lines]


def _lengths(lines: Sequence[Line]) -> FloatArray:
    return np.array([[bool(line["ended"]), line["n_tokens"], 1] for line in lines], np.float64)


def _means(totals: FloatArray) -> FloatArray:
    means: FloatArray = totals[:, :-1] / totals[:, -1:]
    return means


def _notes(task: Mapping[str, Any], lines: Sequence[Line], found: Rouge) -> list[str]:
    notes = []
    cut = sum(not line["ended"] for line in lines)
    if cut:
        notes.append(f"{cut} of {len(lines)} answers were not ended within {task['max_new_tokens']} tokens")
    if found.empty:
        notes.append(
            f"{found.empty} of {len(lines)} answers hold no letter a to z and no digit; they score 0"
        )
    if found.unreadable:
        notes.append(
            f"{found.unreadable} of {len(lines)} references hold no letter a to z and no digit: whatever is answered "
            "scores 0, for ROUGE sees no other script"
        )
    shortened = sum(line["prompt_cut"] > 0 for line in lines)
    if shortened:
        notes.append(
            f"{shortened} of {len(lines)} prompts lost their beginning: the model has too few positions"
        )
    return notes


def _beside_floors(
    found: Rouge, floors: Mapping[str, Rouge], gained: Mapping[str, Mapping[str, Interval]]
) -> list[str]:
    """Say of each floor where the model is worse, or not told apart from it; nothing where it is better."""
    notes = []
    for floor, changes in gained.items():
        said: dict[str, list[str]] = {}
        for name, change in changes.items():
            where = position(change)
            if where == "above" or (where == "unknown" and change.value > 0):
                continue
            values = getattr(found, name).value, getattr(floors[floor], name).value
            said.setdefault(WORDS[where], []).append(f"{name} {plainly(*values, change)}")
        narrow = f"; intervals {found.narrow}" if found.narrow else ""
        notes += [
            f"{words} the floor {floor}: {'; '.join(numbers)}{narrow}" for words, numbers in said.items()
        ]
    return notes
