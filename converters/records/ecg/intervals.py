"""Heart rate, PR, QRS and QT of a 12-lead recording, measured in its median beat over all leads at once.

The way of clinical ECG computers: beats are found by the speed with which the leads change together, those of the
usual shape are laid over each other, and onset and end of the waves are looked for in the median beat, where noise
is small and a wave counts wherever any lead shows it. neurokit2's wavelet delineation of single leads gave QRS
durations of 150 to 190 ms on normal recordings of PTB-XL, and is therefore not used. What is not plausible is
not measured: better no number than a wrong one. These are automatic measurements and no reading by a cardiologist.

Source:
    Global intervals from a representative beat: Kligfield et al., Recommendations for the standardization and
    interpretation of the electrocardiogram, Part I, Circulation 115:1306-1324, 2007. End of T by the tangent:
    Lepeschkin, Surawicz, Circulation 6:378-388, 1952.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]

BAND_HZ = (0.5, 40.0)
LEAST_BEATS = 3
REFRACTORY_S = 0.25
"""No two beats are closer."""
BEFORE_S, AFTER_S = 0.52, 0.65
"""What of a beat is laid over the others."""
ALIKE = 0.85
"""Least correlation of a beat with the median one; ectopic beats are below."""
EDGE = 0.07
"""Share of the highest speed below which the QRS complex is over."""
QUIET_S = 0.012
"""How long the speed must stay below."""
P_REACH_S = 0.42
"""How long before the QRS complex a P wave is looked for at most."""
LEAST_P_MV = 0.02
"""Least height of a P wave, over all leads."""
PLAUSIBLE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"heart_rate_bpm": (25, 250), "pr_ms": (90, 400), "qrs_ms": (55, 220), "qt_ms": (220, 680)}
)
"""What is outside is taken for a fault of the measurement."""


@dataclass(frozen=True)
class Intervals:
    """What was measured; None where it could not be."""

    heart_rate_bpm: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return the numbers by name."""
        return asdict(self)


def measure(signal_mv: FloatArray, fs_hz: float) -> Intervals:
    """Return the intervals of one recording.

    Args:
        signal_mv: shape (lead, time), mV; leads with NaN or without any change are passed over.
        fs_hz: sampling rate, at least 100.
    """
    usable = np.isfinite(signal_mv).all(axis=1) & (np.ptp(np.nan_to_num(signal_mv), axis=1) > 0)
    if not usable.any() or signal_mv.shape[1] < 2 * fs_hz:
        return Intervals()
    leads = _filtered(signal_mv[usable].astype(np.float64), fs_hz)
    peaks = beats(leads, fs_hz)
    if len(peaks) < LEAST_BEATS:
        return Intervals()
    rate = _plausible("heart_rate_bpm", 60.0 * fs_hz * (len(peaks) - 1) / float(peaks[-1] - peaks[0]))
    beat = _median_beat(leads, peaks, fs_hz)
    if beat is None:
        return Intervals(rate)
    shortest = float(np.min(np.diff(peaks))) / fs_hz
    return _waves(beat, fs_hz, rate, shortest)


