"""Invented 12-lead recordings whose labels can be seen in the signal: for trying things out, not for medicine.

Every wave of a beat is a bell curve in time whose size points somewhere in the plane of the limb leads and of the
chest leads, so that the leads hang together as on a body: III = II - I, and aVR, aVL, aVF follow. A label changes
rhythm or shape by a rule of this module; age, sex and patient are drawn at random.

neurokit2's `ecg_simulate(method="multileads")` solves a differential equation for each lead, 1.3 s for 5 s of signal
on a laptop core: a quarter of an hour for a quickstart's set. This takes a millisecond; the tests ask neurokit2's
beat detector whether it finds the heart rates that were asked for.

Source: the bell-curve model of a beat, McSharry et al., IEEE Trans. Biomed. Eng. 50(3):289-294, 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from converters.records.ecg.record import LEADS, EcgClass, EcgRecord, labels_of
from runner.spec.problems import DataError

FloatArray: TypeAlias = NDArray[np.floating[Any]]

SHARES: Mapping[str, float] = MappingProxyType(
    {"NSR": 0.35, "SB": 0.15, "STach": 0.15, "AF": 0.15, "LAD": 0.2, "TInv": 0.2, "PVC": 0.15}
)
"""How often each label is drawn: one of the first four (the rest of 1 goes to NSR), each of the others alone."""
RHYTHMS = ("NSR", "SB", "STach", "AF")
BEATS_PER_MINUTE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"NSR": (62.0, 95.0), "SB": (40.0, 57.0), "STach": (104.0, 140.0), "AF": (70.0, 120.0)}
)
PATIENTS_SHARE = 0.8
"""Patients for each recording: some have several."""


@dataclass(frozen=True)
class Wave:
    """One wave of a beat."""

    at_s: float
    """Centre, after the R wave."""
    width_s: float
    """Standard deviation of the bell curve."""
    size_mv: float
    frontal_degrees: float
    """Where it points in the plane of the limb leads: 0 is lead I, 90 is aVF."""
    chest_degrees: float
    """Where it points in the plane of the chest: 0 is V6's side, 90 is V2."""


BEAT: Mapping[str, Wave] = MappingProxyType(
    {
        "P": Wave(-0.16, 0.022, 0.14, 55, 60),
        "Q": Wave(-0.028, 0.009, -0.12, 50, 20),
        "R": Wave(0.0, 0.012, 1.15, 55, 15),
        "S": Wave(0.03, 0.011, -0.35, 70, -70),
        "T": Wave(0.27, 0.055, 0.32, 45, 45),
    }
)
ECTOPIC = (Wave(0.0, 0.045, 1.7, -70, 100), Wave(0.3, 0.07, -0.55, -70, 100))
"""A ventricular beat: broad, upside down, no P wave."""
LIMB_DEGREES: Mapping[str, float] = MappingProxyType({"I": 0.0, "II": 60.0})
CHEST_DEGREES: Mapping[str, float] = MappingProxyType(
    {"V1": 115.0, "V2": 94.0, "V3": 75.0, "V4": 58.0, "V5": 35.0, "V6": 10.0}
)


