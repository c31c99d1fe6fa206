"""A hand-made run directory whose results are judged from predictions that are stored in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from made_run import STARTED, write_run

from eval.judges import judge

TASK = {"task": "perplexity", "split": "test", "records": None, "batch": 8}


def lines(seed: int, shift: float, records: int = 40, groups: int = 9) -> list[dict[str, Any]]:
    """Return the sums of some records.

    A label token costs `shift` nats more: 1.2 times that in every second record, 0.8 times in the others.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, 40, records)
    nll = tokens * (rng.normal(2.0, 0.3, records) + shift * np.where(np.arange(records) % 2, 0.8, 1.2))
    return [
        {
            "id": f"r{n}", "group": f"g{n % groups}", "nll": float(nll[n]), "label_tokens": int(tokens[n]),
            "answer_bytes": int(tokens[n]) * 4, "correct": int(tokens[n]) // 2, "entropy": float(tokens[n]) * (1 + n % 3),
            "cut": False,
        }
        for n in range(records)
    ]  # fmt: skip


def write_judged_run(
    folder: Path,
    *,
    title: str = "judged",
    shift: float = 0.0,
    started: str = STARTED,
    groups: int = 9,
    **lock: Any,
) -> Path:
    """Write a run directory with a baseline and a tuned evaluation; `lock` changes parts of its lock."""
    run = write_run(folder, title=title, started=started)
    for name, more in (("baseline", 1.0), ("tuned", 0.0)):
        path = run / "eval" / name / "1_perplexity.jsonl"
        path.parent.mkdir()
        found = lines(7, shift + more, groups=groups)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in found))
        whole = {
            "task": TASK, "records": None, "context": 64, "precision": "fp32",
            "model": {"name": folder.name}, "adapter": None, **lock,
        }  # fmt: skip
        result = judge("perplexity").judged(TASK, found)
        result |= {"lock": whole, "predictions": f"eval/{name}/1_perplexity.jsonl"}
        (run / "eval" / f"{name}.json").write_text(json.dumps({"format": 1, "results": [result]}))
    return run
