"""The train stage with the real engine on a CPU."""

from __future__ import annotations

import json
import math
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner import checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.axolotl, pytest.mark.timeout(900)]

STEPS, ROWS = 22, 86
LORA_PARAMETERS = 2 * 4 * ((32 + 32) + (32 + 16) + (32 + 64))
"""Two layers, rank 4: in + out of q_proj (32 -> 32), v_proj (32 -> 16), up_proj (32 -> 64)."""


def weights(path: Path) -> bytes:
    """Return the bytes of all tensors of a safetensors file, without the header."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_a_run_left_alone_proves_what_was_planned(uninterrupted: Any) -> None:
    run = uninterrupted
    proof = run.proof()
    assert proof["state"] == "finished"
    assert (proof["steps"], proof["max_steps"], proof["rows_seen"]) == (STEPS, STEPS, ROWS)
    assert (proof["processes"], proof["distributed"], proof["device"]) == (1, "none", "cpu")
    assert proof["trainable"] == proof["expected_trainable"] == LORA_PARAMETERS == 1664
    (modules,) = run.events("modules")
    assert modules["matched"] == {"language.attention": 4, "language.mlp": 2}
    assert modules["names"][0] == "model.layers.0.self_attn.q_proj"
    train, validation = run.events("dataset")
    assert (train["rows"], validation["rows"]) == (43, 7)
    assert train["first"].startswith("Question: What ")
    assert train["first"].count("⟦") == train["first"].count("⟧") == 1
    assert train["first"].endswith("</s>⟧")
    (alive,) = run.events("alive")
    assert alive["versions"]["axolotl"] == "0.19.0"
    assert (run.path / "train/final/adapter_model.safetensors").is_file()


def test_the_engines_copies_of_the_data_are_gone(uninterrupted: Any) -> None:
    assert {path.name for path in (uninterrupted.path / "train").iterdir()} == {
        "checkpoints",
        "final",
        "metrics.jsonl",
        "proof.json",
    }


def test_the_metrics_add_up(uninterrupted: Any) -> None:
    run = uninterrupted
    steps = run.events("step")
    assert [event["step"] for event in steps] == [3, 6, 9, 12, 15, 18, 21, 22]
    assert [event["rows_seen"] for event in steps] == [12, 24, 36, 47, 59, 71, 83, 86]
    train, validation = run.events("dataset")
    # Two epochs over every row, and a token is attended or carries loss as often as its row is seen.
    assert steps[-1]["tokens_seen"] == 2 * train["tokens"]
    assert steps[-1]["label_tokens_seen"] == 2 * train["label_tokens"]
    assert steps[0]["loss"] > steps[-1]["loss"]
    assert all(event["grad_norm"] > 0 and event["memory_mib"] > 0 for event in steps)
    evaluations = run.events("evaluation")
    assert [event["step"] for event in evaluations] == [0, 8, 16, 22]
    for event in evaluations:
        assert (event["rows"], event["label_tokens"]) == (7, validation["label_tokens"])
        assert event["perplexity"] == pytest.approx(math.exp(event["loss"]))
    written = run.events(file="train/metrics.jsonl")
    assert written == [event for event in run.events() if event["event"] in ("step", "evaluation")]
    assert run.proof()["load_back"] == ""


def test_killed_damaged_stopped_and_resumed_is_the_same_to_the_last_bit(
    make_run: Callable[..., Any], uninterrupted: Any
) -> None:
    """Kill -9 at a random step; the newest checkpoint cut off; SIGTERM; then to the end. Dropout is on."""
    run = make_run()
    step = random.SystemRandom().randint(11, 14)
    stage = run.start()
    run.wait_for("checkpoint", 10, stage)
    run.wait_for("step", step, stage)
    run.kill_engine()
    assert stage.wait(timeout=60) == 1
    assert "SIGKILL" in run.log()
    assert "launch --resume" in run.log()

    whole = checkpoints.find(run.path / "train/checkpoints", 1)  # the kill may have damaged a newer one
    optimizer = whole.newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1000])
    before = len(run.events())
    stage = run.start()
    run.wait_for("step", whole.step - 3, stage, skip=before)
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(timeout=60) == 130, run.log()
    notes = [event["text"] for event in run.events("note")]
    assert any("optimizer.pt is cut off" in note for note in notes)
    stopped = run.proof()
    assert stopped["state"] == "interrupted"
    assert 0 < stopped["steps"] < STEPS
    assert run.events("interrupt")[0]["step"] == stopped["steps"]
    assert (run.path / f"train/checkpoints/checkpoint-{stopped['steps']}/optimizer.pt").is_file()
    assert not (run.path / "train/final").exists()

    assert run.train() == 0, run.log()
    assert run.proof()["resumed_from"] == stopped["steps"]
    assert run.metrics() == uninterrupted.metrics()
    assert run.proof()["rows_seen"] == ROWS
    name = "train/final/adapter_model.safetensors"
    assert weights(run.path / name) == weights(uninterrupted.path / name)


def test_recording_changes_no_bit_and_the_numbers_are_right(
    make_run: Callable[..., Any], full: dict[str, Any], ingredients: Path
) -> None:
    """The same config with and without the plugin; its first evaluation against plain torch in float64."""
    recorded = make_run(config=full, method={"name": "full"}, adapter=False)
    assert recorded.train() == 0, recorded.log()
    plain = make_run(config=full | {"plugins": None, "runner": None})
    assert (
        plain.start("-m", "axolotl.cli.train", "config/axolotl.yaml", ACCELERATE_USE_CPU="true").wait(240)
        == 0
    )
    assert weights(recorded.path / "train/final/model.safetensors") == weights(
        plain.path / "train/checkpoints/model.safetensors"
    )
    assert recorded.proof()["trainable"] == recorded.proof()["total"]

    first = recorded.events("evaluation")[0]
    script = Path(__file__).parent / "first_principles.py"
    told = plain.start(str(script), str(ingredients))
    assert told.wait(timeout=120) == 0, plain.log()
    expected = json.loads((plain.path / "first_principles.json").read_text())
    assert first["label_tokens"] == expected["label_tokens"]
    assert first["token_accuracy"] == expected["token_accuracy"]
    assert first["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert first["entropy"] == pytest.approx(expected["entropy"], rel=1e-6)


def test_two_processes_share_the_rows(make_run: Callable[..., Any]) -> None:
    """43 records over 2 processes in batches of 2: 11 passes of 4 rows, 6 steps an epoch; 44 rows, 1 twice.

    Stopped on the way: both processes end at the same step, and count on from there.
    """
    run = make_run(
        config={"ddp": True, "max_steps": 9, "logging_steps": 1, "save_steps": 9},
        runner={"steps": 9, "log_every": 1},
        expect={"steps": 9, "rows": 44 + 24, "world_size": 2, "distributed": "ddp"},
    )
    stage = run.start()
    run.wait_for("step", 3, stage)
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(timeout=60) == 130, run.log()
    stopped = run.proof()["steps"]
    assert run.train() == 0, run.log()
    assert (run.proof()["processes"], run.proof()["distributed"]) == (2, "ddp")
    assert run.proof()["resumed_from"] == stopped
    metrics = run.metrics()
    steps = [event for event in metrics if event["event"] == "step"]
    assert [event["rows_seen"] for event in steps] == [8, 16, 24, 32, 40, 44, 52, 60, 68]
    evaluations = [event for event in metrics if event["event"] == "evaluation"]
    assert [(event["step"], event["rows"]) for event in evaluations] == [(0, 7), (8, 7), (9, 7)]
    validation = run.events("dataset")[1]
    assert all(event["label_tokens"] == validation["label_tokens"] for event in evaluations)
    assert len(run.events("alive")) == 2  # one process writes, once a start


def test_a_loss_that_is_no_number_fails_at_once(make_run: Callable[..., Any]) -> None:
    run = make_run(config={"learning_rate": 1e30, "warmup_steps": 0, "max_grad_norm": 1e30})
    assert run.train() == 1
    assert "the loss is not a finite number at step" in run.log()
    assert "lower train.learning_rate" in run.log()
    assert "Traceback" not in run.log().rpartition("the loss is not a finite number")[2]
    assert run.proof()["state"] == "failed"
    assert run.proof()["steps"] < 5


def test_a_run_that_did_not_train_what_was_planned_fails(
    make_run: Callable[..., Any], ingredients: Path, tmp_path: Path
) -> None:
    """86 rows are seen, 87 were planned. The model is named by a variable, from the user's folder."""
    (tmp_path / "mine").symlink_to(ingredients / "model")
    run = make_run(config={"base_model": "${env:MYB}"}, expect={"rows": ROWS + 1})
    assert run.train(MYB="./mine", RUNNER_CWD=str(tmp_path)) == 1
    assert "the engine did not train what was planned:\n  rows seen: planned 87, measured 86" in run.log()
    assert run.proof()["state"] == "finished"
    assert not (run.path / "train/final").exists()


