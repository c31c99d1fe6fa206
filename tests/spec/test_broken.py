"""The corpus of broken specs: each is refused with the expected code, line, path and suggestion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.spec.codes import CODES
from runner.spec.kinds import every_rule
from runner.spec.problems import Problem, render

HERE = Path(__file__).parent
OF_LLM: list[dict[str, Any]] = yaml.safe_load((HERE / "broken.yaml").read_text(encoding="utf-8"))
OF_OTHERS = [
    {**case, "kind": kind}
    for kind in ("vlm", "ecg")
    for case in yaml.safe_load((HERE / f"broken_{kind}.yaml").read_text(encoding="utf-8"))
]
CASES = [*OF_LLM, *OF_OTHERS]
BY_ID = {case["id"]: case for case in CASES}
PINNED = (
    "quoted-number",
    "schedule-misspelt",
    "several-at-once",
    "foreign-accumulation",
    "key-of-another-variant",
    "missing-by",
    "R003-devices",
    "R006-unit",
    "extends-in-a-circle",
    "set-below-a-list",
    "env-secret",
    "env-in-modules",
    "unclosed-quote",
    "placeholder-in-braces",
    "sweep-bad-value",
    "axolotl-learning-rte",
    "source-misspelt-and-more",
    "R071-divisor",
    "ecg-foreign-zo-eps",
)
Broken = Callable[[Mapping[str, Any]], tuple[Problem, ...]]


def test_the_bases_are_right(
    base_text: str, vlm_text: str, ecg_text: str, problems_of_text: Callable[[str], tuple[Problem, ...]]
) -> None:
    assert problems_of_text(base_text) == ()
    assert problems_of_text(vlm_text) == ()
    assert problems_of_text(ecg_text) == ()


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_each_is_refused_at_its_place(case: dict[str, Any], problems_of_case: Broken) -> None:
    problems = problems_of_case(case)
    expected = [(case["code"], case["line"], case["path"]), *(tuple(more) for more in case.get("more", ()))]
    assert [(p.code, p.line, p.path) for p in problems] == expected, render(problems)
    first = problems[0]
    assert first.file == case.get("in", "spec.yaml")
    assert case["says"] in first.message or case["says"] in first.hint, first.text()


def test_there_are_enough_and_each_once() -> None:
    assert len(CASES) >= 100
    assert [name for name, count in Counter(case["id"] for case in CASES).items() if count > 1] == []


def test_every_rule_is_broken_by_one() -> None:
    assert {rule.code for rule in every_rule()} - {case["code"] for case in CASES} == set()


def test_every_code_is_given_by_one() -> None:
    elsewhere = {
        "file",
        "too-many",
    }  # a folder, a folder's config, 3,000 keys: test_load.py, tests/converters
    assert CODES.keys() - {case["code"] for case in CASES} == elsewhere


def test_every_code_that_is_given_is_explained() -> None:
    assert {case["code"] for case in CASES} - CODES.keys() == set()


@pytest.mark.parametrize("name", PINNED)
def test_the_text_is_the_golden_one(
    name: str, problems_of_case: Broken, golden: Callable[[str, str], None]
) -> None:
    golden(f"spec/{name}.txt", render(problems_of_case(BY_ID[name])) + "\n")


def test_no_message_repeats_itself_or_ends_with_a_stop(problems_of_case: Broken) -> None:
    """A message is a part of a sentence; the hint says what to do and not the same again."""
    for case in CASES:
        for problem in problems_of_case(case):
            assert problem.message not in problem.hint, problem.text()
            assert "\n" not in problem.message + problem.hint, problem.text()
            assert not problem.message.endswith("."), problem.text()
