"""Launching a sweep: all arms are checked, then those that are missing run one after another.

An arm that fails is named and the next one starts; Ctrl-C ends the arm that runs and starts no other.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.report.format import counted
from runner.events import EventWriter
from runner.execute import INTERRUPTED, Interrupts, Outcome, execute
from runner.launching import (
    Finished,
    begun,
    lacking_for,
    missing_for,
    refuse_lacking,
    shown,
    write_plan,
)
from runner.lineage import in_common
from runner.outputs import changed_files
from runner.plan import Plan
from runner.probe import probe_machine
from runner.progress import progress_for
from runner.run_dir import RunDir, require_own_files
from runner.spec.load import Loaded
from runner.spec.problems import MachineError, Problem, RunnerError, SpecError, UsageError
from runner.spec.yaml_text import Tree, dotted
from runner.stage_results import StageResults
from runner.stored_plan import require_planned
from runner.sweep import Arm, controls_of
from runner.sweeps.arms import PlannedArm, arm_file, planned_arms, sweep_sha256
from runner.sweeps.folder import ArmState, SweepDir, sweep_at
from runner.sweeps.found import Found, run_of
from runner.validate import load_arms, place_of_change


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep whose arms were all checked, ready to be run."""

    folder: SweepDir
    arms: tuple[PlannedArm, ...]
    controls: Mapping[str, str]
    """Base of an arm -> base of the arms that it is compared with."""
    resumed: bool

    @property
    def runs(self) -> Path:
        """The folder of run directories."""
        return self.folder.path.parent.parent


def prepared(
    file: Path,
    base: Loaded,
    sets: Sequence[str],
    runs: Path,
    environ: Mapping[str, str],
    *,
    rehearse: bool,
) -> PreparedSweep:
    """Check every arm of a sweep and this machine; nothing is made yet.

    Args:
        file: the spec file.
        base: the spec with its sweep.
        sets: changes to the spec beside those of the arms.
        runs: the folder of run directories.
        environ: the environment that stages inherit.
        rehearse: whether to rehearse the arms.

    Raises:
        SpecError: an arm names a file that is not there, has no plan, or asks for the same as another.
        MachineError: a package or a GPU is missing.
    """
    if base.spec.sweep is None:
        raise ValueError("a spec without a sweep has no arms to launch")
    loaded = load_arms(file, base.spec, sets, environ)
    missing = _missing(base.tree, loaded, environ, rehearse=rehearse)
    if missing:
        raise SpecError(missing)
    arms = planned_arms(loaded, probe_machine(), rehearse=rehearse)
    specs = {arm.name: item.spec for arm, item in loaded}
    refuse_lacking([text for item in arms for text in lacking_for(specs[item.arm.name], item.plan)])
    name = sweep_sha256(base.spec.model_dump(mode="json"), rehearse=rehearse)[:8]
    folder = SweepDir((runs / base.spec.name / f"sweep-{name}").absolute())
    controls = controls_of(base.spec.sweep, [arm for arm, _ in loaded])
    return PreparedSweep(folder, arms, controls, resumed=False)


def _missing(
    tree: Tree, loaded: Sequence[tuple[Arm, Loaded]], environ: Mapping[str, str], *, rehearse: bool
) -> list[Problem]:
    """Return the problems of all arms; one that all of them have is said once, one of some names the arms."""
    found: dict[Problem, list[str]] = {}
    for arm, item in loaded:
        for problem in missing_for(item, environ, rehearse=rehearse):
            found.setdefault(_in_sweep(tree, arm, problem), []).append(arm.name)
    return [
        problem
        if len(names) == len(loaded)
        else dataclasses.replace(problem, message=f"{problem.message} (in {_listed(names)})")
        for problem, names in found.items()
    ]