def test_two_processes_where_one_was_planned_fail(make_run: Callable[..., Any]) -> None:
    """The launcher starts two; the plan's numbers are those of one."""
    run = make_run(
        config={"ddp": True, "max_steps": 1, "eval_steps": None, "eval_strategy": "no"},
        runner={"steps": 1},
        expect={"steps": 1, "rows": 4, "world_size": 2, "distributed": "none"},
    )
    assert run.train() == 1
    assert "rows seen: planned 4, measured 8" in run.log()
    assert "distributed: planned none, measured ddp" in run.log()
    assert not (run.path / "train/final").exists()


def test_training_something_else_than_the_method_says_fails_before_the_first_step(
    make_run: Callable[..., Any],
) -> None:
    """The method says rank 8, the engine was told 4."""
    run = make_run(
        method={"name": "lora", "rank": 8, "pattern": r"model\.layers\.\d+\.self_attn\.(q|v)_proj"}
    )
    assert run.train() == 1
    expected = 2 * 8 * ((32 + 32) + (32 + 16))
    assert f"method lora should train {expected:,} parameters, the engine trains 1,664" in run.log()
    assert not run.events("step")


def test_a_plugin_that_cannot_be_imported_ends_the_stage(make_run: Callable[..., Any]) -> None:
    """Axolotl itself would log it and train without."""
    run = make_run(config={"plugins": ["runner.axolotl_plugins.RunnerPlugin"]})
    assert run.train() == 1
    assert "the plugin runner.axolotl_plugins.RunnerPlugin cannot be imported" in run.log()
    assert "before the runner plugin came alive" in run.log()
    assert not (run.path / "train/checkpoints").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs prctl and /proc, which only Linux has")
def test_an_engine_whose_stage_is_killed_saves_and_ends(make_run: Callable[..., Any]) -> None:
    run = make_run(config={"save_steps": 22})
    stage = run.start()
    run.wait_for("step", 3, stage)
    stage.kill()
    stage.wait(timeout=60)
    limit = time.monotonic() + 60
    while run.proof()["state"] != "interrupted":
        assert time.monotonic() < limit, run.log()
        time.sleep(0.05)
    stopped = run.proof()["steps"]
    assert stopped < STEPS
    assert (run.path / f"train/checkpoints/checkpoint-{stopped}/trainer_state.json").is_file()
