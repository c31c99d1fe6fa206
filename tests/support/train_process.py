"""A training in a process of its own, for tests that end it: `train_process.py FOLDER METHOD STEPS SAVE_EVERY OPTIMIZER`.

Alone, or one of several under torchrun. It writes the final tensors to FOLDER/final.safetensors. Several methods, separated
by commas, are trained one after the other, each in FOLDER/METHOD.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from training_parts import CPU, training

from runner.native.together import Together


def main() -> None:
    """Train until the end or until SIGTERM."""
    folder, methods, steps = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
    save_every, optimizer = int(sys.argv[4]), sys.argv[5]
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    torch.set_num_threads(1)
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
            if os.environ.get("SPOIL_RANK") == str(together.rank):  # a fault: other weights than the others
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


if __name__ == "__main__":
    main()
