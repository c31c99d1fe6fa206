"""Peak memory of the training steps alone and of the whole run, and how fast records pass.

On CUDA these are torch's own counters of what was allocated and reserved. On a CPU it is the resident set of the process:
on Linux its high-water mark, reset at the start of each window; elsewhere what it is at the end of one.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

MIB = 2**20


@dataclass
class Peaks:
    """Bytes at the worst moment; `reserved` on CUDA alone."""

    allocated: int = 0
    reserved: int | None = None

    def raise_to(self, other: Peaks) -> None:
        """Take the larger of both."""
        self.allocated = max(self.allocated, other.allocated)
        if other.reserved is not None:
            self.reserved = max(self.reserved or 0, other.reserved)


class Meter:
    """Windows of training steps within a run; everything between them counts for the run alone."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.training, self.whole = Peaks(), Peaks()
        self.records, self.seconds = 0, 0.0
        self._began: float | None = None

    def begin(self) -> None:
        """Begin a window of steps."""
        self.whole.raise_to(self._read())
        self._reset()
        self._began = time.perf_counter()

    def end(self, records: int) -> None:
        """End the window, in which `records` records were trained on."""
        if self._began is None:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - self._began
        self.records += records
        self._began = None
        peak = self._read()
        self.training.raise_to(peak)
        self.whole.raise_to(peak)
        self._reset()

    def close(self) -> None:
        """Count what came after the last window."""
        self.whole.raise_to(self._read())

    def rate(self) -> float | None:
        """Return records per second of the windows since the last call."""
        rate = self.records / self.seconds if self.seconds else None
        self.records, self.seconds = 0, 0.0
        return rate

    def _read(self) -> Peaks:
        if self.device.type == "cuda":
            return Peaks(
                torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)
            )
        return Peaks(_high_water() or psutil.Process().memory_info().rss)

    def _reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif sys.platform == "linux":
            try:
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            except OSError:  # some containers forbid it: the mark then is that of the whole process
                return


def _high_water() -> int | None:
    """Return the high-water mark of this process's resident set in bytes; None where no one keeps it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
