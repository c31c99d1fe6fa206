"""Zero-phase IIR filtering by matrix products: what `scipy.signal.sosfiltfilt` gives, at two to three times its speed.

scipy runs one recurrence a sample, a lead and a section, each waiting for the one before. Here a signal is cut
into blocks: within a block the filter is one matrix, between blocks only its state passes on. So all leads of all
records of a batch go through BLAS together. The edges are extended as scipy extends them, and the answer differs by
rounding: 1e-12 of the signal's size in float64, 1e-6 in float32, where scipy itself is off by 2e-5. Float32 is that exact
because the state is measured in coordinates in which it is as large as what it still adds to the output.

Source: the definition of `scipy.signal.sosfiltfilt` (odd extension, steady initial state); the block form of a linear
recurrence is the variation-of-constants formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, signal

FloatArray: TypeAlias = NDArray[np.floating[Any]]
BLOCK = 32
"""Time points of a block: fewest multiplications and Python steps together, measured for order 3."""
TOGETHER = 4
"""Blocks between two steps of the one loop over time."""


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
def band_pass(low_hz: float, high_hz: float, order: int, fs_hz: float, kind: str = "f8") -> Blocks:
    """Return a Butterworth band-pass in blocks, for waves of the type `kind` (`f4` or `f8`)."""
    return in_blocks(signal.butter(order, [low_hz, high_hz], "bandpass", fs=fs_hz, output="sos"), kind)


def in_blocks(sections: FloatArray, kind: str = "f8") -> Blocks:
    """Return a filter given as second-order sections, shape (section, 6), in blocks.

    The matrices are read off scipy's own filter: its answers to each unit impulse and each unit state.
    """
    n_states = 2 * len(sections)
    rest = np.zeros((BLOCK, len(sections), 2))
    # zi of sosfilt has shape (section, signal, 2)
    within, ends = signal.sosfilt(sections, np.eye(BLOCK), axis=-1, zi=rest.transpose(1, 0, 2))
    states = np.eye(n_states).reshape(n_states, len(sections), 2).transpose(1, 0, 2)
    carried, left = signal.sosfilt(sections, np.zeros((n_states, BLOCK)), axis=-1, zi=states)
    gained, kept = _flat_states(ends), _flat_states(left)
    into, out_of = _coordinates(kept, carried)
    at_zero = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
    return Blocks(
        within=_typed(within, kind),
        carried=_typed(into @ carried, kind),
        gained=_typed(gained @ out_of, kind),
        kept=_typed(into @ kept @ out_of, kind),
        steady=_typed(signal.sosfilt_zi(sections).reshape(n_states) @ out_of, kind),
        edge=3 * int(2 * len(sections) + 1 - at_zero),
    )


def _coordinates(kept: FloatArray, carried: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the matrices into and out of coordinates in which a state's length is that of all it will add."""
    energy = linalg.solve_discrete_lyapunov(kept, carried @ carried.T)
    out_of = linalg.cholesky(energy, lower=True)
    return linalg.inv(out_of), out_of


def _typed(values: FloatArray, kind: str) -> FloatArray:
    return np.ascontiguousarray(values, dtype=kind)


def _flat_states(states: FloatArray) -> FloatArray:
    """(section, signal, 2) -> (signal, s)."""
    return np.ascontiguousarray(states.transpose(1, 0, 2).reshape(states.shape[1], -1))


def zero_phase(blocks: Blocks, wave: FloatArray) -> FloatArray:
    """Filter forward and backward, so that nothing is shifted in time.

    Args:
        blocks: the filter.
        wave: shape (..., time), with more than `blocks.edge` time points.

    Returns:
        Shape (..., time), of the type of `blocks`; `wave` is left alone.

    Raises:
        ValueError: too few time points.
    """
    n_time = wave.shape[-1]
    if n_time <= blocks.edge:
        raise ValueError(f"{n_time} samples are too few to filter: more than {blocks.edge} are needed")
    rows = wave.reshape(-1, n_time)
    length = n_time + 2 * blocks.edge
    padded = np.empty((len(rows), -(-length // BLOCK) * BLOCK), dtype=blocks.within.dtype)
    _extend(rows, blocks.edge, padded)
    padded[:, length:] = 0.0
    forward = _forward(blocks, padded)
    # A steady filter fed with its steady input stays so: the backward pass may start in the fill.
    forward[:, length:] = forward[:, length - 1 : length]
    backward = _backward(blocks, forward, out=padded)
    return backward[:, blocks.edge : blocks.edge + n_time].reshape(wave.shape)


def _extend(rows: FloatArray, edge: int, out: FloatArray) -> None:
    """Write `rows` with both ends turned about their last point (scipy's "odd" padding) into `out`."""
    end = edge + rows.shape[1]
    out[:, edge:end] = rows
    out[:, :edge] = 2.0 * out[:, edge : edge + 1] - out[:, 2 * edge : edge : -1]
    out[:, end : end + edge] = 2.0 * out[:, end - 1 : end] - out[:, end - 2 : end - edge - 2 : -1]


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
    """Return the state at the start of each block, shape (row * block, s).

    Blocks are taken `TOGETHER` at a time: what they add is summed for all rows and times at once, one short loop goes from
    one such group to the next, and the states inside the groups follow again all at once.
    """
    n_rows, n_blocks, n_states = gained.shape
    n_groups = -(-n_blocks // TOGETHER)
    whole = np.zeros((n_rows, n_groups * TOGETHER, n_states), dtype=gained.dtype)
    whole[:, :n_blocks] = gained
    parts = whole.reshape(n_rows, n_groups, TOGETHER, n_states)
    added = parts[:, :, 0]
    for number in range(1, TOGETHER):
        added = added @ kept + parts[:, :, number]
    kept_by_all = np.linalg.matrix_power(kept, TOGETHER)
    states = np.empty_like(parts)
    state = first
    for group in range(n_groups):
        states[:, group, 0] = state
        state = state @ kept_by_all + added[:, group]
    for number in range(1, TOGETHER):
        states[:, :, number] = states[:, :, number - 1] @ kept + parts[:, :, number - 1]
    flat: FloatArray = states.reshape(n_rows, -1, n_states)[:, :n_blocks].reshape(-1, n_states)
    return flat
