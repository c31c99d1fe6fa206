"""The rehearsal of a spec: the same run made tiny, for a CPU without weights, GPU or network.

Pure. `rehearsed` returns the spec that a rehearsal plans and runs; `differences` compares the engine
configs of the two, so that `plan --rehearse` can print what a rehearsal does not prove. Everything
that is not named here stays: architecture, method and its modules, template, the key and seed of the
split, filters, learning rate and schedule, keeping the best checkpoint and early stopping.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from converters.numbers import world_size
from eval.judge.address import STAND_IN
from runner.spec.model import TINY_RANDOM, AxolotlSpec, Cadence, Lora, LoraCommon, Model, Train
from runner.spec.shared import Compute, Tracking
from runner.spec.sources import Split
from runner.spec.tasks import (
    ClassificationTask,
    EcgBenchTask,
    JudgeTask,
    LmEvalTask,
    MultilabelTask,
    RougeTask,
    Task,
    WrittenTask,
)

AT_MOST: Mapping[str, int] = MappingProxyType({"train": 240, "validation": 40, "test": 40})
"""Records of each split; ratios are applied to all records first, then cut to these."""

CONTEXT = 256
"""Tokens at most."""
STEPS = 36
"""Optimiser steps; with a full 240 records and 8 a step, the second epoch begins at step 31."""
EVERY = 12
"""Steps between evaluations and between checkpoints: three of each."""
MICRO = 4
"""Records per forward pass at most."""
ACCUMULATION = 2
"""Forward passes per step at most; a run that accumulates does so in its rehearsal too."""
WORKERS = 1
"""Loader processes at most."""
ANSWER = 24
"""Tokens that are written per answer at most."""
QUESTIONS = 8
"""Questions of each task of lm-eval at most."""

ON_CPU: Mapping[str, str] = MappingProxyType(
    {"adamw_torch_fused": "adamw_torch", "adamw_bnb_8bit": "adamw_torch"}
)
"""Optimiser -> the one that a rehearsal takes in its place."""

GPU_KEYS = (
    "bnb_config_kwargs",
    "cut_cross_entropy",
    "flash_*",
    "fused_*",
    "gptq*",
    "liger_*",
    "load_in_4bit",
    "load_in_8bit",
    "lora_*_kernel",
    "tf32",
    "torch_compile*",
    "use_kernels",
)
"""Raw Axolotl keys, as name patterns, that need a GPU and are left out of a rehearsal."""


def rehearsed(spec: AxolotlSpec) -> AxolotlSpec:
    """Return the spec of the rehearsal: small, on the CPU, otherwise the same.

    A valid spec gives a valid one: batch sizes divide, warm-up is shorter than the training, and
    evaluations and checkpoints fall on the same steps. Rehearsing twice changes nothing more.
    """
    return spec.model_copy(
        update={
            "model": _model(spec.model),
            "data": _data(spec.data),
            "method": _method(spec),
            "train": _train(spec),
            "compute": Compute(device="cpu", target=spec.compute.target),
            "evaluate": tuple(_task(task) for task in spec.evaluate),
            "tracking": Tracking(tensorboard=spec.tracking.tensorboard),
            "axolotl": {key: value for key, value in spec.axolotl.items() if not _needs_gpu(key)},
            "deepspeed": {},
        }
    )


def _model(model: Model) -> Model:
    local = model.tokenizer is not None and model.tokenizer.startswith(("./", "../", "/"))
    return model.model_copy(
        update={
            "base": TINY_RANDOM,
            "revision": None,
            "tokenizer": model.tokenizer if local else None,
            "context": min(model.context, CONTEXT),
            "attention": "sdpa",
            "adapter": None,
            "trust_remote_code": False,
        }
    )


def _data(data: Any) -> Any:
    """Return the data with the sizes of its split cut, and with few recordings; a section of either kind."""
    if "render" in type(data).model_fields:
        from runner.rehearse_images import with_few  # brings the classes of images, which text does without

        data = with_few(data)
    return data.model_copy(update={"split": _split(data.split)})


def _split(split: Split) -> Split:
    """Return the split with its counts cut; ratios stay, and the data stage cuts what they give."""
    cut = {
        name: min(value, most)
        for name, most in AT_MOST.items()
        if isinstance(value := getattr(split, name), int) and split.by != "given"
    }
    return split.model_copy(update=cut)


def _method(spec: AxolotlSpec) -> Any:
    """Return the method; 4-bit weights need a GPU, so QLoRA becomes LoRA with the same settings."""
    method = spec.method
    if method.name != "qlora":
        return method
    given = {name: getattr(method, name) for name in method.model_fields_set}
    return _plain_lora(spec)(**{**given, "name": "lora"})


def _plain_lora(spec: AxolotlSpec) -> type[LoraCommon]:
    if spec.kind == "llm":
        return Lora
    from runner.spec.vlm import VlmLora

    return VlmLora


def _train(spec: AxolotlSpec) -> Train:
    train = spec.train
    steps = STEPS if train.steps is None else min(train.steps, STEPS)
    every = max(1, min(EVERY, steps // 2))
    return train.model_copy(
        update={
            "epochs": None,
            "steps": steps,
            "warmup_steps": _warmup(train.warmup_steps, steps),
            "optimizer": ON_CPU.get(train.optimizer, train.optimizer),
            "batch": _batch(spec),
            "precision": "fp32",
            "log_every": min(train.log_every, max(1, every // 4)),
            "evaluate_every": None if spec.data.split.validation == 0 else Cadence(steps=every),
            "save_every": Cadence(steps=every),
            "loader": train.loader.model_copy(
                update={"workers": min(train.loader.workers, WORKERS), "pin_memory": False}
            ),
        }
    )


def _warmup(given: int | None, steps: int) -> int | None:
    """Return the warm-up cut to a quarter of the steps; 1 step, which the engine would make 2, is 2."""
    if given is None:
        return None
    cut = min(given, steps // 4)
    return 2 if cut == 1 else cut


def _batch(spec: AxolotlSpec) -> Any:
    """Return the batch of one process: micro and accumulation each cut, effective their product."""
    batch = spec.train.batch
    accumulation = max(1, batch.effective // (batch.micro * world_size(spec)))
    micro = min(batch.micro, MICRO)
    return batch.model_copy(update={"micro": micro, "effective": micro * min(accumulation, ACCUMULATION)})


def _task(task: Task) -> Task:
    if isinstance(task, LmEvalTask):
        return _harness_task(task)
    most = AT_MOST[task.split]
    cut = {
        "records": most if task.records is None else min(task.records, most),
        "batch": min(task.batch, 8),
    }
    if isinstance(task, (RougeTask, ClassificationTask, MultilabelTask, EcgBenchTask, WrittenTask)):
        cut["max_new_tokens"] = min(task.max_new_tokens, ANSWER)
    if isinstance(task, JudgeTask):  # no text leaves, and no key is needed
        nobody = {"endpoint": STAND_IN, "reply_format": "json_schema", "key_variable": None, "cache": None}
        return task.model_copy(update={**cut, **nobody, "allow_text_to_leave": False})
    if isinstance(task, EcgBenchTask) and task.file is not None:  # it may not be here
        return task.model_copy(update={**cut, "items": "invented"})
    return task.model_copy(update=cut)


def _harness_task(task: LmEvalTask) -> LmEvalTask:
    """Return the task with a few questions each; without a local folder they are invented: there is no hub."""
    limit = QUESTIONS if task.limit is None else min(task.limit, QUESTIONS)
    return task.model_copy(update={"limit": limit, "batch": min(task.batch, 8), "questions": "invented"})


def _needs_gpu(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in GPU_KEYS)


# --------------------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class Difference:
    """One key of the engine's config that a rehearsal sets otherwise; None: the key is not written."""

    key: str
    real: Any
    rehearsal: Any
    why: str


