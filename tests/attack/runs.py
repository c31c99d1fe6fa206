"""Finished runs, every file of which is damaged: looked at again, and gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ecg_run import SPEC
from judged_run import write_judged_run

from runner.files import read_json
from runner.stages.report import write_report

from .damage import Content, Odd
from .engine import Case, Job, Target

RUNS = Path("runs/attacked")
LOOK = (
    Job("on_run", ("verify", "--json")), Job("on_run", ("verify",)), Job("on_run", ("status",)), Job("on_run", ("compare",)),
)  # fmt: skip
RESUME = Job("on_run", ("launch", "--quiet", "--resume"), cpu_s=120)
"""Trains again where it must, each stage with imports of its own."""
IMPORTS = (
    "runner.cli", "runner.verify", "runner.comparing", "runner.launching", "runner.sweeps.listing", "runner.reporting.compare",
    "runner.stages.report", "eval.report.plots", "matplotlib.backends.backend_agg", "sklearn.linear_model", "runner.backends.native",
    "runner.backends.axolotl",
    "runner.native.dataset",
    "eval.judges.signal_multilabel",
    "eval.judges.perplexity",
    "eval.judges.class_tables",
)  # fmt: skip


def judged_runs(folder: Path) -> None:
    """Write two runs of a language model by hand, with predictions and reports."""
    for name, shift in (("a", 0.0), ("b", 0.1)):
        write_report(write_judged_run(folder / RUNS / name, title=name, shift=shift))


def ecg_run(folder: Path) -> None:
    """Take a small run that was launched as a user does; nothing of the cache is kept."""
    shutil.copytree(_launched().name, folder, dirs_exist_ok=True)


@cache
def _launched() -> tempfile.TemporaryDirectory[str]:
    """Launch the run, once for all that attack it; the folder goes with this process."""
    made = tempfile.TemporaryDirectory(prefix="attack-run-")
    spec = Path(made.name) / "spec.yaml"
    spec.write_text(yaml.safe_dump({**SPEC, "name": "attacked", "train": {**SPEC["train"], "steps": 2}}))
    command = [sys.executable, "-m", "runner", "launch", "--quiet", "--runs", "runs", "spec.yaml"]
    done = subprocess.run(command, cwd=made.name, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(Path(made.name) / "runs/.cache")
    return made


def changes_are_told(case: Case) -> Iterator[str]:
    """Yield a file that says something else than before, where `verify` finds all equal and does not name it."""
    if case.ended[0].code != 0 or case.right is None:
        return
    answer, of_the_right = (json.loads(one.ended[0].out) for one in (case, case.right))
    # What nothing is known of is named, and cannot be missed once it is gone.
    unseen = {
        name for told in (answer, of_the_right) for names in told["not_looked_at"].values() for name in names
    }
    for name in case.changes:
        run, inside = (RUNS / Path(name).parts[2], Path(*Path(name).parts[3:]))
        mine = Path(answer["run"]).name == run.name
        before = (case.before / name).read_bytes()
        if (
            mine
            and inside.as_posix() not in unseen
            and _says(name, before) != _says(name, case.changes[name])
        ):
            yield f"verify finds all equal, and says nothing of {inside.as_posix()}"


def _says(name: str, content: Content) -> Any:
    """Return what a file says: of JSON the values, of all others every byte; what is no file says nothing."""
    if isinstance(content, Odd):
        return None
    try:
        if name.endswith(".json"):
            return json.loads(content)
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return content
    return content


def results_stay(case: Case) -> Iterator[str]:
    """Yield that a run was gone on with, ended well, and has other numbers than the same run had."""
    if case.ended[0].code != 0:
        return
    ours, theirs = (
        [
            result["metrics"]
            for run in (folder / RUNS).iterdir()
            for result in read_json(run / "eval/tuned.json")["results"]
        ]
        for folder in (case.folder, case.before)
    )
    if ours != theirs and not any(name.endswith("plan.json") for name in case.changes):
        yield "a run that was gone on with has other results"


A_RUN, A_RUN_OF_TWO = f"{RUNS}/*/**/*", f"{RUNS}/a/**/*"
RUN_TARGETS = (
    Target("judged_runs", judged_runs, (A_RUN_OF_TWO,), LOOK, changes_are_told, imports=IMPORTS, cases=16),
    Target(
        "reported_run", judged_runs, (A_RUN_OF_TWO,), (Job("on_run", ("report",)),), imports=IMPORTS, cases=6
    ),
    Target("ecg_run", ecg_run, (A_RUN,), (LOOK[0], LOOK[2]), changes_are_told, imports=IMPORTS, cases=16),
    Target("resumed_run", ecg_run, (A_RUN,), (RESUME, LOOK[0]), results_stay, imports=IMPORTS, cases=2),
)
