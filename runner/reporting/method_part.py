"""The table of methods: what each reached, and what it cost in memory, time and trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.cells import LEVEL, difference_cell, narrow_sentence, value_cell
from eval.report.format import MISSING, number
from eval.report.metrics import name_among
from eval.report.view import Block, Cell, Column, Section, Table, count_cell
from runner.methods import Cost, MethodRow
from runner.reporting.record import RunRecord

Json = Mapping[str, Any]

COSTS = (
    "Memory: the highest allocated, within training steps alone and of the whole run with loading and evaluations; on "
    "a CPU the resident memory of the process, its libraries included. Time: median of the optimiser steps, on this "
    "machine. Compare memory and time only of one machine."
)


def method_section(record: RunRecord) -> Section | None:
    """Return a run's method beside the model as it started, and its teacher; None for a run without such a table."""
    rows = record.methods()
    if not rows:
        return None
    blocks: list[Block] = [method_table(rows)]
    beside = teacher_table(record)
    return Section("method", "The method and its cost", (*blocks, *([beside] if beside else [])), _lead(rows))


def tuned_rows(runs: Sequence[RunRecord]) -> list[MethodRow]:
    """Return the tuned model of each run; none where one is no ECG run."""
    rows = [row for run in runs for row in run.methods()[-1:]]
    return rows if len(rows) == len(runs) else []


def methods_section(runs: Sequence[RunRecord], names: Sequence[str]) -> Section | None:
    """Return the tuned models of several runs, one row each; None where one is no ECG run."""
    rows = tuned_rows(runs)
    return Section("methods", "Methods", (method_table(rows, names),), _lead(rows)) if rows else None


def _lead(rows: Sequence[MethodRow]) -> str:
    said = dict.fromkeys(row.narrow for row in rows if row.narrow)
    return " ".join([COSTS, *(f"Intervals: {narrow_sentence(reason)}" for reason in said)])


def method_table(rows: Sequence[MethodRow], names: Sequence[str] = ()) -> Table:
    """Return a row for each model.

    Args:
        rows: the models.
        names: of their runs, shown below the method; without them, which model it is.
    """
    columns = (
        Column("Method"),
        *(Column(title, number=True, note=LEVEL) for title in score_titles(rows)),
        Column("Memory, training", number=True, note="GiB, peak"),
        Column("Memory, whole run", number=True, note="GiB, peak"),
        Column("Time per step", number=True, note="s, median"),
        Column("Trained weights", number=True),
    )
    shown = tuple(
        (
            Cell(row.method, sort=row.method, note=name),
            *(_score(row.scores.get(key)) for key in ("macro_auc", "average_precision", "f_beta")),
            *_costs(row.cost),
        )
        for row, name in zip(rows, names or [row.who for row in rows], strict=True)
    )
    return Table(f"{_where(rows)}", columns, shown)


def score_titles(rows: Sequence[MethodRow]) -> tuple[str, str, str]:
    """Return AUC, MAP and the F-beta that was judged."""
    betas = {row.beta for row in rows if row.beta is not None}
    return "AUC", "MAP", f"F{betas.pop():g}" if len(betas) == 1 else "F-beta"


def _where(rows: Sequence[MethodRow]) -> str:
    splits = " and ".join(dict.fromkeys(row.split for row in rows if row.split))
    classes = dict.fromkeys(row.classes for row in rows if row.classes)
    over = ", ".join(f"{some} of {every}" if some < every else f"all {every}" for some, every in classes)
    return f"Macro means over {over} classes of the {splits} records." if splits else "No model was judged."


def _score(value: Mapping[str, float | None] | None) -> Cell:
    if value is None:
        return Cell(MISSING)
    low, high = value["low"], value["high"]
    return value_cell(value["value"], None if low is None or high is None else (low, high))


def _costs(cost: Cost) -> tuple[Cell, ...]:
    of_all = "" if cost.total is None else f"of {cost.total:,}"
    return (
        _gib(cost.memory_training_gib, cost.reserved_training_gib),
        _gib(cost.memory_run_gib, cost.reserved_run_gib),
        Cell(number(cost.step_s), sort=cost.step_s),
        count_cell(cost.trainable, of_all),
    )


def _gib(allocated: float | None, reserved: float | None) -> Cell:
    note = "" if reserved is None else f"{number(reserved)} reserved"
    return Cell(number(allocated), sort=allocated, note=note)


def method_text(rows: Sequence[MethodRow], names: Sequence[str] = ()) -> tuple[list[list[str]], list[str]]:
    """Return the same table for a terminal: rows and header."""
    made = method_table(rows, names)
    header = [f"{column.name}, {column.note}" if column.note else column.name for column in made.columns]
    cells = [[f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row] for row in made.rows]
    return [[text.replace("\u00a0", " ") for text in row] for row in cells], header


# ---------------------------------------------------------------------------------- teacher and student


def teacher_table(record: RunRecord) -> Table | None:
    """Return teacher, student before and after, and how far the student is from the teacher; None without one."""
    if not record.teacher:
        return None
    sides = [_by_task(results) for results in (record.teacher, record.baseline, record.tuned)]
    rows = [
        _beside(name, [side.get(task) for side in sides], rehearsal=record.settings["rehearsal"])
        for task, teacher in sides[0].items()
        for name in teacher["headline"]
    ]
    columns = (
        Column("Metric"),
        Column("Teacher", number=True, note=LEVEL),
        Column("Student before", number=True, note=LEVEL),
        Column("Student after", number=True, note=LEVEL),
        Column("After \u2212 teacher", number=True, hint="paired over the same records", note=LEVEL),
    )
    why = dict.fromkeys(result["not_paired"] for result in record.teacher if "not_paired" in result)
    said = "".join(f" Not paired: {reason}." for reason in why)
    caption = f"The teacher, judged on the student's records; it sees all leads.{said}"
    return Table(caption, columns, tuple(rows))


def _by_task(results: Sequence[Json]) -> dict[tuple[str, str], Json]:
    return {(result["name"], result["split"]): result for result in results}


def _beside(name: str, sides: Sequence[Json | None], *, rehearsal: bool) -> tuple[Cell, ...]:
    teacher, _, after = sides
    cells = [_score(side["metrics"].get(name)) if side else Cell(MISSING) for side in sides]
    change: Json = (teacher or {}).get("student_minus", {}).get(name, {})
    narrow = any(side and side.get("narrow") for side in (teacher, after))
    ends = (change.get("low"), change.get("high"))
    apart = difference_cell(name, change.get("value"), ends, narrow=narrow, rehearsal=rehearsal)
    shown = name_among(name, (teacher or {}).get("metrics", {}))
    return (Cell(shown.title, sort=shown.title, note=shown.unit), *cells, apart)
