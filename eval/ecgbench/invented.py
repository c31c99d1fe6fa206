"""Questions in the form of a set of ECGBench about any image: for a rehearsal, whose result says nothing."""

from __future__ import annotations

from eval.ecgbench import BenchSet
from eval.ecgbench.options import LETTERS, lettered_options

_OPTIONS = (
    "Atrial fibrillation",
    "Sinus rhythm",
    "Left bundle branch block",
    "Sinus bradycardia",
    "First degree AV block",
    "Sinus tachycardia",
    "Premature ventricular contraction",
    "Left ventricular hypertrophy",
)
_LISTED = ("yes", "no", "not sure")


def question_and_answer(of: BenchSet, number: int) -> tuple[str, str]:
    """Return a question and its right answer, another for each number.

    >>> from eval.ecgbench import SETS
    >>> question_and_answer(SETS["ecg_qa"], 1)[1]
    'no'
    """
    if of.kind == "labels":
        named = ", ".join(of.pulse_labels)
        return f"Which of these labels does this ECG have: {named}?", of.pulse_labels[
            number % len(of.pulse_labels)
        ]
    if of.kind == "all_of":
        rule = "Only answer based on the given Options without any explanation."
        return f"Is there noise? Options: {', '.join(_LISTED)}. {rule}", _LISTED[number % len(_LISTED)]
    if of.kind == "report":
        return "Please write a clinical report based on this ECG image.", "Sinus rhythm. Normal ECG."
    letters = LETTERS[: of.options]
    listed = " ".join(f"{letter}. {words}" for letter, words in zip(letters, _OPTIONS, strict=False))
    question = f"Which diagnosis fits this ECG best? {listed}"
    return question, list(lettered_options(question))[number % len(letters)]
