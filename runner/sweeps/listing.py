"""A sweep before and while it runs, as text for a terminal: what differs, what is done once, how each arm stands. Pure.

Needs none of what draws: `plan` and `status` of a sweep work in a core install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.report.format import counted, duration
from runner.lineage import lineages
from runner.machine import Machine
from runner.show import table
from runner.spec.load import Loaded
from runner.sweep import controls_of
from runner.sweeps.arms import PlannedArm, differing, done_once, planned_arms
from runner.validate import load_arms

LONGEST = 72
"""Characters of a change that are shown; `--json` has all."""


@dataclass(frozen=True)
class SweepPlan:
    """What a launch of a whole sweep would do."""

    arms: tuple[PlannedArm, ...]
    controls: Mapping[str, str]
    """Base of an arm -> base of the arms that it is compared with."""

    def to_json(self) -> dict[str, Any]:
        """Return the arms, what differs between them, and which of them share the result of a stage."""
        arms = [
            {
                "name": item.arm.name,
                "sets": list(item.arm.sets),
                "base": item.arm.base,
                "seed": item.arm.seed,
                "steps": item.plan.numbers.steps,
            }
            for item in self.arms
        ]
        return {
            "arms": arms,
            "controls": dict(self.controls),
            "differs": self._differs(),
            "shared": done_once(self.arms),
        }

    def to_text(self) -> str:
        """Return the arms with what differs, and how often each stage is run."""
        rows = []
        for item in self.arms:
            told = [
                f"{path} {_short(value)}"
                for path, _, value in (change.partition("=") for change in item.arm.sets)
            ]
            steps = item.plan.numbers.steps
            mark = self.controls.get(item.arm.base, "-")
            rows.append(
                [item.arm.name, ", ".join(told) or "nothing", "?" if steps is None else f"{steps:,}", mark]
            )
        shared = done_once(self.arms)
        stages = dict.fromkeys(name for item in self.arms for name in lineages(item.plan))
        lines = []
        for stage in stages:
            having = sum(stage in lineages(item.plan) for item in self.arms)
            times = having - sum(len(group) - 1 for group in shared.get(stage, []))
            lines.append(f"  {stage:<12}{counted(times, 'time')} for {counted(having, 'arm')}")
        return "\n".join(
            [
                f"sweep of {counted(len(self.arms), 'arm')} (`launch` runs those that are missing; plan or launch one with --arm NAME)",
                *(
                    f"  {line}"
                    for line in table(rows, ["arm", "changes", "steps", "compared with"]).splitlines()
                ),
                "",
                "stages of the sweep",
                *lines,
            ]
        )

    def _differs(self) -> dict[str, dict[str, Any]]:
        return differing({item.arm.name: item.plan.spec for item in self.arms})


def plan_of_sweep(
    file: Path,
    base: Loaded,
    sets: Sequence[str],
    environ: Mapping[str, str],
    machine: Machine,
    *,
    rehearse: bool,
) -> SweepPlan | None:
    """Return the plan of the sweep of a spec; None where it has no sweep.

    Raises:
        SpecError: an arm has no plan, or two arms ask for the same.
    """
    if base.spec.sweep is None:
        return None
    arms = planned_arms(load_arms(file, base.spec, sets, environ), machine, rehearse=rehearse)
    return SweepPlan(arms, controls_of(base.spec.sweep, [item.arm for item in arms]))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def arms_text(arms: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Return the state of every arm, as `status` and the end of a launch print it."""
    rows = [
        [
            arm["name"],
            arm["state"],
            "-" if arm["seconds"] is None else duration(arm["seconds"]),
            ", ".join(arm["taken"] or {}) or "-",
            arm["run"] or "-",
        ]
        for arm in arms
    ]
    lines = [table(rows, ["arm", "state", "time", "taken from another arm", "run"], width)]
    lines += [f"{arm['name']}: {arm['reason'].splitlines()[0]}" for arm in arms if arm["reason"]]
    return "\n".join(lines)
