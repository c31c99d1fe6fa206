"""One pass over recordings: each is read once, judged, worked on, and written at its place; resumed where it was killed.

How many recordings stay is known only at the end, so each has the place of its number in the source, and those that
stay are moved together afterwards. A journal says of each task what was written, with checksums, and of which
recordings. A pass that goes on reads and judges every recording again, for files may have changed meanwhile, and works
only on those that are not yet there, or are there with other bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from converters.records.ecg.record import EcgSource
from runner.files import write_text
from runner.native.parallel import spread
from runner.native.signals import PUBLISHED, FloatArray, Step, applied, traced
from runner.native.survey import FAULTS_AT_MOST, Kept, LeftOut, judged

PER_TASK = 32
"""Recordings that a process works on between two reports."""
AT_ONCE = 8
"""Recordings worked on as one array: more do not fit into a core's cache, fewer cost more calls."""
TASKS_PER_SYNC = 8
"""Tasks after which what is written is sent to the disk, while the processes go on: at the end little is left to wait for."""
LEFT_OUT = -1
"""In place of the checksum of a recording that is not written."""
Progress: TypeAlias = Callable[[int, int, str], None]
"""done, total, unit."""
Judged: TypeAlias = tuple[Kept, FloatArray] | tuple[LeftOut, None]
"""A recording that stays and its signal in mV, or one that does not."""


@dataclass(frozen=True)
class Asked:
    """What a store is to be made of, and how."""

    source: EcgSource
    fs_hz: float
    steps: tuple[Step, ...] = PUBLISHED
    faults_at_most: float = FAULTS_AT_MOST


@dataclass(frozen=True)
class Task:
    """Some recordings, done."""

    found: tuple[Kept | LeftOut, ...]
    crc32: tuple[int, ...]
    """Of each written signal, `LEFT_OUT` for one that is not."""
    digests: tuple[str, ...]
    """SHA-256 of what was judged, of every `AT_ONCE` recordings."""


@dataclass(frozen=True)
class Passed:
    """All recordings, done."""

    found: tuple[Kept | LeftOut, ...]
    """In the order of the source."""
    crc32: Mapping[int, int]
    """Number of a recording -> checksum of its signal as it is written."""


@dataclass(frozen=True)
class Room:
    """Where signals are written: (record, lead, time) float32, from `offset` on in the file `path`."""

    path: Path
    offset: int
    record_bytes: int

    def place(self, number: int) -> int:
        """Return where recording `number` begins, in bytes."""
        return self.offset + number * self.record_bytes


def looked_through(
    asked: Asked, raws: Sequence[Any], processes: int, progress: Progress
) -> tuple[Kept | LeftOut, ...]:
    """Return what each of `raws` is, in their order; nothing is written."""

    def look(task: int) -> list[Kept | LeftOut]:
        return [_judged(asked, raws, number)[0] for number in _numbers(task, len(raws))]

    found: list[Kept | LeftOut] = []
    for _, some in spread(look, range(0, len(raws), PER_TASK), processes):
        found += some
        progress(len(found), len(raws), "recordings read")
    return tuple(sorted(found, key=lambda one: one.raw))


def time_points(asked: Asked, raws: Sequence[Any]) -> int:
    """Return the length of the first recording that stays, after the steps; 0 where none does."""
    for number in range(len(raws)):
        one, _ = _judged(asked, raws, number)
        if isinstance(one, Kept):
            return traced(asked.steps, one.samples, one.fs_hz)[0]
    return 0


def passed(
    asked: Asked,
    raws: Sequence[Any],
    room: Room,
    journal: Path,
    key: str,
    processes: int,
    progress: Progress,
) -> Passed:
    """Write the signal of every one of `raws` that stays at its place in `room`.

    A recording that comes out longer or shorter than the room is judged, and not written.

    Args:
        asked: what is to be made.
        raws: `asked.source.raws()`, or some of them.
        room: where; what a killed pass has left there is gone on with.
        journal: the file that says what is there.
        key: names the pass: another one does not go on with this one's work.
        processes: how many work on it.
        progress: told of every `PER_TASK` recordings.

    Raises:
        DataError: the source cannot be read.
        OSError: no room on the disk.
        MachineError: a process was killed.
    """
    before = _journalled(journal, key)
    _begin(journal, room, key, before)
    target = os.open(room.path, os.O_RDWR | os.O_CREAT, 0o644)
    tasks: dict[int, Task] = {}
    ready = 0
    try:

        def work(task: int) -> Task:
            return _done(asked, raws, task, room, target, before.get(task))

        with journal.open("a", encoding="utf-8") as lines:
            for task, done in spread(work, range(0, len(raws), PER_TASK), processes):
                tasks[task] = done
                lines.write(_line(task, done))
                lines.flush()
                ready += len(done.found)
                progress(ready, len(raws), "recordings written")
                if len(tasks) % TASKS_PER_SYNC == 0:
                    os.fsync(target)
    finally:
        os.close(target)
    found = tuple(one for task in sorted(tasks) for one in tasks[task].found)
    sums = [crc for task in sorted(tasks) for crc in tasks[task].crc32]
    return Passed(
        found, {one.raw: crc for one, crc in zip(found, sums, strict=True) if isinstance(one, Kept)}
    )


