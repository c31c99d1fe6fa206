"""Steps from a recording in mV to what a model takes: filter, standardise, resample, pad or crop, in any order.

Each step is a frozen value and a pure function of an array `(..., lead, time)`; leads and records of one length
are worked on together. What a list of steps makes of a length and a sampling rate is known without a signal
(`traced`), so that a recording that cannot pass is named before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from runner.native.zero_phase import band_pass, zero_phase

FloatArray: TypeAlias = NDArray[np.floating[Any]]
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""What is smaller than this share of a lead's largest value is rounding of it: recordings are float32."""
FILTER_ROUNDING = 4 * ROUNDING
"""The same after a filter; measured on flat leads in bands from 0.05 Hz on, of order 1 to 6: up to 3.4e-7."""
LARGEST = 1e15
"""Above it the squares of float32 have no room; below its inverse a deviation is no signal."""
MAX_RATIO_TERM = 1000
"""Largest numerator or denominator of a change of the sampling rate: 500 -> 257.3 Hz would need a filter of 100,000 taps."""


class SignalError(ValueError):
    """A step that a recording cannot pass, or a step that is no step; the text says why."""


@dataclass(frozen=True)
class Filter:
    """Butterworth band-pass, forward and backward, so that no wave is shifted in time.

    Equal to `scipy.signal.sosfiltfilt` of `scipy.signal.butter(order, [low_hz, high_hz], "bandpass")` to rounding.
    """

    word: ClassVar[str] = "filter"
    low_hz: float = 1.0
    high_hz: float = 47.0
    order: int = 3


@dataclass(frozen=True)
class Standardise:
    """Mean 0 and standard deviation 1 over time, of each lead of each record; a lead without a signal becomes 0."""

    word: ClassVar[str] = "standardise"


@dataclass(frozen=True)
class Resample:
    """Another sampling rate, by a polyphase filter (`scipy.signal.resample_poly`, Kaiser window, beta 5).

    The signal is continued at each end by its edge value; length becomes ceil(samples * up / down).
    """

    word: ClassVar[str] = "resample"
    fs_hz: float


@dataclass(frozen=True)
class PadOrCrop:
    """A fixed number of time points: zeros after the end, or a cut.

    `keep` says what a longer record is cut to: its `start`, its `middle` or its `end`.
    """

    word: ClassVar[str] = "pad_or_crop"
    samples: int
    keep: Literal["start", "middle", "end"] = "start"


Step: TypeAlias = Filter | Standardise | Resample | PadOrCrop
STEPS: Mapping[str, type[Step]] = MappingProxyType(
    {kind.word: kind for kind in (Filter, Standardise, Resample, PadOrCrop)}
)
"""Word in a spec -> step."""
PUBLISHED: tuple[Step, ...] = (Filter(), Standardise(), PadOrCrop(6144))
"""The chain of the fusion method: FUSION 1.1. Padding comes last, so that its zeros are each lead's mean."""


def as_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as `[{"step": word, option: value}]`.

    >>> as_json([PadOrCrop(10)])
    [{'step': 'pad_or_crop', 'samples': 10, 'keep': 'start'}]
    """
    return [{"step": step.word, **asdict(step)} for step in steps]


def from_json(written: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return the steps that `as_json` wrote.

    Raises:
        SignalError: an unknown word or option; names the step.
    """
    return tuple(_step(number, one) for number, one in enumerate(written))


def _step(number: int, written: Mapping[str, Any]) -> Step:
    word = written.get("step")
    if not isinstance(word, str) or word not in STEPS:
        raise SignalError(f"steps[{number}]: unknown step {word!r}; allowed: {', '.join(STEPS)}")
    try:
        return STEPS[word](**{key: value for key, value in written.items() if key != "step"})
    except TypeError as error:
        raise SignalError(f"steps[{number}] ({word}): {error}") from None


# -------------------------------------------------------------------------------------- without a signal


def traced(steps: Sequence[Step], samples: int, fs_hz: float) -> tuple[int, float]:
    """Return samples and sampling rate after `steps`, for a record of `samples` at `fs_hz`.

    Raises:
        SignalError: a step cannot be made on such a record; names the step.

    >>> traced(PUBLISHED, 5000, 500.0)
    (6144, 500.0)
    """
    for number, step in enumerate(steps):
        try:
            samples, fs_hz = _traced(step, samples, fs_hz)
        except SignalError as error:
            raise SignalError(f"step {number + 1} ({step.word}): {error}") from None
    return samples, fs_hz


