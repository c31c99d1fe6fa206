"""What each metric is called, its unit, and which way is better."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class MetricName:
    """How a metric is shown."""

    title: str
    unit: str = ""
    better: Better | None = None
    """None: neither way is better, or nothing is known of the metric."""


def _rubric(
    name: str, title: str, unit: str, aspects: Mapping[str, str], *, whole: str | None = None
) -> dict[str, MetricName]:
    """Return the metrics of a judge's rubric: the score over all, each aspect, and how many were judged."""
    by_judge = f"by a judge, {whole or unit}"
    return {
        name: MetricName(title, by_judge, "higher"),
        **{
            f"{name}_{key}": MetricName(f"{title}, {said}", f"by a judge, {unit}", "higher")
            for key, said in aspects.items()
        },
        f"{name}_judged": MetricName(f"{title}: answers judged", "share of answers", "higher"),
        f"{name}_bad_as_lowest": MetricName(f"{title}, bad answers as lowest", by_judge, "higher"),
    }


# Name in a result -> title, unit, better.
METRICS: Mapping[str, MetricName] = MappingProxyType(
    {
        "loss": MetricName("Loss", "nats per label token", "lower"),
        "bce": MetricName("BCE loss", "nats per record and class", "lower"),
        "perplexity": MetricName("Perplexity", "", "lower"),
        "bits_per_byte": MetricName("Bits per byte", "bits per byte of answer", "lower"),
        "token_accuracy": MetricName("Token accuracy", "share of label tokens", "higher"),
        "entropy": MetricName("Entropy", "nats per label token"),
        "train_loss": MetricName("Training loss", "nats per label token", "lower"),
        "train_minutes": MetricName("Training time", "min"),
        "train_records_per_s": MetricName("Training pace", "records/s"),
        "parameters": MetricName("Weights of the model", ""),
        "memory_training": MetricName("Peak memory while training", "GiB", "lower"),
        "rouge1": MetricName("ROUGE-1", "F-measure", "higher"),
        "rouge2": MetricName("ROUGE-2", "F-measure", "higher"),
        "rougeL": MetricName("ROUGE-L", "F-measure", "higher"),
        "accuracy": MetricName("Accuracy", "share of records", "higher"),
        "balanced_accuracy": MetricName("Balanced accuracy", "mean recall of the classes", "higher"),
        "accuracy_parsed": MetricName("Accuracy of parsed answers", "share of parsed answers", "higher"),
        "accuracy_undivided": MetricName(
            "Accuracy, likelihoods undivided by length", "share of records", "higher"
        ),
        "accuracy_per_token": MetricName(
            "Accuracy, likelihoods divided by tokens", "share of records", "higher"
        ),
        "precision": MetricName("Precision", "positive class", "higher"),
        "recall": MetricName("Recall", "positive class", "higher"),
        "f1": MetricName("F1", "positive class", "higher"),
        "ended": MetricName("Answers ended", "share of answers", "higher"),
        "answer_tokens": MetricName("Length of an answer", "tokens"),
        "entity_precision": MetricName("Clinical findings, precision", "", "higher"),
        "entity_recall": MetricName("Clinical findings, recall", "", "higher"),
        "entity_f1": MetricName("Clinical findings, F1", "", "higher"),
        "entity_micro_precision": MetricName("Clinical findings, precision", "over all findings", "higher"),
        "entity_micro_recall": MetricName("Clinical findings, recall", "over all findings", "higher"),
        "entity_micro_f1": MetricName("Clinical findings, F1", "over all findings", "higher"),
        "entity_contradicted": MetricName("Clinical findings contradicted", "share of findings", "lower"),
        "parse_rate": MetricName("Parse rate", "share of answers", "higher"),
        "macro_precision": MetricName("Precision, macro", "", "higher"),
        "macro_recall": MetricName("Recall, macro", "", "higher"),
        "macro_f1": MetricName("F1, macro", "", "higher"),
        "weighted_precision": MetricName("Precision, weighted", "", "higher"),
        "weighted_recall": MetricName("Recall, weighted", "", "higher"),
        "weighted_f1": MetricName("F1, weighted", "", "higher"),
        "micro_f1": MetricName("F1, micro", "", "higher"),
        "auc": MetricName("AUC", "from scores", "higher"),
        "macro_auc": MetricName("AUC, macro", "from scores", "higher"),
        "auc_hard": MetricName("AUC, hard", "from decisions", "higher"),
        "average_precision": MetricName("Average precision", "", "higher"),
        "brier": MetricName("Brier score", "", "lower"),
        "calibration_error": MetricName("Calibration error", "", "lower"),
        "log_loss": MetricName("Log loss", "nats per record", "lower"),
        "hamming_loss": MetricName("Hamming loss", "share of labels", "lower"),
        "exact_match": MetricName("Exact match", "share of records", "higher"),
        "coverage": MetricName("Coverage error", "labels", "lower"),
        "coverage_error": MetricName("Coverage error", "labels", "lower"),
        "ranking_loss": MetricName("Ranking loss", "share of label pairs", "lower"),
        "f_beta": MetricName("F-beta", "", "higher"),
        "g_beta": MetricName("G-beta", "", "higher"),
        "challenge_score": MetricName("Challenge score", "1 perfect, 0 always normal", "higher"),
        **_rubric(
            "ecg_report_100",
            "Report grade",
            "0 to 100",
            {
                "medical_accuracy": "medical accuracy",
                "consistency_with_ecg_image": "consistency with the ECG image, as the reference tells it",
                "completeness_of_ecg_details": "completeness",
                "clinical_utility_and_relevance": "clinical utility",
            },
        ),
        **_rubric(
            "pulse_report_10",
            "PULSE report score",
            "0 to 10",
            {"diagnosis": "diagnosis", "waveform": "waveform", "rhythm": "rhythm"},
            whole="0 to 100",
        ),
        **_rubric(
            "pulse_arena_10",
            "PULSE arena score",
            "0 to 10",
            {
                "accuracy": "accuracy",
                "completeness": "completeness",
                "instruction_adherence": "adherence to the instruction",
            },
            whole="0 to 100",
        ),
        "bleu": MetricName("BLEU", "0 to 100, of the whole corpus", "higher"),
        "chrf": MetricName("chrF", "0 to 100, of the whole corpus", "higher"),
        "ter": MetricName("TER", "of the whole corpus", "lower"),
        "acc": MetricName("Accuracy", "share of records", "higher"),
        "acc_macro": MetricName("Accuracy, mean over tasks", "share of records", "higher"),
        "acc_norm_macro": MetricName(
            "Accuracy, length-normalised, mean over tasks", "share of records", "higher"
        ),
        "acc_norm": MetricName("Accuracy, length-normalised", "share of records", "higher"),
    }
)

