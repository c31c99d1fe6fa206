"""A sweep before it runs: names, controls, what differs, what is done once, and which plans are the same work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.lineage import in_common, lineages
from runner.machine import Machine
from runner.plan import make_plan, plan_to_json
from runner.spec.problems import SpecError
from runner.sweep import arms, controls_of
from runner.sweeps.arms import differing, done_once, planned_arms, sweep_sha256, work_sha256
from runner.sweeps.found import run_of
from runner.sweeps.launch import prepared
from runner.sweeps.listing import plan_of_sweep
from runner.validate import load_arm, load_arms, load_spec
from tests.support.specs import FOLDER

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
QUICKSTART = FOLDER / "quickstart" / "llm.yaml"
Make = Callable[..., Any]


def written(folder: Path, sweep: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(f"extends: {QUICKSTART}\nname: swept\nsweep: {sweep}\n")
    return file


def test_seeds_make_arms_of_one_base(make_spec: Make) -> None:
    sweep = {"axes": {"method.rank": (4, 8)}, "seeds": (1, 2)}
    found = arms(make_spec({"sweep": sweep, "method": {"name": "lora", "rank": 4, "alpha": 8}}))
    assert [(arm.base, arm.seed) for arm in found] == [
        ("rank=4", 1), ("rank=4", 2), ("rank=8", 1), ("rank=8", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"b": "a", "c": "a"}),
        ({"control": "c"}, {"a": "c", "b": "c"}),
        ({"controls": {"a": "b"}}, {"a": "b"}),
        ({"control": "a", "controls": {"c": "b"}}, {"b": "a", "c": "b"}),
    ],
)
def test_controls(make_spec: Make, given: dict[str, Any], expected: dict[str, str]) -> None:
    named = {name: {"train.seed": number} for number, name in enumerate("abc")}
    spec = make_spec({"sweep": {"arms": named, **given}})
    assert controls_of(spec.sweep, arms(spec)) == expected


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("{axes: {train.seed: [1, 2]}, control: seed=3}", "the sweep has no arm 'seed=3'"),
        ("{arms: {a: {train.seed: 1}}, controls: {a: b}}", "the sweep has no arm 'b'"),
        ("{axes: {train.seed: [1]}, arms: {seed=1: {train.seed: 1}}}", "two arms have the name 'seed=1'"),
    ],
)
def test_a_sweep_that_does_not_hold_together_is_refused(tmp_path: Path, sweep: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(written(tmp_path, sweep), (), {})
    assert message in str(error.value)


def test_two_arms_that_ask_for_the_same_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "{axes: {train.seed: [1, 2]}, arms: {again: {train.seed: 2}}}")
    loaded = load_arms(file, load_spec(file, (), {}).spec, (), {})
    with pytest.raises(SpecError) as error:
        planned_arms(loaded, CPU, rehearse=True)
    assert "the arms 'seed=2' and 'again' ask for the same run" in str(error.value)


def refused(file: Path, *, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(SpecError) as error:
        prepared(file, load_spec(file, sets, {}), sets, file.parent / "runs", {}, rehearse=False)
    return str(error.value)


def of_ecg(folder: Path, sweep: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(f"extends: {FOLDER / 'quickstart' / 'ecg.yaml'}\nname: swept\nsweep:\n{sweep}")
    return file


def test_a_file_that_an_arm_lacks_is_said_at_the_place_of_the_arm(tmp_path: Path) -> None:
    """Nobody typed `--set`, and one would not help: the arm's own value is laid over it."""
    file = of_ecg(
        tmp_path, "  arms:\n    plain: {train.seed: 1}\n    lost: {model.checkpoint: ./nothing.pt}\n"
    )
    assert refused(file) == (
        f"{file}:6:12: sweep.arms.lost.model.checkpoint: model.checkpoint: "
        f"nothing at {tmp_path / 'nothing.pt'} (in arm lost) [missing-file]\n"
        "  set model.checkpoint; an arm's own value goes before --set\n"
        f"1 problem in {file}; nothing was started"
    )


