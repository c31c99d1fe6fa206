"""What a run started from, in words: a language model's base, or an ECG backbone and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def base_of(plan: Mapping[str, Any]) -> str:
    """Return the model that a stored plan names.

    >>> base_of({"kind": "ecg", "spec": {"model": {"backbone": "medium", "checkpoint": None}}})
    'medium, random weights'
    """
    model = plan["spec"]["model"]
    if plan["kind"] == "ecg":
        return f"{model['backbone']}, {model['checkpoint'] or 'random weights'}"
    return str(model["base"])


def rank_of(method: Mapping[str, Any]) -> int | None:
    """Return the rank of a method's adapters; None where it has none."""
    rank: int | None = method.get("rank") or (method.get("lora") or {}).get("rank")
    return rank
