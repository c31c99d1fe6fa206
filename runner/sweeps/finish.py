"""The end of a sweep: the arms that are done are set side by side, on the terminal, on a page and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.execute import Outcome
from runner.files import write_json, write_text
from runner.launching import Finished, shown
from runner.spec.problems import RunnerError
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

    Raises:
        MachineError: a file of a run is damaged.
    """
    members = members_of(folder)
    against = folder.definition()["control"] if control is None else control
    return compare_arms(members, against, all_pairs=all_pairs) if members else None


def write_page(folder: SweepDir, compared: ArmComparison | None) -> None:
    """Write the page of a sweep, and its numbers as JSON.

    Raises:
        MachineError: the folder cannot be written to.
    """
    from eval.report.page import render  # with matplotlib, which `plan` of a sweep does without
    from runner.reporting.sweep_page import sweep_page

    status = folder.read_status()
    write_json(folder.comparison, as_json(compared))
    page = sweep_page(folder.definition(), status["state"], folder.arm_states(), compared)
    write_text(folder.page, render(page))


def as_json(compared: ArmComparison | None) -> dict[str, Any]:
    """Return a comparison as a JSON value."""
    if compared is None:
        return {"control": None, "arms": [], "differences": [], "over_seeds": [], "caution": "", "notes": []}
    return {
        "control": compared.control,
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
        "caution": compared.caution(),
        "notes": list(compared.notes),
    }


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
    parts = [compared_arms_text(compared)] if compared is not None else []
    parts += [arms_text(arms), f"page: {shown(folder.page)}"]
    return Finished(outcome.exit_code, "\n".join(["\n\n".join(parts), shown(folder.path)]), summary)
