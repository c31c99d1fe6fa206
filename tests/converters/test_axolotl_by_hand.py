"""Every row and every rule of the Axolotl config, written out by hand: which key gets which value.

Nothing here is drawn from the converter's own tables, so a row that names the wrong key cannot
agree with itself. The last tests prove that the hand tables see any two keys exchanged.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from converters import axolotl
from converters.axolotl import BY_RULE, FIELDS, to_axolotl
from converters.numbers import numbers_of, stated_counts
from converters.templates import QUESTION_ANSWER
from runner.spec.model import LlmSpec
from tests.support import vlm_changes

MakeSpec = Callable[[dict[str, Any]], LlmSpec]
Config = dict[str, Any]

ABSENT = "(not written)"

ROWS: tuple[tuple[str, Any, str, Any], ...] = (
    # spec path, value in the spec, Axolotl's key, value there; no two numbers or texts are the same
    ("model.revision", "release-2", "revision_of_model", "release-2"),
    ("model.tokenizer", "hub/tokenizer", "tokenizer_config", "hub/tokenizer"),
    ("model.context", 61, "sequence_len", 61),
    ("model.attention", "eager", "attn_implementation", "eager"),
    ("model.adapter", "hub/adapter", "lora_model_dir", "hub/adapter"),
    ("model.trust_remote_code", True, "trust_remote_code", True),
    ("method.rank", 3, "lora_r", 3),
    ("method.alpha", 5, "lora_alpha", 5),
    ("method.dropout", 0.25, "lora_dropout", 0.25),
    ("method.rank_stabilised", True, "peft_use_rslora", True),
    ("train.learning_rate", 0.013, "learning_rate", 0.013),
    ("train.optimizer", "adafactor", "optimizer", "adafactor"),
    ("train.weight_decay", 0.017, "weight_decay", 0.017),
    ("train.max_grad_norm", 0.7, "max_grad_norm", 0.7),
    ("train.log_every", 11, "logging_steps", 11),
    ("train.keep_checkpoints", 13, "save_total_limit", 13),
    ("train.early_stopping.patience", 17, "early_stopping_patience", 17),
    ("train.seed", 19, "seed", 19),
    ("train.loader.workers", 23, "dataloader_num_workers", 23),
    ("train.loader.prefetch", 29, "dataloader_prefetch_factor", 29),
    ("train.loader.pin_memory", True, "dataloader_pin_memory", True),
    ("tracking.tensorboard", True, "use_tensorboard", True),
    ("tracking.mlflow.uri", "http://tracker", "mlflow_tracking_uri", "http://tracker"),
    ("tracking.mlflow.experiment", "an-experiment", "mlflow_experiment_name", "an-experiment"),
    ("tracking.wandb.project", "a-project", "wandb_project", "a-project"),
    ("tracking.wandb.entity", "a-team", "wandb_entity", "a-team"),
    ("tracking.wandb.mode", "online", "wandb_mode", "online"),
)

LORA = {"name": "lora", "rank": 4, "alpha": 8}
PARTIAL = {"name": "partial", "include": ("language.mlp",)}
QKVO = r"(model\.layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|o_proj))"
GATED = r"(model\.layers\.\d+\.mlp\.(gate_proj|up_proj|down_proj))"
GATED_WEIGHTS = "^model.layers.[0-9]+.mlp.(gate_proj|up_proj|down_proj).(weight|bias)$"
FOUR_GPUS = {"device": "cuda", "gpus": 4, "strategy": "ddp"}


def rows_of(path: str, **template: Any) -> dict[str, Any]:
    """Return a data set as Axolotl is to read it."""
    return {
        "path": path,
        "ds_type": "json",
        "split": "train",
        "type": "chat_template",
        **template,
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


RULES: tuple[tuple[str, dict[str, Any], Config], ...] = (
    # spec path, changes of the small spec (64 records, 8 a step, 2 epochs: 8 steps each), what is written
    (
        "kind",
        {"train.batch.effective": 16, "compute": FOUR_GPUS},
        {
            "processor_type": ABSENT,
            "skip_prepare_dataset": False,
            "remove_unused_columns": ABSENT,
            "excess_length_strategy": "truncate",
            "ddp_find_unused_parameters": False,
        },
    ),
    (
        "kind",
        {**vlm_changes.MLLAMA, "train.batch.effective": 16, "compute": FOUR_GPUS},
        {
            "processor_type": "AutoProcessor",
            "skip_prepare_dataset": True,
            "remove_unused_columns": False,
            "excess_length_strategy": "raise",
            "ddp_find_unused_parameters": True,
        },
    ),
    ("model.base", {"model.base": "hub/base"}, {"base_model": "hub/base"}),
    ("model.base", {"model.base": "tiny-random"}, {"base_model": "model"}),
    (
        "model.architecture",
        {"model.architecture": "gpt2", "method": LORA},
        {
            "lora_target_modules": r"(transformer\.h\.\d+\.attn\.(c_attn|c_proj))"
            r"|(transformer\.h\.\d+\.mlp\.(c_fc|c_proj))",
            "lora_fan_in_fan_out": True,
            "eot_tokens": ABSENT,
        },
    ),
    (
        "model.architecture",
        {"method": LORA},
        {"lora_target_modules": f"{QKVO}|{GATED}", "lora_fan_in_fan_out": False},
    ),
    (
        "model.architecture",
        {"model.architecture": "gpt2", "method": PARTIAL},
        {"unfrozen_parameters": ["^transformer.h.[0-9]+.mlp.(c_fc|c_proj).(weight|bias)$"]},
    ),
    (
        "model.architecture",
        {"model.architecture": "gemma3_text", "data.template": "tokenizer"},
        {"eot_tokens": ["<end_of_turn>"]},
    ),
    (
        "data.template",
        {},
        {
            "chat_template": "jinja",
            "chat_template_jinja": QUESTION_ANSWER,
            "eot_tokens": ABSENT,
            "datasets": [
                rows_of("data/train.jsonl", chat_template="jinja", chat_template_jinja=QUESTION_ANSWER)
            ],
            "test_datasets": [
                rows_of("data/validation.jsonl", chat_template="jinja", chat_template_jinja=QUESTION_ANSWER)
            ],
        },
    ),
    (
        "data.template",
        {"data.template": "llama3"},
        {
            "chat_template": "llama3",
            "chat_template_jinja": ABSENT,
            "eot_tokens": ["<|eot_id|>"],
            "datasets": [rows_of("data/train.jsonl", chat_template="llama3")],
            "test_datasets": [rows_of("data/validation.jsonl", chat_template="llama3")],
        },
    ),
    (
        "data.template",
        {"data.template": "tokenizer"},
        {"chat_template": "tokenizer_default", "eot_tokens": ABSENT},
    ),
    (
        "data.template",
        vlm_changes.MLLAMA,
        {
            "chat_template": "llama3_2_vision",
            "eot_tokens": ["<|eot_id|>"],
            "datasets": [rows_of("train/rows/train.jsonl", chat_template="llama3_2_vision")],
            "test_datasets": [rows_of("train/rows/validation.jsonl", chat_template="llama3_2_vision")],
        },
    ),
    ("data.template", {"data.template": "chatml"}, {"chat_template": "chatml", "eot_tokens": ["<|im_end|>"]}),
    (
        "data.template",
        {"data.template": "gemma3"},
        {"chat_template": "gemma3", "eot_tokens": ["<end_of_turn>"]},
    ),
    ("data.template", {"data.template": "qwen3"}, {"chat_template": "qwen3", "eot_tokens": ["<|im_end|>"]}),
    (
        "data.split.validation",
        {"data.split.validation": 0},
        {"test_datasets": ABSENT, "eval_strategy": "no", "eval_steps": ABSENT},
    ),
    ("data.split.validation", {}, {"eval_strategy": "steps", "eval_steps": 16}),
    (
        "method.name",
        {"method": {"name": "full"}},
        {
            "adapter": ABSENT,
            "load_in_4bit": False,
            "load_in_8bit": False,
            "peft_use_dora": ABSENT,
            "unfrozen_parameters": ABSENT,
        },
    ),
    (
        "method.name",
        {"method": LORA},
        {"adapter": "lora", "load_in_4bit": False, "load_in_8bit": False, "peft_use_dora": ABSENT},
    ),
    (
        "method.name",
        {"method": {**LORA, "name": "dora"}},
        {"adapter": "lora", "load_in_4bit": False, "peft_use_dora": True},
    ),
    (
        "method.name",
        {"method": {**LORA, "name": "qlora"}},
        {"adapter": "qlora", "load_in_4bit": True, "load_in_8bit": False, "peft_use_dora": ABSENT},
    ),
    (
        "method.name",
        {"method": PARTIAL},
        {"adapter": ABSENT, "unfrozen_parameters": [GATED_WEIGHTS]},
    ),
    (
        "method.include",
        {"method": {**LORA, "include": ("language.attention",)}},
        {"lora_target_modules": QKVO, "unfrozen_parameters": ABSENT},
    ),
    (
        "method.exclude",
        {"method": {**LORA, "exclude": ("language.attention",)}},
        {"lora_target_modules": GATED},
    ),
    (
        "method.modules",
        {"method": {**LORA, "modules": r".*\.q_proj"}},
        {"lora_target_modules": r".*\.q_proj"},
    ),
    (
        "method.train_fully",
        {"method": {**LORA, "train_fully": ("lm_head", "embeddings")}},
        {"lora_modules_to_save": ["lm_head", "embed_tokens"], "peft_ensure_weight_tying": False},
    ),
    (
        "method.train_fully",
        {"model.architecture": "gpt2", "method": {**LORA, "train_fully": ("embeddings",)}},
        {"lora_modules_to_save": ["wte"], "peft_ensure_weight_tying": True},
    ),
    (
        "method.parameters",
        {"method": {**PARTIAL, "parameters": ("model.norm.weight",)}},
        {"unfrozen_parameters": [GATED_WEIGHTS, "^(model.norm.weight)$"]},
    ),
    ("train.epochs", {"train.epochs": 3}, {"num_epochs": 3.0, "max_steps": 24}),
    ("train.steps", {"train.epochs": None, "train.steps": 33}, {"num_epochs": 5, "max_steps": 33}),
    ("train.schedule", {"train.schedule": "linear"}, {"lr_scheduler": "linear"}),
    (
        "train.schedule",
        {"train.schedule": "constant", "train.warmup_steps": 3},
        {"lr_scheduler": "constant_with_warmup"},
    ),
    ("train.warmup_steps", {"train.warmup_steps": 7}, {"warmup_steps": 7}),
    ("train.warmup_ratio", {"train.warmup_ratio": 0.3}, {"warmup_steps": 5}),  # of 16 steps: 4.8
    ("train.beta1", {"train.beta1": 0.81}, {"adam_beta1": 0.81}),
    ("train.beta2", {"train.beta2": 0.95}, {"adam_beta2": 0.95}),
    ("train.epsilon", {"train.epsilon": 1e-6}, {"adam_epsilon": 1e-6}),
    (
        "train.batch.micro",
        {"train.batch": {"micro": 2, "effective": 24}},
        {"micro_batch_size": 2, "eval_batch_size": 2},
    ),
    (
        "train.batch.effective",
        {"train.batch": {"micro": 4, "effective": 36}},
        {"gradient_accumulation_steps": 9},
    ),
    ("train.precision", {}, {"bf16": False, "fp16": False, "tf32": False}),
    ("train.precision", {"train.precision": "bf16"}, {"bf16": True, "fp16": False, "tf32": False}),
    ("train.precision", {"train.precision": "fp16"}, {"bf16": False, "fp16": True, "tf32": False}),
    (
        "train.gradient_checkpointing",
        {"train.gradient_checkpointing": True},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    ),
    (
        "train.gradient_checkpointing",
        {},
        {"gradient_checkpointing": False, "gradient_checkpointing_kwargs": ABSENT},
    ),
    (
        "train.evaluate_every.steps",
        {"train.evaluate_every": {"steps": 5}},
        {"eval_steps": 5, "eval_strategy": "steps"},
    ),
    (
        "train.evaluate_every.epochs",
        {"train.evaluate_every": {"epochs": 0.5}},
        {"eval_steps": 4, "eval_strategy": "steps"},
    ),
    (
        "train.save_every.steps",
        {"train.save_every": {"steps": 6}},
        {"save_steps": 6, "save_strategy": "steps"},
    ),
    (
        "train.save_every.epochs",
        {"train.save_every": {"epochs": 0.25}, "data.split.validation": 0},
        {"save_steps": 2, "save_strategy": "steps"},
    ),
    (
        "train.keep_best",
        {"train.keep_best": True},
        {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False},
    ),
    (
        "train.keep_best",
        {},
        {"load_best_model_at_end": False, "metric_for_best_model": ABSENT, "greater_is_better": ABSENT},
    ),
    (
        "compute.nodes",
        {"compute": {**FOUR_GPUS, "nodes": 2}, "train.batch.effective": 96},
        {"gradient_accumulation_steps": 3},
    ),
    (
        "compute.gpus",
        {"compute": FOUR_GPUS, "train.batch.effective": 112},
        {"gradient_accumulation_steps": 7},
    ),
    ("compute.strategy", {}, {"deepspeed": ABSENT, "ddp": False, "ddp_find_unused_parameters": ABSENT}),
    (
        "compute.strategy",
        {"compute": FOUR_GPUS, "train.batch.effective": 16},
        {"deepspeed": ABSENT, "ddp": True, "ddp_find_unused_parameters": False},
    ),
    (
        "compute.strategy",
        {"compute.strategy": "zero2"},
        {"deepspeed": "config/deepspeed.json", "ddp": ABSENT, "ddp_find_unused_parameters": ABSENT},
    ),
    ("axolotl", {"axolotl": {"neftune_noise_alpha": 5.0}}, {"neftune_noise_alpha": 5.0}),
)


# -------------------------------------------------------------------------------- what is compared, how


def equal(given: Any, expected: Any) -> bool:
    """Return whether a value is the expected one, and of its type: True is not 1."""
    return type(given) is type(expected) and bool(given == expected)


def wrong(config: Mapping[str, Any], expected: Mapping[str, Any]) -> Config:
    """Return the keys whose value is not as written by hand."""
    return {
        key: config.get(key, ABSENT)
        for key, value in expected.items()
        if not equal(config.get(key, ABSENT), value)
    }


def converted(spec: LlmSpec) -> Config:
    return to_axolotl(spec, numbers_of(spec, stated_counts(spec)))


@pytest.fixture
def rows(make_spec: MakeSpec) -> dict[str, tuple[LlmSpec, Config]]:
    """Return, for each row, a spec and what must stand in its config.

    Every spec carries all values of `ROWS`, so that each key has a neighbour to be confused with;
    but only one of the booleans is true in it, since two that are true look the same.
    """
    cases = {}
    for path, _, key, value in ROWS:
        changes: dict[str, Any] = {
            "model.base": "hub/base",
            "method": {"name": "lora"},
            "tracking": {"mlflow": {}, "wandb": {}},
        }
        changes |= {row[0]: row[1] for row in ROWS if row[1] is not True or row[0] == path}
        cases[path] = (make_spec(changes), {key: value})
    return cases


@pytest.fixture
def rules(make_spec: MakeSpec) -> list[tuple[str, LlmSpec, Config]]:
    return [(path, make_spec(changes), expected) for path, changes, expected in RULES]


# ------------------------------------------------------------------------------------------- the tables


def test_each_row_writes_its_key(rows: dict[str, tuple[LlmSpec, Config]]) -> None:
    assert {path: wrong(converted(spec), expected) for path, (spec, expected) in rows.items()} == {
        path: {} for path in rows
    }


@pytest.mark.parametrize(
    "number", range(len(RULES)), ids=[f"{path}-{n}" for n, (path, *_) in enumerate(RULES)]
)
def test_each_rule_writes_its_keys(number: int, rules: list[tuple[str, LlmSpec, Config]]) -> None:
    _, spec, expected = rules[number]
    assert wrong(converted(spec), expected) == {}


def test_every_row_and_every_rule_is_written_out() -> None:
    assert [(path, key) for path, _, key, _ in ROWS] == list(FIELDS)
    assert declared_otherwise(BY_RULE) == set()


def declared_otherwise(declared: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the paths that are declared to write other keys than the hand table shows."""
    shown: dict[str, set[str]] = {path: set() for path, _, _ in RULES}
    for path, _, expected in RULES:
        shown[path] |= expected.keys()
    shown["axolotl"] = set()  # whatever key stands there
    return {path for path in declared.keys() | shown.keys() if set(declared.get(path, ())) != shown.get(path)}


