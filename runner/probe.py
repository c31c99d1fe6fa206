"""What this machine is: asked once, at the edge, and passed on as data."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

from runner.machine import Machine

_BF16_SINCE = 8.0
"""CUDA compute capability from which bfloat16 is computed (Ampere)."""


def probe_machine() -> Machine:
    """Return this machine. A broken or slow `nvidia-smi` counts as no GPU."""
    gpus = _nvidia()
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return Machine(
        system=platform.system(),
        cpus=os.cpu_count() or 1,
        memory_gib=_memory_gib(),
        gpus=len(gpus),
        gpu_name=gpus[0][0] if gpus else None,
        gpu_memory_gib=gpus[0][1] if gpus else None,
        mps=apple,
        bf16=apple or bool(gpus and gpus[0][2] >= _BF16_SINCE),
    )


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _nvidia() -> list[tuple[str, float, float]]:
    """Return name, memory in GiB and compute capability of each visible GPU."""
    command = shutil.which("nvidia-smi")
    if command is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    try:
        done = subprocess.run(
            [command, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        rows = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
        found = [
            (name, round(float(memory) / 1024, 1), float(capability)) for name, memory, capability in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len(visible.split(","))]