def _in_sweep(tree: Tree, arm: Arm, problem: Problem) -> Problem:
    """Return a problem at the key of the sweep that it comes from; one of the spec itself as it is."""
    place = place_of_change(tree, arm, problem)
    if place is None:
        return problem
    mark = tree.mark(place, of_key=True)
    hint, example, _ = problem.hint.partition(", for example --set ")
    return dataclasses.replace(
        problem,
        file=mark.file,
        line=mark.line,
        column=mark.column,
        path=dotted(place),
        message=f"{problem.path}: {problem.message}",
        hint=f"{hint}; an arm's own value goes before --set" if example else hint,
    )


def _listed(names: Sequence[str]) -> str:
    return f"{'arm' if len(names) == 1 else 'arms'} {', '.join(names)}"


def resumed(path: Path) -> PreparedSweep:
    """Return a sweep that was begun earlier, with the arms that it was launched with.

    Raises:
        UsageError: there is no sweep at `path`, it leads out of its own folder, or a plan is not what this release plans.
    """
    folder = sweep_at(path)
    require_own_files(folder.path)
    arms = folder.arms()
    for number, item in enumerate(arms, start=1):
        require_planned(item.plan, arm_file(folder.path, number))
    return PreparedSweep(folder, arms, folder.definition()["controls"], resumed=True)


def run(
    sweep: PreparedSweep, environ: Mapping[str, str], *, quiet: bool, say: Callable[[str], None]
) -> Finished:
    """Run the arms that are missing, set all of them side by side, and return how it ended.

    Raises:
        MachineError: another process runs this sweep, or one of its arms; or its folder cannot be written to.
    """
    with sweep.folder.lock():
        _refuse_running_arms(sweep, environ)
        sweep.folder.define(sweep.arms, sweep.controls)
        say(f"{'resuming sweep' if sweep.resumed else 'sweep'} {shown(sweep.folder.path)}")
        outcome = _Launch(sweep, environ, say, quiet=quiet).run_all()
        from runner.sweeps.finish import finish  # brings scipy and matplotlib, which a core install lacks

        return finish(sweep.folder, outcome, say)


def _refuse_running_arms(sweep: PreparedSweep, environ: Mapping[str, str]) -> None:
    """Refuse to start while a process still runs one of the arms: a launcher of its own, or a stage that outlived one."""
    for item in sweep.arms:
        found = run_of(item.plan, sweep.runs, environ)
        if found is None or not found.run.is_held():
            continue
        status = found.run.read_status()
        pid = status.get("stage_pid", status.get("pid"))
        raise MachineError(
            f"the arm {item.arm.name} is still being run, in {shown(found.run.path)}: nothing was started\n"
            f"  wait for it, or end it with Ctrl-C where it was launched; if its launcher is gone: kill {pid} "
            f"(its stage {status.get('stage', '')}), and launch again"
        )


