"""CODE-15 %: `exams.csv` and HDF5 parts of zero-padded tracings at 400 Hz -> one `EcgRecord` each.

Labels are taken by the name of their column, for the published texts and files order them differently. A
part's last row is padding (exam_id 0, all zero). Tracings shorter than 4,096 samples are padded with zeros on both
sides; the zeros are cut off here, so that no filter sees a step that no heart made.

Source: Ribeiro et al., Nature Communications 11:1760, 2020; Zenodo record 4916206. The unit is not stated there;
the values are of the size of millivolts (QRS of 1 to 3), and are taken as such unless `unit_mv` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters.records.ecg.files import UnfitError, below, data_set, hdf5_of, is_regular, require_room
from converters.records.ecg.record import (
    BAD_METADATA,
    LEADS,
    NO_LABEL,
    NO_SIGNAL,
    NOT_LISTED,
    PADDING,
    WRONG_SHAPE,
    EcgClass,
    EcgRecord,
    Faulty,
    FloatArray,
    age_of,
    as_float32,
    labels_of,
    sound,
)
from converters.records.ecg.tables import by_id, read_table
from converters.records.record import Dropped
from runner.spec.problems import DataError

EXAMS = "exams.csv"
FS_HZ = 400.0
MAX_EXAMS = 10_000_000
"""Of one part: the largest published holds 20,000."""
LABELS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
_COLUMNS = ("exam_id", "age", "is_male", *LABELS, "patient_id", "trace_file")
_TRUE, _FALSE = ("True", "true", "1"), ("False", "false", "0", "")


@dataclass(frozen=True)
class RawExam:
    """One row of a part, and its row of exams.csv (None: not in there)."""

    id: str
    part: Path
    place: int | None
    """Row of the part; None where the part does not hold the exam."""
    row: Mapping[str, str] | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Nothing: a part holds 20,000 exams, and is hashed as a whole by who wants that."""
        return ()


@dataclass(frozen=True)
class Code15:
    """The parts of CODE-15 % in one folder."""

    root: Path
    parts: tuple[str, ...] | None = None
    """Files to read; None: all that exams.csv names, which must then be there."""
    unlabelled: Literal["leave_out", "keep"] = "keep"
    """What becomes of exams without any of the six labels: nine in ten, and the negatives of the others."""
    unit_mv: float = 1.0
    """Millivolts that a stored 1 stands for."""

    @property
    def name(self) -> str:
        """For the manifest."""
        return "code15"

    @property
    def leads(self) -> tuple[str, ...]:
        """The order in which the set is published."""
        return LEADS

    @property
    def classes(self) -> tuple[EcgClass, ...]:
        """The six labels."""
        return tuple(EcgClass(name, (name,)) for name in LABELS)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        parts = None if self.parts is None else list(self.parts)
        return {"parts": parts, "unlabelled": self.unlabelled, "unit_mv": self.unit_mv}

    def raws(self) -> tuple[RawExam, ...]:
        """Return every row of every part, part by part.

        Raises:
            DataError: exams.csv or a part is missing or cannot be read.
        """
        path = self.root / EXAMS
        exams = by_id(read_table(path, _COLUMNS), "exam_id", path)
        of_part: dict[str, list[str]] = {}
        for exam, row in exams.items():
            of_part.setdefault(row["trace_file"], []).append(exam)
        names = sorted(of_part) if self.parts is None else self.parts
        missing = [name for name in names if not is_regular(_part(self.root, name))]
        if missing:
            raise DataError(
                f"{self.root} lacks {', '.join(missing)}, which {EXAMS} names\n"
                "  fetch them, or name those that are there with `parts`"
            )
        return tuple(raw for name in names for raw in self._raws_of(name, exams, of_part.get(name, ())))

    def _raws_of(
        self, name: str, exams: Mapping[str, Mapping[str, str]], listed: Iterable[str]
    ) -> Iterable[RawExam]:
        part = self.root / name
        try:
            with hdf5_of(part) as file:
                numbers, shape = data_set(file, "exam_id", 1), data_set(file, "tracings", 3).shape
                if numbers.dtype.kind == "f" or len(numbers) > MAX_EXAMS:
                    raise UnfitError(
                        WRONG_SHAPE, f"'exam_id' holds {len(numbers):,} numbers ({numbers.dtype})"
                    )
                ids = numbers[:].tolist()
        except UnfitError as error:
            raise DataError(f"cannot read {part}: {error}") from error
        if shape[0] != len(ids) or shape[2] != len(LEADS):
            raise DataError(
                f"{part}: tracings have the shape {shape}; expected ({len(ids)}, time, {len(LEADS)})"
            )
        found = {str(exam) for exam in ids}
        for place, exam in enumerate(map(str, ids)):
            row = exams.get(exam)
            yield RawExam(exam if row else f"{name}[{place}]", part, place, row)
        for exam in listed:
            if exam not in found:
                yield RawExam(exam, part, None, exams[exam])

    def read(self, raw: RawExam) -> EcgRecord:
        """Return one exam.

        Raises:
            Faulty: its signal is not in the part, its row is odd, or its signal is unusable.
            Dropped: a padding row, an exam without a row, or with `leave_out` one without a label.
        """
        if raw.place is None:
            raise Faulty(NO_SIGNAL, raw.id, f"{raw.part.name} does not hold it")
        try:
            with hdf5_of(raw.part) as file:
                tracings = data_set(file, "tracings", 3)
                require_room(tracings.shape[1:])
                tracing = tracings[raw.place]
        except UnfitError as error:
            raise Faulty(error.reason, raw.id, f"{raw.part.name}[{raw.place}]: {error}") from error
        if raw.row is None:
            raise Dropped(NOT_LISTED if tracing.any() else PADDING, raw.id)
        record = to_record(raw.id, tracing, raw.row, self.unit_mv)
        if not record.labels and self.unlabelled == "leave_out":
            raise Dropped(NO_LABEL, raw.id)
        return record


