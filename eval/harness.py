"""What lm-eval makes of many questions: its rules, as ratios of sums over questions or scores of a corpus.

A question's metrics are as the harness gave them; the name of the rule that makes one number of them
stands beside them. Ratios of sums (a mean, a perplexity) can be drawn with replacement; scores of a
whole corpus (BLEU, chrF, TER) are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from eval.bootstrap import FloatArray, Interval

Line = Mapping[str, Any]
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


@dataclass(frozen=True, eq=False)
class Column:
    """One metric of one task, or the mean of several tasks, as sums over drawn questions."""

    name: str
    final: Callable[[FloatArray], FloatArray]
    """Takes totals of all columns, shape (draw, 2 * pair); returns shape (draw,)."""


def shares(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return the metrics that are shares of questions, 0 or 1 each, with the groups of their questions.

    A metric that all tasks share is one over all questions; the mean over tasks is none.
    """
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    found: dict[str, list[str]] = {}
    for metric in dict.fromkeys(metric for _, metric in _pairs(lines)):
        parts = {f"{task}.{metric}": {task} for task in tasks} if len(tasks) > 1 else {}
        for name, of_tasks in {metric: set(tasks), **parts}.items():
            of = [line for line in lines if metric in line["metrics"] and line["task"] in of_tasks]
            if {rule_of(line, metric) for line in of} != {"mean"}:
                continue
            if {line["metrics"][metric] for line in of} <= {0, 1}:
                found[name] = [line["group"] for line in of]
    return found


def values_of(columns: Sequence[Column], totals: FloatArray) -> FloatArray:
    """Return the metrics of drawn totals, shape (draw, metric)."""
    return np.stack([column.final(totals) for column in columns], axis=1)


def columns_of(lines: Sequence[Line]) -> tuple[list[Column], FloatArray]:
    """Return the metrics that are ratios of sums, means over tasks first, and what each question adds."""
    pairs = {key: place for place, key in enumerate(_pairs(lines))}
    sums = np.zeros((len(lines), 2 * len(pairs)))
    for row, line in enumerate(lines):
        for metric, value in line["metrics"].items():
            if (place := pairs.get((line["task"], metric))) is not None:
                sums[row, 2 * place : 2 * place + 2] = RULES[rule_of(line, metric)].adds(value)
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    rules = {(line["task"], metric): rule_of(line, metric) for line in lines for metric in line["metrics"]}
    own = [_own(tasks, name, metric, place, rules) for (name, metric), place in pairs.items()]
    return [*_means(tasks, pairs, rules), *own], sums


def _pairs(lines: Sequence[Line]) -> dict[tuple[str, str], None]:
    keys = {(line["task"], metric): rule_of(line, metric) for line in lines for metric in line["metrics"]}
    return dict.fromkeys(key for key, rule in keys.items() if rule in RULES)


def rule_of(line: Line, metric: str) -> str:
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


def corpus_scores(lines: Sequence[Line]) -> dict[str, Interval]:
    """Return the scores of sacrebleu, task by task, without intervals."""
    found: dict[str, list[Any]] = {}
    several = len({line["task"] for line in lines}) > 1
    kinds: dict[str, str] = {}
    for line in lines:
        for metric, value in line["metrics"].items():
            if (rule := rule_of(line, metric)) in CORPUS:
                name = f"{line['task']}.{metric}" if several else metric
                found.setdefault(name, []).append(value)
                kinds[name] = rule
    return {name: without_interval(_corpus_score(kinds[name], values)) for name, values in found.items()}


def _corpus_score(rule: str, pairs: Sequence[Any]) -> float:
    """Return BLEU, chrF or TER of (reference, answer) pairs, 0 to 100, as lm-eval computes them."""
    import sacrebleu

    score = getattr(sacrebleu, f"corpus_{rule}")
    references, answers = [str(reference) for reference, _ in pairs], [str(answer) for _, answer in pairs]
    return float(score(answers, [references]).score)


def without_interval(value: float) -> Interval:
    """Return a value of which it is not known how sure it is."""
    return Interval(value, math.nan, math.nan)
