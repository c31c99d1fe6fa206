"""Held-out loss of the answers' tokens, and what follows from it.

All metrics are ratios of sums over records, so a long answer counts for more than a short one, as
in training. Loss and perplexity are per token and cannot be compared between tokenizers; bits per
byte can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from eval.bootstrap import DRAWS, LEVEL, FloatArray, Interval, clustered_intervals

METHOD = "{level:.0%} percentile interval, bootstrap over whole groups, {draws} draws, seed {seed}"


@dataclass(frozen=True)
class RecordScore:
    """What one record adds: sums over its label tokens, the answer's end token included."""

    id: str
    group: str
    nll: float
    """Negative log likelihood, in nats."""
    label_tokens: int
    answer_bytes: int
    """UTF-8 bytes of the answer that the label tokens spell; the end token spells none."""
    correct: int
    """Label tokens that the model holds for the likeliest."""
    entropy: float
    """Of the predicted distributions, in nats."""


@dataclass(frozen=True)
class HeldOut:
    """The metrics of a set of records, each with its interval."""

    loss: Interval
    """Nats per label token."""
    perplexity: Interval
    """exp(loss)."""
    bits_per_byte: Interval
    """Bits per UTF-8 byte of the answers; NaN where no answer has a byte."""
    token_accuracy: Interval
    """Share of label tokens predicted first."""
    entropy: Interval
    """Nats, mean over label tokens."""


METRICS = tuple(field.name for field in fields(HeldOut))


def held_out(
    scores: Sequence[RecordScore], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> HeldOut:
    """Return the metrics of the records that have label tokens.

    Args:
        scores: one a record; at least one.
        draws: of the bootstrap.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no records, a record has no label token, or a sum is no finite number;
            names the record.

    Source:
        Bits per byte: Gao et al. 2020 (The Pile), section 3.1: nats / (bytes * ln 2).
    """
    if not scores:
        raise ValueError("no records to judge")
    for score in scores:
        if score.label_tokens < 1:
            raise ValueError(f"record {score.id!r} has no label token")
        if not np.isfinite([score.nll, score.entropy]).all():
            raise ValueError(f"record {score.id!r}: nll {score.nll}, entropy {score.entropy}")
    sums = np.array(
        [[s.nll, s.label_tokens, s.answer_bytes, s.correct, s.entropy] for s in scores], np.float64
    )
    groups = [score.group for score in scores]
    return HeldOut(*clustered_intervals(sums, groups, ratios, draws=draws, level=level, seed=seed))


def ratios(totals: FloatArray) -> FloatArray:
    """Return the metrics of column totals.

    Args:
        totals: shape (draw, 5): nats, label tokens, answer bytes, correct tokens, entropy in nats.

    Returns:
        Shape (draw, 5): loss, perplexity, bits per byte, token accuracy, entropy; inf where a
        perplexity is beyond a float, NaN where there are no bytes.
    """
    nll, tokens, size, correct, entropy = totals.T
    loss = nll / tokens
    bits = np.divide(nll, size * np.log(2), out=np.full_like(nll, np.nan), where=size > 0)
    with np.errstate(over="ignore"):
        perplexity = np.exp(loss)
    return np.stack([loss, perplexity, bits, correct / tokens, entropy / tokens], axis=1)
