"""WFDB records: `.hea` beside `.mat` or `.dat` -> a signal in mV, leads in order, gain and baseline exact.

The header is parsed here, by the rules of header(5), because a quirk of one record must be named and not
end the reading of 40,000. Samples of format 16, in which all sets of the CinC challenges and PTB-XL are
published, are decoded in one step; every other format is read by the wfdb library.

Source: WFDB Applications Guide, header(5) and signal(5). A MATLAB file of the challenges is format 16 after
24 bytes, which its header says (`16+24`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from converters.records.ecg.files import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_VALUES,
    UnfitError,
    content_of,
    first_line,
    is_regular,
)
from converters.records.ecg.record import (
    BAD_GAIN,
    BAD_HEADER,
    BAD_UNIT,
    CHECKSUM,
    LEADS,
    NAME_SUFFIX,
    NO_HEADER,
    NO_SIGNAL,
    TOO_LARGE,
    TRUNCATED,
    Faulty,
    Finding,
    FloatArray,
    lead_order,
    sound,
)

MV_PER_UNIT: Mapping[str, float] = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3}
"""By the unit in lower case: the sets write mV and mv."""
INVALID_16 = -32768
"""What format 16 writes for "no sample" (signal(5))."""
NO_SAMPLE: Mapping[str, int] = {
    "80": -(2**7), "508": -(2**7), "310": -(2**9), "311": -(2**9), "212": -(2**11), "16": INVALID_16, "61": INVALID_16,
    "160": INVALID_16, "516": INVALID_16, "24": -(2**23), "524": -(2**23), "32": -(2**31),
}  # fmt: skip
"""What the other formats write for it (signal(5)); format 8, of differences, has no such number."""
MAX_LEADS, MAX_FRAME = 64, 1000
GAINS = (1e-6, 1e12)
"""Least and largest that is taken for a gain: outside, millivolts are no numbers any more."""
MAX_ADU = 2**31
"""Of a baseline, a checksum, a skew: the formats have no more than 32 bits."""
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)(?:\(([-+]?\d+)\))?(?:/(.+))?", re.IGNORECASE)
_COMMENT = re.compile(r"#\s*([A-Za-z]+)\s*:\s*(.*)")


class LeadLine(NamedTuple):  # made twelve times a record: half the cost of a frozen dataclass
    """One line of a header that describes a lead."""

    file: str
    format: str
    per_frame: int
    """Samples of this lead for each time point of the record."""
    skew: int
    """Frames by which it lies later in the file."""
    byte_offset: int
    gain: float
    """ADC units per unit."""
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """One header: its record, its leads in file order, and its comments such as Age, Sex, Dx."""

    id: str
    fs_hz: float
    n_samples: int | None
    """Time points of each lead; None where the header leaves it to the file."""
    leads: tuple[LeadLine, ...]
    comments: Mapping[str, str]
    """By the word before the colon, in lower case."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """A signal and the header that it was read by."""

    header: Header
    signal_mv: FloatArray
    """Shape (lead, time), float32, mV, leads as asked for."""
    findings: tuple[Finding, ...]


# ----------------------------------------------------------------------------------------------- header


def parse_header(text: str, record_id: str) -> Header:
    """Return the header of one record.

    A record line that calls the record `NAME.mat`, as some of the Georgia set do, is read as `NAME`
    and noted. Baseline is the number in brackets after the gain, else the ADC's zero (fifth field).

    Raises:
        Faulty: it cannot be parsed, has another record's name, or a gain or unit that gives no mV.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = [match for line in lines if (match := _COMMENT.fullmatch(line))]
    described = [line for line in lines if not line.startswith("#")]
    if not described:
        raise Faulty(BAD_HEADER, record_id, "it is empty")
    name, n_leads, fs_hz, n_samples = _record_line(described[0], record_id)
    findings: tuple[Finding, ...] = ()
    if name.lower().endswith(".mat"):
        name, findings = name[:-4], (Finding(NAME_SUFFIX, name),)
    if name != record_id:
        raise Faulty(BAD_HEADER, record_id, f"it is that of the record {name!r:.60}")
    if len(described) - 1 != n_leads:
        raise Faulty(BAD_HEADER, record_id, f"{n_leads} leads announced, {len(described) - 1} described")
    leads = tuple(_lead_line(line, record_id) for line in described[1:])
    return Header(
        record_id,
        fs_hz,
        n_samples or None,
        leads,
        {match[1].lower(): match[2].strip() for match in comments},
        findings,
    )


