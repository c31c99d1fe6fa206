"""Raw engine keys: what is refused, with which advice, and that the vocabularies are the engines' own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest

from converters.axolotl import EXPLICIT
from converters.engine_keys import (
    AXOLOTL_ALLOWED,
    AXOLOTL_REASONS,
    DEEPSPEED_ALLOWED,
    DEEPSPEED_REASONS,
    MORE_WORDS,
)
from converters.engine_schema import (
    RawProblem,
    check_raw,
    engine_words,
    export_axolotl,
    export_deepspeed,
    vocabulary,
)
from runner.spec.fields import leaves
from runner.spec.model import LlmSpec

MakeSpec = Callable[..., LlmSpec]


@pytest.fixture
def problem_of(make_spec: MakeSpec) -> Callable[[str, dict[str, Any]], RawProblem]:
    """Return a function that gives the one problem of raw keys."""

    def problem(engine: str, raw: dict[str, Any]) -> RawProblem:
        (only,) = check_raw(make_spec({engine: raw}))
        return only

    return problem


Problem = Callable[[str, dict[str, Any]], RawProblem]


# ----------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("engine", "raw", "path", "near"),
    [
        ("axolotl", {"learning_rte": 3}, ("axolotl", "learning_rte"), "learning_rate"),
        ("axolotl", {"micro_batch_sise": 4}, ("axolotl", "micro_batch_sise"), "micro_batch_size"),
        ("axolotl", {"neftune_noise_alfa": 5.0}, ("axolotl", "neftune_noise_alfa"), "neftune_noise_alpha"),
        (
            "axolotl",
            {"selective_checkpointing": {"sav": []}},
            ("axolotl", "selective_checkpointing", "sav"),
            "save",
        ),
        (
            "axolotl",
            {"lr_groups": [{"name": "a", "modules": [], "lr": 1.0}, {"nam": "b"}]},
            ("axolotl", "lr_groups", 1, "nam"),
            "name",
        ),
        ("axolotl", {"peft": {"loftq_config": {"loftq_bit": 4}}}, None, "loftq_bits"),
        ("deepspeed", {"zero_optimisation": {}}, ("deepspeed", "zero_optimisation"), "zero_optimization"),
        (
            "deepspeed",
            {"zero_optimization": {"overlap_com": True}},
            ("deepspeed", "zero_optimization", "overlap_com"),
            "overlap_comm",
        ),
        (
            "deepspeed",
            {"zero_optimization": {"offload_param": {"devise": "cpu"}}},
            ("deepspeed", "zero_optimization", "offload_param", "devise"),
            "device",
        ),
    ],
)
def test_an_unknown_key_is_refused_at_every_depth(
    engine: str, raw: dict[str, Any], path: tuple[str | int, ...] | None, near: str, problem_of: Problem
) -> None:
    problem = problem_of(engine, raw)
    assert problem.code == "engine-key"
    assert path is None or problem.path == path
    assert re.match(rf"nearest: {near}(,|$)", problem.hint)


def test_a_foreign_key_is_pointed_to_ours(problem_of: Problem) -> None:
    assert problem_of("axolotl", {"num_train_epochs": 3}).hint == "write train.epochs"


@pytest.mark.parametrize(
    ("engine", "raw", "path", "message"),
    [
        (
            "axolotl",
            {"neftune_noise_alpha": "five"},
            ("axolotl", "neftune_noise_alpha"),
            "a number, got 'five'",
        ),
        ("axolotl", {"torch_compile": 3}, ("axolotl", "torch_compile"), "'auto' or true or false, got 3"),
        ("axolotl", {"profiler_steps": 1.5}, ("axolotl", "profiler_steps"), "a whole number, got 1.5"),
        (
            "axolotl",
            {"lr_groups": [{"name": "a", "modules": ["x"], "lr": "1"}]},
            ("axolotl", "lr_groups", 0, "lr"),
            "a number, got '1'",
        ),
        (
            "deepspeed",
            {"zero_optimization": {"reduce_bucket_size": "auto"}},
            ("deepspeed", "zero_optimization", "reduce_bucket_size"),
            "a whole number from 0, got 'auto'",
        ),
        (
            "deepspeed",
            {"steps_per_print": True},
            ("deepspeed", "steps_per_print"),
            "a whole number, got True",
        ),
        ("deepspeed", {"communication_data_type": "fp8"}, None, "'fp16' or 'bf16' or 'fp32', got 'fp8'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(
    engine: str, raw: dict[str, Any], path: tuple[str | int, ...] | None, message: str, problem_of: Problem
) -> None:
    problem = problem_of(engine, raw)
    assert problem.code == "engine-type"
    assert path is None or problem.path == path
    assert problem.message == f"expected {message}"


@pytest.mark.parametrize(("key", "path"), sorted(engine_words().items()))
def test_a_key_that_the_spec_has_a_word_for_is_refused(key: str, path: str, problem_of: Problem) -> None:
    if key in AXOLOTL_ALLOWED:
        assert key in ("tf32", "ddp_find_unused_parameters")
        return
    problem = problem_of("axolotl", {key: None})
    assert problem.code == "engine-reserved"
    assert problem.hint.startswith(f"write {path}")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("batch_size", 32, "wrong number of steps"),
        ("sample_packing", True, "depend on the lengths"),
        ("streaming", True, "cannot be counted"),
        ("val_set_size", 0.1, "both sides of the split"),
        ("resume_from_checkpoint", "x", "--resume"),
        ("auto_resume_from_checkpoints", True, "--resume"),
        ("plugins", ["a.B"], "loads other code"),
        ("trainer_cls", "a.B", "loads other code"),
        ("overrides_of_model_kwargs", {"trust_remote_code": True}, "loads other code"),
        ("hub_model_id", "a/b", "off this machine"),
        ("push_dataset_to_hub", "a/b", "off this machine"),
        ("use_comet", True, "off this machine"),
        ("use_otel_metrics", True, "off this machine"),
        ("wandb_log_model", "end", "off this machine"),
        ("output_dir", "/tmp", "run directory"),
        ("fsdp_config", {}, "zero3"),
        ("world_size", 4, "`compute`"),
        ("lora_rank_pattern", {}, "which weights are trained"),
        ("lisa_n_layers", 2, "which weights are trained"),
        ("special_tokens", {"pad_token": "x"}, "changes the tokens"),
        ("rl", "dpo", "other experiments"),
        ("dynamic_checkpoint", {"enabled": True}, "train.save_every"),
        ("gradio_title", "x", "does not read it"),
        ("greater_is_better", False, "train.keep_best"),
    ],
)
def test_a_key_that_breaks_a_promise_is_refused(
    key: str, value: Any, reason: str, problem_of: Problem
) -> None:
    problem = problem_of("axolotl", {key: value})
    assert (problem.path, problem.code) == (("axolotl", key), "engine-reserved")
    assert reason in problem.hint


@pytest.mark.parametrize(
    ("raw", "path", "hint"),
    [
        ({"train_batch_size": 8}, ("deepspeed", "train_batch_size"), "write train.batch.effective"),
        (
            {"zero_optimization": {"stage": 2}},
            ("deepspeed", "zero_optimization", "stage"),
            "write compute.strategy",
        ),
        ({"bf16": {"enabled": True}}, ("deepspeed", "bf16", "enabled"), "write train.precision"),
        ({"optimizer": {"type": "Adam"}}, ("deepspeed", "optimizer"), None),
        ({"elasticity": {"enabled": True}}, ("deepspeed", "elasticity"), None),
        ({"activation_checkpointing": {}}, ("deepspeed", "activation_checkpointing"), None),
    ],
)
def test_deepspeed_keys_that_are_not_raw(
    raw: dict[str, Any], path: tuple[str, ...], hint: str | None, problem_of: Problem
) -> None:
    problem = problem_of("deepspeed", raw)
    assert (problem.path, problem.code) == (path, "engine-reserved")
    assert hint is None or problem.hint == hint


def test_harmless_keys_pass(make_spec: MakeSpec) -> None:
    raw = {
        "neftune_noise_alpha": 5,
        "cosine_min_lr_ratio": 0.1,
        "torch_compile": "auto",
        "lora_mlp_kernel": True,
        "lr_groups": [{"name": "a", "modules": ["lm_head"], "lr": 1e-5}],
        "model_config": {"rope_theta": 1e6},
        "optim_args": {"foreach": False},
    }
    deep = {"zero_optimization": {"overlap_comm": False, "offload_optimizer": {"device": "cpu"}}}
    assert check_raw(make_spec({"axolotl": raw, "deepspeed": deep})) == []


def test_every_problem_is_found_at_once(make_spec: MakeSpec) -> None:
    raw = {"learning_rte": 3, "batch_size": 8, "torch_compile": 3}
    codes = [problem.code for problem in check_raw(make_spec({"axolotl": raw}))]
    assert codes == ["engine-key", "engine-reserved", "engine-type"]


# ---------------------------------------------------------------------------------------------- the tables


def test_the_tables_speak_of_keys_that_there_are() -> None:
    axolotl, deepspeed = vocabulary("axolotl")["properties"], vocabulary("deepspeed")["properties"]
    assert axolotl.keys() >= AXOLOTL_ALLOWED
    assert deepspeed.keys() >= DEEPSPEED_ALLOWED
    assert engine_words().keys() <= axolotl.keys()
    assert EXPLICIT.keys() <= axolotl.keys()
    useless = [
        p for p, _ in AXOLOTL_REASONS if not any(fnmatchcase(k, p) for k in axolotl.keys() - AXOLOTL_ALLOWED)
    ]
    assert useless == []
    assert {key.partition(".")[0] for key, _ in DEEPSPEED_REASONS} <= deepspeed.keys()


def test_words_point_to_paths_of_the_spec() -> None:
    paths = {leaf.path for leaf in leaves(LlmSpec)}
    assert {path.replace("[]", "") for path in engine_words().values()} <= paths
    assert set(MORE_WORDS.values()) <= paths


def test_what_we_always_write_is_not_overruled_unless_it_is_harmless(problem_of: Problem) -> None:
    for key, value in EXPLICIT.items():
        if key not in AXOLOTL_ALLOWED:
            assert problem_of("axolotl", {key: value}).code == "engine-reserved"


@pytest.mark.parametrize("engine", ["axolotl", "deepspeed"])
def test_every_mapping_with_named_keys_is_closed(engine: str) -> None:
    def open_ones(schema: Any) -> list[Any]:
        inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        found = [part for value in inner for part in open_ones(value)]
        if (
            isinstance(schema, dict)
            and isinstance(schema.get("properties"), dict)
            and schema.get("type") == "object"
        ):
            found += [] if schema.get("additionalProperties") is False else [schema]
        return found

    assert open_ones(vocabulary(engine)) == []


# --------------------------------------------------------------------------------------- the installed engines


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_the_axolotl_vocabulary_is_that_of_the_installed_axolotl() -> None:
    """Where this fails, run `python -m converters.engine_schema` and look at what changed."""
    assert vocabulary("axolotl") == export_axolotl()


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_the_deepspeed_vocabulary_is_that_of_the_installed_deepspeed() -> None:
    """Where this fails, run `python -m converters.engine_schema` and look at what changed."""
    assert vocabulary("deepspeed") == export_deepspeed()


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_plain_deepspeed_keys_have_the_types_of_their_defaults() -> None:
    """The scalars of DeepSpeed's top level have no class; their defaults tell their types."""
    from deepspeed.runtime import constants

    kinds = {"boolean": bool, "integer": int, "number": float}
    for key, schema in vocabulary("deepspeed")["properties"].items():
        if key in DEEPSPEED_ALLOWED and schema.get("type") in kinds:
            default = getattr(constants, f"{key.upper()}_DEFAULT")
            assert default is None or type(default) is kinds[schema["type"]], key


def test_the_check_needs_no_engine() -> None:
    """Neither torch nor an engine is imported, and the check is possible without them."""
    program = (
        "import sys\n"
        "for name in ('axolotl', 'deepspeed', 'torch', 'transformers'): sys.modules[name] = None\n"
        "from converters.engine_schema import vocabulary, _check_axolotl, _check_deepspeed\n"
        "print(len(list(_check_axolotl({'learning_rte': 3, 'torch_compile': 3}))))\n"
        "print(len(list(_check_deepspeed({'steps_per_print': 'x'}))))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["2", "1"]
