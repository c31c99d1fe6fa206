"""A user's own recordings: a table of them, and signals as `.npy` or `.csv` files -> one `EcgRecord` each.

The table is a CSV with the columns `id` and `file` and, as far as there are any, `patient`, `age`, `sex`, `site`, `fold`,
`row` (which recording of a file that holds many), `fs_hz`, and the labels: either one column `labels` with
names between `;`, or the columns that `label_columns` names, with 0 or 1.

A signal file is a `.npy` of the shape (lead, time), (time, lead) or (record, ...) of these, whose leads
`file_leads` names in order, or a `.csv` with a line a time point whose first line names the leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters.records.ecg.files import UnfitError, below, csv_of, is_regular, npy_of
from converters.records.ecg.record import (
    BAD_CODE,
    BAD_METADATA,
    LEADS,
    NO_LABEL,
    UNKNOWN_CODE,
    WRONG_LEADS,
    WRONG_RATE,
    WRONG_SHAPE,
    EcgClass,
    EcgRecord,
    Faulty,
    FloatArray,
    age_of,
    as_float32,
    labels_of,
    lead_order,
    sex_of,
    sound,
)
from converters.records.ecg.tables import by_id, count_of, fold_of, read_table
from converters.records.ecg.wfdb_reader import MV_PER_UNIT
from converters.records.record import Dropped
from runner.spec.problems import DataError

LARGEST = 1e12
"""In any unit: what is above is no signal, and is refused for that."""
LIMBS_FIT, LIMBS_UNFIT = 0.01, 0.05
"""Share of the energy of limb leads that may be none of theirs where they are said to fit, and not to fit."""


@dataclass(frozen=True)
class RawRow:
    """One row of the table."""

    id: str
    file: Path
    row: Mapping[str, str]

    @property
    def files(self) -> tuple[Path, ...]:
        """The signal file, where it is there, in the folder, and holds one recording."""
        name = Path(self.row["file"])
        outside = name.is_absolute() or ".." in name.parts
        return () if outside or self.row.get("row") or not is_regular(self.file) else (self.file,)


@dataclass(frozen=True)
class TabularEcg:
    """A folder with a table and signal files."""

    root: Path
    fs_hz: float | None = None
    """Of all recordings; None: the column `fs_hz` says it of each."""
    unit: str = "mV"
    axes: Literal["lead_time", "time_lead"] = "lead_time"
    """Of `.npy` files."""
    file_leads: tuple[str, ...] = LEADS
    """Leads of `.npy` files, in their order."""
    leads: tuple[str, ...] = LEADS
    class_names: tuple[str, ...] | None = None
    """The classes, in order; None: every name that the table has, sorted."""
    label_columns: tuple[str, ...] = ()
    """Columns with 0 or 1; empty: the column `labels`."""
    unlabelled: Literal["leave_out", "keep"] = "keep"
    fill_at_most: float = 0.0
    table: str = "records.csv"

    def __post_init__(self) -> None:
        if self.unit.casefold() not in MV_PER_UNIT:
            raise DataError(f"unit is {self.unit!r}; allowed: V, mV, uV")
        if self.fs_hz is not None and not self.fs_hz > 0:
            raise DataError(f"fs_hz is {self.fs_hz!r}; expected a sampling rate above 0")

    @property
    def name(self) -> str:
        """For the manifest."""
        return "tabular_ecg"

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        chosen = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}
        del chosen["root"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}

    @cached_property
    def rows(self) -> dict[str, dict[str, str]]:
        """The table by id."""
        path = self.root / self.table
        needed = ("id", "file", *(self.label_columns or ("labels",)), *(() if self.fs_hz else ("fs_hz",)))
        return by_id(read_table(path, needed), "id", path)

    @cached_property
    def classes(self) -> tuple[EcgClass, ...]:
        """The labels, in the order of the columns."""
        names = self.class_names or self.label_columns
        found = names or sorted({name for row in self.rows.values() for name in _names(row["labels"])})
        return tuple(EcgClass(name, (name,)) for name in found)

    def raws(self) -> tuple[RawRow, ...]:
        """Return every row of the table, in its order."""
        return tuple(RawRow(name, self.root / row["file"], row) for name, row in self.rows.items())

    def read(self, raw: RawRow) -> EcgRecord:
        """Return one recording; `Faulty` or `Dropped` where it cannot be used."""
        codes = self._codes(raw)
        labels = labels_of(codes, self.classes)
        if not labels and self.unlabelled == "leave_out":
            raise Dropped(NO_LABEL, raw.id)
        rate = self._rate(raw)
        stored, names = self._stored(raw)
        order, findings = lead_order(names, self.leads, raw.id)
        signal = as_float32(stored[order], MV_PER_UNIT[self.unit.casefold()], raw.id)
        signal, found = sound(signal, self.leads, raw.id, self.fill_at_most)
        row = raw.row
        return EcgRecord(
            id=raw.id,
            signal_mv=signal,
            fs_hz=rate,
            leads=self.leads,
            labels=labels,
            codes=codes,
            patient=row.get("patient") or None,
            attributes={
                "age": age_of(row.get("age", "")),
                "sex": sex_of(row.get("sex", "")),
                "site": row.get("site") or None,
                **({"fold": fold_of(row["fold"], raw.id)} if "fold" in row else {}),
            },
            findings=(*findings, *found),
        )

    def _rate(self, raw: RawRow) -> float:
        """Return the sampling rate: what was asked for, and where the table says one too, the same."""
        written = raw.row.get("fs_hz", "").strip()
        rate = age_of(written) or 0.0  # any number above 0
        if self.fs_hz is None or written:
            if not 0 < rate < 1e6:
                raise Faulty(BAD_METADATA, raw.id, f"fs_hz is {written!r:.40}; expected a number above 0")
            if self.fs_hz is not None and rate != self.fs_hz:
                text = f"{self.table} says {rate:g} Hz, data.fs_hz {self.fs_hz:g}"
                raise Faulty(WRONG_RATE, raw.id, f"{text} (leave out data.fs_hz, and add a resample step)")
        return self.fs_hz or rate

    def _codes(self, raw: RawRow) -> tuple[str, ...]:
        if not self.label_columns:
            names = _names(raw.row["labels"])
            known = {one.name for one in self.classes}
            if unknown := [name for name in names if name not in known]:
                raise Faulty(UNKNOWN_CODE, raw.id, f"{unknown[0]!r:.60}; classes: {', '.join(sorted(known))}")
            return names
        for name in self.label_columns:
            if raw.row[name] not in ("0", "1", "0.0", "1.0"):
                raise Faulty(BAD_CODE, raw.id, f"{name} is {raw.row[name]!r:.40}; expected 0 or 1")
        return tuple(name for name in self.label_columns if raw.row[name].startswith("1"))

    def _stored(self, raw: RawRow) -> tuple[FloatArray, tuple[str, ...]]:
        """Return what the file holds for one recording, shape (lead, time), and its leads."""
        try:
            below(self.root, raw.row["file"])
            if raw.file.suffix == ".csv":
                return csv_of(raw.file)
            stored = npy_of(raw.file)
        except UnfitError as error:
            raise Faulty(error.reason, raw.id, f"{raw.row['file']!s:.60}: {error}") from error
        if written := raw.row.get("row"):
            place = count_of(written)
            if place is None or stored.ndim != 3 or place >= len(stored):
                raise Faulty(WRONG_SHAPE, raw.id, f"no row {written!r:.20} in the shape {stored.shape}")
            stored = stored[place]
        if stored.ndim == 2 and self.axes == "time_lead":
            stored = stored.T
        if stored.ndim != 2 or len(stored) != len(self.file_leads):
            raise Faulty(
                WRONG_SHAPE, raw.id, f"{stored.shape}; expected {len(self.file_leads)} leads ({self.axes})"
            )
        signal = np.asarray(stored)
        if pair := exchanged(signal, self.file_leads):
            text = f"{pair[0]} and {pair[1]} are exchanged: with them in the other order III is II - I, and aVR, aVL, aVF fit"
            raise Faulty(WRONG_LEADS, raw.id, f"{text} (is data.file_leads the order in the file?)")
        return signal, self.file_leads


def exchanged(signal: FloatArray, leads: Sequence[str]) -> tuple[str, str] | None:
    """Return two limb leads that must have been exchanged, None where none are, or nothing can be said.

    Of the six limb leads four follow from the others, whatever the heart does: III = II - I, aVR = -(I + II) / 2,
    aVL = (I - III) / 2, aVF = (II + III) / 2 (Einthoven, Goldberger). A `.npy` file has no names, and some sets write
    aVF before aVL.

    Args:
        signal: shape (lead, time), in any unit.
        leads: their names.
    """
    order = {name.casefold(): place for place, name in enumerate(leads)}
    if not all(name.casefold() in order for name in LEADS[:6]):
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        limbs = signal[[order[name.casefold()] for name in LEADS[:6]]].astype(np.float64)
    limbs = limbs[:, np.isfinite(limbs).all(axis=0)]
    if not limbs.size or np.abs(limbs).max() > LARGEST:
        return None
    limbs -= limbs.mean(axis=1, keepdims=True)
    if _misfit(limbs) < LIMBS_UNFIT:
        return None
    for one, other in combinations(range(6), 2):
        turned = limbs.copy()
        turned[[one, other]] = limbs[[other, one]]
        if _misfit(turned) < LIMBS_FIT:
            return LEADS[one], LEADS[other]
    return None


def _misfit(limbs: FloatArray) -> float:
    """Return the energy by which limb leads do not follow from each other, as a share of theirs."""
    i, ii, iii, avr, avl, avf = limbs
    wrong = (iii - ii + i, avr + (i + ii) / 2, avl - (i - iii) / 2, avf - (ii + iii) / 2)
    energy = float(np.square(limbs).sum())
    return sum(float(np.square(one).sum()) for one in wrong) / energy if energy else 0.0


def _names(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in cell.split(";") if name.strip()))
