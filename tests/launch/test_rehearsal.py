"""Rehearsals with the real engine: system C on real questions, and every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import pytest

from runner.events import read_events

pytestmark = pytest.mark.axolotl


class Launcher(Protocol):
    """What the fixture `launcher` offers."""

    quickstart: Path
    medquad: Path

    def launch(self, *words: str | Path) -> Path: ...


@pytest.mark.realdata
@pytest.mark.parametrize("tokenizer", [None, "tokenizers/gpt2"], ids=["trained", "gpt2"])
def test_system_c_rehearses_on_real_questions(
    launcher: Launcher, real_data: Path, tokenizer: str | None
) -> None:
    words = ["--set", f"data.root={real_data / 'medquad'}"]
    if tokenizer:
        words += ["--set", f"model.tokenizer={real_data / tokenizer}"]
    run = launcher.launch(launcher.medquad, "--rehearse", *words, "--runs", "medquad")
    manifest = json.loads((run / "data" / "manifest.json").read_text())
    assert manifest["dropped"]["no answer"]["count"] == 9218 - 8687
    assert manifest["split"]["crossing"] == 0
    rows = {r["metric"]: r for r in json.loads((run / "report" / "results.json").read_text())["table"]}
    assert (rows["perplexity"]["published"], rows["perplexity"]["comparable"]) == (7.71, "no: rehearsal")
    assert rows["perplexity"]["interval"][0] < rows["perplexity"]["tuned"] < rows["perplexity"]["interval"][1]
    report = (run / "report" / "README.md").read_text()
    assert "with what carries loss between" in report
    assert "Answer: ⟦" in report or "Answer:⟦" in report
    tokens = json.loads((run / "data" / "tokens.json").read_text())
    cut = tokens["splits"]["train"]["longer_than_context"]
    assert 0 < cut["share"] < 1
    assert manifest["truncation"]["train"] == cut


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("lora", {"method": "{name: lora, rank: 4, alpha: 8}", "data.template": "llama3"}),
        ("dora-gemma3", {"method": "{name: dora, rank: 4, alpha: 8, include: [language.mlp]}",
                         "model.architecture": "gemma3_text", "data.template": "gemma3"}),
        ("qlora-qwen3", {"method": "{name: qlora, rank: 4, alpha: 8, train_fully: [lm_head]}",
                         "model.architecture": "qwen3", "data.template": "tokenizer",
                         "compute.device": "cuda", "train.precision": "bf16"}),
        ("partial-gpt2", {"method": "{name: partial, include: [language.mlp]}", "model.architecture": "gpt2"}),
    ],
)  # fmt: skip
def test_every_method_rehearses(launcher: Launcher, name: str, changes: dict[str, str]) -> None:
    words = [word for path, value in changes.items() for word in ("--set", f"{path}={value}")]
    run = launcher.launch(
        launcher.quickstart, "--rehearse", *words, "--set", "train.steps=null", "--runs", name
    )
    events = {(e["event"], e.get("split")): e for e in read_events(run / "events.jsonl")}
    modules = events["modules", None]
    assert 0 < modules["trainable"] < modules["total"]
    assert 0 < events["dataset", "train"]["label_share"] < 1
    tuned = json.loads((run / "eval" / "tuned.json").read_text())
    baseline = json.loads((run / "eval" / "baseline.json").read_text())
    loss = [item["results"][0]["metrics"]["loss"]["value"] for item in (baseline, tuned)]
    assert loss[1] < loss[0], "training taught it nothing"
