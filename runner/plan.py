"""Spec + machine -> plan: the files to write and the stages to run. Pure.

No disk, no GPU, no clock, no environment variable. `runner plan` prints the object that
`runner launch` executes and stores, so what was planned and what ran cannot differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.numbers import Counts, Numbers
from runner.backends import backend
from runner.machine import Machine
from runner.rehearse import Difference, differences
from runner.spec.kinds import KINDS, Spec, broken_rules
from runner.spec.problems import CountedError
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
    engine = backend(spec.BACKEND)
    wanted = engine.rehearsed(spec) if rehearse else spec
    device = resolve_device(wanted, machine)
    actual = _with_device(wanted, device)
    known = counts or engine.stated_counts(actual)
    numbers = engine.numbers_of(actual, known)
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
        files=engine.files(actual, numbers),
        stages=engine.stages(actual, numbers, rehearsal=rehearse),
        changes=_changes(spec, actual, numbers) if rehearse else (),
        notes=engine.notes(actual, numbers),
        lacks=lacks(actual, machine),
    )


def resolve_device(spec: Spec, machine: Machine) -> str:
    """Return the device that `auto` means on this machine."""
    if spec.compute.device != "auto":
        return spec.compute.device
    there = {"cuda": machine.gpus > 0, "mps": machine.mps, "cpu": True}
    return next(device for device in backend(spec.BACKEND).DEVICES if there[device])


def lacks(spec: Spec, machine: Machine) -> tuple[str, ...]:
    """Return what the machine lacks for a spec whose device is resolved."""
    missing: list[str] = []
    compute, precision = spec.compute, spec.train.precision
    if compute.device == "cuda" and machine.gpus < compute.gpus:
        missing.append(
            f"compute.gpus asks for {compute.gpus} CUDA device{'' if compute.gpus == 1 else 's'}; this machine has {machine.gpus}"
        )
    if compute.device == "mps" and not machine.mps:
        missing.append("compute.device is mps; this machine has no Apple GPU")
    if compute.device in ("cpu", "mps"):
        missing.extend(
            f"{dotted(path)}: {given} (this machine has no CUDA device)"
            for path, given in backend(spec.BACKEND).needs_cuda(spec)
        )
    elif precision == "bf16" and machine.gpus > 0 and not machine.bf16:
        missing.append(
            f"train.precision is bf16; {machine.gpu_name or compute.device} does not compute in it"
        )
    if compute.gpu and machine.gpu_name and compute.gpu.lower() not in machine.gpu_name.lower():
        missing.append(f"compute.gpu asks for {compute.gpu!r}; this machine has {machine.gpu_name!r}")
    return tuple(missing)


def _with_device(spec: Spec, device: str) -> Spec:
    return spec.model_copy(update={"compute": spec.compute.model_copy(update={"device": device})})


def _changes(spec: Spec, rehearsal: Spec, numbers: Numbers) -> tuple[Difference, ...]:
    """Return how the rehearsal's engine config differs from that of the real run on a GPU."""
    device = "cuda" if spec.compute.device == "auto" else spec.compute.device
    real = _with_device(spec, device)
    engine = backend(spec.BACKEND)
    before = engine.config(real, engine.numbers_of(real, engine.stated_counts(real)))
    return differences(before, engine.config(rehearsal, numbers), engine.WHY)


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
    return KINDS[value["kind"]].model_validate(_tuples(value))


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def complete(plan: Plan, counts: Counts) -> Plan:
    """Return the same plan with the records counted: what was not known becomes numbers. Its stages stay the same ones.

    Raises:
        CountedError: with these counts the spec breaks a rule, such as early stopping without validation
            records; nothing was trained.
    """
    spec = spec_from_json(plan.spec)
    # A stored spec has its defaults written out: what a rule says of that is no news.
    before = {(rule.code, rule.path) for rule in broken_rules(spec)}
    counted = backend(spec.BACKEND).with_counts(spec, counts)
    if broken := [rule for rule in broken_rules(counted) if (rule.code, rule.path) not in before]:
        lines = [f"{dotted(rule.path)}: {rule.message} [{rule.code}]\n  {rule.hint}" for rule in broken]
        found = (
            f"{counts.train:,} for training, {counts.validation:,} for validation, {counts.test:,} for test"
        )
        raise CountedError("\n".join([f"the data stage counted {found} records", *lines]))
    known = make_plan(spec, plan.machine, rehearse=plan.rehearsal, counts=counts)
    stages = {stage.name: stage for stage in known.stages}
    return dataclasses.replace(known, stages=tuple(stages.get(stage.name, stage) for stage in plan.stages))
