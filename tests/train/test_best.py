"""The best checkpoint with the real engine: it is saved, it becomes the final weights, and it is proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.axolotl, pytest.mark.timeout(300)]

BEST: dict[str, Any] = {
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "lr_scheduler": "constant",
    "warmup_steps": 0,
    "learning_rate": 20.0,  # the loss falls for a few steps, then it rises
    "eval_steps": 2,
}


def test_the_final_weights_are_those_of_the_lowest_loss_though_no_save_was_due(
    make_run: Callable[..., Any],
) -> None:
    """Saves are due at 12 and 22; the lowest loss is at an evaluation between them."""
    run = make_run(config=BEST | {"save_steps": 12}, expect={"keep_best": True})
    assert run.train() == 0, run.log()
    evaluations = [event for event in run.events("evaluation") if event["step"]]
    lowest = min(evaluations, key=lambda event: event["loss"])["step"]
    assert lowest not in (12, 22), [(e["step"], e["loss"]) for e in evaluations]
    proof = run.proof()
    assert (proof["keep_best"], proof["best_step"], proof["lowest_step"]) == (True, lowest, lowest)
    final, best = (
        run.path / folder / "adapter_model.safetensors"
        for folder in ("train/final", f"train/checkpoints/checkpoint-{lowest}")
    )
    assert final.read_bytes() == best.read_bytes()
    last = run.path / "train/checkpoints/checkpoint-22/adapter_model.safetensors"
    assert last.read_bytes() != best.read_bytes()


def test_the_engine_switching_it_off_fails_the_run(make_run: Callable[..., Any]) -> None:
    """Saves every 5 steps do not fall on evaluations every 2: the engine keeps the last, and says nothing."""
    run = make_run(config=BEST | {"save_steps": 5}, expect={"keep_best": True})
    assert run.train() == 1
    assert "best checkpoint kept: planned True, measured False (as the trainer was told)" in run.log()
