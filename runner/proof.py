"""What the plan said, set beside what the engine proves that it did. Pure; any difference fails a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FINISHED = "finished"
INTERRUPTED = "interrupted"
FAILED = "failed"
TRAINING = "training"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as planned."""

    what: str
    planned: Any
    measured: Any
    hint: str = ""

    def text(self) -> str:
        """Return the line that a person reads."""
        line = f"{self.what}: planned {_shown(self.planned)}, measured {_shown(self.measured)}"
        return f"{line} ({self.hint})" if self.hint else line


def verify(proof: Mapping[str, Any], expect: Mapping[str, Any], device: str) -> list[Difference]:
    """Return every difference between the plan of a training and what the plugin counted.

    Args:
        proof: the contents of `train/proof.json`.
        expect: steps, rows, world_size, distributed (none, ddp or deepspeed), early_stopping (whether the
            training may end before its last step) and keep_best (whether it ends with its best
            checkpoint), as planned.
        device: cpu, cuda or mps.

    Returns:
        Nothing where the run is what was planned.
    """
    if proof.get("alive") is not True:
        return [Difference("plugin alive", True, proof.get("alive"), "the engine trained without the plugin")]
    found: list[Difference] = []

    def compare(what: str, planned: Any, measured: Any, hint: str = "") -> None:
        if measured != planned or type(measured) is not type(planned):
            found.append(Difference(what, planned, measured, hint))

    compare("state", FINISHED, proof.get("state"))
    compare("device", device, proof.get("device"))
    compare(
        "processes",
        expect["world_size"],
        proof.get("processes"),
        "each process may have trained alone" if proof.get("processes") == 1 else "",
    )
    compare("distributed", expect["distributed"], proof.get("distributed"), "as the model was really wrapped")
    compare("steps planned by the engine", expect["steps"], proof.get("max_steps"))
    if expect["early_stopping"] and proof.get("stopped_early") is True:
        found += _at_most("steps done", expect["steps"], proof.get("steps"))
        found += _at_most("rows seen", expect["rows"], proof.get("rows_seen"))
    else:
        compare("steps done", expect["steps"], proof.get("steps"))
        compare("rows seen", expect["rows"], proof.get("rows_seen"))
    compare("best checkpoint kept", expect["keep_best"], proof.get("keep_best"), "as the trainer was told")
    if expect["keep_best"]:
        found += _best(proof)
    compare("trainable parameters", proof.get("expected_trainable"), proof.get("trainable"))
    trainable = proof.get("trainable")
    if not isinstance(trainable, int) or trainable < 1:
        found.append(Difference("trainable parameters", "at least 1", trainable))
    return found


def _best(proof: Mapping[str, Any]) -> list[Difference]:
    """Return a difference unless the final weights are those of the lowest validation loss."""
    done, lowest, loaded = proof.get("steps"), proof.get("lowest_step"), proof.get("best_step")
    if isinstance(loaded, int) and isinstance(done, int) and 1 <= loaded <= done and loaded == lowest:
        return []
    return [Difference("step of the final weights", lowest, loaded, "the lowest validation loss is planned")]


def _at_most(what: str, planned: int, measured: Any) -> list[Difference]:
    good = isinstance(measured, int) and 1 <= measured <= planned
    return [] if good else [Difference(what, f"1 to {planned:,}", measured, "it was stopped early")]


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "nothing" if value is None else str(value)
