"""What a training tells while it runs: step and evaluation events, `metrics.jsonl`, and the proof of what was done.

One process writes (rank 0); the events' fields are those of `runner.events.EVENTS`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.events import EventWriter
from runner.files import write_json, write_text
from runner.native.meter import MIB, Meter, Peaks
from runner.native.method import StepStats
from runner.native.watch import Held
from runner.proof import TRAINING

if TYPE_CHECKING:
    from runner.native.board import Board


class Journal:
    """Writes the events and the proof of one training.

    Args:
        events: of the run; None for a process that does not write.
        metrics: gets a copy of each step and evaluation event.
        proof: rewritten whole at each change.
        board: shows each step and evaluation event too.
    """

    def __init__(
        self, events: EventWriter | None, metrics: Path, proof: Path, board: Board | None = None
    ) -> None:
        self._events, self._metrics, self._proof_path, self._board = events, metrics, proof, board
        self._proof: dict[str, Any] = {"alive": True, "pid": os.getpid(), "state": "loading", "reason": ""}
        self._losses: list[float] = []
        self._began, self._first_step = time.monotonic(), 0
        if events is not None:
            for path in (metrics, proof):
                path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def proof(self) -> Mapping[str, Any]:
        """What is proven so far."""
        return self._proof

    def prove(self, **facts: Any) -> None:
        """Put facts into the proof and write it."""
        self._proof |= facts
        if self._events is not None:
            write_json(self._proof_path, self._proof)

    def event(self, name: str, **fields: Any) -> None:
        """Append an event to the stream, and to the metrics where it is one."""
        if self._events is not None:
            is_metric = name in ("step", "evaluation")
            self._events.write(name, copy_to=self._metrics if is_metric else None, **fields)
            if is_metric and self._board is not None:
                self._board.tell(name, fields)

    def begin(self, step: int) -> None:
        """Begin to tell at `step`: later ones that a dead process told are dropped from the metrics."""
        self._began, self._first_step = time.monotonic(), step
        if self._events is not None:
            trim(self._metrics, step)
        if self._board is not None:
            self._board.begin(step)

    def count(self, stats: StepStats) -> None:
        """Take a step into the mean loss of the next step event."""
        self._losses.append(stats.loss)

    def step(
        self, step: int, steps: int, epoch: float, stats: StepStats, *, rows_seen: int, meter: Meter
    ) -> None:
        """Write the step event of everything since the last one."""
        done = step - self._first_step
        seconds = (time.monotonic() - self._began) / done if done else None
        rate = meter.rate()
        self.event(
            "step",
            step=step,
            steps=steps,
            epoch=round(epoch, 6),
            loss=math.fsum(self._losses) / len(self._losses),
            loss_records=stats.loss_records,
            learning_rate=stats.lr,
            grad_norm=stats.grad_norm,
            coefficient=stats.coefficient,
            rho=stats.rho,
            fo_norm=stats.fo_norm,
            forwards=stats.forwards,
            rows_seen=rows_seen,
            records_per_s=None if rate is None else round(rate, 2),
            seconds_left=None if seconds is None else round(seconds * (steps - step), 1),
            memory_training_mib=_mib(meter.training),
            memory_mib=_mib(meter.whole),
        )
        self._losses = []

    def evaluation(self, step: int, epoch: float, held: Held, *, best: bool) -> None:
        """Write the evaluation event of one pass over the validation records."""
        scores = asdict(held)
        rows = scores.pop("records")
        self.event("evaluation", step=step, epoch=round(epoch, 6), **scores, rows=rows, best=best)

    def progress(self, step: int, rows_seen: int, state: str = TRAINING, **facts: Any) -> None:
        """Bring the proof up to date."""
        self.prove(state=state, steps=step, rows_seen=rows_seen, **facts)
        if state != TRAINING and self._board is not None:
            self._board.close()


def trim(metrics: Path, step: int) -> None:
    """Drop the metrics after `step`, and where it is 0 all of them: they are about to be written once more."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            if step and json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a process that was killed
    write_text(metrics, "".join(kept))


def memory_facts(meter: Meter) -> dict[str, Any]:
    """Return both windows' peaks in MiB for the proof; reserved is null but on CUDA."""
    return {
        name: {
            "allocated_mib": _mib(peaks),
            "reserved_mib": None if peaks.reserved is None else round(peaks.reserved / MIB, 1),
        }
        for name, peaks in (("training", meter.training), ("whole_run", meter.whole))
    }


def _mib(peaks: Peaks) -> float:
    return round(peaks.allocated / MIB, 1)
