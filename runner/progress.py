"""Showing a run while it runs: bars on a terminal, plain lines elsewhere. Draws on stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from runner.spec.visible import visible

PLAIN_EVERY_S = 10.0
"""Seconds between two lines about the same stage where output is no terminal."""


class Progress(Protocol):
    """What an executor tells."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event of the stream."""

    def close(self) -> None:
        """Stop drawing."""


def progress_for(*, quiet: bool) -> Progress:
    """Return bars where a person looks at a terminal, plain lines otherwise, nothing where quiet."""
    if quiet:
        return Silent()
    return Bars() if sys.stdout.isatty() and sys.stderr.isatty() else PlainLines()


def terminal_width() -> int | None:
    """Return how many columns the terminal has that results go to; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def tell(text: str) -> None:
    """Print a line on stderr. Where nobody reads it any more, that is no reason to stop: the run's files have it all."""
    if sys.stderr is None:  # closed before we began
        return
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except OSError:  # a pipe that was closed, a terminal that is gone, a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class Silent:
    """Shows nothing."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event of the stream."""

    def close(self) -> None:
        """Stop drawing."""


def describe(event: Mapping[str, Any]) -> str:
    """Return one event in words: what stands behind the bar, or in a plain line.

    >>> describe({"event": "step", "step": 3, "steps": 10, "loss": 2.5, "tokens_per_s": 1200.0, "seconds_left": 75})
    'step 3/10  loss 2.500  1,200 tokens/s  1:15 left'
    """
    kind = event["event"]
    if kind == "step":
        parts = [f"step {event['step']}/{event.get('steps') or '?'}", f"loss {_number(event.get('loss'))}"]
        if event.get("tokens_per_s"):
            parts.append(f"{event['tokens_per_s']:,.0f} tokens/s")
        if event.get("seconds_left") is not None:
            parts.append(f"{_clock(event['seconds_left'])} left")
        return "  ".join(parts)
    if kind == "evaluation":
        return f"step {event['step']}  validation loss {_number(event.get('loss'))}"
    if kind == "progress":
        total = f"/{event['total']:,}" if event.get("total") else ""
        return f"{event['done']:,}{total} {event['unit']}"
    if kind == "modules":
        return f"trains {event['trainable']:,} of {event['total']:,} parameters ({event['share']:.2%})"
    if kind == "dataset":
        return (
            f"{event['split']}: {event['rows']:,} rows, {event['tokens']:,} tokens"
            + (
                f" in {event['inspected']:,} of them"
                if event.get("inspected", event["rows"]) < event["rows"]
                else ""
            )
            + f", {event['label_share']:.0%} carry loss"
        )
    if kind == "checkpoint":
        return f"checkpoint at step {event['step']}"
    if kind == "note":
        return str(event["text"])
    if kind == "stage_skipped":
        return f"not run again: {event['reason']}"
    if kind == "stage_taken":
        return f"took the result of {event['run']}: {event['files']} files, {_clock(event['seconds'])} saved"
    if kind == "stage_finished":
        return f"{event['state']} in {_clock(event['seconds'])}"
    return ""


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


_ALWAYS = (
    "note", "modules", "dataset", "evaluation", "checkpoint", "stage_finished", "stage_skipped", "stage_taken",
)  # fmt: skip


class PlainLines:
    """One line at a time, for logs and pipes; step lines at most every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def event(self, event: Mapping[str, Any]) -> None:
        """Print what is worth a line."""
        text = describe(event)
        now = time.monotonic()
        last_step = event["event"] == "step" and event.get("step") == event.get("steps")
        due = event["event"] in _ALWAYS or last_step or now - self._last >= PLAIN_EVERY_S
        if text and due:
            self._last = now if event["event"] not in _ALWAYS else self._last
            tell(f"[{event['stage']}] {text}")

    def close(self) -> None:
        """Stop drawing."""


class Bars:
    """One bar a stage, drawn with rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.fields[mark]} {task.description:<10}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()

    def event(self, event: Mapping[str, Any]) -> None:
        """Move the bar of the event's stage."""
        kind, stage = event["event"], event["stage"]
        if stage == "run":
            if kind == "note":
                self._progress.console.print(f"  {describe(event)}", highlight=False, markup=False)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None, text="", mark="·")
        task = self._tasks[stage]
        text = visible(describe(event))
        if kind in ("stage_skipped", "stage_taken"):
            self._progress.update(task, total=1, completed=1, text=text, mark="=")
            self._progress.stop_task(task)
        elif kind == "stage_finished":
            if event["state"] == "done":
                self._progress.update(task, mark="✓", total=1, completed=1)
            else:
                self._progress.update(task, mark="✗", text=text)
            self._progress.stop_task(task)
        elif kind == "step":
            self._progress.update(task, total=event.get("steps"), completed=event["step"], text=text)
        elif kind == "progress":
            self._progress.update(task, total=event.get("total"), completed=event["done"], text=text)
        elif text and kind in ("note", "modules"):
            self._progress.console.print(f"  {stage}: {text}", highlight=False, markup=False)

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()
