"""Grades of a judge by a rubric, read again from the judge's stored words, and what became of the others.

Means are over the judged records, and beside them stand how many those are, what became of the rest, and
the mean with every bad answer at the lowest grade. The findings score, which needs no judge, stands in the
same result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import FloatArray, clustered_intervals, clusters
from eval.judge.address import STAND_IN
from eval.judge.outcomes import JUDGED, MEANING
from eval.judge.rubrics import BadReplyError, Rubric, rubric
from eval.judges import Line, entities, paired
from eval.numbers import interval_json

METHOD = "{method}; it says how sure the draw of records is, not how right the judge"
_NOTHING: dict[str, float | None] = {"value": None, "low": None, "high": None}


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model.

    A line holds `answer`, `reference`, `outcome`, and `reply`, the judge's own words.

    Raises:
        ValueError: a stored reply is not what its outcome says; names the record.
    """
    asked = rubric(task["rubric"])
    grades = [graded(asked, line) for line in lines]
    outcomes = Counter(line["outcome"] for line in lines)
    said = entities.read(lines)
    drawn_from = clusters([line["group"] for line in lines])
    return {
        "task": task["task"],
        "name": f"{task['task']}_{asked.name}",
        "split": task["split"],
        "n_records": len(lines),
        "n_groups": len({line["group"] for line in lines}),
        "n_judged": outcomes[JUDGED],
        "n_bad": len(lines) - outcomes[JUDGED],
        "judge": asked_of(task, lines),
        "metrics": {**_metrics(asked, grades, lines), **entities.metrics(lines, said)},
        "headline": [asked.name, f"{asked.name}_judged", *entities.HEADLINE],
        "method": METHOD.format(method=drawn_from.method),
        "narrow": drawn_from.narrow,
        "notes": [*_notes(task, asked, grades, outcomes), *entities.notes(said)],
        "tables": {
            "outcomes": {
                "columns": ["outcome", "records", "meaning"],
                "rows": [[word, outcomes[word], said] for word, said in MEANING.items()],
            },
            "entities": entities.table(said),
        },
        "examples": [
            {**example, "outcome": line["outcome"], "score": None if found is None else asked.score(found)}
            for example, line, found in zip(entities.examples(lines), lines, grades, strict=False)
        ],
    }


def asked_of(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return who was asked and how: equal for two results that may be compared."""
    asked = rubric(task["rubric"])
    return {
        "endpoint": task["endpoint"],
        "model": task["model"],
        "models_reported": sorted({line["judge_model"] for line in lines if line.get("judge_model")}),
        "temperature": task["judge_temperature"],
        "rubric": asked.name,
        "rubric_version": asked.version,
        "prompt_sha256": asked.prompt_sha256,
        "sees": "text only: reference and answer, no image",
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, with its interval over the same drawn groups.

    Grades are compared over the records judged on both sides.
    """
    paired(before, after)
    asked = rubric(task["rubric"])
    pairs = [
        (_values(asked, one), _values(asked, other), line["group"])
        for line, one, other in zip(
            after, (graded(asked, b) for b in before), (graded(asked, a) for a in after), strict=True
        )
        if one is not None and other is not None
    ]
    changes = np.array([np.subtract(other, one) for one, other, _ in pairs], np.float64)
    names = _names(asked)
    found = _means(names, changes, [group for _, _, group in pairs])
    every = [line["group"] for line in after]
    was, now = _all_records(asked, before), _all_records(asked, after)
    shares = _means((f"{asked.name}_judged", f"{asked.name}_bad_as_lowest"), now - was, every)
    return {**found, **shares, **entities.differences(task, before, after)}


def graded(asked: Rubric, line: Line) -> dict[str, float] | None:
    """Return a record's grades, read from the judge's words; None for a bad answer.

    Raises:
        ValueError: the outcome is no known word, or is `judged` and the reply cannot be read.
    """
    if line["outcome"] not in MEANING:
        raise ValueError(f"record {line['id']!r}: unknown outcome {line['outcome']!r}")
    if line["outcome"] != JUDGED:
        return None
    try:
        return asked.read(line["reply"])
    except BadReplyError as error:
        raise ValueError(
            f"record {line['id']!r} is stored as judged, but its reply is bad: {error}"
        ) from error


def _names(asked: Rubric) -> tuple[str, ...]:
    """Return the metrics' names: the score, then each aspect. No other rubric has the same."""
    return (asked.name, *(f"{asked.name}_{aspect.key}" for aspect in asked.aspects))


def _values(asked: Rubric, grades: Mapping[str, float]) -> list[float]:
    """Return what `_names` names."""
    return [asked.score(grades), *(grades[aspect.key] for aspect in asked.aspects)]


def _metrics(
    asked: Rubric, grades: Sequence[Mapping[str, float] | None], lines: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    good = [
        (_values(asked, found), line["group"])
        for found, line in zip(grades, lines, strict=True)
        if found is not None
    ]
    means = _means(_names(asked), np.array([v for v, _ in good], np.float64), [group for _, group in good])
    names = (f"{asked.name}_judged", f"{asked.name}_bad_as_lowest")
    return {**means, **_means(names, _all_records(asked, lines), [line["group"] for line in lines])}


def _all_records(asked: Rubric, lines: Sequence[Line]) -> FloatArray:
    """Return whether each record was judged, and its score with the lowest for a bad answer; shape (record, 2)."""
    found = [graded(asked, line) for line in lines]
    rows = [(0.0, asked.lowest_score) if g is None else (1.0, asked.score(g)) for g in found]
    return np.array(rows, np.float64)


def _means(
    names: Sequence[str], values: FloatArray, groups: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Return the mean of each column, shape (record, metric), with its interval; None without a record."""
    if not len(values):
        return {name: dict(_NOTHING) for name in names}

    def mean(totals: FloatArray) -> FloatArray:
        means: FloatArray = totals[:, :-1] / totals[:, -1:]
        return means

    found = clustered_intervals(np.hstack([values, np.ones((len(values), 1))]), groups, mean)
    return {name: interval_json(interval) for name, interval in zip(names, found, strict=True)}


def _notes(
    task: Mapping[str, Any],
    asked: Rubric,
    grades: Sequence[Mapping[str, float] | None],
    outcomes: Mapping[str, int],
) -> list[str]:
    good = outcomes[JUDGED]
    bad = ", ".join(f"{word} {outcomes[word]}" for word in MEANING if word != JUDGED and outcomes[word])
    said = [
        f"{good} of {len(grades)} records were judged"
        + (f"; bad answers: {bad}." if bad else "; no bad answer.")
    ]
    if bad:
        said.append(
            f"Means are over the judged; {asked.name}_bad_as_lowest counts every bad answer as {asked.lowest_score:g}."
        )
    if not good:
        said.append(f"{asked.name} does not exist: no record was judged.")
    if task["endpoint"] == STAND_IN:
        said.append(
            "Graded by the rehearsal's stand-in, which compares findings: the grades prove the way, and mean nothing."
        )
    return [*said, f"{asked.name}: {asked.differs}"]
