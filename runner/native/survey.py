"""What a recording is and whether it stays, and what all of them together say of a set."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.records.ecg.record import (
    BAD_METADATA,
    GAPS,
    WRONG_LENGTH,
    WRONG_RATE,
    Attribute,
    EcgRecord,
    EcgSource,
    Faulty,
    Finding,
)
from converters.records.record import Dropped, Ledger
from runner.native.signals import FloatArray, SignalError, Step, traced
from runner.spec.problems import DataError

FAULTS_AT_MOST = 0.01
"""Share of a set's recordings that may be faulty before this is an error and not a footnote."""
MAX_NAMED = 5
"""Recordings that are named for each reason."""
MOST_OFFERED = 0.5
"""Above it, raising the limit is no remedy: what is wrong is wrong with the set."""
MAX_TEXT = 200
"""Longest id, patient or other word of a recording: a store has room for the longest in every row."""


@dataclass(frozen=True)
class Kept:
    """What is known of one recording that goes into the store."""

    raw: int
    """Its number among the source's recordings."""
    id: str
    samples: int
    """Before any step."""
    fs_hz: float
    """Before any step."""
    crc32: int
    """Of the signal in mV: tells a changed file, and finds two copies of one recording."""
    labels: tuple[str, ...]
    patient: str | None
    attributes: Mapping[str, Attribute]
    findings: tuple[Finding, ...]
    codes: tuple[str, ...]
    """Every diagnosis as the source writes it, also those that are no class."""


@dataclass(frozen=True)
class LeftOut:
    """One recording that does not go into the store; `detail` is empty where the user's choice left it out."""

    raw: int
    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Survey:
    """A source, looked through."""

    read: int
    kept: tuple[Kept, ...]
    left_out: tuple[LeftOut, ...]
    samples: int
    """Time points of every recording after the steps."""
    fs_hz: float
    """Sampling rate of every recording after the steps."""

    def ledger(self) -> Ledger:
        """Return what was left out by reason."""
        ledger = Ledger()
        for one in self.left_out:
            ledger.drop(one.reason, one.id)
        return ledger

    def findings(self) -> Ledger:
        """Return what is remarkable about recordings that stayed, each counted once a word."""
        ledger = Ledger()
        for one in self.kept:
            for word in dict.fromkeys(finding.word for finding in one.findings):
                ledger.drop(word, one.id)
        return ledger


def surveyed(
    source: EcgSource,
    raws: Sequence[Any],
    found: Sequence[Kept | LeftOut],
    steps: Sequence[Step],
    fs_hz: float,
    faults_at_most: float = FAULTS_AT_MOST,
) -> Survey:
    """Return what the judgements of recordings say of their set.

    Args:
        source: what was read.
        raws: the recordings.
        found: what `judged` said of each, in their order.
        steps: what is done to each signal; they must end in one length.
        fs_hz: the sampling rate that every recording has after the steps.
        faults_at_most: share of `raws` that may be faulty; what the user's choice leaves out does not count.

    Raises:
        DataError: more are faulty than allowed, nothing is left, or the steps do not lead to one length; the
            message names recordings and reasons.
    """
    kept = tuple(one for one in found if isinstance(one, Kept))
    left_out = tuple(one for one in found if isinstance(one, LeftOut))
    _limited(source, raws, left_out, faults_at_most)
    if not kept:
        raise DataError(f"{source.name}: {len(raws)} recordings read, none kept{_by_reason(left_out)}")
    return Survey(len(raws), kept, left_out, _one_length(kept, steps), fs_hz)


def require_unique(source: EcgSource, raws: Sequence[Any]) -> None:
    """Refuse a set in which an id is there twice.

    Raises:
        DataError: names them.
    """
    twice = [name for name, count in Counter(raw.id for raw in raws).items() if count > 1]
    if twice:
        raise DataError(
            f"{source.name}: {len(twice)} ids are there twice: {', '.join(twice[:MAX_NAMED])}{', ...' if len(twice) > MAX_NAMED else ''}"
        )


def judged(
    source: EcgSource, number: int, raw: Any, steps: Sequence[Step], fs_hz: float
) -> tuple[Kept, FloatArray] | tuple[LeftOut, None]:
    """Read one recording, and return what it is with its signal in mV, shape (lead, time), or why it is left out."""
    try:
        record = source.read(raw)
        _short(record)
        _passes(record, steps, fs_hz)
    except Faulty as fault:
        return LeftOut(number, f"{fault.record_id:.{MAX_TEXT}}", fault.reason, fault.detail), None
    except Dropped as drop:
        return LeftOut(number, f"{drop.record_id:.{MAX_TEXT}}", drop.reason, ""), None
    kept = Kept(
        number,
        record.id,
        record.signal_mv.shape[1],
        record.fs_hz,
        signal_crc(record),
        record.labels,
        record.patient,
        record.attributes,
        record.findings,
        record.codes,
    )
    return kept, record.signal_mv


def signal_crc(record: EcgRecord) -> int:
    """Return a checksum of a signal in mV."""
    wave: Any = np.ascontiguousarray(record.signal_mv)  # Any: NumPy's stubs call no array a buffer
    return zlib.crc32(wave)


