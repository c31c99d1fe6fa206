"""A training in a process of its own, for tests that end it; alone, or one of several."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file
from training_parts import CPU, training

from runner.native.together import Together


def train(
    folder: Path, methods: tuple[str, ...], steps: int, save_every: int, optimizer: str, spoilt: int | None
) -> None:
    """Train until the end or until SIGTERM, and write the final tensors to `folder`/final.safetensors.

    Several methods are trained one after the other, each in `folder`/METHOD. The rank `spoilt` has a fault: its weights
    are not those of the others.
    """
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    with Together.of(os.environ).join(CPU) as together:
        for method in methods:
            place = folder / method if len(methods) > 1 else folder
            made = training(
                place,
                method,
                steps=steps,
                save_every=save_every,
                optimizer=optimizer,
                together=together,
                stopping=lambda: bool(asked),
            )
            if spoilt == together.rank:
                with torch.no_grad():
                    next(part for part in made.model.parameters() if part.requires_grad).add_(1e-3)
            with made.feed:
                ended = made.run()
            if ended.state == "finished" and together.writes:
                tensors = {
                    name: value.contiguous().clone() for name, value in made.model.state_dict().items()
                }
                save_file(tensors, place / "final.safetensors")
            print(ended.state, ended.steps, flush=True)
