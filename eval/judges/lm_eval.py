"""Results of lm-eval's tasks, made again from each question's metrics as the harness gave them.

Ratios of sums get intervals, scores of a whole corpus none (`eval.harness`). Where several tasks share
a metric, `acc` is over all questions, so a large task counts for more, as in lm-eval's own groups, and
`acc_macro` is the mean over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eval.alike import change_of_share, share, used_in
from eval.bootstrap import FloatArray, Interval, clusters, intervals, summed
from eval.chance import Chance, against_chance
from eval.harness import (
    CORPUS,
    RULES,
    columns_of,
    corpus_scores,
    rule_of,
    shares,
    values_of,
    without_interval,
)
from eval.judges import Line, paired
from eval.numbers import finite, interval_json

CHANCE = ("acc", "acc_norm", "acc_bytes")
EXAMPLES = 5


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model over all tasks.

    Raises:
        ValueError: there is no line.
    """
    if not lines:
        raise ValueError("no question was asked")
    asked = [line for line in lines if "skipped" not in line]
    metrics, method, narrow = _metrics(asked) if asked else ({}, "no questions", None)
    chance = _chances(asked)
    return {
        "task": task["task"],
        "name": _name(task),
        "split": "test",
        "n_records": len(asked),
        "n_groups": len({line["group"] for line in asked}),
        "n_cut": sum(bool(line["cut"]) for line in asked),
        "metrics": {name: interval_json(value) for name, value in metrics.items()},
        "headline": _headline(asked, metrics),
        "method": method,
        "narrow": narrow,
        "chance": _chance_json(asked, metrics, chance),
        "notes": _notes(lines, asked, chance),
        "tables": {"tasks": _table(asked, metrics, chance)} if asked else {},
        "examples": [
            {
                "id": line["id"],
                "prompt": line["prompt"],
                "answer": line["answer"],
                "reference": line["reference"],
            }
            for line in asked[:EXAMPLES]
        ],
    }


def differences(
    task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
) -> dict[str, dict[str, float | None]]:
    """Return each metric's difference, after minus before, paired by question.

    Raises:
        ValueError: the questions differ, or one was put with another prompt; names it.
    """
    paired(before, after)
    for one, other in zip(before, after, strict=True):
        if one.get("prompt_sha256") != other.get("prompt_sha256"):
            raise ValueError(f"question {one['id']!r} was put with two different prompts")
    before, after = ([line for line in lines if "skipped" not in line] for lines in (before, after))
    if not after:
        return {}
    columns, sums_before = columns_of(before)
    _, sums_after = columns_of(after)
    width = sums_before.shape[1]

    def change(totals: FloatArray) -> FloatArray:
        return values_of(columns, totals[:, width:]) - values_of(columns, totals[:, :width])

    found = _intervals(np.hstack([sums_before, sums_after]), after, change)[0]
    result = {column.name: value for column, value in zip(columns, found, strict=True)}
    for name in shares(before).keys() & shares(after).keys() & result.keys():
        result[name] = change_of_share(result[name], shares(after)[name])
    one, other = corpus_scores(before), corpus_scores(after)
    result |= {name: without_interval(other[name].value - one[name].value) for name in other}
    return {name: interval_json(value) for name, value in result.items()}


def _name(task: Mapping[str, Any]) -> str:
    return str(task["tasks"][0]) if len(task["tasks"]) == 1 else str(task["task"])


# --------------------------------------------------------------------------------------- metrics


def _metrics(lines: Sequence[Line]) -> tuple[dict[str, Interval], str, str | None]:
    """Return the metrics, how their intervals are made, and why these are too narrow, where they are."""
    columns, sums = columns_of(lines)
    found, method, narrow = _intervals(sums, lines, lambda totals: values_of(columns, totals))
    result = {column.name: value for column, value in zip(columns, found, strict=True)}
    groups = shares(lines)
    result = {name: share(one, groups[name]) if name in groups else one for name, one in result.items()}
    return {**result, **corpus_scores(lines)}, method + used_in(result), narrow


def _intervals(
    sums: FloatArray, lines: Sequence[Line], statistic: Callable[[FloatArray], FloatArray]
) -> tuple[tuple[Interval, ...], str, str | None]:
    """Return intervals over drawn questions; no draw loses a task."""
    if sums.shape[1] == 0:
        return (), "no intervals: scores of a whole corpus", None
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    member = np.array([[line["task"] == name for name in tasks] for line in lines])
    drawn_from = clusters([line["group"] for line in lines], member if len(tasks) > 1 else None)
    return intervals(drawn_from, summed(sums, drawn_from, statistic)), drawn_from.method, drawn_from.narrow


