"""A finished run directory written by hand: small, with every part that a report shows, and text that bites.

The numbers are chosen, not measured; what a test expects of them is worked out beside it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

BITING = "<script>alert('x')</script> & <b>\u00e9t\u00e9</b> \"quoted\" | $x^2$"
"""Text as a record may hold it."""

CLASSES = ("no", "yes")


STARTED = "2026-01-02T03:04:05.678+00:00"


def write_run(
    folder: Path,
    *,
    title: str = "hand-made run",
    seed_loss: float = 7.0,
    steps: int = 60,
    started: str = STARTED,
) -> Path:
    """Write the run directory and return it.

    Args:
        folder: is made.
        title: of the report.
        seed_loss: training loss at the first step, in nats per label token.
        steps: optimiser steps.
        started: when the run was started, under the name of its folder.
    """
    start = {"event": "run_started", "time": started, "run": folder.name, "pid": 1, "resumed": False}
    for name, value in _files(title, seed_loss, steps, start).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl"):
            path.write_text("".join(f"{json.dumps(line)}\n" for line in value), encoding="utf-8")
        else:
            path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def _files(title: str, seed_loss: float, steps: int, start: dict[str, Any]) -> dict[str, Any]:
    metrics = _metrics(seed_loss, steps)
    return {
        "plan.json": _plan(title, steps),
        "status.json": {"state": "done", "stages": {"data": {"seconds": 1.5}, "train": {"seconds": 61.0}}},
        "environment.json": {
            "runner": "0.1.0", "time": "2026-01-02T03:04:05+00:00", "python": "3.11.7 (main)",
            "platform": "Linux", "processor": "x86_64", "packages": {"torch": "2.13.0", "zzz-last": "1.0"},
            "git": {"commit": "0123456789abcdef", "changed": [], "diff_sha256": None},
        },
        "resolved.yaml": f"name: made  # {BITING}\n",
        "data/manifest.json": _manifest(),
        "data/tokens.json": _tokens(),
        "train/proof.json": {
            "steps": steps, "rows_seen": steps * 8, "processes": 1, "trainable": 1000, "total": 4000,
            "expected_trainable": 1000, "tokens_seen": steps * 100, "stopped_early": False, "best_step": 40,
        },
        "train/metrics.jsonl": metrics,
        "events.jsonl": [start, *_told(), *metrics],
        "eval/baseline.json": {"results": [_classified("baseline")]},
        "eval/tuned.json": {"results": [_classified("tuned"), _perplexity()]},
    }  # fmt: skip


def _plan(title: str, steps: int) -> dict[str, Any]:
    published = {
        "metric": "accuracy", "value": 0.6643, "baseline": 0.2741, "unit": None, "split": "test",
        "comparable": "partly", "note": BITING,
    }  # fmt: skip
    reference = {
        "source": BITING,
        "notes": ["A note of the reference."],
        "metrics": [published, {**published, "metric": "rouge1", "value": 0.2235, "baseline": None}],
    }
    return {
        "format": 1, "name": "made", "kind": "llm", "rehearsal": False, "device": "cpu",
        "spec": {
            "name": "made",
            "model": {"base": "some/model", "revision": None, "architecture": "llama", "context": 64},
            "data": {"source": "cardio", "split": {"by": "patient"}},
            "method": {"name": "lora", "rank": 16, "alpha": 16},
            "train": {"learning_rate": 2e-4, "schedule": "cosine", "precision": "fp32", "max_grad_norm": 1.0},
            "evaluate": [{"task": "classification"}],
        },
        "machine": {"system": "Linux", "cpus": 2, "memory_gib": 8.0, "gpus": 0, "gpu_name": None,
                    "gpu_memory_gib": None, "mps": False, "bf16": False},
        "numbers": {"world_size": 1, "micro": 4, "accumulation": 2, "effective": 8, "train_records": 240,
                    "validation_records": 40, "test_records": 100, "steps_per_epoch": 30, "steps": steps,
                    "evaluations": 3, "rows": steps * 8, "tokens_at_most": steps * 8 * 64},
        "stages": [
            {"name": "data", "settings": {}},
            {"name": "train", "settings": {}},
            {"name": "report", "settings": {"title": title, "summary": "A sentence.", "notes": BITING,
                                            "rehearsal": False, "reference": reference, "examples": "full"}},
        ],
        "changes": [], "notes": [], "lacks": [],
    }  # fmt: skip


def _metrics(seed_loss: float, steps: int) -> list[dict[str, Any]]:
    found = []
    for step in range(1, steps + 1):
        loss = 1 + (seed_loss - 1) * math.exp(-step / 15) + 0.1 * math.sin(step * 2.4)
        found.append(
            {
                "event": "step", "step": step, "steps": steps, "epoch": step / 30, "loss": loss,
                "token_accuracy": 1 - loss / 8, "entropy": loss * 0.9, "grad_norm": 0.7 + 0.5 / step,
                "learning_rate": 2e-4 * (1 - step / steps), "tokens_seen": step * 100,
                "label_tokens_seen": step * 50, "rows_seen": step * 8, "tokens_per_s": 200.0,
            }
        )  # fmt: skip
        if step % 20 == 0:
            found.append(
                {
                    "event": "evaluation", "step": step, "epoch": step / 30, "loss": loss + 0.2,
                    "token_accuracy": 0.9 - loss / 8, "entropy": loss, "perplexity": math.exp(loss + 0.2),
                }
            )  # fmt: skip
    return found


def _told() -> list[dict[str, Any]]:
    return [
        {"event": "modules", "trainable": 1000, "total": 4000, "share": 0.25, "matched": {"language.mlp": 6},
         "names": ["base_model.model.model.language_model.layers.0.block_sparse.experts.0.mlp.gate_proj"]},
        {"event": "dataset", "split": "train", "rows": 8, "inspected": 8, "tokens": 100, "label_tokens": 40, "label_share": 0.4,
         "first": f"{BITING} \u27e6answer\u27e7"},
    ]  # fmt: skip


def _manifest() -> dict[str, Any]:
    counts = {"train": 240, "validation": 40, "test": 100}
    return {
        "format": 1,
        "settings": {"source": "cardio", "root": BITING},
        "sources": [{"name": "cardio", "source": "cardio", "read": 400, "kept": 390, "parts": {}}],
        "inputs": {"files": 1, "bytes": 20480, "sha256": "ab" * 32, "list": []},
        "records": {"read": 400, "kept": 390},
        "dropped": {
            "diastolic above systolic": {"count": 7, "ids": ["row/1", "row/2", "row/3", "row/4", BITING]},
            "height below 100 cm": {"count": 3, "ids": ["row/9"]},
        },
        "split": {"by": "patient", "seed": 42, "groups": counts, "crossing": 0, "crossing_duplicates": 2,
                  "shared_questions": {"train, test": 0}, "without_key": 0},
        "splits": {
            name: {"file": f"data/{name}.jsonl", "records": count, "groups": count, "bytes": 10,
                   "answer_words": {"p50": 1, "p90": 1, "max": 2}, "sha256": f"{count:064x}"}
            for name, count in counts.items()
        },
    }  # fmt: skip


def _tokens() -> dict[str, Any]:
    part = {"longer_than_context": {"records": 12, "share": 0.05}, "label_share": 0.4}
    return {"context": 64, "splits": dict.fromkeys(("train", "validation", "test"), part)}


def _perplexity() -> dict[str, Any]:
    """A task that was not judged before training."""
    return {
        "task": "perplexity", "name": "perplexity", "split": "test", "n_records": 100, "n_groups": 100,
        "metrics": {"perplexity": {"value": 3.3074, "low": 3.0384, "high": 3.5899}},
        "headline": ["perplexity"], "method": "bootstrap", "notes": [],
    }  # fmt: skip


def _classified(who: str) -> dict[str, Any]:
    """A classification with every table of the contract; 90 of 100 tuned answers are right, 50 before."""
    right = {"baseline": 25, "tuned": 45}[who]
    unparsed = {"baseline": 10, "tuned": 0}[who]
    wrong = 50 - right - unparsed
    accuracy = right / 50
    interval = {"value": accuracy, "low": accuracy - 0.06, "high": accuracy + 0.05}
    result = {
        "task": "classification", "name": "classification", "split": "test", "n_records": 100, "n_groups": 80,
        "metrics": {
            "accuracy": interval,
            "auc": {"value": None, "low": None, "high": None},
            "parse_rate": {"value": 1 - unparsed / 50, "low": None, "high": None},
            "brier": {"value": 0.2, "low": 0.1, "high": 0.3},
        },
        "headline": ["accuracy", "auc"],
        "method": "95% percentile interval, bootstrap over whole groups, 2000 draws, seed 0",
        "notes": ["AUC does not exist: no record of class 'yes'."],
        "floors": {
            "majority": {"accuracy": {"value": 0.5, "low": 0.44, "high": 0.56}},
            "logistic_regression": {"accuracy": {"value": 0.729, "low": 0.7, "high": 0.75}},
        },
        "tables": {
            "confusion": {
                "columns": ["true", *CLASSES, "unparsed"],
                "rows": [["no", right, wrong, unparsed], ["yes", wrong, right, unparsed]],
            },
            "reliability": {
                "columns": ["low", "high", "count", "mean_score", "share_positive"],
                "rows": [[n / 10, (n + 1) / 10, n * 3, n / 10 + 0.05, min(1.0, n / 9)] for n in range(10)],
            },
            "per_class": {
                "columns": ["class", "positives", "precision", "recall", "f1", "f1_low", "f1_high"],
                "rows": [
                    ["no", 50, accuracy, accuracy, accuracy, accuracy - 0.1, accuracy + 0.08],
                    [BITING, 50, None, None, None, None, None],
                ],
            },
            "subgroups": {
                "columns": ["attribute", "value", "records", "metric", "value_", "low", "high"],
                "rows": [
                    ["sex", "female", 60, "accuracy", accuracy, accuracy - 0.1, accuracy + 0.1],
                    ["sex", "male", 40, "accuracy", accuracy - 0.02, accuracy - 0.15, accuracy + 0.1],
                ],
            },
            "thresholds": {"columns": ["class", "threshold", "fitted"], "rows": [["yes", 0.5, True]]},
        },
        "examples": [
            {"id": f"row/{n}", "prompt": f"Age 5{n}. {BITING}", "answer": who if n else "", "reference": BITING}
            for n in range(5)
        ],
    }  # fmt: skip
    if who == "tuned":
        result["differences"] = {"accuracy": {"value": 0.4, "low": 0.3, "high": 0.5}}
    return result