def test_a_file_that_several_arms_lack_is_said_once(tmp_path: Path) -> None:
    axes = "  axes:\n    train.seed: [1, 2]\n    model.checkpoint: [null, ./nothing.pt]\n"
    file = of_ecg(tmp_path, axes)
    said = refused(file)
    assert said.count("nothing at") == 1
    assert f"{file}:6:5: sweep.axes.model.checkpoint: " in said
    assert "(in arms seed=1,checkpoint=/" in said
    assert ", seed=2,checkpoint=/" in said
    assert "--set model" not in said


def test_a_named_arm_is_found_with_each_of_its_seeds(tmp_path: Path) -> None:
    file = of_ecg(tmp_path, "  seeds: [1, 2]\n  arms:\n    lost: {model.checkpoint: ./nothing.pt}\n")
    said = refused(file)
    assert f"{file}:6:12: sweep.arms.lost.model.checkpoint: model.checkpoint: nothing at" in said  # all arms


def test_a_file_that_the_spec_itself_names_keeps_its_place(tmp_path: Path) -> None:
    file = of_ecg(tmp_path, "  arms:\n    plain: {train.seed: 1}\n    other: {model.checkpoint: null}\n")
    file.write_text(file.read_text() + "model:\n  checkpoint: ./nothing.pt\n")
    said = refused(file)
    assert f"{file}:8:15: model.checkpoint: nothing at {tmp_path / 'nothing.pt'} (in arm plain)" in said
    assert "for example --set model.checkpoint=FOLDER" in said
    typed = refused(file, sets=("model.checkpoint=/no/such.pt",))
    assert (
        "--set model.checkpoint=/no/such.pt: model.checkpoint: nothing at /no/such.pt (in arm plain)" in typed
    )


def test_an_arm_may_replace_a_section_and_a_list(tmp_path: Path) -> None:
    """A method of another kind has other keys; a source is left out by giving the others."""
    parts = "[{source: synthetic_medical_qa, records: 300}, {source: synthetic_medical_qa, records: 300, seed: 1}]"
    half = "[{source: synthetic_medical_qa, records: 600}]"
    split = "{by: record, train: 200, validation: 20, test: 20}"
    base = f"{{source: mixture, template: question_answer, split: {split}, components: {parts}}}"
    sweep = (
        f"{{arms: {{all: {{data: {base}}}, half: {{data: {base}, data.components: {half}}}, "
        f"lora: {{method: {{name: lora, rank: 4, alpha: 8}}, data: {base}}}}}}}"
    )
    file = written(tmp_path, sweep)
    loaded = load_arms(file, load_spec(file, (), {}).spec, (), {})
    made = planned_arms(loaded, CPU, rehearse=True)
    specs = {item.arm.name: item.plan.spec for item in made}
    assert [len(spec["data"]["components"]) for spec in specs.values()] == [2, 1, 2]
    assert specs["lora"]["method"]["name"] == "lora"
    differs = differing(specs)
    assert differs["data.components[0].records"] == {"all": 300, "half": 600, "lora": 300}
    assert differs["data.components[1].seed"] == {"all": 1, "half": None, "lora": 1}
    assert done_once(made)["data"] == [["all", "lora"]]


def test_a_relative_path_in_a_section_of_an_arm_is_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    split = "{by: record, train: 8, validation: 2, test: 2}"
    data = f"{{source: messages, path: a.jsonl, template: question_answer, split: {split}}}"
    file = written(tmp_path, f"{{arms: {{file: {{data: {data}}}}}}}")
    ((_, loaded),) = load_arms(file, load_spec(file, (), {}).spec, (), {})
    assert loaded.spec.data.path == str(tmp_path / "a.jsonl")


def test_an_arm_knows_of_no_other(tmp_path: Path) -> None:
    """So that an arm that is added does not change the plans of those that are done."""
    few, many = "{axes: {train.seed: [1, 2]}}", "{axes: {train.seed: [1, 2, 3]}, control: seed=2}"
    plans = []
    for sweep in (few, many):
        file = written(tmp_path, sweep)
        base = load_spec(file, (), {})
        made = planned_arms(load_arms(file, base.spec, (), {}), CPU, rehearse=True)
        plans.append(([plan_to_json(item.plan) for item in made][:2], base.spec.model_dump(mode="json")))
    assert plans[0][0] == plans[1][0]
    keys = {sweep_sha256(base, rehearse=True) for _, base in plans}
    assert len(keys) == 1, "it is the same sweep"
    assert sweep_sha256(plans[0][1], rehearse=False) not in keys