@dataclass(frozen=True)
class RawSynthetic:
    """One recording to be: everything in it follows from `seed` and `number`."""

    id: str
    number: int
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class SyntheticEcg:
    """So many invented recordings."""

    records: int
    seed: int = 0
    fs_hz: float = 100.0
    seconds: float = 10.0
    noise_mv: float = 0.03

    def __post_init__(self) -> None:
        if self.records < 1 or not self.fs_hz >= 50 or not 2 <= self.seconds <= 600 or self.noise_mv < 0:
            raise DataError(
                "synthetic ECG: expected records >= 1, fs_hz >= 50, seconds from 2 to 600, noise_mv >= 0; got "
                f"{self.records}, {self.fs_hz:g}, {self.seconds:g}, {self.noise_mv:g}"
            )

    @property
    def name(self) -> str:
        """For the manifest."""
        return "synthetic_ecg"

    @property
    def leads(self) -> tuple[str, ...]:
        """The usual twelve."""
        return LEADS

    @property
    def classes(self) -> tuple[EcgClass, ...]:
        """Rhythms, then shapes."""
        return tuple(EcgClass(name, (name,)) for name in SHARES)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, as JSON."""
        return asdict(self)

    def raws(self) -> tuple[RawSynthetic, ...]:
        """Return what there will be."""
        digits = len(str(self.records - 1))
        return tuple(RawSynthetic(f"syn{number:0{digits}d}", number) for number in range(self.records))

    def read(self, raw: RawSynthetic) -> EcgRecord:
        """Return one recording: a function of the seed and its number, not of the others."""
        rng = np.random.default_rng([self.seed, raw.number])
        labels = labels_of(drawn_labels(rng), self.classes)
        signal = twelve_leads(labels, self.fs_hz, self.seconds, self.noise_mv, rng)
        patient = int(rng.integers(max(1, round(PATIENTS_SHARE * self.records))))
        attributes = {
            "age": float(rng.integers(18, 90)),
            "sex": "female" if rng.random() < 0.5 else "male",
            "site": f"site{rng.integers(3)}",
        }
        return EcgRecord(raw.id, signal, self.fs_hz, LEADS, labels, labels, f"p{patient}", attributes)


def drawn_labels(rng: np.random.Generator) -> tuple[str, ...]:
    """Return one rhythm and any of the shapes."""
    edges = np.cumsum([SHARES[name] for name in RHYTHMS[1:]])
    place = int(np.searchsorted(edges, rng.random(), side="right"))
    rhythm = (*RHYTHMS[1:], RHYTHMS[0])[place]
    return (rhythm, *(name for name in SHARES if name not in RHYTHMS and rng.random() < SHARES[name]))


def twelve_leads(
    labels: tuple[str, ...], fs_hz: float, seconds: float, noise_mv: float, rng: np.random.Generator
) -> FloatArray:
    """Return the signal of one recording.

    Args:
        labels: rhythm and shapes.
        fs_hz: sampling rate.
        seconds: length.
        noise_mv: standard deviation of white noise; the baseline wanders by as much again, slowly.
        rng: what is drawn from.

    Returns:
        Shape (lead, time), float32, mV, in the order of `LEADS`.
    """
    time = np.arange(round(fs_hz * seconds)) / fs_hz
    turn = -85.0 if "LAD" in labels else 0.0  # left axis deviation: the limb leads' R points up and left
    turn += rng.normal(0, 8)
    scale = rng.uniform(0.8, 1.25)
    waves = [scale * part for part in _heart(labels, time, turn, rng)]
    limb, chest = waves
    by_name = dict(zip(LIMB_DEGREES, limb, strict=True)) | dict(zip(CHEST_DEGREES, chest, strict=True))
    one, two = by_name["I"], by_name["II"]
    by_name |= {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    signal = np.stack([by_name[name] for name in LEADS])
    sway = rng.uniform(0.15, 0.4, (len(LEADS), 1)) * time + rng.random((len(LEADS), 1))
    signal += noise_mv * (np.sin(2 * np.pi * sway) + rng.normal(size=signal.shape))
    return signal.astype(np.float32)


def _heart(
    labels: tuple[str, ...], time: FloatArray, turn: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return leads I and II, and V1 to V6, without noise: shapes (2, time) and (6, time)."""
    limb, chest = np.zeros((len(LIMB_DEGREES), len(time))), np.zeros((len(CHEST_DEGREES), len(time)))
    beats, ectopic = _beats(labels, float(time[-1]), rng)
    fibrillation = "AF" in labels
    for beat, early in zip(beats, ectopic, strict=True):
        waves = (
            ECTOPIC if early else [wave for name, wave in BEAT.items() if not (fibrillation and name == "P")]
        )
        for wave in waves:
            flipped = "TInv" in labels and wave is BEAT["T"]
            bell = wave.size_mv * np.exp(-0.5 * ((time - beat - wave.at_s) / wave.width_s) ** 2)
            bell = -bell if flipped else bell
            frontal = wave.frontal_degrees + (0 if early else turn)
            limb += _seen(frontal, LIMB_DEGREES)[:, None] * bell
            chest += _seen(wave.chest_degrees, CHEST_DEGREES)[:, None] * bell
    if fibrillation:  # the baseline trembles at 5 to 7 Hz
        tremble = 0.06 * np.sin(2 * np.pi * (rng.uniform(5, 7) * time + 0.3 * np.sin(2 * np.pi * 0.7 * time)))
        limb += tremble
        chest += tremble
    return limb, chest


def _seen(degrees: float, leads: Mapping[str, float]) -> FloatArray:
    """Return how much of a wave pointing to `degrees` each lead sees, shape (lead,)."""
    seen: FloatArray = np.cos(np.deg2rad(np.array(list(leads.values())) - degrees))
    return seen


def _beats(
    labels: tuple[str, ...], seconds: float, rng: np.random.Generator
) -> tuple[FloatArray, list[bool]]:
    """Return the times of the R waves, also of those just outside, and which of them are ventricular."""
    rhythm = next(name for name in RHYTHMS if name in labels)
    gap = 60.0 / rng.uniform(*BEATS_PER_MINUTE[rhythm])
    spread = 0.22 if rhythm == "AF" else 0.02
    gaps = np.clip(gap * (1 + spread * rng.normal(size=int(seconds / gap * 2) + 4)), 0.3, None)
    beats = np.cumsum(gaps) - rng.uniform(0.5, 1.5) * gap
    beats = beats[beats < seconds + gap]
    ectopic = [False] * len(beats)
    if "PVC" in labels:
        for place in range(2 + int(rng.integers(3)), len(beats) - 1, 4):
            ectopic[place] = True
            beats[place] -= 0.3 * (
                beats[place] - beats[place - 1]
            )  # early; the pause after it makes up for it
    return beats, ectopic
