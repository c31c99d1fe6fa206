"""How long 1,000 draws take on one core: 30,000 records, one a group and three a group.

Beside each stands a loop that draws the same groups and asks scikit-learn again for each draw, timed for
some draws (`--loop-draws`) in the same run and scaled to as many. Goal: seconds.

    python benchmarks/eval/bootstrap.py [--records 30000] [--draws 1000] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before numpy is loaded

import numpy as np
from sklearn import metrics

from eval.classification import classify
from eval.likelihood import score_binary
from eval.multilabel import score_labels

GOAL_S = 10.0
CLASSES = 26
Loop = Callable[[np.ndarray], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop-draws", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    rows = [
        timed(what, per_group, ours, loop, arguments)
        for per_group in (1, 3)
        for what, ours, loop in cases(arguments.records, per_group, arguments.draws)
    ]
    if not arguments.json:
        print(f"{arguments.records:,} records, {arguments.draws:,} draws, one core; seconds, medians")
        print(f"{'':<40}{'a group':>8}{'ours':>9}{'loop':>9}{'ratio':>8}  goal")
        for row in rows:
            numbers = f"{row['per_group']:>8}{row['ours_s']:>9}{row['loop_s']:>9}{row['ratio']:>8}"
            print(f"{row['what']:<40}{numbers}  {'met' if row['ours_s'] <= GOAL_S else 'MISSED'}")
    print(json.dumps({**vars(arguments), "goal_s": GOAL_S, "rows": rows}))


def cases(records: int, per_group: int, draws: int) -> list[tuple[str, Callable[[], Any], Loop]]:
    """Return what is timed: name, our way, and the loop's work for the rows of one draw."""
    rng = np.random.default_rng(0)
    groups = [str(n // per_group) for n in range(records)]
    positive = rng.random(records) < 0.5
    score = np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    y_true, y_pred = (np.where(part, "yes", "no").tolist() for part in (positive, score > 0.5))
    truth = rng.random((records, CLASSES)) < 0.1
    scores = rng.random((records, CLASSES)) + 0.4 * truth
    decided = scores > 0.8
    names = [f"c{n}" for n in range(CLASSES)]
    true_array, pred_array = np.array(y_true), np.array(y_pred)
    return [
        (
            "10 metrics of two classes",
            lambda: classify(y_true, y_pred, ["no", "yes"], groups, draws=draws),
            lambda rows: metrics.classification_report(true_array[rows], pred_array[rows]),
        ),
        (
            "AUC, average precision, Brier, ECE",
            lambda: score_binary(positive, score, groups, draws=draws),
            lambda rows: (
                metrics.roc_auc_score(positive[rows], score[rows]),
                metrics.average_precision_score(positive[rows], score[rows]),
                metrics.brier_score_loss(positive[rows], score[rows]),
            ),
        ),
        (
            f"decisions of {CLASSES} labels",
            lambda: score_labels(truth, decided, names, groups, draws=draws),
            lambda rows: (
                metrics.f1_score(truth[rows], decided[rows], average="macro"),
                metrics.hamming_loss(truth[rows], decided[rows]),
            ),
        ),
        (
            f"decisions and scores of {CLASSES} labels",
            lambda: score_labels(truth, decided, names, groups, y_score=scores, draws=draws),
            lambda rows: (
                metrics.f1_score(truth[rows], decided[rows], average="macro"),
                metrics.hamming_loss(truth[rows], decided[rows]),
                metrics.roc_auc_score(truth[rows], scores[rows]),
                metrics.average_precision_score(truth[rows], scores[rows]),
                metrics.coverage_error(truth[rows], scores[rows]),
                metrics.label_ranking_loss(truth[rows], scores[rows]),
            ),
        ),
    ]


def timed(
    what: str, per_group: int, ours: Callable[[], Any], loop: Loop, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return medians; our way and some draws of the loop take turns."""
    rng = np.random.default_rng(1)
    count = arguments.records // per_group
    of_ours, of_loop = [], []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        ours()
        of_ours.append(time.perf_counter() - start)
        for _ in range(arguments.loop_draws):
            start = time.perf_counter()
            drawn = rng.integers(0, count, count)
            loop((drawn[:, None] * per_group + np.arange(per_group)).ravel())
            of_loop.append(time.perf_counter() - start)
    ours_s, loop_s = statistics.median(of_ours), statistics.median(of_loop) * arguments.draws
    return {
        "what": what,
        "per_group": per_group,
        "ours_s": round(ours_s, 2),
        "loop_s": round(loop_s, 1),
        "ratio": round(loop_s / ours_s, 1),
    }


if __name__ == "__main__":
    main()
