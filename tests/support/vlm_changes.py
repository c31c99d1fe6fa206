"""What makes of the tests' small spec one of a vision-language model."""

from __future__ import annotations

from typing import Any

GEMMA3: dict[str, Any] = {
    "kind": "vlm",
    "model.architecture": "gemma3",
    "data": {
        "source": "ecg_instruct_from_signals",
        "format": "synthetic",
        "records": 100,
        "template": "gemma3",
        "split": {"train": 64, "validation": 16, "test": 16, "by": "group"},
    },
}
MLLAMA: dict[str, Any] = {
    **GEMMA3,
    "model.architecture": "mllama",
    "data": {**GEMMA3["data"], "template": "llama3_2_vision"},
}
