"""The arithmetic of a run, with numbers worked out by hand; tests/train compares them with the engine."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.numbers import Counts, Numbers, numbers_of, stated_counts
from runner.spec.model import LlmSpec

MakeSpec = Callable[..., LlmSpec]


def numbers(make_spec: MakeSpec, train: int, **changes: Any) -> Numbers:
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return numbers_of(make_spec(paths), Counts(train, 16, 16))


def test_batches_that_divide(make_spec: MakeSpec) -> None:
    """64 records, 8 a step, 2 epochs: 8 steps an epoch, 16 steps, 128 rows."""
    found = numbers(make_spec, 64, train__batch={"micro": 4, "effective": 8}, train__epochs=2)
    assert (found.accumulation, found.steps_per_epoch, found.steps, found.rows) == (2, 8, 16, 128)
    assert found.tokens_at_most == 128 * 64


def test_the_last_step_of_each_epoch_takes_what_is_left(make_spec: MakeSpec) -> None:
    """30 records in passes of 2 are 15 passes, 8 steps of at most 2 passes: 7 * 4 + 2 = 30 rows an epoch.

    ceil(30 * 2 / 4) = 15, the engine's own estimate, would end a step before the second epoch does.
    """
    found = numbers(make_spec, 30, train__batch={"micro": 2, "effective": 4}, train__epochs=2)
    assert (found.steps_per_epoch, found.steps, found.rows) == (8, 16, 60)


def test_the_last_batch_may_be_smaller(make_spec: MakeSpec) -> None:
    """29 records in passes of 2: the fifteenth pass has 1 record."""
    found = numbers(make_spec, 29, train__batch={"micro": 2, "effective": 4}, train__epochs=1)
    assert (found.steps_per_epoch, found.steps, found.rows) == (8, 8, 29)


def test_several_processes_repeat_records_to_fill_the_last_batch(make_spec: MakeSpec) -> None:
    """29 records over 2 processes in batches of 2: 8 passes of 4 rows = 32 rows an epoch."""
    found = numbers(
        make_spec,
        29,
        train__batch={"micro": 2, "effective": 8},
        train__epochs=2,
        compute={"device": "cpu", "gpus": 2, "strategy": "ddp"},
    )
    assert (found.world_size, found.accumulation, found.steps_per_epoch) == (2, 2, 4)
    assert (found.steps, found.rows) == (8, 64)


def test_a_part_of_an_epoch_is_rounded_up_to_steps(make_spec: MakeSpec) -> None:
    """1.5 epochs of 8 steps are 12; the fourth step of the second epoch ends at row 30 + 16."""
    found = numbers(make_spec, 30, train__batch={"micro": 2, "effective": 4}, train__epochs=1.5)
    assert (found.steps, found.rows) == (12, 46)
    assert numbers(make_spec, 30, train__batch={"micro": 2, "effective": 4}, train__epochs=0.3).steps == 3


def test_steps_are_taken_as_they_are(make_spec: MakeSpec) -> None:
    """13 steps at 8 an epoch: 30 rows, then 5 steps of 4."""
    found = numbers(
        make_spec, 30, train__batch={"micro": 2, "effective": 4}, train__epochs=None, train__steps=13
    )
    assert (found.steps, found.rows) == (13, 50)


def test_a_batch_larger_than_the_data(make_spec: MakeSpec) -> None:
    """3 records in one pass of 4: one step an epoch, 3 rows; two processes make 8 rows of them."""
    small = {"train__batch": {"micro": 4, "effective": 8}, "train__epochs": 2}
    found = numbers(make_spec, 3, **small)
    assert (found.steps_per_epoch, found.steps, found.rows) == (1, 2, 6)
    two = numbers(make_spec, 3, **small, compute={"device": "cpu", "gpus": 2, "strategy": "ddp"})
    assert (two.steps_per_epoch, two.steps, two.rows) == (1, 2, 16)


@pytest.mark.parametrize(
    ("gpus", "accumulation"),
    [(1, 16), (4, 4), (16, 1)],
)
def test_more_devices_do_not_mean_a_larger_batch(make_spec: MakeSpec, gpus: int, accumulation: int) -> None:
    """64 records a step at 4 per device: 4 * accumulation * gpus stays 64."""
    found = numbers(
        make_spec,
        640,
        train__batch={"micro": 4, "effective": 64},
        compute={"device": "cuda", "gpus": gpus, "strategy": "ddp"},
    )
    assert (found.accumulation, found.effective, found.steps_per_epoch) == (accumulation, 64, 10)


@pytest.mark.parametrize(
    ("changes", "warmup"),
    [
        ({}, 0),
        ({"train__warmup_steps": 5}, 5),
        ({"train__warmup_ratio": 0.1}, 10),
        ({"train__warmup_ratio": 0.07}, 7),  # 0.07 * 100 is 7.000000000000001 in binary
        ({"train__warmup_ratio": 0.011}, 2),
        ({"train__warmup_steps": 1}, 2),  # what the engine makes of it
        ({"train__warmup_steps": 0}, 0),
    ],
)
def test_warm_up(make_spec: MakeSpec, changes: dict[str, Any], warmup: int) -> None:
    found = numbers(make_spec, 800, train__epochs=None, train__steps=100, **changes)
    assert found.warmup_steps == warmup


def test_epochs_are_taken_as_written(make_spec: MakeSpec) -> None:
    """1.1 * 10 is 11.000000000000002 in binary; 1.1 epochs of 10 steps are 11 steps."""
    found = numbers(make_spec, 80, train__batch={"micro": 8, "effective": 8}, train__epochs=1.1)
    assert found.steps == 11


def test_cadences_in_whole_steps(make_spec: MakeSpec) -> None:
    """16 steps; every half epoch of 8 steps is every 4; every 5 steps is at 5, 10, 15 and at the end."""
    small = {"train__batch": {"micro": 4, "effective": 8}, "train__epochs": 2}
    halves = numbers(make_spec, 64, **small, train__evaluate_every={"epochs": 0.5})
    assert (halves.evaluate_every, halves.evaluations) == (4, 4)
    fives = numbers(
        make_spec, 64, **small, train__evaluate_every={"steps": 5}, train__save_every={"steps": 6}
    )
    assert (fives.evaluate_every, fives.evaluations, fives.save_every) == (5, 4, 6)
    once = numbers(make_spec, 64, **small)
    assert (once.evaluate_every, once.evaluations, once.save_every) == (16, 1, 16)


HALF_AND_WHOLE = {"train.evaluate_every": {"epochs": 0.5}, "train.save_every": {"epochs": 1}}


@pytest.mark.parametrize("best", [{"train.keep_best": True}, {"train.early_stopping": {"patience": 2}}])
def test_a_checkpoint_falls_on_an_evaluation_where_the_best_is_kept(
    make_spec: MakeSpec, best: dict[str, Any]
) -> None:
    """200 records at 8 a step are 25 steps: half of it is 12 (12.5 to even), so a whole is 2 x 12 = 24."""
    found = numbers_of(make_spec(HALF_AND_WHOLE | best), Counts(200, 16, 16))
    assert (found.steps_per_epoch, found.evaluate_every, found.save_every) == (25, 12, 24)
    alone = numbers_of(make_spec(HALF_AND_WHOLE), Counts(200, 16, 16))
    assert (alone.evaluate_every, alone.save_every) == (12, 25)


@given(
    records=st.integers(1, 3000),
    share=st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 1, 1.5, 2]),
    times=st.integers(1, 9),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_saves_and_evaluations_fall_together_whatever_is_counted(
    make_spec: MakeSpec, records: int, share: float, times: int
) -> None:
    whole = float(Fraction(str(share)) * times)
    changes = {"train.evaluate_every": {"epochs": share}, "train.save_every": {"epochs": whole}}
    found = numbers_of(make_spec({**changes, "train.keep_best": True}), Counts(records, 16, 16))
    assert found.evaluate_every is not None
    assert found.save_every == times * found.evaluate_every


def test_no_validation_records_no_evaluations(make_spec: MakeSpec) -> None:
    spec = make_spec({"train.evaluate_every": {"steps": 5}})
    found = numbers_of(spec, Counts(64, 0, 16))
    assert (found.evaluate_every, found.evaluations) == (None, None)


def test_what_is_not_known_yet_stays_open(make_spec: MakeSpec) -> None:
    spec = make_spec({"data.split": {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record"}})
    assert stated_counts(spec) is None
    found = numbers_of(spec, None)
    assert (found.steps, found.rows, found.warmup_steps, found.accumulation) == (None, None, 0, 2)
    assert stated_counts(make_spec()) == Counts(64, 16, 16)
