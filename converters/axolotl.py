"""Spec -> Axolotl config. Pure: no files, no torch, no clock; its arguments are left alone.

Key names and behaviour checked against Axolotl 0.19.0 (utils/schemas, core/builders, utils/config).
All paths are relative to the run directory, which is the working directory of the training stage.

What Axolotl would otherwise decide by itself is written out, because its defaults depend on the
machine or hide an error (docs of each rule below):

- `seed`: its default of 42 is never applied (the validator does not run on defaults);
- `gradient_accumulation_steps`, never `batch_size`, from which it derives a wrong number of steps;
- `max_steps`: its own estimate, ceil(rows * epochs / batch), is not what the trainer does, which
  rounds up in every epoch; it would end early where an epoch does not divide;
- whole `eval_steps` and `save_steps`: fractions switch `load_best_model_at_end` off;
- the LoRA kernels, `dataloader_*`, `bf16`, `fp16`, `tf32`, `attn_implementation`, trackers.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

from converters.architectures import ARCHITECTURES
from converters.axolotl_keys import BY_RULE, EXPLICIT, FIELDS, NOT_OURS
from converters.modules import (
    as_axolotl_reads,
    fully_trained,
    group_regexes,
    layers_told_by,
    lora_modules,
    unfrozen_parameters,
)
from converters.numbers import Numbers
from converters.templates import end_of_turn, template_keys
from runner.spec.model import TINY_RANDOM, AxolotlSpec, LoraCommon, Partial

__all__ = [
    "BY_RULE",
    "CONFIG",
    "DEEPSPEED",
    "EXPLICIT",
    "FIELDS",
    "IMAGE_ROWS",
    "NOT_OURS",
    "PLUGIN",
    "PLUGIN_KEY",
    "TINY_MODEL",
    "TRAIN_DATA",
    "VALIDATION_DATA",
    "dump",
    "to_axolotl",
    "value_at",
]

CONFIG = "config/axolotl.yaml"
DEEPSPEED = "config/deepspeed.json"
TRAIN_DATA = "data/train.jsonl"
VALIDATION_DATA = "data/validation.jsonl"
IMAGE_ROWS = {TRAIN_DATA: "train/rows/train.jsonl", VALIDATION_DATA: "train/rows/validation.jsonl"}
"""Records with images -> the rows that the train stage makes of them for the engine."""
TINY_MODEL = "model"
PLUGIN = "runner.axolotl_plugin.RunnerPlugin"
PLUGIN_KEY = "runner"

_BY_NAME: dict[str, dict[str, Any]] = {
    "full": {},
    "partial": {},
    "lora": {"adapter": "lora"},
    "dora": {"adapter": "lora", "peft_use_dora": True},
    "qlora": {"adapter": "qlora", "load_in_4bit": True},
}


def to_axolotl(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    """Return the Axolotl config that trains `spec`.

    Numbers that are not known yet (`None`) are not written; a config without `max_steps` is for
    reading only.

    Raises:
        ConvertError: a module group matches nothing on this architecture.
    """
    tiny = spec.model.base == TINY_RANDOM
    config: dict[str, Any] = {"base_model": TINY_MODEL if tiny else spec.model.base}
    config |= {key: value for path, key in FIELDS if (value := value_at(spec, path)) is not None}
    if tiny:
        config.pop("tokenizer_config", None)  # the tiny model's folder holds its tokenizer
    config |= {key: value for key, value in EXPLICIT.items() if key not in config}
    config |= _data(spec, numbers)
    config |= _images(spec)
    config |= _method(spec)
    config |= _length(spec, numbers)
    config |= _optimisation(spec, numbers)
    config |= _evaluation(spec, numbers)
    config |= _strategy(spec)
    config |= _trackers(spec)
    config["plugins"] = [PLUGIN]
    config[PLUGIN_KEY] = _plugin(spec, numbers)
    return config | deepcopy(spec.axolotl)


def dump(config: dict[str, Any]) -> str:
    r"""Return the config as text that YAML 1.1 reads back as the same values.

    Axolotl reads with `yaml.safe_load`, for which a bare `2e-05` is text; `safe_dump` writes
    `2.0e-05`.

    >>> dump({"learning_rate": 2e-05, "eval_strategy": "no"})
    "learning_rate: 2.0e-05\neval_strategy: 'no'\n"
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """The safe dumper, with text of several lines (a template) line by line."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    # All but ASCII is escaped: YAML 1.1 breaks lines at U+0085.
    return yaml.dump(config, Dumper=Dumper, sort_keys=False)


def value_at(spec: AxolotlSpec, path: str) -> Any:
    """Return the value at a dotted path; None where a section on the way is None or lacks the key."""
    value: Any = spec
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _data(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    """Return the data sets; each carries all its masking keys, for neither inherits from the other."""
    keys: dict[str, Any] = {**template_keys(spec), "datasets": [_dataset(spec, TRAIN_DATA)]}
    if _validates(spec, numbers):
        keys["test_datasets"] = [_dataset(spec, VALIDATION_DATA)]
    if enders := end_of_turn(spec):
        keys["eot_tokens"] = list(enders)
    records = max(numbers.train_records or 0, numbers.validation_records or 0)
    return keys | {"dataset_num_proc": min(8, 1 + records // 5000)}


def _images(spec: AxolotlSpec) -> dict[str, Any]:
    """Return what records with images need: they become tokens while training, by the model's own processor.

    `image_size` is left out: the engine would pad every image to a square by it, where the processor cuts Llama's
    into tiles. Rows are neither cut nor dropped, whatever `sequence_len` says; the data stage has counted.
    """
    if spec.kind != "vlm":
        return {}
    return {
        "processor_type": "AutoProcessor",
        "skip_prepare_dataset": True,
        "remove_unused_columns": False,
        "excess_length_strategy": "raise",
    }


def _dataset(spec: AxolotlSpec, path: str) -> dict[str, Any]:
    return {
        "path": IMAGE_ROWS[path] if spec.kind == "vlm" else path,
        "ds_type": "json",
        "split": "train",  # the only split of a single file, whatever it is used for
        "type": "chat_template",
        **template_keys(spec),
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


def _validates(spec: AxolotlSpec, numbers: Numbers) -> bool:
    """Return whether there are validation records; where they are not counted yet, whether asked for."""
    if numbers.validation_records is not None:
        return numbers.validation_records > 0
    return spec.data.split.validation != 0


def _method(spec: AxolotlSpec) -> dict[str, Any]:
    method = spec.method
    keys = dict(_BY_NAME[method.name])
    if isinstance(method, Partial):
        return keys | {"unfrozen_parameters": unfrozen_parameters(spec)}
    if not isinstance(method, LoraCommon):
        return keys
    keys["lora_target_modules"] = lora_modules(spec)
    architecture = ARCHITECTURES.get(spec.model.architecture)
    if architecture is not None:
        keys["lora_fan_in_fan_out"] = architecture.conv1d
    if names := fully_trained(spec):
        keys["lora_modules_to_save"] = names
        # Where the output layer is the embeddings, the trained copy must stay both.
        tied = architecture is not None and architecture.lm_head is None
        keys["peft_ensure_weight_tying"] = tied and "embeddings" in method.train_fully
    return keys


def _length(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    """Return the steps. The trainer obeys `max_steps`; `num_epochs` only says the same in epochs."""
    epochs = spec.train.epochs
    if epochs is None and numbers.steps is not None and numbers.steps_per_epoch is not None:
        epochs = math.ceil(numbers.steps / numbers.steps_per_epoch)
    keys = {"num_epochs": epochs, "max_steps": numbers.steps, "warmup_steps": numbers.warmup_steps}
    return {key: value for key, value in keys.items() if value is not None}


def _optimisation(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    train = spec.train
    keys: dict[str, Any] = {
        "lr_scheduler": train.schedule,
        "micro_batch_size": numbers.micro,
        "eval_batch_size": numbers.micro,
        "gradient_accumulation_steps": numbers.accumulation,
        "bf16": train.precision == "bf16",
        "fp16": train.precision == "fp16",
        "gradient_checkpointing": train.gradient_checkpointing,
    }
    if train.schedule == "constant" and (train.warmup_steps or train.warmup_ratio):
        keys["lr_scheduler"] = "constant_with_warmup"  # plain `constant` leaves the warm-up out
    if train.optimizer.startswith("adamw"):
        keys |= {"adam_beta1": train.beta1, "adam_beta2": train.beta2, "adam_epsilon": train.epsilon}
    if train.gradient_checkpointing:
        # Axolotl sets true, which does not go with frozen weights, where nothing is said.
        keys["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    return keys


def _evaluation(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    """Return the cadences, in whole steps; there is no evaluation at all unless one is written."""
    keys: dict[str, Any] = {"save_strategy": "steps", "eval_strategy": "no"}
    if numbers.save_every is not None:
        keys["save_steps"] = numbers.save_every
    if _validates(spec, numbers):
        keys["eval_strategy"] = "steps"
        if numbers.evaluate_every is not None:
            keys["eval_steps"] = numbers.evaluate_every
    best = spec.train.keep_best or spec.train.early_stopping is not None
    keys["load_best_model_at_end"] = best
    if best:
        # `greater_is_better: false` is lost on the way; the name ends in "loss", from which the
        # trainer draws the same conclusion.
        keys |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
    return keys


def _strategy(spec: AxolotlSpec) -> dict[str, Any]:
    if spec.compute.strategy.startswith("zero"):
        return {"deepspeed": DEEPSPEED}
    if spec.compute.strategy != "ddp":
        return {"ddp": False}
    # As Axolotl's own examples have it: DDP stops where a trained weight of a tower gets no gradient.
    return {"ddp": True, "ddp_find_unused_parameters": spec.kind == "vlm"}


def _trackers(spec: AxolotlSpec) -> dict[str, Any]:
    """Return what switches the trackers on that have keys; naming a project alone does so as well."""
    tracking = spec.tracking
    return {"use_mlflow": tracking.mlflow is not None, "use_wandb": tracking.wandb is not None}


def _plugin(spec: AxolotlSpec, numbers: Numbers) -> dict[str, Any]:
    """Return the settings of our plugin: where it writes, and what it must prove."""
    keys: dict[str, Any] = {
        "events": "events.jsonl",
        "metrics": "train/metrics.jsonl",
        "proof": "train/proof.json",
        "log_every": spec.train.log_every,
        "method": _method_to_prove(spec),
    }
    if numbers.steps is not None:
        keys["steps"] = numbers.steps
    return keys


def _method_to_prove(spec: AxolotlSpec) -> dict[str, Any]:
    """Return what is trained, in ordinary regular expressions over whole names."""
    method = spec.method
    keys: dict[str, Any] = {"name": method.name, "groups": group_regexes(spec)}
    if told := layers_told_by(spec):
        keys["layers_told_by"] = told
    if isinstance(method, LoraCommon):
        keys |= {"rank": method.rank, "pattern": lora_modules(spec), "train_fully": fully_trained(spec)}
    if isinstance(method, Partial):
        keys["parameters"] = [as_axolotl_reads(pattern) for pattern in unfrozen_parameters(spec)]
    return keys
