"""Spec -> DeepSpeed config. Pure, but for reading the strategy's file, which is part of the package.

Keys checked against DeepSpeed 0.18.9 (runtime/config.py) and transformers 5.16.1
(integrations/deepspeed.py). The batch sizes, the clipping and the number format are written as
numbers, not as "auto": where they differ from what the trainer has, it refuses to start, so another
number of processes than planned cannot train unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from converters.numbers import Numbers
from runner.spec.model import AxolotlSpec

FOLDER = "deepspeed_configs"

FIELDS: tuple[tuple[str, str], ...] = (
    ("train.batch.micro", "train_micro_batch_size_per_gpu"),
    ("train.batch.effective", "gradient_accumulation_steps"),
    ("train.batch.effective", "train_batch_size"),
    ("train.max_grad_norm", "gradient_clipping"),
    ("train.precision", "bf16"),
    ("train.precision", "fp16"),
    ("compute.strategy", "zero_optimization"),
)
"""Spec path, DeepSpeed key: what of the spec stands in the config. `deepspeed:` is laid over it."""


def strategies() -> dict[str, dict[str, Any]]:
    """Return strategy -> {"stage", "shards", "offloads"}, as `deepspeed_configs/index.json` says."""
    index: dict[str, dict[str, Any]] = _read("index")
    return index


def to_deepspeed(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any] | None:
    """Return the DeepSpeed config of the spec's strategy; None for a strategy without DeepSpeed."""
    if not spec.compute.strategy.startswith("zero"):
        return None
    config = {
        "train_micro_batch_size_per_gpu": numbers.micro,
        "gradient_accumulation_steps": numbers.accumulation,
        "train_batch_size": numbers.effective,
        "gradient_clipping": spec.train.max_grad_norm,
        "bf16": {"enabled": spec.train.precision == "bf16"},
        "fp16": {"enabled": spec.train.precision == "fp16"},
        **_read(spec.compute.strategy),
    }
    return laid_over(config, spec.deepspeed)


def dump(config: Mapping[str, Any]) -> str:
    """Return the config as JSON text."""
    return json.dumps(config, indent=2) + "\n"


def laid_over(config: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with `raw` laid over it, mapping by mapping; both are left alone.

    >>> laid_over({"zero_optimization": {"stage": 2}}, {"zero_optimization": {"overlap_comm": False}})
    {'zero_optimization': {'stage': 2, 'overlap_comm': False}}
    """
    merged = dict(config)
    for key, value in raw.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = laid_over(below, value)
        merged[key] = value
    return merged


def _read(name: str) -> Any:
    return json.loads(files(FOLDER).joinpath(f"{name}.json").read_text(encoding="utf-8"))
