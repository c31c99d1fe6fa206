"""TensorBoard files of a training: every number of its step and evaluation events, as `EVENT/FIELD` over steps.

`tensorboard --logdir runs/` shows them. They are a copy for the eye: `metrics.jsonl` is what is read and verified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""Name of the folder beside `metrics.jsonl`."""
FLUSH_S = 10
"""Seconds after which what was told is on the disk."""
NOT_SHOWN = ("step", "steps", "epoch", "loss_records", "classes", "rows")
"""Numbers that are an axis, or the same at every step."""


class Board:
    """Writes the curves of one training into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def begin(self, step: int) -> None:
        """Begin after `step`: what a dead process told of later steps is not shown, for it is told once more."""
        self.close()
        self._writer = SummaryWriter(
            str(self._folder), purge_step=step + 1 if step else 0, flush_secs=FLUSH_S
        )

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Add the finite numbers of an event."""
        if self._writer is None:
            return
        for name, value in fields.items():
            is_number = (
                isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            )
            if is_number and name not in NOT_SHOWN:
                self._writer.add_scalar(f"{event}/{name}", value, fields["step"])

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
