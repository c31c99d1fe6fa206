"""How a tuned model is judged, and what was published: `evaluate` and `reference` of the spec."""

from __future__ import annotations

from typing import Literal

from runner.spec.section import Section, key


class PerplexityTask(Section):
    """Held-out loss over the answer's tokens, perplexity and bits per byte."""

    task: Literal["perplexity"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0)
    batch: int = key(8, "Records per forward pass.", unit="records", ge=1)


Task = PerplexityTask


class Published(Section):
    """One published number."""

    metric: str = key(
        description="Name of the metric, as the report names it (perplexity, loss, ...).", min_length=1
    )
    value: float = key(description="The published value after tuning.")
    baseline: float | None = key(None, "The published value before tuning.")
    unit: str | None = key(None, "Unit of the value, where it has one.")
    split: Literal["train", "validation", "test"] = key("test", "The records it was measured on.")
    comparable: Literal["yes", "partly", "no"] = key(
        description="Whether the measured number answers the same question."
    )
    note: str | None = key(None, "Why it is or is not comparable.")


class Reference(Section):
    """The published result that the measured one is set beside."""

    source: str = key(description="Where the numbers were published.", min_length=1)
    notes: tuple[str, ...] = key((), "What is known or suspected about the published numbers.")
    metrics: tuple[Published, ...] = key(description="The numbers.", min_length=1)
