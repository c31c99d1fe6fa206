"""PTB-XL in its own layout: `ptbxl_database.csv`, `scp_statements.csv` and WFDB records at 100 or 500 Hz.

A recording has SCP-ECG statements, each with a likelihood in percent. **0 means "unknown", not "absent"**: every
statement of form and rhythm is stored with 0. So a listed statement counts unless the user asks for a least
likelihood, and what then becomes of the unknown ones is a choice of its own.

Source: Wagner et al., PTB-XL, Scientific Data 7:154, 2020; classes and protocol of Strodthoff et al., Deep learning for ECG
analysis: benchmarks and insights from PTB-XL, IEEE JBHI 25(5), 2021: every listed statement, folds 1-8 / 9 / 10.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from converters.records.ecg.files import is_regular
from converters.records.ecg.record import (
    AGE_CAPPED,
    BAD_CODE,
    BAD_METADATA,
    LEADS,
    NO_LABEL,
    UNKNOWN_CODE,
    EcgClass,
    EcgRecord,
    Faulty,
    Finding,
    age_of,
    labels_of,
)
from converters.records.ecg.tables import by_id, count_of, fold_of, read_table, whole_number
from converters.records.ecg.wfdb_reader import Recording, read_recording
from converters.records.record import Dropped

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
Task = Literal["all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"]
TASK_COLUMNS: Mapping[str, tuple[str | None, str | None]] = MappingProxyType(
    {
        "all": (None, None),
        "diagnostic": ("diagnostic", None),
        "subdiagnostic": ("diagnostic", "diagnostic_subclass"),
        "superdiagnostic": ("diagnostic", "diagnostic_class"),
        "form": ("form", None),
        "rhythm": ("rhythm", None),
    }
)
"""Task -> column that is 1 for its statements, column with the class that they are put together under."""
FOLDS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"train": tuple(range(1, 9)), "validation": (9,), "test": (10,)}
)
"""The published use of the column strat_fold."""
AGE_OVER_89, AGE_SHOWN = 300.0, 90.0
_COLUMNS = (
    "ecg_id",
    "patient_id",
    "age",
    "sex",
    "site",
    "scp_codes",
    "strat_fold",
    "filename_lr",
    "filename_hr",
)
_SEXES = {"0": "male", "1": "female"}


@dataclass(frozen=True)
class RawPtbxl:
    """One recording: its header's place and its row of the database."""

    id: str
    header: Path
    row: Mapping[str, str]

    @property
    def files(self) -> tuple[Path, ...]:
        """Header and signal, those that are there."""
        both = (self.header, self.header.with_suffix(".dat"))
        return tuple(file for file in both if is_regular(file))


