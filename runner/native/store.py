"""A set of recordings as a model takes them, in one HDF5 file that any program can read, and this one without copying.

    signals (record, lead, time) float32, in one piece     crc32 (record,) of each signal
    labels (record, class) uint8     ids, patients, groups (record,)     samples (record,) before padding
    attributes/NAME (record,)     class_names, class_codes (class,)     leads (lead,)     manifest (JSON as bytes)
    codes (record,): every diagnosis of the recording as its source writes it, one a line

`signals` is neither cut into chunks nor compressed, so it can be mapped into memory at its place in the file: a
batch is read at the speed of a memory-mapped array, from any number of processes, without HDF5 in the way.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from runner.spec.problems import DataError

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
FORMAT = 1
"""Version of the layout."""
PAGE = 4096
"""Large arrays begin at a multiple of this, as memory is mapped."""
SIGNALS_AT = PAGE
"""Where the signals begin, in bytes: the same place for every set, so that they can be written before the set is known."""


@dataclass(frozen=True, eq=False)
class Table:
    """Everything in a store but the signals and their checksums."""

    ids: tuple[str, ...]
    labels: BoolArray
    """Shape (record, class)."""
    patients: tuple[str | None, ...]
    groups: tuple[str, ...]
    """Who must not be on two sides of a split."""
    samples: IntArray
    """Shape (record,): time points that are no padding."""
    attributes: Mapping[str, FloatArray | tuple[str | None, ...]]
    """Numbers (NaN: not known) or words (None: not known) by name, e.g. age, sex, site, fold."""
    class_names: tuple[str, ...]
    class_codes: tuple[tuple[str, ...], ...]
    codes: tuple[tuple[str, ...], ...]
    """Of each recording, also those that are no class; empty in a store of an earlier version."""
    leads: tuple[str, ...]
    fs_hz: float
    manifest: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class EcgStore(Table):
    """An opened store. It can be sent to other processes: each maps the file itself."""

    path: Path
    offset: int
    """Where in the file the signals begin, in bytes."""
    time_points: int
    crc32: IntArray

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # not the mapped memory

    @property
    def shape(self) -> tuple[int, int, int]:
        """(record, lead, time)."""
        return len(self.ids), len(self.leads), self.time_points

    @cached_property
    def signals(self) -> FloatArray:
        """The signals, shape (record, lead, time), float32, mapped: nothing is read until it is used."""
        return np.asarray(np.memmap(self.path, "<f4", "r", self.offset, self.shape))

    def batch(self, rows: Sequence[int] | IntArray, out: FloatArray | None = None) -> FloatArray:
        """Return a copy of some recordings, shape (row, lead, time), float32; into `out` where it is given.

        Raises:
            IndexError: a row that there is not.
        """
        wanted = np.asarray(rows)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a store of {len(self)}")
        return np.take(self.signals, wanted, axis=0, out=out, mode="clip")  # checked above: no second check

    def damaged(self) -> list[str]:
        """Return the ids of recordings whose bytes are not those that were written."""
        return [
            name
            for name, wave, known in zip(self.ids, self.signals, self.crc32, strict=True)
            if zlib.crc32(wave) != known
        ]


def is_whole(store: EcgStore, table: Table) -> bool:
    """Return whether a store holds `table`, and signals with the bytes that were written."""
    for name in (one.name for one in fields(Table)):
        known, wanted = getattr(store, name), getattr(table, name)
        if name == "attributes":
            same = known.keys() == wanted.keys() and all(_equal(known[key], wanted[key]) for key in wanted)
        else:
            same = _equal(known, wanted)
        if not same:
            return False
    return not store.damaged()


def _equal(known: Any, wanted: Any) -> bool:
    """Return whether a column or a value was read as it was to be written: numbers are 32 bits wide there."""
    if isinstance(wanted, np.ndarray):
        floats = wanted.dtype.kind == "f"
        return isinstance(known, np.ndarray) and np.array_equal(
            known, wanted.astype(known.dtype) if floats else wanted, equal_nan=floats
        )
    if isinstance(wanted, Mapping):
        return json.dumps(known, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    return bool(known == wanted)


# ------------------------------------------------------------------------------------------------ write


def finish(path: Path, table: Table, crc32: IntArray, time_points: int) -> None:
    """Make a file that holds nothing but signals, from `SIGNALS_AT` on, a store. The same table gives the same bytes.

    Args:
        path: the file, cut off behind its last signal.
        table: everything but the signals.
        crc32: shape (record,), of each signal.
        time_points: of each signal.
    """
    frame = path.with_name(f".{path.name}.frame")
    try:
        _frame(frame, table, crc32, time_points)
        signals_end = SIGNALS_AT + 4 * len(table.ids) * len(table.leads) * time_points
        with frame.open("rb") as made, path.open("r+b") as file:
            file.write(made.read(SIGNALS_AT))
            made.seek(signals_end)
            file.seek(signals_end)
            shutil.copyfileobj(made, file)
            file.flush()
            os.fsync(file.fileno())
    finally:
        frame.unlink(missing_ok=True)


def _frame(path: Path, table: Table, crc32: IntArray, time_points: int) -> None:
    """Write a store with a hole where its signals will be: HDF5 gives the first data set the first place."""
    with h5py.File(path, "w", libver="v110", alignment_threshold=PAGE, alignment_interval=PAGE) as file:
        signals = _room(file, "signals", (len(table.ids), len(table.leads), time_points), "<f4")
        if (offset := signals.id.get_offset()) != SIGNALS_AT:
            raise RuntimeError(
                f"HDF5 {h5py.version.hdf5_version} puts the signals at {offset}, not {SIGNALS_AT}"
            )
        file.attrs["format"] = FORMAT
        file.attrs["fs_hz"] = table.fs_hz
        _put(file, "ids", _texts(table.ids))
        _put(file, "labels", table.labels.astype(np.uint8))
        _put(file, "patients", _texts([name or "" for name in table.patients]))
        _put(file, "groups", _texts(table.groups))
        _put(file, "samples", table.samples.astype("<i4"))
        for name, values in table.attributes.items():
            known = (
                values.astype("<f4") if isinstance(values, np.ndarray) else _texts([v or "" for v in values])
            )
            _put(file, f"attributes/{name}", known)
        _put(file, "class_names", _texts(table.class_names))
        _put(file, "class_codes", _texts(["|".join(codes) for codes in table.class_codes]))
        _put(file, "codes", _texts(["\n".join(codes) for codes in table.codes]))
        _put(file, "leads", _texts(table.leads))
        _put(file, "crc32", crc32.astype("<u4"))
        text = json.dumps(table.manifest, ensure_ascii=False, allow_nan=False, sort_keys=True)
        _put(file, "manifest", np.frombuffer(text.encode(), dtype=np.uint8))


def _put(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    file.create_dataset(name, data=values, track_times=False)


def _room(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> h5py.Dataset:
    """Return a data set in one piece that has its place in the file now and its values later."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    made = h5py.h5d.create(
        file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), h5py.h5s.create_simple(shape), settings
    )
    return h5py.Dataset(made)


