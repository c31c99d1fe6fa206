"""The backend for ECG models: our own PyTorch trains, in our own stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from converters.ecg_numbers import numbers_of, numbers_of_training
from converters.numbers import Counts, Numbers
from runner.backends.report import report_stage
from runner.rehearse_ecg import STAND_IN, WHY, rehearsed
from runner.spec.ecg import Distill, EcgModel, EcgSpec, EcgTrain, SignalMultilabelTask
from runner.spec.ecg_facts import LEADS, PUBLISHED_ENDINGS, PUBLISHED_HZ, devices, shape_after, trainings
from runner.spec.ecg_methods import EcgMethod
from runner.spec.ecg_rules import needs_cuda
from runner.spec.environment import empty_unless_set
from runner.stage import PlannedFile, Stage

__all__ = [
    "DEVICES",
    "WHY",
    "config",
    "files",
    "needs_cuda",
    "notes",
    "numbers_of",
    "rehearsed",
    "stages",
    "stated_counts",
    "with_counts",
]

DEVICES = ("cuda", "cpu")
"""What `auto` may mean, the first that is there. Apple's GPU has no 64-bit numbers, in which losses are compared."""

RECORDS = ("data/records.h5", "data/split.json", "data/manifest.json")
"""What the data stage leaves: signals and labels, who is on which side, and what was counted."""
TEACHER_JUDGED = "judge_teacher"
"""Name of the stage that judges a teacher; the stage `teacher` trains it."""
DATA_CACHE = "../../.cache/data"
"""From a run directory to the cache that all runs of a runs folder share."""
NOT_IN_A_STAGE: Mapping[str, str] = {
    "spec": "the version of the format",
    "name": "names the run directory, and heads the report where it has no title",
    "kind": "chooses this backend",
    "sweep": "made into arms before there is a plan",
    "compute.target": "where the executor starts the stages",
    "compute.gpu": "compared with the machine before the launch",
    "compute.nodes": "1, by rule R084",
}
"""Spec path -> why no stage is told it."""


def stated_counts(_spec: EcgSpec) -> Counts | None:
    """Return None: how many recordings are usable, and have a label, is known when they have been read."""
    return None


def with_counts(spec: EcgSpec, _counts: Counts) -> EcgSpec:
    """Return the spec as it is: no rule of this kind depends on how many records there are."""
    return spec


def files(_spec: EcgSpec, _numbers: Numbers) -> tuple[PlannedFile, ...]:
    """Return none: our trainer is told everything in the settings of its stage."""
    return ()


def config(spec: EcgSpec, _numbers: Numbers) -> Mapping[str, Any]:
    """Return what the stages are told of the experiment, by the spec's own keys."""
    whole = spec.model_dump(mode="json")
    kept = ("model", "data", "method", "train", "distill", "compute")
    made = {key: whole[key] for key in kept if whole[key] is not None}
    return made | {f"evaluate[{n}]": task for n, task in enumerate(whole["evaluate"])}


def notes(spec: EcgSpec, numbers: Numbers) -> tuple[str, ...]:
    """Return what a person should know before the run."""
    found: list[str] = []
    if numbers.train_records is None:
        found.append(
            "records are counted by the data stage: what cannot be used, or has no label, is left out"
        )
    if spec.data.split.by == "record":
        found.append(
            "data.split.by is record: a patient's recordings can stand in training and in the test, which makes "
            "results look better than they are"
        )
    for path, model, method, _ in trainings(spec):
        where = "the teacher's " if path else ""
        found.extend(f"{where}{text}" for text in (*_of_weights(model, method), *_of_rate(model, spec)))
        if method.name == "fusion":
            found.extend(f"{where}{text}" for text in _of_fusion(method))
    return tuple(found)


