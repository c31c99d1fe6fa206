"""Chance that is the same on every machine and with every release of NumPy.

NumPy keeps the bits of a bit generator as they are, but not what `Generator` makes of them (NEP 19). So the bits are
taken, and what is made of them is made here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.ecg_image.trace import Floats


class Draws:
    """A stream of draws that depends on its key alone.

    >>> Draws(7, "record", 0).uniform(0, 1) == Draws(7, "record", 0).uniform(0, 1)
    True
    """

    def __init__(self, *key: int | str) -> None:
        digest = hashlib.sha256(json.dumps(key).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return 64 random bits, `count` times."""
        return np.asarray(self._bits.random_raw(count), np.uint64)

    def shares(self, count: int) -> Floats:
        """Return numbers from 0 up to and without 1, evenly spread, in steps of 2**-53."""
        return np.asarray((self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def uniform(self, low: float, high: float) -> float:
        """Return one number between two, evenly spread."""
        return low + (high - low) * float(self.shares(1)[0])

    def between(self, span: Sequence[float]) -> float:
        """Return one number of a span of the spec, rounded to six digits, as the manifest gives it."""
        return float(f"{self.uniform(span[0], span[1]):.6g}")

    def direction(self) -> tuple[float, float]:
        """Return a unit vector (x, y) with x >= 0: a point on the circle by its half-angle's tangent, without a sine."""
        t = self.uniform(-1, 1)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