def _headline(lines: Sequence[Line], metrics: Mapping[str, Any]) -> list[str]:
    """Return the metrics over all tasks, or those of the one task."""
    shared = [name for name in metrics if "." not in name.partition(",")[0]]
    return shared or list(metrics)


# ------------------------------------------------------------------------------------ chance, notes


def _chances(lines: Sequence[Line]) -> dict[str, Chance]:
    """Return accuracy beside guessing, of each task of choices and, under "", of all of them together."""
    found: dict[str, Chance] = {}
    chosen = [line for line in lines if line["options"] and "acc" in line["metrics"]]
    for name in ("", *dict.fromkeys(line["task"] for line in chosen)):
        part = [line for line in chosen if name in ("", line["task"])]
        if part:
            right = round(sum(line["metrics"]["acc"] for line in part))
            found[name] = against_chance(right, [line["options"] for line in part])
    return found


def _chance_json(
    lines: Sequence[Line], metrics: Mapping[str, Any], chance: Mapping[str, Chance]
) -> list[dict[str, Any]]:
    """Return accuracy beside guessing under the names of the result's metrics; all tasks together first."""
    several = len({line["task"] for line in lines}) > 1
    named = {f"{task}.acc" if task else "acc": one for task, one in chance.items() if several or not task}
    return [
        {"metric": name, "within": one.within, "text": one.sentence()}
        for name, one in named.items()
        if name in metrics
    ]


def _notes(lines: Sequence[Line], asked: Sequence[Line], chance: Mapping[str, Chance]) -> list[str]:
    notes = [f"{line['task']} was left out: {line['skipped']}." for line in lines if "skipped" in line]
    if any(line["invented"] for line in asked):
        notes.append("The questions are invented; the numbers prove the way and say nothing of the model.")
    if "" in chance:
        notes.append(f"acc is {chance[''].sentence()}.")
    if len({line["task"] for line in asked}) > 1:
        notes.append("acc is over all questions, as in lm-eval's groups; acc_macro is the mean over tasks.")
    if cut := sum(bool(line["cut"]) for line in asked):
        notes.append(
            f"{cut} of {len(asked)} prompts are longer than the model's context and lost their beginning."
        )
    used = {rule_of(line, metric): metric for line in asked for metric in line["metrics"]}
    if corpus := sorted(metric for rule, metric in used.items() if rule in CORPUS):
        notes.append(
            f"{', '.join(corpus)}: a score of the whole corpus (sacrebleu, 0 to 100), without an interval."
        )
    if strange := sorted(f"{m} ({r})" for r, m in used.items() if r not in RULES and r not in CORPUS):
        notes.append(f"Not computed, because only the harness has their rule: {', '.join(strange)}.")
    return notes


def _table(
    lines: Sequence[Line], metrics: Mapping[str, Interval], chance: Mapping[str, Chance]
) -> dict[str, Any]:
    """Return one row a task and metric: value, interval, standard error of a mean, and guessing."""
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    rows = []
    for task in tasks:
        part = [line for line in lines if line["task"] == task]
        for metric in dict.fromkeys(metric for line in part for metric in line["metrics"]):
            value = metrics.get(metric if len(tasks) == 1 else f"{task}.{metric}")
            if value is None:
                continue
            guessed = chance.get(task) if metric in CHANCE else None
            rows.append(
                [
                    task,
                    metric,
                    len(part),
                    finite(value.value),
                    finite(value.low),
                    finite(value.high),
                    _standard_error(part, metric),
                    guessed.expected if guessed else None,
                    None if not guessed or metric != "acc" else "yes" if guessed.within else "no",
                ]
            )
    columns = [
        "task",
        "metric",
        "questions",
        "value",
        "low",
        "high",
        "standard error",
        "chance",
        "within chance",
    ]
    return {"columns": columns, "rows": rows}


def _standard_error(lines: Sequence[Line], metric: str) -> float | None:
    """Return the standard error of a mean, as lm-eval states it; None for anything else."""
    if rule_of(lines[0], metric) != "mean" or len(lines) < 2:
        return None
    values = np.array([line["metrics"][metric] for line in lines], np.float64)
    return finite(float(values.std(ddof=1) / math.sqrt(len(values))))
