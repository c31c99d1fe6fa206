"""Records of the sources that our task files for lm-eval ask about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def of_source(source: str, answers: tuple[str, ...] = ("No", "yes "), count: int = 6) -> list[dict[str, Any]]:
    """Return records of a source, whose ids and questions name it."""
    return [
        {
            "id": f"{source}{n}",
            "messages": [
                {"role": "user", "content": f"About {source} {n}?"},
                {"role": "assistant", "content": answers[n % len(answers)]},
            ],
            "source": source,
            **({"features": {"age": n}} if source == "cardio" else {"focus": None}),
        }
        for n in range(count)
    ]


def write_test_records(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write `data/test.jsonl` of a run."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    (folder / "data" / "test.jsonl").write_text(text, encoding="utf-8")
