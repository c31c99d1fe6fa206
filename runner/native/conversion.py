"""Recordings -> a store: read, worked on and written by several processes, resumed where it was killed.

First every recording is read and judged (`survey`), so that the store's size and everything in it but the signals are
known. Then the file is laid out and each process writes the signals of its recordings at their place. A journal says which
are there, with their checksums. Killed at any instant and started again, the same file comes out, byte for byte;
under its name it is either complete or not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import h5py
import numpy as np
import scipy

import runner
from converters.records import ecg
from converters.records.ecg.record import EcgSource
from converters.records.record import Dropped
from runner.files import canonical_sha256, sha256_of, write_text
from runner.native.parallel import spread
from runner.native.signals import PUBLISHED, FloatArray, Step, applied, as_json
from runner.native.store import FORMAT, EcgStore, Table, create, open_store
from runner.native.survey import (
    FAULTS_AT_MOST,
    PER_TASK,
    Kept,
    Progress,
    Survey,
    groups_of,
    identical,
    signal_crc,
    survey,
)
from runner.spec.problems import DataError, MachineError

AT_ONCE = 8
"""Recordings worked on as one array: more do not fit into a core's cache, fewer cost more calls."""
LOCK_WAIT_S = 10.0
"""How long to wait for processes of a run that was killed: they look after each task whether it lives."""
Sums: TypeAlias = dict[int, tuple[int, ...]]
"""Task -> checksums of its recordings."""


@dataclass(frozen=True)
class Asked:
    """What a store is to be made of, and how."""

    source: EcgSource
    fs_hz: float
    steps: tuple[Step, ...] = PUBLISHED
    faults_at_most: float = FAULTS_AT_MOST


def convert(
    asked: Asked,
    path: Path,
    processes: int = 1,
    progress: Progress = lambda done, total, unit: None,
) -> EcgStore:
    """Make the store `path`, or go on where an earlier call was killed, and return it opened.

    A store that is already there and was made of the same recordings in the same way is left as it is.

    Raises:
        DataError: see `survey`; or a recording changed while it was read.
        MachineError: another process is writing this store, or it cannot be written.
    """
    raws = asked.source.raws()
    found = survey(asked.source, raws, asked.steps, asked.fs_hz, asked.faults_at_most, processes, progress)
    table = _table(asked, raws, found)
    if path.is_file() and _key_of(path) == table.manifest["key"]:
        return open_store(path)
    try:
        with _workplace(path) as work:
            _written(asked, raws, found, table, work, processes, progress)
            (work / "store.h5").replace(path)
    except OSError as error:
        raise MachineError(
            f"cannot write {path}: {error.strerror or error}\n  make room, then start again"
        ) from error
    return open_store(path)


def _key_of(path: Path) -> str | None:
    try:
        key: str | None = open_store(path).manifest.get("key")
    except DataError:
        return None
    return key


# ------------------------------------------------------------------------------------- all but the signals


def _table(asked: Asked, raws: Sequence[Any], found: Survey) -> Table:
    copies = identical(asked.source, raws, found.kept)
    groups = groups_of(found.kept, copies)
    classes = asked.source.classes
    labels = np.array([[one.name in row.labels for one in classes] for row in found.kept], dtype=bool)
    labels = labels.reshape(len(found.kept), len(classes))
    positives = dict(zip((one.name for one in classes), labels.sum(axis=0).tolist(), strict=True))
    facts: dict[str, Any] = {
        "format": FORMAT,
        "source": asked.source.name,
        "options": asked.source.options(),
        "steps": as_json(asked.steps),
        "fs_hz": asked.fs_hz,
        "faults_at_most": asked.faults_at_most,
        "records": {"read": found.read, "kept": len(found.kept)},
        "left_out": found.ledger().as_json(),
        "faulty": [asdict(one) for one in found.left_out if one.detail],
        "findings": found.findings().as_json(),
        "identical": copies,
        "groups": len(set(groups)),
        "positives": positives,
        "versions": {"runner": runner.__version__, "numpy": np.__version__, "scipy": scipy.__version__, "h5py": h5py.__version__},
        "code": _code(),
    }  # fmt: skip
    rows = [[one.id, one.samples, one.fs_hz, one.crc32, one.labels, one.patient, dict(one.attributes)] for one in found.kept]  # fmt: skip
    return Table(
        ids=tuple(one.id for one in found.kept),
        labels=labels,
        patients=tuple(one.patient for one in found.kept),
        groups=tuple(groups),
        samples=np.array([min(_after_steps(one, found), found.samples) for one in found.kept]),
        attributes=_attributes(found.kept),
        class_names=tuple(one.name for one in classes),
        class_codes=tuple(one.codes for one in classes),
        leads=asked.source.leads,
        fs_hz=asked.fs_hz,
        manifest={**facts, "key": canonical_sha256({**facts, "rows": rows, "time": found.samples})},
    )


def _after_steps(one: Kept, found: Survey) -> int:
    """Return the time points of a recording at the store's sampling rate, padding left aside."""
    return round(one.samples * found.fs_hz / one.fs_hz)


def _attributes(kept: Sequence[Kept]) -> Mapping[str, FloatArray | tuple[str | None, ...]]:
    """Return each attribute as a column: numbers where all that is known are numbers, else words."""
    columns: dict[str, FloatArray | tuple[str | None, ...]] = {}
    for name in dict.fromkeys(name for one in kept for name in one.attributes):
        values = [one.attributes.get(name) for one in kept]
        known = [value for value in values if value is not None]
        if known and not any(isinstance(value, str) for value in known):
            columns[name] = np.array([np.nan if value is None else float(value) for value in values])
        else:
            columns[name] = tuple(None if value is None else str(value) for value in values)
    return MappingProxyType(columns)


