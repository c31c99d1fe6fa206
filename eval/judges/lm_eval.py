"""Results of lm-eval's tasks, made again from each question's metrics as the harness gave them.

The harness makes one number of many questions by a named rule. Those that are a ratio of sums (a mean,
a perplexity) get intervals; scores of a whole corpus (BLEU, chrF, TER) are computed without them. Where
several tasks share a metric, `acc` is over all questions, so a large task counts for more, as in
lm-eval's own groups, and `acc_macro` is the mean over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from eval.bootstrap import FloatArray, Interval, clusters, intervals, summed
from eval.chance import Chance, against_chance
from eval.judges import Line, paired
from eval.numbers import finite, interval_json

Pair = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """How one number is made: what a question adds to two sums, and what becomes of their ratio."""

    adds: Callable[[Any], Pair]
    final: Callable[[FloatArray], FloatArray]


def _as_is(ratio: FloatArray) -> FloatArray:
    return ratio


def _exp(ratio: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.exp(-ratio)


def _brier(value: Any) -> Pair:
    """Return the squared distance between probabilities and truth, summed over the answers."""
    gold, probabilities = value
    truth = np.eye(len(probabilities))[int(gold)]
    return float(((np.asarray(probabilities) - truth) ** 2).sum()), 1.0


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "mean": Rule(lambda value: (value, 1.0), _as_is),
        "perplexity": Rule(lambda value: (value, 1.0), _exp),
        "weighted_perplexity": Rule(lambda value: (value[0], value[1]), _exp),
        "bits_per_byte": Rule(lambda value: (value[0], value[1]), lambda ratio: -ratio / math.log(2)),
        "brier_score": Rule(_brier, _as_is),
    }
)
"""The harness's name of a rule -> what it computes. Checked against lm-eval 0.4.11, `api/metrics.py`."""

CORPUS = ("bleu", "chrf", "ter")
"""Rules of sacrebleu over all (reference, answer) pairs at once."""
CHANCE = ("acc", "acc_norm", "acc_bytes")
EXAMPLES = 5
_Z = 1.959963984540054
"""Standard normal quantile of 0.975, for `LEVEL` = 0.95."""


@dataclass(frozen=True, eq=False)
class Column:
    """One metric of one task, or the mean of several tasks, as sums over drawn questions."""

    name: str
    final: Callable[[FloatArray], FloatArray]
    """Takes totals of all columns, shape (draw, 2 * pair); returns shape (draw,)."""


def judged(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return the result of one model over all tasks.

    Raises:
        ValueError: there is no line.
    """
    if not lines:
        raise ValueError("no question was asked")
    asked = [line for line in lines if "skipped" not in line]
    metrics, method = _metrics(asked) if asked else ({}, "no questions")
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
        "notes": _notes(task, lines, asked, chance),
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
    columns, sums_before = _columns(before)
    _, sums_after = _columns(after)
    width = sums_before.shape[1]

    def change(totals: FloatArray) -> FloatArray:
        return _values(columns, totals[:, width:]) - _values(columns, totals[:, :width])

    found = _intervals(np.hstack([sums_before, sums_after]), after, change)[0]
    result = {column.name: value for column, value in zip(columns, found, strict=True)}
    one, other = _corpus(before), _corpus(after)
    result |= {name: _alone(other[name].value - one[name].value) for name in other}
    return {name: interval_json(value) for name, value in result.items()}


def _name(task: Mapping[str, Any]) -> str:
    return str(task["tasks"][0]) if len(task["tasks"]) == 1 else str(task["task"])


# --------------------------------------------------------------------------------------- metrics


def _metrics(lines: Sequence[Line]) -> tuple[dict[str, Interval], str]:
    columns, sums = _columns(lines)
    found, method = _intervals(sums, lines, lambda totals: _values(columns, totals))
    result = {column.name: value for column, value in zip(columns, found, strict=True)}
    alike = _all_alike(lines)
    if alike:
        method += f"; Wilson interval where all questions were answered alike: {', '.join(alike)}"
    return {**result, **alike, **_corpus(lines)}, method


def _all_alike(lines: Sequence[Line]) -> dict[str, Interval]:
    """Return Wilson intervals of shares of 0 or 1, which a bootstrap would give without width.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22: for 0 of n the upper end is z^2 / (n + z^2).
    """
    found = {}
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    for task, metric in _pairs(lines):
        values = [
            line["metrics"][metric] for line in lines if line["task"] == task and metric in line["metrics"]
        ]
        if set(values) in ({0.0}, {1.0}):
            reach = _Z**2 / (len(values) + _Z**2)
            low, high = (0.0, reach) if values[0] == 0 else (1 - reach, 1.0)
            found[metric if len(tasks) == 1 else f"{task}.{metric}"] = Interval(values[0], low, high)
    return found


def _intervals(
    sums: FloatArray, lines: Sequence[Line], statistic: Callable[[FloatArray], FloatArray]
) -> tuple[tuple[Interval, ...], str]:
    """Return intervals over drawn questions; no draw loses a task."""
    if sums.shape[1] == 0:
        return (), "no intervals: scores of a whole corpus"
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    member = np.array([[line["task"] == name for name in tasks] for line in lines])
    drawn_from = clusters([line["group"] for line in lines], member if len(tasks) > 1 else None)
    return intervals(drawn_from, summed(sums, drawn_from, statistic)), drawn_from.method


def _values(columns: Sequence[Column], totals: FloatArray) -> FloatArray:
    return np.stack([column.final(totals) for column in columns], axis=1)


def _columns(lines: Sequence[Line]) -> tuple[list[Column], FloatArray]:
    """Return the metrics that are ratios of sums, means over tasks first, and what each question adds."""
    pairs = {key: place for place, key in enumerate(_pairs(lines))}
    sums = np.zeros((len(lines), 2 * len(pairs)))
    for row, line in enumerate(lines):
        for metric, value in line["metrics"].items():
            if (place := pairs.get((line["task"], metric))) is not None:
                sums[row, 2 * place : 2 * place + 2] = RULES[_rule(line, metric)].adds(value)
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    rules = {(line["task"], metric): _rule(line, metric) for line in lines for metric in line["metrics"]}
    own = [_own(tasks, name, metric, place, rules) for (name, metric), place in pairs.items()]
    return [*_means(tasks, pairs, rules), *own], sums


def _pairs(lines: Sequence[Line]) -> dict[tuple[str, str], None]:
    keys = {(line["task"], metric): _rule(line, metric) for line in lines for metric in line["metrics"]}
    return dict.fromkeys(key for key, rule in keys.items() if rule in RULES)


def _rule(line: Line, metric: str) -> str:
    """Return the name of the rule for a metric, which may be of one filter: `exact_match,strict`."""
    return str(line["aggregation"].get(metric.partition(",")[0], "none"))


def _own(
    tasks: Sequence[str],
    task: str,
    metric: str,
    place: int,
    rules: Mapping[tuple[str, str], str],
) -> Column:
    rule = RULES[rules[task, metric]]
    name = metric if len(tasks) == 1 else f"{task}.{metric}"
    return Column(name, lambda totals: rule.final(_ratio(totals, [place])))


def _means(
    tasks: Sequence[str],
    pairs: Mapping[tuple[str, str], int],
    rules: Mapping[tuple[str, str], str],
) -> list[Column]:
    """Return, for each metric that all tasks share, its value over all questions and its mean over tasks."""
    found = []
    for metric in dict.fromkeys(metric for _, metric in pairs):
        places = [pairs[task, metric] for task in tasks if (task, metric) in pairs]
        names = {rules[task, metric] for task in tasks if (task, metric) in pairs}
        if len(tasks) == 1 or len(places) < len(tasks) or len(names) > 1:
            continue
        found += _two_means(metric, places, RULES[names.pop()])
    return found


def _two_means(metric: str, places: list[int], rule: Rule) -> list[Column]:
    def over_questions(totals: FloatArray) -> FloatArray:
        return rule.final(_ratio(totals, places))

    def over_tasks(totals: FloatArray) -> FloatArray:
        each: FloatArray = np.mean([rule.final(_ratio(totals, [place])) for place in places], axis=0)
        return each

    return [Column(metric, over_questions), Column(f"{metric}_macro", over_tasks)]


def _ratio(totals: FloatArray, places: Sequence[int]) -> FloatArray:
    above, below = (sum(totals[:, 2 * place + part] for place in places) for part in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: FloatArray = np.asarray(above / below)
    return ratio


def _corpus(lines: Sequence[Line]) -> dict[str, Interval]:
    """Return the scores of sacrebleu, task by task, without intervals."""
    found: dict[str, list[Any]] = {}
    several = len({line["task"] for line in lines}) > 1
    kinds: dict[str, str] = {}
    for line in lines:
        for metric, value in line["metrics"].items():
            if (rule := _rule(line, metric)) in CORPUS:
                name = f"{line['task']}.{metric}" if several else metric
                found.setdefault(name, []).append(value)
                kinds[name] = rule
    return {name: _alone(_corpus_score(kinds[name], values)) for name, values in found.items()}


def _corpus_score(rule: str, pairs: Sequence[Any]) -> float:
    """Return BLEU, chrF or TER of (reference, answer) pairs, 0 to 100, as lm-eval computes them."""
    import sacrebleu

    score = getattr(sacrebleu, f"corpus_{rule}")
    references, answers = [str(reference) for reference, _ in pairs], [str(answer) for _, answer in pairs]
    return float(score(answers, [references]).score)


def _alone(value: float) -> Interval:
    return Interval(value, math.nan, math.nan)


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


def _notes(
    task: Mapping[str, Any], lines: Sequence[Line], asked: Sequence[Line], chance: Mapping[str, Chance]
) -> list[str]:
    notes = [f"{line['task']} was left out: {line['skipped']}." for line in lines if "skipped" in line]
    if task.get("questions") == "invented" and not task.get("data"):
        notes.append("The questions are invented; the numbers prove the way and say nothing of the model.")
    if "" in chance:
        notes.append(f"acc is {chance[''].sentence()}.")
    if len({line["task"] for line in asked}) > 1:
        notes.append("acc is over all questions, as in lm-eval's groups; acc_macro is the mean over tasks.")
    if cut := sum(bool(line["cut"]) for line in asked):
        notes.append(
            f"{cut} of {len(asked)} prompts are longer than the model's context and lost their beginning."
        )
    used = {_rule(line, metric): metric for line in asked for metric in line["metrics"]}
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
    if _rule(lines[0], metric) != "mean" or len(lines) < 2:
        return None
    values = np.array([line["metrics"][metric] for line in lines], np.float64)
    return finite(float(values.std(ddof=1) / math.sqrt(len(values))))
