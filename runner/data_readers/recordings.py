"""Recordings of a set -> what is known of each: read, measured and hashed by several processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from converters.records.ecg import cinc2021
from converters.records.ecg.cinc2021 import Cinc2021, RawCinc
from converters.records.ecg.intervals import Intervals, measure
from converters.records.ecg.ptbxl import DATABASE, STATEMENTS, Ptbxl, RawPtbxl
from converters.records.ecg.record import EcgRecord, EcgSource, Faulty
from converters.records.ecg.synthetic import RawSynthetic, SyntheticEcg
from converters.records.ecg_questions import LIKELY, Finding, Known
from converters.records.label_sets import RHYTHMS, labels_of_scp, labels_of_snomed, snomed_words, statements
from converters.records.ptbxl_about import About, about
from converters.records.record import Dropped
from converters.records.tabular import age_band
from runner.data_readers.common import Asked, Faults, Progress
from runner.data_readers.pages import signal_digest
from runner.native.parallel import processes_for, spread
from runner.spec.problems import DataError
from runner.spec.vlm_sources import FromSignalsSource

RawRecording: TypeAlias = RawPtbxl | RawCinc | RawSynthetic


@dataclass(frozen=True)
class Seen:
    """What a process tells of one recording: no signal."""

    codes: tuple[str, ...]
    patient: str | None
    attributes: Mapping[str, str]
    intervals: Intervals
    digest: str


@dataclass(frozen=True)
class Lost:
    """Why a recording is left out."""

    reason: str
    detail: str
    faulty: bool
    """Whether something is wrong with it; else it is left out by choice."""


@dataclass(frozen=True)
class Recordings:
    """Some recordings of a set."""

    source: EcgSource
    raws: tuple[RawRecording, ...]
    files: tuple[Path, ...] = field(repr=False)
    """What they are read from, tables included."""
    root: Path | None

    def name_of(self, raw: RawRecording) -> str:
        """Return the name of a recording over all sources: of PTB-XL as ECGInstruct's images name it."""
        return f"{self.source.name}/{raw.id}"


def open_ptbxl(root: Path, fs_hz: Any) -> Ptbxl:
    """Return PTB-XL with every recording, whatever its labels."""
    return Ptbxl(root, task="all", fs_hz=fs_hz, unlabelled="keep")


def open_recordings(asked: Asked) -> Recordings:
    """Return the recordings that a source asks for.

    Raises:
        DataError: the folder, a table or a database is not there, or nothing is in it.
    """
    options = asked.options
    assert isinstance(options, FromSignalsSource)
    if options.format == "synthetic":
        if options.records is None:
            raise DataError(f"{asked.key}.records: none is given; say how many recordings are made")
        source: EcgSource = SyntheticEcg(options.records, options.seed, float(options.fs_hz))
        return Recordings(source, tuple(source.raws()), (), None)
    root = asked.place("folder", options.folder)
    if options.format == "ptbxl":
        source = open_ptbxl(root, options.fs_hz)
        tables: tuple[Path, ...] = (root / DATABASE, root / STATEMENTS)
    else:
        names = options.databases or _databases_in(root, asked)
        source = Cinc2021(root, names, unknown_codes="ignore", unlabelled="keep")
        tables = ()
    raws: Sequence[RawRecording] = source.raws()
    if options.records is not None and options.records < len(raws):
        raws = [raws[at] for at in np.linspace(0, len(raws) - 1, options.records).round().astype(int)]
    files = (*tables, *(file for raw in raws for file in raw.files))
    return Recordings(source, tuple(raws), files, root)


def _databases_in(root: Path, asked: Asked) -> tuple[str, ...]:
    """Return the databases that have a folder."""
    there = tuple(
        name
        for name in cinc2021.COLUMNS
        if any(
            (root / part / folder).is_dir()
            for part in ("training", ".")
            for folder in (name, *(tar for tar, of in cinc2021.TARBALLS.items() if of == name))
        )
    )
    if not there:
        raise DataError(
            f"{asked.key}.folder: {root} has no folder of the challenge; looked for {', '.join(cinc2021.COLUMNS)}"
        )
    return there


