"""The backend for language models: Axolotl trains, our own stages do the rest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from converters import numbers as arithmetic
from converters.axolotl import IMAGE_ROWS, dump, to_axolotl
from converters.deepspeed import to_deepspeed
from converters.numbers import Counts, Numbers, stated_counts
from converters.templates import end_of_turn
from eval.report.format import counted
from runner.backends.report import report_stage
from runner.rehearse import AT_MOST, WHY, rehearsed
from runner.spec.environment import has_placeholder
from runner.spec.judge_rules import judges_away
from runner.spec.model import TINY_RANDOM, AxolotlSpec, Full, LlmSpec, Partial
from runner.spec.problems import CountedError
from runner.spec.rules import needs_cuda
from runner.spec.tasks import LmEvalTask, Task
from runner.stage import PlannedFile, Stage

if TYPE_CHECKING:
    from runner.spec.vlm import VlmSpec

__all__ = [
    "DEVICES",
    "WHY",
    "config",
    "files",
    "needs_cuda",
    "notes",
    "numbers_of",
    "rehearsed",
    "stages",
    "stated_counts",
    "with_counts",
]

DEVICES = ("cuda", "mps", "cpu")
CONFIG = "config/axolotl.yaml"
DEEPSPEED = "config/deepspeed.json"
MODEL_FOLDER = "model"
"""Where a tiny random model is built, in the run directory."""
DATA_CACHE = "../../.cache/data"
"""From a run directory to the cache that all runs of a runs folder share."""


def numbers_of(spec: AxolotlSpec, counts: Counts | None) -> Numbers:
    """Return the arithmetic of the run.

    Raises:
        CountedError: the best checkpoint is to be kept, but saves and evaluations, whose cadences become known
            with the counts, do not fall together; the engine would end with the last checkpoint.
    """
    numbers = arithmetic.numbers_of(spec, counts)
    save, evaluate = numbers.save_every, numbers.evaluate_every
    best = spec.train.keep_best or spec.train.early_stopping is not None
    if best and save is not None and evaluate is not None and save % evaluate:
        raise CountedError(
            f"a checkpoint every {save} steps does not fall on the evaluations, which are every {evaluate}: "
            "the best one could not be kept\n  give train.save_every as a multiple of train.evaluate_every"
        )
    return numbers


def with_counts(spec: AxolotlSpec, counts: Counts) -> AxolotlSpec:
    """Return the spec as if it stated the counts."""
    by = "record" if spec.data.split.by == "given" else spec.data.split.by
    split = spec.data.split.model_copy(update={**dataclasses.asdict(counts), "by": by})
    return spec.model_copy(update={"data": spec.data.model_copy(update={"split": split})})


def notes(spec: AxolotlSpec, numbers: Numbers) -> tuple[str, ...]:
    """Return what a person should know before the run."""
    found: list[str] = []
    hub = not spec.model.base.startswith(("/", "./", "../", "tiny-random", "${"))
    if hub and spec.model.revision is None:
        found.append(
            f"model.revision is not given: {spec.model.base} is taken as it is on the day; a commit makes it repeatable"
        )
    if numbers.steps is None:
        found.append("data.split has ratios: steps are known once the data stage has counted the records")
    elif numbers.warmup_steps is not None and numbers.warmup_steps >= numbers.steps:
        found.append(
            f"the warm-up of {counted(numbers.warmup_steps, 'step')} does not end within {counted(numbers.steps, 'step')}"
        )
    found.extend(
        f"text leaves this machine: the answers and references of {task.split} are sent to the judge at {place}"
        for task, place in judges_away(spec)
    )
    return tuple(found)


def files(spec: AxolotlSpec, numbers: Numbers) -> tuple[PlannedFile, ...]:
    """Return `config/axolotl.yaml` and, with a zero strategy, `config/deepspeed.json`."""
    result = [PlannedFile(CONFIG, dump(to_axolotl(spec, numbers)))]
    deepspeed = to_deepspeed(spec, numbers)
    if deepspeed is not None:
        result.append(PlannedFile(DEEPSPEED, json.dumps(deepspeed, indent=2) + "\n"))
    return tuple(result)


def config(spec: AxolotlSpec, numbers: Numbers) -> Mapping[str, Any]:
    """Return the Axolotl config as Axolotl reads it."""
    read: dict[str, Any] = yaml.safe_load(dump(to_axolotl(spec, numbers)))
    return read


def stages(spec: LlmSpec | VlmSpec, numbers: Numbers, *, rehearsal: bool) -> tuple[Stage, ...]:
    """Return the processes of a run: data, a tiny model where asked for, evaluations, training, report."""
    tiny = spec.model.base == TINY_RANDOM
    result = [_data(spec, rehearsal=rehearsal, tiny=tiny)]
    if tiny:
        result.append(_tiny_model(spec))
    if spec.evaluate:
        result.append(_evaluation(spec, "baseline", adapter=spec.model.adapter))
    result.append(_train(spec, numbers, tiny=tiny))
    if spec.evaluate:
        result.append(_evaluation(spec, "evaluate", adapter=None))
    result.append(report_stage(spec, rehearsal=rehearsal))
    environment = _environment(spec)
    return tuple(
        Stage(s.name, s.module, s.reads, s.writes, s.settings, {**environment, **s.environment})
        for s in result
    )


def _environment(spec: AxolotlSpec) -> dict[str, str]:
    """Return what every stage's process gets: no telemetry, no tracker and no hub that was not asked for."""
    names = [spec.model.base, spec.model.tokenizer, spec.model.adapter, getattr(spec.data, "id", None)]
    names.extend(getattr(part, "id", None) for part in getattr(spec.data, "components", ()))
    wanted = {name for name in names if name is not None and name != TINY_RANDOM}
    hub = any(not name.startswith("/") or has_placeholder(name) for name in wanted)
    hub = hub or any(_asks_hub(task) for task in spec.evaluate)
    environment = {} if hub else {"HF_HUB_OFFLINE": "1"}
    wandb = spec.tracking.wandb
    environment["WANDB_MODE"] = wandb.mode if wandb else "disabled"
    # One process with several GPUs in sight would spread its model over all of them.
    count = spec.compute.gpus if spec.compute.device == "cuda" else 0
    if spec.model.base == TINY_RANDOM:
        environment["OMP_NUM_THREADS"] = "1"  # so little work that a second thread only waits for the first
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(number) for number in range(count))
    return environment


