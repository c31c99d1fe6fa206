"""Names and sentences that the two kinds of sets of ECGBench share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PULSE = "pulse_"
"""Before the name of a metric as the published program would print it, as a share of 1."""
CHOICES = ("accuracy", "parse_rate", "accuracy_parsed")
OF_LABELS = ("auc_hard", "macro_f1", "hamming_loss")
"""What the published program prints of a set with labels; it calls the first one AUC."""


def published(task: Mapping[str, Any]) -> list[str]:
    """Say how the published numbers are made, where they are asked for."""
    if "pulse" not in task["compat"]:
        return []
    return [
        "pulse_: as published, parts of words count, also denied ones, a letter that is not found is drawn at random "
        "(seed 42, anew for each set); its AUC is that of decisions"
    ]


def unparsed(count: int, of: int, what: str) -> list[str]:
    """Say how many answers could not be read, and what becomes of them."""
    return [f"{count} of {of} answers say nothing that the question asks for; {what}"] if count else []