@dataclass(frozen=True)
class Ptbxl:
    """PTB-XL for one task."""

    root: Path
    task: Task = "superdiagnostic"
    fs_hz: Literal[100, 500] = 500
    likelihood_at_least: float = 0.0
    """Percent, of statements whose likelihood is known; 0: every listed statement counts."""
    unknown_likelihood: Literal["counts", "is_absent"] = "counts"
    """What a statement with likelihood 0, which means unknown, is."""
    unlabelled: Literal["leave_out", "keep"] = "leave_out"
    leads: tuple[str, ...] = LEADS
    fill_at_most: float = 0.0

    @property
    def name(self) -> str:
        """For the manifest."""
        return "ptbxl"

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        return {
            "task": self.task,
            "fs_hz": self.fs_hz,
            "likelihood_at_least": self.likelihood_at_least,
            "unknown_likelihood": self.unknown_likelihood,
            "unlabelled": self.unlabelled,
            "leads": list(self.leads),
            "fill_at_most": self.fill_at_most,
        }

    @cached_property
    def statements(self) -> Mapping[str, Mapping[str, str]]:
        """Rows of the table of statements by SCP code."""
        path = self.root / STATEMENTS
        rows = read_table(
            path, ("", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
        )
        return by_id(rows, "", path)

    @cached_property
    def classes(self) -> tuple[EcgClass, ...]:
        """The classes of the task by name: statements, or what they are put together under."""
        chosen, together = TASK_COLUMNS[self.task]
        codes_of: dict[str, list[str]] = {}
        for code, row in self.statements.items():
            if chosen is None or row[chosen] == "1.0":
                codes_of.setdefault(row[together] if together else code, []).append(code)
        return tuple(EcgClass(name, tuple(codes_of[name])) for name in sorted(codes_of))

    def raws(self) -> tuple[RawPtbxl, ...]:
        """Return every recording of the database, by ecg_id; `DataError` where a table is missing or odd."""
        path = self.root / DATABASE
        rows = by_id(read_table(path, _COLUMNS), "ecg_id", path)
        column = "filename_hr" if self.fs_hz == 500 else "filename_lr"
        ordered = sorted(rows, key=lambda name: (-1 if (number := count_of(name)) is None else number, name))
        return tuple(RawPtbxl(name, self.root / f"{rows[name][column]}.hea", rows[name]) for name in ordered)

    def read(self, raw: RawPtbxl) -> EcgRecord:
        """Return one recording.

        Raises:
            Faulty: something is wrong with it or its row.
            Dropped: it has none of the classes.
        """
        if ".." in raw.header.parts or not raw.header.is_relative_to(self.root):
            raise Faulty(BAD_METADATA, raw.id, f"its file {raw.header} is not below {self.root}")
        codes = self.codes_of(raw)
        labels = labels_of(codes, self.classes)
        if not labels and self.unlabelled == "leave_out":
            raise Dropped(NO_LABEL, raw.id)
        try:
            recording = read_recording(raw.header, self.leads, self.fill_at_most)
        except Faulty as fault:
            raise Faulty(fault.reason, raw.id, f"{fault.record_id}: {fault.detail}") from fault
        return to_record(raw, recording, self.leads, codes, labels)

    def codes_of(self, raw: RawPtbxl) -> tuple[str, ...]:
        """Return the statements that count, by the rule of likelihoods.

        Raises:
            Faulty: the column is no dictionary of numbers, or has a statement that the table lacks.
        """
        likelihoods = self.likelihoods_of(raw)
        unknown_counts = self.unknown_likelihood == "counts"
        return tuple(
            code
            for code, percent in likelihoods.items()
            if (unknown_counts if percent == 0 else percent >= self.likelihood_at_least)
        )

    def likelihoods_of(self, raw: RawPtbxl) -> dict[str, float]:
        """Return every statement with its likelihood in percent, 0 for unknown.

        Raises:
            Faulty: as `codes_of`.
        """
        try:
            given = ast.literal_eval(raw.row["scp_codes"])
            likelihoods = {str(code): float(percent) for code, percent in given.items()}
        except (ValueError, SyntaxError, AttributeError, TypeError, MemoryError, RecursionError):
            raise Faulty(BAD_CODE, raw.id, f"scp_codes {raw.row['scp_codes']!r:.60}") from None
        for code in likelihoods:
            if code not in self.statements:
                raise Faulty(UNKNOWN_CODE, raw.id, code)
        return likelihoods


def to_record(
    raw: RawPtbxl,
    recording: Recording,
    leads: tuple[str, ...],
    codes: tuple[str, ...],
    labels: tuple[str, ...],
) -> EcgRecord:
    """Return the record of one recording and its row."""
    row = raw.row
    if not row["patient_id"]:
        raise Faulty(BAD_METADATA, raw.id, "it has no patient_id")
    age, findings = age_of(row["age"]), recording.findings
    if age == AGE_OVER_89:
        age, findings = AGE_SHOWN, (*findings, Finding(AGE_CAPPED, f"{AGE_SHOWN:g}"))
    return EcgRecord(
        id=raw.id,
        signal_mv=recording.signal_mv,
        fs_hz=recording.header.fs_hz,
        leads=leads,
        labels=labels,
        codes=codes,
        patient=whole_number(row["patient_id"]),
        attributes={
            "age": age,
            "sex": _SEXES.get(whole_number(row["sex"])),
            "site": whole_number(row["site"]) or None,
            "fold": fold_of(row["strat_fold"], raw.id),
        },
        findings=findings,
    )