def test_the_values_of_the_rows_are_distinct() -> None:
    values = [value for _, _, _, value in ROWS if value is not True]
    assert len(values) == len(set(values))


# --------------------------------------------------------------------------- that the tables would notice


def test_any_two_rows_exchanged_are_noticed(
    rows: dict[str, tuple[LlmSpec, Config]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs of `FIELDS`, each with the other's key."""
    assert not any(wrong(converted(spec), expected) for spec, expected in rows.values())
    unnoticed = []
    for first, second in itertools.combinations(range(len(FIELDS)), 2):
        changed = list(FIELDS)
        changed[first] = (FIELDS[first][0], FIELDS[second][1])
        changed[second] = (FIELDS[second][0], FIELDS[first][1])
        monkeypatch.setattr(axolotl, "FIELDS", tuple(changed))
        cases = [rows[FIELDS[place][0]] for place in (first, second)]
        if not any(wrong(converted(spec), expected) for spec, expected in cases):
            unnoticed.append((FIELDS[first], FIELDS[second]))
    assert unnoticed == []


ALWAYS_THE_SAME = {("eval_batch_size", "micro_batch_size"), ("load_in_8bit", "tf32")}
"""Keys that carry one number, or are always false: exchanged, they are the same config."""


def test_any_two_written_keys_exchanged_are_noticed(
    rows: dict[str, tuple[LlmSpec, Config]], rules: list[tuple[str, LlmSpec, Config]]
) -> None:
    """All pairs of keys, of rows and rules alike, with their values exchanged after the conversion."""
    cases = [*rows.values(), *((spec, expected) for _, spec, expected in rules)]
    written = [(converted(spec), expected) for spec, expected in cases]
    assert not any(wrong(config, expected) for config, expected in written)
    keys = sorted({key for _, key in FIELDS} | {key for keys in BY_RULE.values() for key in keys})
    assert len(keys) > 60
    unnoticed = {
        pair
        for pair in itertools.combinations(keys, 2)
        if not any(wrong(exchanged(config, *pair), expected) for config, expected in written)
    }
    assert unnoticed == ALWAYS_THE_SAME


def exchanged(config: Config, first: str, second: str) -> Config:
    values = {first: config.get(second, ABSENT), second: config.get(first, ABSENT)}
    return {key: value for key, value in (config | values).items() if value is not ABSENT}


def test_any_two_declarations_exchanged_are_noticed() -> None:
    unnoticed = [
        pair
        for pair in itertools.combinations(BY_RULE, 2)
        if set(BY_RULE[pair[0]]) != set(BY_RULE[pair[1]])
        and not declared_otherwise(BY_RULE | {pair[0]: BY_RULE[pair[1]], pair[1]: BY_RULE[pair[0]]})
    ]
    assert unnoticed == []