WHY: tuple[tuple[str, str], ...] = (
    ("base_model*", "a small random model of the same architecture stands in for the weights"),
    ("tokenizer*", "the tokenizer is trained on the spec's own data, or is the local folder"),
    ("revision_of_model", "nothing is read from the hub"),
    ("trust_remote_code", "nothing is read from the hub"),
    ("lora_model_dir", "an adapter of the real model does not fit the small one"),
    ("special_tokens*", "the small tokenizer brings its own"),
    ("sequence_len", "short rows: a CPU is to be done in minutes"),
    ("eval_sequence_len", "short rows: a CPU is to be done in minutes"),
    ("attn_implementation", "the attention that runs on any machine"),
    ("bf16", "float32 is what every CPU computes"),
    ("fp16", "float32 is what every CPU computes"),
    ("tf32", "float32 is what every CPU computes"),
    ("load_in_4bit", "4-bit weights need a GPU"),
    ("load_in_8bit", "8-bit weights need a GPU"),
    ("bnb_config_kwargs*", "4-bit weights need a GPU"),
    ("adapter", "4-bit weights need a GPU: LoRA with the same settings"),
    ("optimizer", "the plain form of the same optimiser: the other needs a GPU"),
    ("optim_args*", "the plain form of the same optimiser: the other needs a GPU"),
    ("micro_batch_size", "small batches on one process"),
    ("eval_batch_size", "small batches on one process"),
    ("gradient_accumulation_steps", "small batches on one process; accumulation stays where there is some"),
    ("num_epochs", "a few dozen steps instead of epochs"),
    ("max_steps", "a few dozen steps"),
    ("warmup_steps", "shorter than the few steps"),
    ("warmup_ratio", "shorter than the few steps"),
    ("eval_steps", "evaluated at least twice in the few steps"),
    ("eval_strategy", "evaluated at least twice in the few steps"),
    ("save_steps", "saved at least twice in the few steps"),
    ("save_strategy", "saved at least twice in the few steps"),
    ("logging_steps", "logged often enough to see in the few steps"),
    ("dataloader_*", "one loader at most, and no page-locked memory on a CPU"),
    ("deepspeed*", "one process on a CPU: nothing to share"),
    ("fsdp*", "one process on a CPU: nothing to share"),
    ("ddp*", "one process on a CPU: nothing to share"),
    ("use_mlflow", "a rehearsal is not tracked"),
    ("use_wandb", "a rehearsal is not tracked"),
    ("mlflow_*", "a rehearsal is not tracked"),
    ("hf_mlflow*", "a rehearsal is not tracked"),
    ("wandb_*", "a rehearsal is not tracked"),
    ("dataset_prepared_path", "other rows, other folder"),
    ("output_dir", "other run, other folder"),
    ("runner.*", "what our plugin logs and is to prove, from the values above"),
)
"""Pattern of an Axolotl key, dotted -> why a rehearsal sets it otherwise; the first that fits."""


def differences(
    real: Mapping[str, Any], rehearsal: Mapping[str, Any], why: tuple[tuple[str, str], ...] = WHY
) -> tuple[Difference, ...]:
    """Return the keys in which two engine configs differ, in the order of the real one.

    Mappings are compared key by key, with dotted names (`deepspeed.zero_optimization.stage`); lists
    and texts as wholes. A key of one config alone is None in the other. `why` is the engine's table of reasons.

    >>> differences({"bf16": True, "seed": 1}, {"bf16": False, "seed": 1})[0].why
    'float32 is what every CPU computes'
    """
    before, after = dict(_flat(real)), dict(_flat(rehearsal))
    return tuple(
        Difference(key, before.get(key), after.get(key), _why(key, why))
        for key in dict.fromkeys([*before, *after])
        if _differ(before.get(key), after.get(key))
    )


def _differ(a: Any, b: Any) -> bool:
    """Return whether two values differ; for Python, but not for an engine, 1 is True."""
    return a != b or isinstance(a, bool) != isinstance(b, bool)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _why(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, why in table:
        if fnmatch.fnmatchcase(key, pattern):
            return why
    if _needs_gpu(key):
        return "needs a GPU"
    return "follows from the smaller run"
