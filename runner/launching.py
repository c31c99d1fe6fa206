"""The edge around `execute`: what is checked before a run exists, how it is made, how it is told.

Nothing is started, and no run directory made, while anything is known to be wrong.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.backends import backend
from runner.events import read_events
from runner.execute import Outcome, execute
from runner.files import read_json, write_json, write_text
from runner.missing import missing_files, missing_packages, unusable_tokenizer
from runner.missing_models import unfit_models
from runner.outputs import forget
from runner.plan import Plan, make_plan, plan_to_json
from runner.probe import probe_machine
from runner.progress import progress_for, terminal_width
from runner.run_dir import RunDir, create, find, require_own_files
from runner.show import learned_from, results_text
from runner.spec.kinds import Spec
from runner.spec.load import Loaded
from runner.spec.problems import MachineError, Problem, SpecError
from runner.spec.resolved import resolved_text
from runner.stored_plan import stored_plan
from runner.task_files import unusable_tasks


@dataclass(frozen=True)
class Prepared:
    """A run directory with its plan, ready to be executed."""

    plan: Plan
    run: RunDir
    resumed: bool


@dataclass(frozen=True)
class Finished:
    """How a launch ended, as it is printed."""

    exit_code: int
    text: str
    summary: dict[str, Any]


def prepared(
    loaded: Loaded, runs: Path, environ: Mapping[str, str], *, rehearse: bool, now: datetime
) -> Prepared:
    """Check a spec and this machine, and make the run directory.

    Raises:
        SpecError: the spec names a local file that is not there, or what lies there is of no use.
        MachineError: a package or a GPU is missing, or the runs folder cannot be written to.
    """
    if missing := missing_for(loaded, environ, rehearse=rehearse):
        raise SpecError(missing)
    plan = make_plan(loaded.spec, probe_machine(), rehearse=rehearse)
    refuse_lacking(lacking_for(loaded.spec, plan))
    return Prepared(plan, begun(plan, loaded.text, resolved_text(loaded), runs, now), resumed=False)


def missing_for(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> list[Problem]:
    """Return a problem for everything that a spec names and that is not there, or of no use."""
    missing = [
        *missing_files(loaded, environ, rehearse=rehearse),
        *unusable_tokenizer(loaded, environ, rehearse=rehearse),
        *unfit_models(loaded, environ, rehearse=rehearse),
    ]
    return missing or list(unusable_tasks(loaded, environ))


def lacking_for(spec: Spec, plan: Plan) -> list[str]:
    """Return what this machine lacks for a plan: devices and packages."""
    actual = backend(spec.BACKEND).rehearsed(spec) if plan.rehearsal else spec
    return [*plan.lacks, *missing_packages(actual)]


def refuse_lacking(lacking: Sequence[str]) -> None:
    """Refuse to start anything.

    Raises:
        MachineError: there is something in `lacking`; names all of it, each once.
    """
    if lacking:
        listed = "\n".join(f"  {item}" for item in dict.fromkeys(lacking))
        raise MachineError(f"this machine lacks something; nothing was started\n{listed}")


def begun(plan: Plan, spec: str, resolved: str, runs: Path, now: datetime) -> RunDir:
    """Make the run directory of a plan, with the texts that it was made from.

    Raises:
        MachineError: the runs folder cannot be written to, or the disk is full; nothing half is left.
    """
    run = create(runs, plan.name, plan_to_json(plan), now)
    try:
        write_plan(run, plan, spec, resolved)
    except MachineError:
        shutil.rmtree(run.path, ignore_errors=True)  # half a run would only be in the way
        raise
    return run


def write_plan(run: RunDir, plan: Plan, spec: str, resolved: str) -> None:
    """Write what a run is to do, and the texts that this was made from."""
    forget(run.path, ("plan.json", "spec.yaml", "resolved.yaml"))
    write_json(run.plan, plan_to_json(plan))
    write_text(run.path / "spec.yaml", spec)
    write_text(run.path / "resolved.yaml", resolved)


def resumed(path: Path) -> Prepared:
    """Return a run that was begun earlier.

    Raises:
        UsageError: there is no run at `path`, it leads out of its own folder, or its plan is not what this release plans.
        MachineError: a process runs it, or a file is damaged.
    """
    run = find(path)
    require_own_files(run.path)
    plan = stored_plan(run.plan)
    with run.lock():  # a live run is refused here, before a word of going on with it
        return Prepared(plan, run, resumed=True)


def run(
    prepared: Prepared, environ: Mapping[str, str], *, quiet: bool, say: Callable[[str], None]
) -> Finished:
    """Execute a prepared run and return how it ended."""
    say(f"{'resuming' if prepared.resumed else 'run'} {shown(prepared.run.path)}")
    progress = progress_for(quiet=quiet)
    try:
        outcome = execute(
            prepared.plan, prepared.run, progress, environ=environ, say=say, resumed=prepared.resumed
        )
    finally:
        progress.close()
    if outcome.state == "failed":
        say(f"runner: {outcome.reason}")
    if outcome.state == "interrupted":
        say(f"interrupted; go on with: runner launch --resume {shown(prepared.run.path)}")
    return _finished(prepared.run, outcome, rehearsal=prepared.plan.rehearsal)


def _finished(run: RunDir, outcome: Outcome, *, rehearsal: bool) -> Finished:
    results_file = run.path / "report" / "results.json"
    # A run of the data stage alone ends well without results.
    results = read_json(results_file) if outcome.state == "done" and results_file.exists() else None
    summary = {
        "run": str(run.path),
        "state": outcome.state,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "results": results,
    }
    lines = []
    if results is not None and rehearsal:
        lines += [learned_from(list(read_events(run.events))), ""]
    if results is not None:
        lines += [
            results_text(results, terminal_width()),
            "",
            f"report: {shown(run.path / 'report' / 'report.html')}",
        ]
    return Finished(outcome.exit_code, "\n".join([*lines, shown(run.path)]), summary)


def state_of(path: Path) -> dict[str, Any]:
    """Return the state of a run; one that says `running` while nobody holds its lock was cut off."""
    run = find(path)
    status = run.read_status()
    state, reason = status["state"], status.get("reason", "")
    if state == "running" and not run.is_held():
        state, reason = "interrupted", "its process is gone; go on with launch --resume"
    return {
        "run": str(run.path),
        "state": state,
        "reason": reason,
        "stages": sorted(status.get("stages", {})),
    }


def shown(path: Path) -> str:
    """Return a path as a person would type it: relative to the current folder where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
