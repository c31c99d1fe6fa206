"""Records with images and a small model that sees, as the evaluation stage finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TEMPLATES: Mapping[str, str] = {"gemma3": "gemma3", "mllama": "llama3_2_vision"}
END_TOKENS: Mapping[str, list[str]] = {"gemma3": ["<end_of_turn>"], "mllama": ["<|eot_id|>"]}
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


def draw(path: Path, number: int) -> None:
    """Write a picture of waves, another for each number, wider than it is high."""
    generator = np.random.default_rng(number)
    pixels = np.full((90, 120, 3), 255, np.uint8)
    time = np.arange(120)
    for lead in range(3):
        height = 15 + 30 * lead + 8 * np.sin(time * (0.1 + 0.05 * (number % 7))) + generator.normal(size=120)
        pixels[height.astype(int), time] = (number * 37 % 200, 0, 0)
    Image.fromarray(pixels).save(path)


def record(folder: Path, number: int) -> dict[str, Any]:
    """A question about a picture, its labels and its report; two records a patient, about the same picture."""
    shown = number // 2
    labels = [name for place, name in enumerate(SUPERCLASSES[:4]) if (shown >> (place % 3)) & 1]
    path = folder / "images" / f"{shown}.png"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        draw(path, shown)
    report = number % 2 == 0
    return {
        "id": f"r{number}",
        "images": [str(path)],
        "messages": [
            {
                "role": "user",
                "content": "Write a report." if report else "Which superclasses does this ECG have?",
            },
            {
                "role": "assistant",
                "content": f"Sinus rhythm with {'inferior infarction' if number % 3 else 'normal ECG'}."
                if report
                else ", ".join(labels) or "none of these",
            },
        ],
        "group": f"p{number // 2}",
        "question": "",
        "focus": None,
        "source": "test",
        "asks": "report" if report else "superclasses",
        "labels": {"superclasses": labels},
        "attributes": {"sex": ("female", "male")[number // 2 % 2]},
    }


def write_seen(folder: Path, splits: Mapping[str, Sequence[int]]) -> None:
    """Write records with images, and the list of these, as the data stage does."""
    (folder / "data").mkdir(exist_ok=True)
    numbered = {number // 2: record(folder, number) for numbers in splits.values() for number in numbers}
    listed = ({"name": f"ptbxl/{shown}", "path": one["images"][0]} for shown, one in numbered.items())
    text = "".join(json.dumps(image) + "\n" for image in listed)
    (folder / "data" / "images.jsonl").write_text(text, encoding="utf-8")
    for split, numbers in splits.items():
        text = "".join(json.dumps(record(folder, number)) + "\n" for number in numbers)
        (folder / "data" / f"{split}.jsonl").write_text(text, encoding="utf-8")


def make_seeing_model(folder: Path, architecture: str) -> Any:
    """Write a small model that sees, with its tokenizer and processor, to `model/`."""
    from runner.tiny import architectures, processor, tokenizer

    texts = [message["content"] for number in range(40) for message in record(folder, number)["messages"]]
    texts += [
        "Does this ECG show a normal ECG? Answer yes or no.",
        "yes",
        "no",
        "myocardial infarction hypertrophy",
    ]
    words, _ = tokenizer.train(texts, architecture, TEMPLATES[architecture])
    model = architectures.build(architecture, words, 512, seed=1)
    parts = (model, words, processor.processor_of(model, words))
    for part in parts:
        part.save_pretrained(folder / "model")
    return model