CLASSES: Mapping[str, str] = MappingProxyType(
    {"precision": "Precision", "recall": "Recall", "f1": "F1", "auc": "AUC"}
)
"""Columns of a per-class table that are drawn."""


WRITTEN = "generated_"
"""Before the name of a metric of written answers, where those of likelihoods have the plain name."""
BY_LIKELIHOOD, OF_WRITTEN = "by likelihood", "written answers"
# What a judge puts before a metric's name, and after it -> what that says.
PREFIXES: Mapping[str, str] = MappingProxyType({WRITTEN: OF_WRITTEN, "pulse_": "as PULSE scores it"})
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "_scaled": "temperature fitted on validation records",
        "_present": "over the classes that the judged records have",
        "_cinc": "as in CinC: a class with false positives alone counts 0",
        "_weighed": "a record weighs 1 / its labels, as in CinC 2020",
    }
)


EVERYDAY = frozenset(
    {"accuracy", "precision", "recall", "loss", "perplexity", "coverage", "entropy", "ended"}
)
"""Names of metrics that stand in sentences as plain words too."""


def metric_name(name: str) -> MetricName:
    """Return how a metric is shown; one that is not known by its own name, without a direction.

    A judge may say of which answers a metric is (`generated_accuracy`), how the scores were made
    (`brier_scaled`), of which task it is and how answers were filtered (`mmlu_anatomy.acc,none`).

    >>> metric_name("generated_parse_rate")
    MetricName(title='Parse rate, written answers', unit='share of answers', better='higher')
    >>> metric_name("mmlu_anatomy.acc,none").title
    'Accuracy, mmlu anatomy'
    >>> metric_name("mean_chars").title
    'mean chars'
    """
    if name in METRICS:
        return METRICS[name]
    for prefix, said in PREFIXES.items():
        if name.startswith(prefix):
            return _titled(metric_name(name.removeprefix(prefix)), said)
    for suffix, said in SUFFIXES.items():
        if name.endswith(suffix):
            return _qualified(metric_name(name.removesuffix(suffix)), said)
    plain, _, chosen = name.partition(",")
    task, dot, metric = plain.rpartition(".")
    if dot:
        shown = metric_name(metric)
        return replace(shown, title=f"{shown.title}, {task.replace('_', ' ')}")
    if chosen:
        shown = metric_name(plain)
        return shown if chosen == "none" else _qualified(shown, f"filter {chosen}")
    return MetricName(name.replace("_", " "))


