"""The training loop: drives any method, evaluates, keeps the best, saves, and goes on where it was ended.

A step is a function of what the checkpoint holds and of (seed, step): killed at any instant and continued on the same
CPU with as many threads, a run ends with the same bits as one that was left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from runner.native.errors import NativeError
from runner.native.feed import Feed, Rows
from runner.native.journal import Journal, memory_facts
from runner.native.meter import Meter
from runner.native.method import Batch, Method, StepStats
from runner.native.model import EcgModel
from runner.native.snapshots import Snapshots
from runner.native.streams import stream_seed
from runner.native.together import Together, threads
from runner.native.watch import Watch, held_scores, logits_of
from runner.proof import FINISHED, INTERRUPTED, TRAINING


@dataclass(frozen=True, kw_only=True)
class Course:
    """How long a training is, and how often it looks up.

    Args:
        steps: planned optimiser steps.
        seed: of the run.
        log_every: steps between step events.
        evaluate_every: steps between evaluations, of which the first is before the first step and the last after
            the last; None never evaluates.
        save_every: steps between checkpoints.
        evaluation_batch: records in one forward of an evaluation.
        keep_best: end with the weights of the best evaluation instead of the last ones.
        precision: of evaluations, as in training.
    """

    steps: int
    seed: int
    log_every: int
    evaluate_every: int | None
    save_every: int
    evaluation_batch: int
    keep_best: bool
    precision: str

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "save_every", "evaluation_batch"):
            if getattr(self, name) < 1:
                raise NativeError(f"train.{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Ended:
    """How a training ended; the weights of `best_step` are in the model where it finished."""

    state: str
    steps: int
    stopped_early: bool
    best_step: int | None


class Training:
    """One training, ready to be run.

    Args:
        model: on its device; `method` trains it.
        method: of `runner.native.method.METHODS`.
        feed: the training records.
        held: the validation records; None where there are none.
        course: steps and cadences.
        watch: chooses by the validation records.
        snapshots: checkpoints of this run.
        journal: events and proof.
        together: the processes.
        stopping: asked after each step; True saves and ends.
    """

    def __init__(
        self,
        *,
        model: EcgModel,
        method: Method,
        feed: Feed,
        held: Rows | None,
        course: Course,
        watch: Watch,
        snapshots: Snapshots,
        journal: Journal,
        together: Together,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        if held is None and (course.keep_best or watch.patience is not None):
            raise NativeError(
                "train: to keep the best or to stop early needs validation records, and there are none"
            )
        self.model, self.method, self.feed, self.held = model, method, feed, held
        self.course, self.watch, self.snapshots, self.journal = course, watch, snapshots, journal
        self.together, self.stopping = together, stopping
        self.meter = Meter(feed.device)
        self._frozen = frozen_sha256(model)
        self._noise = any(
            isinstance(part, nn.modules.dropout._DropoutNd) and part.p for part in model.modules()
        )

    # ------------------------------------------------------------------------------------- the run

    def run(self) -> Ended:
        """Train from the newest whole checkpoint, or from the start, to the end or until asked to stop.

        Raises:
            NativeError: the loss is no number, a checkpoint is of another run, no evaluation gave a number.
            MachineError: a checkpoint or an event cannot be written.
        """
        at = self._resumed()
        self.journal.begin(at)
        self.journal.progress(at, self._rows(at), TRAINING, max_steps=self.course.steps, threads=threads())
        if at == 0:
            self._evaluate(0)
        while at < self.course.steps and not self.watch.is_over:
            stats = self._step(at)
            at += 1
            self._tell(at, stats)
            if self._is_due(at, self.course.evaluate_every):
                self._evaluate(at)
            asked = self.together.any(self.stopping(), self.feed.device)
            over = at == self.course.steps or self.watch.is_over
            if asked or over or at % self.course.save_every == 0:
                self._save(at)
            if asked and not over:
                self.journal.event("interrupt", step=at)
                self.journal.progress(at, self._rows(at), INTERRUPTED)
                return Ended(INTERRUPTED, at, False, None)
        return self._finish(at)

    def _step(self, step: int) -> StepStats:
        batch: Batch = self.feed.batch(step, until=self.course.steps)
        self.meter.begin()
        with self._own_noise(step):
            stats = self.method.step(batch)
        self.meter.end(len(batch.signal) * self.together.world)
        return replace(stats, loss=self.together.mean(stats.loss, self.feed.device))

    @contextmanager
    def _own_noise(self, step: int) -> Iterator[None]:
        """Draw dropout from a stream of this step's own, and leave the global generators as they were."""
        if not self._noise:
            yield
            return
        device = self.feed.device
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type):
            torch.manual_seed(stream_seed(self.course.seed, "dropout", step, self.together.rank))
            yield

    def _tell(self, at: int, stats: StepStats) -> None:
        self.journal.count(stats)
        if at % self.course.log_every and at != self.course.steps:
            return
        rows = self._rows(at)
        self.journal.step(at, self.course.steps, self._epoch(at), stats, rows_seen=rows, meter=self.meter)

    def _is_due(self, at: int, every: int | None) -> bool:
        return every is not None and (at % every == 0 or at == self.course.steps)

    def _finish(self, at: int) -> Ended:
        best = self.watch.best_step if self.course.keep_best else None
        if self.course.keep_best:
            if best is None:
                raise NativeError(
                    f"no evaluation gave a number for {self.watch.select}, so there is no best model; "
                    "look at the loss in train/metrics.jsonl, and whether validation has positives"
                )
            self.snapshots.load_best(best, self.model)
            if best == 0:
                text = (
                    f"no evaluation was better than that before training, by {self.watch.select}: the final "
                )
                self.journal.event("note", text=f"{text}weights are those that training started from")
        self.meter.close()
        early = at < self.course.steps
        unchanged = frozen_sha256(self.model) == self._frozen
        self.journal.progress(
            at,
            self._rows(at),
            FINISHED,
            stopped_early=early,
            keep_best=self.course.keep_best,
            best_step=best,
            lowest_step=self.watch.best_step,
            best_value=self.watch.best,
            selected_by=self.watch.select,
            evaluations=self.watch.evaluations,
            frozen_unchanged=unchanged,
            memory=memory_facts(self.meter),
        )
        if not unchanged:
            raise NativeError("a parameter that was to stay frozen has changed; please report this")
        return Ended(FINISHED, at, early, best)

    # ------------------------------------------------------------------------------------ evaluation

    def _evaluate(self, at: int) -> None:
        if self.held is None or self.course.evaluate_every is None:
            return
        places = np.array_split(np.arange(len(self.held)), self.together.world)[self.together.rank]
        logits = self.together.gathered(
            logits_of(
                self.model,
                self.held,
                places,
                self.course.evaluation_batch,
                self.feed.device,
                self.course.precision,
            )
        )
        held = held_scores(logits, self.held.labels(np.arange(len(self.held))))
        better = self.watch.see(at, held)
        self.journal.evaluation(at, self._epoch(at), held, best=better)
        if better and self.course.keep_best and self.together.writes:
            self.snapshots.save_best(at, self.model)

    # ----------------------------------------------------------------------------------- checkpoints

    def _save(self, at: int) -> None:
        self.together.require_same(self.model)
        if self.together.writes:
            facts = {**self._identity(), "watch": self.watch.state()}
            facts["best_step"] = self.watch.best_step if self.course.keep_best else None
            path = self.snapshots.save(at, self.model, self.method, facts)
            self.journal.event("checkpoint", step=at, path=path.as_posix())
            self.journal.progress(at, self._rows(at))
        self.together.wait()

    def _resumed(self) -> int:
        """Take up the newest whole checkpoint, and return its step."""
        found = self.snapshots.find()
        self.together.wait()
        if self.together.writes:
            for path, reason in found.damaged:
                kept = self.snapshots.set_aside(path)
                text = f"{path.name} cannot be continued from: {reason}; kept as {kept.name}"
                self.journal.event("note", text=text)
        if found.newest is None:
            return 0
        self._require_same(found.facts)
        self.snapshots.resume(found.newest, self.model, self.method)
        self.watch.resume(found.facts["watch"])
        if found.facts["threads"] != threads():
            self.journal.event(
                "note",
                text=f"continued with {threads()} threads, begun with {found.facts['threads']}: the last bits may "
                "differ from those of an uninterrupted run",
            )
        self.journal.event("note", text=f"continuing from {found.newest.name}")
        self.together.wait()
        return found.step

    def _identity(self) -> dict[str, Any]:
        """Return what a run that goes on must have in common with the one that was ended."""
        order = self.feed.order
        return {
            "seed": self.course.seed,
            "steps_planned": self.course.steps,
            "data": {
                "records": order.records,
                "batch": order.batch,
                "order": "permutation of each epoch, from seed and epoch",
                "labels_sha256": _labels_sha256(self.feed.rows),
            },
            "generators": {"rule": "derived from seed, purpose and step", "seed": self.course.seed},
            "frozen_sha256": self._frozen,
            "processes": self.together.world,
            "threads": threads(),
        }

    def _require_same(self, facts: Mapping[str, Any]) -> None:
        mine = self._identity()
        for name in ("seed", "steps_planned", "data", "frozen_sha256", "processes"):
            if facts.get(name) != mine[name]:
                raise NativeError(
                    f"the checkpoint is of another run: {name} is {facts.get(name)!r} there and {mine[name]!r} here; "
                    "start a new run"
                )

    # ---------------------------------------------------------------------------------------- counts

    def _rows(self, at: int) -> int:
        return self.feed.order.rows_seen(at)

    def _epoch(self, at: int) -> float:
        return at / self.feed.order.steps_per_epoch


def frozen_sha256(model: nn.Module) -> str:
    """Return one hash over the parameters of `model` that are not trained."""
    total = hashlib.sha256()
    for name, part in model.named_parameters():
        if not part.requires_grad:
            total.update(name.encode())
            total.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _labels_sha256(rows: Rows) -> str:
    labels = np.ascontiguousarray(rows.labels(np.arange(len(rows))), np.float32)
    return hashlib.sha256(labels.tobytes()).hexdigest()
