"""The same metrics by sex, age band or site, for a good mean may hide a bad part.

A part with fewer records than the floor is shown with its size and without numbers, for they would
say little and might point at people. What is not recorded is a part of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bootstrap import IntArray, Interval
from eval.checks import check_lengths

NOT_RECORDED = "not recorded"
FLOOR = 30
"""Records below which a part gets no numbers."""
AGE_EDGES = (18.0, 40.0, 65.0, 80.0)
"""Lower edges of the age bands, in years; the first band is below the first edge."""


@dataclass(frozen=True)
class Part:
    """One row: the records that have one value of one attribute."""

    attribute: str
    value: str
    n_records: int
    n_groups: int
    metrics: Mapping[str, Interval] | None
    """None where the part is below the floor."""


def subgroups(
    attributes: Mapping[str, Sequence[str | None]],
    groups: Sequence[str],
    judge: Callable[[IntArray], Mapping[str, Interval]],
    *,
    floor: int = FLOOR,
) -> tuple[Part, ...]:
    """Judge each part of the records by itself.

    Args:
        attributes: attribute -> its value for each record, None (or empty) where it is not recorded.
        groups: the group of each record.
        judge: takes the numbers of a part's records, returns metrics with intervals.
        floor: records below which `judge` is not asked.

    Returns:
        Parts by attribute as given, then by value; "not recorded" is last.

    Raises:
        ValueError: no records, or lengths differ.
    """
    parts: list[Part] = []
    for attribute, values in attributes.items():
        check_lengths(**{"groups": groups, attribute: values})
        plain = np.array([value or NOT_RECORDED for value in values])
        for value in sorted(set(plain.tolist()), key=_last_if_not_recorded):
            rows = np.flatnonzero(plain == value)
            metrics = judge(rows) if len(rows) >= floor else None
            members = {groups[row] for row in rows}
            parts.append(Part(attribute, value, len(rows), len(members), metrics))
    return tuple(parts)


def age_band(age_years: float | None, edges: Sequence[float] = AGE_EDGES) -> str | None:
    """Return the band of an age; None where it is not known.

    The oldest band has no upper end, so that ages which a source hides (PTB-XL writes 300 for "over
    89") fall where they belong.

    Raises:
        ValueError: the age is negative, or the edges do not ascend.

    >>> [age_band(age) for age in (17, 40, 64.9, 300, None)]
    ['0-17', '40-64', '40-64', '80+', None]
    """
    if list(edges) != sorted(set(edges)) or not edges:
        raise ValueError(f"expected ascending edges of age bands, got {list(edges)}")
    if age_years is None or np.isnan(age_years):
        return None
    if age_years < 0:
        raise ValueError(f"an age of {age_years} years")
    ends = [0.0, *edges]
    place = sum(age_years >= edge for edge in edges)
    if place == len(edges):
        return f"{ends[-1]:g}+"
    return f"{ends[place]:g}-{ends[place + 1] - 1:g}"


def _last_if_not_recorded(value: str) -> tuple[bool, str]:
    return value == NOT_RECORDED, value
