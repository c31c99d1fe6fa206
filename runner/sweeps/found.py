"""Runs on disk that are of a plan: an arm that is done is not run again, and one that was cut off goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.numbers import Counts
from runner import __version__
from runner.files import read_json
from runner.outputs import NO_SUCH_FORM
from runner.places import variables_sha256
from runner.plan import FORMAT, Plan, complete, plan_to_json
from runner.run_dir import RunDir
from runner.spec.problems import CountedError, MachineError
from runner.sweeps.arms import TOLD, work_sha256

RESULTS = Path("report/results.json")


@dataclass(frozen=True)
class Found:
    """A run that does what a plan asks for."""

    run: RunDir
    done: bool
    as_told: bool
    """Whether its headings, notes and published numbers are the plan's too."""


def run_of(plan: Plan, runs: Path, environ: Mapping[str, str]) -> Found | None:
    """Return the run of `plan` below the folder of runs: one that is done before one that is not, the last before others.

    A run of another release of runner, or one whose places came from variables with other values, is another run.
    """
    found = list(_runs_of(plan, runs / plan.name, environ))
    return max(found, key=lambda item: (item.done, item.run.path.name), default=None)


def _runs_of(plan: Plan, folder: Path, environ: Mapping[str, str]) -> Iterator[Found]:
    variables = variables_sha256(plan.spec, environ)
    asked = _told_apart(plan_to_json(plan))
    for path in folder.glob("*/plan.json"):
        with suppress(MachineError, *NO_SUCH_FORM):  # not read, no JSON, of another release: no run of ours
            stored = read_json(path)
            if not isinstance(stored, dict) or stored.get("format") != FORMAT or _told_apart(stored) != asked:
                continue
            counted = _counted(plan, stored)
            if counted is None or work_sha256(counted) != work_sha256(stored):
                continue
            run = RunDir(path.parent.absolute())
            if _made_alike(run, variables):
                done = run.read_status()["state"] == "done" and (run.path / RESULTS).exists()
                yield Found(run, done, as_told=counted == stored)


def _told_apart(plan: Mapping[str, Any]) -> Any:
    """Return what tells most plans apart without making them anew: the values of their specs, and being rehearsed."""
    spec = {key: value for key, value in plan["spec"].items() if key not in TOLD}
    return _lists([spec, plan["rehearsal"]])


def _counted(plan: Plan, stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the plan in JSON form, with the records counted where the stored one has them counted."""
    if plan.counts is None and stored.get("counts"):
        with suppress(CountedError, TypeError):
            return _plain(complete(plan, Counts(**stored["counts"])))
        return None
    return _plain(plan)


def _plain(plan: Plan) -> dict[str, Any]:
    """Return the plan as it is once it was written and read: tuples are lists."""
    plain: dict[str, Any] = _lists(plan_to_json(plan))
    return plain


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _made_alike(run: RunDir, variables: str) -> bool:
    """Return whether a run was started by this release, with these values of the variables.

    One that was ended before it could write that down has made nothing yet.
    """
    file = run.path / "environment.json"
    if not file.exists():
        return True
    made = read_json(file)
    return (made.get("runner"), made.get("variables_sha256", variables)) == (__version__, variables)
