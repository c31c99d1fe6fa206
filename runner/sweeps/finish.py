"""The end of a sweep: the arms that are done are set side by side, on the terminal, on a page and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner.execute import Outcome
from runner.files import write_json, write_text
from runner.launching import Finished, shown
from runner.progress import terminal_width
from runner.reporting.method_part import tuned_rows
from runner.spec.nearest import nearest
from runner.spec.problems import RunnerError, UsageError, choices
from runner.sweeps.compared import ArmComparison, Member, compare_arms
from runner.sweeps.folder import SweepDir, state_of_sweep
from runner.sweeps.listing import arms_text
from runner.sweeps.text import compared_arms_text


def members_of(folder: SweepDir) -> list[Member]:
    """Return the arms of a sweep that are done."""
    return [
        Member(arm.name, arm.base, arm.seed, folder.run_path(arm.run))
        for arm in folder.arm_states()
        if arm.state == "done" and arm.run is not None
    ]


def compared_sweep(
    folder: SweepDir, *, control: str | None = None, all_pairs: bool = False
) -> ArmComparison | None:
    """Return the arms that are done side by side; None where there are none.

    Args:
        folder: of the sweep.
        control: the arm that all others are compared with, instead of the spec's choice.
        all_pairs: every arm beside every other too.

    Raises:
        UsageError: no arm has the name of the control.
        MachineError: a file of a run is damaged.
    """
    members = members_of(folder)
    controls: Mapping[str, str] = folder.definition()["controls"]
    if control is not None:
        bases = list(dict.fromkeys(arm.base for arm in folder.arm_states()))
        if control not in bases:
            near = nearest(control, bases)
            raise UsageError(
                f"the sweep has no arm {control!r}; {choices(bases)}" + (f"; nearest: {near}" if near else "")
            )
        controls = {base: control for base in bases if base != control}
    return compare_arms(members, controls, all_pairs=all_pairs) if members else None


def write_page(folder: SweepDir, compared: ArmComparison | None, out: Path | None = None) -> Path:
    """Write the page of a sweep, with its numbers as JSON beside it, and return where the page is.

    Args:
        folder: of the sweep.
        compared: the arms that are done.
        out: another place for the page; the numbers are then not written.

    Raises:
        MachineError: the folder cannot be written to.
    """
    from eval.report.page import render  # with matplotlib, which `plan` of a sweep does without
    from runner.reporting.sweep_page import sweep_page

    status = folder.read_status()
    if out is None:
        write_json(folder.comparison, as_json(compared))
    page = sweep_page(folder.definition(), status["state"], folder.arm_states(), compared)
    place = out or folder.page
    write_text(place, render(page))
    return place


def as_json(compared: ArmComparison | None) -> dict[str, Any]:
    """Return a comparison as a JSON value."""
    if compared is None:
        return {
            "controls": {},
            "arms": [],
            "differences": [],
            "over_seeds": [],
            "findings": [],
            "caution": "",
            "notes": [],
        }
    return {
        "controls": dict(compared.controls),
        "arms": [
            {
                "arm": member.name,
                "base": member.base,
                "seed": member.seed,
                "run": str(member.path),
                "table": list(compared.rows[member.name].values()),
            }
            for member in compared.members
        ],
        "differences": [
            {
                "arm": item.arm,
                "minus": item.minus,
                **_named(item.key),
                "value": item.value,
                "low": item.low,
                "high": item.high,
                "narrow": item.narrow,
                "says": item.word or None,
                "real": item.real,
            }
            for item in compared.changes
        ],
        "over_seeds": [
            {
                "arm": item.base,
                **_named(item.key),
                "values": list(item.values),
                "mean": item.mean,
                "standard_deviation": item.deviation,
                "differences_from_control": list(item.differences),
            }
            for item in compared.spreads
        ],
        **_methods(compared),
        "findings": list(compared.findings()),
        "caution": compared.caution(),
        "notes": list(compared.notes),
    }


def _methods(compared: ArmComparison) -> dict[str, Any]:
    """Return what each arm's method reached and cost, of ECG runs."""
    rows = tuned_rows(compared.records)
    named = zip(compared.members, rows, strict=True) if rows else ()
    return {"methods": [{"arm": member.name, **row.json()} for member, row in named]} if rows else {}


def _named(key: tuple[str, str, str | None]) -> dict[str, str | None]:
    return {"metric": key[0], "split": key[1], "task": key[2]}


def finish(folder: SweepDir, outcome: Outcome, say: Callable[[str], None]) -> Finished:
    """Set side by side what is done, and return how the launch of a sweep ended; its last line is the folder."""
    state = state_of_sweep(folder.path)
    compared: ArmComparison | None = None
    try:
        if outcome.state != "interrupted":  # who interrupts wants it to end
            compared = compared_sweep(folder)
        write_page(folder, compared)
    except RunnerError as error:
        say(f"runner: the arms could not be set side by side: {error}")
    if outcome.state == "failed":
        say(f"runner: {outcome.reason}")
    if outcome.state == "interrupted":
        say(f"interrupted; go on with: runner launch --resume {shown(folder.path)}")
    summary = {
        **state,
        "state": outcome.state,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "comparison": as_json(compared),
        "page": str(folder.page),
    }
    arms = [{**arm, "run": arm["run"] and arm["run"].rpartition("/")[2]} for arm in state["arms"]]
    width = terminal_width()
    parts = [compared_arms_text(compared, width)] if compared is not None else []
    parts += [arms_text(arms, width), f"page: {shown(folder.page)}"]
    return Finished(outcome.exit_code, "\n".join(["\n\n".join(parts), shown(folder.path)]), summary)
