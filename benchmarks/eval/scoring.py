"""Answers scored per second on one core: finding labels in answers, multi-label scores, ROUGE.

Each way of ours is run beside the plain one on the same answers, in turns, and the medians are compared:
one regular expression per label, scikit-learn's functions, the rouge-score package. The answers are made
from a seed: short ones ("Yes."), and sentences of some 40 words. Goal: 100,000 answers a second for
finding labels and for multi-label scores.

    python benchmarks/eval/scoring.py [--answers 20000] [--repeats 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before numpy is loaded

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sklearn import metrics

from eval.multilabel import score_labels
from eval.parse import LabelParser
from eval.text import rouge_scores

GOAL = 100_000
FILLER = [
    "the",
    "tracing",
    "shows",
    "regular",
    "narrow",
    "complexes",
    "with",
    "normal",
    "intervals",
    "and",
    "an",
    "axis",
    "that",
    "is",
    "within",
    "limits",
]
YES_NO = {"yes": ["yes"], "no": ["no"]}
LABELS = {"NORM": ["NORM", "normal ECG"], "MI": ["MI"], "STTC": ["STTC"], "CD": ["CD"], "HYP": ["HYP"]}
CLASSES = 26
TEXTS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    rows = [row for case in cases(arguments.answers) for row in [timed(*case, arguments.repeats)]]
    if not arguments.json:
        print(
            f"{'one core; median of ' + str(arguments.repeats):<46}{'ours/s':>12}{'plain/s':>12}{'ratio':>8}  goal"
        )
        for row in rows:
            verdict = "" if row["goal"] is None else ("met" if row["ours_per_s"] >= row["goal"] else "MISSED")
            numbers = f"{row['ours_per_s']:>12,}{row['plain_per_s']:>12,}{row['ratio']:>8}"
            print(f"{row['what']:<46}{numbers}  {verdict}")
    print(json.dumps({"answers": arguments.answers, "repeats": arguments.repeats, "rows": rows}))


def cases(count: int) -> list[tuple[str, int, Callable[[], Any], Callable[[], Any], int | None]]:
    """Return what is timed: name, answers, our way, the plain way, goal."""
    rng = np.random.default_rng(0)
    short = [
        str(answer) for answer in rng.choice(["Yes.", "no", "Answer: Yes", "I cannot say", "**No**"], count)
    ]
    long = [sentence(rng, [*YES_NO, "casino"]) for _ in range(count)]
    several = [sentence(rng, [*LABELS, "STEMI", "CDs"]) for _ in range(count)]
    yes_no, labels = LabelParser(YES_NO), LabelParser(LABELS)
    plain_yes_no, plain_labels = patterns(YES_NO), patterns(LABELS)
    truth = rng.random((count, CLASSES)) < 0.1
    score = rng.random((count, CLASSES)) + 0.4 * truth
    decided = score > 0.8
    names, groups = [f"c{n}" for n in range(CLASSES)], [str(n) for n in range(count)]
    texts = [" ".join(rng.choice(FILLER, 200)) for _ in range(TEXTS)]
    answers = [" ".join(rng.choice(FILLER, 120)) for _ in range(TEXTS)]
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"])
    return [
        ("yes or no, short answers", count, *ways(yes_no.label, plain_yes_no, short), GOAL),
        ("yes or no, 40 words", count, *ways(yes_no.label, plain_yes_no, long), GOAL),
        ("several of 5 labels, 40 words", count, *ways(labels.found, plain_labels, several), GOAL),
        (
            f"multi-label, {CLASSES} classes, decisions",
            count,
            lambda: score_labels(truth, decided, names, groups, draws=0),
            lambda: sklearn_decisions(truth, decided),
            GOAL,
        ),
        (
            f"multi-label, {CLASSES} classes, with scores",
            count,
            lambda: score_labels(truth, decided, names, groups, y_score=score, draws=0),
            lambda: (sklearn_decisions(truth, decided), sklearn_scores(truth, score)),
            GOAL,
        ),
        (
            "ROUGE-1, -2, -L, 120 words against 200",
            TEXTS,
            lambda: rouge_scores(texts, answers, stemmer=False),
            lambda: [rouge.score(text, answer) for text, answer in zip(texts, answers, strict=True)],
            None,
        ),
    ]


def sentence(rng: np.random.Generator, words: list[str]) -> str:
    said = [str(word) for word in rng.choice(FILLER, 40)]
    for place in rng.integers(0, 40, 2):
        said[place] = str(rng.choice(words))
    return " ".join(said) + "."


def patterns(labels: dict[str, list[str]]) -> dict[str, re.Pattern[str]]:
    return {
        label: re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)
        for label, words in labels.items()
    }


def ways(
    ours: Callable[[str], Any], plain: dict[str, re.Pattern[str]], answers: list[str]
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return (
        lambda: [ours(answer) for answer in answers],
        lambda: [[label for label, word in plain.items() if word.search(answer)] for answer in answers],
    )


def sklearn_decisions(truth: np.ndarray, decided: np.ndarray) -> list[float]:
    return [
        metrics.hamming_loss(truth, decided),
        metrics.f1_score(truth, decided, average="macro"),
        metrics.roc_auc_score(truth, decided.astype(float)),
    ]


def sklearn_scores(truth: np.ndarray, score: np.ndarray) -> list[float]:
    return [
        metrics.roc_auc_score(truth, score),
        metrics.average_precision_score(truth, score),
        metrics.coverage_error(truth, score),
        metrics.label_ranking_loss(truth, score),
    ]


def timed(
    what: str, count: int, ours: Callable[[], Any], plain: Callable[[], Any], goal: int | None, repeats: int
) -> dict[str, Any]:
    """Return medians over turns; the first turn is not counted."""
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for way, times in zip((ours, plain), seconds, strict=True):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
    of_ours, of_plain = (statistics.median(times[1:]) for times in seconds)
    return {
        "what": what,
        "ours_per_s": round(count / of_ours),
        "plain_per_s": round(count / of_plain),
        "ratio": round(of_plain / of_ours, 2),
        "goal": goal,
    }


if __name__ == "__main__":
    main()
