"""How long a training step takes: fusion against LoRA and full in the same run, and what was tried to shorten it.

The arms take turns; medians over `--repeats`. Below them stand variants of fusion (records in one zeroth-order forward,
adapters as dense products, compiled features, channels last, a forward that records a graph), the two sides of a probe
one after the other and at once, and the first block's convolution in both memory layouts. What does not run on this machine is listed with its reason.

    python -m benchmarks.native.step [--size base] [--batch 16] [--samples 2048] [--repeats 5] [--json]

On a GPU the defaults are medium, 128 and 6144.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch.nn import functional

from benchmarks.native.arms import MICRO_BATCH, RANK, batch_of, estimator, started
from benchmarks.native.memory import machine
from benchmarks.native.two_sides import in_channels_last, losses_at_once, rules_for_all
from runner.native import adapters
from runner.native.backbone import SIZES
from runner.native.directions import Directions
from runner.native.method import Batch
from runner.native.model import backbone_part
from runner.native.objective import Objective
from runner.native.zeroth_order import FullBatch, Spsa, ZerothOrder

Work = Callable[[], object]
TABLES = (
    "methods", "variants of fusion", "a zeroth-order forward", "both sides of a probe", "convolution of block 1",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gpu = torch.cuda.is_available()
    parser.add_argument("--size", choices=SIZES, default="medium" if gpu else "base")
    parser.add_argument("--batch", type=int, default=128 if gpu else 16)
    parser.add_argument("--samples", type=int, default=6144 if gpu else 2048)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument(
        "--skip-compile", action="store_true", help="compiling takes minutes on a slow machine"
    )
    parser.add_argument("--part", action="append", choices=TABLES, help="one table alone; may come again")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    records = batch_of(arguments.batch, arguments.samples, device)
    made: tuple[Callable[[], dict[str, Work | str]], ...] = (
        lambda: methods(arguments, records, device),
        lambda: variants(arguments, records, device),
        lambda: forwards(arguments, records, device),
        lambda: sides(arguments, records, device),
        lambda: layouts(arguments, device),
    )
    tables = dict(zip(TABLES, made, strict=True))
    wanted = arguments.part or TABLES
    parts = [(title, in_turns(tables[title](), arguments.repeats, device)) for title in wanted]
    if not arguments.json:
        print(f"{arguments.size}, batch {arguments.batch} x {arguments.samples}, fp32, on {machine(device)}")
        for title, rows in parts:
            print(f"{title + ', ms':<44}{'median':>10}{'min':>10}{'max':>10}{'ratio':>8}")
            for row in rows:
                print(f"  {row['what']:<42}" + (row.get("error") or numbers(row)))
    print(json.dumps({**vars(arguments), "machine": machine(device), "parts": dict(parts)}))


def numbers(row: dict[str, Any]) -> str:
    """Return the columns of a row of the table."""
    return f"{row['median_ms']:>10}{row['min_ms']:>10}{row['max_ms']:>10}{row['ratio']:>8}"


def in_turns(cases: dict[str, Work | str], repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Return times of each case; they take turns, after one call each to warm up. The first one is the ratio's 1."""
    errors = {what: work for what, work in cases.items() if isinstance(work, str)}
    works = {what: work for what, work in cases.items() if not isinstance(work, str)}
    seconds: dict[str, list[float]] = {what: [] for what in works}
    for what in list(works):
        try:
            works[what]()
        except Exception as error:  # what cannot run here is part of the result
            errors[what] = f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
            del works[what]
    for _ in range(repeats):
        for what, work in works.items():
            synchronise(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            seconds[what].append(time.perf_counter() - start)
    base = statistics.median(seconds[next(iter(works))])
    rows = [
        {
            "what": what,
            "median_ms": round(1e3 * statistics.median(seconds[what]), 2),
            "min_ms": round(1e3 * min(seconds[what]), 2),
            "max_ms": round(1e3 * max(seconds[what]), 2),
            "ratio": round(statistics.median(seconds[what]) / base, 3),
        }
        for what in works
    ]
    gc.collect()
    return rows + [{"what": what, "error": error} for what, error in errors.items()]


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def methods(arguments: argparse.Namespace, records: Batch, device: torch.device) -> dict[str, Work | str]:
    """Return a step of each method; fusion once with small and once with whole-batch zeroth-order forwards."""
    cases: dict[str, Work | str] = {}
    for name, micro in (
        ("fusion", MICRO_BATCH),
        ("fusion", None),
        ("lora", None),
        ("full", None),
        ("zeroth_order", None),
    ):
        method, _ = started(name, arguments.size, arguments.rank, device, micro)
        label = name if name != "fusion" else f"fusion, {micro or arguments.batch} records a forward"
        cases[label] = lambda method=method: method.step(records)  # type: ignore[misc]
    return cases


def variants(arguments: argparse.Namespace, records: Batch, device: torch.device) -> dict[str, Work | str]:
    """Return fusion as it is, with dense adapters, with convolutions in the other layout, and with compiled features."""
    cases: dict[str, Work | str] = {}
    for label in ("as it is", "dense adapters", "channels last", "compiled features"):
        method, model = started("fusion", arguments.size, arguments.rank, device, None)
        if label == "dense adapters":
            adapters.set_path(model, "dense")
        if label == "channels last":
            in_channels_last(model)
        if label == "compiled features":
            if arguments.skip_compile:
                cases[label] = "not tried (--skip-compile)"
                continue
            model.features = torch.compile(model.features)  # type: ignore[method-assign]
        cases[label] = lambda method=method: method.step(records)  # type: ignore[misc]
    return cases


def forwards(arguments: argparse.Namespace, records: Batch, device: torch.device) -> dict[str, Work | str]:
    """Return the loss of the batch without a graph, by the size of a forward, and with a graph."""
    _, model = started("fusion", arguments.size, arguments.rank, device)
    model.eval()
    cases: dict[str, Work | str] = {}
    for micro in (None, 32, 8, 2):
        if micro is None or micro < arguments.batch:
            label = f"no graph, {micro or arguments.batch} records"
            cases[label] = FullBatch(model, Objective(), estimator(micro), records)
    cases["with a graph, all records"] = lambda: Objective()(model(records.signal), records.target)
    return cases


def sides(arguments: argparse.Namespace, records: Batch, device: torch.device) -> dict[str, Work | str]:
    """Return the probe of a step: its two forwards one after the other, and both in one by `vmap`."""
    _, model = started("fusion", arguments.size, arguments.rank, device)
    cases: dict[str, Work | str] = {}
    for micro in (None, MICRO_BATCH):
        probe, parameters = estimator(micro), backbone_part(model)
        spsa, loss = Spsa(parameters, probe, 0), FullBatch(model, Objective(), probe, records)
        directions = Directions(parameters, 0, None)

        def at_once(probe: ZerothOrder = probe, directions: Directions = directions) -> object:
            return losses_at_once(model, Objective(), probe, records, directions, 0)

        def with_rules(work: Work = at_once) -> object:
            with rules_for_all(model):
                return work()

        size = f"{micro or arguments.batch} records"
        cases[f"one after the other, {size}"] = lambda spsa=spsa, loss=loss: spsa.estimate(loss, 0)  # type: ignore[misc]
        cases[f"at once, {size} a side"] = at_once
        cases[f"at once, rules for all, {size} a side"] = with_rules
        if arguments.batch <= MICRO_BATCH:
            break
    return cases


def layouts(arguments: argparse.Namespace, device: torch.device) -> dict[str, Work | str]:
    """Return block 1's second convolution over time, and as an image of height 1 in both memory layouts."""
    width = SIZES[arguments.size].width
    draw = torch.Generator().manual_seed(0)
    signal = torch.randn(arguments.batch, width, arguments.samples // 4, generator=draw).to(device)
    weight = torch.randn(width, width, 9, generator=draw).to(device)
    image, filters = signal[:, :, None], weight[:, :, None]
    last, last_filters = (part.contiguous(memory_format=torch.channels_last) for part in (image, filters))

    def without_graph(work: Work) -> Work:
        def run() -> object:
            with torch.inference_mode():
                return work()

        return run

    return {
        "time last, 1-d": without_graph(lambda: functional.conv1d(signal, weight, padding=4)),
        "time last, image of height 1": without_graph(
            lambda: functional.conv2d(image, filters, padding=(0, 4))
        ),
        "channels last, image of height 1": without_graph(
            lambda: functional.conv2d(last, last_filters, padding=(0, 4))
        ),
    }


if __name__ == "__main__":
    main()
