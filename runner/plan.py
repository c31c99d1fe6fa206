"""Spec + machine -> plan: the files to write and the stages to run. Pure.

No disk, no GPU, no clock, no environment variable. `runner plan` prints the object that
`runner launch` executes and stores, so what was planned and what ran cannot differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.numbers import Counts, Numbers, numbers_of, stated_counts
from runner.backends import backend
from runner.machine import Machine
from runner.rehearse import Difference, differences, rehearsed
from runner.spec.judge_rules import judges_away
from runner.spec.model import KINDS, Spec
from runner.spec.problems import CountedError
from runner.spec.rules import broken_rules, needs_cuda
from runner.spec.yaml_text import dotted
from runner.stage import PlannedFile, Stage

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """What a launch does. Stored as `plan.json`."""

    format: int
    name: str
    kind: str
    rehearsal: bool
    spec: Mapping[str, Any]
    """The spec as asked for, in JSON form; placeholders are kept."""
    machine: Machine
    counts: Counts | None
    """Records per split; None until the data stage has counted them, where the spec has ratios."""
    device: str
    numbers: Numbers
    files: tuple[PlannedFile, ...]
    stages: tuple[Stage, ...]
    changes: tuple[Difference, ...]
    """Engine keys in which a rehearsal differs from the real run."""
    notes: tuple[str, ...]
    lacks: tuple[str, ...]
    """What this machine lacks; a launch refuses to start while there is anything."""


def make_plan(spec: Spec, machine: Machine, *, rehearse: bool = False, counts: Counts | None = None) -> Plan:
    """Return the plan of `spec` on `machine`.

    Args:
        spec: a checked spec.
        machine: what the machine offers.
        rehearse: plan the rehearsal of the spec: tiny, on the CPU, the same way otherwise.
        counts: records per split, once they are known; without it those that the spec states.

    Raises:
        CountedError: the best checkpoint is to be kept, but saves and evaluations do not fall together.
    """
    wanted = rehearsed(spec) if rehearse else spec
    device = resolve_device(wanted, machine)
    actual = _with_device(wanted, device)
    known = counts or stated_counts(actual)
    numbers = numbers_of(actual, known)
    _require_best_is_saved(actual, numbers)
    engine = backend(type(spec).BACKEND)
    files = engine.files(actual, numbers)
    return Plan(
        format=FORMAT,
        name=spec.name,
        kind=spec.kind,
        rehearsal=rehearse,
        spec=spec.model_dump(mode="json"),
        machine=machine,
        counts=known,
        device=device,
        numbers=numbers,
        files=files,
        stages=engine.stages(actual, numbers, rehearsal=rehearse),
        changes=_changes(spec, files) if rehearse else (),
        notes=_notes(actual, numbers),
        lacks=lacks(actual, machine),
    )


def resolve_device(spec: Spec, machine: Machine) -> str:
    """Return the device that `auto` means on this machine."""
    if spec.compute.device != "auto":
        return spec.compute.device
    if machine.gpus:
        return "cuda"
    return "mps" if machine.mps else "cpu"


def lacks(spec: Spec, machine: Machine) -> tuple[str, ...]:
    """Return what the machine lacks for a spec whose device is resolved."""
    missing: list[str] = []
    compute, precision = spec.compute, spec.train.precision
    if compute.device == "cuda" and machine.gpus < compute.gpus:
        missing.append(
            f"compute.gpus asks for {compute.gpus} CUDA device(s); this machine has {machine.gpus}"
        )
    if compute.device == "mps" and not machine.mps:
        missing.append("compute.device is mps; this machine has no Apple GPU")
    if compute.device in ("cpu", "mps"):
        missing.extend(
            f"{dotted(path)}: {given} (this machine has no CUDA device)" for path, given in needs_cuda(spec)
        )
    elif precision == "bf16" and not machine.bf16:
        missing.append(
            f"train.precision is bf16; {machine.gpu_name or compute.device} does not compute in it"
        )
    if compute.gpu and machine.gpu_name and compute.gpu.lower() not in machine.gpu_name.lower():
        missing.append(f"compute.gpu asks for {compute.gpu!r}; this machine has {machine.gpu_name!r}")
    return tuple(missing)


def _require_best_is_saved(spec: Spec, numbers: Numbers) -> None:
    """Refuse cadences in steps with which the engine would end with the last checkpoint instead of the best."""
    save, evaluate = numbers.save_every, numbers.evaluate_every
    best = spec.train.keep_best or spec.train.early_stopping is not None
    if best and save is not None and evaluate is not None and save % evaluate:
        raise CountedError(
            f"a checkpoint every {save} steps does not fall on the evaluations, which are every {evaluate}: "
            "the best one could not be kept\n  give train.save_every as a multiple of train.evaluate_every"
        )


def _with_device(spec: Spec, device: str) -> Spec:
    return spec.model_copy(update={"compute": spec.compute.model_copy(update={"device": device})})


def _changes(spec: Spec, files: tuple[PlannedFile, ...]) -> tuple[Difference, ...]:
    """Return how the rehearsal's engine config differs from that of the real run on a GPU."""
    device = "cuda" if spec.compute.device == "auto" else spec.compute.device
    real = _with_device(spec, device)
    engine = backend(type(spec).BACKEND)
    return differences(
        engine.config_of(engine.files(real, numbers_of(real, stated_counts(real)))), engine.config_of(files)
    )


