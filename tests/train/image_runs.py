"""Run directories of small models that see, with drawn pages, for the real engine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from converters.numbers import Counts
from runner.backends import axolotl as backend
from runner.files import write_json
from tests.support import vlm_changes

COUNTS = Counts(train=24, validation=6, test=0)
STEPS, ACCUMULATION, MICRO = 9, 2, 2
PACES = {"slow": 60, "usual": 30, "fast": 15}
"""Pace -> pixels between two spikes."""
LORA: Mapping[str, dict[str, Any]] = {
    "gemma3": {
        "name": "lora", "rank": 4, "alpha": 8, "dropout": 0.1,
        "include": ("language.attention", "vision"), "train_fully": ("projector",),
    },
    "mllama": {
        "name": "lora", "rank": 4, "alpha": 8, "dropout": 0.1,
        "include": ("language.attention", "cross_attention", "vision", "projector"),
    },
}  # fmt: skip
PARTIAL = {"name": "partial", "include": ("projector", "cross_attention.layers")}


def write_run(
    folder: Path, architecture: str, make_spec: Callable[..., Any], method: dict[str, Any] | None = None
) -> None:
    """Write records, pages, the engine's config and the settings of the stages into an empty run directory."""
    base = {"gemma3": vlm_changes.GEMMA3, "mllama": vlm_changes.MLLAMA}[architecture]
    spec = make_spec(
        {
            **base,
            "model.base": "tiny-random",
            "model.context": 256,
            "data": {**base["data"], "split": {"train": 24, "validation": 6, "test": 0, "by": "group"}},
            "method": method or LORA[architecture],
            "train.epochs": None,
            "train.steps": STEPS,
            "train.learning_rate": 1e-2,
            "train.batch": {"micro": MICRO, "effective": MICRO * ACCUMULATION},
            "train.evaluate_every": {"steps": 4},
            "train.save_every": {"steps": 2},
            "train.keep_checkpoints": 3,
            "train.log_every": 1,
        }
    )
    rng = random.Random(0)
    write_records(folder, "train", COUNTS.train, rng)
    write_records(folder, "validation", COUNTS.validation, rng)
    numbers = backend.numbers_of(spec, COUNTS)
    for file in backend.files(spec, numbers):
        (folder / file.path).parent.mkdir(exist_ok=True)
        (folder / file.path).write_text(file.text, encoding="utf-8")
    for stage in backend.stages(spec, numbers, rehearsal=False):
        write_json(folder / "config" / f"{stage.name}.json", dict(stage.settings))


def write_records(folder: Path, split: str, count: int, rng: random.Random) -> None:
    """Write the records of a split, whose answers say how far apart the spikes of their page are."""
    from PIL import Image, ImageDraw

    (folder / "data").mkdir(exist_ok=True)
    lines = []
    for number in range(count):
        pace = rng.choice(sorted(PACES))
        page = Image.new("RGB", (300 + rng.randrange(20), 240), "white")
        draw = ImageDraw.Draw(page)
        for x in range(0, 300, PACES[pace]):
            draw.line([(x, 120), (x + 3, 40), (x + 6, 120)], fill="black", width=2)
        path = folder / "data" / f"{split}-{number}.png"
        page.save(path)
        answer = f"The rate is {pace}." + " Nothing else is to be seen." * (number % 3)
        messages = [
            {"role": "user", "content": "What is the heart rate?"},
            {"role": "assistant", "content": answer},
        ]
        lines.append(json.dumps({"id": f"{split}-{number}", "messages": messages, "images": [str(path)]}))
    (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
