"""The training loop: what it tells, what it keeps, and that a run that is ended goes on to the same bits."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from training_parts import CPU, last_state, rows, same, same_state, training  # noqa: E402 - after the skip

from runner.events import EventWriter  # noqa: E402
from runner.native.errors import DivergedError, NativeError  # noqa: E402
from runner.native.feed import Feed, InMemory, Order  # noqa: E402
from runner.native.journal import Journal  # noqa: E402
from runner.native.method import Batch, StepStats  # noqa: E402
from runner.native.objective import cutmix  # noqa: E402
from runner.native.streams import generator, stream_seed  # noqa: E402
from runner.native.train import Ended, Training  # noqa: E402
from runner.native.watch import Held, Watch, held_scores  # noqa: E402

METHODS = ("full", "lora", "fusion", "zeroth_order")
TIMINGS = {"time", "records_per_s", "seconds_left", "memory_mib", "memory_training_mib"}


def run(made: Training) -> Ended:
    with made.feed:
        return made.run()


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return what was told, without what depends on the clock."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMINGS} for line in lines]


# ------------------------------------------------------------------------------------------ same bits


@pytest.mark.parametrize("method", METHODS)
def test_one_spec_and_seed_give_the_same_bits_twice(tmp_path: Path, method: str) -> None:
    one, two = training(tmp_path / "one", method), training(tmp_path / "two", method)
    assert run(one) == run(two)
    assert same(one.model, two.model)
    assert same_state(tmp_path / "one/checkpoints", tmp_path / "two/checkpoints")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")


class _EndedHereError(Exception):
    """Stands for the end of the process: nothing after it runs."""


@pytest.mark.parametrize(
    ("method", "ends"),
    [("fusion", range(1, 9)), *((method, (5, 8)) for method in METHODS if method != "fusion")],
)
def test_ended_after_any_step_it_goes_on_to_the_same_bits(
    tmp_path: Path, method: str, ends: Sequence[int]
) -> None:
    """After any step with the method of most parts; with the others, from either checkpoint: that of step 3 or 6."""
    whole = training(tmp_path / "whole", method)
    expected = run(whole)
    for last in ends:
        folder, calls = tmp_path / f"after_{last}", 0

        def end(at: int = last) -> bool:
            nonlocal calls
            calls += 1
            if calls == at:
                raise _EndedHereError
            return False

        with pytest.raises(_EndedHereError):
            run(training(folder, method, stopping=end))
        again = training(folder, method)
        assert run(again) == expected
        assert same(again.model, whole.model), f"ended after step {last}"
        assert same_state(folder / "checkpoints", tmp_path / "whole/checkpoints")
        assert metrics(folder) == metrics(tmp_path / "whole")


def test_a_run_that_is_done_is_not_trained_further(tmp_path: Path) -> None:
    first = training(tmp_path)
    ended, told = run(first), metrics(tmp_path)
    again = training(tmp_path)
    assert run(again) == ended
    assert same(first.model, again.model)
    assert metrics(tmp_path) == told


def test_asked_to_stop_it_saves_at_that_step_and_says_so(tmp_path: Path) -> None:
    calls = iter([False, False, False, False, True])
    ended = run(training(tmp_path, stopping=lambda: next(calls)))
    assert ended == Ended("interrupted", 5, False, None)
    assert (tmp_path / "checkpoints/checkpoint-5/state.json").is_file()
    proof = json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))
    assert (proof["state"], proof["steps"]) == ("interrupted", 5)
    whole = training(tmp_path / "whole")
    again = training(tmp_path)
    assert run(again) == run(whole)
    assert same(again.model, whole.model)
    assert same_state(tmp_path / "checkpoints", tmp_path / "whole/checkpoints")


def test_a_damaged_checkpoint_is_passed_over_and_kept_aside(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole", save_every=2)
    run(whole)
    calls = iter([False] * 5 + [True])
    run(training(tmp_path, save_every=2, stopping=lambda: next(calls)))
    newest = tmp_path / "checkpoints/checkpoint-6/state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-7] ^= 1  # one bit of a weight: sizes and header stay right
    newest.write_bytes(bytes(content))
    again = training(tmp_path, save_every=2)
    run(again)
    assert same(again.model, whole.model)
    assert same_state(tmp_path / "checkpoints", tmp_path / "whole/checkpoints")
    assert (tmp_path / "checkpoints/damaged-checkpoint-6").is_dir()
    notes = [
        json.loads(line)["text"]
        for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        if '"note"' in line
    ]
    assert any(
        "checkpoint-6 cannot be continued from: state.safetensors is damaged" in note for note in notes
    )
    assert "continuing from checkpoint-4" in notes


@pytest.mark.parametrize("gone", ["state.json", "state.safetensors"])
def test_a_checkpoint_without_a_file_is_passed_over(tmp_path: Path, gone: str) -> None:
    calls = iter([False] * 5 + [True])
    made = training(tmp_path, save_every=2, stopping=lambda: next(calls))
    run(made)
    (tmp_path / "checkpoints/checkpoint-6" / gone).unlink()
    found = made.snapshots.find()
    assert found.step == 4
    assert gone in found.damaged[0][1]


def test_a_checkpoint_whose_best_weights_are_gone_is_not_used(tmp_path: Path) -> None:
    made = training(tmp_path, save_every=8)
    best = run(made).best_step
    shutil.rmtree(tmp_path / f"checkpoints/best-{best}")
    found = made.snapshots.find()
    assert found.newest is None
    assert f"best-{best}" in found.damaged[0][1]


@pytest.mark.parametrize(("change", "word"), [({"steps": 9}, "steps_planned"), ({"batch": 12}, "data")])
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, int], word: str) -> None:
    calls = iter([False] * 3 + [True])
    run(training(tmp_path, stopping=lambda: next(calls)))
    with pytest.raises(NativeError, match=f"the checkpoint is of another run: {word} is"):
        run(training(tmp_path, **change))


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - the very global one
    run(training(tmp_path, "fusion"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


# ---------------------------------------------------------------------------------- what is kept, told


def test_it_evaluates_before_the_first_step_and_after_the_last(tmp_path: Path) -> None:
    run(training(tmp_path, steps=7, every=3))
    told = metrics(tmp_path)
    assert [line["step"] for line in told if line["event"] == "evaluation"] == [0, 3, 6, 7]
    assert [line["step"] for line in told if line["event"] == "step"] == [1, 2, 3, 4, 5, 6, 7]


def test_the_final_weights_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    made = training(tmp_path, steps=30, rate=5e-3)
    ended = run(made)
    scores = {
        line["step"]: line["average_precision"] for line in metrics(tmp_path) if line["event"] == "evaluation"
    }
    assert ended.best_step == max(scores, key=lambda step: (scores[step], -step))
    assert ended.best_step is not None
    held = rows(12, seed=9)
    with torch.no_grad():
        logits = made.model.eval()(torch.from_numpy(held.signal)).logits.numpy()
    assert held_scores(logits, held.label).average_precision == pytest.approx(
        scores[ended.best_step], abs=1e-12
    )


def test_it_learns(tmp_path: Path) -> None:
    run(training(tmp_path, steps=60, rate=5e-3, cutmix=None, every=20))
    losses = [line["loss"] for line in metrics(tmp_path) if line["event"] == "step"]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_fusion_tells_coefficient_slope_and_norms(tmp_path: Path) -> None:
    run(training(tmp_path, "fusion"))
    steps = [line for line in metrics(tmp_path) if line["event"] == "step"]
    assert [line["coefficient"] for line in steps] == [0.99, 0.99, *[0.9] * 6]
    assert all(line["rho"] is not None and line["fo_norm"] > 0 and line["grad_norm"] > 0 for line in steps)
    assert [line["rows_seen"] for line in steps] == [10, 20, 24, 34, 44, 48, 58, 68]


def test_the_proof_says_what_was_done(tmp_path: Path) -> None:
    ended = run(training(tmp_path, "lora"))
    proof = json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))
    assert proof["state"] == "finished"
    assert (proof["steps"], proof["rows_seen"], proof["max_steps"]) == (8, 68, 8)
    assert proof["best_step"] == proof["lowest_step"] == ended.best_step
    assert proof["frozen_unchanged"] is True
    memory = proof["memory"]
    assert 0 < memory["training"]["allocated_mib"] <= memory["whole_run"]["allocated_mib"]


class Leaky:
    """A method that changes a frozen parameter."""

    def __init__(self, made: Training) -> None:
        self.made = made

    def step(self, batch: Batch) -> StepStats:
        frozen = next(part for part in self.made.model.parameters() if not part.requires_grad)
        with torch.no_grad():
            frozen.add_(1)
        return StepStats(loss=1.0, loss_records=len(batch.signal), lr=0.1, grad_norm=1.0)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        del state


def test_tensorboard_shows_what_the_events_say_also_after_an_interruption(tmp_path: Path) -> None:
    """Asked to stop after step 3, its checkpoint lost: steps 1 to 3 are told twice, and shown once."""
    pytest.importorskip("tensorboard", reason="tracking.tensorboard needs it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from runner.native.board import Board

    for stopping in (lambda: True, lambda: False):
        made = training(tmp_path, steps=6, every=3, stopping=stopping)
        made.journal = Journal(
            EventWriter(tmp_path / "events.jsonl", "train"),
            tmp_path / "metrics.jsonl",
            tmp_path / "proof.json",
            Board(tmp_path / "tensorboard"),
        )
        with made.feed:
            made.run()
        if (tmp_path / "checkpoints/checkpoint-1").is_dir():
            shutil.rmtree(tmp_path / "checkpoints")
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for event in ("step", "evaluation"):
        wanted = [(line["step"], pytest.approx(line["loss"])) for line in told if line["event"] == event]
        assert [(one.step, one.value) for one in shown.Scalars(f"{event}/loss")] == wanted
    assert "evaluation/auc" in shown.Tags()["scalars"]


def test_a_checkpoint_holds_what_training_changes_and_no_other_base_is_gone_on_with(tmp_path: Path) -> None:
    """Of 0.26 million weights LoRA trains a few: the base is not written again at each checkpoint."""
    made = training(tmp_path, "lora", steps=4)
    run(made)
    frozen = {name for name, part in made.model.named_parameters() if not part.requires_grad}
    trained = {name for name, part in made.model.named_parameters() if part.requires_grad}
    written = {name for name in last_state(tmp_path / "checkpoints") if not name.startswith("optimiser")}
    assert frozen
    assert not written & frozen
    assert trained <= written
    other = training(tmp_path, "lora", steps=4)
    with torch.no_grad():
        next(part for part in other.model.parameters() if not part.requires_grad).add_(1e-6)
    again = Training(
        **{name: getattr(other, name) for name in ("model", "method", "feed", "held", "course", "watch")},
        **{name: getattr(other, name) for name in ("snapshots", "journal", "together")},
    )
    with pytest.raises(NativeError, match="the checkpoint is of another run: frozen_sha256"):
        run(again)


def test_a_frozen_parameter_that_changes_is_noticed(tmp_path: Path) -> None:
    made = training(tmp_path, "lora", keep_best=False)
    made.method = Leaky(made)
    with pytest.raises(NativeError, match="stay frozen"):
        run(made)


# ------------------------------------------------------------------------------------------ stopping


def test_a_value_that_is_no_number_is_never_better_and_uses_up_patience() -> None:
    def held(value: float) -> Held:
        return Held(0.5, value, 0.5, 3, 3, 10)

    watch = Watch("macro_map", 2)
    assert not watch.see(0, held(float("nan")))
    assert watch.best is None
    assert watch.see(1, held(0.4))
    assert not watch.see(2, held(float("nan")))
    assert not watch.is_over
    assert not watch.see(3, held(float("inf")))
    assert watch.is_over
    assert (watch.best, watch.best_step) == (0.4, 1)


def test_it_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    ended = run(training(tmp_path, steps=40, every=1, patience=2, rate=1e-12))
    assert ended.stopped_early
    assert ended.steps < 40
    assert ended.best_step is not None
    assert ended.steps == ended.best_step + 2


def test_without_a_number_there_is_no_best_model(tmp_path: Path) -> None:
    empty = InMemory(rows(6).signal, np.zeros((6, 3), np.float32))  # no positive: no area is defined
    with pytest.raises(NativeError, match="no evaluation gave a number for macro_map"):
        run(training(tmp_path, held=empty))


def test_best_and_patience_need_validation_records(tmp_path: Path) -> None:
    with pytest.raises(NativeError, match="needs validation records"):
        training(tmp_path, held=None)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    bad = rows()
    bad.signal[3, 0, 5] = np.nan
    made = training(tmp_path)
    made.feed.rows = bad
    with pytest.raises(DivergedError, match="loss is nan"):
        run(made)


# ------------------------------------------------------------------------------------ scores, batches


def test_held_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    draw = np.random.default_rng(3)
    truth = (draw.random((40, 3)) < 0.4).astype(np.float32)
    truth[:, 2] = 0  # a class without a positive is left out of the means, and counted
    logits = draw.normal(size=(40, 3)).astype(np.float32)
    found = held_scores(logits, truth)
    assert (found.classes_defined, found.classes, found.records) == (2, 3, 40)
    chances = 1 / (1 + np.exp(-logits.astype(float)))
    assert found.average_precision == pytest.approx(
        np.mean([average_precision_score(truth[:, c], chances[:, c]) for c in range(2)]), abs=1e-12
    )
    assert found.auc == pytest.approx(
        np.mean([roc_auc_score(truth[:, c], chances[:, c]) for c in range(2)]), abs=1e-12
    )
    expected = np.mean([log_loss(truth[:, c], chances[:, c], labels=[0, 1]) for c in range(3)])
    assert found.loss == pytest.approx(expected, abs=1e-9)


def test_an_epoch_takes_every_record_once_and_the_next_another_order() -> None:
    order = Order(23, 5, seed=7)
    epochs = [np.concatenate([order.rows(step) for step in range(first, first + 5)]) for first in (0, 5)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(23))] * 2
    assert list(epochs[0]) != list(epochs[1])
    assert list(Order(23, 5, seed=7).rows(7)) == list(order.rows(7))
    assert list(Order(23, 5, seed=8).rows(7)) != list(order.rows(7))


@pytest.mark.parametrize(("records", "batch", "multiple"), [(23, 5, 1), (23, 4, 4), (20, 10, 5), (3, 8, 4)])
def test_rows_seen_is_the_sum_of_what_steps_take(records: int, batch: int, multiple: int) -> None:
    order = Order(records, batch, 1, multiple)
    for steps in range(3 * order.steps_per_epoch + 2):
        assert order.rows_seen(steps) == sum(len(order.rows(step)) for step in range(steps))


def test_processes_share_out_the_batch_that_one_would_have() -> None:
    """The mixed batch of one, dealt like cards: so its first four records are the first two of either."""
    source = rows()
    with Feed(source, Order(24, 10, 4, 2), CPU, cutmix=0.75) as alone:
        whole = [alone.batch(step) for step in range(5)]
    for step, expected in enumerate(whole):
        parts = []
        for rank in range(2):
            with Feed(source, Order(24, 10, 4, 2), CPU, cutmix=0.75, rank=rank, world=2) as one:
                parts.append(one.batch(step))
        assert all(torch.equal(part.signal, expected.signal[rank::2]) for rank, part in enumerate(parts))
        assert all(torch.equal(part.target, expected.target[rank::2]) for rank, part in enumerate(parts))


def test_a_batch_is_the_mix_of_its_rows() -> None:
    source, order = rows(), Order(24, 10, 4)
    with Feed(source, order, CPU, cutmix=0.75) as feed:
        got = feed.batch(3)
    plain = torch.from_numpy(source.signals(order.rows(3))), torch.from_numpy(source.labels(order.rows(3)))
    signal, target = cutmix(*plain, generator(stream_seed(4, "cutmix", 3)))
    assert torch.equal(got.signal, signal)
    assert torch.equal(got.target, target)
