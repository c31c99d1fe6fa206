"""What the image gives -> a table: each headline metric with the record's image, with another one, and the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.report.cells import LEVEL, difference_cell, value_cell
from eval.report.metrics import name_among
from eval.report.view import Block, Cell, Column, Heading, Table, text_cell

Result = Mapping[str, Any]


def image_blocks(sides: Mapping[str, Result], *, rehearsal: bool) -> list[Block]:
    """Return a table for every model whose images were exchanged; nothing where none were."""
    tables = [
        _table(who, result, word, rehearsal=rehearsal)
        for who, result in sides.items()
        for word in result.get("image", ())
    ]
    return [Heading("Does the model use the image?"), *tables] if tables else []


def _table(who: str, result: Result, word: str, *, rehearsal: bool) -> Table:
    one = result["image"][word]
    columns = (
        Column("Metric"),
        Column("Its own image", number=True, note=LEVEL),
        Column(word.capitalize(), number=True, note=LEVEL, hint=one["what"]),
        Column("Difference", number=True, note=LEVEL, hint="own image minus the other, paired"),
        Column("Verdict"),
    )
    rows = tuple(_row(result, one, name, rehearsal=rehearsal) for name in one["verdicts"])
    return Table(f"{who.capitalize()}, the same records with {one['what']}.", columns, rows)


def _row(result: Result, one: Mapping[str, Any], name: str, *, rehearsal: bool) -> tuple[Cell, ...]:
    shown, change = name_among(name, result["metrics"]), one["differences"][name]
    difference = difference_cell(
        name,
        change["value"],
        (change["low"], change["high"]),
        narrow=bool(result.get("narrow")),
        rehearsal=rehearsal,
    )
    return (
        Cell(shown.title, sort=shown.title, note=shown.unit),
        _value(result["metrics"].get(name)),
        _value(one["metrics"].get(name)),
        difference,
        text_cell(one["verdicts"][name]),
    )


def _value(value: Mapping[str, float | None] | None) -> Cell:
    if value is None:
        return value_cell(None, None)
    low, high = value["low"], value["high"]
    return value_cell(value["value"], None if low is None or high is None else (low, high))
