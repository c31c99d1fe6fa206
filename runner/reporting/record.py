"""What a run left behind, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.judges import judge
from eval.lock import lock_differences
from runner.events import read_events
from runner.files import read_json, read_text
from runner.judging.lines import read_lines
from runner.methods import Cost, MethodRow, cost_of, method_row
from runner.reporting.base import RANDOM, has_loaded, method_in_words, rank_of, weights_at_start
from runner.results import results_of
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, RunnerError, UsageError
from runner.spec.shared import Examples

Json = Mapping[str, Any]
MANIFEST = ("sources", "inputs", "records", "dropped", "split", "splits")
"""What the manifest of every kind of run has."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it; what a stage that did not finish would have written is empty."""

    run: str
    """The name that the run was started under, wherever it lies now."""
    plan: Json
    settings: Json
    """Of the report stage, out of the plan."""
    status: Json = field(default_factory=dict)
    environment: Json = field(default_factory=dict)
    manifest: Json = field(default_factory=dict)
    tokens: Json = field(default_factory=dict)
    proof: Json = field(default_factory=dict)
    metrics: Sequence[Json] = ()
    """Step and evaluation events of the training."""
    events: Sequence[Json] = ()
    baseline: Sequence[Json] = ()
    tuned: Sequence[Json] = ()
    teacher: Sequence[Json] = ()
    """Of a distillation: the teacher's results, with `student_minus` where the student could be paired with it."""
    teacher_proof: Json = field(default_factory=dict)
    """Of a teacher that was trained in the run; so are its metrics."""
    teacher_metrics: Sequence[Json] = ()
    resolved: str = ""
    started: str | None = None
    """When the run was started first, UTC to the millisecond; None where its events are gone."""

    @property
    def spec(self) -> Json:
        """The spec that was planned."""
        spec: Json = self.plan["spec"]
        return spec

    @property
    def examples(self) -> Examples:
        """How much of single records the page shows; plans of before this was asked did not say, and show none."""
        word: Examples = self.settings.get("examples", "none")
        return word

    def results(self) -> dict[str, Any]:
        """Return the numbers of the run set beside the published ones."""
        found = results_of(
            self.settings["reference"],
            baseline=self.baseline,
            tuned=self.tuned,
            metrics=self.metrics,
            rehearsal=self.settings["rehearsal"],
            best_step=self.proof.get("best_step"),
            # Adapters are counted while they are trained, and merged afterwards: no size of a model.
            parameters=self.proof.get("total") if self._is_whole() else None,
        )
        rows = self.methods()
        return found | ({"methods": [row.json() for row in rows]} if rows else {})

    def methods(self) -> tuple[MethodRow, ...]:
        """Return the model as it started, the teacher where there is one, and the tuned model; of ECG runs alone."""
        if self.plan["kind"] != "ecg":
            return ()
        spec = self.spec
        rows = [method_row("before training", weights_at_start(self.plan, self.proof), self.baseline, Cost())]
        if self.teacher or self.teacher_proof:
            taught = self._method_of("teacher")
            said = method_in_words(taught) if taught else "as given"
            if taught and not self.plan["rehearsal"] and has_loaded(self.teacher_proof) is False:
                said += f", from {RANDOM}"
            cost = cost_of(self.teacher_metrics, self.teacher_proof)
            rows.append(method_row("teacher", said, self.teacher, cost))
        method = self._method_of("train") or spec["method"]
        words = method_in_words(method) + (", distilled" if spec["distill"] else "")
        rows.append(method_row("tuned", words, self.tuned, cost_of(self.metrics, self.proof)))
        return tuple(rows)

    def _method_of(self, name: str) -> Json | None:
        """Return the method that a training stage was told: that of a rehearsal is not the spec's in every option."""
        told = (stage["settings"].get("method") for stage in self.plan["stages"] if stage["name"] == name)
        found: Json | None = next(told, None)
        return found

    def _is_whole(self) -> bool:
        """Return whether an ECG model was trained without adapters."""
        return self.plan["kind"] == "ecg" and rank_of(self.plan["spec"]["method"]) is None


def read_run(path: Path) -> RunRecord:
    """Return what the run directory at `path` holds.

    Raises:
        MachineError: there is no plan in it, or a file is damaged; names it.
    """
    plan = _json(
        path / "plan.json", "name", "kind", "rehearsal", "spec", "machine", "device", "numbers", "stages"
    )
    told = [stage["settings"] for stage in plan["stages"] if stage["name"] == "report"]
    if not told:
        raise UsageError(
            f"{path} has no stage that reports: it is of `runner data`, or its plan.json was changed"
        )
    baseline, tuned = _results(path, "baseline"), _results(path, "tuned")
    environment = _json(path / "environment.json")
    events = tuple(read_events(path / "events.jsonl")) if (path / "events.jsonl").exists() else ()
    start = next((event for event in events if event["event"] == "run_started"), {})
    judged = paired(path, baseline, tuned)
    return RunRecord(
        run=start.get("run") or _without_events(path, plan, environment),
        plan=plan,
        settings=told[0],
        status=RunDir(path).read_status() if (path / "status.json").exists() else {},
        environment=environment,
        manifest=_json(path / "data" / "manifest.json", *MANIFEST),
        tokens=_json(path / "data" / "tokens.json"),
        proof=_json(path / "train" / "proof.json"),
        metrics=_lines(path / "train" / "metrics.jsonl"),
        events=events,
        baseline=baseline,
        tuned=judged,
        teacher=beside_student(path, _results(path, "teacher"), judged),
        teacher_proof=_json(path / "teacher" / "proof.json"),
        teacher_metrics=_lines(path / "teacher" / "metrics.jsonl"),
        resolved=_text(path / "resolved.yaml"),
        started=start.get("time"),
    )


