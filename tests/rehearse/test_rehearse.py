"""A valid spec has a valid rehearsal that is small and exercises what the real run does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from converters.axolotl import dump, to_axolotl
from converters.numbers import numbers_of, stated_counts, world_size
from runner.rehearse import AT_MOST, CONTEXT, MICRO, STEPS, WHY, Difference, differences, rehearsed
from runner.spec.kinds import broken_rules
from runner.spec.model import TINY_RANDOM, LlmSpec, Lora

MakeSpec = Callable[..., LlmSpec]

LORA = {"rank": 8, "alpha": 16}

BIG: dict[str, Any] = {
    "model": {
        "base": "meta-llama/Llama-3.1-8B-Instruct",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "architecture": "llama",
        "context": 4096,
        "attention": "flash_attention_2",
        "trust_remote_code": True,
    },
    "data.template": "tokenizer",
    "data.split": {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "question", "seed": 7},
    "method": {"name": "qlora", **LORA, "dropout": 0.1, "include": ("language.attention",)},
    "train": {
        "epochs": 3,
        "learning_rate": 2e-4,
        "warmup_steps": 500,
        "optimizer": "adamw_bnb_8bit",
        "batch": {"micro": 8, "effective": 128},
        "precision": "bf16",
        "gradient_checkpointing": True,
        "log_every": 50,
        "evaluate_every": {"epochs": 0.5},
        "save_every": {"epochs": 1},
        "keep_best": True,
        "early_stopping": {"patience": 3},
        "loader": {"workers": 8, "prefetch": 4, "pin_memory": True},
    },
    "compute": {"device": "cuda", "gpus": 4, "gpu": "A100", "strategy": "zero2"},
    "evaluate": ({"task": "perplexity", "batch": 32},),
    "tracking": {
        "wandb": {"project": "p", "mode": "online"},
        "mlflow": {"uri": "http://m", "experiment": "e"},
    },
    "axolotl": {"tf32": True, "lora_qkv_kernel": True, "neftune_noise_alpha": 5},
    "deepspeed": {"zero_optimization": {"overlap_comm": True}},
}


@pytest.fixture
def big(make_spec: MakeSpec) -> LlmSpec:
    return make_spec(BIG)


def no_rule_broken(spec: LlmSpec) -> bool:
    return not list(broken_rules(spec))


def test_the_big_spec_is_valid(big: LlmSpec) -> None:
    assert no_rule_broken(big)


def test_a_rehearsal_needs_no_weights_no_gpu_and_no_network(big: LlmSpec) -> None:
    small = rehearsed(big)
    assert small.model.base == TINY_RANDOM
    assert (small.model.revision, small.model.tokenizer, small.model.trust_remote_code) == (None, None, False)
    assert small.model.attention == "sdpa"
    assert (small.compute.device, world_size(small), small.compute.strategy) == ("cpu", 1, "none")
    assert small.compute.gpu is None
    assert small.train.precision == "fp32"
    assert small.train.optimizer == "adamw_torch"
    assert (small.tracking.wandb, small.tracking.mlflow) == (None, None)
    assert small.axolotl == {"neftune_noise_alpha": 5}
    assert small.deepspeed == {}
    assert no_rule_broken(small)


def test_a_rehearsal_keeps_what_it_is_to_prove(big: LlmSpec) -> None:
    small = rehearsed(big)
    assert small.model.architecture == big.model.architecture
    assert small.data == big.data
    assert small.method == Lora(name="lora", rank=8, alpha=16, dropout=0.1, include=("language.attention",))
    for key in ("learning_rate", "schedule", "keep_best", "early_stopping", "seed", "gradient_checkpointing"):
        assert getattr(small.train, key) == getattr(big.train, key), key
    assert small.evaluate[0].split == big.evaluate[0].split


def test_the_numbers_of_a_rehearsal(big: LlmSpec) -> None:
    """128 records on 4 GPUs of 8 accumulate 4 times; the rehearsal takes 4 records twice."""
    numbers = numbers_of(rehearsed(big), None)
    assert (numbers.micro, numbers.accumulation, numbers.effective) == (4, 2, 8)
    assert (numbers.steps, numbers.warmup_steps) == (36, 9)
    assert (numbers.evaluate_every, numbers.save_every, numbers.evaluations) == (12, 12, 3)


def test_a_run_that_does_not_accumulate_is_rehearsed_without(make_spec: MakeSpec) -> None:
    spec = make_spec(
        {"train.batch": {"micro": 16, "effective": 64}, "compute": {"gpus": 4, "strategy": "ddp"}}
    )
    numbers = numbers_of(rehearsed(spec), None)
    assert (numbers.micro, numbers.accumulation) == (4, 1)


def test_counts_are_cut_and_ratios_stay(make_spec: MakeSpec) -> None:
    counts = {"train": 3500, "validation": 750, "test": 20, "by": "record"}
    assert stated_counts(rehearsed(make_spec({"data.split": counts}))) is not None
    split = rehearsed(make_spec({"data.split": counts})).data.split
    assert (split.train, split.validation, split.test) == (240, 40, 20)
    ratios = {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record"}
    assert rehearsed(make_spec({"data.split": ratios})).data.split.train == 0.8


@pytest.mark.parametrize(
    ("tokenizer", "kept"),
    [("./tok", True), ("../tok", True), ("/data/tok", True), ("openai-community/gpt2", False)],
)
def test_a_local_tokenizer_is_kept(make_spec: MakeSpec, tokenizer: str, kept: bool) -> None:
    spec = make_spec({"model.tokenizer": tokenizer})
    assert rehearsed(spec).model.tokenizer == (tokenizer if kept else None)


def test_a_run_shorter_than_a_rehearsal_stays_as_short(make_spec: MakeSpec) -> None:
    spec = make_spec({"train.epochs": None, "train.steps": 3, "train.warmup_steps": 2})
    small = rehearsed(spec)
    assert (small.train.steps, small.train.warmup_steps) == (3, 0)
    assert no_rule_broken(small)


@pytest.mark.parametrize(("steps", "warmup"), [(3, 0), (4, 2), (7, 2), (8, 2), (12, 3), (900, 5)])
def test_a_quarter_of_the_steps_at_most_are_warm_up_and_never_one(
    make_spec: MakeSpec, steps: int, warmup: int
) -> None:
    """5 of 7 steps are cut to 7 // 4 = 1, which the engine would make 2 and the rules refuse."""
    small = rehearsed(make_spec({"train.epochs": None, "train.steps": steps, "train.warmup_steps": 5}))
    assert small.train.warmup_steps == warmup
    assert no_rule_broken(small)


