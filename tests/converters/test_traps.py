"""One test for each trap of Axolotl that the config must step around, true of the installed 0.19.0.

What Axolotl does is taken from Axolotl where it runs without training; what we write against it is
asserted beside it. Traps that a config cannot help are tested where they are met: a plugin that does
not import, an interrupt that ends as success, NaN, hooks called twice, and telemetry, with the plugin
and the training stage. Memory of images and labels of images come with image models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from converters.axolotl import EXPLICIT, dump
from converters.engine_schema import check_raw
from converters.numbers import Counts
from runner.spec.model import LlmSpec

Config = Callable[..., dict[str, Any]]
Validates = Callable[[dict[str, Any]], dict[str, Any]]
MakeSpec = Callable[..., LlmSpec]

LORA = {"name": "lora", "rank": 4, "alpha": 8}
BEST = {"train.keep_best": True, "train.evaluate_every": {"steps": 4}, "train.save_every": {"steps": 8}}


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def refused(make_spec: MakeSpec, raw: dict[str, Any]) -> bool:
    return len(check_raw(make_spec({"axolotl": raw}))) == len(raw)


@pytest.fixture
def training_arguments(engine: None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what Axolotl's trainer builder makes of a validated config, for the Hugging Face trainer."""
    from axolotl.core.builders.base import TrainerBuilderBase
    from axolotl.utils.dict import DictDefault

    class Builder(TrainerBuilderBase):
        eval_dataset = ("one record",)

        def __init__(self, cfg: Any) -> None:
            self.cfg = cfg

        def build(self, total_num_steps: int) -> None:
            raise NotImplementedError

    def arguments(validated: dict[str, Any], total_num_steps: int = 100) -> dict[str, Any]:
        made: dict[str, Any] = Builder(DictDefault(validated))._set_base_training_args(total_num_steps)[0]
        return made

    return arguments


Arguments = Callable[..., dict[str, Any]]


# ------------------------------------------------------------------------------------------- section 0


def test_keys_that_axolotl_does_not_know_are_refused(make_spec: MakeSpec) -> None:
    problems = check_raw(make_spec({"axolotl": {"learning_rte": 3, "micro_batch_sise": 4}}))
    assert [problem.hint.partition(",")[0] for problem in problems] == [
        "nearest: learning_rate",
        "nearest: micro_batch_size",
    ]
    assert problems[1].hint.endswith("for which the spec has the word train.batch.micro")


@pytest.mark.axolotl
def test_axolotl_drops_them_without_a_word(config_of: Config, axolotl_validates: Validates) -> None:
    validated = axolotl_validates(config_of() | {"learning_rte": 3, "micro_batch_sise": 4})
    assert validated.keys().isdisjoint({"learning_rte", "micro_batch_sise"})


# --------------------------------------------------------------------------------------- the list of traps


@pytest.mark.axolotl
def test_trap_1_batch_size(config_of: Config, make_spec: MakeSpec, axolotl_validates: Validates) -> None:
    """With `batch_size` the accumulation stays 1, so 32 a step is planned and 4 are taken."""
    theirs = without(config_of(), "gradient_accumulation_steps") | {"batch_size": 32}
    assert axolotl_validates(theirs)["gradient_accumulation_steps"] == 1
    assert "batch_size" not in config_of()
    assert config_of({"train.batch": {"micro": 4, "effective": 32}})["gradient_accumulation_steps"] == 8
    assert refused(make_spec, {"batch_size": 32, "auto_find_batch_size": True})


def test_trap_1_its_number_of_steps_is_not_used(config_of: Config, make_spec: MakeSpec) -> None:
    """Axolotl plans ceil(rows * epochs / batch); the trainer rounds up in each epoch. Ours is written."""
    config = config_of({"train.epochs": 3}, Counts(61, 16, 16))
    assert math.ceil(61 * 3 / 8) == 23
    assert config["max_steps"] == 3 * math.ceil(math.ceil(61 / 4) / 2) == 24
    assert refused(make_spec, {"max_steps": 3, "dataloader_drop_last": True})


