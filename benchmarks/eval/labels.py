"""How fast answers with labels are scored, and what one reading of an image for all labels saves.

    .venv/bin/python -m benchmarks.eval.labels

Text is scored on one core, each answer new to the reader and then again from its memory. The likelihoods are those of
a Gemma 3 of 6 layers of 256 with 256 tokens an image, of random weights on the CPU: only the ratio means something.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eval.ecgbench import SETS, pulse
from eval.label_sets import label_set
from eval.labels import LabelReader

REPORT = (
    "Sinus rhythm at {} bpm, left axis deviation. No ST elevation; nonspecific ST-T changes in V{}. Left ventricular "
    "hypertrophy and left anterior fascicular block cannot be excluded."
)
SHORT = "The ECG shows MI, CD ({} of {})."
TEXTS = 20_000


def per_second(work: Callable[[str], object], texts: list[str]) -> float:
    """Return texts a second of processor time."""
    started = time.process_time()
    for text in texts:
        work(text)
    return len(texts) / (time.process_time() - started)


def scorers() -> None:
    """Print the rate of each scorer."""
    reader = LabelReader(label_set("superclasses"))
    for name, form in (("short answers", SHORT), ("reports", REPORT)):
        texts = [form.format(number, number % 6) for number in range(TEXTS)]
        print(f"{name}, {sum(map(len, texts)) // TEXTS} characters:")
        print(f"  labels with negation, new texts     {per_second(reader.read, texts):>10,.0f} answers/s")
        print(f"  the same, read before               {per_second(reader.read, texts):>10,.0f} answers/s")
        as_published = per_second(lambda text: pulse.labels_said(SETS["ptbxl_super"], text), texts)
        print(f"  as published                        {as_published:>10,.0f} answers/s")


def likelihoods(labels: int = 24, records: int = 2) -> None:
    """Print the time of all labels behind one reading of an image, and of a row for each."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from runner.judging.continuations import Continuation, score_continuations
    from runner.judging.vision import Seen

    config = Gemma3Config(
        text_config={
            "hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 1024, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 8000,
        },
        vision_config={
            "hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 1024, "num_attention_heads": 4,
            "image_size": 448, "patch_size": 14,
        },
        mm_tokens_per_image=256, image_token_id=7999, boi_token_id=7998, eoi_token_id=7997,
    )  # fmt: skip
    model = Gemma3ForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(records, 3, 448, 448, generator=generator)

    def look(rows: int) -> Callable[[Any], Seen]:
        def seen(ids: Any) -> Seen:
            image = pixels[:1].expand(len(ids), -1, -1, -1) if rows == 1 else pixels
            return Seen({"pixel_values": image, "token_type_ids": (ids == 7999).long()})

        return seen

    start = (2, 7998, *[7999] * 256, 7997)
    prompts = [(*start, *range(100 + n, 112 + n), 5) for n in range(labels)]
    asked = [Continuation(prompt, (9,)) for prompt in prompts]
    times: dict[str, float] = {}
    ways: dict[str, Callable[[], object]] = {
        "one reading of the image": lambda: score_continuations(model, [asked] * records, 16, look(0)),
        "a row for each label": lambda: [
            score_continuations(model, [[one] for one in asked], 16, look(1)) for _ in range(records)
        ],
    }
    for name, work in ways.items():
        work()
        began = time.perf_counter()
        work()
        times[name] = time.perf_counter() - began
        print(f"  {name:<36}{times[name]:>10.2f} s")
    ratio = times["a row for each label"] / times["one reading of the image"]
    print(f"  {records} records of {labels} labels: {ratio:.1f} times as fast")


if __name__ == "__main__":
    scorers()
    likelihoods()