def name_among(name: str, metrics: Collection[str]) -> MetricName:
    """Return how a metric is shown beside the others of its task.

    What is given both by likelihood and by written answers is named apart.

    >>> name_among("accuracy", ["accuracy", "generated_accuracy"]).title
    'Accuracy, by likelihood'
    >>> name_among("accuracy", ["accuracy", "auc"]).title
    'Accuracy'
    """
    shown = metric_name(name)
    return _titled(shown, BY_LIKELIHOOD) if WRITTEN + name in metrics else shown


def in_words(sentence: str, metrics: Collection[str]) -> str:
    """Return a sentence about a task with the names that stand in its results as they are shown.

    A name that is an everyday word too (`accuracy`, `loss`) is one only where the sentence begins with
    it. Within a sentence a title that has a comma of its own is quoted.

    Args:
        sentence: such as a note of a result.
        metrics: names of the metrics of that task.

    >>> in_words("generated_accuracy: worse than one threshold", ["generated_accuracy", "accuracy"])
    'Accuracy, written answers: worse than one threshold'
    >>> in_words("no loss of accuracy was seen", ["loss", "accuracy"])
    'no loss of accuracy was seen'
    >>> in_words("no interval of macro_f1, f1", ["macro_f1", "f1"])
    'no interval of \u201cF1, macro\u201d, F1'
    """
    for name in sorted(metrics, key=len, reverse=True):
        start, after = ("^", "(?=:| is )") if name in EVERYDAY else ("", "")
        pattern = rf"{start}(?<![\w.]){re.escape(name)}(?!\w){after}"
        title = name_among(name, metrics).title
        quoted = f"\u201c{title}\u201d" if "," in title else title
        parts = re.split(pattern, sentence)
        if len(parts) > 1 and not parts[0]:
            parts = [title + parts[1], *parts[2:]]
        sentence = quoted.join(parts)
    return sentence


def _titled(shown: MetricName, said: str) -> MetricName:
    return replace(shown, title=f"{shown.title}, {said}")


def _qualified(shown: MetricName, said: str) -> MetricName:
    return replace(shown, unit=", ".join(filter(None, (said, shown.unit))))


def same_decision(name: str) -> str:
    """Return the metric of a floor that this one is set against: a floor has one answer, written or not."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def verdict(name: str, low: float | None, high: float | None) -> str:
    """Return what a difference says, from its interval: better, worse, or not different.

    >>> verdict("loss", -0.5, -0.1), verdict("loss", -0.5, 0.1), verdict("entropy", 1.0, 2.0)
    ('better', 'not different', 'higher')
    """
    if low is None or high is None:
        return ""
    if low <= 0 <= high:
        return "not different"
    way: Better = "higher" if low > 0 else "lower"
    better = metric_name(name).better
    return way if better is None else "better" if way == better else "worse"
