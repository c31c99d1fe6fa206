"""PhysioNet/CinC Challenge 2021: WFDB records with SNOMED CT codes in the header -> one `EcgRecord` each.

Labels are the scored codes of which a database publishes more than a number of recordings, in the order of
the challenge's table; both tables are shipped beside this module (`cinc2021.md` says from where).

The challenge's headers name no patient, though PTB-XL alone has 21,837 recordings of 18,885: a split by patient is one by
recording here, and the data stage and the report say so.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from converters.records.ecg.files import is_regular
from converters.records.ecg.record import (
    BAD_CODE,
    LEADS,
    NO_DIAGNOSIS,
    NO_HEADER,
    NO_LABEL,
    UNKNOWN_CODE,
    EcgClass,
    EcgRecord,
    Faulty,
    age_of,
    labels_of,
    sex_of,
)
from converters.records.ecg.wfdb_reader import Recording, read_recording
from converters.records.record import Dropped
from runner.spec.nearest import nearest
from runner.spec.problems import DataError

SCORED = Path(__file__).parent / "cinc2021_scored.csv"
UNSCORED = Path(__file__).parent / "cinc2021_unscored.csv"
MORE_THAN = 200
"""Recordings of a code in a database that make it a class there (FUSION 1.1: strictly more)."""
EQUIVALENT: tuple[tuple[str, str], ...] = (
    ("733534002", "164909002"),  # CLBBB, LBBB
    ("713427006", "59118001"),  # CRBBB, RBBB
    ("284470004", "63593006"),  # PAC, SVPB
    ("427172004", "17338001"),  # PVC, VPB
)
"""Pairs that the challenge scores as one diagnosis: the notes in its table."""
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "georgia": "Georgia",
        "ptb-xl": "PTB_XL",
        "ningbo": "Ningbo",
        "chapman_shaoxing": "Chapman_Shaoxing",
        "cpsc_2018": "CPSC",
        "cpsc_2018_extra": "CPSC_Extra",
        "ptb": "PTB",
        "st_petersburg_incart": "StPetersburg",
    }
)
"""Folder on PhysioNet -> column of counts."""
TARBALLS: Mapping[str, str] = MappingProxyType(
    {
        "WFDB_Ga": "georgia",
        "WFDB_PTBXL": "ptb-xl",
        "WFDB_Ningbo": "ningbo",
        "WFDB_ChapmanShaoxing": "chapman_shaoxing",
        "WFDB_CPSC2018": "cpsc_2018",
        "WFDB_CPSC2018_2": "cpsc_2018_extra",
        "WFDB_PTB": "ptb",
        "WFDB_StPetersburg": "st_petersburg_incart",
    }
)
"""Folder in the challenge's tarballs -> folder on PhysioNet."""
_CODE = re.compile(r"\d{6,18}")


# --------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Scored:
    """One row of the table of scored diagnoses."""

    code: str
    abbreviation: str
    name: str
    counts: Mapping[str, int]
    """Recordings by database, as folders are named on PhysioNet."""


@cache
def scored() -> tuple[Scored, ...]:
    """Return the 30 scored diagnoses in the order of the table."""
    with SCORED.open(encoding="utf-8", newline="") as file:
        return tuple(
            Scored(
                row["SNOMEDCTCode"],
                row["Abbreviation"],
                row["Dx"],
                MappingProxyType({database: int(row[column]) for database, column in COLUMNS.items()}),
            )
            for row in csv.DictReader(file)
        )


@cache
def known_codes() -> frozenset[str]:
    """Return every code of both tables."""
    with UNSCORED.open(encoding="utf-8", newline="") as file:
        return frozenset(row["SNOMEDCTCode"] for row in csv.DictReader(file)) | {one.code for one in scored()}


def classes_of(
    databases: Iterable[str], merge_equivalents: bool = False, more_than: int = MORE_THAN
) -> tuple[EcgClass, ...]:
    """Return the classes of some databases together: those that any one of them has often enough.

    Args:
        databases: as in `COLUMNS`.
        merge_equivalents: count each pair of `EQUIVALENT` as one class `A|B`; off is what upstream does, and
            makes a recording with one code of a pair a negative of the other.
        more_than: published recordings, of a merged class both codes together, above which it is a class.
    """
    names = list(databases)
    partner = {code: pair for pair in EQUIVALENT for code in pair} if merge_equivalents else {}
    rows = {one.code: one for one in scored()}
    classes: list[EcgClass] = []
    for one in scored():
        codes = partner.get(one.code, (one.code,))
        if any(set(codes) & set(known.codes) for known in classes):
            continue
        if any(sum(rows[code].counts[name] for code in codes) > more_than for name in names):
            classes.append(EcgClass("|".join(rows[code].abbreviation for code in codes), codes))
    return tuple(classes)


# --------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class RawCinc:
    """One recording, by its header's place."""

    id: str
    header: Path
    database: str

    @property
    def files(self) -> tuple[Path, ...]:
        """Header and signal, those that are there."""
        both = (self.header, self.header.with_suffix(".mat"), self.header.with_suffix(".dat"))
        return tuple(file for file in both if is_regular(file))


