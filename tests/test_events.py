"""The event stream: one event is one line, wherever it is written."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import events
from runner.events import EventWriter, read_events
from runner.spec.problems import MachineError


@pytest.mark.parametrize("odd", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, odd: str) -> None:
    """A pipe would be waited for, and a device never ends."""
    stream = tmp_path / "events.jsonl"
    if odd == "pipe":
        os.mkfifo(stream)
    elif odd == "device":
        stream.symlink_to("/dev/zero")
    else:
        stream.mkdir()
    with pytest.raises(MachineError, match=r"cannot read .*events\.jsonl: it is a "):
        list(read_events(stream))


class LeapingClock:
    """A clock that moves on a millisecond each time it is read."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def now(self, _zone: Any) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=next(self._ticks))


def test_a_copy_is_the_same_line_with_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream and the metrics were stamped apart, and differed when a millisecond passed between them."""
    monkeypatch.setattr(events, "datetime", LeapingClock())
    stream, metrics = tmp_path / "events.jsonl", tmp_path / "metrics.jsonl"
    writer = EventWriter(stream, "train")
    writer.write("note", text="alone")
    writer.write("interrupt", copy_to=metrics, step=3)
    assert stream.read_text().splitlines()[1:] == metrics.read_text().splitlines()
    assert len(metrics.read_text().splitlines()) == 1
