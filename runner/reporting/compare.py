"""Several runs on one page: their numbers side by side, each against the first, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.format import MISSING, decimals_of, decimals_of_change, number, published, span
from eval.report.judged import LEVEL, TONES, flat
from eval.report.metrics import metric_name, verdict
from eval.report.training_plots import compared_pictures
from eval.report.view import Block, Cell, Column, Notice, Page, Pictures, Section, Table, Text, text_cell
from runner.reporting.page import NOT_CLINICAL
from runner.reporting.record import RunRecord
from runner.reporting.run_part import training_of

Key = tuple[str, str, str | None]
"""Metric, split, task."""

Changes = Mapping[str, Mapping[Key, Mapping[str, float | None]]]
"""Run -> metric -> paired difference from the first run, `{"value", "low", "high"}`."""


def compare_page(runs: Sequence[RunRecord], changes: Changes, warnings: Sequence[str] = ()) -> Page:
    """Return the page of several runs; differences are from the first one.

    Args:
        runs: at least two.
        changes: by the runs' `run`; what is not in it could not be paired, and has no interval.
        warnings: what the reader must know, such as locks that differ.
    """
    names = labels(runs)
    sections = [_results(runs, names, changes)]
    pictures = compared_pictures({names[r.run]: training_of(r) for r in runs})
    if pictures:
        sections.append(Section("curves", "Training curves", (Pictures(pictures),)))
    sections += [_specs(runs, names), _records(runs, names)]
    rehearsals = [names[r.run] for r in runs if r.settings["rehearsal"]]
    notices = [Notice("These results may not be compared as they are.", text, "bad") for text in warnings]
    if rehearsals:
        text = f"{', '.join(rehearsals)}: a tiny random model; its numbers say nothing about a real one."
        notices.append(Notice("Among these are rehearsals.", text))
    return Page(
        title=f"{len(runs)} runs side by side",
        kicker="Comparison",
        summary=f"Differences are from {names[runs[0].run]}.",
        notices=tuple(notices),
        facts=(),
        sections=tuple(sections),
        footer=NOT_CLINICAL,
    )


def labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the name of each run on the page: its title, with the run where titles are the same."""
    titles = [run.settings["title"] for run in runs]
    return {
        run.run: title if titles.count(title) == 1 else f"{title} {run.run[-8:]}"
        for run, title in zip(runs, titles, strict=True)
    }


def _results(runs: Sequence[RunRecord], names: Mapping[str, str], changes: Changes) -> Section:
    tables = {run.run: _rows(run) for run in runs}
    keys = dict.fromkeys(key for rows in tables.values() for key in rows)
    references = any(row["published"] is not None for rows in tables.values() for row in rows.values())
    first, *others = runs
    columns = [Column("Metric")]
    columns += [Column("Reference", number=True)] if references else []
    columns += [Column(names[run.run], number=True, note=LEVEL) for run in runs]
    columns += [Column(f"{names[run.run]} \u2212 first", number=True, note=LEVEL) for run in others]
    rows = []
    for key in keys:
        found = [tables[run.run].get(key) for run in runs]
        cells = [_metric(key)]
        cells += [_reference(found)] if references else []
        cells += [_value(row) for row in found]
        cells += [
            _change(key, found[0], tables[run.run].get(key), changes.get(run.run, {}).get(key, {}))
            for run in others
        ]
        rows.append(tuple(cells))
    caption = f"Tuned models on held-out records. Differences: minus {names[first.run]}, paired where an interval stands."
    return Section("results", "Results", (Table(caption, tuple(columns), tuple(rows)),))


def _rows(run: RunRecord) -> dict[Key, Mapping[str, Any]]:
    """Return a run's headline rows by metric, split and task."""
    return {
        (row["metric"], row["split"], row["task"]): row for row in run.results()["table"] if row["headline"]
    }


def _metric(key: Key) -> Cell:
    metric, split, task = key
    shown = metric_name(metric)
    parts = [
        split,
        *([task.replace("_", " ")] if task and task != metric else []),
        *([shown.unit] if shown.unit else []),
    ]
    return Cell(shown.title, sort=shown.title, note=", ".join(parts))


def _reference(found: Sequence[Mapping[str, Any] | None]) -> Cell:
    values = dict.fromkeys(row["published"] for row in found if row and row["published"] is not None)
    if len(values) > 1:
        return Cell("differ", note=", ".join(map(published, values)))
    value = next(iter(values), None)
    return Cell(published(value), sort=value)


def _value(row: Mapping[str, Any] | None) -> Cell:
    if row is None or row["tuned"] is None:
        return Cell(MISSING, note="not measured", tone="muted")
    low, high = row["interval"] or (None, None)
    places = decimals_of(row["tuned"], low, high)
    return Cell(
        number(row["tuned"], places),
        sort=row["tuned"],
        note=span(low, high, places) if row["interval"] else "",
    )


def _change(
    key: Key,
    first: Mapping[str, Any] | None,
    other: Mapping[str, Any] | None,
    paired: Mapping[str, float | None],
) -> Cell:
    before, after = (None if row is None else row["tuned"] for row in (first, other))
    if before is None or after is None:
        return Cell(MISSING)
    low, high = paired.get("low"), paired.get("high")
    word = verdict(key[0], low, high)
    places = decimals_of_change(after - before, low, high)
    notes = [span(low, high, places, sign=True), word] if word else ["not paired"] if key[2] else []
    shown = number(after - before, places, sign=True)
    return Cell(shown, sort=after - before, note=", ".join(notes), tone=TONES.get(word, ""))


def _specs(runs: Sequence[RunRecord], names: Mapping[str, str]) -> Section:
    """Return the values of the specs that are not the same in all runs."""
    specs = [dict(flat(run.spec)) for run in runs]
    paths = dict.fromkeys(path for spec in specs for path in spec)
    differing = [path for path in paths if len({repr(spec.get(path)) for spec in specs}) > 1]
    if not differing:
        return Section(
            "specs", "What differs between the specs", (Text(("Nothing: the specs are the same.",)),)
        )
    columns = (Column("Key"), *(Column(names[run.run], code=True) for run in runs))
    rows = tuple((text_cell(path), *(text_cell(spec.get(path)) for spec in specs)) for path in differing)
    blocks: tuple[Block, ...] = (Table("Values that are not the same in all runs.", columns, rows),)
    return Section("specs", "What differs between the specs", blocks)


def _records(runs: Sequence[RunRecord], names: Mapping[str, str]) -> Section:
    """Return whether the runs learned from, and were judged on, the same records."""
    splits = dict.fromkeys(name for run in runs for name in run.manifest.get("splits", {}))
    columns = (
        Column("Split"),
        *(Column(names[run.run], number=True) for run in runs),
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