def _short(record: EcgRecord) -> None:
    """Refuse a recording whose id, patient or other words are longer than a word is, or cannot be stored."""
    words = {"id": record.id, "patient": record.patient or "", **record.attributes}
    for name, value in words.items():
        if isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value):
            text = f"{name} is {value!r:.40}, {len(value)} characters; at most {MAX_TEXT}, none of them NUL"
            raise Faulty(BAD_METADATA, record.id, text)


def _passes(record: EcgRecord, steps: Sequence[Step], fs_hz: float) -> None:
    try:
        _, after_hz = traced(steps, record.signal_mv.shape[1], record.fs_hz)
    except SignalError as error:
        raise Faulty(WRONG_LENGTH, record.id, str(error)) from None
    if after_hz != fs_hz:
        raise Faulty(
            WRONG_RATE,
            record.id,
            f"{after_hz:g} Hz after the steps; the set has {fs_hz:g} Hz (add a resample step)",
        )


def _limited(
    source: EcgSource, raws: Sequence[Any], left_out: Iterable[LeftOut], faults_at_most: float
) -> None:
    faulty = [one for one in left_out if one.detail]
    if len(faulty) > faults_at_most * len(raws):
        raise DataError(
            f"{source.name}: {len(faulty)} of {len(raws)} recordings are faulty, at most {100 * faults_at_most:g} % may "
            f"be{_named(faulty, raws)}\n  {_remedy(source, faulty, len(raws))}; nothing was written"
        )


def _named(faulty: Sequence[LeftOut], raws: Sequence[Any]) -> str:
    """Return each reason once, with how often it is and some of the recordings it is true of."""
    lines = []
    of_reason: dict[str, list[LeftOut]] = {}
    for one in faulty:
        of_reason.setdefault(one.reason, []).append(one)
    for reason, some in of_reason.items():
        if len(some) == 1:
            lines.append(f"\n  {some[0].id}{_where(raws[some[0].raw])}: {reason}: {some[0].detail}")
            continue
        lines.append(f"\n  {len(some)} recordings: {reason}")
        lines += [f"\n    {one.id}{_where(raws[one.raw])}: {one.detail}" for one in some[:MAX_NAMED]]
        if len(some) > MAX_NAMED:
            lines.append(f"\n    ... and {len(some) - MAX_NAMED} more")
    return "".join(lines)


def _remedy(source: EcgSource, faulty: Sequence[LeftOut], total: int) -> str:
    """Return what can be done; to leave recordings out is none where hardly any would stay."""
    ways = ["mend or remove them"]
    if "fill_at_most" in source.options() and any(one.reason == GAPS for one in faulty):
        ways.append("allow gaps to be filled in with data.fill_at_most")
    enough = _enough(len(faulty), total)
    if enough <= MOST_OFFERED:
        ways.append(
            "leave them out, counted and named in the manifest, by raising data.faults_at_most "
            f"(to {enough:g})"
        )
    return ", or ".join(ways)


def _where(raw: Any) -> str:
    return f" ({raw.files[0]})" if raw.files else ""


def _enough(faulty: int, total: int) -> float:
    """Return the least limit in whole percent that allows so many.

    >>> _enough(1, 49), _enough(2, 100)
    (0.03, 0.02)
    """
    return math.ceil(100 * faulty / total) / 100


def _by_reason(left_out: Iterable[LeftOut]) -> str:
    counts = Counter(one.reason for one in left_out)
    return "".join(f"\n  {count} left out: {reason}" for reason, count in sorted(counts.items()))


def _one_length(kept: Sequence[Kept], steps: Sequence[Step]) -> int:
    lengths = Counter(traced(steps, one.samples, one.fs_hz)[0] for one in kept)
    if len(lengths) > 1:
        shown = ", ".join(f"{samples} ({count} times)" for samples, count in lengths.most_common(5))
        raise DataError(
            f"the recordings have several lengths after the steps: {shown}\n  add a pad_or_crop step"
        )
    return next(iter(lengths))


# ------------------------------------------------------------------------------------- who belongs together


def identical(source: EcgSource, raws: Sequence[Any], kept: Sequence[Kept]) -> list[list[str]]:
    """Return the ids of recordings whose signals are equal, sample for sample, in groups."""
    by_sum: dict[tuple[int, int], list[Kept]] = {}
    for one in kept:
        by_sum.setdefault((one.crc32, one.samples), []).append(one)
    found = []
    for suspects in (some for some in by_sum.values() if len(some) > 1):
        by_bytes: dict[bytes, list[str]] = {}
        for one in suspects:
            try:
                signal = source.read(raws[one.raw]).signal_mv
            except Dropped as error:
                raise DataError(f"{error}: its file changed while the set was read; start again") from error
            by_bytes.setdefault(signal.tobytes(), []).append(one.id)
        found += [ids for ids in by_bytes.values() if len(ids) > 1]
    return found


def groups_of(kept: Sequence[Kept], copies: Iterable[Sequence[str]]) -> list[str]:
    """Return whose each recording is: `patient:NAME`, or `record:ID` where nothing else is known.

    Recordings with equal signals belong together whatever their patients are called: two patients of
    whom one recording is the same are one group.
    """
    own = {one.id: f"patient:{one.patient}" if one.patient else f"record:{one.id}" for one in kept}
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while name in first:
            name = first[name]
        return name

    for ids in copies:
        names = sorted({root(own[one]) for one in ids})
        first.update(dict.fromkeys(names[1:], names[0]))
    return [root(own[one.id]) for one in kept]
