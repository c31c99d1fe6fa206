"""How much memory a training step takes: fusion, LoRA, full, zeroth order and linear probe side by side.

On a GPU: peak allocated and reserved bytes of a window of training steps (no loading, no validation) and of the whole
run, model and optimiser built inside it. On a CPU: bytes saved for the backward pass by saved-tensor hooks, storages
counted once, measured on one and two records and given for the batch by the line through them; and the allocator's
peak in a step of `--step-batch` records above weights, optimiser and input.

    python -m benchmarks.native.memory [--size medium] [--batch 128] [--samples 6144] [--rank 16] [--json]
    python -m benchmarks.native.memory --arms fusion --step-batch 128    the whole step on a CPU, about a minute
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which the CPU's peak is read from, is chatty

import torch

from benchmarks.native.arms import ARMS, BP_BATCH, MICRO_BATCH, RANK, batch_of, estimator, started
from runner.native import memory
from runner.native.memory import Peak
from runner.native.objective import Objective
from runner.native.zeroth_order import FullBatch

GIB, MB = 2**30, 1e6
GOAL_GIB = 0.75
PUBLISHED_GIB = {"fusion": 1.45, "lora": 8.75, "full": 9.21}  # H-Tuning's poster: medium, batch 128, fp32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="medium")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--samples", type=int, default=6144)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--steps", type=int, default=2, help="steps of the measured window, after one to warm up"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument(
        "--step-batch", type=int, default=2, help="CPU: records in the step whose peak is measured"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    row = gpu_row if device.type == "cuda" else cpu_row
    rows = [row(name, arguments, device) for name in arguments.arms]
    if not arguments.json:
        print(
            f"{arguments.size}, {arguments.samples} samples, batch {arguments.batch}, fp32, rank {arguments.rank}"
        )
        print(f"bp_batch {BP_BATCH}, zeroth-order micro batch {MICRO_BATCH}, on {machine(device)}")
        if device.type == "cuda":
            print_gpu(rows)
        else:
            print_cpu(rows, arguments.step_batch)
    print(
        json.dumps({**vars(arguments), "machine": machine(device), "torch": torch.__version__, "rows": rows})
    )


def machine(device: torch.device) -> str:
    """Return what the numbers were measured on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, torch {torch.__version__}"
    return f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}"


def measured(
    name: str, size: str, batch: int, samples: int, device: torch.device, rank: int = RANK, steps: int = 2
) -> Peak:
    """Return the peak of `steps` training steps of the method `name`, after one that is not counted."""
    method, _ = started(name, size, rank, device)
    records = batch_of(batch, samples, device)
    method.step(records)

    def window() -> None:
        for _ in range(steps):
            method.step(records)

    return memory.peak(window, device)


def gpu_row(name: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return the peaks of a window and of a whole run on a GPU."""
    what = (name, arguments.size, arguments.batch, arguments.samples, device, arguments.rank, arguments.steps)
    gc.collect()
    window: Peak | None = None

    def whole() -> None:
        nonlocal window
        window = measured(*what)

    try:
        whole()
        gc.collect()
        run = memory.peak(lambda: measured(*what), device)
    except torch.cuda.OutOfMemoryError as error:
        return {"method": name, "error": str(error).splitlines()[0]}
    if window is None or window.total is None or window.reserved is None or run.total is None:
        raise RuntimeError("no peak was measured")
    return {
        "method": name,
        "allocated_gib": round(window.total / GIB, 3),
        "reserved_gib": round(window.reserved / GIB, 3),
        "above_weights_gib": round(window.allocated / GIB, 3),
        "whole_run_gib": round(run.total / GIB, 3),
        "published_gib": PUBLISHED_GIB.get(name),
        "goal_gib": GOAL_GIB if name == "fusion" else None,
    }


def cpu_row(name: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return the bytes a record saves, those of the batch, and the allocator's peak at two records."""
    method, model = started(name, arguments.size, arguments.rank, device)
    saved = [_saved(name, model, records, arguments.samples) for records in (1, 2)]
    a_record, constant = saved[1] - saved[0], 2 * saved[0] - saved[1]
    backpropagated = {"fusion": BP_BATCH, "zeroth_order": 0}.get(name, arguments.batch)
    probed = min(MICRO_BATCH, arguments.batch)
    weights = sum(tensor.nbytes for tensor in memory.held_by(model))
    trained = sum(part.nbytes for part in model.parameters() if part.requires_grad)
    records = batch_of(arguments.step_batch, arguments.samples, device)
    method.step(batch_of(2, arguments.samples, device))
    step = memory.peak(lambda: method.step(records), device)
    return {
        "method": name,
        "saved_mb_a_record": round(a_record / MB, 2),
        "saved_mb_constant": round(constant / MB, 2),
        "saved_mb_of_the_batch": round((a_record * backpropagated + constant) / MB, 1),
        "backpropagated": backpropagated,
        "probed_at_once": probed if name in {"fusion", "zeroth_order"} else 0,
        "weights_mb": round(weights / MB, 1),
        "trained_mb": round(trained / MB, 1),
        "step_peak_mb": round(step.allocated / MB, 1),
    }


def _saved(name: str, model: Any, records: int, samples: int) -> int:
    signal, target = (
        getattr(batch_of(records, samples, torch.device("cpu")), part) for part in ("signal", "target")
    )
    model.train()
    features = model.features
    if name == "zeroth_order":
        probe = FullBatch(model, Objective(), estimator(), batch_of(records, samples, torch.device("cpu")))
        return memory.saved_bytes(probe, [])
    if name == "linear_probe":
        with torch.no_grad():
            frozen = features(signal)
        work = lambda: Objective()(model.head(frozen), target)  # noqa: E731 - one of two
        return memory.saved_bytes(work, [*memory.held_by(model), signal, target, frozen])
    return memory.saved_bytes(
        lambda: Objective()(model(signal), target), [*memory.held_by(model), signal, target]
    )


def print_gpu(rows: list[dict[str, Any]]) -> None:
    print(f"{'GiB':<14}{'allocated':>10}{'reserved':>10}{'whole run':>11}{'published':>11}  goal")
    for row in rows:
        if "error" in row:
            print(f"{row['method']:<14}{row['error']}")
            continue
        goal = row["goal_gib"]
        verdict = "" if goal is None else f"{goal} {'met' if row['allocated_gib'] <= goal else 'MISSED'}"
        published = "-" if row["published_gib"] is None else row["published_gib"]
        numbers = (
            f"{row['allocated_gib']:>10}{row['reserved_gib']:>10}{row['whole_run_gib']:>11}{published:>11}"
        )
        print(f"{row['method']:<14}{numbers}  {verdict}")


def print_cpu(rows: list[dict[str, Any]], step_batch: int) -> None:
    print(f"{'MB saved for backward':<22}{'a record':>10}{'constant':>10}{'the batch':>11}{'step peak':>11}")
    for row in rows:
        numbers = (
            f"{row['saved_mb_a_record']:>10}{row['saved_mb_constant']:>10}{row['saved_mb_of_the_batch']:>11}"
        )
        print(f"{row['method']:<22}{numbers}{row['step_peak_mb']:>11}")
    print(
        "published graph: 70.98 a record for full, 68.62 and 189.5 constant for LoRA (medium, 6144 samples)"
    )


if __name__ == "__main__":
    main()