def _record_line(line: str, record_id: str) -> tuple[str, int, float, int]:
    """Return name, leads, Hz and samples (0: not said); times and dates, which some write wrongly, are not read."""
    parts = line.split()
    try:
        name, n_leads = parts[0], int(parts[1])
        fs_hz = float(re.split(r"[/(]", parts[2])[0]) if len(parts) > 2 else 250.0  # header(5)'s default
        n_samples = int(parts[3]) if len(parts) > 3 else 0
    except (ValueError, IndexError):
        raise Faulty(BAD_HEADER, record_id, f"record line {line!r:.80}") from None
    folder, _, last = name.rpartition("/")
    if folder and last.isdigit():
        raise Faulty(BAD_HEADER, record_id, f"{name!r:.60}: records of several segments are not read")
    if folder:
        wanted = f"write {last!r:.60} in its place"
        raise Faulty(
            BAD_HEADER, record_id, f"{name!r:.60}: a record's name with a folder is not read; {wanted}"
        )
    if not (0 < n_leads <= MAX_LEADS and 0 < fs_hz < 1e6 and 0 <= n_samples * n_leads <= MAX_VALUES):
        # As text: a number of 400 digits is no float.
        told = f"{parts[1]:.20} leads, {fs_hz:g} Hz, {' '.join(parts[3:4]):.20} samples"
        raise Faulty(BAD_HEADER, record_id, f"{told}: out of range")
    return name, n_leads, fs_hz, n_samples


def _lead_line(line: str, record_id: str) -> LeadLine:
    parts = line.split(maxsplit=8)
    try:
        file, form, name = parts[0], _format(parts[1]), parts[8].strip()
        zero, checksum = int(parts[4]), int(parts[6])
        if max(abs(zero), abs(checksum)) > MAX_ADU:
            raise ValueError(line)
    except (ValueError, IndexError):
        raise Faulty(BAD_HEADER, record_id, f"lead line {line!r:.80}") from None
    if "/" in file or "\\" in file or file in (".", ".."):
        raise Faulty(BAD_HEADER, record_id, f"{name}: the file {file!r:.60} is not beside the header")
    try:
        gain, baseline, unit = _gain(parts[2])
    except ValueError:
        expected = "expected ADC units per mV as '1000/mV'"
        raise Faulty(BAD_GAIN, record_id, f"{name}: {parts[2]!r:.60}; {expected}") from None
    if unit.casefold() not in MV_PER_UNIT:
        raise Faulty(BAD_UNIT, record_id, f"{name}: {unit!r:.60}")
    return LeadLine(file, *form, gain, zero if baseline is None else baseline, unit, checksum, name)


@lru_cache(maxsize=1024)  # the 12 leads of 40,000 records write the same few texts
def _format(text: str) -> tuple[str, int, int, int]:
    """Return format, samples a frame, skew and byte offset; ValueError for no format."""
    found = _FORMAT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    per_frame, skew, offset = int(found[2] or 1), int(found[3] or 0), int(found[4] or 0)
    if not (0 < per_frame <= MAX_FRAME and skew <= MAX_ADU and offset <= MAX_FILE_BYTES):
        raise ValueError(text)
    return found[1], per_frame, skew, offset


@lru_cache(maxsize=1024)
def _gain(text: str) -> tuple[float, int | None, str]:
    """Return ADC units per unit, baseline (None: not given) and unit; ValueError where there is no gain but 0."""
    found = _GAIN.fullmatch(text)
    gain = float(found[1]) if found else 0.0
    if found is None or not GAINS[0] <= abs(gain) <= GAINS[1]:
        raise ValueError(text)
    baseline = int(found[2]) if found[2] else None
    if abs(baseline or 0) > MAX_ADU:
        raise ValueError(text)
    return gain, baseline, found[3] or "mV"  # header(5): millivolts where no unit is given


