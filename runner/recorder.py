"""What the plugin knows of a running training: counters that survive a resume, events, the proof.

No torch. One process writes (rank 0); every process keeps the same counters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.events import EventWriter
from runner.files import write_json
from runner.plugin_settings import RunnerSettings
from runner.proof import FAILED, TRAINING
from runner.token_sums import Sums, perplexity

STAGE = "train"


@dataclass
class Counters:
    """What is stored with each checkpoint, so that a resumed run counts on where it stopped."""

    window: Sums = field(default_factory=Sums)
    """Since the last step event."""
    window_seconds: float = 0.0
    tokens: int = 0
    label_tokens: int = 0
    rows: int = 0

    def add(self, sums: Sums, seconds: float) -> None:
        """Count one optimiser step of all processes."""
        self.window.add(sums)
        self.window_seconds += seconds
        self.tokens += int(sums.tokens)
        self.label_tokens += int(sums.label_tokens)
        self.rows += int(sums.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the counters as JSON keeps them, to the last bit."""
        return {**vars(self), "window": self.window.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counters:
        """Return the counters that `as_dict` gave."""
        return cls(**{**values, "window": Sums.from_dict(values["window"])})


class Recorder:
    """Writes the events and the proof of one training."""

    def __init__(self, settings: RunnerSettings, *, writes: bool) -> None:
        self.settings = settings
        self.counters = Counters()
        self.writes = writes
        self._events = EventWriter(Path(settings.events), STAGE)
        self._proof: dict[str, Any] = {"alive": True, "pid": os.getpid(), "state": "loading", "reason": ""}
        self._began = time.monotonic()
        self._first_step = 0
        if writes:
            for path in (settings.events, settings.metrics, settings.proof):
                Path(path).parent.mkdir(parents=True, exist_ok=True)

    @property
    def proof(self) -> Mapping[str, Any]:
        """What is proven so far."""
        return self._proof

    def prove(self, **facts: Any) -> None:
        """Put facts into the proof and write it whole."""
        self._proof |= facts
        if self.writes:
            write_json(Path(self.settings.proof), self._proof)

    def failed(self, reason: str) -> None:
        """Say in the proof why the training ends here."""
        self.prove(state=FAILED, reason=reason)

    def event(self, name: str, **fields: Any) -> None:
        """Append an event to the stream, and to the metrics where it is one."""
        if not self.writes:
            return
        metrics = Path(self.settings.metrics) if name in ("step", "evaluation") else None
        self._events.write(name, copy_to=metrics, **fields)

    def begin(self, step: int, counters: Mapping[str, Any] | None) -> None:
        """Start at `step`, with the counters of the checkpoint where there is one."""
        self._began, self._first_step = time.monotonic(), step
        if counters is not None:
            self.counters = Counters.from_dict(counters)

    def is_due(self, step: int, *, last: bool) -> bool:
        """Return whether a step event belongs to `step`."""
        return last or step % self.settings.log_every == 0

    def step(
        self,
        step: int,
        steps: int,
        epoch: float,
        *,
        grad_norm: float | None,
        learning_rate: float | None,
        memory_mib: float,
    ) -> None:
        """Write the step event of everything since the last one."""
        counted, window = self.counters, self.counters.window
        elapsed = time.monotonic() - self._began
        done = step - self._first_step
        self.event(
            "step",
            step=step,
            steps=steps,
            epoch=epoch,
            **window.means(),
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            tokens_seen=counted.tokens,
            label_tokens_seen=counted.label_tokens,
            rows_seen=counted.rows,
            tokens_per_s=round(window.tokens / counted.window_seconds, 1) if counted.window_seconds else None,
            seconds_left=round(elapsed / done * (steps - step), 1) if done else None,
            memory_mib=round(memory_mib, 1),
        )
        counted.window, counted.window_seconds = Sums(), 0.0

    def evaluation(self, step: int, epoch: float, sums: Sums) -> None:
        """Write the evaluation event of one pass over the validation records."""
        means = sums.means()
        self.event(
            "evaluation",
            step=step,
            epoch=epoch,
            **means,
            perplexity=perplexity(means["loss"]),
            label_tokens=int(sums.label_tokens),
            rows=int(sums.rows),
        )

    def progress(self, step: int, state: str = TRAINING, **facts: Any) -> None:
        """Bring the proof up to date."""
        self.prove(
            state=state,
            steps=step,
            rows_seen=self.counters.rows,
            tokens_seen=self.counters.tokens,
            label_tokens_seen=self.counters.label_tokens,
            **facts,
        )