def test_trap_2_the_template_stands_at_every_level(config_of: Config) -> None:
    """Labels of images follow the top-level template alone, those of text the data set's."""
    config = config_of({"data.template": "chatml"})
    places = [config, *config["datasets"], *config["test_datasets"]]
    assert [place["chat_template"] for place in places] == ["chatml"] * 3


@pytest.mark.axolotl
def test_trap_5_no_evaluation_unless_written(
    config_of: Config, axolotl_validates: Validates, training_arguments: Arguments
) -> None:
    config = config_of({"train.evaluate_every": {"steps": 5}})
    silent = training_arguments(axolotl_validates(without(config, "eval_steps", "eval_strategy")))
    assert "eval_strategy" not in silent  # the trainer's default: no
    assert training_arguments(axolotl_validates(config))["eval_steps"] == 5
    assert config_of()["eval_steps"] == 16  # without a cadence, at the end


@pytest.mark.axolotl
def test_trap_6_the_seed(config_of: Config, make_spec: MakeSpec, axolotl_validates: Validates) -> None:
    assert axolotl_validates(without(config_of(), "seed")).get("seed") is None
    assert config_of()["seed"] == 42
    assert refused(make_spec, {"seed": 1})


@pytest.mark.axolotl
def test_trap_7_the_loader(config_of: Config, make_spec: MakeSpec, axolotl_validates: Validates) -> None:
    """Without the three keys 256 batches are read ahead; one of them not null switches that off.

    A prefetch of None cannot be written: with 0 workers torch refuses any other.
    """
    keys = ("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor")
    theirs = axolotl_validates(without(config_of(), *keys))
    assert theirs["dataloader_prefetch_factor"] == 256
    ours = axolotl_validates(config_of())
    assert [ours.get(key) for key in keys] == [0, False, None]
    assert refused(make_spec, {"dataloader_num_workers": 4})


@pytest.mark.axolotl
def test_trap_8_the_best_checkpoint(config_of: Config, axolotl_validates: Validates) -> None:
    """`load_best_model_at_end` holds only with whole steps that divide; a share of 0.1 does not (0.5 % 0.1)."""
    config = axolotl_validates(config_of(BEST))
    assert (config["save_steps"], config["eval_steps"], config["save_steps"] % config["eval_steps"]) == (
        8,
        4,
        0,
    )
    assert config["load_best_model_at_end"] is True
    assert config["val_set_size"] == 0
    assert config["metric_for_best_model"] == "eval_loss"  # `greater_is_better: false` is lost on the way
    assert 0.5 % 0.1 != 0
    assert config_of()["load_best_model_at_end"] is False


def test_trap_8_shares_of_epochs_are_refused(make_spec: MakeSpec) -> None:
    assert refused(make_spec, {"evals_per_epoch": 4, "saves_per_epoch": 1, "greater_is_better": False})


def test_trap_10_zero2_stays_on_the_device() -> None:
    """Axolotl's own zero2.json offloads the optimiser; ours does not."""
    from converters.deepspeed import strategies

    assert strategies()["zero2"]["offloads"] == "nothing"


def test_trap_11_long_records_are_cut_not_dropped(config_of: Config, make_spec: MakeSpec) -> None:
    assert config_of()["excess_length_strategy"] == "truncate"
    assert refused(make_spec, {"excess_length_strategy": "drop", "min_sample_len": 8, "eval_sequence_len": 9})


def test_trap_12_prepared_data_belong_to_one_run(config_of: Config, make_spec: MakeSpec) -> None:
    """Its cache does not see an edited file; ours lies in the run directory, whose data never change."""
    assert config_of()["dataset_prepared_path"] == "train/prepared"
    assert refused(make_spec, {"dataset_prepared_path": "/shared/cache"})


