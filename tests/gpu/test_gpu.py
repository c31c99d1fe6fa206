"""On one CUDA device: the quickstart launched with LoRA in bf16, with 4-bit weights, and under DeepSpeed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.events import read_events

pytestmark = [pytest.mark.gpu, pytest.mark.axolotl]

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "specs" / "quickstart" / "llm.yaml"
WAIT_S = 500.0
ON_GPU = {"compute.device": "cuda", "train.precision": "bf16", "train.epochs": "2"}
"""400 records, 16 a step: 25 steps an epoch, 50 in all, 800 rows."""
LORA = "rank: 8, alpha: 16"


@pytest.fixture(scope="module")
def cuda() -> None:
    """Skip where there is no CUDA device or no engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of drivers while it looks
        for name in ("torch", "axolotl"):
            pytest.importorskip(name, reason="needs the extra `train`")
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch.cuda.is_available() is false: no CUDA device, or a torch without CUDA")


def launched(folder: Path, changes: Mapping[str, str]) -> Path:
    """Return the run directory of a launch of the quickstart that ends well."""
    words = [word for path, value in changes.items() for word in ("--set", f"{path}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "runner", "launch", str(QUICKSTART), *words, "--quiet"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def weights_in(path: Path) -> int:
    """Return how many numbers a safetensors file holds: 8 bytes of length, then a JSON header."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def proven(run: Path, distributed: str) -> dict[str, Any]:
    """Return the engine's proof, once it says what every run here must have done."""
    assert content(run / "status.json")["state"] == "done"
    proof: dict[str, Any] = content(run / "train" / "proof.json")
    said = {
        name: proof[name] for name in ("state", "device", "processes", "distributed", "steps", "rows_seen")
    }
    assert said == {
        "state": "finished",
        "device": "cuda",
        "processes": 1,
        "distributed": distributed,
        "steps": 50,
        "rows_seen": 800,
    }
    assert proof["trainable"] == proof["expected_trainable"] > 0
    steps = [event for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    assert steps[-1]["memory_mib"] > 0
    assert steps[-1]["loss"] < steps[0]["loss"]
    loss = [
        content(run / "eval" / name)["results"][0]["metrics"]["loss"]["value"]
        for name in ("baseline.json", "tuned.json")
    ]
    assert loss[1] < loss[0], "training taught it nothing"
    return proof


@pytest.mark.usefixtures("cuda")
def test_lora_trains_in_bf16(tmp_path: Path) -> None:
    run = launched(tmp_path, {**ON_GPU, "method": f"{{name: lora, {LORA}}}"})
    proof = proven(run, "none")
    assert proof["total"] - proof["trainable"] == weights_in(run / "model" / "model.safetensors")
    assert (run / "train" / "final" / "adapter_model.safetensors").exists()
    assert content(run / "train" / "final" / "adapter_config.json")["r"] == 8


@pytest.mark.usefixtures("cuda")
def test_qlora_trains_on_4_bit_weights(tmp_path: Path) -> None:
    """4-bit weights are stored in pairs, and counted one by one: the model is as large as its file says."""
    pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes")
    run = launched(tmp_path, {**ON_GPU, "method": f"{{name: qlora, {LORA}}}"})
    proof = proven(run, "none")
    assert proof["total"] - proof["trainable"] == weights_in(run / "model" / "model.safetensors")
    assert (run / "train" / "final" / "adapter_model.safetensors").exists()


@pytest.mark.usefixtures("cuda")
def test_deepspeed_is_engaged_on_one_device(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="needs the extra `train`")
    run = launched(tmp_path, {**ON_GPU, "compute.strategy": "zero2"})
    proof = proven(run, "deepspeed")
    assert proof["trainable"] == proof["total"]
    assert content(run / "config" / "deepspeed.json")["zero_optimization"]["stage"] == 2
    assert (run / "train" / "final" / "model.safetensors").exists()
