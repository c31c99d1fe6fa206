"""What a run started from, in words: a language model's base, or an ECG backbone and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.spec.environment import empty_unless_set

RANDOM = "random weights"


def base_of(plan: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
    """Return the model that a run started from; of a rehearsal the one that it stands in for.

    Args:
        plan: as stored.
        proof: of the training; empty where it did not begin.

    >>> spec = {"model": {"backbone": "medium", "checkpoint": "${env:WEIGHTS:-}"}}
    >>> base_of({"kind": "ecg", "rehearsal": False, "spec": spec}, {"started_from": None})
    'medium, random weights (${env:WEIGHTS:-} was empty)'
    """
    model = plan["spec"]["model"]
    if plan["kind"] != "ecg":
        return str(model["base"])
    checkpoint = model["checkpoint"]
    if not checkpoint:
        return f"{model['backbone']}, {RANDOM}"
    if not plan["rehearsal"] and has_loaded(proof) is False:
        return f"{model['backbone']}, {RANDOM} ({checkpoint} was empty)"
    return f"{model['backbone']}, {checkpoint}{_trained_on(proof)}"


def weights_at_start(plan: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
    """Return which weights an ECG run started from: as proven, and where nothing is proven yet, as planned."""
    checkpoint, loaded = plan["spec"]["model"]["checkpoint"], has_loaded(proof)
    if not checkpoint or plan["rehearsal"] or loaded is False:
        return RANDOM
    if loaded is None and empty_unless_set(checkpoint):
        return f"as given, or {RANDOM}"
    return f"as given{_trained_on(proof)}"


def _trained_on(proof: Mapping[str, Any]) -> str:
    """Return how the records differ from those that a checkpoint was trained on, as the training proved it."""
    other = (proof.get("started_from") or {}).get("trained_on_other")
    return f" (trained on {', '.join(other)})" if other else ""


def has_loaded(proof: Mapping[str, Any]) -> bool | None:
    """Return whether an ECG training proved that it loaded a checkpoint; None where it did not come that far.

    Earlier releases wrote `started_from` only where one was loaded, and `trainable` right after it.
    """
    if "started_from" in proof:
        return proof["started_from"] is not None
    return False if "trainable" in proof else None


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
