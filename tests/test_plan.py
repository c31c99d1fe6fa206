"""The plan: pure, whole, and the same when stored and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converters.numbers import Counts
from runner.backends import BACKENDS, backend
from runner.machine import Machine
from runner.plan import complete, make_plan, plan_from_json, plan_to_json, spec_from_json
from runner.show import plan_text
from runner.spec.kinds import KINDS
from runner.spec.problems import CountedError
from runner.sweep import arms
from runner.targets.local import stage_environment
from runner.validate import load_spec
from tests.support.specs import specs_of_kind

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
A100S = Machine("Linux", 64, 500.0, 8, "NVIDIA A100-SXM4-80GB", 80.0, False, True)
SPECS = specs_of_kind()
Make = Callable[..., Any]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rehearse", [False, True])
def test_every_shipped_spec_has_a_plan_that_survives_storing(path: Path, rehearse: bool) -> None:
    plan = make_plan(load_spec(path, (), {}).spec, A100S, rehearse=rehearse)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan
    assert plan.lacks == ()
    assert plan_text(plan).startswith("plan: rehearsal of " if rehearse else f"plan: {plan.name}")


def test_there_are_specs() -> None:
    assert {path.stem for path in SPECS} >= {"llm", "distilgpt2_medquad"}


def test_a_stored_spec_is_the_spec(make_spec: Make) -> None:
    spec = make_spec({"method": {"name": "lora", "rank": 4, "alpha": 8, "include": ("language.mlp",)}})
    assert spec_from_json(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_planning_reads_neither_disk_nor_environment(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec({"model.base": "${env:NOT_SET}", "evaluate": ({"task": "perplexity"},)})
    make_plan(spec, CPU)  # what is imported on the way is imported now

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("planning is pure")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os.environ, "get", refuse, raising=False)
    plan = make_plan(spec, CPU)
    assert "${env:NOT_SET}" in next(file.text for file in plan.files)


def test_system_c_is_planned_as_published() -> None:
    """3,500 records at 24 a step: 146 steps an epoch (145.83 rounded up), 1,168 in 8 epochs."""
    path = next(path for path in SPECS if path.stem == "distilgpt2_medquad")
    numbers = make_plan(load_spec(path, (), {}).spec, CPU).numbers
    assert (numbers.micro, numbers.accumulation, numbers.effective) == (12, 2, 24)
    assert (numbers.steps_per_epoch, numbers.steps, numbers.warmup_steps) == (146, 1168, 200)
    assert (numbers.evaluate_every, numbers.evaluations) == (146, 8)
    assert numbers.rows == 8 * 3500


def test_ratios_are_completed_by_the_counted_records(make_spec: Make) -> None:
    ratios = {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record"}
    plan = make_plan(make_spec({"data.split": ratios}), CPU)
    assert (plan.counts, plan.numbers.steps) == (None, None)
    whole = complete(plan, Counts(80, 10, 10))
    assert (whole.numbers.steps, whole.numbers.rows) == (20, 160)
    assert whole.stages[1].settings["expect"]["steps"] == 20


def test_the_train_stage_is_held_to_keeping_the_best(make_spec: Make) -> None:
    every = {"train.evaluate_every": {"steps": 2}, "train.save_every": {"steps": 2}}
    for best in ({"train.keep_best": True}, {"train.early_stopping": {"patience": 1}}):
        assert make_plan(make_spec({**every, **best}), CPU).stages[1].settings["expect"]["keep_best"] is True
    assert make_plan(make_spec(every), CPU).stages[1].settings["expect"]["keep_best"] is False


def test_saves_that_miss_the_evaluations_are_refused_where_the_best_is_kept(make_spec: Make) -> None:
    """The engine would switch keeping the best off; 5 is no multiple of 2."""
    every = {"train.evaluate_every": {"steps": 2}, "train.save_every": {"steps": 5}}
    make_plan(make_spec(every), CPU)
    with pytest.raises(CountedError, match=r"every 5 steps.*every 2") as error:
        make_plan(make_spec({**every, "train.keep_best": True}), CPU)
    assert error.value.exit_code == 2


GIVEN = {"data.split": {"by": "given"}}


@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize(
    ("changes", "counts", "said"),
    [
        (
            {
                "train.early_stopping": {"patience": 1},
                "train.evaluate_every": {"steps": 2},
                "train.save_every": {"steps": 2},
            },
            Counts(80, 0, 20),
            r"train.early_stopping: data.split.validation is 0.*\[R005\]",
        ),
        (
            {"evaluate": ({"task": "perplexity"},)},
            Counts(80, 10, 0),
            r"evaluate\[0\].split: data.split.test is 0",
        ),
    ],
)
def test_the_rules_hold_for_the_counted_records_too(
    make_spec: Make, changes: dict[str, Any], counts: Counts, said: str, rehearse: bool
) -> None:
    plan = make_plan(make_spec({**GIVEN, **changes}), CPU, rehearse=rehearse)
    with pytest.raises(CountedError, match=said) as error:
        complete(plan, counts)
    assert error.value.exit_code == 2
    assert "80 for training" in str(error.value)
    assert complete(plan, Counts(80, 10, 10)).counts == Counts(80, 10, 10)


def test_a_stored_default_is_no_fault_of_the_counted_records(make_spec: Make) -> None:
    """beta1 is not given, but stands in the stored spec; R024 would speak of it."""
    ratios = {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record"}
    plan = make_plan(make_spec({"train.optimizer": "adafactor", "data.split": ratios}), CPU)
    assert complete(plan, Counts(80, 10, 10)).numbers.steps == 20


@pytest.mark.parametrize("rehearse", [False, True])
def test_no_validation_records_are_no_fault_where_nothing_needs_them(make_spec: Make, rehearse: bool) -> None:
    plan = make_plan(make_spec(GIVEN), CPU, rehearse=rehearse)
    assert complete(plan, Counts(80, 0, 0)).numbers.evaluations is None


@pytest.mark.parametrize(
    ("changes", "machine", "said"),
    [
        ({"compute.device": "cuda"}, CPU, "asks for 1 CUDA device"),
        ({"compute.device": "mps"}, CPU, "no Apple GPU"),
        ({"compute.device": "auto", "train.precision": "bf16"}, CPU, "bf16 on a CPU"),
        ({"compute.device": "auto", "method": {"name": "qlora", "rank": 4, "alpha": 8}}, CPU, "qlora on cpu"),
        (
            {"compute.device": "cuda", "train.precision": "bf16"},
            replace(A100S, bf16=False),
            "does not compute",
        ),
        ({"compute.device": "cuda", "compute.gpu": "H100"}, A100S, "'H100'"),
    ],
)
def test_what_a_machine_lacks_is_said(
    make_spec: Make, changes: dict[str, Any], machine: Machine, said: str
) -> None:
    lacks = make_plan(make_spec(changes), machine).lacks
    assert any(said in item for item in lacks), lacks


def test_auto_takes_the_gpu(make_spec: Make) -> None:
    assert make_plan(make_spec({"compute.device": "auto"}), A100S).device == "cuda"
    assert make_plan(make_spec({"compute.device": "auto"}), CPU).device == "cpu"


def test_every_kind_has_a_backend_that_is_there() -> None:
    for kind in KINDS.values():
        assert kind.BACKEND in BACKENDS
        assert backend(kind.BACKEND).stages


def test_a_sweep_is_every_combination_every_arm_every_seed(make_spec: Make) -> None:
    sweep = {
        "axes": {"train.learning_rate": (0.1, 0.2), "train.epochs": (1, 2)},
        "arms": {"long": {"train.epochs": 9}},
        "seeds": (1, 2),
    }
    found = arms(make_spec({"sweep": sweep}))
    assert len(found) == (2 * 2 + 1) * 2
    assert found[0].name == "learning_rate=0.1,epochs=1,seed=1"
    assert found[0].sets == ("train.learning_rate=0.1", "train.epochs=1", "train.seed=1")
    assert found[-1].name == "long,seed=2"


@pytest.mark.parametrize(
    ("mine", "wanted", "seen"),
    [(None, 2, "0,1"), ("4,5,6", 2, "4,5"), ("", 1, "0"), ("4", 0, "")],
)
def test_a_stage_sees_as_many_gpus_as_were_planned(
    make_spec: Make, mine: str | None, wanted: int, seen: str
) -> None:
    device = {"device": "cuda", "gpus": wanted} if wanted else {"device": "cpu"}
    strategy = {"strategy": "ddp"} if wanted > 1 else {}
    stage = make_plan(make_spec({"compute": {**device, **strategy}}), A100S).stages[0]
    environ = {} if mine is None else {"CUDA_VISIBLE_DEVICES": mine}
    assert stage_environment(stage, environ)["CUDA_VISIBLE_DEVICES"] == seen


def test_a_tiny_model_takes_one_thread_unless_the_caller_says_more(make_spec: Make) -> None:
    stage = make_plan(make_spec({"model.base": "tiny-random"}), CPU).stages[0]
    assert stage_environment(stage, {})["OMP_NUM_THREADS"] == "1"
    assert stage_environment(stage, {"OMP_NUM_THREADS": "8"})["OMP_NUM_THREADS"] == "8"


def test_what_the_hub_is_asked_for_decides_whether_it_may_be(make_spec: Make) -> None:
    local = make_plan(make_spec({"model.base": "/models/x"}), CPU).stages[0].environment
    hub = make_plan(make_spec({"model.base": "gpt2"}), CPU).stages[0].environment
    assert local["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in hub
    assert local["WANDB_MODE"] == "disabled"


PUBLIC = {"medquad", "synthetic_medical_qa", "synthetic_ecg"}
"""Sources without patients; a source that is added is taken to hold some until it says otherwise."""


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_page_shows_no_record_of_a_patient_by_itself(path: Path) -> None:
    spec = load_spec(path, (), {}).spec
    data = spec.data
    parts = getattr(data, "components", None)
    found = list(parts.values() if isinstance(parts, dict) else parts or [data])
    public = all(p.source in PUBLIC or getattr(p, "format", "") == "synthetic" for p in found)
    shown = make_plan(spec, A100S).stages[-1].settings["examples"]
    assert spec.report.examples == "by_source"
    assert shown == ("full" if public else "none")


def test_what_a_page_shows_can_be_said(make_spec: Make) -> None:
    for word in ("none", "redacted", "full"):
        assert (
            make_plan(make_spec({"report": {"examples": word}}), CPU).stages[-1].settings["examples"] == word
        )
