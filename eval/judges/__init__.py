"""Stored predictions -> results: one pure module a task of the spec.

Each offers `judged(task, lines)`, the result of one model, and `differences(task, before, after)`, the
paired differences of two. They see the task's options and the stored lines and nothing else, so that
`runner verify` can make every number again.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

# Word under `task` -> module. Text, so that knowing the words imports nothing.
JUDGES: Mapping[str, str] = MappingProxyType(
    {
        "perplexity": "eval.judges.perplexity",
        "lm_eval": "eval.judges.lm_eval",
        "classification": "eval.judges.classification",
        "rouge": "eval.judges.rouge",
        "entities": "eval.judges.entities",
        "judge": "eval.judges.by_rubric",
        "multilabel": "eval.judges.multilabel",
        "ecgbench": "eval.judges.ecgbench",
        "signal_multilabel": "eval.judges.signal_multilabel",
    }
)

Line = Mapping[str, Any]


class Judge(Protocol):
    """What a judging module offers."""

    def judged(self, task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
        """Return the result of one model's predictions."""

    def differences(
        self, task: Mapping[str, Any], before: Sequence[Line], after: Sequence[Line]
    ) -> dict[str, dict[str, float | None]]:
        """Return metric -> paired difference, after minus before, with its interval."""


def judge(word: str) -> Judge:
    """Return the judging module of a task."""
    return cast(Judge, importlib.import_module(JUDGES[word]))


def paired(before: Sequence[Line], after: Sequence[Line]) -> None:
    """Check that two models were judged on the same records, in the same order.

    Raises:
        ValueError: ids differ; says how many and names the first.
    """
    one, other = [line["id"] for line in before], [line["id"] for line in after]
    if one == other:
        return
    alone = sorted(set(one) ^ set(other))
    if not alone:
        raise ValueError(f"the same {len(one)} records stand in another order")
    raise ValueError(
        f"{len(one)} records before and {len(other)} after; {len(alone)} stand on one side only, "
        f"the first is {alone[0]!r}"
    )
