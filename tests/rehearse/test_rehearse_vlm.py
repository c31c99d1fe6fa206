"""A spec of images has a rehearsal that is valid, small and of the same parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from converters.modules import group_problems, group_regexes
from runner.backends.axolotl import stages
from runner.rehearse import rehearsed
from runner.spec.kinds import broken_rules
from runner.spec.model import TINY_RANDOM
from runner.spec.vlm import VlmLora, VlmSpec
from runner.validate import load_spec
from tests.support.specs import specs_of_kind
from tests.support.vlm_changes import GEMMA3, MLLAMA

MakeSpec = Callable[..., VlmSpec]

BIG: dict[str, Any] = {
    "model.base": "hub/base",
    "model.context": 1024,
    "train.precision": "bf16",
    "train.optimizer": "adamw_torch_fused",
    "train.batch": {"micro": 4, "effective": 192},
    "train.loader": {"workers": 4, "prefetch": 2, "pin_memory": True},
    "compute": {"device": "cuda", "gpus": 8, "gpu": "A100", "strategy": "zero2"},
}


@pytest.mark.parametrize("path", specs_of_kind("vlm"), ids=lambda path: path.stem)
def test_every_shipped_spec_rehearses(path: Any) -> None:
    spec = load_spec(path, (), {}).spec
    assert isinstance(spec, VlmSpec)
    small = rehearsed(spec)
    assert list(broken_rules(small)) == []
    assert group_problems(small) == ()
    assert rehearsed(small) == small
    assert (small.model.base, small.compute.device, small.deepspeed) == (TINY_RANDOM, "cpu", {})


def test_four_bit_adapters_become_plain_ones_on_the_same_parts(make_spec: MakeSpec) -> None:
    groups = ("language.mlp", "cross_attention.layers", "vision")
    method = {"name": "qlora", "rank": 8, "alpha": 16, "include": groups, "train_fully": ("projector",)}
    spec = make_spec({**MLLAMA, **BIG, "method": method})
    small = rehearsed(spec)
    assert small.method == VlmLora(**{**method, "name": "lora"})
    assert group_regexes(small) == group_regexes(spec)


@pytest.mark.parametrize("seeing", [GEMMA3, MLLAMA], ids=["gemma3", "mllama"])
def test_a_rehearsal_may_have_longer_records_a_run_may_not(
    seeing: dict[str, Any], make_spec: MakeSpec
) -> None:
    """A tokenizer trained on little text makes more tokens; the records stay as they are."""
    spec = make_spec({**seeing, **BIG})
    by_name = {stage.name: stage for stage in stages(spec, _numbers(spec), rehearsal=False)}
    assert by_name["data"].settings["tokens"]["images"] == "whole"
    assert by_name["train"].settings["rows"] == {
        "data/train.jsonl": "train/rows/train.jsonl",
        "data/validation.jsonl": "train/rows/validation.jsonl",
    }
    small = rehearsed(spec)
    by_name = {stage.name: stage for stage in stages(small, _numbers(small), rehearsal=True)}
    assert by_name["data"].settings["tokens"] is None
    assert by_name["tiny_model"].settings["images"] is True


def _numbers(spec: VlmSpec) -> Any:
    from converters.numbers import numbers_of, stated_counts

    return numbers_of(spec, stated_counts(spec))