def _texts(values: Sequence[str]) -> NDArray[np.bytes_]:
    """UTF-8 of a fixed width: unlike texts of any length, they have one place and one form in the file."""
    return np.array([value.encode() for value in values] or [b""], dtype=np.bytes_)


# ------------------------------------------------------------------------------------------------- read


def open_store(path: Path) -> EcgStore:
    """Return the store in the file `path`, its signals not yet read.

    Raises:
        DataError: it is missing, not a store, of another format, or cut off; says what to do.
    """
    try:
        with h5py.File(path, "r") as file:
            if (found := file.attrs.get("format")) != FORMAT:
                raise DataError(
                    f"{path} has the format {found!r}; this version reads {FORMAT}; convert the data again"
                )
            return _opened(path, file)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is no store of recordings, or is damaged: {error}\n  convert the data again"
        ) from error


def _opened(path: Path, file: h5py.File) -> EcgStore:
    signals, ids = file["signals"], _read_texts(file["ids"])
    offset = signals.id.get_offset()
    if offset is None or signals.dtype != np.dtype("<f4") or signals.ndim != 3 or len(signals) != len(ids):
        raise ValueError("signals are not (record, lead, time), float32, in one piece")
    if path.stat().st_size < offset + signals.size * 4:
        raise ValueError(f"it ends after {path.stat().st_size} bytes, within the signals")
    return EcgStore(
        ids=ids,
        labels=file["labels"][:].astype(bool),
        patients=tuple(name or None for name in _read_texts(file["patients"])),
        groups=_read_texts(file["groups"]),
        samples=file["samples"][:],
        attributes={name: _read_column(values) for name, values in _columns(file)},
        class_names=_read_texts(file["class_names"]),
        class_codes=tuple(tuple(codes.split("|")) for codes in _read_texts(file["class_codes"])),
        codes=tuple(tuple(codes.split("\n")) if codes else () for codes in _read_texts(file["codes"]))
        if "codes" in file
        else (),
        leads=_read_texts(file["leads"]),
        fs_hz=float(file.attrs["fs_hz"]),
        manifest=json.loads(file["manifest"][:].tobytes()),
        path=path,
        offset=offset,
        time_points=signals.shape[2],
        crc32=file["crc32"][:],
    )


def _columns(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    yield from file["attributes"].items() if "attributes" in file else ()


def _read_column(values: h5py.Dataset) -> FloatArray | tuple[str | None, ...]:
    if values.dtype.kind == "S":
        return tuple(text or None for text in _read_texts(values))
    numbers: FloatArray = values[:]
    return numbers


def _read_texts(values: h5py.Dataset) -> tuple[str, ...]:
    return tuple(text.decode() for text in values[:].tolist())
