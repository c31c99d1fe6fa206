"""The whole way with the real engine: launched, interrupted, killed, continued, rehearsed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runner.events import EVENTS, read_events

pytestmark = pytest.mark.axolotl
ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "specs" / "quickstart" / "llm.yaml"
MEDQUAD = ROOT / "specs" / "distilgpt2_medquad.yaml"
WAIT_S = 240.0
SHORT = ("--set", "train.epochs=1", "--set", "train.save_every.epochs=0.2", "--set", "data.records=400",
         "--set", "data.split.train=240", "--set", "evaluate=[]")  # fmt: skip
"""15 steps, a checkpoint every 3."""
TRACE = (
    "step",
    "loss",
    "token_accuracy",
    "entropy",
    "grad_norm",
    "learning_rate",
    "tokens_seen",
    "rows_seen",
)


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    pytest.importorskip("axolotl", reason="needs the extra `train`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launch")


def start(folder: Path, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runner", "launch", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


def launch(folder: Path, *words: str | Path) -> Path:
    code, out, err = finish(start(folder, *words))
    assert code == 0, err
    return folder / out.splitlines()[-1]


def trace(run: Path) -> list[tuple[Any, ...]]:
    lines = (run / "train" / "metrics.jsonl").read_text().splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "step"]
    return [tuple(event[name] for name in TRACE) for event in steps]


def only_run(folder: Path, runs: str) -> Path:
    (path,) = (folder / runs / "quickstart-llm").iterdir()
    return path


def wait_for_step(folder: Path, runs: str, step: int, process: subprocess.Popen[str]) -> Path:
    """Return the run directory once its training has done `step` steps."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        for metrics in folder.glob(f"{runs}/quickstart-llm/*/train/metrics.jsonl"):
            if f'"step": {step},' in metrics.read_text():
                return metrics.parent.parent
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Path:
    """A short run that nothing disturbed."""
    return launch(folder, QUICKSTART, *SHORT, "--runs", "whole")


def test_a_run_leaves_all_that_the_design_names(uninterrupted: Path) -> None:
    for name in ("spec.yaml", "resolved.yaml", "plan.json", "status.json", "events.jsonl", "environment.json",
                 "config/axolotl.yaml", "data/manifest.json", "data/tokens.json", "train/final/model.safetensors",
                 "train/metrics.jsonl", "train/proof.json", "report/README.md", "report/results.json",
                 "logs/train.log"):  # fmt: skip
        assert (uninterrupted / name).exists(), name
    assert json.loads((uninterrupted / "status.json").read_text())["state"] == "done"
    assert (uninterrupted / "spec.yaml").read_text() == QUICKSTART.read_text()
    for event in read_events(uninterrupted / "events.jsonl"):
        assert set(event) - {"time", "stage", "event"} <= set(EVENTS[event["event"]]), event


def test_what_ran_is_what_was_planned(uninterrupted: Path) -> None:
    plan = json.loads((uninterrupted / "plan.json").read_text())["numbers"]
    proof = json.loads((uninterrupted / "train" / "proof.json").read_text())
    assert (plan["steps"], plan["rows"]) == (15, 240)
    assert (proof["steps"], proof["rows_seen"], proof["processes"]) == (15, 240, 1)
    assert proof["trainable"] == proof["total"] > 0
    assert [step for step, *_ in trace(uninterrupted)] == list(range(1, 16))


def test_a_finished_run_resumed_does_nothing_again(uninterrupted: Path, folder: Path) -> None:
    before = (uninterrupted / "train" / "proof.json").stat().st_mtime_ns
    assert launch(folder, "--resume", uninterrupted) == uninterrupted
    skipped = [
        e["stage"] for e in read_events(uninterrupted / "events.jsonl") if e["event"] == "stage_skipped"
    ]
    assert skipped == ["data", "tiny_model", "train", "report"]
    assert (uninterrupted / "train" / "proof.json").stat().st_mtime_ns == before


def test_killed_at_any_step_a_run_goes_on_to_the_same_trace(uninterrupted: Path, folder: Path) -> None:
    """Kill -9 of the trainer after step 8: it goes on from the checkpoint of step 6."""
    process = start(folder, QUICKSTART, *SHORT, "--runs", "killed")
    run = wait_for_step(folder, "killed", 8, process)
    trainer = next(
        e["pid"] for e in read_events(run / "events.jsonl") if e["stage"] == "train" and "pid" in e
    )
    os.killpg(trainer, signal.SIGKILL)
    code, out, err = finish(process)
    assert (code, folder / out.splitlines()[-1]) == (1, run)
    assert "SIGKILL" in err
    assert launch(folder, "--resume", run) == run
    assert trace(run) == trace(uninterrupted)
    weights = "train/final/model.safetensors"
    assert (run / weights).read_bytes() == (uninterrupted / weights).read_bytes()


def test_ctrl_c_saves_and_ends_with_130_and_resume_goes_on(uninterrupted: Path, folder: Path) -> None:
    process = start(folder, QUICKSTART, *SHORT, "--runs", "stopped")
    run = wait_for_step(folder, "stopped", 4, process)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, folder / out.splitlines()[-1]) == (130, run)
    assert "go on with: runner launch --resume" in err
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    saved = max(
        int(path.name.rpartition("-")[2]) for path in (run / "train" / "checkpoints").glob("checkpoint-*")
    )
    assert saved >= 4, "stopped without saving the steps done"
    launch(folder, "--resume", run)
    assert trace(run) == trace(uninterrupted)


def test_a_launch_of_a_live_run_is_refused(folder: Path) -> None:
    process = start(folder, QUICKSTART, *SHORT, "--runs", "live")
    try:
        end = time.monotonic() + WAIT_S
        while not list(folder.glob("live/quickstart-llm/*/events.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.01)
        code, _, err = finish(start(folder, "--resume", only_run(folder, "live")))
        assert code == 3
        assert f"is being run by process {process.pid}" in err
    finally:
        process.send_signal(signal.SIGINT)
        finish(process)


