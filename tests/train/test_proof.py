"""Each single difference between plan and proof is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from runner.proof import verify

EXPECT = {
    "steps": 100,
    "rows": 800,
    "world_size": 2,
    "distributed": "ddp",
    "early_stopping": False,
    "keep_best": False,
}
PROOF = {
    "alive": True,
    "state": "finished",
    "device": "cuda",
    "processes": 2,
    "distributed": "ddp",
    "max_steps": 100,
    "steps": 100,
    "rows_seen": 800,
    "trainable": 1664,
    "expected_trainable": 1664,
    "stopped_early": False,
    "keep_best": False,
}


def test_a_run_as_planned_has_no_difference() -> None:
    assert verify(PROOF, EXPECT, "cuda") == []


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "alive",
            False,
            "plugin alive: planned True, measured False (the engine trained without the plugin)",
        ),
        (
            "alive",
            None,
            "plugin alive: planned True, measured nothing (the engine trained without the plugin)",
        ),
        ("state", "training", "state: planned finished, measured training"),
        ("state", "interrupted", "state: planned finished, measured interrupted"),
        ("device", "cpu", "device: planned cuda, measured cpu"),
        ("processes", 1, "processes: planned 2, measured 1 (each process may have trained alone)"),
        ("processes", 4, "processes: planned 2, measured 4"),
        ("distributed", "none", "distributed: planned ddp, measured none (as the model was really wrapped)"),
        ("max_steps", 13, "steps planned by the engine: planned 100, measured 13"),
        ("steps", 99, "steps done: planned 100, measured 99"),
        ("steps", None, "steps done: planned 100, measured nothing"),
        ("rows_seen", 52, "rows seen: planned 800, measured 52"),
        ("rows_seen", 1600, "rows seen: planned 800, measured 1,600"),
        ("trainable", 832, "trainable parameters: planned 1,664, measured 832"),
        ("keep_best", True, "best checkpoint kept: planned False, measured True (as the trainer was told)"),
        ("steps", "100", "steps done: planned 100, measured 100"),
    ],
)
def test_each_difference_is_named(key: str, value: Any, line: str) -> None:
    assert [found.text() for found in verify(PROOF | {key: value}, EXPECT, "cuda")] == [line]


@pytest.mark.parametrize("key", sorted(PROOF.keys() - {"stopped_early"}))
def test_a_fact_that_is_not_proven_is_a_difference(key: str) -> None:
    assert verify({name: value for name, value in PROOF.items() if name != key}, EXPECT, "cuda")


def test_nothing_trained_is_a_difference_even_where_nothing_was_expected() -> None:
    assert verify(PROOF | {"trainable": 0, "expected_trainable": 0}, EXPECT, "cuda")


def test_several_differences_are_all_named() -> None:
    found = verify(PROOF | {"steps": 1, "rows_seen": 8, "processes": 1}, EXPECT, "cuda")
    assert [difference.what for difference in found] == ["processes", "steps done", "rows seen"]


def test_a_planned_early_end_may_be_early_but_not_empty() -> None:
    expect = EXPECT | {"early_stopping": True}
    early = PROOF | {"stopped_early": True, "steps": 40, "rows_seen": 320}
    assert verify(early, expect, "cuda") == []
    assert verify(PROOF, expect, "cuda") == []
    assert [found.what for found in verify(early, EXPECT, "cuda")] == ["steps done", "rows seen"]
    assert [found.what for found in verify(early | {"stopped_early": False}, expect, "cuda")] == [
        "steps done",
        "rows seen",
    ]
    assert [found.what for found in verify(early | {"rows_seen": 0}, expect, "cuda")] == ["rows seen"]


BEST = PROOF | {"keep_best": True, "best_step": 24, "lowest_step": 24}


def test_the_best_checkpoint_is_planned_and_kept() -> None:
    assert verify(BEST, EXPECT | {"keep_best": True}, "cuda") == []


def test_the_engine_switching_the_best_off_is_a_difference() -> None:
    """Where saves and evaluations do not fall together it does so without a word."""
    switched_off = BEST | {"keep_best": False, "best_step": None}
    assert [found.text() for found in verify(switched_off, EXPECT | {"keep_best": True}, "cuda")] == [
        "best checkpoint kept: planned True, measured False (as the trainer was told)",
        "step of the final weights: planned 24, measured nothing (the lowest validation loss is planned)",
    ]


@pytest.mark.parametrize("step", [None, 0, 12, 101, "24"])
def test_other_weights_than_the_best_are_a_difference(step: Any) -> None:
    found = verify(BEST | {"best_step": step}, EXPECT | {"keep_best": True}, "cuda")
    assert [difference.what for difference in found] == ["step of the final weights"]
