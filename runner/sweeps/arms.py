"""The arms of a sweep with their plans: checked all at once, told apart by what differs, and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.files import canonical_sha256
from runner.lineage import in_common, lineages
from runner.machine import Machine
from runner.plan import Plan, make_plan, plan_from_json, plan_to_json
from runner.spec.load import Loaded
from runner.spec.problems import CountedError, Problem, SpecError
from runner.spec.resolved import resolved_text
from runner.sweep import Arm

TOLD = ("name", "summary", "report", "reference", "sweep")
"""Sections of a spec that change what is told of a run, not what is done."""


@dataclass(frozen=True)
class PlannedArm:
    """One arm, ready to become a run."""

    arm: Arm
    plan: Plan
    spec: str
    """Text of the spec file."""
    resolved: str
    """Every value of the arm, with the place that it came from."""

    def to_json(self) -> dict[str, Any]:
        """Return the arm as a JSON value."""
        return {
            "arm": dataclasses.asdict(self.arm),
            "plan": plan_to_json(self.plan),
            "spec": self.spec,
            "resolved": self.resolved,
        }


def planned_arm_from_json(value: Mapping[str, Any]) -> PlannedArm:
    """Return the arm that `PlannedArm.to_json` wrote."""
    arm = Arm(**{**value["arm"], "sets": tuple(value["arm"]["sets"])})
    return PlannedArm(arm, plan_from_json(value["plan"]), value["spec"], value["resolved"])


def planned_arms(
    loaded: Sequence[tuple[Arm, Loaded]], machine: Machine, *, rehearse: bool
) -> tuple[PlannedArm, ...]:
    """Return the plan of every arm.

    Raises:
        SpecError: an arm's plan cannot be made, or two arms ask for the same; at the place of the sweep.
    """
    made: list[PlannedArm] = []
    problems: list[Problem] = []
    named: dict[str, str] = {}
    for arm, item in loaded:
        try:
            plan = make_plan(item.spec, machine, rehearse=rehearse)
        except CountedError as error:
            message, _, hint = str(error).partition("\n")
            problems.append(_problem(item, f"arm {arm.name!r}: {message}", hint.strip()))
            continue
        first = named.setdefault(work_sha256(plan_to_json(plan)), arm.name)
        if first != arm.name:
            message = f"the arms {first!r} and {arm.name!r} ask for the same run"
            problems.append(_problem(item, message, "take one of them out"))
        made.append(PlannedArm(arm, plan, item.text, resolved_text(item)))
    if problems:
        raise SpecError(problems)
    return tuple(made)


def _problem(loaded: Loaded, message: str, hint: str) -> Problem:
    mark = loaded.tree.mark(("sweep",), of_key=True)
    return Problem(mark.file, mark.line, mark.column, "sweep", "sweep", message, hint)


def work_sha256(plan: Mapping[str, Any]) -> str:
    """Return a hash of what a stored plan does: not of its headings, its notes, or the published numbers beside it."""
    spec = {key: value for key, value in plan["spec"].items() if key not in TOLD}
    stages = [stage for stage in plan["stages"] if stage["name"] != "report"]
    kept = {key: value for key, value in plan.items() if key not in ("notes", "changes", "name")}
    return canonical_sha256({**kept, "spec": spec, "stages": stages})


def sweep_sha256(base: Mapping[str, Any], *, rehearse: bool) -> str:
    """Return what tells one sweep from another: its spec without the arms, so that arms can be added to it.

    Args:
        base: the spec that all arms are changed from, in JSON form.
        rehearse: whether it is rehearsed.
    """
    spec = {key: value for key, value in base.items() if key not in TOLD}
    return canonical_sha256({"spec": spec, "rehearsal": rehearse})


def differing(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return spec path -> arm -> value, of the paths whose values are not the same in all arms.

    A path that an arm does not have is None there. What only tells of a run is left out.
    """
    values = {
        name: {path: value for path, value in _leaves(spec, "") if path.split(".")[0] not in TOLD}
        for name, spec in specs.items()
    }
    paths = dict.fromkeys(path for found in values.values() for path in found)
    return {
        path: {name: found.get(path) for name, found in values.items()}
        for path in paths
        if len({repr(found.get(path)) for found in values.values()}) > 1
    }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the values below `value` with their paths; a list of plain values is one value.

    >>> list(_leaves({"a": {"b": 1}, "c": [1, 2], "d": [{"e": 3}]}, ""))
    [('a.b', 1), ('c', [1, 2]), ('d[0].e', 3)]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def done_once(arms: Sequence[PlannedArm]) -> dict[str, list[list[str]]]:
    """Return name of a stage -> groups of arms that share one result of it; arms that share it with none are left out."""
    common = in_common([item.plan for item in arms])
    found: dict[str, dict[str, list[str]]] = {}
    for item in arms:
        for stage, lineage in lineages(item.plan).items():
            if lineage in common:
                found.setdefault(stage, {}).setdefault(lineage, []).append(item.arm.name)
    return {stage: list(groups.values()) for stage, groups in found.items()}


def arm_file(folder: Path, number: int) -> Path:
    """Return where an arm's plan is stored in the folder of a sweep; arms are counted from 1."""
    return folder / "arms" / f"{number:03}.json"
