"""The rehearsal of an ECG spec: the same run made tiny, for a CPU without weights, GPU or the real set.

Pure. Everything that is not named here stays: method and its options, layers that carry adapters, the pipeline and
the length it leaves, the rule of the split, learning rate and schedule, choosing by the validation records.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from runner.spec.ecg import Distill, EcgModel, EcgSpec, EcgTrain, SignalMultilabelTask, TaughtTeacher
from runner.spec.ecg_facts import NETWORKS
from runner.spec.ecg_methods import EcgFull, EcgMethod
from runner.spec.ecg_sources import EcgData, EcgSplit
from runner.spec.shared import Compute

SMALLEST = "tinylight"
"""The member of the convolution-transformer family that stands in for the others: same names, one block."""
RECORDS = 96
"""Recordings at most; of a set, spread evenly over it."""
STEPS = 6
"""Optimiser steps at most; a change of `coef` after a fifth of them is among them."""
EVERY = 3
"""Steps between evaluations and between checkpoints at most."""
BATCH = 8
"""Records per step at most; more than the 2 to 4 that are usually backpropagated."""
BP_BATCH = 4
"""Of these, backpropagated at most."""
DRAWS = 2
"""Directions of a step at most."""
LABEL_RATIO = 0.9
"""Least share with labels: 13 records give 2 to choose by. A tenth of a few records trains on nothing."""
HELD_SHARE = 0.2
"""Least share of the patients for validation and for the test: 5 % of ten patients is nobody."""
EVALUATED = 16
"""Records in one forward pass of an evaluation at most."""
CLASSES = 10_000
"""Classes that may have no positive: any number, for a few recordings have few diagnoses."""
WORKERS = 2
"""Processes that read recordings at most."""

STAND_IN: Mapping[str, Any] = MappingProxyType(
    {"records": RECORDS, "fs_hz": 500.0, "seconds": 10.0, "noise_mv": 0.03, "seed": 0}
)
"""Invented recordings in place of a set that is not given: as long and as fast as those of the challenge."""


def rehearsed(spec: EcgSpec) -> EcgSpec:
    """Return the spec of the rehearsal: small, on the CPU, otherwise the same.

    A valid spec gives a valid one. Rehearsing twice changes nothing more.
    """
    return spec.model_copy(
        update={
            "model": _model(spec.model),
            "data": _data(spec.data),
            "method": _method(spec.method, spec.train),
            "train": _train(spec.train),
            "distill": None if spec.distill is None else _distill(spec.distill, spec),
            "compute": Compute(device="cpu", target=spec.compute.target),
            "evaluate": tuple(_task(task) for task in spec.evaluate),
        }
    )


def _model(model: EcgModel) -> EcgModel:
    shrunk = SMALLEST if NETWORKS[model.backbone].blocks else model.backbone
    return model.model_copy(update={"backbone": shrunk, "checkpoint": None})


def _data(data: EcgData) -> EcgData:
    changes: dict[str, Any] = {
        "records": RECORDS if data.records is None else min(data.records, RECORDS),
        "split": _split(data.split),
        "workers": min(data.workers or WORKERS, WORKERS),
        "classes_without_positives": CLASSES,
    }
    return data.model_copy(update=changes)


def _split(split: EcgSplit) -> EcgSplit:
    if split.finetune_label_ratio is not None:
        ratio = max(split.finetune_label_ratio, LABEL_RATIO)
        return split.model_copy(update={"finetune_label_ratio": ratio})
    if split.validation is None or split.test is None:
        return split
    validation, test = max(split.validation, HELD_SHARE), max(split.test, HELD_SHARE)
    if validation + test > 1 - HELD_SHARE:  # a large test set leaves what training needs
        validation = test = HELD_SHARE
    if (validation, test) == (split.validation, split.test):
        return split
    shares = {"train": round(1 - validation - test, 9), "validation": validation, "test": test}
    return split.model_copy(update=shares)


def _method(method: EcgMethod, train: EcgTrain) -> EcgMethod:
    changes: dict[str, Any] = {}
    size: int | None = getattr(method, "bp_batch", None)
    if size is not None:
        most = min(train.batch, BATCH) - (method.name == "addax")
        changes["bp_batch"] = min(size, BP_BATCH, most)
    if method.name == "hybrid" and method.split == "inter":
        changes["deep_blocks"] = min(method.deep_blocks, NETWORKS[SMALLEST].blocks)
    if (zo := getattr(method, "zo", None)) is not None:
        changes["zo"] = zo.model_copy(update={"draws": min(zo.draws, DRAWS)})
    return method.model_copy(update=changes)


def _train(train: EcgTrain) -> EcgTrain:
    steps = STEPS if train.steps is None else min(train.steps, STEPS)
    return train.model_copy(
        update={
            "epochs": None,
            "steps": steps,
            "batch": min(train.batch, BATCH),
            "precision": "fp32",
            "evaluate_every": min(train.evaluate_every, EVERY),
            "save_every": min(train.save_every, EVERY),
            "evaluation_batch": min(train.evaluation_batch, EVALUATED),
            "log_every": 1,
        }
    )


def _distill(distill: Distill, spec: EcgSpec) -> Distill:
    """Return the distillation under a small teacher that is trained first, for there is no earlier run to read."""
    teacher = distill.train_teacher
    if teacher is None:
        model = _model(spec.model.model_copy(update={"backbone": SMALLEST}))
        full = EcgFull(name="full")
        teacher = TaughtTeacher(model=model, method=full, train=spec.train)
    small = TaughtTeacher(
        model=_model(teacher.model),
        method=_method(teacher.method, teacher.train),
        train=_train(teacher.train),
    )
    return distill.model_copy(update={"teacher": None, "train_teacher": small})


def _task(task: SignalMultilabelTask) -> SignalMultilabelTask:
    most = RECORDS if task.records is None else min(task.records, RECORDS)
    return task.model_copy(update={"records": most, "batch": min(task.batch, EVALUATED)})


WHY: tuple[tuple[str, str], ...] = (
    ("*model.backbone", "the smallest member of the same family, with the same names of layers"),
    ("*model.checkpoint", "the weights of another size do not fit; it starts at random"),
    ("data.records", "a handful of recordings, spread over the set; invented ones where no folder is given"),
    ("data.workers", "so few recordings keep no more processes busy"),
    ("data.classes_without_positives", "a few recordings have few diagnoses"),
    ("data.split.finetune_label_ratio", "a tenth of a few recordings would train on nothing"),
    ("data.split.*", "a twentieth of a few patients would be nobody"),
    ("*method.bp_batch", "a part of the small batch"),
    ("*method.deep_blocks", "the small model has one block"),
    ("*method.zo.draws", "two directions show that several work"),
    ("*train.epochs", "a few steps instead of epochs"),
    ("*train.steps", "a few steps"),
    ("*train.batch", "small batches on one process"),
    ("*train.precision", "float32 is what every CPU computes"),
    ("*train.evaluate_every", "evaluated twice in the few steps"),
    ("*train.save_every", "saved twice in the few steps"),
    ("*train.evaluation_batch", "small batches on one process"),
    ("*train.log_every", "every step, to be seen in the few"),
    ("distill.*", "a small teacher is trained first: no earlier run is read"),
    ("compute.*", "one process on a CPU"),
    ("evaluate*", "the few recordings that there are"),
)
"""Pattern of a key, dotted -> why a rehearsal sets it otherwise; the first that fits."""
