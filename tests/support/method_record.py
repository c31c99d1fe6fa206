"""The record of an ECG run as its page and its table of methods read it, made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.reporting.record import RunRecord

MISSED = {"value": None, "low": None, "high": None}


def value(of: float) -> dict[str, float]:
    return {"value": of, "low": of - 0.1, "high": of + 0.1}


def result(auc: float, *, defined: int = 18, split: str = "test", **more: Any) -> dict[str, Any]:
    ending = "" if defined == 18 else "_present"
    metrics = {"macro_auc": MISSED, "average_precision": MISSED, "f_beta": MISSED}
    metrics |= {
        f"macro_auc{ending}": value(auc),
        f"average_precision{ending}": value(0.5),
        f"f_beta{ending}": value(0.6),
    }
    return {
        "task": "signal_multilabel", "name": "signal_multilabel", "split": split, "n_records": 90,
        "n_classes": 18, "n_classes_defined": defined, "metrics": metrics, "headline": [f"macro_auc{ending}"],
        "narrow": None, "lock": {"task": {"beta": 2.0}}, **more,
    }  # fmt: skip


def step(
    number: int, rows: int, pace: float, training: float = 100.0, whole: float = 200.0
) -> dict[str, Any]:
    return {
        "event": "step", "step": number, "rows_seen": rows, "records_per_s": pace, "epoch": 0.1, "loss": 0.5,
        "memory_training_mib": training, "memory_mib": whole,
    }  # fmt: skip


METHOD = {"name": "lora", "rank": 4}
PROOF = {
    "trainable": 80_594, "total": 334_546,
    "memory": {
        "training": {"allocated_mib": 1024.0, "reserved_mib": 2048.0},
        "whole_run": {"allocated_mib": 1536.0, "reserved_mib": None},
    },
}  # fmt: skip


def record(title: str = "one", **more: Any) -> RunRecord:
    spec = {
        "model": {"backbone": "tinylight", "checkpoint": None}, "method": METHOD, "distill": None,
        "train": {"learning_rate": 1e-3, "schedule": "linear"}, "data": {"source": "sph"}, "evaluate": [{}],
    }  # fmt: skip
    plan = {
        "kind": "ecg",
        "rehearsal": False,
        "spec": spec,
        "stages": [{"name": "train", "settings": {"method": METHOD}}],
        "device": "cpu",
    }
    settings = {"title": title, "summary": "", "notes": "", "rehearsal": False, "reference": None}
    made = RunRecord(
        run=title, plan=plan, settings=settings, proof=PROOF, baseline=[result(0.5)], tuned=[result(0.9)],
        metrics=[step(1, 8, 4.0), step(2, 16, 8.0), step(3, 24, 2.0)],
    )  # fmt: skip
    return replace(made, **more)
