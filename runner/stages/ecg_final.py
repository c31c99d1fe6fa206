"""What an ECG training leaves: weights with adapters merged, loaded back and compared, and thresholds."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.thresholds import fit_thresholds
from runner.files import write_json
from runner.native import distill
from runner.native.adapters import merge
from runner.native.assembly import WEIGHTS, network
from runner.native.checkpoints import load, save
from runner.native.dataset import Records, SomeLeads
from runner.native.errors import NativeError
from runner.native.feed import Rows
from runner.native.journal import Journal
from runner.native.model import EcgModel
from runner.native.train import Ended
from runner.native.watch import logits_of
from runner.stages.final_files import write_final_card

LOADED_BACK_ATOL = 1e-5
"""How much a logit of the weights on the disk may differ: adapters are merged there, which adds in another order."""

Settings = Mapping[str, Any]


def joined(names: Iterable[str]) -> str:
    """Return names as the facts of a weights file hold them."""
    return "; ".join(names)


def seen_by(rows: Rows, settings: Settings) -> Rows:
    """Return rows as the model sees them in use."""
    asked = settings["distill"]
    if not asked or asked["leads"] == max(distill.LEADS):
        return rows
    return SomeLeads(rows, distill.LEADS[asked["leads"]])


def leave(
    settings: Settings,
    records: Records,
    model: EcgModel,
    device: torch.device,
    journal: Journal,
    ended: Ended,
) -> None:
    """Write the final weights, adapters merged, and thresholds; load them back and compare.

    Raises:
        NativeError: what is on the disk does not say what the trained model says.
    """
    train, store = settings["train"], records.store
    out = Path(settings["out"])
    partial, final = out / "final.partial", out / "final"
    held = records.sides["validation"] if len(records.sides["validation"]) else records.sides["train"]
    probe = seen_by(held, settings)
    some = np.arange(min(8, len(probe)))
    before = logits_of(model, probe, some, 8, device, "fp32")
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    facts = {
        "backbone": settings["model"]["backbone"],
        "leads": joined(store.leads),
        "classes": joined(store.class_names),
        "samples": str(store.time_points),
        "fs_hz": f"{store.fs_hz:g}",
        "aux": str(model.aux_classifier is not None).lower(),
        "step": str(ended.best_step if ended.best_step is not None else ended.steps),
    }
    save(merge(model), partial / WEIGHTS, facts)
    again = network(
        settings["model"], len(store.class_names), aux=train["aux"] is not None, seed=train["seed"] + 1
    )
    load(again, partial / WEIGHTS)
    after = logits_of(again.to(device), probe, some, 8, device, "fp32")
    worst = float(np.abs(before - after).max())
    if not worst <= LOADED_BACK_ATOL * max(1.0, float(np.abs(before).max())):
        raise NativeError(
            f"{final}: the weights on the disk give logits that differ by {worst:.2g} from those trained"
        )
    write_json(partial / "thresholds.json", _thresholds(settings, records, again, device))
    write_final_card(partial, None, {"steps": ended.steps}, adapter=False)
    partial.rename(final)
    journal.prove(load_back="", load_back_difference=worst)


def _thresholds(
    settings: Settings, records: Records, model: EcgModel, device: torch.device
) -> dict[str, Any]:
    """Return the threshold of each class, on its logit, from the validation records alone: one set for each beta."""
    held = records.sides["validation"]
    if not len(held):
        return {"split": None, "scale": "logit", "sets": []}
    train, places = settings["train"], np.arange(len(held))
    logits = logits_of(
        model, seen_by(held, settings), places, train["evaluation_batch"], device, train["precision"]
    )
    truth = held.labels(places) > 0.5
    return {
        "split": "validation",
        "scale": "logit",
        "precision": train["precision"],
        "sets": [
            {"beta": beta, "classes": _of_classes(truth, logits, records.store.class_names, beta)}
            for beta in settings["betas"]
        ],
    }


def _of_classes(truth: Any, logits: Any, classes: Sequence[str], beta: float) -> list[dict[str, Any]]:
    found = fit_thresholds(
        truth, logits.astype(np.float64), classes, split="validation", beta=beta, fallback=0.0
    )
    return [
        {"name": one.name, "logit": one.value, "positives": one.positives, "fallback": one.fallback}
        for one in found
    ]
