"""The machine that a plan is made for, probed once at the edge and passed in as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What a machine offers, as far as a plan depends on it."""

    system: str
    """`Linux`, `Darwin`, ..."""
    cpus: int
    memory_gib: float
    gpus: int
    """CUDA devices."""
    gpu_name: str | None
    gpu_memory_gib: float | None
    mps: bool
    """Apple's GPU is there."""
    bf16: bool
    """The device computes in bfloat16."""
