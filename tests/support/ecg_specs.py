"""A small right ECG spec to change, and one for every variant of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.spec.ecg import EcgSpec

SMALL: Mapping[str, Any] = {
    "spec": 1,
    "name": "small-ecg",
    "kind": "ecg",
    "model": {"backbone": "medium", "checkpoint": "/weights.safetensors"},
    "data": {
        "source": "synthetic_ecg",
        "records": 200,
        "pipeline": (
            {"step": "filter", "low_hz": 1.0, "high_hz": 40.0},
            {"step": "standardise"},
            {"step": "pad_or_crop", "samples": 1024},
        ),
        "split": {"by": "patient", "finetune_label_ratio": 0.5},
    },
    "method": {"name": "full"},
    "train": {"steps": 100, "batch": 32, "learning_rate": 1e-3},
    "compute": {"device": "cpu"},
    "evaluate": ({"task": "signal_multilabel"},),
}
LORA = {"rank": 4}
SPARSE = {"sparsity": {"fraction": 0.5, "per_tensor": {"encoder.0.conv1.lora_a": 0.1}}}
FOLDER = {"root": "/set", "pipeline": SMALL["data"]["pipeline"], "split": SMALL["data"]["split"]}
LINE = {"kind": "linear", "start": 1.0, "end": 0.8}
FUSION = {"name": "fusion", "bp_batch": 8, "coef": {"kind": "constant", "value": 0.9}}
TEACHER = {"model": SMALL["model"], "method": {**FUSION, "lora": LORA}, "train": SMALL["train"]}
REFERENCE = {"source": "a page", "metrics": ({"metric": "auc", "value": 0.9, "comparable": "no"},)}

METHODS: Mapping[str, Any] = {
    "full": {"name": "full", "micro_batch": 8},
    "linear_probe": {"name": "linear_probe"},
    "lora": {"name": "lora", **LORA, "micro_batch": 8},
    "zeroth_order": {"name": "zeroth_order", "lora": LORA, "zo": SPARSE, "update": "optimiser"},
    "fusion": {**FUSION, "lora": LORA, "zo": SPARSE},
    "fusion-line": {**FUSION, "coef": LINE},
    "fusion-phases": {**FUSION, "coef": {"kind": "two_phase"}},
    "addax": {"name": "addax", "bp_batch": 8, "alpha": 0.1, "lora": LORA},
    "hybrid-inter": {"name": "hybrid", "deep_blocks": 2, "bp_batch": 8},
    "hybrid-intra": {"name": "hybrid", "split": "intra", "share": 0.2},
}
SOURCES: Mapping[str, Any] = {
    "cinc2021": {**FOLDER, "source": "cinc2021", "databases": ("georgia",), "records": 500},
    "ptbxl": {**FOLDER, "source": "ptbxl", "task": "form", "fs_hz": 100, "split": {"by": "fold"}},
    "code15": {**FOLDER, "source": "code15", "parts": ("exams_part0.hdf5",)},
    "sph": {**FOLDER, "source": "sph"},
    "arrays": {**FOLDER, "source": "arrays", "label_columns": ("AF",), "fs_hz": 500.0},
    "synthetic": {**SMALL["data"], "classes": ("NSR", "AF")},
    "resampled": {
        **FOLDER,
        "source": "cinc2021",
        "databases": ("ptb", "georgia"),
        "pipeline": ({"step": "resample", "fs_hz": 100.0}, {"step": "pad_or_crop", "samples": 1024}),
        "split": {"by": "record", "finetune_label_ratio": 0.2},
    },
    "shares": {**SMALL["data"], "split": {"by": "patient", "train": 0.6, "validation": 0.2, "test": 0.2}},
}
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "aux": {"train.aux": {"weight": 0.1, "normal": ("NSR",)}},
    "epochs": {"train.steps": None, "train.epochs": 3.0, "train.max_grad_norm": 1.0, "train.cutmix": 0.75},
    "patient": {"train.patience": 3},
    "ddp": {"compute": {"device": "cuda", "gpus": 4, "strategy": "ddp", "gpu": "H200"}},
    "student": {"distill": {"train_teacher": TEACHER, "leads": 3}},
    "of-a-run": {"distill": {"teacher": "/runs/teacher"}},
    "judged-in-part": {"evaluate": ({"task": "signal_multilabel", "records": 50, "subgroups": ("sex",)},)},
    "told": {"report": {"title": "T", "notes": "N"}, "reference": REFERENCE, "summary": "S"},
    "swept": {"sweep": {"axes": {"train.seed": (1, 2)}, "arms": {"a": {"train.seed": 3}}, "seeds": (1,)}},
}


def make_ecg(changes: Mapping[str, Any] | None = None) -> EcgSpec:
    """Return the small spec with values changed by dotted path; None removes one."""
    data = _copy(SMALL)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = data
        for part in parents:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return EcgSpec.model_validate(data)


def every_variant() -> dict[str, EcgSpec]:
    """Return right specs that have every variant of every section between them."""
    made = {f"method-{name}": make_ecg({"method": value}) for name, value in METHODS.items()}
    made |= {f"source-{name}": make_ecg({"data": value}) for name, value in SOURCES.items()}
    return made | {name: make_ecg(changes) for name, changes in OTHERS.items()}


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value
