"""The plan of an ECG spec: its stages, its numbers, and that every key of the spec reaches a stage."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from converters.ecg_numbers import numbers_of, numbers_of_training
from converters.numbers import Counts
from runner.backends import native
from runner.machine import Machine
from runner.native.feed import Order
from runner.plan import Plan, complete, make_plan, plan_from_json, plan_to_json
from runner.show import plan_text
from runner.spec.ecg import EcgSpec, EcgTrain
from runner.spec.fields import leaves
from runner.spec.kinds import broken_rules, rules_of
from runner.spec.rule import broken
from runner.validate import load_spec
from tests.support.ecg_specs import OTHERS, every_variant, make_ecg
from tests.support.specs import FOLDER

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
MAC = replace(CPU, system="Darwin", mps=True)
H200S = Machine("Linux", 64, 500.0, 4, "NVIDIA H200", 139.0, False, True)
VARIANTS = every_variant()
GEORGIA = Counts(827, 206, 9309)
"""Upper bounds of FUSION 1.2."""


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_right_and_its_plan_survives_storing(name: str) -> None:
    assert list(broken_rules(VARIANTS[name])) == []
    plan = make_plan(VARIANTS[name], H200S)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan
    assert plan.lacks == ()
    assert "tokens" not in plan_text(plan)


def test_there_is_a_variant_for_every_key() -> None:
    """Otherwise the next test would pass by looking at nothing."""
    missing = {leaf.path for leaf in leaves(EcgSpec)} - {
        path for spec in VARIANTS.values() for path, _ in values_of(spec)
    }
    # Sections that the small spec has under `model` and `train` stand in a teacher's too: one variant has them all.
    assert {path for path in missing if not path.startswith("distill.train_teacher.")} == set()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_key_reaches_a_stage_or_is_listed(name: str) -> None:
    """A value changed anywhere changes what a stage is told; a list of exceptions says why not."""
    spec = VARIANTS[name]
    told = stages_of(spec)
    silent = []
    for path, place in values_of(spec):
        changed = with_value(spec, place)
        if changed is not None and stages_of(changed) == told and not new_faults(spec, changed):
            silent.append(path)
    unlisted = [p for p in silent if not any(p == n or p.startswith(f"{n}.") for n in native.NOT_IN_A_STAGE)]
    assert unlisted == []


def test_the_list_of_exceptions_names_keys_that_are_there() -> None:
    assert native.NOT_IN_A_STAGE.keys() <= {leaf.path for leaf in leaves(EcgSpec)}


Place = tuple[str | int, ...]


def values_of(section: BaseModel, path: str = "", place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Yield every key below a section that has a value: its dotted path, and where it stands."""
    for name in type(section).model_fields:
        value, here, at = getattr(section, name), f"{path}.{name}" if path else name, (*place, name)
        yield here, at
        for number, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(item, BaseModel):
                yield from values_of(item, here, (*at, number) if isinstance(value, tuple) else at)


def with_value(section: Any, place: Place) -> Any:
    """Return the section with another value at `place`; None where a section stands there."""
    head, rest = place[0], place[1:]
    if isinstance(section, tuple):
        inner = with_value(section[int(head)], rest)
        return None if inner is None else tuple(inner if n == head else v for n, v in enumerate(section))
    value = getattr(section, str(head))
    new = with_value(value, rest) if rest else other(value)
    return None if new is None else section.model_copy(update={head: new})


