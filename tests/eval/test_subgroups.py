from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from eval.bootstrap import Interval
from eval.subgroups import NOT_RECORDED, age_band, subgroups

SEX = ["female", "male", None, "female", "", "male", "female"]
GROUPS = ["p1", "p2", "p3", "p1", "p4", "p5", "p6"]
RIGHT = np.array([1, 0, 1, 0, 1, 1, 1])


def accuracy(rows: np.ndarray) -> Mapping[str, Interval]:
    return {"accuracy": Interval(float(RIGHT[rows].mean()), np.nan, np.nan)}


def test_parts_are_judged_by_themselves() -> None:
    parts = subgroups({"sex": SEX, "site": ["A"] * 7}, GROUPS, accuracy, floor=2)
    assert [(p.attribute, p.value, p.n_records, p.n_groups) for p in parts] == [
        ("sex", "female", 3, 2),
        ("sex", "male", 2, 2),
        ("sex", NOT_RECORDED, 2, 2),
        ("site", "A", 7, 6),
    ]
    values = [p.metrics["accuracy"].value for p in parts if p.metrics]
    assert values == pytest.approx([2 / 3, 1 / 2, 1, 5 / 7])


def test_a_part_below_the_floor_has_its_size_and_no_numbers() -> None:
    female, male, _ = subgroups({"sex": SEX}, GROUPS, accuracy, floor=3)
    assert female.metrics is not None
    assert (male.n_records, male.metrics) == (2, None)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="7 groups, 2 sex"):
        subgroups({"sex": SEX[:2]}, GROUPS, accuracy)


@pytest.mark.parametrize(
    ("age_years", "band"),
    [
        (0, "0-17"),
        (17.9, "0-17"),
        (18, "18-39"),
        (40, "40-64"),
        (79.9, "65-79"),
        (80, "80+"),
        (300, "80+"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_ages_have_bands(age_years: float | None, band: str | None) -> None:
    assert age_band(age_years) == band


@pytest.mark.parametrize(("age", "edges"), [(-1, [18]), (20, [40, 18]), (20, []), (20, [18, 18])])
def test_no_age_and_no_edges(age: float, edges: list[float]) -> None:
    with pytest.raises(ValueError, match=r"an age of -1 years|expected ascending edges"):
        age_band(age, edges)
