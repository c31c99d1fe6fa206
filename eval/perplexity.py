"""Held-out loss of the answers' tokens, and what follows from it.

All metrics are ratios of sums over records, so a long answer counts for more than a short one, as
in training. Loss and perplexity are per token and cannot be compared between tokenizers; bits per
byte can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.alike import change_of_share, share
from eval.bootstrap import DRAWS, LEVEL, FloatArray, Interval, clusters, differences, intervals, summed

METRICS = ("loss", "perplexity", "bits_per_byte", "token_accuracy", "entropy")


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
    method: str
    narrow: str | None
    """Why the intervals are too narrow, where they are."""


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
    sums, groups = _sums(scores)
    drawn_from = clusters(groups, sizes=sums[:, 1], draws=draws, level=level, seed=seed)
    found = dict(zip(METRICS, intervals(drawn_from, summed(sums, drawn_from, ratios)), strict=True))
    found["token_accuracy"] = share(found["token_accuracy"], groups, level=level)
    return HeldOut(**found, method=drawn_from.method, narrow=drawn_from.narrow)


def held_out_differences(
    before: Sequence[RecordScore],
    after: Sequence[RecordScore],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of METRICS, over the same draws of groups; the same records, in one order.

    Raises:
        ValueError: as in `held_out`.
    """
    (first, _), (second, groups) = _sums(before), _sums(after)
    drawn_from = clusters(groups, sizes=first[:, 1], draws=draws, level=level, seed=seed)
    of_before, of_after = (summed(sums, drawn_from, ratios) for sums in (first, second))
    found = dict(zip(METRICS, differences(drawn_from, of_before, of_after), strict=True))
    found["token_accuracy"] = change_of_share(found["token_accuracy"], groups, level=level)
    return found


def _sums(scores: Sequence[RecordScore]) -> tuple[FloatArray, list[str]]:
    """Return the columns that `ratios` takes, shape (record, 5), and the groups."""
    if not scores:
        raise ValueError("no records to judge")
    for score in scores:
        if score.label_tokens < 1:
            raise ValueError(f"record {score.id!r} has no label token")
        if not np.isfinite([score.nll, score.entropy]).all():
            raise ValueError(f"record {score.id!r}: nll {score.nll}, entropy {score.entropy}")
    rows = [[s.nll, s.label_tokens, s.answer_bytes, s.correct, s.entropy] for s in scores]
    return np.array(rows, np.float64), [score.group for score in scores]


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