class _Launch:
    """One launch of a sweep: the state that its arms share."""

    def __init__(
        self, sweep: PreparedSweep, environ: Mapping[str, str], say: Callable[[str], None], *, quiet: bool
    ) -> None:
        self.sweep, self.environ, self.say, self.quiet = sweep, environ, say, quiet
        self.events = EventWriter(sweep.folder.events, "sweep")
        self.interrupts = Interrupts()
        plans = [item.plan for item in sweep.arms]
        self.shared = StageResults(sweep.folder.shared, in_common(plans), environ)
        self.states = {
            item.arm.name: ArmState(item.arm.name, item.arm.base, item.arm.seed) for item in sweep.arms
        }

    def run_all(self) -> Outcome:
        """Run the arms and return how the sweep ended."""
        began = time.monotonic()
        names = list(self.states)
        self.events.write("sweep_started", arms=names, pid=os.getpid(), resumed=self.sweep.resumed)
        with self.interrupts.watched():
            for number, item in enumerate(self.sweep.arms, start=1):
                self._arm(item, number)
                if self.interrupts.count:
                    break
        outcome = self._outcome()
        self._status(outcome.state, outcome.reason)
        seconds = time.monotonic() - began
        self.events.write("sweep_finished", state=outcome.state, seconds=seconds, reason=outcome.reason)
        return outcome

    def _outcome(self) -> Outcome:
        states = self.states.values()
        left = [arm.name for arm in states if arm.state in ("pending", "interrupted")]
        failed = [arm.name for arm in states if arm.state == "failed"]
        if left:
            return Outcome("interrupted", INTERRUPTED, f"stopped; not done: {', '.join([*failed, *left])}")
        if failed:
            return Outcome(
                "failed", 1, f"{len(failed)} of {counted(len(states), 'arm')} failed: {', '.join(failed)}"
            )
        return Outcome("done", 0, "")

    def _arm(self, item: PlannedArm, number: int) -> None:
        """Bring one arm to its end, whatever that is."""
        name, of = item.arm.name, len(self.states)
        where: RunDir | None = None
        try:
            found = run_of(item.plan, self.sweep.runs, self.environ)
            where = found.run if found else None
            if found and found.done and found.as_told and not changed_files(found.run.path):
                reason = "it is done, by the same plan"
                self.events.write("arm_skipped", arm=name, run=found.run.path.name, reason=reason)
                self.say(f"arm {number} of {of}, {name}: {reason}: {shown(found.run.path)}")
                self._set(item, where, Outcome("done", 0, ""))
                return
            where = self._started(item, found)
            self._set(item, where, Outcome("running", 0, ""))
            self.say(f"arm {number} of {of}, {name}: {shown(where.path)}")
            self.events.write(
                "arm_started", arm=name, run=where.path.name, number=number, of=of, resumed=found is not None
            )
            began = time.monotonic()
            outcome = self._executed(item.plan, where, resumed=found is not None)
        except (MachineError, UsageError) as error:  # of this run directory: the next arm has its own
            began, outcome = time.monotonic(), Outcome("failed", 1, str(error))
        self._set(item, where, outcome)
        self.events.write(
            "arm_finished",
            arm=name,
            run=where.path.name if where else None,
            state=outcome.state,
            seconds=time.monotonic() - began,
            reason=outcome.reason,
        )
        if outcome.state == "failed":
            self.say(f"arm {name} failed: {outcome.reason}")

    def _started(self, item: PlannedArm, found: Found | None) -> RunDir:
        """Return the run directory of an arm: the one that was found, with the plan as it is now, or a new one."""
        if found is None:
            return begun(item.plan, item.spec, item.resolved, self.sweep.runs, datetime.now(UTC))
        require_own_files(found.run.path)
        write_plan(found.run, item.plan, item.spec, item.resolved)
        return found.run

    def _executed(self, plan: Plan, where: RunDir, *, resumed: bool) -> Outcome:
        progress = progress_for(quiet=self.quiet)
        try:
            return execute(
                plan,
                where,
                progress,
                environ=self.environ,
                say=self.say,
                resumed=resumed,
                shared=self.shared,
                interrupts=self.interrupts,
            )
        except RunnerError as error:
            raise MachineError(str(error)) from error
        finally:
            progress.close()

    def _set(self, item: PlannedArm, where: RunDir | None, outcome: Outcome) -> None:
        """Write down how an arm stands."""
        status: Mapping[str, Any] = where.read_status() if where else {}
        stages: Mapping[str, Mapping[str, Any]] = status.get("stages", {})
        self.states[item.arm.name] = dataclasses.replace(
            self.states[item.arm.name],
            state=outcome.state,
            run=where.path.name if where else None,
            reason=outcome.reason,
            seconds=round(sum(stage["seconds"] for stage in stages.values()), 3) if stages else None,
            taken={name: stage["taken_from"] for name, stage in stages.items() if "taken_from" in stage},
        )
        self._status("running", "")

    def _status(self, state: str, reason: str) -> None:
        self.sweep.folder.write_status(state, reason, os.getpid(), list(self.states.values()))
