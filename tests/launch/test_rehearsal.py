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
    if tokenizer:  # 50,257 entries make each step slow
        words += [
            "--set",
            f"model.tokenizer={real_data / tokenizer}",
            "--set",
            "evaluate=[{task: perplexity}]",
        ]
        words += ["--set", "train.epochs=null", "--set", "train.steps=8"]
        words += ["--set", "train.warmup_steps=2", "--set", "model.context=192"]
    run = launcher.launch(launcher.medquad, "--rehearse", *words, "--runs", "medquad")
    manifest = json.loads((run / "data" / "manifest.json").read_text())
    assert manifest["dropped"]["no answer"]["count"] == 9234 - 8703
    assert manifest["split"]["crossing"] == 0
    rows = {r["metric"]: r for r in json.loads((run / "report" / "results.json").read_text())["table"]}
    assert (rows["perplexity"]["published"], rows["perplexity"]["comparable"]) == (7.71, "no: rehearsal")
    assert rows["perplexity"]["interval"][0] < rows["perplexity"]["tuned"] < rows["perplexity"]["interval"][1]
    page, card = ((run / "report" / name).read_text() for name in ("report.html", "README.md"))
    assert "with what carries loss between" in page, "public questions may be shown"
    assert "Answer: ⟦" in page or "Answer:⟦" in page
    assert "carry loss." in card
    assert "⟦" not in card, "a card is published, and holds no record of any source"
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
    changes = {**changes, "train.steps": "null", "evaluate": "[]"}  # judged is system C
    words = [word for path, value in changes.items() for word in ("--set", f"{path}={value}")]
    run = launcher.launch(launcher.quickstart, "--rehearse", *words, "--runs", name)
    found = list(read_events(run / "events.jsonl"))
    events = {(e["event"], e.get("split")): e for e in found}
    modules = events["modules", None]
    assert 0 < modules["trainable"] < modules["total"]
    assert 0 < events["dataset", "train"]["label_share"] < 1
    passed_on = [
        file.read_text() for file in (run / "train" / "final").iterdir() if file.suffix in (".json", ".md")
    ]
    assert not any(str(launcher.folder) in text for text in passed_on), "no path of this machine"
    assert "How they were made and judged" in (run / "train" / "final" / "README.md").read_text(), (
        "not the engine's"
    )
    first = json.loads((run / "data" / "train.jsonl").read_text().splitlines()[0])["messages"][-1]["content"]
    assert not any(first in log.read_text() for log in (run / "logs").iterdir()), (
        "logs are passed on, and hold no record"
    )
    losses = [event["loss"] for event in found if event["event"] == "evaluation"]
    assert losses[-1] < losses[0], "training taught it nothing"