def look_at(
    recordings: Recordings, asked: Asked, measured: bool, progress: Progress
) -> Iterator[tuple[RawRecording, Known | Lost]]:
    """Yield every recording with what is known of it, in the set's order.

    Args:
        recordings: what is read.
        asked: the source; more unusable recordings than `faults_at_most` are an error at the end.
        measured: whether intervals are wanted.
        progress: of recordings.

    Raises:
        DataError: too many are unusable; names them.
    """
    options, setup = asked.options, asked.images
    assert isinstance(options, FromSignalsSource)
    assert setup is not None
    raws = recordings.raws
    work = partial(_seen, recordings, setup.render.seconds if measured else None)
    found: dict[int, Seen | Lost] = {}
    for number, one in spread(work, range(len(raws)), processes_for(setup.workers, len(raws))):
        found[number] = one
        progress(len(found), len(raws), "recordings")
    faulty = Faults()
    for number, one in sorted(found.items()):
        if isinstance(one, Lost) and one.faulty:
            faulty.add(recordings.name_of(raws[number]), f"{one.reason}: {one.detail}")
    if faulty.count > options.faults_at_most * len(raws):
        raise DataError(
            f"{faulty.count} of {len(raws)} recordings are unusable; {asked.key}.faults_at_most is "
            f"{options.faults_at_most:g}\n{faulty}\n  mend them, or raise faults_at_most to leave them out"
        )
    for number, raw in enumerate(raws):
        one = found[number]
        yield raw, one if isinstance(one, Lost) else _known(recordings, raw, one)


def _seen(recordings: Recordings, seconds: float | None, number: int) -> Seen | Lost:
    try:
        record = recordings.source.read(recordings.raws[number])
    except Faulty as fault:
        return Lost(fault.reason, fault.detail, faulty=True)
    except Dropped as drop:
        return Lost(drop.reason, "", faulty=False)
    intervals = Intervals()
    if seconds is not None:  # of what the page shows, and of nothing else
        intervals = measure(record.signal_mv[:, : round(seconds * record.fs_hz)], record.fs_hz)
    return Seen(record.codes, record.patient, _attributes(record), intervals, signal_digest(record))


def _attributes(record: EcgRecord) -> dict[str, str]:
    age, sex = record.attributes.get("age"), record.attributes.get("sex")
    band = age_band(age if isinstance(age, float) else None)
    return {"sex": str(sex) if sex else "unknown", "age_band": band}


# ---------------------------------------------------------------------------------------------- what is known


def _known(recordings: Recordings, raw: RawRecording, seen: Seen) -> Known:
    name = recordings.name_of(raw)
    signal = f"signal/{seen.digest}"
    if isinstance(raw, RawPtbxl):
        assert isinstance(recordings.source, Ptbxl)
        told = about(raw, recordings.source)
        return Known(
            name,
            name,
            told.group,
            _statements(told),
            labels_of_scp(told.codes),
            seen.intervals,
            told.split,
            told.attributes,
            (signal,),
        )
    group = f"{recordings.source.name}-patient/{seen.patient}" if seen.patient else signal
    part = raw.database if isinstance(raw, RawCinc) else "."
    if isinstance(raw, RawSynthetic):
        findings, labels = invented(seen.codes)
    else:
        findings, labels = _diagnoses(seen.codes), labels_of_snomed(seen.codes)
    return Known(
        name,
        name,
        group,
        findings,
        labels,
        seen.intervals,
        None,
        seen.attributes,
        (signal,),
        part,
    )


def _statements(told: About) -> tuple[Finding, ...]:
    """Return PTB-XL's statements in words, in the order of its table; below 50 % a diagnosis is possible."""
    return tuple(
        Finding(statements()[code].words, statements()[code].rhythm, 0 < percent < LIKELY)
        for code, percent in told.codes.items()
    )


SCP_OF_INVENTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "NSR": ("SR",),
        "SB": ("SBRAD",),
        "STach": ("STACH",),
        "AF": ("AFIB",),
        "TInv": ("NDT", "INVT"),
        "PVC": ("PVC",),
        "LAD": (),  # an axis, of which SCP-ECG has no statement here
    }
)
"""Label of `converters.records.ecg.synthetic` -> PTB-XL's statements for what was drawn."""


def invented(labels: Sequence[str]) -> tuple[tuple[Finding, ...], dict[str, list[str]]]:
    """Return the findings of an invented recording, and its labels of all sets, as PTB-XL would have them.

    A sinus rhythm of any rate and nothing else is a normal ECG.

    >>> invented(["SB"])[1]["superclasses"], invented(["AF", "TInv"])[1]["superclasses"]
    (['NORM'], ['STTC'])
    """
    codes = [code for label in labels for code in SCP_OF_INVENTED[label]]
    if set(labels) <= {"NSR", "SB", "STach"}:
        codes.append("NORM")
    findings = [Finding(one.words, one.rhythm) for code, one in statements().items() if code in codes]
    if "LAD" in labels:
        findings.append(Finding("left axis deviation"))
    return tuple(findings), labels_of_scp(codes)


def _diagnoses(codes: Sequence[str]) -> tuple[Finding, ...]:
    """Return SNOMED CT codes in words; those that no table knows are passed over."""
    words = snomed_words()
    return tuple(Finding(RHYTHMS.get(code, words[code]), code in RHYTHMS) for code in codes if code in words)
