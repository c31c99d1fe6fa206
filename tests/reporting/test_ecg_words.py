"""What the report takes from an ECG run: pace in records, memory, weights, and what was learned from."""

from __future__ import annotations

from typing import Any

import pytest

from runner.reporting.base import base_of, rank_of, weights_at_start
from runner.results import results_of, seconds_of_steps
from runner.show import learned_from
from runner.spec.shared import Published

STEPS: list[dict[str, Any]] = [
    {
        "event": "step",
        "step": 1,
        "rows_seen": 8,
        "records_per_s": 4.0,
        "memory_training_mib": 512.0,
        "loss": 0.7,
    },
    {
        "event": "step",
        "step": 2,
        "rows_seen": 14,
        "records_per_s": 3.0,
        "memory_training_mib": 768.0,
        "loss": 0.6,
    },
]
MODULES = {
    "event": "modules", "trainable": 10, "total": 40, "share": 0.25, "matched": {"adapters": 2},
    "names": ["encoder.0.conv1"],
}  # fmt: skip


def test_the_time_of_the_steps_by_hand() -> None:
    """8 records at 4 a second and 6 at 3 a second are 2 s and 2 s."""
    assert seconds_of_steps(STEPS) == 4.0


def test_memory_and_weights_stand_beside_published_ones() -> None:
    published = Published(
        metric="memory_training", value=1.45, split="train", comparable="partly"
    ).model_dump()
    found = results_of(
        {"source": "a page", "metrics": [published]},
        baseline=(), tuned=(), metrics=STEPS, rehearsal=False, best_step=None, parameters=256_850,
    )  # fmt: skip
    rows = {row["metric"]: row for row in found["table"]}
    assert rows["memory_training"]["tuned"] == 0.75  # 768 MiB, in GiB
    assert rows["memory_training"]["published"] == 1.45
    assert rows["parameters"]["tuned"] == 256_850
    assert rows["train_records_per_s"]["tuned"] == pytest.approx(14 / 4)
    assert "train_loss" not in rows  # a mean over label tokens, of which there are none


def test_no_text_is_shown_where_there_is_none() -> None:
    assert learned_from([MODULES]) == (
        "10 of 40 parameters (25.00%) are trained, such as encoder.0.conv1.\n- adapters: 2 modules"
    )


LOADED = {"started_from": {"tensors": 40, "new": []}}
PLACEHOLDER = "${env:WEIGHTS:-}"


@pytest.mark.parametrize(
    ("checkpoint", "rehearsal", "proof", "base", "weights"),
    [
        (None, False, {}, "medium, random weights", "random weights"),
        ("/w", False, LOADED, "medium, /w", "as given"),
        ("/w", False, {}, "medium, /w", "as given"),
        (
            "/w", False, {"started_from": {"tensors": 40, "new": [], "trained_on_other": ["400 Hz, here 500 Hz"]}},
            "medium, /w (trained on 400 Hz, here 500 Hz)", "as given (trained on 400 Hz, here 500 Hz)",
        ),
        (PLACEHOLDER, False, LOADED, f"medium, {PLACEHOLDER}", "as given"),
        (
            PLACEHOLDER, False, {"started_from": None},
            f"medium, random weights ({PLACEHOLDER} was empty)", "random weights",
        ),
        # proven of the training, but by a release that wrote `started_from` only where something was loaded
        (
            PLACEHOLDER, False, {"trainable": 7},
            f"medium, random weights ({PLACEHOLDER} was empty)", "random weights",
        ),
        (PLACEHOLDER, False, {"alive": True}, f"medium, {PLACEHOLDER}", "as given, or random weights"),
        (PLACEHOLDER, True, {"started_from": None}, f"medium, {PLACEHOLDER}", "random weights"),
        ("/w", True, {"started_from": None}, "medium, /w", "random weights"),
    ],
)  # fmt: skip
def test_the_weights_that_a_run_started_from_are_those_that_were_loaded(
    checkpoint: str | None, rehearsal: bool, proof: dict[str, Any], base: str, weights: str
) -> None:
    """The page names what a rehearsal stands in for; the table of methods says what was judged."""
    plan = {
        "kind": "ecg",
        "rehearsal": rehearsal,
        "spec": {"model": {"backbone": "medium", "checkpoint": checkpoint}},
    }
    assert base_of(plan, proof) == base
    assert weights_at_start(plan, proof) == weights


def test_the_base_and_the_rank_in_words() -> None:
    assert base_of({"kind": "llm", "spec": {"model": {"base": "gpt2"}}}, {}) == "gpt2"
    assert rank_of({"lora": {"rank": 4}}) == rank_of({"rank": 4}) == 4
    assert rank_of({"lora": None}) is None