def _without_events(path: Path, plan: Json, environment: Json) -> str:
    """Return a run's name by its plan and the time it started; by its folder where that is not recorded."""
    started = environment.get("time")
    return f"{plan['name']} of {started}" if started else path.absolute().name


def paired(path: Path, baseline: Sequence[Json], tuned: Sequence[Json]) -> list[dict[str, Any]]:
    """Return the tuned results with `differences`: tuned minus baseline, from both's stored predictions.

    Where the two cannot be paired a note says why: other locks, other records, predictions that are gone.

    Args:
        path: of the run directory; predictions are named relative to it.
        baseline: results before training.
        tuned: results after training, of the same tasks in the same order.
    """
    left = {_key(result): result for result in reversed(baseline)}
    return [_with_differences(path, left.get(_key(result)), result) for result in tuned]


SEEN = "signal.leads_seen"
"""Of two locks: a teacher may see more leads than its student, which is what a comparison of them is about."""


def beside_student(path: Path, teacher: Sequence[Json], tuned: Sequence[Json]) -> list[dict[str, Any]]:
    """Return a teacher's results with `student_minus`: the tuned student minus the teacher, paired.

    Where the two were judged in different ways, but for the leads that each sees, `not_paired` says so.
    """
    students = {_key(result): result for result in reversed(tuned)}
    return [_with_student(path, result, students.get(_key(result))) for result in teacher]


def _with_student(path: Path, teacher: Json, student: Json | None) -> dict[str, Any]:
    if student is None:
        return {**teacher, "not_paired": "the student was not judged"}
    found = lock_differences(teacher["lock"], student["lock"])
    if unequal := [str(difference) for difference in found if difference.path != SEEN]:
        return {**teacher, "not_paired": f"the evaluation locks differ: {'; '.join(unequal)}"}
    try:
        lines = [read_lines(path / result["predictions"]) for result in (teacher, student)]
        return {
            **teacher,
            "student_minus": judge(student["task"]).differences(student["lock"]["task"], *lines),
        }
    except (ValueError, RunnerError) as error:
        return {**teacher, "not_paired": str(error)}
    except (KeyError, TypeError) as error:
        return {**teacher, "not_paired": f"a stored prediction lacks {error}"}


def _key(result: Json) -> tuple[Any, ...]:
    place = result.get("predictions")
    return (
        result.get("name", result["task"]),
        result["split"],
        Path(place).name if place else None,
    )


def _with_differences(path: Path, before: Json | None, after: Json) -> dict[str, Any]:
    if before is None or "lock" not in before or "lock" not in after or "differences" in after:
        return dict(after)
    unequal = lock_differences(before["lock"], after["lock"])
    if unequal:
        why = "the evaluation locks differ: " + "; ".join(map(str, unequal))
        return _not_paired(after, why)
    try:
        lines = [read_lines(path / result["predictions"]) for result in (before, after)]
        found = judge(after["task"]).differences(after["lock"]["task"], *lines)
    except (ValueError, RunnerError) as error:
        return _not_paired(after, str(error))
    except (KeyError, TypeError) as error:
        return _not_paired(after, f"a stored prediction lacks {error}")
    return {**after, "differences": found}


def _not_paired(after: Json, why: str) -> dict[str, Any]:
    return {**after, "notes": [*after.get("notes", ()), f"Tuned and baseline are not paired: {why}."]}


def _results(path: Path, name: str) -> list[dict[str, Any]]:
    file = path / "eval" / f"{name}.json"
    results: list[dict[str, Any]] = _json(file, "results").get("results", [])
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise MachineError(f"{file} is damaged: results: expected a list of objects")
    return results


def _json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the object in a file, which has these keys; an empty one where there is no file."""
    if not path.exists() and path.name != "plan.json":
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise MachineError(f"{path} is damaged: expected an object, got {type(found).__name__}")
    if lacking := [key for key in keys if key not in found]:
        raise MachineError(
            f"{path} is damaged, or of another release of runner: it has no {', '.join(lacking)}"
        )
    return found


def _lines(path: Path) -> tuple[Json, ...]:
    found = tuple(read_lines(path)) if path.exists() else ()
    for number, line in enumerate(found, start=1):
        if not isinstance(line.get("event"), str):
            raise MachineError(f"{path}:{number} is damaged: no event")
    return found


def _text(path: Path) -> str:
    return read_text(path) if path.exists() else ""