def _code() -> str:
    """Return a hash of the code that decides what is written: other code, another store."""
    files = [*sorted(Path(ecg.__file__ or "").parent.glob("*.py")), Path(__file__)]
    files += [Path(__file__).with_name(f"{name}.py") for name in ("signals", "store", "survey", "zero_phase")]
    return canonical_sha256({f"{file.parent.name}/{file.name}": sha256_of(file) for file in files})


# ----------------------------------------------------------------------------------------------- signals


def _written(
    asked: Asked,
    raws: Sequence[Any],
    found: Survey,
    table: Table,
    work: Path,
    processes: int,
    progress: Progress,
) -> None:
    """Fill `work/store.h5`: what the journal says is there, and whose checksum agrees, is not done again."""
    store, journal, total = work / "store.h5", work / "journal", len(found.kept)
    done = _done_before(store, journal, table.manifest["key"])
    if done is None:
        journal.unlink(missing_ok=True)
        store.unlink(missing_ok=True)
        create(store, table, found.samples)
        done = {}
    entries = [
        {"key": table.manifest["key"]},
        *({"task": task, "crc32": sums} for task, sums in done.items()),
    ]
    write_text(journal, "".join(json.dumps(entry) + "\n" for entry in entries))  # without half a line
    opened = open_store(store)
    with h5py.File(store, "r") as file:
        sums_at = file["crc32"].id.get_offset()
    record_bytes = 4 * opened.shape[1] * opened.shape[2]
    target = os.open(store, os.O_RDWR)

    def write(task: int) -> tuple[int, ...]:
        rows = found.kept[task : task + PER_TASK]
        sums = []
        for place, waves in _worked_on(asked, raws, rows):
            for number, wave in zip(place, waves, strict=True):
                _write_whole(target, wave, opened.offset + (task + number) * record_bytes)
                sums.append((number, zlib.crc32(wave)))
        return tuple(crc for _, crc in sorted(sums))

    try:
        for task, sums in done.items():
            _write_whole(target, np.array(sums, dtype="<u4"), sums_at + 4 * task)
        left = [task for task in range(0, total, PER_TASK) if task not in done]
        ready = sum(map(len, done.values()))
        with journal.open("a", encoding="utf-8") as lines:
            for task, sums in spread(write, left, processes):
                _write_whole(target, np.array(sums, dtype="<u4"), sums_at + 4 * task)
                lines.write(json.dumps({"task": task, "crc32": sums}) + "\n")
                lines.flush()
                ready += len(sums)
                progress(ready, total, "recordings written")
        os.fsync(target)
    finally:
        os.close(target)


def _worked_on(
    asked: Asked, raws: Sequence[Any], rows: Sequence[Kept]
) -> Iterator[tuple[list[int], FloatArray]]:
    """Yield places among `rows` and their signals after the steps, those of one length and rate together."""
    alike = sorted(range(len(rows)), key=lambda place: (rows[place].samples, rows[place].fs_hz))
    for (_, fs_hz), places in groupby(alike, key=lambda place: (rows[place].samples, rows[place].fs_hz)):
        of_one_kind = list(places)
        for first in range(0, len(of_one_kind), AT_ONCE):
            some = of_one_kind[first : first + AT_ONCE]
            waves = np.stack([_read_again(asked.source, raws, rows[place]) for place in some])
            yield some, np.ascontiguousarray(applied(asked.steps, waves, fs_hz), dtype="<f4")


def _read_again(source: EcgSource, raws: Sequence[Any], row: Kept) -> FloatArray:
    try:
        record = source.read(raws[row.raw])
    except Dropped:
        record = None
    if record is None or signal_crc(record) != row.crc32:
        raise DataError(
            f"{row.id} changed while it was read\n  wait until the data are complete, then start again"
        )
    return record.signal_mv


def _write_whole(target: int, values: Any, offset: int) -> None:
    left = memoryview(values).cast("B")
    while left:
        written = os.pwrite(target, left, offset)
        left, offset = left[written:], offset + written


# ----------------------------------------------------------------------------------------------- resuming


def _done_before(store: Path, journal: Path, key: str) -> Sums | None:
    """Return the tasks that are in the file, None where there is nothing to go on with.

    What the journal says is checked against the file: after a power cut it may know more than the disk has.
    """
    try:
        first, *lines = journal.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != {"key": key}:
            return None
        signals = open_store(store).signals
    except (OSError, ValueError, DataError):
        return None
    done: Sums = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the last line, half written
            continue
        rows = signals[entry["task"] : entry["task"] + PER_TASK]
        if [zlib.crc32(wave) for wave in rows] == entry["crc32"]:
            done[entry["task"]] = tuple(entry["crc32"])
    return done


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """Lend the folder in which `path` is made to one process at a time; it is gone when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.parent / f".{path.name}.making"
    lock = _locked(work, path)
    try:
        yield work
        shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)


def _locked(work: Path, path: Path) -> int:
    """Return the descriptor of the lock in `work`, held. It is passed on to forked processes, and held by them too."""
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        work.mkdir(exist_ok=True)
        lock = os.open(work / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), (work / "lock").stat()):
                return lock
        except FileNotFoundError:  # the one before has finished and taken the folder away
            pass
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(lock)
                raise MachineError(
                    f"{path} is being written by another process\n  wait for it, or end it"
                ) from None
            time.sleep(0.1)
        os.close(lock)