def _of_weights(model: EcgModel, method: EcgMethod) -> list[str]:
    """Return what is to be said of weights that may be random; a plan does not know what variables are set to."""
    frozen = method.name in ("linear_probe", "lora") or getattr(method, "lora", None) is not None
    random = f"{method.name} leaves most weights at their random start"
    if not model.checkpoint:
        return [f"model.checkpoint is not given: {random}"] if frozen else []
    names = empty_unless_set(model.checkpoint)
    if not names:
        return []
    unset = f"if {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set"
    then = random if frozen else "training starts from random weights"
    return [f"model.checkpoint is {model.checkpoint}: {unset}, {then}"]


def _of_rate(model: EcgModel, spec: EcgSpec) -> list[str]:
    """Return what is to be said of a published checkpoint that was trained at another sampling rate.

    What a checkpoint of ours was trained on stands in its file, which a plan does not open: the training says it.
    """
    _, fs_hz = shape_after(spec.data)
    if not (model.checkpoint or "").endswith(PUBLISHED_ENDINGS) or fs_hz in (None, PUBLISHED_HZ):
        return []
    return [
        f"model.checkpoint is a published one, trained on recordings of {PUBLISHED_HZ:g} Hz; these come out with "
        f"{fs_hz:g} Hz, as in published use: a wave has {fs_hz / PUBLISHED_HZ:g} times the samples. Compare with "
        f"{{step: resample, fs_hz: {PUBLISHED_HZ:g}}}"
    ]


def _of_fusion(method: Any) -> list[str]:
    found = []
    if method.compat == "upstream":
        found.append("method.compat is upstream: the published code's defects are reproduced, for ablation")
    if {method.coef.model_dump().get(name, 1) for name in ("value", "first", "then", "start", "end")} != {1}:
        found.append(
            "method.coef is below 1: the zeroth-order part is a small one; its control is the same run with coef 1, "
            "the tiny batch's gradient alone"
        )
    return found


# -------------------------------------------------------------------------------------------- stages


def stages(spec: EcgSpec, numbers: Numbers, *, rehearsal: bool) -> tuple[Stage, ...]:
    """Return the processes of a run.

    Data, an evaluation of the model as it starts, the teacher where one is trained first, that of the teacher where
    there is one, the training, the same evaluation again, and the report.
    """
    result = [_data(spec, rehearsal=rehearsal)]
    if spec.evaluate:
        result.append(_evaluation(spec, "baseline"))
    distill = spec.distill
    if distill is not None and (teacher := distill.train_teacher) is not None:
        counts = _counts(numbers)
        of_teacher = numbers_of_training(teacher.train, devices(spec), counts)
        result.append(
            _training(
                spec, "teacher", teacher.model, teacher.method, teacher.train, of_teacher, student=False
            )
        )
    if distill is not None and spec.evaluate:
        result.append(_evaluation_of_teacher(spec, distill))
    student = distill is not None
    result.append(_training(spec, "train", spec.model, spec.method, spec.train, numbers, student=student))
    if spec.evaluate:
        result.append(_evaluation(spec, "evaluate"))
    report = report_stage(spec, rehearsal=rehearsal)
    judged = tuple(path for stage in result if stage.name == TEACHER_JUDGED for path in stage.writes)
    result.append(replace(report, reads=(*report.reads, *judged)))
    environment = _environment(spec)
    return tuple(
        Stage(s.name, s.module, s.reads, s.writes, s.settings, {**environment, **s.environment})
        for s in result
    )


def _counts(numbers: Numbers) -> Counts | None:
    found = (numbers.train_records, numbers.validation_records, numbers.test_records)
    train, validation, test = found
    return None if train is None else Counts(train, validation or 0, test or 0)


