"""Fixtures shared by all tests: the real data where it is, and a small valid spec to change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.spec.model import LlmSpec

ROOT = Path(__file__).parent.parent

SMALL: dict[str, Any] = {
    "spec": 1,
    "name": "small",
    "kind": "llm",
    "model": {"base": "./models/tiny", "architecture": "llama", "context": 64},
    "data": {
        "source": "synthetic_medical_qa",
        "records": 100,
        "template": "question_answer",
        "split": {"train": 64, "validation": 16, "test": 16, "by": "record"},
    },
    "method": {"name": "full"},
    "train": {
        "epochs": 2,
        "learning_rate": 1e-3,
        "batch": {"micro": 4, "effective": 8},
        "precision": "fp32",
    },
    "compute": {"device": "cpu"},
}


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real data; skip where there is none."""
    root = Path(os.environ.get("RUNNER_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set RUNNER_TEST_DATA")
    return root.resolve()


@pytest.fixture
def make_spec() -> Callable[..., LlmSpec]:
    """Return a function that makes a small spec, with values changed by dotted path.

    `make_spec({"method": {"name": "lora", "rank": 4, "alpha": 8}, "train.epochs": 1})`; None removes.
    """

    def make(changes: dict[str, Any] | None = None) -> LlmSpec:
        data = _copy(SMALL)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            place = data
            for part in parents:
                place = place.setdefault(part, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        return LlmSpec.model_validate(data)

    return make


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value
