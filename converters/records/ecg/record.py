"""The canonical ECG record, why one is left out, and what is true of every source: leads, gaps, flat lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from converters.records.record import Dropped

FloatArray: TypeAlias = NDArray[np.floating[Any]]

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The order of every array here."""
Attribute: TypeAlias = str | float | None

# What is wrong with a record: these count against the limit of a conversion.
NO_SIGNAL = "no signal file"
NO_HEADER = "no header beside the signal file"
BAD_HEADER = "header cannot be parsed"
BAD_GAIN = "gain is missing, 0 or no number"
BAD_UNIT = "unit is none of V, mV, uV"
WRONG_LEADS = "leads are not those asked for"
WRONG_SHAPE = "signal has another shape than its description"
TRUNCATED = "signal is shorter than its header says"
UNREADABLE = "signal file cannot be read"
TOO_LARGE = "signal is larger than what is read"
NO_NUMBERS = "signal is not made of numbers"
TOO_HIGH = "amplitude is none of an ECG"
GAPS = "samples are missing"
EMPTY_LEAD = "a lead has no sample at all"
ALL_FLAT = "all leads are flat"
WRONG_RATE = "sampling rate cannot be brought to that of the set"
WRONG_LENGTH = "signal has a length that the steps cannot take"
BAD_CODE = "diagnosis is no code"
UNKNOWN_CODE = "diagnosis is a code that no table knows"
BAD_METADATA = "metadata cannot be read"

MAX_MV = 1000.0
"""Largest value that is taken for one of an ECG.

An electrocardiograph takes waves of up to 5 mV on an offset of up to 300 mV (IEC 60601-2-25), and pulses of a pacemaker
below 1 V; what is above is another unit, or damage.
"""

# What the user's own choice leaves out.
NO_DIAGNOSIS = "no diagnosis is given"
NO_LABEL = "no diagnosis among the classes"
NOT_LISTED = "not in the metadata"
PADDING = "padding row"

# What is remarkable about a record that stays.
FLAT_LEAD = "flat lead"
FILLED = "gap filled in"
EXTRA_LEAD = "lead left out"
OTHER_ORDER = "leads put in order"
CHECKSUM = "checksum of the header differs"
NAME_SUFFIX = "record name with .mat"
AGE_CAPPED = "age above 89 given as 300"


class Faulty(Dropped):
    """A record with something wrong with it: left out, counted by `reason`, explained in `detail`."""

    def __init__(self, reason: str, record_id: str, detail: str) -> None:
        super().__init__(reason, record_id)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.record_id}: {self.reason}: {self.detail}"


@dataclass(frozen=True)
class EcgClass:
    """One label: its short name, and the codes of which any one makes it true."""

    name: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about a record that stays."""

    word: str
    detail: str


@dataclass(frozen=True, eq=False)
class EcgRecord:
    """One recording."""

    id: str
    signal_mv: FloatArray
    """Shape (lead, time), float32, in mV, without NaN."""
    fs_hz: float
    leads: tuple[str, ...]
    """Names, in the order of the signal."""
    labels: tuple[str, ...]
    """Names of the classes that are true, in the order of the source's classes."""
    codes: tuple[str, ...]
    """Every diagnosis as the source writes it, also those that are no class."""
    patient: str | None
    """None where the source does not say whose the recording is."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """`age` in years, `sex` (male, female), `site`, and what else the source gives."""
    findings: tuple[Finding, ...] = ()


class RawEcg(Protocol):
    """One recording before it is read: light, and sendable to another process."""

    @property
    def id(self) -> str:
        """Unique in its source."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read for it."""