def test_without_validation_records_nothing_is_evaluated_while_training(make_spec: MakeSpec) -> None:
    split = {"train": 64, "validation": 0, "test": 16, "by": "record"}
    small = rehearsed(make_spec({"data.split": split}))
    assert small.train.evaluate_every is None
    assert no_rule_broken(small)


def test_qlora_with_a_pattern_stays_valid(make_spec: MakeSpec) -> None:
    """What the spec did not give must not look as if it had: include beside modules is refused."""
    method = {"name": "qlora", **LORA, "modules": r".*\.q_proj"}
    small = rehearsed(make_spec({"method": method, "compute": {"device": "cuda"}}))
    assert isinstance(small.method, Lora)
    assert small.method.modules == r".*\.q_proj"
    assert no_rule_broken(small)


def test_the_spec_is_left_alone(big: LlmSpec) -> None:
    before = big.model_dump()
    rehearsed(big)
    assert big.model_dump() == before


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Changes that make a spec; most are valid, the others are passed over."""
    gpus = draw(st.sampled_from([1, 2, 4]))
    micro, accumulation = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    cuda = draw(st.booleans()) or gpus > 1
    count = st.integers(0, 5000)
    cadence = st.none() | st.builds(lambda n: {"steps": n}, st.integers(1, 500))
    every = draw(cadence)
    best = every is not None and draw(st.booleans())
    length = draw(
        st.sampled_from([{"epochs": 0.5}, {"epochs": 3}, {"steps": 1}, {"steps": 7}, {"steps": 900}])
    )
    warmup = draw(st.sampled_from([{}, {"warmup_steps": 0}, {"warmup_steps": 5}, {"warmup_ratio": 0.99}]))
    workers = draw(st.integers(0, 8))
    return {
        "model.context": draw(st.sampled_from([8, 100, 256, 257, 8192])),
        "model.attention": draw(st.sampled_from(["eager", "sdpa"])),
        "data.split": draw(
            st.sampled_from([{"by": "given"}, {"train": 0.7, "validation": 0.3, "test": 0, "by": "group"}])
            | st.builds(
                lambda a, b, c: {"train": a + 1, "validation": b, "test": c, "by": "record"},
                count,
                count,
                count,
            )
        ),
        "method": draw(
            st.sampled_from(
                [
                    {"name": "full"},
                    {"name": "lora", **LORA, "train_fully": ("embeddings",)},
                    {"name": "dora", **LORA, "modules": "x"},
                    {"name": "qlora", **LORA},
                    {"name": "partial", "include": ("language.mlp",)},
                ]
            )
        ),
        "train": {
            **length,
            **warmup,
            "learning_rate": 1e-3,
            "optimizer": draw(st.sampled_from(["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"])),
            "batch": {"micro": micro, "effective": micro * accumulation * gpus},
            "precision": draw(st.sampled_from(["fp32", "bf16"])),
            "log_every": draw(st.integers(1, 100)),
            "evaluate_every": every,
            "save_every": draw(cadence) if not best else every,
            "keep_best": best,
            "loader": {"workers": workers, "prefetch": draw(st.none() | st.just(4)) if workers else None},
        },
        "compute": {
            "device": "cuda" if cuda else "cpu",
            "gpus": gpus,
            "strategy": draw(st.sampled_from(["ddp", "zero1", "zero3"])) if gpus > 1 else "none",
        },
        "evaluate": ({"task": "perplexity", "records": draw(st.none() | st.integers(1, 900))},),
    }


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=specs())
def test_a_valid_spec_has_a_valid_rehearsal(make_spec: MakeSpec, changes: dict[str, Any]) -> None:
    spec = make_spec(changes)
    assume(no_rule_broken(spec))
    small = rehearsed(spec)
    assert [rule.message for rule in broken_rules(small)] == []
    assert LlmSpec.model_validate(small.model_dump()) == small
    assert rehearsed(small) == small
    real, numbers = numbers_of(spec, stated_counts(spec)), numbers_of(small, stated_counts(small))
    assert numbers.steps is not None
    assert numbers.steps <= STEPS
    assert numbers.micro <= MICRO
    assert numbers.effective <= real.effective
    assert (numbers.accumulation > 1) == (real.accumulation > 1)
    assert small.model.context <= CONTEXT
    for name, most in AT_MOST.items():
        value = getattr(small.data.split, name)
        assert value is None or value <= most
    if numbers.steps >= 2:
        assert numbers.steps // (numbers.save_every or 1) >= 2
        if spec.data.split.validation != 0:
            assert numbers.evaluations is not None
            assert numbers.evaluations >= 2


# --------------------------------------------------------------------------------------- differences


def test_differences_are_dotted_and_in_order() -> None:
    real = {"base_model": "m", "a": {"b": 1, "c": [1, 2]}, "same": {"x": None}, "bf16": True}
    rehearsal = {"base_model": "model", "a": {"b": 1, "c": [1]}, "same": {"x": None}, "bf16": False, "new": 0}
    found = differences(real, rehearsal)
    assert [(d.key, d.real, d.rehearsal) for d in found] == [
        ("base_model", "m", "model"),
        ("a.c", [1, 2], [1]),
        ("bf16", True, False),
        ("new", None, 0),
    ]
    assert isinstance(found[0], Difference)


def test_equal_configs_do_not_differ() -> None:
    assert differences({"a": {"b": {}}}, {"a": {"b": {}}}) == ()


def test_true_is_not_one() -> None:
    assert [d.key for d in differences({"tf32": 1}, {"tf32": True})] == ["tf32"]


def test_every_difference_of_a_big_run_has_its_own_reason(big: LlmSpec) -> None:
    """The engine's config of a rehearsal differs in a short list of keys, each explained."""
    small = rehearsed(big)
    real = yaml.safe_load(dump(to_axolotl(big, numbers_of(big, None))))
    found = differences(real, yaml.safe_load(dump(to_axolotl(small, numbers_of(small, None)))))
    keys = {difference.key for difference in found}
    assert {"base_model", "sequence_len", "adapter", "bf16", "deepspeed", "max_steps"} <= keys
    assert not keys & {"learning_rate", "lora_target_modules", "chat_template", "datasets", "seed", "plugins"}
    unexplained = [d.key for d in found if d.why == "follows from the smaller run"]
    assert unexplained == []


def test_reasons_name_keys_that_axolotl_has() -> None:
    pytest.importorskip("axolotl", reason="needs the train extra")
    schema = Path(__import__("axolotl").__file__).parent / "utils" / "schemas"
    text = "".join(path.read_text(encoding="utf-8") for path in schema.glob("*.py"))
    lacking = [pattern for pattern, _ in WHY if pattern.rstrip("*").rstrip("_") not in text]
    assert lacking == ["runner.*"]  # the key of our own plugin
