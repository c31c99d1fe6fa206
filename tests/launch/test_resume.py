"""The whole way with the real engine: launched, interrupted, killed, continued, rehearsed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

import pytest

from runner.events import EVENTS, read_events

pytestmark = pytest.mark.axolotl
SHORT = ("--set", "train.epochs=1", "--set", "train.save_every.epochs=0.2", "--set", "data.records=400",
         "--set", "data.split.train=240", "--set", "evaluate=[]")  # fmt: skip
"""15 steps, a checkpoint every 3."""
LAST = 13
"""The last step at which the engine is killed, so that something is left to do."""
SEED = int(os.environ.get("RUNNER_TEST_SEED", "20"))
"""Draws the step at which the engine is killed."""
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


class Launcher(Protocol):
    """What the fixture `launcher` offers."""

    quickstart: Path
    medquad: Path
    launcher: Launcher
    wait_s: float

    def start(self, *words: str | Path) -> subprocess.Popen[str]: ...
    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]: ...
    def launch(self, *words: str | Path) -> Path: ...


def trace(run: Path) -> list[tuple[Any, ...]]:
    lines = (run / "train" / "metrics.jsonl").read_text().splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "step"]
    return [tuple(event[name] for name in TRACE) for event in steps]


def only_run(launcher: Launcher, runs: str) -> Path:
    (path,) = (launcher.folder / runs / "quickstart-llm").iterdir()
    return path


def wait_for_step(launcher: Launcher, runs: str, step: int, process: subprocess.Popen[str]) -> Path:
    """Return the run directory once its training has done `step` steps."""
    end = time.monotonic() + launcher.wait_s
    while time.monotonic() < end and process.poll() is None:
        for metrics in launcher.folder.glob(f"{runs}/quickstart-llm/*/train/metrics.jsonl"):
            if f'"step": {step},' in metrics.read_text():
                return metrics.parent.parent
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def uninterrupted(launcher: Launcher) -> Path:
    """A short run that nothing disturbed."""
    return launcher.launch(launcher.quickstart, *SHORT, "--runs", "whole")


def test_a_run_leaves_all_that_the_design_names(uninterrupted: Path, launcher: Launcher) -> None:
    for name in ("spec.yaml", "resolved.yaml", "plan.json", "status.json", "events.jsonl", "environment.json",
                 "config/axolotl.yaml", "data/manifest.json", "data/tokens.json", "train/final/model.safetensors",
                 "train/metrics.jsonl", "train/proof.json", "report/README.md", "report/results.json", "report/report.html",
                 "logs/train.log"):  # fmt: skip
        assert (uninterrupted / name).exists(), name
    assert json.loads((uninterrupted / "status.json").read_text())["state"] == "done"
    assert (uninterrupted / "spec.yaml").read_text() == launcher.quickstart.read_text()
    for event in read_events(uninterrupted / "events.jsonl"):
        assert set(event) - {"time", "stage", "event"} <= set(EVENTS[event["event"]]), event


def test_what_ran_is_what_was_planned(uninterrupted: Path) -> None:
    plan = json.loads((uninterrupted / "plan.json").read_text())["numbers"]
    proof = json.loads((uninterrupted / "train" / "proof.json").read_text())
    assert (plan["steps"], plan["rows"]) == (15, 240)
    assert (proof["steps"], proof["rows_seen"], proof["processes"]) == (15, 240, 1)
    assert proof["trainable"] == proof["total"] > 0
    assert [step for step, *_ in trace(uninterrupted)] == list(range(1, 16))


def test_a_finished_run_resumed_does_nothing_again(uninterrupted: Path, launcher: Launcher) -> None:
    before = (uninterrupted / "train" / "proof.json").stat().st_mtime_ns
    assert launcher.launch("--resume", uninterrupted) == uninterrupted
    skipped = [
        e["stage"] for e in read_events(uninterrupted / "events.jsonl") if e["event"] == "stage_skipped"
    ]
    assert skipped == ["data", "tiny_model", "train", "report"]
    assert (uninterrupted / "train" / "proof.json").stat().st_mtime_ns == before


def test_stopped_and_killed_a_run_goes_on_to_the_same_trace(uninterrupted: Path, launcher: Launcher) -> None:
    """Ctrl-C saves where it stands. Kill -9 of the engine saves nothing: it goes on from a checkpoint before."""
    process = launcher.start(launcher.quickstart, *SHORT, "--runs", "stopped")
    run = wait_for_step(launcher, "stopped", 2, process)
    process.send_signal(signal.SIGINT)
    code, out, err = launcher.finish(process)
    assert (code, launcher.folder / out.splitlines()[-1]) == (130, run)
    assert "go on with: runner launch --resume" in err
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    checkpoints = (run / "train" / "checkpoints").glob("checkpoint-*")
    saved = max(int(path.name.rpartition("-")[2]) for path in checkpoints)
    assert saved >= 2, "stopped without saving the steps done"
    assert saved < LAST, "stopped too late to be killed as well"

    step = random.Random(SEED).randint(saved + 1, LAST)
    print(f"killed at step {step} of 15, drawn with seed {SEED}")
    process = launcher.start("--resume", run)
    wait_for_step(launcher, "stopped", step, process)
    os.kill(json.loads((run / "train" / "proof.json").read_text())["pid"], signal.SIGKILL)
    code, out, err = launcher.finish(process)
    assert (code, launcher.folder / out.splitlines()[-1]) == (1, run)
    assert "SIGKILL" in err

    assert launcher.launch("--resume", run) == run
    assert trace(run) == trace(uninterrupted)
    weights = "train/final/model.safetensors"
    assert (run / weights).read_bytes() == (uninterrupted / weights).read_bytes()


def test_a_launch_of_a_live_run_is_refused(launcher: Launcher) -> None:
    process = launcher.start(launcher.quickstart, *SHORT, "--runs", "live")
    try:
        end = time.monotonic() + launcher.wait_s
        while not list(launcher.folder.glob("live/quickstart-llm/*/events.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.01)
        code, _, err = launcher.finish(launcher.start("--resume", only_run(launcher, "live")))
        assert code == 3
        assert f"is being run by process {process.pid}" in err
    finally:
        process.send_signal(signal.SIGINT)
        launcher.finish(process)
