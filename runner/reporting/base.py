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


def method_in_words(method: Mapping[str, Any]) -> str:
    """Return an ECG method with what tells its variants apart.

    >>> method_in_words({"name": "fusion", "lora": {"rank": 16}, "bp_batch": 8, "coef": {"kind": "constant", "value": 1.0}})
    'fusion, rank 16, bp_batch 8, coef 1'
    """
    said = [str(method["name"])]
    if rank := rank_of(method):
        said.append(f"rank {rank}")
    if method.get("bp_batch"):
        said.append(f"bp_batch {method['bp_batch']}")
    if coef := method.get("coef"):
        weights = [f"{coef[key]:g}" for key in ("value", "first", "start", "then", "end") if key in coef]
        said.append(f"coef {' to '.join(weights)}")
    return ", ".join(said)