def other(value: Any) -> Any:
    """Return another value of the same type; None for sections and lists of them."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if value is None:
        return 7
    if isinstance(value, dict):
        return {**value, "x": 1}
    if isinstance(value, tuple) and not any(isinstance(item, BaseModel) for item in value):
        return (*value, "x")
    return None


def stages_of(spec: EcgSpec) -> list[dict[str, Any]]:
    numbers = numbers_of_training(spec.train, max(1, spec.compute.gpus), None)
    try:
        with warnings.catch_warnings(action="ignore"):  # pydantic, of a word that the test made up
            return [asdict(stage) for stage in native.stages(spec, numbers, rehearsal=False)]
    except (ValueError, KeyError, TypeError, AttributeError):  # what the test made up was read
        return []


def new_faults(spec: EcgSpec, changed: EcgSpec) -> set[str]:
    """Return the rules that the change breaks: it would be refused, not ignored."""
    after, before = ({rule.code for rule in broken(one, rules_of("ecg"))} for one in (changed, spec))
    return after - before


def plan_of(changes: dict[str, Any] | None = None, machine: Machine = CPU) -> Plan:
    return make_plan(make_ecg(changes), machine)


def test_the_stages_of_a_run() -> None:
    names = [(stage.name, stage.module) for stage in plan_of().stages]
    assert names == [
        ("data", "runner.stages.ecg_data"),
        ("baseline", "runner.stages.ecg_evaluate"),
        ("train", "runner.stages.ecg_train"),
        ("evaluate", "runner.stages.ecg_evaluate"),
        ("report", "runner.stages.report"),
    ]
    assert [stage.name for stage in plan_of({"evaluate": ()}).stages] == ["data", "train", "report"]


def test_a_stage_reads_what_an_earlier_one_wrote() -> None:
    for spec in VARIANTS.values():
        written: set[str] = set()
        for stage in make_plan(spec, H200S).stages:
            assert set(stage.reads) <= written, stage.name
            assert not set(stage.writes) & written
            written |= set(stage.writes)


def test_a_student_learns_from_the_teacher_that_is_trained_first() -> None:
    stages = {stage.name: stage for stage in make_plan(VARIANTS["student"], CPU).stages}
    assert list(stages) == ["data", "baseline", "teacher", "judge_teacher", "train", "evaluate", "report"]
    assert stages["teacher"].settings["method"]["name"] == "fusion"
    assert stages["teacher"].settings["distill"] is None
    assert stages["teacher"].settings["out"] == "teacher"
    assert stages["train"].settings["distill"]["teacher"] == "teacher/final"
    assert "teacher/final" in stages["train"].reads
    # II, V1 and V5 of I, II, III, aVR, aVL, aVF, V1 to V6
    assert stages["evaluate"].settings["leads_seen"] == [1, 6, 10]
    judged = stages["judge_teacher"]
    assert judged.settings["leads_seen"] == list(range(12))
    assert judged.settings["weights"] == "teacher/final"
    assert judged.settings["trained_on"] in judged.reads
    assert judged.settings["tasks"] == stages["evaluate"].settings["tasks"]
    assert set(judged.writes) <= set(stages["report"].reads)


def test_a_student_of_an_earlier_run_trains_no_teacher() -> None:
    stages = {stage.name: stage for stage in make_plan(VARIANTS["of-a-run"], CPU).stages}
    assert "teacher" not in stages
    assert stages["train"].settings["distill"]["teacher"] == "/runs/teacher"
    assert stages["judge_teacher"].settings["weights"] == "/runs/teacher"
    assert stages["judge_teacher"].settings["trained_on"] is None
    assert stages["evaluate"].settings["leads_seen"] == list(range(12))


def test_without_tasks_no_teacher_is_judged() -> None:
    spec = make_ecg({**OTHERS["student"], "evaluate": ()})
    assert "judge_teacher" not in {stage.name for stage in make_plan(spec, CPU).stages}


def test_records_are_counted_by_the_data_stage() -> None:
    """827 records at 128: 7 steps an epoch (6.46 rounded up), 1,400 in 200 epochs, of which 1 % warm up."""
    plan = make_plan(load_spec(FOLDER / "ecg_fusion_georgia.yaml", (), {}).spec, CPU)
    assert (plan.counts, plan.numbers.steps) == (None, None)
    whole = complete(plan, GEORGIA)
    assert (whole.numbers.steps_per_epoch, whole.numbers.steps, whole.numbers.warmup_steps) == (7, 1400, 14)
    assert (whole.numbers.evaluate_every, whole.numbers.evaluations) == (50, 28)
    assert whole.numbers.rows == 200 * 827
    train = next(stage for stage in whole.stages if stage.name == "train")
    assert train.settings["expect"] == {"steps": 1400, "warmup_steps": 14, "rows": 165_400, "world_size": 1}


def test_a_teachers_steps_are_its_own() -> None:
    spec = load_spec(FOLDER / "ecg_student_georgia.yaml", ("distill.train_teacher.train.epochs=10",), {}).spec
    stages = {stage.name: stage for stage in complete(make_plan(spec, CPU), GEORGIA).stages}
    assert stages["teacher"].settings["expect"]["steps"] == 70
    assert stages["train"].settings["expect"]["steps"] == 1400


@given(
    records=st.integers(1, 500),
    batch=st.integers(1, 16),
    world=st.integers(1, 4),
    steps=st.integers(0, 200),
)
def test_rows_are_those_that_the_trainer_takes(records: int, batch: int, world: int, steps: int) -> None:
    train = EcgTrain(steps=max(1, steps), batch=batch * world, learning_rate=0.1)
    numbers = numbers_of_training(train, world, Counts(records, 1, 1))
    order = Order(records, batch * world, seed=0, multiple=world)
    assert numbers.rows == order.rows_seen(max(1, steps))
    assert numbers.steps_per_epoch == order.steps_per_epoch


def test_numbers_over_several_devices() -> None:
    numbers = numbers_of(VARIANTS["ddp"], Counts(100, 10, 10))
    assert (numbers.world_size, numbers.micro, numbers.effective) == (4, 8, 32)
    assert numbers.rows == 100 * 25  # 4 steps an epoch of 32, 32, 32 and 4 records


def test_auto_takes_a_gpu_but_not_apples() -> None:
    for machine, device in ((CPU, "cpu"), (MAC, "cpu"), (H200S, "cuda")):
        assert plan_of({"compute": {"device": "auto"}}, machine).device == device


def test_what_a_machine_lacks_is_said() -> None:
    asked = {"compute": {"device": "cuda", "gpu": "A100"}}
    assert any("this machine has 0" in item for item in plan_of(asked).lacks)
    assert any("'A100'" in item for item in plan_of(asked, H200S).lacks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.split": {"by": "record", "finetune_label_ratio": 0.1}}, "better than they are"),
        ({"method": {"name": "linear_probe"}, "model.checkpoint": None}, "random start"),
        (
            {"method": {"name": "linear_probe"}, "model.checkpoint": "${env:WEIGHTS:-}"},
            "if WEIGHTS is not set, linear_probe leaves most weights at their random start",
        ),
        (
            {"model.checkpoint": "${env:A:-}${env:B:-}"},
            "if A and B are not set, training starts from random weights",
        ),
        ({"model.checkpoint": "/w/CODE.pkl"}, "trained on recordings of 400 Hz; these come out with 500 Hz"),
        ({"method": {"name": "fusion", "bp_batch": 2, "coef": {"kind": "two_phase"}}}, "its control is"),
        (
            {
                "method": {
                    "name": "fusion",
                    "bp_batch": 2,
                    "head": "tiny_batch",
                    "coef": {"kind": "two_phase"},
                    "zo": {"bn": "batch", "restore": "arithmetic", "micro_batch": None},
                    "compat": "upstream",
                }
            },
            "defects are reproduced",
        ),
    ],
)
def test_what_a_person_should_know_is_said(changes: dict[str, Any], said: str) -> None:
    assert any(said in note for note in plan_of(changes).notes), plan_of(changes).notes


@pytest.mark.parametrize("given", ["/w", "${env:WEIGHTS}", "${env:WEIGHTS:-/w}", "${env:FOLDER:-}/w"])
def test_weights_that_cannot_be_left_out_need_no_word(given: str) -> None:
    found = plan_of({"method": {"name": "linear_probe"}, "model.checkpoint": given}).notes
    assert not any("random" in note for note in found)


@pytest.mark.parametrize("name", ["ecg_fusion_ptbxl", "ecg_student_georgia"])
def test_a_spec_that_may_start_at_random_says_so_when_planned(name: str) -> None:
    """A student's teacher has a checkpoint of its own."""
    loaded = load_spec(FOLDER / f"{name}.yaml", (), {})
    assert isinstance(loaded.spec, EcgSpec)
    whose = "" if loaded.spec.distill is None else "the teacher's "
    said = (
        f"{whose}model.checkpoint is ${{env:ECG_CHECKPOINT:-}}: if ECG_CHECKPOINT is not set, fusion leaves"
    )
    assert any(note.startswith(said) for note in make_plan(loaded.spec, CPU).notes)


def test_the_control_itself_needs_no_control() -> None:
    control = {"name": "fusion", "bp_batch": 2, "coef": {"kind": "constant", "value": 1.0}}
    assert not any("control" in note for note in plan_of({"method": control}).notes)