# ----------------------------------------------------------------------------------------------- signal


def to_millivolts(adu: FloatArray, gain: float, baseline: int, unit: str = "mV") -> FloatArray:
    """Convert stored ECG integers of one lead to millivolts.

    Args:
        adu: samples as stored, in ADC units, float64; NaN where there is none.
        gain: ADC units per `unit`.
        baseline: the ADC value that stands for 0.
        unit: one of `MV_PER_UNIT`, in any case.

    Returns:
        The shape of `adu`, float32, in mV: (adu - baseline) / gain, in float64 until the end.

    Source:
        WFDB header(5), "ADC gain" and "baseline".
    """
    millivolts: FloatArray = ((adu - baseline) / (gain / MV_PER_UNIT[unit.casefold()])).astype(np.float32)
    return millivolts


def decoded(content: bytes, header: Header) -> tuple[NDArray[np.int16], list[Finding]]:
    """Return the samples of format 16 as stored, shape (lead, time), int16.

    Raises:
        Faulty: fewer bytes than the header says.
    """
    n_leads, start = len(header.leads), header.leads[0].byte_offset
    n_samples = header.n_samples or max(0, len(content) - start) // (2 * n_leads)
    there = max(0, len(content) - start) // (2 * n_leads)
    if there < n_samples or not there:
        raise Faulty(TRUNCATED, header.id, f"{there} of {n_samples} samples a lead in {header.leads[0].file}")
    stored = np.frombuffer(content, "<i2", n_samples * n_leads, start).reshape(n_samples, n_leads)
    adu = np.ascontiguousarray(stored.T)
    # Wide sums: int16 wraps around silently. The header's checksum is the sum modulo 2**16.
    sums = adu.sum(axis=1, dtype=np.int64)
    wrong = [
        lead.name
        for lead, total in zip(header.leads, sums, strict=True)
        if lead.checksum is not None and (int(total) - lead.checksum) % 65536
    ]
    return adu, [Finding(CHECKSUM, name) for name in wrong]


def in_millivolts(content: bytes, header: Header) -> tuple[FloatArray, list[Finding]]:
    """Return the signal of format 16 in file order, shape (lead, time), float32, mV, and its findings."""
    adu, findings = decoded(content, header)
    signal = np.empty(adu.shape, dtype=np.float32)
    for row, stored, lead in zip(signal, adu, header.leads, strict=True):
        values = _all_values(lead.gain, lead.baseline, lead.unit)
        values.take(stored.view(np.uint16), out=row, mode="clip")  # every place is in it: no check
    return signal, findings


@lru_cache(maxsize=64)
def _all_values(gain: float, baseline: int, unit: str) -> FloatArray:
    """Return what each of the 65,536 values of 16 bits stands for in mV, by the same 16 bits without a sign."""
    adu = np.arange(65536, dtype=np.uint16).view(np.int16).astype(float)
    adu[adu == INVALID_16] = np.nan
    return to_millivolts(adu, gain, baseline, unit)