def moved_together(kept: Sequence[int], room: Room) -> None:
    """Move the recordings `kept`, ascending, to the first places of `room`, and cut off what is behind them."""
    with room.path.open("r+b") as file:
        for row, number in enumerate(kept):
            if row != number:  # always to the left: what stood there is moved or left out already
                write_whole(
                    file.fileno(),
                    os.pread(file.fileno(), room.record_bytes, room.place(number)),
                    room.place(row),
                )
        os.ftruncate(file.fileno(), room.place(len(kept)))


def write_whole(target: int, values: Any, offset: int) -> None:
    """Write all of `values` (anything that is a buffer) at `offset`."""
    left = memoryview(values).cast("B")
    while left:
        written = os.pwrite(target, left, offset)
        left, offset = left[written:], offset + written


# ---------------------------------------------------------------------------------------------- one task


def _numbers(task: int, total: int) -> range:
    return range(task, min(task + PER_TASK, total))


def _judged(asked: Asked, raws: Sequence[Any], number: int) -> Judged:
    return judged(asked.source, number, raws[number], asked.steps, asked.fs_hz)


def _done(asked: Asked, raws: Sequence[Any], task: int, room: Room, target: int, before: Task | None) -> Task:
    """Read, judge, work on and write the recordings of a task, `AT_ONCE` at a time, so that they stay in the cache."""
    found: list[Kept | LeftOut] = []
    sums: list[int] = []
    digests: list[str] = []
    numbers = _numbers(task, len(raws))
    for first in range(0, len(numbers), AT_ONCE):
        read = [_judged(asked, raws, number) for number in numbers[first : first + AT_ONCE]]
        some = [one for one, _ in read]
        digests.append(hashlib.sha256(repr(some).encode()).hexdigest())
        known = _there(before, first, digests[-1], some, room, target)
        sums += _written(asked, read, room, target) if known is None else known
        found += some
    return Task(tuple(found), tuple(sums), tuple(digests))


def _there(
    before: Task | None, first: int, digest: str, some: Sequence[Kept | LeftOut], room: Room, target: int
) -> Sequence[int] | None:
    """Return the checksums of recordings that a killed pass has written; None where any must be written again.

    All of them or none: in another company the last bits of a product may be others.
    """
    place = first // AT_ONCE
    if before is None or place >= len(before.digests) or before.digests[place] != digest:
        return None
    sums = before.crc32[first : first + len(some)]
    for one, crc in zip(some, sums, strict=True):
        if crc != LEFT_OUT and zlib.crc32(os.pread(target, room.record_bytes, room.place(one.raw))) != crc:
            return None  # after a power cut the journal may know more than the disk has
    return sums


def _written(asked: Asked, read: Sequence[Judged], room: Room, target: int) -> list[int]:
    """Write recordings after the steps, those of one length and rate as one array; return their checksums."""

    def kind(pair: tuple[int, Kept, FloatArray]) -> tuple[int, float]:
        return pair[1].samples, pair[1].fs_hz

    sums = [LEFT_OUT] * len(read)
    staying = [
        (place, one, wave)
        for place, (one, wave) in enumerate(read)
        if isinstance(one, Kept) and wave is not None
    ]
    for (_, fs_hz), alike in groupby(sorted(staying, key=kind), key=kind):
        some = list(alike)
        waves = applied(asked.steps, np.stack([wave for _, _, wave in some]), fs_hz)
        for (place, one, _), wave in zip(some, np.ascontiguousarray(waves, dtype="<f4"), strict=True):
            if wave.nbytes == room.record_bytes:
                content: Any = wave  # Any: NumPy's stubs call no array a buffer
                write_whole(target, content, room.place(one.raw))
                sums[place] = zlib.crc32(content)
    return sums


# ----------------------------------------------------------------------------------------------- journal


def _journalled(journal: Path, key: str) -> dict[int, Task]:
    """Return the tasks that a killed pass of the same `key` says it has done; nothing of their recordings."""
    done: dict[int, Task] = {}
    try:
        first, *lines = journal.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != {"key": key}:
            return {}
    except (OSError, ValueError):
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the last line, half written
            continue
        done[entry["task"]] = Task((), tuple(entry["crc32"]), tuple(entry["judged"]))
    return done


def _begin(journal: Path, room: Room, key: str, before: Mapping[int, Task]) -> None:
    """Write the journal anew, without half a line; what belongs to another pass is gone."""
    if not before:
        journal.unlink(missing_ok=True)
        room.path.unlink(missing_ok=True)
    lines = [json.dumps({"key": key}) + "\n", *(_line(task, done) for task, done in before.items())]
    write_text(journal, "".join(lines))


def _line(task: int, done: Task) -> str:
    return json.dumps({"task": task, "judged": done.digests, "crc32": done.crc32}) + "\n"
