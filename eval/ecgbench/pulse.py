"""The scorer that PULSE published, with its faults: for numbers that are to be set beside the published ones.

Written from its behaviour. Parts of words count ("MI" in "MIssion", "ST" in "STTC"), so does what is denied; the first
letter of A to H with a full stop anywhere wins; an answer without one is drawn at random. What they call AUC is the
area of decisions. The published program draws for all sets from one generator with seed 42, in the order of the
files; here each set begins with that seed.

Source:
    AIMedLab/PULSE, evaluation/evaluate_ecgbench.py: `extract`, `compute_f1_auc` and the function of each set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from eval.ecgbench import BenchSet

SEED = 42
LETTERS = "ABCDEFGH"
_SAID = "The correct option is "
_ANSWER = "Answer:"
_RULE = "Only answer based on the given Options without any explanation."


def label_classes(gold: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the classes that are scored: those that some reference has, sorted; others are dropped."""
    return tuple(sorted({label for labels in gold for label in labels}))


def labels_said(of: BenchSet, text: str) -> list[str]:
    """Return the labels that stand anywhere in an answer, as a part of a word too."""
    if of.label_set != "code15":
        return [label for label in of.pulse_labels if label in text]
    text = text.rpartition(_ANSWER)[2]
    found = [label for label in of.pulse_labels if label in text]
    if "ABNORMAL" in text:
        return ["ABNORMAL", *found]
    return ["NORM", *found] if "NORM" in text else found


def labels_meant(of: BenchSet, text: str) -> list[str]:
    """Return the labels of a reference; that of CODE-15 may be NORM or ABNORMAL alone."""
    if of.label_set == "code15" and text in ("NORM", "ABNORMAL"):
        return [text]
    return [label for label in of.pulse_labels if label in text]


def letters_said(of: BenchSet, answers: Sequence[str]) -> list[str]:
    """Return a letter for every answer; one without is drawn, in the order of the answers."""
    generator = random.Random(SEED)
    drawn = list(LETTERS[: of.options])
    return [
        letter if (letter := _letter(answer)) is not None else generator.choice(drawn) for answer in answers
    ]


def letter_meant(of: BenchSet, reference: str) -> str:
    """Return what a letter is compared with: the first one of the reference, or the whole of it for MMMU-ECG."""
    return reference[:1] if of.pulse_first_letter else reference


def unread(answers: Sequence[str]) -> int:
    """Return for how many answers a letter is drawn."""
    return sum(_letter(answer) is None for answer in answers)


def _letter(text: str) -> str | None:
    if len(text) == 1 and text in LETTERS:
        return text
    for letter in LETTERS:
        if f"{letter}." in text:
            return letter
    if _SAID in text:
        first = text.rpartition(_SAID)[2][:1]
        return first if first and first in LETTERS else None
    if _ANSWER in text:
        last = text.rpartition(_ANSWER)[2]
        return next((letter for letter in LETTERS if letter in last), None)
    return None


def options_said(question: str, answer: str) -> set[str]:
    """Return the listed options that stand anywhere in the answer, which is made lower case; they are not."""
    listed = question.rpartition("Options:")[2].replace(_RULE, "")
    low = answer.lower()
    return {option for part in listed.split(",") if (option := part.strip()) in low}
