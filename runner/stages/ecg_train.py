"""The train stage of ECG runs: our own trainer in this process, or in one a device under torchrun; its proof is believed.

Settings: `model`, `method`, `train` as in the spec; `distill`, how a student is taught and its `teacher` (a folder, a
run, a file), or null; `betas`, of the F-betas that thresholds are left for; `out`, the folder to write (`train` or `teacher`);
`device`; `strategy`, none or ddp; `tracking`, as in the spec; `expect`: `steps`, `warmup_steps`, `rows` and `world_size` that were planned.

It reads the folder `data` of the run and leaves `OUT/final/model.safetensors` (adapters merged), `thresholds.json` beside
it, `OUT/proof.json` and `OUT/metrics.jsonl`. Killed and started again it goes on from the newest whole checkpoint.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.events import EventWriter
from runner.files import read_json
from runner.proof import FAILED, FINISHED, INTERRUPTED, Difference, verify
from runner.spec.problems import StageError
from runner.stages.common import stage_main
from runner.stages.train import INTERRUPTED_CODE, LAUNCHER_PREFIXES, LAUNCHER_VARIABLES, Ended, run_engine

WORKER = "runner.stages.ecg_worker"

Settings = Mapping[str, Any]


def train(settings: Settings, events: EventWriter) -> int:
    """Train in the run directory that is the current folder.

    Returns:
        0 when the weights in `OUT/final` are what was planned; 130 when stopped with a checkpoint.

    Raises:
        StageError: the training failed, or proves something else than was planned.
    """
    out, expect = Path(settings["out"]), settings["expect"]
    proof_path = out / "proof.json"
    proof_path.unlink(missing_ok=True)
    shutil.rmtree(out / "final", ignore_errors=True)
    if expect["world_size"] == 1:
        from runner.stages.ecg_worker import work

        ended = work(settings, events, _alone(os.environ))
        print(f"{ended.state} after step {ended.steps} of {expect['steps']}", flush=True)
        how = Ended(0, ended.state == INTERRUPTED)
    else:
        how = run_engine(command(settings), environment(os.environ, settings["device"]), proof_path)
    proof = read_json(proof_path) if proof_path.exists() else {}
    if proof.get("state") == INTERRUPTED or (how.stopped and proof.get("state") != FINISHED):
        return INTERRUPTED_CODE
    require(proof, how, settings)
    if not (out / "final").is_dir():
        raise StageError(f"the training finished but left no {out / 'final'}; logs/{out.name}.log says why")
    return 0


def command(settings: Settings) -> list[str]:
    """Return the command that trains in several processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, f"--nproc-per-node={settings['expect']['world_size']}", "-m", WORKER, settings["out"]]


def environment(base: Mapping[str, str], device: str) -> dict[str, str]:
    """Return the environment of the processes: nothing of an outer launcher, nothing that is not repeatable."""
    made = _alone(base) | {
        "CUBLAS_WORKSPACE_CONFIG": base.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        # The run directory has folders named data, eval and config: they are no Python packages.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return made | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def _alone(base: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in base.items()
        if name not in LAUNCHER_VARIABLES and not name.startswith(LAUNCHER_PREFIXES)
    }


def require(proof: Settings, how: Ended, settings: Settings) -> None:
    """Raise StageError unless the proof says that what was planned has been trained."""
    expect, train_section = settings["expect"], settings["train"]
    log = f"logs/{settings['out']}.log says why"
    if not proof:
        raise StageError(f"the training {how.text()} before it came alive; {log}")
    if proof["state"] == FAILED:
        raise StageError(str(proof["reason"]))
    if proof["state"] != FINISHED:
        raise StageError(
            f"the training {how.text()} after step {proof.get('steps', 0)} of {expect['steps']}, before it was done; "
            f"{log}\n  `runner launch --resume RUN` goes on from the newest whole checkpoint"
        )
    planned = {
        "steps": expect["steps"],
        "rows": expect["rows"],
        "world_size": expect["world_size"],
        "distributed": settings["strategy"] if expect["world_size"] > 1 else "none",
        "early_stopping": train_section["patience"] is not None,
        "keep_best": False,
    }
    # Which step was best is our own judgement here: the first may be step 0, before any training.
    differences = verify({**proof, "keep_best": False}, planned, settings["device"])
    if proof.get("keep_best") and proof.get("best_step") != proof.get("lowest_step"):
        differences.append(
            Difference("step of the final weights", proof.get("lowest_step"), proof.get("best_step"))
        )
    if differences:
        lines = "\n".join(f"  {difference.text()}" for difference in differences)
        raise StageError(f"the trainer did not train what was planned:\n{lines}")


if __name__ == "__main__":
    stage_main("train", train)
