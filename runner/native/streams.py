"""Private random streams: a generator for each purpose and step, derived from the run's seed alone.

No global generator is read or reseeded, so noise, data order and augmentation cannot disturb each other. A
stream is a function of (seed, purpose, step): resuming at a step needs the step's number, not a saved state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

PURPOSES = (  # the place in this table is part of every seed: append, never reorder
    "model",
    "adapter",
    "direction",
    "mask",
    "cutmix",
    "order",
    "hybrid",
    "dropout",
)
Built = TypeVar("Built")


def stream_seed(seed: int, purpose: str, step: int = 0, draw: int = 0) -> int:
    """Return the seed, in [0, 2**63), of one purpose at one step of one run.

    >>> stream_seed(18, "direction", 3) == stream_seed(18, "direction", 3)
    True
    >>> stream_seed(18, "direction", 3) == stream_seed(18, "mask", 3)
    False
    """
    sequence = np.random.SeedSequence([seed, PURPOSES.index(purpose), step, draw])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator on `device`. CPU and CUDA give different numbers for one seed."""
    made = torch.Generator(device=device)
    made.manual_seed(seed)
    return made


@contextmanager
def lent_global(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator inside the block and give its state back afterwards.

    Only for code of torch that takes no generator, such as the initialisers of its modules.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def built(seed: int, build: Callable[[], Built]) -> Built:
    """Return `build()`, a model with random weights, as a function of `seed` alone."""
    with lent_global(stream_seed(seed, "model")):
        return build()
