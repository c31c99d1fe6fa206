"""What `runner launch` costs over a bare `axolotl train` of the same config.

Both train the same tiny model on the same records, in turn, in one session: A B A B. The bare run gets
the plan's own `config/axolotl.yaml` without our plugin. Two lengths separate the fixed cost (data stage,
proof, report) from the cost of a step (metrics). Prints a table and JSON, in seconds of the clock and in
seconds of the processor, which other work on the machine disturbs less.

    python benchmarks/launch_overhead.py --repeats 3 --steps 100 400
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
    result = {"rows": rows, **{clock: costs(short, long, clock) for clock in ("s", "cpu_s")}}
    names = ("bare_s", "launch_s", "bare_cpu_s", "launch_cpu_s")
    print("".join(f"{name:>14}" for name in ("steps", *names)))
    for row in rows:
        print(f"{row['steps']:>14}" + "".join(f"{row[name]:>14.2f}" for name in names))
    for clock, cost in (("clock", result["s"]), ("processor", result["cpu_s"])):
        print(
            f"{clock}: fixed {cost['fixed_s']:.1f} s; a step of {cost['bare_step_ms']:.1f} ms takes "
            f"{cost['step_ms_more']:.2f} ms more; in a training of ten minutes {cost['of_ten_minutes_s']:.1f} s, where "
            f"{0.03 * TRAINING_S + 5:.0f} s are allowed"
        )
    print(json.dumps(result))


def costs(short: dict[str, float], long: dict[str, float], clock: str) -> dict[str, float]:
    """Return the fixed cost, that of a step, and both together in ten minutes of bare steps."""
    gap = long["steps"] - short["steps"]
    bare_step, launch_step = (
        (long[f"{side}_{clock}"] - short[f"{side}_{clock}"]) / gap for side in ("bare", "launch")
    )
    more = launch_step - bare_step
    fixed = short[f"launch_{clock}"] - short[f"bare_{clock}"] - short["steps"] * more
    return {
        "fixed_s": round(fixed, 2),
        "bare_step_ms": round(1000 * bare_step, 3),
        "step_ms_more": round(1000 * more, 3),
        "of_ten_minutes_s": round(fixed + more / bare_step * TRAINING_S, 2),
    }


def cpu_s() -> float:
    """Return the processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
    names = ("bare_s", "launch_s", "bare_cpu_s", "launch_cpu_s", "bare_ms", "launch_ms")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        kind = json.loads((folder / "model" / "config.json").read_text())["model_type"]
        local = ("--set", f"model.base={folder / 'model'}", "--set", f"model.architecture={kind}")
        before = cpu_s()
        seconds, run = launch(folder, f"launch-{steps}", steps, local)
        times["launch_s"].append(seconds)
        times["launch_cpu_s"].append(cpu_s() - before)
        log = (run / "logs" / "train.log").read_text()
        times["launch_ms"].append(1000 * train_runtime_s(log) / steps)
        before = cpu_s()
        seconds, milliseconds = bare(folder, run)
        times["bare_s"].append(seconds)
        times["bare_cpu_s"].append(cpu_s() - before)
        times["bare_ms"].append(milliseconds)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {
        "steps": steps,
        "repeats": repeats,
        **{name: round(middle[name], 3) for name in names[:4]},
        "train_ms_a_step_bare": round(middle["bare_ms"], 3),
        "train_ms_a_step_launch": round(middle["launch_ms"], 3),
    }


if __name__ == "__main__":
    main()
