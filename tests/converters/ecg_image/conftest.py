"""Signals and pages that several of these tests measure on."""

from __future__ import annotations

import numpy as np
import pytest
from ecg_pages import beats


@pytest.fixture(scope="session")
def signal() -> np.ndarray:
    """Return twelve leads of exact beats, 10 s at 500 Hz, shape (lead, time), mV."""
    return beats()