@dataclass(frozen=True)
class Cinc2021:
    """Some databases of the challenge, in the folders of PhysioNet or of the tarballs."""

    root: Path
    databases: tuple[str, ...]
    """As in `COLUMNS`; they are read in this order."""
    merge_equivalents: bool = False
    more_than: int = MORE_THAN
    unknown_codes: Literal["leave_out", "ignore"] = "leave_out"
    """What becomes of a recording with a code that neither table of the challenge knows."""
    unlabelled: Literal["leave_out", "keep"] = "leave_out"
    """What becomes of a recording without any of the classes (upstream: left out)."""
    leads: tuple[str, ...] = LEADS
    fill_at_most: float = 0.0
    """Share of a lead's samples that may be missing and is filled in."""

    def __post_init__(self) -> None:
        for name in self.databases:
            if name not in COLUMNS:
                near = nearest(name, COLUMNS)
                hint = f"; nearest: {near}" if near else ""
                raise DataError(f"unknown database {name!r}; allowed: {', '.join(COLUMNS)}{hint}")

    @property
    def name(self) -> str:
        """For the manifest."""
        return "cinc2021"

    @property
    def classes(self) -> tuple[EcgClass, ...]:
        """The labels."""
        return classes_of(self.databases, self.merge_equivalents, self.more_than)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        return {
            "databases": list(self.databases),
            "merge_equivalents": self.merge_equivalents,
            "more_than": self.more_than,
            "unknown_codes": self.unknown_codes,
            "unlabelled": self.unlabelled,
            "leads": list(self.leads),
            "fill_at_most": self.fill_at_most,
        }

    def raws(self) -> tuple[RawCinc, ...]:
        """Return every recording, database by database, by name; also signals without a header.

        Raises:
            DataError: a database's folder is not there, or has no recording.
        """
        return tuple(raw for name in self.databases for raw in self._raws_of(name))

    def _raws_of(self, database: str) -> Iterable[RawCinc]:
        folder = self._folder(database)
        headers: dict[str, Path] = {}
        for file in folder.rglob("*"):
            if file.suffix.lower() in (".hea", ".mat", ".dat") and not file.name.startswith("."):
                place = file.with_suffix(".hea")
                if headers.setdefault(file.stem, place) != place:
                    raise DataError(f"{place} and {headers[file.stem]} have one name; keep one of them")
        if not headers:
            raise DataError(f"no WFDB record below {folder}")
        return [RawCinc(stem, headers[stem], database) for stem in sorted(headers)]

    def _folder(self, database: str) -> Path:
        names = [database, *(tarball for tarball, name in TARBALLS.items() if name == database)]
        tried = [self.root / part / name for part in ("training", ".") for name in names]
        found = next((folder for folder in tried if folder.is_dir()), None)
        if found is None:
            raise DataError(
                f"no folder of {database} in {self.root}; looked for {', '.join(map(str, tried))}"
            )
        return found

    def read(self, raw: RawCinc) -> EcgRecord:
        """Return one recording.

        Raises:
            Faulty: something is wrong with it.
            Dropped: it has no diagnosis, or none of the classes.
        """
        if not is_regular(raw.header):
            raise Faulty(NO_HEADER, raw.id, raw.header.name)
        return to_record(read_recording(raw.header, self.leads, self.fill_at_most), raw.database, self)


def to_record(recording: Recording, database: str, source: Cinc2021) -> EcgRecord:
    """Return the record of one recording: codes and persons' attributes from its header."""
    header = recording.header
    codes = diagnoses(header.comments, header.id, source.unknown_codes)
    labels = labels_of(codes, source.classes)
    if not labels and source.unlabelled == "leave_out":
        raise Dropped(NO_LABEL, header.id)
    return EcgRecord(
        id=header.id,
        signal_mv=recording.signal_mv,
        fs_hz=header.fs_hz,
        leads=source.leads,
        labels=labels,
        codes=codes,
        patient=None,  # the headers have age and sex, and nothing that says whose two recordings are
        attributes={
            "age": age_of(header.comments.get("age", "")),
            "sex": sex_of(header.comments.get("sex", "")),
            "site": database,
        },
        findings=recording.findings,
    )


def diagnoses(
    comments: Mapping[str, str], record_id: str, unknown_codes: Literal["leave_out", "ignore"] = "leave_out"
) -> tuple[str, ...]:
    """Return the SNOMED CT codes on the line Dx, each once, in its order.

    Raises:
        Dropped: the line is missing or empty.
        Faulty: something on it is no code (such as the abbreviations of the first releases), or with
            `leave_out` a code that no table of the challenge knows.
    """
    codes: Sequence[str] = [code.strip() for code in comments.get("dx", "").split(",") if code.strip()]
    if not codes:
        raise Dropped(NO_DIAGNOSIS, record_id)
    for code in codes:
        if not _CODE.fullmatch(code):
            raise Faulty(BAD_CODE, record_id, f"{code!r:.60} is no SNOMED CT code")
        if unknown_codes == "leave_out" and code not in known_codes():
            raise Faulty(UNKNOWN_CODE, record_id, code)
    return tuple(dict.fromkeys(codes))
