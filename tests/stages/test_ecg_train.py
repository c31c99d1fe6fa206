"""The train stage of ECG runs: every method, faults with real processes, two processes, a student under a teacher."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ecg_run import Run, as_main, spec_of  # noqa: E402 - after the skip
from safetensors.torch import load_file  # noqa: E402
from training_parts import last_state, same_state  # noqa: E402
from warm_process import LIMIT_S, Warm, ranks_of  # noqa: E402

from runner.events import read_events  # noqa: E402
from runner.files import sha256_of, write_json  # noqa: E402
from runner.machine import Machine  # noqa: E402
from runner.native.assembly import network  # noqa: E402
from runner.native.checkpoints import facts_of, save  # noqa: E402
from runner.native.dataset import open_records  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.plan import make_plan, plan_to_json  # noqa: E402
from runner.reporting.page import facts_of as page_facts  # noqa: E402
from runner.reporting.record import beside_student, read_run  # noqa: E402
from runner.spec.problems import StageError  # noqa: E402
from runner.stages.ecg_teacher import teacher_of  # noqa: E402
from runner.stages.ecg_train import WORKER, Ended, require  # noqa: E402

WEIGHTS = "train/final/model.safetensors"
LORA = {"rank": 2}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "linear_probe": {"name": "linear_probe"},
    "lora": {"name": "lora", **LORA},
    "zeroth_order": {"name": "zeroth_order", "lora": LORA, "head": "full_batch", "update": "optimiser"},
    "fusion": {
        "name": "fusion",
        "lora": LORA,
        "bp_batch": 2,
        "coef": {"kind": "two_phase"},
        "zo": {"sparsity": {"fraction": 0.5}},
    },
    "addax": {"name": "addax", "lora": LORA, "bp_batch": 2, "alpha": 0.1},
    "hybrid": {"name": "hybrid", "lora": LORA, "deep_blocks": 1},
}
MACHINE = Machine("Linux", 1, 8.0, 0, None, None, False, False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the records of the small spec."""
    run = Run(tmp_path_factory.mktemp("data"), spec_of())
    run.call("data")
    return run.path / "data"


@pytest.fixture
def run_of(data: Path, tmp_path: Path) -> Any:
    """Return a function that makes a run with the records of the small spec."""

    def make(name: str = "run", **changes: Any) -> Run:
        run = Run(tmp_path / name, spec_of(**changes))
        shutil.copytree(data, run.path / "data")
        return run

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread here too, as the processes do: only then are the bits the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same_run(one: Run, other: Run) -> bool:
    """Say whether two trainings left the same file, and the same bits in their newest checkpoints."""
    files = (sha256_of(run.path / WEIGHTS) for run in (one, other))
    return len(set(files)) == 1 and same_state(
        one.path / "train/checkpoints", other.path / "train/checkpoints"
    )


def wait_for_lines(run: Run, count: int, process: Warm) -> None:
    """Return when so many metrics were told; fail when the process is over before."""
    metrics, until = run.path / "train/metrics.jsonl", time.monotonic() + LIMIT_S
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= count):
        assert not process.is_over, "it was over too early to be ended"
        assert time.monotonic() < until, "it did not come that far"
        time.sleep(0.001)


# ---------------------------------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_what_was_planned_and_the_same_twice(run_of: Any, method: str) -> None:
    runs = [run_of(name, method=METHODS[method]) for name in ("one", "two")]
    for run in runs:
        assert run.call("train") == 0
    assert same_run(*runs)
    proof = runs[0].read("train/proof.json")
    assert (proof["state"], proof["steps"], proof["rows_seen"]) == (
        "finished",
        6,
        runs[0].settings("train")["expect"]["rows"],
    )
    assert proof["trainable"] == proof["expected_trainable"] > 0
    assert proof["frozen_unchanged"] is True
    assert facts_of(runs[0].path / WEIGHTS)["backbone"] == "tinylight"
    thresholds = runs[0].read("train/final/thresholds.json")
    assert [one["name"] for one in thresholds["sets"][0]["classes"]] == list(
        open_records(runs[0].path / "data").store.class_names
    )


