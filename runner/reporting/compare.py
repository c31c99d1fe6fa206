"""Several runs on one page: their numbers side by side, each against the first, and what differs between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.report.cells import LEVEL, difference_cell, value_cell
from eval.report.format import MISSING, published
from eval.report.judged import flat
from eval.report.top import metric_cell, metrics_beside
from eval.report.training_plots import compared_pictures
from eval.report.view import Block, Cell, Column, Notice, Page, Pictures, Section, Table, Text, text_cell
from runner.reporting.method_part import methods_section
from runner.reporting.page import NOT_CLINICAL
from runner.reporting.record import RunRecord
from runner.reporting.run_part import training_of

Key = tuple[str, str, str | None]
"""Metric, split, task."""

Changes = Sequence[Mapping[Key, Mapping[str, float | None]]]
"""For each run but the first: metric -> paired difference from the first run, `{"value", "low", "high"}`."""


def compare_page(runs: Sequence[RunRecord], changes: Changes = (), warnings: Sequence[str] = ()) -> Page:
    """Return the page of several runs; differences are from the first one.

    Args:
        runs: at least two.
        changes: in the order of the runs, without the first; what is not in it could not be paired, and
            has no interval. Empty: nothing could.
        warnings: what the reader must know, such as locks that differ.
    """
    names = labels(runs)
    sections = [_results(runs, names, changes), *filter(None, (methods_section(runs, names),))]
    pictures = compared_pictures(dict(zip(names, map(training_of, runs), strict=True)))
    if pictures:
        sections.append(Section("curves", "Training curves", (Pictures(pictures),)))
    sections += [_specs(runs, names), _records(runs, names)]
    rehearsals = [name for name, run in zip(names, runs, strict=True) if run.settings["rehearsal"]]
    notices = [Notice("These results may not be compared as they are.", text, "bad") for text in warnings]
    notices += [
        Notice("Not every task was judged.", f"{name}, {result['name']}: {result['not_judged']}.")
        for name, run in zip(names, runs, strict=True)
        for result in run.tuned
        if "not_judged" in result
    ]
    if rehearsals:
        text = f"{', '.join(rehearsals)}: a tiny random model; its numbers say nothing about a real one."
        notices.append(Notice("Among these are rehearsals.", text))
    return Page(
        title=f"{len(runs)} runs side by side",
        kicker="Comparison",
        summary=f"Differences are from {names[0]}.",
        notices=tuple(notices),
        facts=(),
        sections=tuple(sections),
        footer=NOT_CLINICAL,
    )


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return the name of each run on the page, no two the same.

    Its title; where titles are the same, the run's own name behind it; where that is the same too, its
    place in the comparison.
    """
    titles = [run.settings["title"] for run in runs]
    names = [
        title if titles.count(title) == 1 else f"{title} {run.run[-8:]}"
        for run, title in zip(runs, titles, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)
    ]


def _results(runs: Sequence[RunRecord], names: Sequence[str], changes: Changes) -> Section:
    tables = [run.results()["table"] for run in runs]
    found = [_rows(table) for table in tables]
    beside = {key: metrics_beside(row, table) for table, rows in zip(tables, found, strict=True)
              for key, row in rows.items()}  # fmt: skip
    references = any(row["published"] is not None for rows in found for row in rows.values())
    columns = [Column("Metric")]
    columns += [Column("Reference", number=True)] if references else []
    columns += [Column(name, number=True, note=LEVEL) for name in names]
    columns += [Column(f"{name} \u2212 first", number=True, note=LEVEL) for name in names[1:]]
    rehearsal = any(run.settings["rehearsal"] for run in runs)
    paired = changes or [{} for _ in names[1:]]
    rows = []
    for key, metrics in beside.items():
        first, *others = (table.get(key) for table in found)
        cells = [_metric(key, metrics)]
        cells += [_reference([first, *others])] if references else []
        cells += [_value(row) for row in (first, *others)]
        cells += [
            _change(key, first, row, change.get(key, {}), rehearsal=rehearsal)
            for row, change in zip(others, paired, strict=True)
        ]
        rows.append(tuple(cells))
    caption = (
        f"Tuned models on held-out records. Differences: minus {names[0]}, paired where an interval stands."
    )
    return Section("results", "Results", (Table(caption, tuple(columns), tuple(rows)),))


def _rows(table: Sequence[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    """Return the headline rows of a run's results by metric, split and task."""
    return {(row["metric"], row["split"], row["task"]): row for row in table if row["headline"]}


def _metric(key: Key, beside: Collection[str]) -> Cell:
    metric, split, task = key
    return metric_cell({"metric": metric, "split": split, "task": task}, beside)


def _reference(found: Sequence[Mapping[str, Any] | None]) -> Cell:
    values = dict.fromkeys(row["published"] for row in found if row and row["published"] is not None)
    if len(values) > 1:
        return Cell("differ", note=", ".join(map(published, values)))
    value = next(iter(values), None)
    return Cell(published(value), sort=value)


def _value(row: Mapping[str, Any] | None) -> Cell:
    if row is None or row["tuned"] is None:
        return Cell(MISSING, note="not measured", tone="muted")
    return value_cell(row["tuned"], row["interval"])


def _change(
    key: Key,
    first: Mapping[str, Any] | None,
    other: Mapping[str, Any] | None,
    paired: Mapping[str, float | None],
    *,
    rehearsal: bool,
) -> Cell:
    before, after = (None if row is None else row["tuned"] for row in (first, other))
    if before is None or after is None:
        return Cell(MISSING)
    narrow = any(row is not None and row.get("narrow") for row in (first, other))
    ends = (paired.get("low"), paired.get("high"))
    cell = difference_cell(key[0], after - before, ends, narrow=narrow, rehearsal=rehearsal)
    return cell if cell.note or not key[2] else replace(cell, note="not paired")


def _specs(runs: Sequence[RunRecord], names: Sequence[str]) -> Section:
    """Return the values of the specs that are not the same in all runs."""
    specs = [dict(flat(run.spec)) for run in runs]
    paths = dict.fromkeys(path for spec in specs for path in spec)
    differing = [path for path in paths if len({repr(spec.get(path)) for spec in specs}) > 1]
    if not differing:
        return Section(
            "specs", "What differs between the specs", (Text(("Nothing: the specs are the same.",)),)
        )
    columns = (Column("Key"), *(Column(name, code=True) for name in names))
    rows = tuple((text_cell(path), *(text_cell(spec.get(path)) for spec in specs)) for path in differing)
    blocks: tuple[Block, ...] = (Table("Values that are not the same in all runs.", columns, rows),)
    return Section("specs", "What differs between the specs", blocks)


def _records(runs: Sequence[RunRecord], names: Sequence[str]) -> Section:
    """Return whether the runs learned from, and were judged on, the same records."""
    splits = dict.fromkeys(name for run in runs for name in run.manifest.get("splits", {}))
    columns = (
        Column("Split"),
        *(Column(name, number=True) for name in names),
        Column("The same records?"),
    )
    rows = []
    for split in splits:
        parts = [run.manifest.get("splits", {}).get(split, {}) for run in runs]
        same = len({part.get("sha256") for part in parts}) == 1
        word = Cell("yes" if same else "no", sort=str(same), tone="good" if same else "unsure", badge=True)
        counts = (Cell(f"{p['records']:,}" if p else MISSING, sort=p.get("records")) for p in parts)
        rows.append((text_cell(split), *counts, word))
    return Section(
        "records", "Records", (Table("By the SHA-256 of each split's file.", columns, tuple(rows)),)
    )
