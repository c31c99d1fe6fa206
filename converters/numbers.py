"""The arithmetic of a training run: processes, accumulation, steps, evaluations, rows.

Pure. The same numbers are planned, written into the engine's config and compared with what the
engine proves after it has trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from runner.spec.model import AxolotlSpec, Cadence


@dataclass(frozen=True)
class Counts:
    """Records in each split after the data stage (or as the spec states them)."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Numbers:
    """What a training run does, counted. `None`: not known before the records are counted."""

    world_size: int
    """Processes, one a device."""
    micro: int
    """Records per device and forward pass."""
    accumulation: int
    """Forward passes per optimiser step."""
    effective: int
    """Records per optimiser step over all devices."""
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    steps_per_epoch: int | None
    steps: int | None
    """Optimiser steps of the whole training."""
    warmup_steps: int | None
    evaluate_every: int | None
    """Steps between evaluations; None: never (no validation records) or not known yet."""
    save_every: int | None
    """Steps between checkpoints; None only while the steps are not known."""
    evaluations: int | None
    """Evaluations after a step; the engine makes one more before the first step."""
    rows: int | None
    """Training rows that pass through the model, repeats and padding of the last batch included."""
    tokens_at_most: int | None
    """rows * model.context."""


def world_size(spec: AxolotlSpec) -> int:
    """Return how many processes train: one per device over all nodes."""
    return spec.compute.nodes * spec.compute.gpus


def stated_counts(spec: AxolotlSpec) -> Counts | None:
    """Return the record counts if the spec states all three as counts, else None.

    A ratio of a synthetic source, whose size the spec states, is not resolved here: duplicates may
    be dropped first.
    """
    split = spec.data.split
    parts = (split.train, split.validation, split.test)
    counts = [part for part in parts if isinstance(part, int)]
    return Counts(*counts) if len(counts) == len(parts) else None


def numbers_of(spec: AxolotlSpec, counts: Counts | None) -> Numbers:
    """Return the numbers of the run that `spec` describes, on `counts` records.

    A step takes `effective` records. The last step of an epoch takes what is left, as the Hugging
    Face trainer does; with several processes the last batch is filled up by repeating records.
    The spec's rules guarantee that effective = micro * accumulation * world_size.
    """
    world = world_size(spec)
    batch = spec.train.batch
    accumulation = max(1, batch.effective // (batch.micro * world))
    per_epoch = None if counts is None else _steps_per_epoch(counts.train, batch.micro * world, accumulation)
    steps = spec.train.steps
    if steps is None and per_epoch is not None and spec.train.epochs is not None:
        steps = ceil_of(spec.train.epochs, per_epoch)
    validated = counts is None or counts.validation > 0
    evaluate_every = _every(spec.train.evaluate_every, per_epoch, steps) if validated else None
    rows = None
    if counts is not None and steps is not None and per_epoch is not None:
        rows = _rows(counts.train, batch.micro * world, accumulation, steps, per_epoch, padded=world > 1)
    return Numbers(
        world_size=world,
        micro=batch.micro,
        accumulation=accumulation,
        effective=batch.micro * accumulation * world,
        train_records=counts.train if counts else None,
        validation_records=counts.validation if counts else None,
        test_records=counts.test if counts else None,
        steps_per_epoch=per_epoch,
        steps=steps,
        warmup_steps=_warmup(spec, steps),
        evaluate_every=evaluate_every,
        save_every=_save_every(spec, evaluate_every, per_epoch, steps),
        evaluations=_evaluations(evaluate_every, steps),
        rows=rows,
        tokens_at_most=None if rows is None else rows * spec.model.context,
    )


def _steps_per_epoch(records: int, per_pass: int, accumulation: int) -> int:
    passes = math.ceil(records / per_pass)
    return max(1, math.ceil(passes / accumulation))


def _every(cadence: Cadence | None, per_epoch: int | None, steps: int | None) -> int | None:
    """Return a cadence in whole steps; without one, once at the end."""
    if cadence is None:
        return steps
    if cadence.steps is not None:
        return cadence.steps
    if per_epoch is None or cadence.epochs is None:
        return None
    return max(1, round(cadence.epochs * per_epoch))


def _save_every(
    spec: AxolotlSpec, evaluate_every: int | None, per_epoch: int | None, steps: int | None
) -> int | None:
    """Return the steps between checkpoints.

    Where the best checkpoint is kept, each must fall on an evaluation, or the engine keeps the last one
    without a word. Rounded each on its own, 1 and 0.5 epochs of 25 steps are 25 and 12 steps; so the
    checkpoints are as many evaluations apart as the spec says: 2 x 12.
    """
    evaluate, save = spec.train.evaluate_every, spec.train.save_every
    best = spec.train.keep_best or spec.train.early_stopping is not None
    if best and evaluate_every is not None and evaluate and save and evaluate.epochs and save.epochs:
        return evaluate_every * max(1, round(Fraction(repr(save.epochs)) / Fraction(repr(evaluate.epochs))))
    return _every(save, per_epoch, steps)


def _evaluations(every: int | None, steps: int | None) -> int | None:
    """Return how many evaluations fall on a multiple of `every`, and one at the last step."""
    if every is None or steps is None:
        return None
    return math.ceil(steps / every)


def _warmup(spec: AxolotlSpec, steps: int | None) -> int | None:
    """Return the steps of the warm-up; Axolotl 0.19.0 makes 2 of 1 (core/builders/base.py)."""
    if spec.train.warmup_steps is not None:
        warmup = spec.train.warmup_steps
    elif spec.train.warmup_ratio is None:
        return 0
    elif steps is None:
        return None
    else:
        warmup = ceil_of(spec.train.warmup_ratio, steps)
    return 2 if warmup == 1 else warmup


def ceil_of(share: float, whole: int) -> int:
    """Return share * whole rounded up, for the share as it is written.

    In binary, 0.07 * 100 is a little more than 7.

    >>> ceil_of(0.07, 100), math.ceil(0.07 * 100)
    (7, 8)
    """
    return math.ceil(Fraction(repr(share)) * whole)


def _rows(records: int, per_pass: int, accumulation: int, steps: int, per_epoch: int, *, padded: bool) -> int:
    """Return the rows of all steps; several processes repeat rows until all have a full batch."""
    rows_per_epoch = math.ceil(records / per_pass) * per_pass if padded else records
    epochs, left = divmod(steps, per_epoch)
    return epochs * rows_per_epoch + min(left * accumulation * per_pass, rows_per_epoch)
