"""System B, the whole way on real rows: a small Gemma 3 with its vision tower, text alone, floors beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import pytest

from runner.events import read_events

pytestmark = pytest.mark.axolotl
SPEC = Path(__file__).parent.parent.parent / "specs" / "medgemma_cardio.yaml"


class Launcher(Protocol):
    """What the fixture `launcher` offers."""

    def launch(self, *words: str | Path) -> Path: ...


@pytest.mark.realdata
def test_system_b_rehearses_on_real_rows(launcher: Launcher, real_data: Path) -> None:
    run = launcher.launch(
        SPEC, "--rehearse", "--set", f"data.root={real_data / 'cardio'}", "--runs", "cardio"
    )
    manifest = json.loads((run / "data" / "manifest.json").read_text())
    assert (manifest["records"]["kept"], manifest["split"]["crossing"]) == (54_575, 0)
    events = {(e["event"], e.get("split")): e for e in read_events(run / "events.jsonl")}
    modules = events["modules", None]
    assert modules["matched"] == {"language.attention": 2 * 4, "language.mlp": 2 * 3}
    assert all(name.startswith("model.language_model.layers.") for name in modules["names"])
    results = json.loads((run / "eval" / "tuned.json").read_text())["results"]
    (judged,) = [result for result in results if result["task"] == "classification"]
    assert judged["floors"].keys() == {"majority", "one_rule", "logistic_regression", "gradient_boosting"}
    assert judged["metrics"]["accuracy"]["value"] is not None
    rows = {r["metric"]: r for r in json.loads((run / "report" / "results.json").read_text())["table"]}
    row = rows["generated_accuracy"]
    assert (row["published_baseline"], row["published"], row["comparable"]) == (
        0.2741,
        0.6643,
        "no: rehearsal",
    )