@pytest.mark.realdata
@pytest.mark.parametrize("tokenizer", [None, "tokenizers/gpt2"], ids=["trained", "gpt2"])
def test_system_c_rehearses_on_real_questions(folder: Path, real_data: Path, tokenizer: str | None) -> None:
    words = ["--set", f"data.root={real_data / 'medquad'}"]
    if tokenizer:
        words += ["--set", f"model.tokenizer={real_data / tokenizer}"]
    run = launch(folder, MEDQUAD, "--rehearse", *words, "--runs", "medquad")
    manifest = json.loads((run / "data" / "manifest.json").read_text())
    assert manifest["dropped"]["no answer"]["count"] == 9218 - 8687
    assert manifest["split"]["crossing"] == 0
    rows = {r["metric"]: r for r in json.loads((run / "report" / "results.json").read_text())["table"]}
    assert (rows["perplexity"]["published"], rows["perplexity"]["comparable"]) == (7.71, "no: rehearsal")
    assert rows["perplexity"]["interval"][0] < rows["perplexity"]["tuned"] < rows["perplexity"]["interval"][1]
    report = (run / "report" / "README.md").read_text()
    assert "with what carries loss between" in report
    assert "Answer: ⟦" in report or "Answer:⟦" in report
    tokens = json.loads((run / "data" / "tokens.json").read_text())
    cut = tokens["splits"]["train"]["longer_than_context"]
    assert 0 < cut["share"] < 1
    assert manifest["truncation"]["train"] == cut


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("lora", {"method": "{name: lora, rank: 4, alpha: 8}", "data.template": "llama3"}),
        ("dora-gemma3", {"method": "{name: dora, rank: 4, alpha: 8, include: [language.mlp]}",
                         "model.architecture": "gemma3_text", "data.template": "gemma3"}),
        ("qlora-qwen3", {"method": "{name: qlora, rank: 4, alpha: 8, train_fully: [lm_head]}",
                         "model.architecture": "qwen3", "data.template": "tokenizer",
                         "compute.device": "cuda", "train.precision": "bf16"}),
        ("partial-gpt2", {"method": "{name: partial, include: [language.mlp]}", "model.architecture": "gpt2"}),
    ],
)  # fmt: skip
def test_every_method_rehearses(folder: Path, name: str, changes: dict[str, str]) -> None:
    words = [word for path, value in changes.items() for word in ("--set", f"{path}={value}")]
    run = launch(folder, QUICKSTART, "--rehearse", *words, "--set", "train.steps=null", "--runs", name)
    events = {(e["event"], e.get("split")): e for e in read_events(run / "events.jsonl")}
    modules = events["modules", None]
    assert 0 < modules["trainable"] < modules["total"]
    assert 0 < events["dataset", "train"]["label_share"] < 1
    tuned = json.loads((run / "eval" / "tuned.json").read_text())
    baseline = json.loads((run / "eval" / "baseline.json").read_text())
    loss = [item["results"][0]["metrics"]["loss"]["value"] for item in (baseline, tuned)]
    assert loss[1] < loss[0], "training taught it nothing"