def _environment(spec: EcgSpec) -> dict[str, str]:
    """Return what every stage's process gets: nothing is asked of a hub, and as many GPUs in sight as planned."""
    count = spec.compute.gpus if spec.compute.device == "cuda" else 0
    visible = ",".join(str(number) for number in range(count))
    return {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": visible}


def _data(spec: EcgSpec, *, rehearsal: bool) -> Stage:
    samples, fs_hz = shape_after(spec.data)
    return Stage(
        "data",
        "runner.stages.ecg_data",
        reads=(),
        writes=RECORDS,
        settings={
            "data": spec.data.model_dump(mode="json"),
            "leads": list(spec.model.leads),
            "samples": samples,
            "fs_hz": fs_hz,
            "stand_in": dict(STAND_IN) if rehearsal else None,
            "cache": DATA_CACHE,
        },
    )


def _betas(spec: EcgSpec) -> list[float]:
    """Return the betas of the tasks' F-betas, for which the training leaves thresholds; the default's without a task."""
    default: float = SignalMultilabelTask.model_fields["beta"].default
    return sorted({task.beta for task in spec.evaluate}) or [default]


def _seen(spec: EcgSpec) -> list[int]:
    """Return the places of the leads that the model sees; a student may see a few, and zeros for the others."""
    if spec.distill is None or spec.distill.leads == len(LEADS):
        return list(range(len(spec.model.leads)))
    return [LEADS.index(name) for name in (("II", "V1", "V5") if spec.distill.leads == 3 else ("I",))]


def _training(
    spec: EcgSpec,
    name: str,
    model: EcgModel,
    method: EcgMethod,
    train: EcgTrain,
    numbers: Numbers,
    *,
    student: bool,
) -> Stage:
    distill = spec.distill if student else None
    first = distill is not None and distill.train_teacher is not None
    under = None
    if distill is not None:
        under = distill.model_dump(mode="json", exclude={"train_teacher"})
        under["teacher"] = "teacher/final" if first else distill.teacher
    return Stage(
        name,
        "runner.stages.ecg_train",
        reads=(*RECORDS, *(("teacher/final",) if first else ())),
        writes=(f"{name}/final", f"{name}/proof.json", f"{name}/metrics.jsonl"),
        settings={
            "model": model.model_dump(mode="json"),
            "method": method.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
            "distill": under,
            "betas": _betas(spec),
            "out": name,
            "device": spec.compute.device,
            "strategy": spec.compute.strategy,
            "tracking": spec.tracking.model_dump(mode="json"),
            "expect": {
                "steps": numbers.steps,
                "warmup_steps": numbers.warmup_steps,
                "rows": numbers.rows,
                "world_size": numbers.world_size,
            },
        },
    )


def _evaluation(spec: EcgSpec, name: str) -> Stage:
    trained = name == "evaluate"
    stage = _judging(spec, name, "eval/tuned" if trained else "eval/baseline", "train" if trained else None)
    return replace(stage, settings={**stage.settings, "weights": "train/final" if trained else None})


def _evaluation_of_teacher(spec: EcgSpec, distill: Distill) -> Stage:
    """Return the stage that judges the teacher on the student's records, all leads in sight."""
    first = distill.train_teacher is not None
    stage = _judging(spec, TEACHER_JUDGED, "eval/teacher", "teacher" if first else None)
    more = {
        "model": None,
        "weights": "teacher/final" if first else distill.teacher,
        "leads_seen": list(range(len(spec.model.leads))),
    }
    return replace(stage, settings={**stage.settings, **more})


def _judging(spec: EcgSpec, name: str, out: str, trained: str | None) -> Stage:
    """Return a stage that judges; `trained`: the folder of the training that it waits for."""
    return Stage(
        name,
        "runner.stages.ecg_evaluate",
        reads=(*RECORDS, f"{trained}/final", f"{trained}/proof.json") if trained else RECORDS,
        writes=(f"{out}.json", out),
        settings={
            "model": spec.model.model_dump(mode="json"),
            "aux": spec.train.aux is not None,
            "seed": spec.train.seed,
            "leads_seen": _seen(spec),
            "tasks": [task.model_dump(mode="json") for task in spec.evaluate],
            "device": spec.compute.device,
            "precision": spec.train.precision,
            "out": f"{out}.json",
            "trained_on": f"{trained}/proof.json" if trained else None,
        },
    )
