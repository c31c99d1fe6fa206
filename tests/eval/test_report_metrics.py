"""Every metric that a judge gives is known to the report: its title, and which way is better."""

from __future__ import annotations

import pytest

from eval import entities, likelihood, perplexity, text
from eval.judge.rubrics import RUBRICS, rubric
from eval.judges import JUDGES, ecgbench_words, label_metrics, signal_multilabel
from eval.judges.by_rubric import _names
from eval.judges.classification import OVERALL
from eval.report.metrics import METRICS, metric_name

DECISIONS = (*OVERALL, "precision", "recall", "f1")
NEITHER = {"entropy", "train_minutes", "train_records_per_s", "answer_tokens", "parameters"}
"""Metrics of which neither way is better."""

GIVEN = {
    "perplexity": perplexity.METRICS,
    "rouge": (*text.METRICS, "ended", "answer_tokens"),
    "entities": entities.METRICS,
    "classification": (
        *DECISIONS,
        *likelihood.METRICS,
        *(f"generated_{name}" for name in DECISIONS),
        *(f"{name}_scaled" for name in likelihood.METRICS),
    ),
    "judge": tuple(
        name
        for word in RUBRICS
        for name in (*_names(rubric(word)), f"{word}_judged", f"{word}_bad_as_lowest")
    ),
    "signal_multilabel": (
        *signal_multilabel.MACRO,
        *(f"{name}_present" for name in signal_multilabel.MACRO),
        *signal_multilabel.OFFICIAL,
        *signal_multilabel.OVER_ALL,
        *signal_multilabel.BETA,
        *signal_multilabel.CALIBRATION,
        "challenge_score",
    ),
    "multilabel": tuple(
        f"{prefix}{name}"
        for prefix in ("", "generated_")
        for name in (
            *label_metrics.FROM_DECISIONS,
            *label_metrics.OFFICIAL,
            *label_metrics.OVER_ALL,
            *(f"{name}_present" for name in label_metrics.FROM_DECISIONS),
            *(("parse_rate",) if prefix else (*label_metrics.FROM_SCORES, "brier", "calibration_error")),
        )
    ),
    "ecgbench": (
        *ecgbench_words.OF_LABELS,
        *ecgbench_words.CHOICES,
        "exact_match",
        *(f"pulse_{name}" for name in (*ecgbench_words.OF_LABELS, "accuracy")),
        *entities.METRICS,
    ),
    "lm_eval": ("acc", "acc_norm", "acc_macro", "acc_norm_macro", "mmlu_anatomy.acc", "bleu", "chrf", "ter"),
}


def test_every_judge_is_here() -> None:
    assert GIVEN.keys() == JUDGES.keys()


@pytest.mark.parametrize("name", [name for names in GIVEN.values() for name in names])
def test_it_has_a_title_and_a_direction(name: str) -> None:
    shown = metric_name(name)
    assert shown.title != name.replace("_", " ")
    assert (shown.better is None) == (name in NEITHER)


def test_what_has_no_direction_is_meant_so() -> None:
    assert {name for name, shown in METRICS.items() if shown.better is None} == NEITHER
