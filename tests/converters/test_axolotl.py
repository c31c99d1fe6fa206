"""The Axolotl config: nothing of the spec forgotten, nothing written that Axolotl does not know."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from converters.axolotl import BY_RULE, EXPLICIT, FIELDS, NOT_OURS, PLUGIN_KEY, dump, to_axolotl, value_at
from converters.numbers import Counts, numbers_of, stated_counts
from runner.spec.fields import leaves
from runner.spec.model import LlmSpec
from runner.spec.vlm import VlmSpec
from tests.support import vlm_changes

Config = Callable[..., dict[str, Any]]

LORA = {"name": "lora", "rank": 4, "alpha": 8}


def spec_paths() -> set[str]:
    """Return every path of the spec, the sections in between left out."""
    paths = every_path()
    return {path for path in paths if not any(other.startswith(f"{path}.") for other in paths)}


def every_path() -> set[str]:
    return {leaf.path for cls in (LlmSpec, VlmSpec) for leaf in leaves(cls)}


def covers(declared: str, path: str) -> bool:
    return path == declared or path.startswith(f"{declared}.")


# ---------------------------------------------------------------------------------------- completeness


def test_no_spec_field_is_forgotten() -> None:
    declared = {path for path, _ in FIELDS} | set(BY_RULE) | set(NOT_OURS)
    forgotten = {path for path in spec_paths() if not any(covers(known, path) for known in declared)}
    assert forgotten == set()


def test_every_declared_path_is_one_of_the_spec() -> None:
    paths = every_path()
    assert ({path for path, _ in FIELDS} | set(BY_RULE) | set(NOT_OURS)) - paths == set()


def test_a_path_is_declared_once() -> None:
    declared = [path for path, _ in FIELDS] + list(BY_RULE) + list(NOT_OURS)
    assert len(declared) == len(set(declared))


OTHER_VALUES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # spec path -> (changes that both specs have, changes of the second); the configs must differ
    "kind": ({}, vlm_changes.GEMMA3),
    "model.base": ({}, {"model.base": "/models/other"}),
    "model.revision": ({"model.base": "a/b"}, {"model.revision": "main"}),
    "model.architecture": ({"method": LORA}, {"model.architecture": "gpt2"}),
    "model.tokenizer": ({}, {"model.tokenizer": "/tokenizers/other"}),
    "model.context": ({}, {"model.context": 65}),
    "model.attention": ({}, {"model.attention": "eager"}),
    "model.adapter": ({"method": LORA}, {"model.adapter": "/adapters/one"}),
    "model.trust_remote_code": ({}, {"model.trust_remote_code": True}),
    "data.template": ({}, {"data.template": "chatml"}),
    "data.split.validation": ({}, {"data.split.validation": 0}),
    "method.name": ({}, {"method": {"name": "partial", "include": ("language.mlp",)}}),
    "method.rank": ({"method": LORA}, {"method": {**LORA, "rank": 8}}),
    "method.alpha": ({"method": LORA}, {"method": {**LORA, "alpha": 16}}),
    "method.dropout": ({"method": LORA}, {"method": {**LORA, "dropout": 0.1}}),
    "method.rank_stabilised": ({"method": LORA}, {"method": {**LORA, "rank_stabilised": True}}),
    "method.include": ({"method": LORA}, {"method": {**LORA, "include": ("language.mlp",)}}),
    "method.exclude": ({"method": LORA}, {"method": {**LORA, "exclude": ("language.mlp",)}}),
    "method.modules": ({"method": LORA}, {"method": {**LORA, "modules": r".*\.q_proj"}}),
    "method.train_fully": ({"method": LORA}, {"method": {**LORA, "train_fully": ("lm_head",)}}),
    "method.parameters": (
        {"method": {"name": "partial", "include": ("language.mlp",)}},
        {"method": {"name": "partial", "include": ("language.mlp",), "parameters": ("model.norm.weight",)}},
    ),
    "train.epochs": ({}, {"train.epochs": 3}),
    "train.steps": ({"train.epochs": None, "train.steps": 5}, {"train.steps": 6}),
    "train.learning_rate": ({}, {"train.learning_rate": 2e-5}),
    "train.schedule": ({}, {"train.schedule": "linear"}),
    "train.warmup_steps": ({}, {"train.warmup_steps": 3}),
    "train.warmup_ratio": ({}, {"train.warmup_ratio": 0.5}),
    "train.optimizer": ({}, {"train.optimizer": "sgd"}),
    "train.beta1": ({}, {"train.beta1": 0.8}),
    "train.beta2": ({}, {"train.beta2": 0.95}),
    "train.epsilon": ({}, {"train.epsilon": 1e-6}),
    "train.weight_decay": ({}, {"train.weight_decay": 0.1}),
    "train.max_grad_norm": ({}, {"train.max_grad_norm": 0.5}),
    "train.batch.micro": ({}, {"train.batch.micro": 2}),
    "train.batch.effective": ({}, {"train.batch.effective": 16}),
    "train.precision": ({}, {"train.precision": "bf16"}),
    "train.gradient_checkpointing": ({}, {"train.gradient_checkpointing": True}),
    "train.log_every": ({}, {"train.log_every": 5}),
    "train.evaluate_every.steps": ({}, {"train.evaluate_every": {"steps": 3}}),
    "train.evaluate_every.epochs": ({}, {"train.evaluate_every": {"epochs": 0.5}}),
    "train.save_every.steps": ({}, {"train.save_every": {"steps": 3}}),
    "train.save_every.epochs": ({}, {"train.save_every": {"epochs": 0.5}}),
    "train.keep_checkpoints": ({}, {"train.keep_checkpoints": 5}),
    "train.keep_best": ({}, {"train.keep_best": True}),
    "train.early_stopping.patience": ({}, {"train.early_stopping": {"patience": 3}}),
    "train.seed": ({}, {"train.seed": 7}),
    "train.loader.workers": ({}, {"train.loader": {"workers": 2}}),
    "train.loader.prefetch": (
        {"train.loader": {"workers": 2}},
        {"train.loader": {"workers": 2, "prefetch": 4}},
    ),
    "train.loader.pin_memory": ({}, {"train.loader": {"pin_memory": True}}),
    "compute.nodes": (
        {"train.batch.effective": 32, "compute.strategy": "ddp"},
        {"compute.nodes": 2},
    ),
    "compute.gpus": ({"train.batch.effective": 32, "compute.strategy": "ddp"}, {"compute.gpus": 4}),
    "compute.strategy": ({}, {"compute.strategy": "zero2"}),
    "tracking.tensorboard": ({}, {"tracking": {"tensorboard": True}}),
    "tracking.mlflow.uri": (
        {"tracking": {"mlflow": {"uri": "one", "experiment": "e"}}},
        {"tracking": {"mlflow": {"uri": "two", "experiment": "e"}}},
    ),
    "tracking.mlflow.experiment": (
        {"tracking": {"mlflow": {"uri": "one", "experiment": "e"}}},
        {"tracking": {"mlflow": {"uri": "one", "experiment": "f"}}},
    ),
    "tracking.wandb.project": (
        {"tracking": {"wandb": {"project": "p"}}},
        {"tracking": {"wandb": {"project": "q"}}},
    ),
    "tracking.wandb.entity": (
        {"tracking": {"wandb": {"project": "p"}}},
        {"tracking": {"wandb": {"project": "p", "entity": "team"}}},
    ),
    "tracking.wandb.mode": (
        {"tracking": {"wandb": {"project": "p"}}},
        {"tracking": {"wandb": {"project": "p", "mode": "online"}}},
    ),
    "axolotl": ({}, {"axolotl": {"neftune_noise_alpha": 5.0}}),
}


def test_every_mapped_field_is_tried() -> None:
    assert set(OTHER_VALUES) == {path for path, _ in FIELDS} | set(BY_RULE)


@pytest.mark.parametrize("path", OTHER_VALUES)
def test_every_mapped_field_reaches_the_config(path: str, config_of: Config) -> None:
    common, change = OTHER_VALUES[path]
    before, after = config_of(common), config_of(common | change)
    keys = {key for name, key in FIELDS if name == path} | set(BY_RULE.get(path, ()))
    differ = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differ - {PLUGIN_KEY}, f"{path} changes nothing"
    if path not in ("axolotl", "model.architecture", "method.name", "data.template"):
        assert differ & keys, f"{path} changes {differ}, not {keys}"


@pytest.mark.parametrize(("path", "key"), FIELDS)
def test_a_field_is_written_as_it_is(path: str, key: str, config_of: Config, make_spec: Any) -> None:
    common, change = OTHER_VALUES[path]
    assert config_of(common | change)[key] == value_at(make_spec(common | change), path)


# ---------------------------------------------------------------------------------------- what is known

METHODS: tuple[dict[str, Any], ...] = (
    {"name": "full"},
    LORA,
    {"name": "dora", "rank": 4, "alpha": 8, "include": ("language.attention",), "dropout": 0.1},
    {"name": "qlora", "rank": 4, "alpha": 8, "rank_stabilised": True},
    {"name": "lora", "rank": 4, "alpha": 8, "train_fully": ("embeddings",), "modules": r".*mlp\..*_proj"},
    {"name": "partial", "include": ("language.mlp",), "parameters": ("model.norm.weight",)},
)
TRAININGS: tuple[dict[str, Any], ...] = (
    {},
    {"train.schedule": "constant", "train.warmup_steps": 4, "train.optimizer": "adafactor"},
    {"train.schedule": "linear", "train.warmup_ratio": 0.25, "train.gradient_checkpointing": True},
    {
        "train.keep_best": True,
        "train.early_stopping": {"patience": 2},
        "train.evaluate_every": {"steps": 4},
        "train.save_every": {"steps": 8},
    },
    {
        "train.epochs": None,
        "train.steps": 40,
        "data.split.validation": 0,
        "train.loader": {"workers": 2, "prefetch": 4},
    },
)
MACHINES: tuple[dict[str, Any], ...] = (
    {},
    {"compute": {"device": "cuda", "gpus": 2, "strategy": "ddp"}, "train.precision": "bf16"},
    {"compute": {"device": "cuda", "gpus": 2, "strategy": "zero3_offload"}, "train.precision": "fp16"},
)
TRACKINGS: tuple[dict[str, Any], ...] = (
    {},
    {
        "tracking": {
            "tensorboard": True,
            "mlflow": {"uri": "./mlruns", "experiment": "e"},
            "wandb": {"project": "p", "entity": "t"},
        }
    },
)
TEMPLATES = ("tokenizer", "question_answer", "chatml", "gemma3", "llama3", "qwen3")


def grid() -> list[dict[str, Any]]:
    """Return the changes of specs that between them write every key that can be written."""
    specs = [
        {"method": method, **training, **machine}
        for method, training, machine in itertools.product(METHODS, TRAININGS, MACHINES)
    ]
    specs += [{"data.template": template, **tracking} for template in TEMPLATES for tracking in TRACKINGS]
    specs += [
        {"model.base": "tiny-random", "model.architecture": name, "method": LORA}
        for name in ("gpt2", "gemma3_text", "phi3")
    ]
    specs += [{"model.base": "a/b", "model.revision": "0" * 40, "model.tokenizer": "c/d"}]
    specs += [{"model.adapter": "/a", "method": LORA, "model.trust_remote_code": True}]
    for seeing in (vlm_changes.GEMMA3, vlm_changes.MLLAMA):
        specs += [{**seeing, "method": method, **machine} for method in METHODS for machine in MACHINES]
    return specs


def test_all_rules_write_what_they_declare(config_of: Config) -> None:
    written: set[str] = set()
    for changes in grid():
        written |= config_of(changes).keys()
    declared = {key for _, key in FIELDS} | {key for keys in BY_RULE.values() for key in keys} | set(EXPLICIT)
    declared |= {"plugins", PLUGIN_KEY, "dataset_num_proc"}
    assert written == declared


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_every_key_is_declared_by_the_installed_axolotl(config_of: Config) -> None:
    from converters.engine_schema import export_axolotl

    known = export_axolotl()
    dataset = known["$defs"]["SFTDataset"]["properties"]
    for changes in grid():
        config = config_of(changes)
        assert config.keys() - known["properties"].keys() == {PLUGIN_KEY}
        for entry in config["datasets"] + config.get("test_datasets", []):
            assert entry.keys() <= dataset.keys()


@pytest.mark.axolotl
def test_axolotl_accepts_every_config_and_keeps_every_value(
    config_of: Config, axolotl_validates: Any
) -> None:
    for changes in grid():
        config = yaml.safe_load(dump(config_of(changes)))
        validated = axolotl_validates(config)
        changed = {
            key: (value, validated.get(key)) for key, value in config.items() if validated.get(key) != value
        }
        changed = {key: pair for key, pair in changed.items() if not _same(*pair)}
        assert changed == {}, changes


def _same(ours: Any, theirs: Any) -> bool:
    """Return whether Axolotl kept a value, its own defaults beside ours allowed."""
    if isinstance(ours, list) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(_same(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_same(value, theirs.get(key)) for key, value in ours.items())
    # A default of None that Axolotl leaves out is a value kept.
    return bool(ours == theirs) or (ours in (None, [], {}, ()) and not theirs)


# ------------------------------------------------------------------------------------ numbers by hand


@pytest.mark.parametrize(("gpus", "accumulation"), [(1, 16), (4, 4), (16, 1)])
def test_more_gpus_do_not_mean_a_larger_batch(gpus: int, accumulation: int, config_of: Config) -> None:
    """64 records per step at micro batch 4: 4 * accumulation * gpus stays 64."""
    config = config_of(
        {
            "train.batch": {"micro": 4, "effective": 64},
            "compute": {"device": "cuda", "gpus": gpus, "strategy": "ddp"},
        }
    )
    assert (config["micro_batch_size"], config["gradient_accumulation_steps"]) == (4, accumulation)
    assert "batch_size" not in config


def test_steps_are_the_trainers_not_axolotls(config_of: Config) -> None:
    """60 records at micro 4 are 15 passes, 8 steps an epoch with 2 accumulated: 16 in two epochs.

    Axolotl's own estimate, ceil(60 * 2 / 8), is 15.
    """
    config = config_of(counts=Counts(60, 16, 16))
    assert (config["max_steps"], config["num_epochs"]) == (16, 2)


def test_steps_say_how_many_epochs_they_are(config_of: Config) -> None:
    """64 records at 8 a step are 8 steps an epoch; 20 steps end in the third."""
    config = config_of({"train.epochs": None, "train.steps": 20})
    assert (config["max_steps"], config["num_epochs"]) == (20, 3)


def test_cadences_are_whole_steps(config_of: Config) -> None:
    """8 steps an epoch: half an epoch is 4 steps, two epochs are 16."""
    config = config_of({"train.evaluate_every": {"epochs": 0.5}, "train.save_every": {"epochs": 2}})
    assert (config["eval_steps"], config["save_steps"]) == (4, 16)


def test_what_is_not_counted_yet_is_not_written(make_spec: Any) -> None:
    split = {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record"}
    spec = make_spec({"data.split": split, "train.warmup_ratio": 0.1})
    config = to_axolotl(spec, numbers_of(spec, stated_counts(spec)))
    assert config.keys().isdisjoint({"max_steps", "eval_steps", "save_steps", "warmup_steps"})
    assert config["test_datasets"][0]["path"] == "data/validation.jsonl"


def test_without_validation_records_nothing_is_evaluated(config_of: Config) -> None:
    config = config_of(counts=Counts(64, 0, 16))
    assert "test_datasets" not in config
    assert config["eval_strategy"] == "no"
    assert "eval_steps" not in config


@pytest.mark.parametrize(
    ("changes", "scheduler"),
    [
        ({"train.schedule": "constant"}, "constant"),
        ({"train.schedule": "constant", "train.warmup_steps": 3}, "constant_with_warmup"),
        ({"train.schedule": "constant", "train.warmup_ratio": 0.1}, "constant_with_warmup"),
        ({"train.schedule": "cosine", "train.warmup_steps": 3}, "cosine"),
    ],
)
def test_a_constant_rate_keeps_its_warmup(changes: dict[str, Any], scheduler: str, config_of: Config) -> None:
    assert config_of(changes)["lr_scheduler"] == scheduler


def test_adam_options_only_with_adam(config_of: Config) -> None:
    assert config_of()["adam_beta1"] == 0.9
    assert "adam_beta1" not in config_of({"train.optimizer": "sgd"})


def test_a_tiny_model_brings_its_tokenizer(config_of: Config) -> None:
    config = config_of({"model.base": "tiny-random", "model.tokenizer": "/tokenizers/gpt2"})
    assert config["base_model"] == "model"
    assert "tokenizer_config" not in config


def test_what_the_plugin_must_prove(config_of: Config) -> None:
    config = config_of({"model.architecture": "gpt2", "method": {**LORA, "include": ("language.mlp",)}})
    pattern = r"transformer\.h\.\d+\.mlp\.(c_fc|c_proj)"
    assert config["plugins"] == ["runner.axolotl_plugin.RunnerPlugin"]
    assert config["runner"] == {
        "events": "events.jsonl",
        "metrics": "train/metrics.jsonl",
        "proof": "train/proof.json",
        "log_every": 1,
        "steps": 16,
        "method": {
            "name": "lora",
            "rank": 4,
            "pattern": f"({pattern})",
            "train_fully": [],
            "groups": {"language.mlp": pattern},
        },
    }


# --------------------------------------------------------------------------------------------- as text


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner),
            max_leaves=8,
        ),
        max_size=6,
    )
)
def test_text_reads_back_as_the_same_values(config: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(config)) == config


@pytest.mark.parametrize("rate", [2e-05, 1e-3, 5e-324, 1e-16, 3.0])
def test_a_learning_rate_stays_a_number(rate: float, config_of: Config) -> None:
    read = yaml.safe_load(dump(config_of({"train.learning_rate": rate})))
    assert read["learning_rate"] == rate
    assert isinstance(read["learning_rate"], float)


def test_every_config_of_the_grid_reads_back(config_of: Config) -> None:
    for changes in grid():
        config = config_of(changes)
        assert yaml.safe_load(dump(config)) == config


def test_the_spec_is_left_alone(make_spec: Any) -> None:
    spec = make_spec({"axolotl": {"lr_scheduler_kwargs": {"a": 1}}})
    before = spec.model_dump()
    to_axolotl(spec, numbers_of(spec, stated_counts(spec)))["lr_scheduler_kwargs"]["a"] = 2
    assert spec.model_dump() == before