def test_the_report_finds_what_it_reads(run_of: Any) -> None:
    run = run_of(method=METHODS["fusion"])
    run.call("train")
    lines = [
        json.loads(line)
        for line in (run.path / "train/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    steps = [line for line in lines if line["event"] == "step"]
    needed = {"loss", "learning_rate", "coefficient", "grad_norm", "fo_norm", "records_per_s"}
    needed |= {"memory_training_mib", "memory_mib", "epoch", "rows_seen"}
    assert all(needed <= line.keys() for line in steps)
    assert [line["step"] for line in lines if line["event"] == "evaluation"] == [0, 2, 4, 6]
    events = [
        json.loads(line)["event"]
        for line in (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {"alive", "modules", "step", "evaluation", "checkpoint"} <= set(events)


def test_bf16_keeps_its_master_weights_in_fp32(run_of: Any) -> None:
    run = run_of(train__precision="bf16")
    assert run.call("train") == 0
    weights = load_file(run.path / WEIGHTS)
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    exact = run_of("exact")
    exact.call("train")
    assert not same_state(run.path / "train/checkpoints", exact.path / "train/checkpoints")


def test_xresnet_with_its_dropout_is_repeatable(run_of: Any) -> None:
    runs = [run_of(name, model__backbone="xresnet1d101", train__steps=2) for name in ("one", "two")]
    for run in runs:
        run.call("train")
    assert same_run(*runs)


# -------------------------------------------------------------------------------------------- faults


def test_killed_and_started_again_it_leaves_the_same_weights(run_of: Any) -> None:
    changes = {"method": METHODS["fusion"], "train__steps": 20, "train__save_every": 1}
    whole, killed = run_of("whole", **changes), run_of("killed", **changes)
    assert whole.call("train") == 0
    for lines in (6, 17):
        process = killed.start("train")
        wait_for_lines(killed, lines, process)
        process.killed()
    assert "finished after step 20" in killed.start("train").finished()
    assert same_run(whole, killed)
    assert whole.read("train/final/thresholds.json") == killed.read("train/final/thresholds.json")


def test_sigterm_ends_it_with_130_and_a_checkpoint(run_of: Any) -> None:
    changes = {"train__steps": 60, "train__save_every": 1000}
    whole, stopped = run_of("whole", **changes), run_of("stopped", **changes)
    assert whole.call("train") == 0
    process = stopped.start("train")
    wait_for_lines(stopped, 5, process)
    os.kill(process.pid, signal.SIGTERM)
    assert "interrupted after step" in process.finished(130)
    assert stopped.read("train/proof.json")["state"] == "interrupted"
    assert not (stopped.path / "train/final").exists()
    assert stopped.call("train") == 0
    assert same_run(whole, stopped)


def test_a_damaged_checkpoint_is_passed_over(run_of: Any) -> None:
    run = run_of()
    run.call("train")
    expected, state = sha256_of(run.path / WEIGHTS), last_state(run.path / "train/checkpoints")
    newest = run.path / "train/checkpoints/checkpoint-6/state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run.call("train") == 0
    assert sha256_of(run.path / WEIGHTS) == expected
    again = last_state(run.path / "train/checkpoints")
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    events = (run.path / "events.jsonl").read_text(encoding="utf-8")
    assert "checkpoint-6 cannot be continued from: state.safetensors is cut off" in events
    assert "continuing from checkpoint-4" in events


def test_what_is_proven_must_be_what_was_planned(run_of: Any) -> None:
    run = run_of()
    expect = run.settings("train")["expect"] | {"rows": 999}
    with pytest.raises(StageError, match="rows seen: planned 999, measured"):
        run.call("train", expect=expect)


# --------------------------------------------------------------------------------- several processes


def in_two_processes(run: Run, expect: dict[str, Any]) -> None:
    """Train by the stage, which starts torchrun."""
    run.start("train", expect=expect, strategy="ddp").finished()


def two_workers(run: Run) -> list[Warm]:
    """Start two workers with the places that torchrun would give them."""
    return [
        Warm(run.path / f"worker-{rank.number}", as_main, WORKER, "train", cwd=run.path, rank=rank)
        for rank in ranks_of(2)
    ]


def as_two_workers(run: Run, expect: dict[str, Any]) -> None:
    """Train in two workers, and look at what is proven as the stage does."""
    settings = run.write("train", expect=expect, strategy="ddp")
    for worker in two_workers(run):
        worker.finished()
    require(run.read("train/proof.json"), Ended(0, False), settings)


@pytest.mark.parametrize(("method", "train"), [("full", in_two_processes), ("fusion", as_two_workers)])
def test_two_processes_train_as_one(run_of: Any, method: str, train: Any) -> None:
    """Equal global batches; weights within 5e-4 after 6 steps of AdamW at 2e-3, as only the order of sums differs.

    Biases before a batch normalisation get nothing but rounding for a gradient, and wander by the learning rate.
    """
    one, two = run_of("one", method=METHODS[method]), run_of("two", method=METHODS[method])
    assert one.call("train") == 0
    rows = sum(-(-size // 2) * 2 for size in _batches(one))
    train(two, one.settings("train")["expect"] | {"world_size": 2, "rows": rows})
    proof = two.read("train/proof.json")
    assert (proof["processes"], proof["distributed"], proof["rows_seen"]) == (2, "ddp", rows)
    first, second = (last_state(run.path / "train/checkpoints") for run in (one, two))
    for name, value in first.items():
        if not name.endswith(("conv1.bias", "conv2.bias", "running_mean")) and not name.startswith(
            "optimiser"
        ):
            torch.testing.assert_close(value, second[name], rtol=0, atol=5e-4)


def _batches(run: Run) -> list[int]:
    records = run.read("data/manifest.json")["splits"]["train"]["records"]
    sizes = [8] * (records // 8) + ([records % 8] if records % 8 else [])
    return [sizes[step % len(sizes)] for step in range(6)]


def test_a_worker_that_dies_takes_the_stage_with_it(run_of: Any) -> None:
    run = run_of(train__steps=400, train__save_every=5)
    expect = run.settings("train")["expect"] | {"world_size": 2}
    process = run.start("train", expect=expect, strategy="ddp")
    wait_for_lines(run, 12, process)
    os.kill(int(run.read("train/proof.json")["pid"]), signal.SIGKILL)
    code, _, err = process.ended()
    assert code == 1
    assert "before it was done" in err
    assert "--resume" in err


def test_a_tiny_batch_that_cannot_be_shared_is_refused(run_of: Any) -> None:
    """Before any number is exchanged; the reason is in the proof, where the stage finds it."""
    run = run_of(method=METHODS["fusion"] | {"bp_batch": 3})
    settings = run.write("train", expect=run.settings("train")["expect"] | {"world_size": 2}, strategy="ddp")
    said = "bp_batch: 2 processes cannot share 3 records equally"
    for worker in two_workers(run):
        code, _, err = worker.ended()
        assert code == 1
        assert said in err
    with pytest.raises(StageError, match=said):
        require(run.read("train/proof.json"), Ended(1, False), settings)


# ------------------------------------------------------------------------------- teacher and student


def test_a_teacher_first_and_then_its_student(run_of: Any) -> None:
    teacher = {
        "model": {"backbone": "tiny"},
        "method": {"name": "lora", "rank": 2},
        "train": {"steps": 4, "batch": 8, "learning_rate": 2e-3, "evaluate_every": 2, "save_every": 2},
    }
    run = run_of(distill={"train_teacher": teacher, "leads": 3})
    assert run.call("teacher") == 0
    assert facts_of(run.path / "teacher/final/model.safetensors")["backbone"] == "tiny"
    untouched = sha256_of(run.path / "teacher/final/model.safetensors")
    assert run.call("train") == 0
    assert sha256_of(run.path / "teacher/final/model.safetensors") == untouched
    assert run.read("train/proof.json")["state"] == "finished"
    assert run.settings("evaluate")["leads_seen"] == [1, 6, 10]
    run.call("evaluate")
    assert run.read("eval/tuned.json")["results"][0]["lock"]["signal"]["leads_seen"] == [1, 6, 10]
    run.call("judge_teacher")
    judged = run.read("eval/teacher.json")
    assert judged["model"] == {"backbone": "tiny", "name": "teacher/final", "sha256": untouched}
    (result,) = judged["results"]
    assert result["lock"]["signal"]["leads_seen"] == list(range(12))
    assert result["lock"]["records"] == run.read("eval/tuned.json")["results"][0]["lock"]["records"]
    assert result["predictions"] == "eval/teacher/1_signal_multilabel.jsonl"
    (student,) = run.read("eval/tuned.json")["results"]
    (beside,) = beside_student(run.path, [result], [student])
    name = student["headline"][0]
    assert beside["student_minus"][name]["value"] == pytest.approx(
        student["metrics"][name]["value"] - result["metrics"][name]["value"]
    )
    other = {**student, "lock": {**student["lock"], "precision": "bf16"}}
    assert "precision" in beside_student(run.path, [result], [other])[0]["not_paired"]
    write_json(run.path / "teacher/proof.json", run.read("teacher/proof.json") | {"state": "interrupted"})
    with pytest.raises(StageError, match=r"teacher/proof\.json: the training is interrupted, not finished"):
        run.call("judge_teacher")


def test_a_teacher_of_another_run_is_found_and_changes_the_student(run_of: Any) -> None:
    teacher = run_of("teacher")
    teacher.call("train")
    taught, alone = run_of("taught", distill={"teacher": str(teacher.path)}), run_of("alone")
    assert taught.call("train") == 0
    alone.call("train")
    assert not same_state(taught.path / "train/checkpoints", alone.path / "train/checkpoints")
    taught.call("judge_teacher")
    teacher.call("evaluate")
    results = [
        run.read(f"eval/{name}.json")["results"][0] for run, name in ((taught, "teacher"), (teacher, "tuned"))
    ]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_a_teacher_of_other_classes_is_refused(run_of: Any, tmp_path: Path) -> None:
    other = network({"backbone": "tinylight", "leads": ["I"] * 12}, 7, aux=False, seed=1)
    leads = "; ".join(open_records(run_of("some").path / "data").store.leads)
    facts = {"backbone": "tinylight", "leads": leads, "classes": "A; B"}
    save(other, tmp_path / "other.safetensors", facts)
    run = run_of(distill={"teacher": str(tmp_path / "other.safetensors")})
    with pytest.raises(StageError, match="the teacher knows the classes A; B"):
        run.call("train")
    assert run.read("train/proof.json")["state"] == "failed"
    with pytest.raises(StageError, match="the teacher knows the classes A; B"):
        run.call("judge_teacher")


def test_a_teacher_of_another_sampling_rate_is_refused(run_of: Any, tmp_path: Path) -> None:
    """Nothing adapts a teacher: its opinion of waves of another length is worth nothing."""
    records = open_records(run_of("some").path / "data")
    facts = {"backbone": "tinylight", "leads": "; ".join(records.store.leads), "fs_hz": "400"}
    other = network({"backbone": "tinylight", "leads": ["I"] * 12}, 7, aux=False, seed=1)
    save(other, tmp_path / "t.safetensors", {**facts, "classes": "; ".join(records.store.class_names)})
    with pytest.raises(
        NativeError, match=r"trained on recordings of 400 Hz, these have .*\n  add \{step: resample"
    ):
        teacher_of(tmp_path / "t.safetensors", records)


# ---------------------------------------------------------------------------------------- bad input


def test_a_checkpoint_of_other_classes_gives_all_but_the_head(run_of: Any, tmp_path: Path) -> None:
    other = network({"backbone": "tinylight", "leads": ["I"] * 12}, 6, aux=False, seed=1)
    save(other, tmp_path / "pretrained.safetensors", {"fs_hz": "400", "samples": "4096"})
    run = run_of(model__checkpoint=str(tmp_path / "pretrained.safetensors"))
    assert run.call("train") == 0
    started = run.read("train/proof.json")["started_from"]
    assert started["new"] == ["classifier.1.weight", "classifier.1.bias"]
    store = open_records(run.path / "data").store
    assert started["trained_on_other"] == [
        f"400 Hz, here {store.fs_hz:g} Hz",
        f"4096 samples, here {store.time_points} samples",
    ]
    assert f"trained on other recordings: 400 Hz, here {store.fs_hz:g} Hz" in (
        run.path / "events.jsonl"
    ).read_text(encoding="utf-8")
    assert "6 classes there, 7 here: a new head" in (run.path / "events.jsonl").read_text(encoding="utf-8")


def test_a_run_from_random_weights_says_so_everywhere(run_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec names a variable with an empty default, and the variable is not set."""
    monkeypatch.delenv("ECG_CHECKPOINT", raising=False)
    run = run_of(model__checkpoint="${env:ECG_CHECKPOINT:-}", method={"name": "linear_probe"})
    assert run.call("train") == 0
    assert run.read("train/proof.json")["started_from"] is None
    notes = [event["text"] for event in read_events(run.path / "events.jsonl") if event["event"] == "note"]
    assert notes == ["training starts from random weights: ${env:ECG_CHECKPOINT:-} is empty"]
    run.call("baseline")
    plan = plan_to_json(make_plan(run.spec, MACHINE))
    write_json(run.path / "plan.json", plan)
    record = read_run(run.path)
    assert record.methods()[0].method == "random weights"
    assert dict(page_facts(record))["Base model"] == (
        "tinylight, random weights (${env:ECG_CHECKPOINT:-} was empty)"
    )


def test_an_earlier_run_is_a_checkpoint(run_of: Any) -> None:
    first = run_of("first")
    first.call("train")
    second = run_of("second", model__checkpoint=str(first.path))
    assert second.call("train") == 0
    assert second.read("train/proof.json")["started_from"]["new"] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__checkpoint": "/nowhere/x.safetensors"}, "no such checkpoint"),
        ({"train__aux": {"weight": 0.1, "target": "abnormal", "normal": ["VF"]}}, "are no classes"),
        (
            {"train__learning_rate": 10.0, "train__weight_decay": 10.0, "train__steps": 60},
            "step .* lower the learning rate",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(run_of: Any, changes: dict[str, Any], said: str) -> None:
    run = run_of(**changes)
    with pytest.raises(StageError, match=said) as raised:
        run.call("train")
    assert run.read("train/proof.json")["reason"] == str(raised.value)


def test_a_length_that_the_network_cannot_take(tmp_path: Path) -> None:
    pipeline = [{"step": "standardise"}, {"step": "pad_or_crop", "samples": 250}]
    run = Run(tmp_path, spec_of(data__pipeline=pipeline))
    run.call("data")
    with pytest.raises(StageError, match="250 samples; this backbone takes a multiple of 64"):
        run.call("train")