class EcgSource(Protocol):
    """A published set: what there is, and how one of it is read."""

    @property
    def name(self) -> str:
        """For the manifest."""

    @property
    def classes(self) -> tuple[EcgClass, ...]:
        """The labels, in the order of the columns."""

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads of every record."""

    def raws(self) -> Sequence[Any]:
        """Return all recordings in a fixed order, also those that cannot be read."""

    def read(self, raw: Any) -> EcgRecord:
        """Return one recording; `Dropped` or `Faulty` where there is none to return."""

    def options(self) -> Mapping[str, Any]:
        """Return what was chosen, as JSON; no places."""


# ------------------------------------------------------------------------------------------------ leads


def lead_order(
    names: Sequence[str], wanted: Sequence[str], record_id: str
) -> tuple[list[int], list[Finding]]:
    """Return where each wanted lead stands among `names`; letter case and white space do not count.

    Raises:
        Faulty: a wanted lead is lacking, or one is there twice; names both lists.

    >>> lead_order(["II", "I", "AVR "], ["I", "aVR"], "r")[0]
    [1, 2]
    """
    chosen, twice, lacking = _places(tuple(names), tuple(wanted))
    if twice:
        raise Faulty(WRONG_LEADS, record_id, f"lead {twice[0]!r} is there twice in {list(names)}")
    if lacking:
        raise Faulty(WRONG_LEADS, record_id, f"lacking: {', '.join(lacking)}; given: {', '.join(names)}")
    findings = []
    if len(chosen) < len(names):
        left = (name.strip() for number, name in enumerate(names) if number not in chosen)
        findings += [Finding(EXTRA_LEAD, name) for name in left]
    if list(chosen) != sorted(chosen):
        findings.append(Finding(OTHER_ORDER, " ".join(name.strip() for name in names)))
    return list(chosen), findings


@lru_cache(maxsize=256)  # all records of a set write their leads in one or two ways
def _places(
    names: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]]:
    """Return where each wanted lead stands, the names that stand twice, and the wanted ones that do not stand."""
    place: dict[str, int] = {}
    twice = tuple(
        name.strip()
        for number, name in enumerate(names)
        if place.setdefault(name.strip().casefold(), number) != number
    )
    lacking = tuple(name for name in wanted if name.casefold() not in place)
    chosen = () if lacking else tuple(place[name.casefold()] for name in wanted)
    return chosen, twice, lacking


# ------------------------------------------------------------------------------------- gaps, flat leads


def sound(
    signal: FloatArray, leads: Sequence[str], record_id: str, fill_at_most: float = 0.0
) -> tuple[FloatArray, list[Finding]]:
    """Return a signal without gaps, and what was found in it.

    Args:
        signal: shape (lead, time); NaN and infinite values are gaps.
        leads: names, one a row of the signal.
        record_id: for the messages.
        fill_at_most: the share of a lead's samples that may be missing and is then filled in along a
            straight line (the nearest sample at the ends). 0: a record with a gap is left out.

    Raises:
        Faulty: no time points, a lead without a sample, more gaps than that, nothing but flat leads, or values that no
            ECG has.
    """
    if signal.shape[-1] == 0:
        raise Faulty(TRUNCATED, record_id, "it has no samples")
    findings: list[Finding] = []
    low, high = signal.min(axis=-1), signal.max(axis=-1)  # NaN where there is one
    if not (np.isfinite(low) & np.isfinite(high)).all():
        signal, findings = _filled(signal, leads, record_id, fill_at_most)
        low, high = signal.min(axis=-1), signal.max(axis=-1)
    size = np.maximum(-low, high)
    if size.max() > MAX_MV:
        place = int(size.argmax())
        raise Faulty(
            TOO_HIGH,
            record_id,
            f"lead {leads[place]} goes to {size[place]:.4g} mV; an ECG stays below {MAX_MV:g} (is its unit right?)",
        )
    flat = [name for name, still in zip(leads, low == high, strict=True) if still]
    if len(flat) == len(leads):
        raise Faulty(ALL_FLAT, record_id, f"each of {len(leads)} leads holds one value only")
    return signal, findings + [Finding(FLAT_LEAD, name) for name in flat]


def as_float32(stored: NDArray[Any], scale: float, record_id: str) -> FloatArray:
    """Return stored numbers times `scale` as float32.

    Raises:
        Faulty: a number has no room in float32: it must not become a gap.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        signal: FloatArray = stored.astype(np.float32) * np.float32(scale)
    lost = np.isinf(signal)
    if lost.any() and (lost & np.isfinite(stored)).any():
        raise Faulty(TOO_HIGH, record_id, "a value has no room in float32 (is its unit right?)")
    return signal


def _filled(
    signal: FloatArray, leads: Sequence[str], record_id: str, fill_at_most: float
) -> tuple[FloatArray, list[Finding]]:
    known = np.isfinite(signal)
    missing = signal.shape[-1] - np.count_nonzero(known, axis=-1)
    empty = [name for name, count in zip(leads, missing, strict=True) if count == signal.shape[-1]]
    if empty:
        raise Faulty(EMPTY_LEAD, record_id, ", ".join(empty))
    shown = [
        f"{name} {count} of {signal.shape[-1]}" for name, count in zip(leads, missing, strict=True) if count
    ]
    if missing.max() > fill_at_most * signal.shape[-1]:
        raise Faulty(GAPS, record_id, "; ".join(shown))
    time = np.arange(signal.shape[-1])
    whole = signal.copy()
    for row, there in zip(whole, known, strict=True):
        row[~there] = np.interp(time[~there], time[there], row[there])
    return whole, [Finding(FILLED, text) for text in shown]


# ------------------------------------------------------------------------------------- labels, attributes


def labels_of(codes: Sequence[str], classes: Sequence[EcgClass]) -> tuple[str, ...]:
    """Return the names of the classes that any of `codes` belongs to, in the order of the classes."""
    given = set(codes)
    return tuple(one.name for one in classes if given & set(one.codes))


def age_of(text: str) -> float | None:
    """Return an age in years, None where the text holds none.

    >>> age_of("85"), age_of("NaN"), age_of("Unknown")
    (85.0, None, None)
    """
    try:
        age = float(text)
    except ValueError:
        return None
    return age if np.isfinite(age) and age >= 0 else None


def sex_of(text: str) -> str | None:
    """Return `male`, `female`, or None.

    >>> sex_of("Male"), sex_of("F"), sex_of("Unknown")
    ('male', 'female', None)
    """
    return {"m": "male", "male": "male", "f": "female", "female": "female"}.get(text.strip().casefold())