def beats(leads: FloatArray, fs_hz: float) -> NDArray[np.intp]:
    """Return the times of the QRS complexes as samples.

    Args:
        leads: shape (lead, time), filtered.
        fs_hz: sampling rate.
    """
    from scipy.signal import find_peaks

    energy = _smoothed(_speed(leads, fs_hz), 0.09 * fs_hz)
    second = max(1, round(1.5 * fs_hz))  # the highest of each 1.5 s: nearly always a beat
    highest = [energy[at : at + second].max() for at in range(0, len(energy) - second // 2, second)]
    found, _ = find_peaks(
        energy, distance=max(1, round(REFRACTORY_S * fs_hz)), height=0.4 * np.median(highest)
    )
    return np.asarray(found)


def _filtered(leads: FloatArray, fs_hz: float) -> FloatArray:
    from scipy.signal import butter, sosfiltfilt

    sections = butter(2, BAND_HZ, btype="bandpass", fs=fs_hz, output="sos")
    result: FloatArray = sosfiltfilt(sections, leads, axis=1)
    return result


def _speed(leads: FloatArray, fs_hz: float) -> FloatArray:
    """Return how fast the leads change together, in mV/s, shape (time,)."""
    speed: FloatArray = np.sqrt(np.mean(np.square(np.gradient(leads, axis=1) * fs_hz), axis=0))
    return speed


def _smoothed(values: FloatArray, samples: float) -> FloatArray:
    width = max(1, round(samples))
    smooth: FloatArray = np.convolve(values, np.full(width, 1.0 / width), mode="same")
    return smooth


def _median_beat(leads: FloatArray, peaks: NDArray[np.intp], fs_hz: float) -> FloatArray | None:
    """Return the median of the beats of the usual shape, shape (lead, time); None where too few are whole."""
    before, after = round(BEFORE_S * fs_hz), round(AFTER_S * fs_hz)
    whole = [peak for peak in peaks if peak >= before and peak + after <= leads.shape[1]]
    if len(whole) < LEAST_BEATS:
        return None
    stack = np.stack([leads[:, peak - before : peak + after] for peak in whole])
    middle = np.median(stack, axis=0)
    near = slice(before - round(0.1 * fs_hz), before + round(0.1 * fs_hz))
    alike = np.array([_likeness(one[:, near], middle[:, near]) for one in stack])
    usual = stack[alike >= ALIKE]
    if len(usual) < LEAST_BEATS:
        return None
    result: FloatArray = np.median(usual, axis=0)
    return result


def _likeness(one: FloatArray, other: FloatArray) -> float:
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


# ------------------------------------------------------------------------------------------------ waves


def _waves(beat: FloatArray, fs_hz: float, rate: float | None, shortest_s: float) -> Intervals:
    """Return the intervals of the median beat, whose QRS complex is at `BEFORE_S`."""
    speed = _smoothed(_speed(beat, fs_hz), 0.008 * fs_hz)
    centre = round(BEFORE_S * fs_hz)
    around = round(0.06 * fs_hz)
    top = centre - around + int(np.argmax(speed[centre - around : centre + around]))
    onset = _edge(speed, top, -1, fs_hz)
    end = _edge(speed, top, +1, fs_hz)
    if onset is None or end is None:
        return Intervals(rate)
    ms = 1000.0 / fs_hz
    p_onset = _p_onset(beat, onset, fs_hz, shortest_s)
    t_end = _t_end(beat, onset, end, fs_hz, shortest_s)
    return Intervals(
        rate,
        None if p_onset is None else _plausible("pr_ms", (onset - p_onset) * ms),
        _plausible("qrs_ms", (end - onset) * ms),
        None if t_end is None else _plausible("qt_ms", (t_end - onset) * ms),
    )


def _edge(speed: FloatArray, top: int, step: int, fs_hz: float) -> int | None:
    """Return where the QRS complex begins (step -1) or ends (+1): the speed stays small from there on."""
    limit = EDGE * speed[top]
    quiet, needed, at = 0, max(2, round(QUIET_S * fs_hz)), top
    while 0 < at < len(speed) - 1 and abs(at - top) < 0.16 * fs_hz:
        at += step
        quiet = quiet + 1 if speed[at] < limit else 0
        if quiet == needed:
            return at - step * (needed - 1)
    return None


def _p_onset(beat: FloatArray, onset: int, fs_hz: float, shortest_s: float) -> float | None:
    """Return where the P wave begins; None where there is none, as in fibrillation."""
    from scipy.signal import find_peaks

    reach_s = min(P_REACH_S, 0.6 * shortest_s)
    first, last = max(0, onset - round(reach_s * fs_hz)), onset - round(0.01 * fs_hz)
    if last - first < round(0.1 * fs_hz):
        return None
    size = _smoothed(_deviation(beat[:, first:last], beat[:, last]), 0.012 * fs_hz)
    peaks, shape = find_peaks(size, height=LEAST_P_MV, prominence=0.5 * LEAST_P_MV)
    waves = peaks[shape["prominences"] >= 0.4 * shape["peak_heights"]]
    if not len(waves):
        return None
    peak = int(waves[-1])  # the T wave of the beat before comes first
    start = max(0, peak - round(0.14 * fs_hz))
    lowest = start + int(np.argmin(size[start:peak]))
    rise = np.gradient(size)[lowest : peak + 1]
    steepest, slope = lowest + int(np.argmax(rise)), float(rise.max())
    if slope <= 0 or lowest <= 0.01 * fs_hz:  # it goes on before what is looked at: no wave of its own
        return None
    return first + max(float(lowest), steepest - (float(size[steepest]) - float(size[lowest])) / slope)


def _t_end(beat: FloatArray, onset: int, end: int, fs_hz: float, shortest_s: float) -> float | None:
    """Return where the tangent to the steepest fall of the T wave meets the base line."""
    first = end + round(0.06 * fs_hz)
    last = min(beat.shape[1], onset + round(max(0.3, 0.9 * shortest_s - 0.1) * fs_hz))
    if last - first < round(0.1 * fs_hz):
        return None
    size = _smoothed(_deviation(beat[:, first:last], beat[:, onset]), 0.03 * fs_hz)
    peak = int(np.argmax(size))
    if peak >= len(size) - round(0.04 * fs_hz) or size[peak] < LEAST_P_MV:
        return None
    fall = np.gradient(size)[peak : peak + round(0.2 * fs_hz)]
    steepest, slope = peak + int(np.argmin(fall)), float(fall.min())
    floor = float(size[peak : peak + round(0.3 * fs_hz)].min())
    return first + steepest + (float(size[steepest]) - floor) / -slope if slope < 0 else None


def _deviation(part: FloatArray, level: FloatArray) -> FloatArray:
    """Return how far the leads are from a level together, in mV, shape (time,)."""
    deviation: FloatArray = np.sqrt(np.mean(np.square(part - level[:, None]), axis=0))
    return deviation


def _plausible(name: str, value: float) -> float | None:
    low, high = PLAUSIBLE[name]
    return round(value, 1) if low <= value <= high else None
