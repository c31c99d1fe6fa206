"""The event stream: one JSON object a line in `events.jsonl`, appended by every stage of a run.

The stream is how progress is shown, how an outside tool watches a run, and what the report draws
its curves from. `EVENTS` is its published definition; `docs/events.md` is made from it.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runner.spec.problems import MachineError

COMMON = MappingProxyType(
    {
        "time": "UTC, ISO 8601 with milliseconds",
        "stage": "name of the stage that wrote it, or `run`",
        "event": "one of the names below",
    }
)

EVENTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "run_started": {
            "run": "name of the run directory",
            "pid": "process id",
            "resumed": "true when continuing",
        },
        "run_finished": {
            "state": "done, failed or interrupted",
            "seconds": "s",
            "reason": "one line; empty when done",
        },
        "sweep_started": {
            "arms": "names of the arms",
            "pid": "process id",
            "resumed": "true when continuing",
        },
        "arm_started": {
            "arm": "name",
            "run": "name of its run directory",
            "number": "which one, counted from 1",
            "of": "arms of the sweep",
            "resumed": "true when its run was begun before",
        },
        "arm_skipped": {
            "arm": "name",
            "run": "name of its run directory",
            "reason": "why it is not run again",
        },
        "arm_finished": {
            "arm": "name",
            "run": "name of its run directory; null when none could be made",
            "state": "done, failed or interrupted",
            "seconds": "s",
            "reason": "empty when done",
        },
        "sweep_finished": {
            "state": "done, failed or interrupted",
            "seconds": "s",
            "reason": "empty when done",
        },
        "stage_started": {"pid": "process id"},
        "stage_skipped": {"reason": "why its earlier result holds"},
        "stage_taken": {
            "run": "run of the same sweep that made this result; its events of the result stand before this one",
            "files": "files that were taken",
            "seconds": "s, what the stage took there",
        },
        "stage_finished": {
            "state": "done, failed or interrupted",
            "seconds": "s",
            "exit_code": "of the process",
        },
        "progress": {"done": "so many", "total": "of so many; null when not known", "unit": "of what"},
        "note": {"text": "something worth knowing that is no error"},
        "alive": {
            "versions": "package -> version",
            "device": "cpu, cuda or mps",
            "processes": "world size seen by the engine",
            "distributed": "none, ddp, deepspeed or fsdp",
        },
        "modules": {
            "trainable": "parameters",
            "total": "parameters",
            "share": "trainable / total",
            "matched": "module group or pattern -> number of modules trained",
            "names": "up to 20 names",
        },
        "dataset": {
            "split": "train or validation",
            "rows": "rows",
            "inspected": "rows that the tokens are counted of: all, or a few of those with images",
            "tokens": "tokens",
            "label_tokens": "tokens that carry loss",
            "label_share": "label_tokens / tokens",
            "first": "the first row as text, loss-carrying spans between ⟦ and ⟧",
        },
        "step": {
            "step": "optimiser steps done",
            "steps": "optimiser steps planned",
            "epoch": "passes over the training records",
            "loss": "nats per label token, mean over the label tokens since the last step event, all processes; "
            "for ECG the mean objective of the steps since then",
            "loss_records": "ECG: records that a step's loss is over",
            "token_accuracy": "share of label tokens predicted first, same tokens",
            "entropy": "nats, mean entropy of the prediction over the same tokens",
            "grad_norm": "norm before clipping",
            "learning_rate": "of the step",
            "coefficient": "ECG: weight of the first-order gradient where two are mixed, else null",
            "rho": "ECG: slope of the loss along the first direction where it was probed, else null",
            "fo_norm": "ECG: norm of the backbone's first-order gradient where there is another beside it, else null",
            "forwards": "ECG: forwards of the full batch without a graph",
            "tokens_seen": "attended tokens so far, all processes",
            "label_tokens_seen": "label tokens so far, all processes",
            "rows_seen": "rows so far, all processes",
            "tokens_per_s": "attended tokens per second since the last step event",
            "records_per_s": "ECG: records per second of the steps since the last step event, all processes",
            "seconds_left": "s, estimated",
            "memory_training_mib": "ECG: MiB, peak so far within training steps alone: no loading, no evaluation",
            "memory_mib": "MiB, peak so far of the device, or of the process on CPU",
        },
        "evaluation": {
            "step": "optimiser steps done",
            "epoch": "passes over the training records",
            "loss": "nats per label token of the validation records; for ECG per record and class",
            "perplexity": "exp(loss)",
            "token_accuracy": "share of label tokens predicted first",
            "entropy": "nats",
            "label_tokens": "label tokens judged",
            "rows": "rows judged",
            "average_precision": "ECG: macro mean over the classes that are defined",
            "auc": "ECG: likewise, area under the ROC curve",
            "classes_defined": "ECG: classes with a positive and a negative among the records",
            "classes": "ECG: classes of the model",
            "best": "ECG: whether it is better than all before",
        },
        "checkpoint": {"step": "optimiser steps done", "path": "relative to the run directory"},
        "interrupt": {"step": "optimiser steps done when a stop was asked for"},
        "result": {"task": "name of the task", "split": "records judged", "metrics": "metric -> value"},
    }
)


def clean(value: Any) -> Any:
    """Return `value` with every NaN or infinity as text, since JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


class EventWriter:
    """Appends events to a file. Several processes may write to one file: each line is one write."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._stage = stage

    def write(self, event: str, *, copy_to: Path | None = None, **fields: Any) -> None:
        """Append one event; the same line, with the same time, to `copy_to` where it is given.

        Raises:
            ValueError: an event or a field that `EVENTS` does not name.
            MachineError: a file that cannot be written.
        """
        unknown = set(fields) - set(EVENTS.get(event, {}))
        if event not in EVENTS or unknown:
            raise ValueError(f"event {event!r} with {sorted(unknown)} is not in runner.events.EVENTS")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(
            {"time": now, "stage": self._stage, "event": event, **clean(fields)},
            ensure_ascii=False,
            allow_nan=False,
        )
        data = (line + "\n").encode()
        for path in (self._path, copy_to) if copy_to else (self._path,):
            try:
                _append(path, data)
            except OSError as error:
                raise MachineError(f"cannot write {path}: {error.strerror or error}") from error


def _append(path: Path, data: bytes) -> None:
    """Append one line, after closing a line that a dead process or a full disk left unfinished."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        whole = b"\n" + data if torn else data
        written = os.write(file, whole)
        if written < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def events_in(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of some lines. A line that was left unfinished is no event, and passed over."""
    for line in data.split(b"\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str) and event["event"] in EVENTS:
            yield event


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file, oldest first.

    Raises:
        MachineError: it is no file, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise MachineError(
            f"{path} is damaged: it is no file"
        )  # a pipe would be waited for, a device never ends
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror or error}") from error
    yield from events_in(data)