def test_an_arm_launched_alone_is_that_of_the_sweep(tmp_path: Path) -> None:
    file = written(tmp_path, "{axes: {train.seed: [1, 2]}}")
    alone = make_plan(load_arm(file, "seed=2", (), {}).spec, CPU, rehearse=True)
    _, second = planned_arms(load_arms(file, load_spec(file, (), {}).spec, (), {}), CPU, rehearse=True)
    assert plan_to_json(alone) == plan_to_json(second.plan)
    assert alone.stages[-1].settings["title"].endswith(": seed=2")


def test_headings_and_published_numbers_are_no_work(make_spec: Make) -> None:
    plan = make_plan(make_spec(), CPU)
    told = make_plan(make_spec({"summary": "S", "report": {"title": "T"}}), CPU)
    other = make_plan(make_spec({"train.learning_rate": 2e-3}), CPU)
    same, mended, changed = (work_sha256(plan_to_json(item)) for item in (plan, told, other))
    assert same == mended != changed


def test_a_lineage_ends_where_what_is_read_differs(make_spec: Make) -> None:
    """The learning rate stands in the engine's file, which the training alone reads."""
    tiny = {"model": {"base": "tiny-random", "architecture": "llama", "context": 64}}
    tiny["evaluate"] = ({"task": "perplexity"},)  # type: ignore[assignment]
    one = make_plan(make_spec(tiny), CPU)
    other = make_plan(make_spec({**tiny, "train.learning_rate": 2e-3}), CPU)
    common = in_common([one, other])
    shared = {name for name, lineage in lineages(one).items() if lineage in common}
    assert shared == {"data", "tiny_model", "baseline"}
    cut = replace(other, stages=tuple(stage for stage in other.stages if stage.name != "data"))
    assert "baseline" not in {name for name, lineage in lineages(cut).items() if lineage in common}


def test_the_plan_of_a_sweep_lists_what_differs_and_how_often_a_stage_runs(tmp_path: Path) -> None:
    file = written(tmp_path, "{axes: {train.learning_rate: [1.0e-3, 2.0e-3]}, seeds: [1, 2]}")
    found = plan_of_sweep(file, load_spec(file, (), {}), (), {}, CPU, rehearse=True)
    assert found is not None
    text = " ".join(found.to_text().split())
    assert "learning_rate=0.002,seed=1 train.learning_rate 0.002, train.seed 1" in text
    assert "data 1 time for 4 arms" in text
    assert "tiny_model 2 times for 4 arms" in text
    assert "train 4 times for 4 arms" in text
    assert found.to_json()["controls"] == {"learning_rate=0.002": "learning_rate=0.001"}


def test_files_that_are_no_run_of_ours_are_passed_over(make_spec: Make, tmp_path: Path) -> None:
    """Damaged, of another release, or of another plan."""
    plan = make_plan(make_spec(), CPU)
    other = plan_to_json(make_plan(make_spec({"train.learning_rate": 2e-3}), CPU))
    stored = plan_to_json(plan)
    damaged = {"a": "{", "b": "[]", "c": "{}", "d": json.dumps({"format": 1}), "e": json.dumps(other)}
    damaged["f"] = json.dumps({**stored, "format": 99})
    for name, text in damaged.items():
        (tmp_path / "small" / name).mkdir(parents=True)
        (tmp_path / "small" / name / "plan.json").write_text(text)
    assert run_of(plan, tmp_path, {}) is None
    (tmp_path / "small" / "g").mkdir()
    (tmp_path / "small" / "g" / "plan.json").write_text(json.dumps(stored))
    found = run_of(plan, tmp_path, {})
    assert found is not None
    assert (found.run.path.name, found.done) == ("g", False)
