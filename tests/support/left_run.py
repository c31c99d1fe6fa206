"""A judged run with its report, and with the hashes that the executor writes down when stages end."""

from __future__ import annotations

import json
from pathlib import Path

from judged_run import write_judged_run

from runner.files import sha256_of
from runner.outputs import Hashes, below, record, record_run

LEFT = {
    "data": ["data/manifest.json", "data/tokens.json", "data/train.jsonl", "data/test.jsonl"],
    "baseline": ["eval/baseline.json", "eval/baseline/1_perplexity.jsonl"],
    "train": ["train/proof.json", "train/metrics.jsonl", "train/final/model.safetensors", "train/checkpoints/checkpoint-60/w"],
    "evaluate": ["eval/tuned.json", "eval/tuned/1_perplexity.jsonl"],
}  # fmt: skip
"""Stage -> what it left; the report stage is added by whoever writes the report."""


def write_left_run(folder: Path) -> Path:
    """Write the run directory, without a report."""
    run = write_judged_run(folder)
    for name, text in (
        ("data/train.jsonl", '{"id": "a"}\n'),
        ("data/test.jsonl", '{"id": "b"}\n'),
        ("train/final/model.safetensors", "weights"),
        ("train/checkpoints/checkpoint-60/w", "weights before"),
        ("config/data.json", "{}"),
        ("logs/train.log", "trained\n"),
        ("spec.yaml", "name: made\n"),
        ("notes.txt", "of a person\n"),
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text, encoding="utf-8")
    manifest = json.loads((run / "data/manifest.json").read_text())
    for side in ("train", "test"):
        manifest["splits"][side]["sha256"] = sha256_of(run / "data" / f"{side}.jsonl")
    (run / "data/manifest.json").write_text(json.dumps(manifest))
    plan = json.loads((run / "plan.json").read_text())
    settings = {stage["name"]: stage["settings"] for stage in plan["stages"]}
    plan["stages"] = [{"name": name, "settings": settings.get(name, {})} for name in (*LEFT, "report")]
    (run / "plan.json").write_text(json.dumps(plan))
    stages = {name: {"key": "", "seconds": 1.0} for name in (*LEFT, "report")}
    (run / "status.json").write_text(json.dumps({"state": "done", "stages": stages}))
    write_down(run)
    return run


def write_down(run: Path) -> None:
    """Write the hashes of all stages, and of the run, as they are now."""
    hashes = Hashes(run)
    for stage, names in LEFT.items():
        record(hashes, stage, names)
    record(hashes, "report", below(run, ["report"]))
    record_run(hashes, [])
