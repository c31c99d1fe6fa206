"""What every shipped spec becomes, as text: a change of the config shows, and must be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters import axolotl, deepspeed
from converters.numbers import numbers_of, stated_counts
from runner.spec.model import AxolotlSpec, LlmSpec
from runner.validate import load_spec
from tests.support.specs import specs_of_kind

SPECS = Path(__file__).parents[2] / "specs"
SHIPPED = [
    str(path.relative_to(SPECS))
    for path in specs_of_kind("llm", "vlm")
    if path.parent.name != "ablations"  # whose bases are here
]

LORA = {"rank": 16, "alpha": 32, "dropout": 0.05}
GPU: dict[str, Any] = {"compute.device": "cuda", "train.precision": "bf16"}
SMALL: dict[str, dict[str, Any]] = {
    # what the shipped specs do not use yet
    "lora": {
        "method": {"name": "lora", **LORA, "train_fully": ("embeddings",)},
        "model.base": "hub/base",
        "model.revision": "release-2",
        "data.template": "llama3",
        "train.keep_best": True,
        "train.early_stopping": {"patience": 3},
        "train.evaluate_every": {"steps": 4},
        "train.save_every": {"steps": 8},
        **GPU,
    },
    "qlora": {
        "method": {"name": "qlora", **LORA, "rank_stabilised": True},
        "model.architecture": "gemma3_text",
        "data.template": "gemma3",
        "train.gradient_checkpointing": True,
        "train.optimizer": "adamw_bnb_8bit",
        **GPU,
    },
    "dora": {
        "method": {"name": "dora", **LORA, "include": ("language.attention",)},
        "model.adapter": "hub/adapter",
        "train.schedule": "constant",
        "train.warmup_ratio": 0.1,
    },
    "partial": {
        "method": {"name": "partial", "include": ("language.mlp",), "parameters": ("model.norm.weight",)},
        "train.epochs": None,
        "train.steps": 20,
        "data.split.validation": 0,
    },
    "zero2": {
        **GPU,
        "compute": {"device": "cuda", "gpus": 4, "strategy": "zero2"},
        "train.batch": {"micro": 4, "effective": 32},
        "train.max_grad_norm": 0.5,
        "deepspeed": {"zero_optimization": {"overlap_comm": False}},
    },
    "trackers": {
        "tracking": {
            "tensorboard": True,
            "mlflow": {"uri": "${env:MLFLOW_URI}", "experiment": "small"},
            "wandb": {"project": "small", "entity": "team", "mode": "online"},
        },
    },
}


def test_there_are_specs() -> None:
    assert len(SHIPPED) >= 2


@pytest.mark.parametrize("name", SHIPPED)
def test_the_engine_config_is_the_golden_one(name: str, golden: Callable[[str, str], None]) -> None:
    spec = load_spec(SPECS / name, (), {}).spec
    assert spec.kind != "ecg"
    _compare(spec, name, golden)


@pytest.mark.parametrize("name", SMALL)
def test_the_engine_config_of_a_small_spec_is_the_golden_one(
    name: str, make_spec: Callable[..., LlmSpec], golden: Callable[[str, str], None]
) -> None:
    _compare(make_spec(SMALL[name]), f"small/{name}.yaml", golden)


def _compare(spec: AxolotlSpec, name: str, golden: Callable[[str, str], None]) -> None:
    numbers = numbers_of(spec, stated_counts(spec))
    golden(f"axolotl/{name}", axolotl.dump(axolotl.to_axolotl(spec, numbers)))
    zero = deepspeed.to_deepspeed(spec, numbers)
    if zero is not None:
        golden(f"deepspeed/{Path(name).with_suffix('.json')}", deepspeed.dump(zero))