def _traced(step: Step, samples: int, fs_hz: float) -> tuple[int, float]:
    if isinstance(step, Filter):
        if not (0 < step.low_hz < step.high_hz < fs_hz / 2 and step.order > 0):
            raise SignalError(
                f"{step.low_hz:g} to {step.high_hz:g} Hz, order {step.order}, does not fit {fs_hz:g} Hz: "
                f"0 < low < high < {fs_hz / 2:g}"
            )
        try:
            edge = band_pass(step.low_hz, step.high_hz, step.order, fs_hz).edge
        except np.linalg.LinAlgError:
            raise SignalError(
                f"{step.low_hz:g} to {step.high_hz:g} Hz, order {step.order}, cannot be computed at {fs_hz:g} Hz; "
                "take a wider band or a lower order"
            ) from None
        if samples <= edge:
            raise SignalError(f"{samples} samples are too few: more than {edge} are needed")
    elif isinstance(step, Resample):
        up, down = ratio(step.fs_hz, fs_hz)
        return -(-samples * up // down), step.fs_hz
    elif isinstance(step, PadOrCrop):
        if step.samples < 1:
            raise SignalError(f"samples is {step.samples}; expected 1 or more")
        return step.samples, fs_hz
    return samples, fs_hz


def ratio(to_hz: float, from_hz: float) -> tuple[int, int]:
    """Return up and down of a change of the sampling rate, in lowest terms.

    Raises:
        SignalError: no rate above 0, or not a ratio of two numbers up to `MAX_RATIO_TERM`.

    >>> ratio(500, 400)
    (5, 4)
    """
    if not (to_hz > 0 and from_hz > 0):
        raise SignalError(f"from {from_hz:g} to {to_hz:g} Hz: both must be above 0")
    exact = Fraction(to_hz).limit_denominator(10**6) / Fraction(from_hz).limit_denominator(10**6)
    if max(exact.numerator, exact.denominator) > MAX_RATIO_TERM:
        raise SignalError(f"from {from_hz:g} to {to_hz:g} Hz is no ratio of numbers up to {MAX_RATIO_TERM}")
    return exact.numerator, exact.denominator


# ----------------------------------------------------------------------------------------- on a signal


def applied(steps: Sequence[Step], wave: FloatArray, fs_hz: float) -> FloatArray:
    """Return `wave` after `steps`, in their order.

    A lead that holds one value before a step, whatever the value, is 0 after it; and what a filter or a cut leaves of
    a lead, where it is no more than rounding of what the lead was, is not standardised to noise of size 1, but is 0.

    Args:
        steps: what to do.
        wave: shape (..., lead, time), finite; left alone.
        fs_hz: its sampling rate.

    Returns:
        Shape (..., lead, time), float32; the times and the rate are those that `traced` says.

    Raises:
        SignalError: as `traced`; or a value is not finite, or above `LARGEST`.
    """
    traced(steps, wave.shape[-1], fs_hz)
    rounding: FloatArray = np.zeros((*wave.shape[:-1], 1))
    """Of each lead: what is not larger is no signal."""
    for step in steps:
        wave, size = _without_flat(wave)
        share = FILTER_ROUNDING if isinstance(step, Filter) else ROUNDING
        rounding = np.maximum(rounding, share * size)
        if isinstance(step, Filter):
            wave = filtered(wave, fs_hz, step.low_hz, step.high_hz, step.order)
        elif isinstance(step, Standardise):
            wave, rounding = _standardised(wave, rounding)
        elif isinstance(step, Resample):
            wave, fs_hz = resampled(wave, fs_hz, step.fs_hz), step.fs_hz
        else:
            wave = padded_or_cropped(wave, step.samples, step.keep)
    return wave.astype(np.float32, copy=False)


def _without_flat(wave: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `wave` with 0 in every lead that holds one value, and the largest value of each lead, (..., lead, 1)."""
    low, high = wave.min(axis=-1, keepdims=True), wave.max(axis=-1, keepdims=True)
    size = np.maximum(-low, high)
    if not (size < LARGEST).all():
        raise SignalError(f"a value is not finite or is above {LARGEST:g}")
    flat = low == high
    return (np.where(flat, wave.dtype.type(0), wave) if flat.any() else wave), size


def filtered(
    wave: FloatArray, fs_hz: float, low_hz: float = 1.0, high_hz: float = 47.0, order: int = 3
) -> FloatArray:
    """Return `wave`, shape (..., lead, time), in the band; same unit, float32 stays so, else float64."""
    kind = "f4" if wave.dtype == np.float32 else "f8"
    return zero_phase(band_pass(low_hz, high_hz, order, fs_hz, kind), wave)


def standardised(wave: FloatArray) -> FloatArray:
    """Return `wave`, shape (..., lead, time), with mean 0 and standard deviation 1 over time; no unit, same type.

    The standard deviation is that of the population (divided by the number of samples). A lead whose
    deviation is rounding of its own values counts as flat and becomes 0, not noise of size 1.

    >>> standardised(np.array([[1.0, 3.0], [5.0, 5.0]]))
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    return _standardised(wave, np.zeros((*wave.shape[:-1], 1)))[0]


def _standardised(wave: FloatArray, rounding: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `wave` as `standardised` does, and the `rounding` of each lead, (..., lead, 1), in its new unit.

    A lead whose deviation is not above its rounding becomes 0.
    """
    if wave.dtype != np.float32:
        wave = wave.astype(np.float64, copy=False)
    middle = wave.mean(axis=-1, keepdims=True)
    centred = wave - middle
    # One product instead of a second pass with a temporary array.
    deviation = np.sqrt(np.vecdot(centred, centred)[..., None] / wave.shape[-1])
    least = np.maximum(np.maximum(rounding, 1 / LARGEST), 4 * np.finfo(wave.dtype).eps * np.abs(middle))
    flat = deviation <= least
    size = np.where(flat, 1.0, deviation)
    centred *= np.where(flat, 0.0, 1.0 / size).astype(wave.dtype)
    scaled: FloatArray = centred
    return scaled, rounding / size


def resampled(wave: FloatArray, from_hz: float, to_hz: float) -> FloatArray:
    """Return `wave`, shape (..., lead, time), at `to_hz`; float64, same unit."""
    up, down = ratio(to_hz, from_hz)
    if up == down:
        return wave
    out: FloatArray = signal.resample_poly(
        wave.astype(np.float64, copy=False), up, down, axis=-1, padtype="edge"
    )
    return out


def padded_or_cropped(
    wave: FloatArray, samples: int, keep: Literal["start", "middle", "end"] = "start"
) -> FloatArray:
    """Return `wave`, shape (..., lead, time), with `samples` time points: exact zeros after the end, or a cut."""
    n_time = wave.shape[-1]
    if n_time < samples:
        out = np.zeros((*wave.shape[:-1], samples), dtype=wave.dtype)
        out[..., :n_time] = wave
        return out
    first = {"start": 0, "middle": (n_time - samples) // 2, "end": n_time - samples}[keep]
    return wave[..., first : first + samples]
