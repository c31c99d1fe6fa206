"""The arithmetic of an ECG training: steps, evaluations, rows. Pure, as `converters.numbers` is.

A step takes `train.batch` records over all devices; the last step of an epoch takes what is left, and with several
devices is filled up to a number that they divide.
"""

from __future__ import annotations

import math

from converters.numbers import Counts, Numbers, ceil_of
from runner.spec.ecg import EcgSpec, EcgTrain
from runner.spec.ecg_facts import devices


def numbers_of(spec: EcgSpec, counts: Counts | None) -> Numbers:
    """Return the numbers of the training of the spec's own model, on `counts` records."""
    return numbers_of_training(spec.train, devices(spec), counts)


def numbers_of_training(train: EcgTrain, world: int, counts: Counts | None) -> Numbers:
    """Return the numbers of one training on `world` devices: that of the model, or of a teacher before it."""
    records = None if counts is None else counts.train
    per_epoch = None if records is None else math.ceil(records / train.batch)
    steps = train.steps
    if steps is None and per_epoch is not None and train.epochs is not None:
        steps = ceil_of(train.epochs, per_epoch)
    known = steps is not None and per_epoch is not None and records is not None
    return Numbers(
        world_size=world,
        micro=train.batch // world,
        accumulation=1,
        effective=train.batch,
        train_records=records,
        validation_records=counts.validation if counts else None,
        test_records=counts.test if counts else None,
        steps_per_epoch=per_epoch,
        steps=steps,
        warmup_steps=None if steps is None else ceil_of(train.warmup_ratio, steps),
        evaluate_every=train.evaluate_every,
        save_every=train.save_every,
        evaluations=None if steps is None else math.ceil(steps / train.evaluate_every),
        rows=_rows(records or 0, train.batch, world, steps or 0) if known else None,
        tokens_at_most=None,
    )


def _rows(records: int, batch: int, world: int, steps: int) -> int:
    """Return the rows of all steps, repeats that fill a batch up for several devices included.

    >>> _rows(10, 4, 1, 4), _rows(10, 4, 4, 4)
    (14, 16)
    """
    left = records % batch
    last = left + -left % world if left else batch
    per_epoch = math.ceil(records / batch)
    epochs, rest = divmod(steps, per_epoch)
    return epochs * ((per_epoch - 1) * batch + last) + rest * batch
