"""The numbers of a run -> the one table at the top: published, floor, baseline, tuned, difference."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from eval.report.cells import LEVEL, difference_cell, value_cell, words
from eval.report.format import MISSING, decimals_of, number, published
from eval.report.metrics import MetricName, name_among
from eval.report.view import Cell, Column, Table, Tone

Row = Mapping[str, Any]

COMPARABLE: Mapping[str, Tone] = {"yes": "good", "partly": "unsure", "no": "muted"}


def top_table(results: Mapping[str, Any]) -> Table:
    """Return reference, baseline, tuned, difference, interval and comparability, one row a metric.

    What was published before tuning stands below what was published after it. The column of floors is
    left out where there are none, and so are those of what was published.
    """
    rows = [row for row in results["table"] if row.get("headline", True)]
    rehearsal = bool(results.get("rehearsal"))
    floors = dict.fromkeys(row["split"] for row in rows if row.get("floor"))
    published_any = any(row["published"] is not None or row["published_baseline"] is not None for row in rows)
    columns: list[tuple[Column, Callable[[Row], Cell]]] = [
        (Column("Metric"), lambda row: metric_cell(row, metrics_beside(row, results["table"]))),
        *(
            [(Column("Reference", number=True, hint="as published, after tuning"), _reference)]
            * published_any
        ),
        *([(_floor_column(list(floors)), _floor)] * bool(floors)),
        (
            Column("Baseline", number=True, hint="the base model, measured before training", note=LEVEL),
            _baseline,
        ),
        (Column("Tuned", number=True, hint="measured after training", note=LEVEL), _tuned),
        (
            Column("Difference", number=True, hint="tuned minus baseline, on the same records", note=LEVEL),
            lambda row: _difference(row, rehearsal=rehearsal),
        ),
        *([(Column("Comparable?", hint="with the reference"), _comparable)] * published_any),
    ]
    return Table(
        "Difference: tuned minus baseline, its interval paired over the same records.",
        tuple(column for column, _ in columns),
        tuple(tuple(cell(row) for _, cell in columns) for row in rows),
        stacked=True,
    )


def metrics_beside(row: Row, table: Sequence[Row]) -> set[str]:
    """Return the metrics that a row's task gives; of every task where the row has none."""
    task = row.get("task")
    return {other["metric"] for other in table if task is None or other.get("task") == task}


def row_name(row: Row, table: Sequence[Row]) -> MetricName:
    """Return how the metric of a row is shown."""
    return name_among(row["metric"], metrics_beside(row, table))


def metric_cell(row: Row, beside: Collection[str]) -> Cell:
    """Return a metric's title, and below it what it was measured on.

    Args:
        row: with metric, split, task and unit.
        beside: the metrics of the same task.
    """
    shown = name_among(row["metric"], beside)
    task = row.get("task")
    where = [row["split"], *([words(task)] if task and task != row["metric"] else [])]
    unit = row.get("unit") or shown.unit
    return Cell(shown.title, sort=shown.title, note=", ".join([*where, *([unit] if unit else [])]))


def _places(row: Row) -> int | None:
    """Return the decimals of a row: those of the tuned value, or else of the baseline."""
    value = row["tuned"] if row["tuned"] is not None else row["baseline"]
    interval = row["interval"] or row.get("baseline_interval") or (None, None)
    return None if value is None else decimals_of(value, *interval)


def _reference(row: Row) -> Cell:
    before = row["published_baseline"]
    note = "" if before is None else f"before tuning {published(before)}"
    return Cell(published(row["published"]), sort=row["published"], note=note)


def _floor_column(splits: Sequence[str]) -> Column:
    """Return the column of floors; it says that the best was looked for where it is judged."""
    hint = "the strongest of the simple answers; which one that is was seen on the judged records themselves"
    return Column("Best floor", number=True, hint=hint, note=f"best on the {' and '.join(splits)} records")


def _floor(row: Row) -> Cell:
    floor = row.get("floor")
    if not floor:
        return Cell(MISSING)
    return Cell(number(floor["value"], _places(row)), sort=floor["value"], note=words(floor["name"]))


def _baseline(row: Row) -> Cell:
    return value_cell(row["baseline"], row.get("baseline_interval"), _places(row))


def _tuned(row: Row) -> Cell:
    if row["tuned"] is None:
        return Cell(MISSING, note=row.get("why_missing") or "", tone="muted")
    return value_cell(row["tuned"], row["interval"], _places(row))


def _difference(row: Row, *, rehearsal: bool) -> Cell:
    interval = row.get("difference_interval")
    narrow = bool(row.get("narrow"))
    return difference_cell(row["metric"], row["difference"], interval, narrow=narrow, rehearsal=rehearsal)


def _comparable(row: Row) -> Cell:
    word = row["comparable"]
    if word is None:
        return Cell(MISSING, note="" if row["published"] is not None else "no published number", tone="muted")
    tone = COMPARABLE.get(word.partition(":")[0], "muted")
    return Cell(word, sort=word, note=row["note"] or "", tone=tone, badge=True)
