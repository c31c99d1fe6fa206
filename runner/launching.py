"""The edge around `execute`: what is checked before a run exists, how it is made, how it is told.

Nothing is started, and no run directory made, while anything is known to be wrong.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from runner.events import read_events
from runner.execute import Outcome, execute
from runner.files import read_json, write_json, write_text
from runner.plan import FORMAT, Plan, make_plan, plan_from_json, plan_to_json
from runner.probe import probe_machine
from runner.progress import progress_for
from runner.rehearse import rehearsed
from runner.run_dir import RunDir, create, find
from runner.show import learned_from, results_text
from runner.spec.environment import expand
from runner.spec.load import Loaded
from runner.spec.model import TINY_RANDOM, Spec
from runner.spec.problems import MachineError, Problem, SpecError, UsageError
from runner.spec.resolved import resolved_text
from runner.spec.sources import MedquadSource, MessagesSource, MixtureData
from runner.spec.tasks import LmEvalTask
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import dotted
from runner.sweep import arms
from runner.task_files import unusable_tasks
from runner.validate import load_arm

NEEDED = {"axolotl": "train", "matplotlib": "train", "torch": "train", "transformers": "train"}
"""Package -> the extra that brings it."""


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
    file: Path,
    arm: str | None,
    sets: Sequence[str],
    runs: Path,
    environ: Mapping[str, str],
    *,
    rehearse: bool,
    now: datetime,
) -> Prepared:
    """Check a spec and this machine, and make the run directory.

    Raises:
        SpecError: the spec is wrong, or names a local file that is not there.
        MachineError: a package or a GPU is missing, or the runs folder cannot be written to.
    """
    loaded = load_arm(file, arm, sets, environ)
    if arm is None and loaded.spec.sweep is not None:
        names = ", ".join(item.name for item in arms(loaded.spec))
        raise UsageError(f"{file} is a sweep; launch one of its arms with --arm NAME\n  arms: {names}")
    missing = [
        *missing_files(loaded, environ, rehearse=rehearse),
        *unusable_tokenizer(loaded, environ, rehearse=rehearse),
    ]
    missing = missing or list(unusable_tasks(loaded, environ))
    if missing:
        raise SpecError(missing)
    plan = make_plan(loaded.spec, probe_machine(), rehearse=rehearse)
    lacking = [*plan.lacks, *missing_packages(rehearsed(loaded.spec) if rehearse else loaded.spec)]
    if lacking:
        listed = "\n".join(f"  {item}" for item in lacking)
        raise MachineError(f"this machine lacks something; nothing was started\n{listed}")
    run = create(runs, plan.name, plan_to_json(plan), now)
    try:
        write_json(run.plan, plan_to_json(plan))
        write_text(run.path / "spec.yaml", loaded.text)
        write_text(run.path / "resolved.yaml", resolved_text(loaded))
    except MachineError:
        shutil.rmtree(run.path, ignore_errors=True)  # half a run would only be in the way
        raise
    return Prepared(plan, run, resumed=False)


def resumed(path: Path) -> Prepared:
    """Return a run that was begun earlier.

    Raises:
        UsageError: there is no run at `path`.
    """
    run = find(path)
    stored = read_json(run.plan)
    found = stored.get("format") if isinstance(stored, dict) else None
    if found != FORMAT:
        raise UsageError(f"{run.plan} has format {found!r}; this release of runner goes on with {FORMAT}")
    try:
        plan = plan_from_json(stored)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{run.plan} was written by another release of runner: {error}") from error
    return Prepared(plan, run, resumed=True)


def run(
    prepared: Prepared, environ: Mapping[str, str], *, quiet: bool, say: Callable[[str], None]
) -> Finished:
    """Execute a prepared run and return how it ended."""
    say(f"{'resuming' if prepared.resumed else 'run'} {_shown(prepared.run.path)}")
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
        say(f"interrupted; go on with: runner launch --resume {_shown(prepared.run.path)}")
    return _finished(prepared.run, outcome, rehearsal=prepared.plan.rehearsal)


def _finished(run: RunDir, outcome: Outcome, *, rehearsal: bool) -> Finished:
    results_file = run.path / "report" / "results.json"
    results = read_json(results_file) if outcome.state == "done" else None
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
        lines += [results_text(results), "", f"report: {_shown(run.path / 'report' / 'report.html')}"]
    return Finished(outcome.exit_code, "\n".join([*lines, _shown(run.path)]), summary)


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


def missing_packages(spec: Spec) -> list[str]:
    """Return what is to be installed before this spec can run here, each with the command."""
    extras = sorted({extra for package, extra in NEEDED.items() if find_spec(package) is None})
    missing = [f"packages of the extra {extra!r}: pip install 'runner[{extra}]'" for extra in extras]
    asked = {
        "mlflow": ("tracking.mlflow", spec.tracking.mlflow is not None),
        "wandb": ("tracking.wandb", spec.tracking.wandb is not None),
        "tensorboard": ("tracking.tensorboard", spec.tracking.tensorboard),
        "bitsandbytes": (
            "4-bit weights and 8-bit optimisers",
            spec.method.name == "qlora" or spec.train.optimizer == "adamw_bnb_8bit",
        ),
        "flash_attn": ("model.attention", spec.model.attention == "flash_attention_2"),
        "deepspeed": ("compute.strategy", spec.compute.strategy.startswith("zero")),
    }
    if any(isinstance(task, LmEvalTask) for task in spec.evaluate) and find_spec("lm_eval") is None:
        missing.append("lm-eval, which `evaluate` asks for: pip install 'runner[eval]'")
    return missing + [
        f"the package for {what}: pip install {package.replace('_', '-')}"
        for package, (what, wanted) in asked.items()
        if wanted and find_spec(package) is None
    ]


def missing_files(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> Sequence[Problem]:
    """Return a problem for each local file or folder that the spec names and that is not there.

    A rehearsal reads neither the weights nor an adapter, so these may be missing.
    """
    problems = []
    for path, given in _named_files(loaded.spec, rehearse=rehearse):
        text = expand(given, environ)
        local = path[-1] in ("root", "path", "data", "include") or text.startswith(("/", "./", "../"))
        real = Path(text)
        if not local or (real.exists() and (path[-1] != "root" or next(real.glob("*/*.xml"), None))):
            continue
        mark = loaded.tree.mark(path)
        if real.exists():
            message, hint = (
                f"no folder in {real} holds an XML file",
                "it is the folder of 1_CancerGov_QA and the like",
            )
            problems.append(
                Problem(mark.file, mark.line, mark.column, dotted(path), "missing-file", message, hint)
            )
            continue
        beside = [item.name for item in real.parent.iterdir()] if real.parent.is_dir() else []
        hint = _hint(given, path, real, beside)
        problems.append(
            Problem(
                mark.file, mark.line, mark.column, dotted(path), "missing-file", f"nothing at {real}", hint
            )
        )
    return problems


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
)


def unusable_tokenizer(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> Sequence[Problem]:
    """Return a problem where the tokenizer's folder has none of the files that the engine looks for.

    A tiny model takes GPT-2's original file names too: its tokenizer is written anew beside it.
    """
    given = loaded.spec.model.tokenizer
    tiny = rehearse or loaded.spec.model.base == TINY_RANDOM
    if given is None or tiny or not expand(given, environ).startswith("/"):
        return ()
    folder = Path(expand(given, environ))
    if not folder.is_dir() or any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return ()
    mark = loaded.tree.mark(("model", "tokenizer"))
    there = sorted(item.name for item in folder.iterdir())[:8]
    message = (
        f"{folder} holds no tokenizer that the engine can load; it holds {', '.join(there) or 'nothing'}"
    )
    hint = "one of these files is needed: " + ", ".join(_TOKENIZER_FILES)
    if "encoder.json" in there:
        hint += "; rename encoder.json to vocab.json and vocab.bpe to merges.txt"
    return (Problem(mark.file, mark.line, mark.column, "model.tokenizer", "missing-file", message, hint),)


def _hint(given: str, path: SpecPath, real: Path, beside: Sequence[str]) -> str:
    from runner.spec.nearest import nearest

    near = nearest(real.name, beside)
    if near:
        return f"nearest: {real.parent / near}"
    variable = given[len("${env:") :].split(":-")[0].rstrip("}") if given.startswith("${env:") else ""
    also = f" or {variable}" if variable else ""
    if any(isinstance(part, int) for part in path):  # --set does not reach into a list
        return f"change {dotted(path)}, or set {variable}" if variable else f"change {dotted(path)}"
    return f"set {dotted(path)}{also}, for example --set {dotted(path)}=FOLDER"


def _named_files(spec: Spec, *, rehearse: bool) -> list[tuple[SpecPath, str]]:
    sources: list[tuple[SpecPath, Any]] = [(("data",), spec.data)]
    if isinstance(spec.data, MixtureData):
        sources = [(("data", "components", n), part) for n, part in enumerate(spec.data.components)]
    found: list[tuple[SpecPath, str | None]] = []
    for path, source in sources:
        if isinstance(source, MedquadSource):
            found.append(((*path, "root"), source.root))
        elif isinstance(source, MessagesSource):
            found.append(((*path, "path"), source.path))
        else:
            found.append(((*path, "id"), getattr(source, "id", None)))
    found.append((("model", "tokenizer"), spec.model.tokenizer))
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, LmEvalTask):
            found += [(("evaluate", number, name), getattr(task, name)) for name in ("data", "include")]
    if not rehearse:
        found += [(("model", "base"), spec.model.base), (("model", "adapter"), spec.model.adapter)]
    return [(path, text) for path, text in found if text is not None]


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
