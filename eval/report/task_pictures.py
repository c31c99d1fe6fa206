"""The stored tables of a task -> its pictures, the same numbers folded away, and what is too small for numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.bootstrap import TOO_NARROW
from eval.report import class_plots
from eval.report.cells import LEVEL, heading, value_cell, words
from eval.report.class_plots import RawTable
from eval.report.format import number
from eval.report.metrics import BY_LIKELIHOOD, CLASSES, OF_WRITTEN, name_among
from eval.report.view import (
    Block,
    Cell,
    Column,
    Details,
    Picture,
    Pictures,
    Table,
    Text,
    count_cell,
    text_cell,
)

Result = Mapping[str, Any]
Sides = Mapping[str, Result]
"""Who was judged -> result."""

SPECIAL = ("reliability", "confusion", "per_class", "subgroups")
"""Tables that are drawn as well."""
# What a table's name says beside its kind -> what the title adds, and the sentence of the caption.
VARIANTS: Mapping[str, tuple[str, str]] = {
    "generated": (OF_WRITTEN, "Of the written answers."),
    "scaled": (
        "with a fitted temperature",
        "The same scores after temperature scaling; the temperature was fitted on the validation records.",
    ),
}
LIKELIHOOD = (BY_LIKELIHOOD, "Of the likeliest label, whatever the model would write.")


def drawn(key: str, sides: Sides) -> list[Block]:
    """Return the pictures of a task, the sub-groups that are too small, and the numbers folded away.

    Args:
        key: names the pictures' files.
        sides: who was judged -> result.
    """
    found: list[Picture] = []
    numbers: list[Block] = []
    every = [name for result in sides.values() for name in result.get("tables", {})]
    for name in dict.fromkeys(every):
        tables, kind = _tables(name, sides), special(name)
        if not tables or kind is None:
            continue
        variant = _variant(name, kind, every)
        found += [_told(picture, variant) for picture in _pictures(f"{key}-{name}", kind, tables, sides)]
        title = ", ".join(filter(None, (heading(kind), variant[0])))
        numbers += [raw_table(f"{title}, {who}", table) for who, table in tables.items()]
    blocks: list[Block] = [Pictures(tuple(found))] if found else []
    blocks += _too_small(sides)
    return (
        [*blocks, Details("The numbers of these pictures", tuple(numbers), printed=False)]
        if numbers
        else blocks
    )


def special(name: str) -> str | None:
    """Return which kind of picture a table is drawn as: `generated_confusion` as a confusion."""
    return next((kind for kind in SPECIAL if kind in name), None)


def _variant(name: str, kind: str, every: list[str]) -> tuple[str, str]:
    """Return what a table's name says beside its kind, for its title and as a sentence."""
    more = name.replace(kind, "").strip("_")
    if not more:
        return LIKELIHOOD if f"generated_{name}" in every else ("", "")
    return VARIANTS.get(more, (words(more), f"Shown for: {words(more)}."))


def _told(picture: Picture, variant: tuple[str, str]) -> Picture:
    title, sentence = variant
    if not title:
        return picture
    return replace(picture, title=f"{picture.title}, {title}", caption=f"{sentence} {picture.caption}")


def _pictures(name: str, kind: str, tables: Mapping[str, RawTable], sides: Sides) -> list[Picture]:
    """Return the pictures of one kind of table."""
    made: list[Picture | None] = []
    columns = next(iter(tables.values()))["columns"]
    if kind == "reliability":
        made = [class_plots.reliability(name, tables)]
    elif kind == "confusion":
        made = [class_plots.confusion(name, tables)]
    elif kind == "per_class":
        # Bars are drawn of what has intervals; f1 alone where nothing has.
        shown = [metric for metric in CLASSES if f"{metric}_low" in columns] or ["f1"]
        made = [class_plots.per_class(f"{name}-{m}", tables, m, CLASSES[m]) for m in shown]
    else:
        rows = [row for table in tables.values() for row in class_plots.rows_of(table)]
        metrics = dict.fromkeys(row["metric"] for row in rows if row["value_"] is not None)
        beside = {metric for result in sides.values() for metric in result["metrics"]}
        titles = {m: name_among(m, beside).title for m in metrics}
        made = [class_plots.subgroups(f"{name}-{m}", tables, m, title) for m, title in titles.items()]
    return [picture for picture in made if picture is not None]


def _too_small(sides: Sides) -> list[Block]:
    """Return lines that name the sub-groups which have their size alone, and those with intervals that are too narrow."""
    found: dict[str, str] = {}
    narrow: dict[str, None] = {}
    for name in dict.fromkeys(name for result in sides.values() for name in result.get("tables", {})):
        if special(name) != "subgroups":
            continue
        for table in _tables(name, sides).values():
            for row in class_plots.rows_of(table):
                part = f"{words(row['attribute'])} {row['value']} ({row['records']:,})"
                if row["value_"] is None and str(row["metric"]).startswith("fewer than "):
                    found[part] = row["metric"]
                elif str(row.get("warning")).startswith(TOO_NARROW):
                    narrow[part] = None
    why = ", ".join(dict.fromkeys(found.values()))
    told = [f"Sub-groups too small to be judged, {why}: {', '.join(found)}."] if found else []
    if narrow:
        told.append(f"Too few groups, or too few of a class, to trust these intervals: {', '.join(narrow)}.")
    return [Text((sentence,)) for sentence in told]


def _tables(name: str, sides: Sides) -> dict[str, RawTable]:
    found = {who: result.get("tables", {}).get(name) for who, result in sides.items()}
    return {who: table for who, table in found.items() if table and table["rows"]}


def other_tables(sides: Sides) -> list[Table]:
    """Return the tables that no picture is drawn of, as they are stored."""
    return [
        raw_table(f"{heading(name)}, {who}", table)
        for who, result in sides.items()
        for name, table in result.get("tables", {}).items()
        if special(name) is None and table["rows"]
    ]


def raw_table(title: str, table: RawTable) -> Table:
    """Return a stored table: numbers on the right, in a column's own precision, intervals below their values."""
    names = [str(name) for name in table["columns"]]
    place = {name: n for n, name in enumerate(names)}
    ends = {
        name: (place[low], place[high])
        for name in names
        if {low := f"{name}_low", high := f"{name}_high"} <= set(place)
    }
    shown = [
        name for name in names if name.removesuffix("_low").removesuffix("_high") not in ends or name in ends
    ]
    columns = tuple(
        Column(
            words(name).rstrip(),
            number=all(_is_number(row[place[name]]) or row[place[name]] is None for row in table["rows"]),
            note=LEVEL if name in ends else "",
        )
        for name in shown
    )
    rows = tuple(
        tuple(
            _with_ends(row, place[name], ends[name]) if name in ends else _raw_cell(row[place[name]])
            for name in shown
        )
        for row in table["rows"]
    )
    return Table(title, columns, rows)


def _with_ends(row: Sequence[Any], value: int, ends: tuple[int, int]) -> Cell:
    low, high = (row[end] for end in ends)
    return value_cell(row[value], None if low is None or high is None else (low, high))


def _is_number(value: Any) -> bool:
    """Return whether a value is a number to a reader, to whom True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _raw_cell(value: Any) -> Cell:
    if not _is_number(value):
        return text_cell(value)
    return count_cell(value) if isinstance(value, int) else Cell(number(value), sort=value)