def test_trap_13_the_split_is_ours(config_of: Config, make_spec: MakeSpec) -> None:
    config = config_of()
    assert config["val_set_size"] == 0
    assert [entry["path"] for entry in config["test_datasets"]] == ["data/validation.jsonl"]
    assert refused(make_spec, {"val_set_size": 0.1})


@pytest.mark.axolotl
def test_trap_13_validation_is_masked_as_training_is(config_of: Config, axolotl_validates: Validates) -> None:
    validated = axolotl_validates(config_of({"data.template": "gemma3"}))
    (train,), (test,) = validated["datasets"], validated["test_datasets"]
    assert without(train, "path") == without(test, "path")
    assert (train["roles_to_train"], train["train_on_eos"]) == (["assistant"], "turn")


def test_trap_14_frozen_weights_and_adapters_do_not_meet(config_of: Config, make_spec: MakeSpec) -> None:
    """`unfrozen_parameters` would freeze the adapters; patterns hold for whole names."""
    partial = config_of({"method": {"name": "partial", "include": ("language.mlp",)}})
    assert "adapter" not in partial
    assert all(pattern[0] + pattern[-1] == "^$" for pattern in partial["unfrozen_parameters"])
    assert "unfrozen_parameters" not in config_of({"method": LORA})
    assert refused(make_spec, {"unfrozen_parameters": ["x"], "freeze_mm_modules": True})


@pytest.mark.axolotl
def test_trap_14_the_re_entrant_form_is_refused_with_frozen_weights(
    config_of: Config, axolotl_validates: Validates
) -> None:
    method = {"name": "partial", "include": ("language.mlp",)}
    config = config_of({"method": method, "train.gradient_checkpointing": True})
    assert axolotl_validates(config)["gradient_checkpointing_kwargs"] == {"use_reentrant": False}
    with pytest.raises(ValueError, match="use_reentrant"):
        axolotl_validates(config | {"gradient_checkpointing_kwargs": {"use_reentrant": True}})


@pytest.mark.axolotl
def test_trap_15_lora_kernels(config_of: Config, axolotl_validates: Validates) -> None:
    kernels = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")
    config = config_of({"method": LORA})
    theirs = axolotl_validates(without(config, *kernels))
    assert [theirs[key] for key in kernels] == [True] * 4
    ours = axolotl_validates(config)
    assert [ours[key] for key in kernels] == [False] * 4


@pytest.mark.axolotl
def test_trap_16_counts_that_axolotl_would_choose(
    config_of: Config, axolotl_validates: Validates, training_arguments: Arguments
) -> None:
    """Unset: 4 checkpoints, saving by epochs, 3 warm-up steps of 100, a log line every so often."""
    keys = ("save_total_limit", "save_steps", "save_strategy", "warmup_steps", "logging_steps")
    theirs = training_arguments(axolotl_validates(without(config_of(), *keys)), 1000)
    assert (theirs["save_total_limit"], theirs["save_strategy"]) == (4, "epoch")
    assert (theirs["warmup_steps"], theirs["logging_steps"]) == (30, 5)
    ours = training_arguments(axolotl_validates(config_of()), 1000)
    assert (ours["save_total_limit"], ours["save_strategy"], ours["save_steps"]) == (2, "steps", 16)
    assert (ours["warmup_steps"], ours["logging_steps"], ours["max_steps"]) == (0, 1, 16)


@pytest.mark.axolotl
def test_trap_16_the_warmup_is_never_a_ratio(
    config_of: Config, make_spec: MakeSpec, axolotl_validates: Validates, training_arguments: Arguments
) -> None:
    """A quarter of 16 steps is 4. Axolotl makes 2 of 1, so no number that we plan is 1."""
    config = config_of({"train.warmup_ratio": 0.25})
    assert config["warmup_steps"] == 4
    assert "warmup_ratio" not in config
    assert training_arguments(axolotl_validates(config | {"warmup_steps": 1}))["warmup_steps"] == 2
    assert config_of({"train.warmup_steps": 1})["warmup_steps"] == 2
    assert refused(make_spec, {"warmup_ratio": 0.1})


