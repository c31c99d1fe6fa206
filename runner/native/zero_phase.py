"""Zero-phase IIR filtering by matrix products: what `scipy.signal.sosfiltfilt` gives, two to three times as fast.

scipy runs one recurrence a sample, a lead and a section, each waiting for the one before. Here a signal is cut
into blocks: within a block the filter is one matrix, between blocks only its state passes on. So all leads of all
records of a batch go through BLAS together. The answer differs from scipy's by rounding (1e-10 of the signal's
size; a test says so), and the edges are extended in the same way.

Source: the definition of `scipy.signal.sosfiltfilt` (odd extension, steady initial state); the block form of a linear
recurrence is the variation-of-constants formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import signal

FloatArray: TypeAlias = NDArray[np.floating[Any]]
BLOCK = 32
"""Time points of a block: fewest multiplications and Python steps together, measured for order 3."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """A filter cut into blocks of `BLOCK` time points; s is the number of state variables."""

    within: FloatArray
    """Shape (time in, time out): output of a block from its own input."""
    carried: FloatArray
    """Shape (s, time out): output of a block from the state at its start."""
    gained: FloatArray
    """Shape (time in, s): what the input of a block adds to the state at its end."""
    kept: FloatArray
    """Shape (s, s): what is left of the state after a block without input."""
    steady: FloatArray
    """Shape (s,): the state in which an input of 1 for ever leaves the filter."""
    edge: int
    """Time points by which each end is extended."""


@lru_cache(maxsize=32)
def band_pass(low_hz: float, high_hz: float, order: int, fs_hz: float) -> Blocks:
    """Return a Butterworth band-pass in blocks."""
    return in_blocks(signal.butter(order, [low_hz, high_hz], "bandpass", fs=fs_hz, output="sos"))


def in_blocks(sections: FloatArray) -> Blocks:
    """Return a filter given as second-order sections, shape (section, 6), in blocks.

    The matrices are read off scipy's own filter: its answers to each unit impulse and each unit state.
    """
    n_states = 2 * len(sections)
    rest = np.zeros((BLOCK, len(sections), 2))
    # zi of sosfilt has shape (section, signal, 2)
    within, ends = signal.sosfilt(sections, np.eye(BLOCK), axis=-1, zi=rest.transpose(1, 0, 2))
    states = np.eye(n_states).reshape(n_states, len(sections), 2).transpose(1, 0, 2)
    carried, left = signal.sosfilt(sections, np.zeros((n_states, BLOCK)), axis=-1, zi=states)
    at_zero = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
    return Blocks(
        within=np.ascontiguousarray(within),
        carried=np.ascontiguousarray(carried),
        gained=_flat_states(ends),
        kept=_flat_states(left),
        steady=signal.sosfilt_zi(sections).reshape(n_states),
        edge=3 * int(2 * len(sections) + 1 - at_zero),
    )


def _flat_states(states: FloatArray) -> FloatArray:
    """(section, signal, 2) -> (signal, s)."""
    return np.ascontiguousarray(states.transpose(1, 0, 2).reshape(states.shape[1], -1))


def zero_phase(blocks: Blocks, wave: FloatArray) -> FloatArray:
    """Filter forward and backward, so that nothing is shifted in time.

    Args:
        blocks: the filter.
        wave: shape (..., time), with more than `blocks.edge` time points.

    Returns:
        Shape (..., time), float64; `wave` is left alone.

    Raises:
        ValueError: too few time points.
    """
    n_time = wave.shape[-1]
    if n_time <= blocks.edge:
        raise ValueError(f"{n_time} samples are too few to filter: more than {blocks.edge} are needed")
    rows = wave.reshape(-1, n_time)
    length = n_time + 2 * blocks.edge
    padded = np.empty((len(rows), -(-length // BLOCK) * BLOCK))
    _extend(rows, blocks.edge, padded)
    padded[:, length:] = 0.0
    forward = _forward(blocks, padded)
    # A steady filter fed with its steady input stays so: the backward pass may start in the fill.
    forward[:, length:] = forward[:, length - 1 : length]
    backward = _backward(blocks, forward, out=padded)
    return backward[:, blocks.edge : blocks.edge + n_time].reshape(wave.shape)


def _extend(rows: FloatArray, edge: int, out: FloatArray) -> None:
    """Write `rows` with both ends turned about their last point (scipy's "odd" padding) into `out`."""
    n_time = rows.shape[1]
    out[:, edge : edge + n_time] = rows
    out[:, :edge] = 2.0 * rows[:, :1] - rows[:, edge:0:-1]
    out[:, edge + n_time : 2 * edge + n_time] = 2.0 * rows[:, -1:] - rows[:, -2 : -edge - 2 : -1]


def _forward(blocks: Blocks, padded: FloatArray) -> FloatArray:
    """One pass over shape (row, block * BLOCK), beginning in the steady state of each row's first value."""
    cut = padded.reshape(-1, BLOCK)
    gained = (cut @ blocks.gained).reshape(len(padded), -1, len(blocks.steady))
    states = _states(gained, padded[:, :1] * blocks.steady, blocks.kept)
    out = cut @ blocks.within
    out += states @ blocks.carried
    return out.reshape(padded.shape)


def _backward(blocks: Blocks, wave: FloatArray, out: FloatArray) -> FloatArray:
    """The same from the end to the beginning: matrices and order of the blocks are turned, not the wave."""
    cut = wave.reshape(-1, BLOCK)
    gained = (cut @ blocks.gained[::-1]).reshape(len(wave), -1, len(blocks.steady))
    states = _states(gained[:, ::-1], wave[:, -1:] * blocks.steady, blocks.kept)
    turned = states.reshape(gained.shape)[:, ::-1].reshape(states.shape)
    flat = out.reshape(cut.shape)
    np.matmul(cut, np.ascontiguousarray(blocks.within[::-1, ::-1]), out=flat)
    flat += turned @ blocks.carried[:, ::-1]
    return out


def _states(gained: FloatArray, first: FloatArray, kept: FloatArray) -> FloatArray:
    """Return the state at the start of each block, shape (row * block, s)."""
    states = np.empty(gained.shape)
    state = first
    for number in range(gained.shape[1]):
        states[:, number] = state
        state = state @ kept + gained[:, number]
    return states.reshape(-1, gained.shape[-1])
