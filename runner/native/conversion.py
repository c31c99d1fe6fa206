"""Recordings -> a store: read, worked on and written by several processes, resumed where it was killed.

One pass reads, judges and writes every recording (`one_pass`); then it is known which stay, and the file gets all else.
Killed at any instant and started again, the same file comes out, byte for byte; under its name it is either
complete or not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import scipy

import runner
from converters.records import ecg
from runner.files import canonical_sha256, sha256_of
from runner.native.one_pass import (
    Asked,
    Progress,
    Room,
    looked_through,
    moved_together,
    passed,
    time_points,
)
from runner.native.signals import FloatArray, as_json
from runner.native.store import FORMAT, SIGNALS_AT, EcgStore, Table, finish, is_whole, open_store
from runner.native.survey import Kept, LeftOut, Survey, groups_of, identical, require_unique, surveyed
from runner.spec.problems import DataError, MachineError

LOCK_WAIT_S = 10.0
"""How long to wait for processes of a run that was killed: they look after each task whether it lives."""


def convert(
    asked: Asked,
    path: Path,
    processes: int = 1,
    progress: Progress = lambda done, total, unit: None,
) -> EcgStore:
    """Make the store `path`, or go on where an earlier call was killed, and return it opened.

    A store that is already there, was made of the same recordings in the same way, and still holds what was written is
    left as it is.

    Raises:
        DataError: an id is there twice, or see `surveyed`; nothing was written.
        MachineError: another process is writing this store, or it cannot be written.
    """
    raws = asked.source.raws()
    require_unique(asked.source, raws)
    if (known := _opened(path)) is not None:
        found = looked_through(asked, raws, processes, progress)
        table = _table(asked, raws, _surveyed(asked, raws, found))
        if table.manifest["key"] == known.manifest.get("key") and is_whole(known, table):
            return known
    try:
        with _workplace(path) as work:
            _made(asked, raws, work, processes, progress)
            (work / "store.h5").replace(path)
    except OSError as error:
        raise MachineError(
            f"cannot write {path}: {error.strerror or error}\n  make room, then start again"
        ) from error
    return open_store(path)


def _opened(path: Path) -> EcgStore | None:
    """Return the store `path`; None where there is none that can be opened."""
    if not path.is_file():
        return None
    try:
        return open_store(path)
    except DataError:
        return None


def _made(asked: Asked, raws: Sequence[Any], work: Path, processes: int, progress: Progress) -> None:
    """Make `work/store.h5`: signals first, all else when it is known."""
    samples = time_points(asked, raws)
    room = Room(work / "store.h5", SIGNALS_AT, 4 * len(asked.source.leads) * samples)
    done = passed(asked, raws, room, work / "journal", _pass_key(asked, raws, samples), processes, progress)
    found = _surveyed(asked, raws, done.found)
    moved_together([one.raw for one in found.kept], room)
    sums = np.array([done.crc32[one.raw] for one in found.kept], dtype="<u4")
    finish(room.path, _table(asked, raws, found), sums, samples)


def _surveyed(asked: Asked, raws: Sequence[Any], found: Sequence[Kept | LeftOut]) -> Survey:
    return surveyed(asked.source, raws, found, asked.steps, asked.fs_hz, asked.faults_at_most)


def _pass_key(asked: Asked, raws: Sequence[Any], samples: int) -> str:
    """Return what makes two passes the same: which recordings in which places, what is done to them, by which code."""
    return canonical_sha256(
        {
            "source": asked.source.name,
            "options": asked.source.options(),
            "ids": [raw.id for raw in raws],
            "steps": as_json(asked.steps),
            "fs_hz": asked.fs_hz,
            "samples": samples,
            "code": _code(),
        }
    )


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
    rows = [[one.id, one.samples, one.fs_hz, one.crc32, one.labels, one.patient, dict(one.attributes), one.codes] for one in found.kept]  # fmt: skip
    return Table(
        ids=tuple(one.id for one in found.kept),
        labels=labels,
        patients=tuple(one.patient for one in found.kept),
        groups=tuple(groups),
        samples=np.array([min(_after_steps(one, found), found.samples) for one in found.kept]),
        attributes=_attributes(found.kept),
        class_names=tuple(one.name for one in classes),
        class_codes=tuple(one.codes for one in classes),
        codes=tuple(one.codes for one in found.kept),
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
    files += [
        Path(__file__).with_name(f"{name}.py")
        for name in ("one_pass", "signals", "store", "survey", "zero_phase")
    ]
    return canonical_sha256({f"{file.parent.name}/{file.name}": sha256_of(file) for file in files})


# -------------------------------------------------------------------------------------------- one at a time


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """Lend the folder in which `path` is made to one process at a time; it is gone when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.parent / f".{path.name}.making"
    lock = _locked(work, path)
    try:
        try:
            yield work
        except DataError:  # the set is not what was asked for: there is nothing to go on with
            shutil.rmtree(work, ignore_errors=True)
            raise
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