def _read_by_wfdb(path: Path, header: Header) -> tuple[FloatArray, list[Finding]]:
    """Return the signal of any other format in file order, shape (lead, time), float32, mV, and its findings."""
    import wfdb  # half a second; most sets never need it

    for name in {lead.file for lead in header.leads}:
        _content(path, name, header, 0)  # that it is there, and a file
        room = MAX_FILE_BYTES if header.n_samples else MAX_VALUES  # no format has less than a byte a sample
        if (size := path.with_name(name).stat().st_size) > room:
            raise Faulty(TOO_LARGE, header.id, f"{name} has {size:,} bytes; at most {room:,} are read")
    frames = header.n_samples or 0
    if sum(lead.per_frame * (frames + lead.skew) for lead in header.leads) > MAX_VALUES:
        raise Faulty(TOO_LARGE, header.id, f"more than {MAX_VALUES:,} samples are announced")
    if not frames and any(lead.format.startswith("5") for lead in header.leads):
        raise Faulty(BAD_HEADER, header.id, "the number of samples is lacking, which a compressed file needs")
    try:
        read = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
        units = [np.asarray(row, dtype=np.float64) for row in read.e_p_signal]
        frames_of = [row.reshape(-1, lead.per_frame) for row, lead in zip(units, header.leads, strict=True)]
        signal = np.stack([row.mean(axis=1) for row in frames_of])
    except Exception as error:  # wfdb has no exceptions of its own: a damaged file ends in any of Python's
        raise Faulty(TRUNCATED, header.id, f"wfdb cannot read it: {first_line(error)}") from error
    wrong = [
        lead.name
        for row, lead in zip(units, header.leads, strict=True)
        if lead.checksum is not None and not lead.skew and (_sum(row, lead) - lead.checksum) % 65536
    ]
    scale = np.array([MV_PER_UNIT[lead.unit.casefold()] for lead in header.leads])[:, None]
    return (signal * scale).astype(np.float32), [Finding(CHECKSUM, name) for name in wrong]


def _sum(units: FloatArray, lead: LeadLine) -> int:
    """Return the sum of the stored integers, which the header's checksum is of, from what they stand for."""
    stored = np.rint(units * lead.gain + lead.baseline)  # exact: integers of 32 bits in float64
    return int(np.where(np.isnan(stored), NO_SAMPLE.get(lead.format, 0), stored).astype(np.int64).sum())


def _content(path: Path, name: str, header: Header, n_bytes: int | None) -> bytes:
    """Return the first `n_bytes` of the signal file `name` beside the header `path`, None for all of it."""
    try:
        return content_of(path.with_name(name), n_bytes)
    except (UnfitError, ValueError) as error:
        reason = error.reason if isinstance(error, UnfitError) else BAD_HEADER  # a name that no file can have
        other = next((end for end in (".mat", ".dat") if is_regular(path.with_suffix(end))), None)
        there = f"; beside it lies {path.stem}{other}" if reason == NO_SIGNAL and other else ""
        raise Faulty(reason, header.id, f"{name}: {error}{there}") from error


# ------------------------------------------------------------------------------------------------- read


def read_header(path: Path) -> Header:
    """Return the header in the file `path`; `Faulty` where there is none or it cannot be parsed."""
    try:
        text = content_of(path, at_most=MAX_HEADER_BYTES).decode(errors="replace")
    except UnfitError as error:
        if error.reason == NO_SIGNAL:
            raise Faulty(NO_HEADER, path.stem, path.name) from None
        raise Faulty(BAD_HEADER, path.stem, f"{path.name}: {error}") from error
    return parse_header(text, path.stem)


def read_recording(path: Path, wanted: Sequence[str] = LEADS, fill_at_most: float = 0.0) -> Recording:
    """Return the recording whose header is the file `path`.

    Args:
        path: the `.hea` file.
        wanted: leads and their order; others in the file are left out and noted.
        fill_at_most: see `record.sound`.

    Raises:
        Faulty: anything that makes the signal unusable, by name.
    """
    header = read_header(path)
    order, findings = lead_order([lead.name for lead in header.leads], wanted, header.id)
    first = header.leads[0]
    kind = (first.file, "16", 1, 0, first.byte_offset)
    if all(lead[: len(kind)] == kind for lead in header.leads):
        samples = header.n_samples
        n_bytes = None if samples is None else first.byte_offset + 2 * len(header.leads) * samples
        content = _content(path, first.file, header, n_bytes)
        if len(content) > first.byte_offset + 2 * MAX_VALUES:
            raise Faulty(TOO_LARGE, header.id, f"{first.file}: more than {MAX_VALUES:,} samples")
        signal, noted = in_millivolts(content, header)
    else:
        signal, noted = _read_by_wfdb(path, header)
    if order != list(range(len(signal))):
        signal = signal[order]
    signal, found = sound(signal, tuple(wanted), header.id, fill_at_most)
    return Recording(header, signal, (*header.findings, *findings, *noted, *found))