def test_trap_18_its_own_checkpoint_trigger_is_refused(make_spec: MakeSpec) -> None:
    assert refused(make_spec, {"dynamic_checkpoint": {"enabled": True}})


@pytest.mark.axolotl
def test_trap_19_nothing_is_sent_unless_asked_for(
    config_of: Config, make_spec: MakeSpec, axolotl_validates: Validates, training_arguments: Arguments
) -> None:
    arguments = training_arguments(axolotl_validates(config_of()))
    assert arguments["report_to"] == []
    assert "push_to_hub" not in arguments
    assert refused(
        make_spec, {"hub_model_id": "a/b", "use_comet": True, "use_trackio": True, "wandb_watch": "all"}
    )
    asked = config_of({"tracking": {"tensorboard": True, "wandb": {"project": "p"}}})
    assert training_arguments(axolotl_validates(asked))["report_to"] == ["wandb", "tensorboard"]
    assert asked["wandb_mode"] == "offline"


def test_trap_20_nothing_of_the_engines_integrations_is_loaded(
    config_of: Config, make_spec: MakeSpec
) -> None:
    """That folder has another licence; no plugin of it is named, and none can be."""
    assert config_of()["plugins"] == ["runner.axolotl_plugin.RunnerPlugin"]
    assert refused(make_spec, {"plugins": ["axolotl.integrations.liger.LigerPlugin"], "use_kernels": True})


# --------------------------------------------------------------------------------- what else was measured


@pytest.mark.axolotl
def test_the_number_format_is_never_chosen_by_the_machine(
    config_of: Config, axolotl_validates: Validates
) -> None:
    """Unset, Axolotl takes `auto`, which on a CPU resolves to fp16."""
    keys = ("bf16", "fp16", "tf32")
    assert axolotl_validates(without(config_of(), *keys))["bf16"] == "auto"
    assert [axolotl_validates(config_of())[key] for key in keys] == [False, False, False]
    bf16 = axolotl_validates(config_of({"train.precision": "bf16"}))
    assert [bf16[key] for key in keys] == [True, False, False]


@pytest.mark.axolotl
def test_a_constant_rate_warms_up(
    config_of: Config, axolotl_validates: Validates, training_arguments: Arguments
) -> None:
    """The trainer's `constant` leaves the warm-up out without a word."""
    config = config_of({"train.schedule": "constant", "train.warmup_steps": 4})
    arguments = training_arguments(axolotl_validates(config))
    assert (arguments["lr_scheduler_type"], arguments["warmup_steps"]) == ("constant_with_warmup", 4)


def test_a_learning_rate_is_no_text_for_yaml_1_1(config_of: Config) -> None:
    assert yaml.safe_load("learning_rate: 2e-05") == {"learning_rate": "2e-05"}
    assert yaml.safe_load(dump(config_of({"train.learning_rate": 2e-5})))["learning_rate"] == 2e-5


def test_every_row_is_seen(config_of: Config) -> None:
    """Packing, grouping and deduplication in the engine would change the rows; they are written off."""
    config = config_of()
    off = (
        "sample_packing",
        "group_by_length",
        "dataset_exact_deduplication",
        "streaming",
        "skip_prepare_dataset",
    )
    assert [config[key] for key in off] == [False] * 5
    assert {"train_on_inputs", "save_only_model", "auto_find_batch_size"} <= EXPLICIT.keys()


def test_module_names_are_anchored_to_the_language_part(config_of: Config) -> None:
    """A list of suffixes also matches the vision tower; a whole-name expression does not."""
    config = config_of({"model.architecture": "gemma3", "method": LORA})
    assert isinstance(config["lora_target_modules"], str)
    assert config["lora_target_modules"].startswith(r"(model\.language_model\.layers\.\d+")
    assert "lora_target_linear" not in config
