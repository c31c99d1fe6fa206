"""SPH (Shandong Provincial Hospital): one HDF5 file a recording and `metadata.csv` -> one `EcgRecord` each.

Labels are the primary AHA statements: `50+346` is statement 50 with a modifier. Signals are 12 leads in the
usual order, float16, mV, 500 Hz, 10 to 60 s.

Source: Liu et al., Scientific Data 9:272, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from converters.records.ecg.files import UnfitError, data_set, hdf5_of, is_regular, require_room
from converters.records.ecg.record import (
    BAD_METADATA,
    LEADS,
    NO_DIAGNOSIS,
    NO_LABEL,
    NOT_LISTED,
    TRUNCATED,
    WRONG_SHAPE,
    EcgClass,
    EcgRecord,
    Faulty,
    age_of,
    as_float32,
    labels_of,
    sex_of,
    sound,
)
from converters.records.ecg.tables import by_id, count_of, read_table
from converters.records.record import Dropped

METADATA = "metadata.csv"
FS_HZ = 500.0
_COLUMNS = ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N")


@dataclass(frozen=True)
class RawSph:
    """One recording: its file, and its row (None: not in metadata.csv)."""

    id: str
    file: Path
    row: Mapping[str, str] | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, where it is there."""
        return (self.file,) if is_regular(self.file) else ()


@dataclass(frozen=True)
class Sph:
    """The recordings of one folder, or of its folder `records`."""

    root: Path
    statements: tuple[str, ...] | None = None
    """Primary AHA statements that are classes; None: all that occur, in numerical order."""
    unlabelled: Literal["leave_out", "keep"] = "leave_out"

    @property
    def name(self) -> str:
        """For the manifest."""
        return "sph"

    @property
    def leads(self) -> tuple[str, ...]:
        """The order in which the set is published."""
        return LEADS

    @cached_property
    def rows(self) -> dict[str, dict[str, str]]:
        """The metadata by the name of the recording."""
        path = self.root / METADATA
        rows = by_id(read_table(path, _COLUMNS), "ECG_ID", path)
        return {name.removesuffix(".h5"): row for name, row in rows.items()}

    @cached_property
    def classes(self) -> tuple[EcgClass, ...]:
        """One class a statement."""
        found = {code for row in self.rows.values() for code in primary(row["AHA_Code"])}
        names = (
            sorted(found, key=lambda code: (len(code), code)) if self.statements is None else self.statements
        )
        return tuple(EcgClass(name, (name,)) for name in names)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        chosen = None if self.statements is None else list(self.statements)
        return {"statements": chosen, "unlabelled": self.unlabelled}

    def raws(self) -> tuple[RawSph, ...]:
        """Return every recording that has a file or a row, by name."""
        folder = self.root / "records" if (self.root / "records").is_dir() else self.root
        names = sorted({*self.rows, *(file.stem for file in folder.glob("*.h5"))})
        return tuple(RawSph(name, folder / f"{name}.h5", self.rows.get(name)) for name in names)

    def read(self, raw: RawSph) -> EcgRecord:
        """Return one recording; `Faulty` or `Dropped` where it cannot be used."""
        if raw.row is None:
            raise Dropped(NOT_LISTED, raw.id)
        codes = primary(raw.row["AHA_Code"])
        if not codes:
            raise Dropped(NO_DIAGNOSIS, raw.id)
        labels = labels_of(codes, self.classes)
        if not labels and self.unlabelled == "leave_out":
            raise Dropped(NO_LABEL, raw.id)
        try:
            with hdf5_of(raw.file) as file:
                found = data_set(file, "ecg", 2)
                if len(found) != len(LEADS):
                    raise UnfitError(WRONG_SHAPE, f"{found.shape}; expected ({len(LEADS)}, time)")
                require_room(found.shape)
                stored = found[:]
        except UnfitError as error:
            raise Faulty(error.reason, raw.id, f"{raw.file.name}: {error}") from error
        samples = count_of(raw.row["N"])
        if samples is None:
            raise Faulty(BAD_METADATA, raw.id, f"N is {raw.row['N']!r:.40}; expected the number of samples")
        if stored.shape[1] < samples:
            raise Faulty(TRUNCATED, raw.id, f"{stored.shape[1]} of {samples} samples a lead")
        signal, findings = sound(as_float32(stored, 1, raw.id), LEADS, raw.id)
        attributes = {"age": age_of(raw.row["Age"]), "sex": sex_of(raw.row["Sex"]), "site": None}
        patient = raw.row["Patient_ID"] or None
        return EcgRecord(raw.id, signal, FS_HZ, LEADS, labels, codes, patient, attributes, tuple(findings))


def primary(written: str) -> tuple[str, ...]:
    """Return the primary statements of a cell, each once.

    >>> primary("22;50+346;50+347")
    ('22', '50')
    """
    codes = [code.split("+")[0].strip() for code in written.split(";")]
    return tuple(dict.fromkeys(code for code in codes if code))
