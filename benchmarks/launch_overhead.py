"""What `runner launch` costs over a bare `axolotl train` of the same config.

Both train the same tiny model on the same records, in turn, in one session: A B A B. The bare run gets
the plan's own `config/axolotl.yaml` without our plugin. Two lengths separate the fixed cost (data stage,
proof, report) from the cost of a step (metrics). Prints a table and JSON.

    python benchmarks/launch_overhead.py --repeats 3 --steps 100 400
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "quickstart" / "llm.yaml"
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "OMP_NUM_THREADS": "1",  # two spinning threads on a busy machine measure the machine
}
TRAINING_S = 600.0
"""The length of training that the target speaks of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs=2, default=(100, 400))
    parser.add_argument(
        "--distilgpt2",
        action="store_true",
        help="a random model of DistilGPT-2's shape (82 M), not a tiny one",
    )
    arguments = parser.parse_args()
    if arguments.distilgpt2:
        QUIET.pop("OMP_NUM_THREADS")
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder))
        if arguments.distilgpt2:
            make_distilgpt2(Path(folder) / "model")
        rows = [measure(Path(folder), base, steps, arguments.repeats) for steps in arguments.steps]
    short, long = rows
    gap = long["steps"] - short["steps"]
    bare_step = (long["bare_s"] - short["bare_s"]) / gap
    launch_step = (long["launch_s"] - short["launch_s"]) / gap
    ratio = long["train_ms_a_step_launch"] / long["train_ms_a_step_bare"]
    fixed = short["launch_s"] - short["bare_s"] - short["steps"] * (launch_step - bare_step)
    share = (fixed - 5 + (ratio - 1) * TRAINING_S) / TRAINING_S
    result = {
        "rows": rows,
        "fixed_s": round(fixed, 2),
        "step_ratio": round(ratio, 3),
        "share_of_ten_minutes_after_5_s": round(share, 4),
        "step_ms_more": round(long["train_ms_a_step_launch"] - long["train_ms_a_step_bare"], 3),
    }
    print(f"{'steps':>6} {'bare s':>8} {'launch s':>9} {'bare ms/step':>13} {'launch ms/step':>15}")
    for row in rows:
        print(
            f"{row['steps']:>6} {row['bare_s']:>8.2f} {row['launch_s']:>9.2f} "
            f"{row['train_ms_a_step_bare']:>13.2f} {row['train_ms_a_step_launch']:>15.2f}"
        )
    print(
        f"fixed cost {fixed:.1f} s; a step takes {ratio:.2f} x as long ({result['step_ms_more']:.2f} ms more)"
    )
    print(json.dumps(result))


def make_base(folder: Path) -> Path:
    """Make data and a model once, by a short launch; both sides then train on these."""
    run = launch(folder, "base", 5, ())[1]
    shutil.copytree(run / "model", folder / "model")
    return run


def make_distilgpt2(folder: Path) -> None:
    """Put a random model of DistilGPT-2's shape in place of the tiny one; the tokenizer stays."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(n_layer=6, **ends)).save_pretrained(folder)


def changes(steps: int) -> tuple[str, ...]:
    values = {
        "train.epochs": "null",
        "train.steps": str(steps),
        "train.evaluate_every": "null",
        "train.save_every": "null",
        "evaluate": "[]",
    }
    return tuple(word for path, value in values.items() for word in ("--set", f"{path}={value}"))


def launch(folder: Path, name: str, steps: int, more: tuple[str, ...]) -> tuple[float, Path]:
    """Return the seconds of one launch and its run directory."""
    command = [
        sys.executable,
        "-m",
        "runner",
        "launch",
        str(SPEC),
        *changes(steps),
        *more,
        "--runs",
        str(folder / name),
    ]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, folder / done.stdout.splitlines()[-1]


def bare(folder: Path, run: Path) -> tuple[float, float]:
    """Return the seconds of `axolotl train` on the config of a finished run, and ms a step as it reports."""
    place = folder / "bare"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copytree(run / "data", place / "data")
    config: dict[str, Any] = yaml.safe_load((run / "config" / "axolotl.yaml").read_text())
    config.pop("plugins"), config.pop("runner")
    config["base_model"] = str(folder / "model")
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    tools = Path(sys.executable).parent
    environment = {**os.environ, **QUIET, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    began = time.perf_counter()
    done = subprocess.run(
        [tools / "axolotl", "train", "config.yaml", "--launcher", "python"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    output = done.stdout + done.stderr
    if "Training completed!" not in output:
        sys.exit(output[-3000:])
    return seconds, 1000 * train_runtime_s(output) / config["max_steps"]


def train_runtime_s(output: str) -> float:
    """Return what the Hugging Face trainer measured."""
    return float(output.rpartition("'train_runtime': '")[2].partition("'")[0])


def measure(folder: Path, base: Path, steps: int, repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"bare_s": [], "launch_s": [], "bare_ms": [], "launch_ms": []}
    for _ in range(repeats):
        kind = json.loads((folder / "model" / "config.json").read_text())["model_type"]
        local = ("--set", f"model.base={folder / 'model'}", "--set", f"model.architecture={kind}")
        seconds, run = launch(folder, f"launch-{steps}", steps, local)
        times["launch_s"].append(seconds)
        log = (run / "logs" / "train.log").read_text()
        times["launch_ms"].append(1000 * train_runtime_s(log) / steps)
        seconds, milliseconds = bare(folder, run)
        times["bare_s"].append(seconds)
        times["bare_ms"].append(milliseconds)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {
        "steps": steps,
        "repeats": repeats,
        "bare_s": round(middle["bare_s"], 3),
        "launch_s": round(middle["launch_s"], 3),
        "train_ms_a_step_bare": round(middle["bare_ms"], 3),
        "train_ms_a_step_launch": round(middle["launch_ms"], 3),
    }


if __name__ == "__main__":
    main()
