"""What the tables have in common: cells to numbers, a decoded row to a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from converters.records.record import BadRecordError, Dropped, Record
from runner.spec.prompt import fields_of, filled
from runner.spec.sources import TabularSource

MISSING = ("", "?")
"""Cells that hold nothing."""
UNKNOWN = "unknown"
"""What a prompt says in place of a missing value."""
YES_NO: Mapping[int, str] = {0: "no", 1: "yes"}
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
LARGEST = 1e9
"""No value of a check-up is as large; a longer number is a slip, and would be infinite somewhere else."""

Options = TypeVar("Options", bound=TabularSource)


@dataclass(frozen=True)
class Row(Generic[Options]):
    """One row of a table, as text."""

    file: str
    """The part that it is counted under."""
    line: int
    """Counts from 1."""
    cells: Mapping[str, str]
    """Column -> cell."""
    options: Options

    @property
    def place(self) -> str:
        """`file:line`, as editors open it."""
        return f"{self.file}:{self.line}"

    @property
    def part(self) -> str:
        """The file."""
        return self.file


@dataclass(frozen=True)
class Patient:
    """One row, decoded."""

    id: str
    words: Mapping[str, str | None]
    """Name in the prompt -> value in words; None where it is missing."""
    features: Mapping[str, float | None]
    """Column -> number; None where it is missing."""
    attributes: Mapping[str, str]
    present: bool | None
    """Whether the disease is there; None where the row does not say."""


def record_of(patient: Patient, options: TabularSource, source: str) -> Record:
    """Return the record of one patient, who is a group of his or her own.

    Raises:
        Dropped: the label is missing, or with `missing: drop` a value that the prompt names.
    """
    if patient.present is None:
        raise Dropped("no label", patient.id)
    lacking = [name for name in fields_of(options.prompt) if patient.words[name] is None]
    if lacking and options.missing == "drop":
        raise Dropped(f"no value of {lacking[0]}", patient.id)
    question = filled(options.prompt, {name: text or UNKNOWN for name, text in patient.words.items()})
    answer = options.answers.present if patient.present else options.answers.absent
    return {
        "id": patient.id,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "group": patient.id,
        "question": question,
        "focus": None,
        "source": source,
        "label": answer,
        "features": dict(patient.features),
        "attributes": dict(patient.attributes),
    }


def number_in(cells: Mapping[str, str], column: str) -> float | None:
    """Return the number in a cell, None where it holds nothing.

    Raises:
        BadRecordError: anything else, or a number that no measurement gives.
    """
    text = cells[column].strip()
    if text in MISSING:
        return None
    if not NUMBER.fullmatch(text):
        raise BadRecordError(f"{column}: expected a number, got {text!r:.60}")
    value = float(text)
    if abs(value) > LARGEST:
        raise BadRecordError(f"{column}: {text!r:.60} is above {LARGEST:,.0f}, which nothing measured is")
    return value


def code_in(cells: Mapping[str, str], column: str, codes: Mapping[int, str]) -> int | None:
    """Return the code in a cell, None where it holds nothing.

    Raises:
        BadRecordError: a number that is none of `codes`.
    """
    value = number_in(cells, column)
    if value is not None and value not in codes:
        known = ", ".join(f"{code} {word}" for code, word in codes.items())
        raise BadRecordError(f"{column}: {cells[column].strip()!r:.60} is none of the codes {known}")
    return None if value is None else int(value)


def plain(value: float | None) -> str | None:
    """Return a number as people write it.

    >>> plain(62.0), plain(2.3), plain(None)
    ('62', '2.3', None)
    """
    return None if value is None else f"{value:g}"


def age_band(years: float | None) -> str:
    """Return the ten years that an age falls into, for sub-groups.

    >>> age_band(50), age_band(None)
    ('50 to 59', 'unknown')
    """
    if years is None:
        return UNKNOWN
    low = int(years) // 10 * 10
    return f"{low} to {low + 9}"
