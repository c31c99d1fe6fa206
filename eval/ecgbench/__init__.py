"""The sets of ECGBench by name: what is asked in each, and what its answers are judged by.

Source:
    Liu et al. 2024, Teach Multimodal LLMs to Comprehend Electrocardiographic Images, arXiv 2410.19008; counts and
    ways of scoring as in the published evaluation (AIMedLab/PULSE, `evaluation/evaluate_ecgbench.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from eval.judge.address import STAND_IN

Kind = Literal["labels", "one_of", "all_of", "report"]


@dataclass(frozen=True)
class BenchSet:
    """One set."""

    title: str
    kind: Kind
    published: int
    """Items, as published."""
    in_domain: bool
    """Whether PULSE was tuned on its source."""
    label_set: str | None = None
    """Of `eval.label_sets`, for the kind `labels`."""
    pulse_labels: tuple[str, ...] = ()
    """What the published scorer looks for, as a part of the text in exactly this case."""
    options: int | None = None
    """Answers to choose from, for the kind `one_of`."""
    pulse_first_letter: bool = False
    """Whether the published program compares a letter with the first one of the reference ("A. Sinus rhythm"), and not
    with the whole reference."""
    rubric: str | None = None
    """Of `eval.judge.rubrics`, by which the published program has answers graded, for the kind `report`."""


SETS: Mapping[str, BenchSet] = MappingProxyType(
    {
        "ptbxl_super": BenchSet(
            "PTB-XL Super", "labels", 2082, True, "superclasses", ("NORM", "MI", "STTC", "CD", "HYP")
        ),
        "ptbxl_report": BenchSet("PTB-XL Report", "report", 500, True, rubric="pulse_report_10"),
        "code15": BenchSet(
            "CODE-15 %", "labels", 1400, True, "code15", ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
        ),
        "ecg_qa": BenchSet("ECG-QA", "all_of", 1317, True),
        "cpsc": BenchSet(
            "CPSC 2018",
            "labels",
            2061,
            False,
            "cpsc2018",
            ("NORM", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE"),
        ),
        "csn": BenchSet("CSN", "one_of", 1611, False, options=8, pulse_first_letter=True),
        "g12": BenchSet("G12EC", "one_of", 2026, False, options=8, pulse_first_letter=True),
        "mmmu": BenchSet("MMMU-ECG", "one_of", 200, False, options=4),
        "arena": BenchSet("ECG Arena", "report", 50, False, rubric="pulse_arena_10"),
    }
)
"""Name in the spec -> set."""


def grading_of(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return who grades a task's answers and how, with the set's `rubric`; None where nobody does.

    Invented items are graded by the stand-in on this machine, with no key and no shared cache.
    """
    given = task["judge"]
    if given is None:
        return None
    nobody = {"endpoint": STAND_IN, "reply_format": "json_schema", "key_variable": None, "cache": None}
    return {**given, **(nobody if task["items"] == "invented" else {}), "rubric": SETS[task["set"]].rubric}
