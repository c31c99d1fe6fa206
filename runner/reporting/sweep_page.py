"""The arms of a sweep on one page: numbers, differences from the control, spread over seeds, what differs, which run is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.cells import LEVEL, difference_cell, value_cell
from eval.report.format import MISSING, counted, duration, number
from eval.report.training_plots import compared_pictures
from eval.report.view import (
    Block,
    Cell,
    Column,
    Notice,
    Page,
    Pictures,
    Section,
    Table,
    Text,
    Tone,
    text_cell,
)
from runner.reporting.compare import Key
from runner.reporting.method_part import methods_section
from runner.reporting.page import NOT_CLINICAL
from runner.reporting.run_part import training_of
from runner.sweeps.compared import SEEDS, ArmComparison, metric_title
from runner.sweeps.folder import ArmState

STATES: Mapping[str, Tone] = {"done": "good", "failed": "bad", "interrupted": "unsure", "running": "unsure"}
REHEARSAL = "Tiny models with random weights: the numbers prove the way, and say nothing about real ones."


def sweep_page(
    definition: Mapping[str, Any], state: str, arms: Sequence[ArmState], compared: ArmComparison | None
) -> Page:
    """Return the page of a sweep.

    Args:
        definition: what `SweepDir.define` wrote.
        state: of the sweep.
        arms: how each arm stands.
        compared: the arms that are done, side by side; None: there are none.
    """
    sections = []
    if compared is not None:
        names = [member.name for member in compared.members]
        methods = methods_section(compared.records, names)
        sections += [_results(compared), *filter(None, (methods,)), *_seeds(compared)]
    sections += [_differs(definition), _arms(arms)]
    if compared is not None:
        pictures = compared_pictures(
            {
                member.name: training_of(record)
                for member, record in zip(compared.members, compared.records, strict=True)
            }
        )
        sections += [Section("curves", "Training curves", (Pictures(pictures),))] if pictures else []
    done = sum(arm.state == "done" for arm in arms)
    return Page(
        title=f"{definition['name']}: {counted(len(arms), 'arm')}",
        kicker="Sweep" + (", rehearsed" if definition["rehearsal"] else ""),
        summary=f"{done} of {counted(len(arms), 'arm')} {'is' if len(arms) == 1 else 'are'} done. {_compared_with(definition['controls'])}",
        notices=tuple(_notices(definition, state, arms, compared)),
        facts=(),
        sections=tuple(sections),
        footer=NOT_CLINICAL,
    )


def _compared_with(controls: Mapping[str, str]) -> str:
    names = dict.fromkeys(controls.values())
    if len(names) == 1:
        return f"Differences are from {next(iter(names))}."
    return "Differences are of each arm from its own control." if names else ""


def _notices(
    definition: Mapping[str, Any], state: str, arms: Sequence[ArmState], compared: ArmComparison | None
) -> list[Notice]:
    found = [Notice("This is a rehearsal.", REHEARSAL)] if definition["rehearsal"] else []
    for arm in arms:
        if arm.state == "failed":
            found.append(Notice(f"The arm {arm.name} failed.", arm.reason.splitlines()[0], "bad"))
    if state == "interrupted":
        left = ", ".join(arm.name for arm in arms if arm.state != "done")
        found.append(Notice("This sweep was interrupted.", f"Not done: {left}."))
    if compared is not None and compared.caution():
        found.append(Notice("Several comparisons at once.", compared.caution()))
    return found


def _results(compared: ArmComparison) -> Section:
    """Return the numbers of all arms, and what each is minus the control."""
    keys = compared.keys
    columns = [Column(metric_title(key, keys), number=True, hint=f"{key[1]} records") for key in keys]
    values = Table(
        f"Tuned models on held-out records, with the {LEVEL} of each run.",
        (Column("Arm"), *columns),
        tuple(
            (text_cell(member.name), *(_value(compared, member.name, key) for key in keys))
            for member in compared.members
        ),
    )
    blocks: list[Block] = [values]
    minus: dict[str, dict[Key, Cell]] = {}
    for item in compared.changes:
        cell = difference_cell(
            item.key[0], item.value, (item.low, item.high), narrow=item.narrow, rehearsal=compared.rehearsal
        )
        minus.setdefault(f"{item.arm} \u2212 {item.minus}", {})[item.key] = cell
    if minus:
        rows = tuple(
            (text_cell(pair), *(cells.get(key, Cell(MISSING)) for key in keys))
            for pair, cells in minus.items()
        )
        caption = f"Paired over the same records, with the {LEVEL} of the difference."
        blocks.append(Table(caption, (Column("Difference"), *columns), rows))
    if compared.findings() or compared.notes:
        blocks.append(Text((*compared.findings(), *compared.notes), "list"))
    return Section("results", "Results", tuple(blocks))


def _value(compared: ArmComparison, arm: str, key: Key) -> Cell:
    row = compared.rows[arm].get(key)
    if row is None:
        return Cell(MISSING, note=compared.why_missing(arm, key), tone="muted")
    return value_cell(row["tuned"], row["interval"])


def _seeds(compared: ArmComparison) -> list[Section]:
    if not compared.spreads:
        return []
    columns = (
        Column("Arm"),
        Column("Metric"),
        Column("Seeds", number=True),
        Column("Mean over seeds", number=True),
        Column("Standard deviation", number=True, hint="over the seeds, with n - 1"),
        Column("Lowest to highest", number=True),
        Column("Mean minus control", number=True, note="of the same seeds"),
    )
    rows = tuple(
        (
            text_cell(item.base or "the spec itself"),
            text_cell(metric_title(item.key, compared.keys)),
            Cell(str(len(item.values)), sort=len(item.values)),
            Cell(number(item.mean), sort=item.mean),
            Cell(number(item.deviation), sort=item.deviation),
            text_cell(f"{number(min(item.values))} to {number(max(item.values))}"),
            _mean_difference(item.differences),
        )
        for item in compared.spreads
    )
    return [Section("seeds", "Over seeds", (Table("Each arm trained several times.", columns, rows),), SEEDS)]


def _mean_difference(differences: Sequence[float]) -> Cell:
    if not differences:
        return Cell(MISSING)
    mean = sum(differences) / len(differences)
    span = f"{number(min(differences), sign=True)} to {number(max(differences), sign=True)}"
    return Cell(number(mean, sign=True), sort=mean, note=f"{span}, {counted(len(differences), 'seed')}")


def _differs(definition: Mapping[str, Any]) -> Section:
    names = [arm["name"] for arm in definition["arms"]]
    columns = (Column("Key"), *(Column(name, code=True) for name in names))
    rows = tuple(
        (text_cell(path), *(text_cell(values.get(name)) for name in names))
        for path, values in definition["differs"].items()
    )
    block = Table("Values of the spec that are not the same in all arms.", columns, rows)
    return Section("differs", "What differs between the arms", (block,))


def _arms(arms: Sequence[ArmState]) -> Section:
    columns = (
        Column("Arm"),
        Column("State"),
        Column("Run directory", code=True),
        Column("Time of its stages", number=True),
        Column("Results taken from other arms"),
    )
    rows = tuple(
        (
            text_cell(arm.name),
            Cell(arm.state, sort=arm.state, tone=STATES.get(arm.state, "muted"), badge=True),
            text_cell(arm.run),
            Cell(MISSING if arm.seconds is None else duration(arm.seconds), sort=arm.seconds),
            text_cell(", ".join(f"{stage} of {run}" for stage, run in (arm.taken or {}).items()) or None),
        )
        for arm in arms
    )
    table = Table("Run directories lie beside the sweep's own folder.", columns, rows)
    return Section("arms", "Which run is which arm", (table,))
