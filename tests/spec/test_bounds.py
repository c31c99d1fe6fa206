"""Every number of a spec has bounds: a slip of the keyboard is refused before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest

from runner.spec.fields import leaves
from runner.spec.kinds import KINDS
from runner.spec.problems import Problem

Check = Callable[..., tuple[Problem, ...]]


def numeric(annotation: Any) -> list[Any]:
    """Return the parts of an annotation that take a number, each with the constraints that stand at it."""
    if annotation in (int, float):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    found = [
        part for inner in get_args(annotation) if not hasattr(inner, "metadata") for part in numeric(inner)
    ]
    return [annotation] if found and hasattr(annotation, "__metadata__") else found


def bounded(part: Any, field: Any) -> bool:
    marks = [*field.metadata]
    for item in getattr(part, "__metadata__", ()):
        marks += getattr(item, "metadata", [item])
    above = [
        getattr(mark, name)
        for mark in marks
        for name in ("le", "lt")
        if getattr(mark, name, None) is not None
    ]
    return bool(above) and all(abs(bound) <= 1e12 for bound in above)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_an_upper_bound(kind: str) -> None:
    numbers = [(leaf, part) for leaf in leaves(KINDS[kind]) for part in numeric(leaf.field.annotation)]
    assert len(numbers) > 40
    assert [leaf.path for leaf, part in numbers if not bounded(part, leaf.field)] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.learning_rate=2e9", "expected a number of at most 10, got 2000000000.0"),
        ("train.epochs=" + "9" * 199, "expected a number of at most 100,000, got a number of "),
        ("model.context=" + "9" * 199, "expected a number of at most 10,000,000, got a number of 199 digits"),
        ("train.seed=4294967296", "expected a number of at most 4,294,967,295, got 4294967296"),
        (
            "train.batch={micro: 4, effective: 1e3}",
            "expected a whole number of records, got the number 1000.0",
        ),
        (
            "reference.metrics[0].value=-1e300",
            "expected a number of at least -1,000,000,000,000, got -1e+300",
        ),
        ("method.rank=.inf", "expected a whole number"),
        ("train.learning_rate=.inf", "expected a finite number"),
        ("sweep={seeds: [1, 99999999999]}", "at most 4,294,967,295"),
    ],
)
def test_a_number_out_of_all_reason(change: str, says: str, base_text: str, problems_of_text: Check) -> None:
    problems = problems_of_text(base_text, sets=[change])
    assert any(says in problem.message for problem in problems), [problem.text() for problem in problems]
    assert all(len(problem.message) < 200 for problem in problems)


def test_the_reason_is_said(base_text: str, problems_of_text: Check) -> None:
    (problem,) = problems_of_text(base_text, sets=["train.learning_rate=2e9"])
    assert problem.hint.startswith("Highest learning rate. A larger one is a slip")