def _part(root: Path, name: str) -> Path:
    try:
        return below(root, name)
    except UnfitError as error:
        raise DataError(f"{root / EXAMS}: {error}") from error


def to_record(exam: str, tracing: FloatArray, row: Mapping[str, str], unit_mv: float = 1.0) -> EcgRecord:
    """Return the record of one exam; `tracing` has the shape (time, lead)."""
    if tracing.ndim != 2 or tracing.shape[1] != len(LEADS):
        raise Faulty(WRONG_SHAPE, exam, f"{tracing.shape}; expected (time, {len(LEADS)})")
    classes = tuple(EcgClass(name, (name,)) for name in LABELS)
    codes = tuple(name for name in LABELS if _truth(row, name, exam))
    stored = np.ascontiguousarray(as_float32(tracing.T, unit_mv, exam))
    signal, findings = sound(without_padding(stored), LEADS, exam)
    sex = None if row["is_male"] == "" else "male" if _truth(row, "is_male", exam) else "female"
    return EcgRecord(
        id=exam,
        signal_mv=signal,
        fs_hz=FS_HZ,
        leads=LEADS,
        labels=labels_of(codes, classes),
        codes=codes,
        patient=row["patient_id"] or None,
        attributes={"age": age_of(row["age"]), "sex": sex, "site": None},
        findings=tuple(findings),
    )


def without_padding(signal: FloatArray) -> FloatArray:
    """Return a signal, shape (lead, time), without the time points at its ends at which every lead is 0.

    >>> without_padding(np.array([[0, 0, 1, 0, 2, 0], [0, 3, 0, 0, 0, 0]]))
    array([[0, 1, 0, 2],
           [3, 0, 0, 0]])
    """
    used = np.flatnonzero((signal != 0).any(axis=0))
    return signal[:, used[0] : used[-1] + 1] if len(used) else signal[:, :0]


def _truth(row: Mapping[str, str], column: str, exam: str) -> bool:
    if row[column] not in (*_TRUE, *_FALSE):
        raise Faulty(BAD_METADATA, exam, f"{column} is {row[column]!r:.40}; expected True or False")
    return row[column] in _TRUE