def _notes(spec: Spec, numbers: Numbers) -> tuple[str, ...]:
    notes: list[str] = []
    hub = not spec.model.base.startswith(("/", "./", "../", "tiny-random", "${"))
    if hub and spec.model.revision is None:
        notes.append(
            f"model.revision is not given: {spec.model.base} is taken as it is on the day; a commit makes it repeatable"
        )
    if numbers.steps is None:
        notes.append("data.split has ratios: steps are known once the data stage has counted the records")
    elif numbers.warmup_steps is not None and numbers.warmup_steps >= numbers.steps:
        notes.append(f"the warm-up of {numbers.warmup_steps} steps does not end within {numbers.steps} steps")
    notes.extend(
        f"text leaves this machine: the answers and references of {task.split} are sent to the judge at {place}"
        for task, place in judges_away(spec)
    )
    return tuple(notes)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as a JSON value."""
    return dataclasses.asdict(plan)


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """Return the plan that `plan_to_json` wrote."""
    return Plan(
        **{
            **value,
            "machine": Machine(**value["machine"]),
            "counts": Counts(**value["counts"]) if value["counts"] else None,
            "numbers": Numbers(**value["numbers"]),
            "files": tuple(PlannedFile(**item) for item in value["files"]),
            "stages": tuple(
                Stage(**{**item, "reads": tuple(item["reads"]), "writes": tuple(item["writes"])})
                for item in value["stages"]
            ),
            "changes": tuple(Difference(**item) for item in value["changes"]),
            "notes": tuple(value["notes"]),
            "lacks": tuple(value["lacks"]),
        }
    )


def spec_from_json(value: Mapping[str, Any]) -> Spec:
    """Return the spec stored in a plan. Lists become tuples, as the strict classes want them."""
    return KINDS[value["kind"]].model_validate(_tuples(value))  # type: ignore[return-value]  # one kind so far


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def complete(plan: Plan, counts: Counts) -> Plan:
    """Return the same plan with the records counted: what was not known becomes numbers.

    Raises:
        CountedError: with these counts the spec breaks a rule, such as early stopping without validation
            records; nothing was trained.
    """
    spec = spec_from_json(plan.spec)
    if broken := list(broken_rules(_with_counts(spec, counts))):
        lines = [f"{dotted(rule.path)}: {rule.message} [{rule.code}]\n  {rule.hint}" for rule in broken]
        found = (
            f"{counts.train:,} for training, {counts.validation:,} for validation, {counts.test:,} for test"
        )
        raise CountedError("\n".join([f"the data stage counted {found} records", *lines]))
    return make_plan(spec, plan.machine, rehearse=plan.rehearsal, counts=counts)


def _with_counts(spec: Spec, counts: Counts) -> Spec:
    """Return the spec as if it stated the counts."""
    by = "record" if spec.data.split.by == "given" else spec.data.split.by
    split = spec.data.split.model_copy(update={**dataclasses.asdict(counts), "by": by})
    return spec.model_copy(update={"data": spec.data.model_copy(update={"split": split})})
