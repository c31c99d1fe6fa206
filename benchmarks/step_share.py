"""What part of a training our own hooks take, measured inside the engine: of use on a busy machine.

The training of a finished run is done once more in a copy of it, with a clock around every hook. Both the
hooks and the rest are slowed down alike by other work, so their ratio is steadier than two runs compared.
Prints a table and JSON.

    python benchmarks/step_share.py runs/NAME/RUN [--steps 20]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

QUIET = {"HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "WANDB_MODE": "disabled"}
MARK = "STEP_SHARE "
HOOKS = ("on_pre_optimizer_step", "on_step_end", "on_log", "on_save", "on_evaluate", "on_train_begin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, help="optimiser steps; those of the run without it")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside()
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        shutil.copytree(
            arguments.run, place, ignore=shutil.ignore_patterns("train", "logs", "eval", "report")
        )
        path = place / "config" / "axolotl.yaml"
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        if arguments.steps:
            config["max_steps"] = config["runner"]["steps"] = arguments.steps
            path.write_text(yaml.safe_dump(config, sort_keys=False))
        done = subprocess.run(
            [sys.executable, str(Path(__file__).absolute()), "--inside", str(place)],
            cwd=place,
            env={**os.environ, **QUIET, "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
    line = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), None)
    if line is None:
        sys.exit(done.stderr[-3000:])
    found = json.loads(line.removeprefix(MARK))
    print(f"{'':24}{'s':>10}{'share':>9}")
    for name, seconds in found["hooks"].items():
        print(f"{name:24}{seconds:>10.3f}{seconds / found['rest_s']:>9.2%}")
    print(
        f"{'all hooks':24}{found['ours_s']:>10.3f}{found['share']:>9.2%} of the rest, {found['steps']} steps"
    )
    print(json.dumps(found))


def inside() -> None:
    """Train as the config says, with a clock around every hook, and print what they took."""
    from transformers import Trainer

    from runner import axolotl_trainer
    from runner.stages import engine

    spent: Counter[str] = Counter()

    def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - began

        return timed

    trainer, callback = axolotl_trainer.RunnerTrainer, axolotl_trainer.RunnerCallback
    trainer._count = clocked("sums over label tokens", trainer._count)  # type: ignore[method-assign]
    for name in HOOKS:
        setattr(callback, name, clocked(name, getattr(callback, name)))
    steps = 0
    loop = Trainer._inner_training_loop

    def whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        result = clocked("loop", loop)(self, *args, **kwargs)
        steps = self.state.global_step
        return result

    Trainer._inner_training_loop = whole
    sys.argv = ["engine", "config/axolotl.yaml"]
    try:
        engine.main()
    finally:
        total = spent.pop("loop")
        ours = sum(spent.values())
        rest = total - ours
        print(
            MARK
            + json.dumps(
                {
                    "steps": steps,
                    "step_ms": round(1000 * total / max(steps, 1), 2),
                    "ours_s": round(ours, 4),
                    "rest_s": round(rest, 4),
                    "share": round(ours / rest, 5),
                    "hooks": {name: round(seconds, 4) for name, seconds in spent.most_common()},
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