def _asks_hub(task: Task) -> bool:
    """Return whether the task's questions may come from the hub."""
    if not isinstance(task, LmEvalTask) or task.questions == "invented":
        return False
    return task.data is None or has_placeholder(task.data)


def _data(spec: AxolotlSpec, *, rehearsal: bool, tiny: bool) -> Stage:
    tokens = {
        "tokenizer": spec.model.tokenizer or spec.model.base,
        "template": spec.data.template,
        "context": spec.model.context,
        "end_tokens": list(end_of_turn(spec)),
        "revision": None if spec.model.tokenizer else spec.model.revision,
        "images": "whole" if spec.kind == "vlm" else None,
    }
    return Stage(
        "data",
        "runner.stages.data",
        reads=(),
        writes=("data/train.jsonl", "data/validation.jsonl", "data/test.jsonl", "data/manifest.json"),
        settings={
            "data": spec.data.model_dump(mode="json"),
            "at_most": dict(AT_MOST) if rehearsal else None,
            "cache": DATA_CACHE,
            "tokens": None if tiny else tokens,
        },
    )


def _tiny_model(spec: AxolotlSpec) -> Stage:
    method = spec.method
    patterns: tuple[str, ...] = ()
    if isinstance(method, Partial):
        patterns = method.parameters
    elif not isinstance(method, Full) and method.modules is not None:
        patterns = (method.modules,)
    return Stage(
        "tiny_model",
        "runner.stages.tiny_model",
        reads=("data/train.jsonl", "data/validation.jsonl", "data/test.jsonl"),
        writes=(MODEL_FOLDER, "data/tokens.json"),
        settings={
            "architecture": spec.model.architecture,
            "tokenizer": spec.model.tokenizer,
            "context": spec.model.context,
            "template": spec.data.template,
            "seed": spec.train.seed,
            "patterns": list(patterns),
            "end_tokens": list(end_of_turn(spec)),
            "images": spec.kind == "vlm",
        },
    )


def _evaluation(spec: AxolotlSpec, name: str, *, adapter: str | None) -> Stage:
    trained = name == "evaluate"
    out = "eval/tuned" if trained else "eval/baseline"
    tiny = spec.model.base == TINY_RANDOM
    base = MODEL_FOLDER if tiny else spec.model.base
    full = isinstance(spec.method, (Full, Partial))
    reads = (
        "data/train.jsonl",
        "data/validation.jsonl",
        "data/test.jsonl",
        *((MODEL_FOLDER,) if tiny else ()),
    )
    return Stage(
        name,
        "runner.stages.evaluate",
        reads=(*reads, "train/final", "train/proof.json") if trained else reads,
        writes=(f"{out}.json", out),
        settings={
            "model": "train/final" if trained and full else base,
            "revision": None if trained and full else spec.model.revision,
            "adapter": "train/final" if trained and not full else adapter,
            "tokenizer": None if trained and full else spec.model.tokenizer if not tiny else None,
            "template": spec.data.template,
            "context": spec.model.context,
            "tasks": [task.model_dump(mode="json") for task in spec.evaluate],
            "device": spec.compute.device,
            "precision": spec.train.precision,
            "attention": spec.model.attention,
            "out": f"{out}.json",
            "trust_remote_code": spec.model.trust_remote_code,
            "images": spec.kind == "vlm",
            "end_tokens": list(end_of_turn(spec)),
            "trained_on": "train/proof.json" if trained else None,
        },
    )


def _train(spec: AxolotlSpec, numbers: Numbers, *, tiny: bool) -> Stage:
    zero = spec.compute.strategy.startswith("zero")
    sees = spec.kind == "vlm"
    reads = [CONFIG, "data/train.jsonl"]
    reads += [DEEPSPEED] if zero else []
    reads += [MODEL_FOLDER] if tiny else []
    reads += ["data/validation.jsonl"] if spec.data.split.validation != 0 else []
    return Stage(
        "train",
        "runner.stages.train",
        reads=tuple(reads),
        writes=("train/final", "train/proof.json", "train/metrics.jsonl"),
        settings={
            "config": CONFIG,
            "rows": {name: IMAGE_ROWS[name] for name in reads if name in IMAGE_ROWS} if sees else {},
            "expect": {
                "steps": numbers.steps,
                "rows": numbers.rows,
                "world_size": numbers.world_size,
                "distributed": "deepspeed" if zero else spec.compute.strategy,
                "early_stopping": spec.train.early_stopping is not None,
                "keep_best": spec.train.keep_best or spec.train.early_stopping is not None,
            },
            "device": spec.compute.device,
            "adapter": not isinstance(spec.method, (Full, Partial)),
        },
        environment={
            "HF_DATASETS_CACHE": "train/datasets"
        },  # made from the run's own files, of no use to others
    )
