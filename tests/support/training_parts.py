"""Small trainings for the tests of the loop: learnable records, any method, run folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from native_parts import ESTIMATOR, LORA, learnable
from safetensors import safe_open

from runner.events import EventWriter
from runner.native import addax, first_order, fusion, hybrid, zeroth_order
from runner.native.adapters import attach, train_all, train_heads
from runner.native.backbone import Backbone, backbone
from runner.native.coefficients import Constant, TwoPhase
from runner.native.feed import Feed, InMemory, Order
from runner.native.journal import Journal
from runner.native.method import Method, Setup
from runner.native.objective import Objective
from runner.native.optimiser import OptimiserOptions, Update
from runner.native.snapshots import Snapshots
from runner.native.streams import built, generator
from runner.native.together import Together
from runner.native.train import Course, Training
from runner.native.watch import Watch

CPU = torch.device("cpu")
CLASSES, SAMPLES = 3, 256


def rows(records: int = 24, seed: int = 5) -> InMemory:
    """Return learnable records."""
    made = learnable(records, CLASSES, SAMPLES, seed)
    return InMemory(made.signal.numpy(), made.target.numpy())


def model_for(method: str, seed: int = 18) -> Backbone:
    """Return a tinylight with what `method` trains."""
    model = built(seed, lambda: backbone("tinylight", CLASSES))
    if method == "full":
        train_all(model)
    elif method == "linear_probe":
        train_heads(model)
    else:
        attach(model, LORA, generator(seed))
    return model


def method_for(
    name: str,
    model: Backbone,
    steps: int,
    *,
    wrapped: torch.nn.Module | None = None,
    together: Together | None = None,
    bn: str = "batch",
    rate: float = 2e-3,
    optimizer: str = "adamw",
) -> Method:
    """Return a method, ready for its first step."""
    update = Update(
        model.parameters(), OptimiserOptions(optimizer, rate, 0.01, "all", "linear", 1, steps, None)
    )
    setup = Setup(model, Objective(), update, 18, steps, wrapped=wrapped, together=together or Together())
    if name == "fusion":
        options = fusion.Options(ESTIMATOR, 2, TwoPhase(0.99, 0.9, 0.2), "full_batch", 1e-6, None)
        return fusion.method(setup, options)
    if name == "fusion_tiny":
        return fusion.method(setup, fusion.Options(ESTIMATOR, 4, Constant(0.8), "tiny_batch", 1e-6, None))
    if name == "zeroth_order":
        return zeroth_order.method(setup, zeroth_order.Options(ESTIMATOR, "full_batch", False, "optimiser"))
    if name == "mezo":
        return zeroth_order.method(setup, zeroth_order.Options(ESTIMATOR, "zeroth_order", False, "in_place"))
    if name == "addax":
        return addax.method(setup, addax.Options(ESTIMATOR, 2, 0.1))
    if name == "hybrid":
        return hybrid.method(setup, hybrid.Options(ESTIMATOR, "intra", 0, 0.5, 4))
    return first_order.method(setup, first_order.Options(bn, None))  # type: ignore[arg-type]


def training(
    folder: Path,
    name: str = "full",
    *,
    steps: int = 8,
    batch: int = 10,
    every: int = 2,
    save_every: int = 3,
    patience: int | None = None,
    keep_best: bool = True,
    together: Together | None = None,
    bn: str = "batch",
    rate: float = 2e-3,
    optimizer: str = "adamw",
    stopping: Callable[[], bool] = lambda: False,
    cutmix: float | None = 0.75,
    **changes: Any,
) -> Training:
    """Return a training in `folder`, ready to run."""
    at = together or Together()
    model = model_for(name)
    wrapped = at.wrapped(model, name)
    events = EventWriter(folder / "events.jsonl", "train") if at.writes else None
    folder.mkdir(parents=True, exist_ok=True)
    return Training(
        model=model,
        method=changes.pop("method", None)
        or method_for(
            name, model, steps, wrapped=wrapped, together=at, bn=bn, rate=rate, optimizer=optimizer
        ),
        feed=Feed(rows(), Order(24, batch, 18, at.world), CPU, cutmix=cutmix, rank=at.rank, world=at.world),
        held=changes.pop("held", rows(12, seed=9)),
        course=Course(
            steps=steps,
            seed=18,
            log_every=1,
            evaluate_every=every,
            save_every=save_every,
            evaluation_batch=5,
            keep_best=keep_best,
            precision="fp32",
        ),
        watch=Watch("macro_map", patience),
        snapshots=Snapshots(folder / "checkpoints", 2),
        journal=Journal(events, folder / "metrics.jsonl", folder / "proof.json"),
        together=at,
        stopping=stopping,
    )


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Say whether two models hold the same bits under the same names."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


def last_state(checkpoints: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of the newest checkpoint: the weights by name, the optimiser's moments by number."""
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    with safe_open(newest / "state.safetensors", framework="pt") as file:
        # Copies: what is mapped from the file changes with it.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        skeleton = dict(json.loads(file.metadata()["skeleton"])["map"])
    weights = {place["tensor"]: name for name, place in skeleton["model"]["map"]}
    return {weights.get(number, f"optimiser {number}"): value for number, value in tensors.items()}


def same_state(one: Path, other: Path) -> bool:
    """Say whether the newest checkpoints of two folders hold the same bits."""
    mine, theirs = last_state(one), last_state(other)
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )
