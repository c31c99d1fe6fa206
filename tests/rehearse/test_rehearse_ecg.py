"""A right ECG spec has a right rehearsal that is small and takes the same way."""

from __future__ import annotations

import pytest

from runner import rehearse_ecg
from runner.machine import Machine
from runner.plan import make_plan
from runner.rehearse_ecg import BATCH, RECORDS, STEPS, rehearsed
from runner.spec.ecg import EcgSpec
from runner.spec.ecg_facts import trainings
from runner.spec.kinds import broken_rules
from runner.sweep import arms, controls_of
from runner.validate import load_arm, load_spec
from tests.support.ecg_specs import every_variant, make_ecg
from tests.support.specs import FOLDER, specs_of_kind

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
VARIANTS = every_variant()
SPECS = specs_of_kind("ecg")


def shipped(stem: str) -> EcgSpec:
    spec = load_spec(next(path for path in SPECS if path.stem == stem), (), {}).spec
    assert spec.kind == "ecg"
    return spec


ALL = VARIANTS | {path.stem: shipped(path.stem) for path in SPECS}


@pytest.mark.parametrize("name", ALL)
def test_it_is_right_small_and_its_own_rehearsal(name: str) -> None:
    small = rehearsed(ALL[name])
    assert list(broken_rules(small)) == []
    assert EcgSpec.model_validate(small.model_dump()) == small
    assert rehearsed(small) == small
    assert small.data.records is not None
    assert small.data.records <= RECORDS
    assert small.compute.device == "cpu"
    for _, model, _, train in trainings(small):
        assert model.backbone in ("tinylight", "xresnet1d101")
        assert model.checkpoint is None
        assert train.batch <= BATCH
        assert train.steps is not None
        assert train.steps <= STEPS


@pytest.mark.parametrize("name", ALL)
def test_every_difference_has_its_own_reason(name: str) -> None:
    changes = make_plan(ALL[name], CPU, rehearse=True).changes
    assert changes
    assert [item.key for item in changes if item.why == "follows from the smaller run"] == []


def test_what_it_is_to_prove_stays() -> None:
    spec = ALL["ecg_fusion_georgia"]
    small = rehearsed(spec)
    assert small.data.pipeline == spec.data.pipeline
    assert small.method.model_copy(update={"bp_batch": 8}) == spec.method
    assert small.train.learning_rate == spec.train.learning_rate
    assert small.train.cutmix == spec.train.cutmix
    assert small.data.split.by == "patient"
    assert (small.evaluate[0].challenge_score, small.evaluate[0].subgroups) == (True, ("sex", "age_band"))


def test_ten_patients_are_enough() -> None:
    """Of ten, 90 / 5 / 5 % would leave nobody to choose by; shares that are large enough stay."""
    split = rehearsed(ALL["ecg_teacher_code15"]).data.split
    assert (split.train, split.validation, split.test) == (0.6, 0.2, 0.2)
    most = ALL["ecg_teacher_code15"].data.split.model_copy(
        update={"train": 0.1, "validation": 0.1, "test": 0.8}
    )
    assert rehearse_ecg._split(most).train == 0.6
    even = most.model_copy(update={"train": 0.4, "validation": 0.3, "test": 0.3})
    assert rehearse_ecg._split(even) is even


def test_a_teacher_of_an_earlier_run_is_trained_in_its_place() -> None:
    stages = [stage.name for stage in make_plan(VARIANTS["of-a-run"], CPU, rehearse=True).stages]
    assert stages == ["data", "baseline", "teacher", "judge_teacher", "train", "evaluate", "report"]


def test_invented_recordings_stand_in_only_in_a_rehearsal() -> None:
    spec = ALL["ecg_fusion_georgia"]
    real, small = (make_plan(spec, CPU, rehearse=word).stages[0].settings for word in (False, True))
    assert real["stand_in"] is None
    assert small["stand_in"] == dict(rehearse_ecg.STAND_IN)


def test_the_tiny_batch_of_addax_leaves_records_to_probe() -> None:
    """4 backpropagated of 4 would leave none."""
    method = {"name": "addax", "bp_batch": 3, "alpha": 0.1}
    small = rehearsed(make_ecg({"method": method, "train.batch": 4}))
    assert (small.train.batch, getattr(small.method, "bp_batch", None)) == (4, 3)
    large = rehearsed(make_ecg({"method": {**method, "bp_batch": 30}}))
    assert (large.train.batch, getattr(large.method, "bp_batch", None)) == (8, 4)


@pytest.mark.parametrize("name", ["eps", "bp_batch", "rank", "coef"])
def test_every_ablation_has_its_control(name: str) -> None:
    """Each arm but a control has a control that differs in the coefficient alone, and both come with three seeds."""
    file = FOLDER / "ablations" / f"fusion_{name}.yaml"
    loaded = load_spec(file, (), {}).spec
    assert loaded.sweep is not None
    planned = arms(loaded)
    paired = controls_of(loaded.sweep, planned)
    assert {arm.base for arm in planned} == paired.keys() | set(loaded.sweep.arms)
    assert set(paired.values()) == set(loaded.sweep.arms)
    for base in {arm.base for arm in planned}:
        assert [arm.seed for arm in planned if arm.base == base] == [18, 19, 20]
    controls = []
    for arm in (arm for arm in planned if arm.base in loaded.sweep.arms):
        spec = load_arm(file, arm.name, (), {}).spec
        assert spec.kind == "ecg"
        assert spec.method.name == "fusion"
        assert (spec.train.seed, spec.data.split.seed) == (arm.seed, 18), "the same records on each side"
        assert spec.method.coef.model_dump() == {"kind": "constant", "value": 1.0}
        controls.append(spec.method.model_dump(exclude={"coef", "zo"}))
    (axis,) = loaded.sweep.axes
    for value in loaded.sweep.axes[axis]:
        spec = load_spec(file, (f"{axis}={value}",), {}).spec
        assert spec.kind == "ecg"
        assert spec.method.model_dump(exclude={"coef", "zo"}) in controls
