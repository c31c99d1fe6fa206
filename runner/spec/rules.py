"""The rules between the fields of `kind: llm`: one table, each with a code that never changes its meaning.

A rule's check yields a path and what was given there. Title, reason and fix are said once, in the
table, and appear in errors, in `runner explain CODE` and in `docs/rules.md`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction

from runner.spec.judge_rules import key_is_encrypted, text_may_leave
from runner.spec.lm_eval_rules import each_once
from runner.spec.model import TINY_RANDOM, AxolotlSpec, Cadence, LoraCommon, Partial
from runner.spec.rule import Broken, Rule
from runner.spec.section import given
from runner.spec.sources import HuggingfaceSource, MixtureData
from runner.spec.tabular_rules import answers_differ, features_of_tables, limits_in_order, prompt_fields
from runner.spec.task_rules import (
    ablations_have_images,
    answers_have_room,
    first_words_are_answers,
    floors_have_features,
    labels_are_answers,
    name_of,
    nothing_is_ignored,
    positive_is_a_label,
    subgroups_of_tables,
    temperature_is_fitted_elsewhere,
    thresholds_are_chosen_elsewhere,
    tiny_models_stay_small,
    words_tell_labels_apart,
)
from runner.spec.tasks import EcgBenchTask, LmEvalTask
from runner.spec.yaml_text import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
HALF_PRECISION = ("bf16", "fp16")


# ---------------------------------------------------------------------------------- length and pace


def _one_length(spec: AxolotlSpec) -> Broken:
    train = spec.train
    if train.epochs is not None and train.steps is not None:
        yield ("train", "steps"), f"epochs {train.epochs:g} and steps {train.steps} are both given"
    if train.epochs is None and train.steps is None:
        yield ("train",), "neither epochs nor steps is given"


def _one_warmup(spec: AxolotlSpec) -> Broken:
    train = spec.train
    if train.warmup_steps is not None and train.warmup_ratio is not None:
        yield (
            ("train", "warmup_ratio"),
            f"warmup_steps {train.warmup_steps} and warmup_ratio {train.warmup_ratio:g} are both given",
        )


def _warmup_fits(spec: AxolotlSpec) -> Broken:
    train = spec.train
    if train.steps is not None and train.warmup_steps is not None and train.warmup_steps >= train.steps:
        yield ("train", "warmup_steps"), f"{train.warmup_steps} warm-up steps of {train.steps} steps in all"


def _batch_divides(spec: AxolotlSpec) -> Broken:
    batch, world = spec.train.batch, spec.compute.nodes * spec.compute.gpus
    if batch.effective % (batch.micro * world):
        yield (
            ("train", "batch", "effective"),
            f"{batch.effective} does not divide by micro {batch.micro} x {world} "
            f"device{'' if world == 1 else 's'} = {batch.micro * world}",
        )


def _cadences(spec: AxolotlSpec) -> Iterator[tuple[Path, Cadence]]:
    for name, cadence in (
        ("evaluate_every", spec.train.evaluate_every),
        ("save_every", spec.train.save_every),
    ):
        if cadence is not None:
            yield ("train", name), cadence


def _one_cadence(spec: AxolotlSpec) -> Broken:
    for path, cadence in _cadences(spec):
        if (cadence.steps is None) == (cadence.epochs is None):
            given = (
                "neither steps nor epochs is given"
                if cadence.steps is None
                else "both steps and epochs are given"
            )
            yield path, given


def _evaluates_something(spec: AxolotlSpec) -> Broken:
    if spec.data.split.validation == 0:
        if spec.train.evaluate_every is not None:
            yield ("train", "evaluate_every"), "data.split.validation is 0: there is nothing to evaluate"
        if spec.train.keep_best:
            yield ("train", "keep_best"), "data.split.validation is 0: no checkpoint is better than another"


def _stops_early(spec: AxolotlSpec) -> Broken:
    if spec.train.early_stopping is None:
        return
    if spec.data.split.validation == 0:
        yield ("train", "early_stopping"), "data.split.validation is 0: there is no validation loss"
    if spec.train.evaluate_every is None:
        yield ("train", "early_stopping"), "train.evaluate_every is not given: nothing tells when to stop"


def _best_is_saved(spec: AxolotlSpec) -> Broken:
    train = spec.train
    if not train.keep_best and train.early_stopping is None:
        return
    evaluate, save = train.evaluate_every, train.save_every
    if evaluate is None and not train.keep_best:
        return  # said by the rule about early stopping
    if evaluate is None or save is None:
        missing = "evaluate_every" if evaluate is None else "save_every"
        yield ("train", "keep_best" if train.keep_best else "early_stopping"), f"train.{missing} is not given"
        return
    same_unit = (evaluate.steps is None) == (save.steps is None)
    if not same_unit or not _is_multiple(save.steps or save.epochs, evaluate.steps or evaluate.epochs):
        yield (
            ("train", "save_every"),
            f"{_cadence(save)} is no multiple of evaluate_every {_cadence(evaluate)}",
        )


def _is_multiple(one: float | None, other: float | None) -> bool:
    """Return whether one number is a whole multiple of another, as they are written: 0.3 is one of 0.1."""
    if not one or not other:
        return True  # a cadence of nothing breaks another rule
    return (Fraction(str(one)) / Fraction(str(other))).denominator == 1


def _cadence(cadence: Cadence) -> str:
    number, word = (f"{cadence.steps}", "step") if cadence.steps else (f"{cadence.epochs or 0:g}", "epoch")
    return f"{number} {word}{'' if number == '1' else 's'}"


# --------------------------------------------------------------------------------------------- data


def _split_sizes(spec: AxolotlSpec) -> Broken:
    split = spec.data.split
    parts = (split.train, split.validation, split.test)
    if split.by == "given":
        if any(part is not None for part in parts):
            yield ("data", "split"), "by: given takes no sizes; each record says where it belongs"
        return
    if any(part is None for part in parts):
        missing = [n for n, p in zip(("train", "validation", "test"), parts, strict=True) if p is None]
        yield ("data", "split"), f"no size for {', '.join(missing)}"
        return
    whole = [part for part in parts if isinstance(part, int) and part != 0]
    shares = [part for part in parts if isinstance(part, float) and part != 0]
    if whole and shares:
        yield ("data", "split"), f"counts ({_listed(whole)}) and ratios ({_listed(shares)}) are mixed"
    elif shares and abs(sum(shares) - 1) > 1e-6:
        yield ("data", "split"), f"the ratios add up to {sum(shares):g}"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(str(number) for number in numbers)


def _filter_order(spec: AxolotlSpec) -> Broken:
    chosen = spec.data.filter
    if chosen.max_answer_words is not None and chosen.max_answer_words < chosen.min_answer_words:
        yield (
            ("data", "filter", "max_answer_words"),
            f"{chosen.max_answer_words} is below min_answer_words {chosen.min_answer_words}",
        )


def _columns(spec: AxolotlSpec) -> Broken:
    sources: list[tuple[Path, object]] = [(("data",), spec.data)]
    if isinstance(spec.data, MixtureData):
        sources = [(("data", "components", n), part) for n, part in enumerate(spec.data.components)]
    for path, source in sources:
        if not isinstance(source, HuggingfaceSource):
            continue
        pair = (source.question_column, source.answer_column)
        if source.messages_column is not None and any(pair):
            yield (*path, "messages_column"), "given beside question_column or answer_column"
        if source.messages_column is None and not all(pair):
            yield path, "neither messages_column nor both of question_column and answer_column are given"


_TEMPLATE_FAMILIES = {"gemma3": ("gemma",), "llama3": ("llama", "mllama"), "qwen3": ("qwen",)}


def _template_fits(spec: AxolotlSpec) -> Broken:
    families = _TEMPLATE_FAMILIES.get(spec.data.template)
    if families and not spec.model.architecture.startswith(families):
        yield (
            ("data", "template"),
            f"{spec.data.template!r} with the architecture {spec.model.architecture!r}, whose tokenizer "
            "lacks its special tokens",
        )


# -------------------------------------------------------------------------------------------- method


def _modules_or_groups(spec: AxolotlSpec) -> Broken:
    method = spec.method
    if isinstance(method, LoraCommon) and method.modules is not None:
        for word in ("include", "exclude"):
            if word in given(method):
                yield ("method", "modules"), f"given beside method.{word}"


def _groups_left(spec: AxolotlSpec) -> Broken:
    method = spec.method
    if not isinstance(method, LoraCommon) or method.modules is not None:
        return
    for group in method.exclude:
        if group not in method.include:
            yield ("method", "exclude"), f"{group!r} is not in include ({', '.join(method.include)})"
    if not set(method.include) - set(method.exclude):
        yield ("method", "include"), "no module group is left"
    for group in set(method.train_fully) & (set(method.include) - set(method.exclude)):
        yield ("method", "train_fully"), f"{group!r} would get an adapter and be trained in full"


def _partial_names_something(spec: AxolotlSpec) -> Broken:
    if isinstance(spec.method, Partial) and not spec.method.include and not spec.method.parameters:
        yield ("method",), "partial training of nothing"


def _parameter_patterns(spec: AxolotlSpec) -> Broken:
    if not isinstance(spec.method, Partial):
        return
    for number, pattern in enumerate(spec.method.parameters):
        if ".*" in pattern or ".+" in pattern:
            yield (
                ("method", "parameters", number),
                f"{pattern!r}: the engine takes every dot as a literal dot, so this matches nothing",
            )
        elif not _compiles(pattern):
            yield ("method", "parameters", number), f"{pattern!r} is no regular expression"


def _module_pattern(spec: AxolotlSpec) -> Broken:
    method = spec.method
    if isinstance(method, LoraCommon) and method.modules is not None and not _compiles(method.modules):
        yield ("method", "modules"), f"{method.modules!r} is no regular expression"


def _compiles(pattern: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _adapter_needs_lora(spec: AxolotlSpec) -> Broken:
    if spec.model.adapter is not None and not isinstance(spec.method, LoraCommon):
        yield ("model", "adapter"), f"an adapter with the method {spec.method.name!r}"


# ------------------------------------------------------------------------------------------- machine


def needs_cuda(spec: AxolotlSpec) -> Broken:
    """Yield what a spec asks for that its device, cpu or mps, does not have."""
    device = spec.compute.device
    if device not in ("cpu", "mps"):
        return
    if spec.method.name == "qlora":
        yield ("method", "name"), f"qlora on {device}: 4-bit weights need CUDA"
    if spec.model.attention == "flash_attention_2":
        yield ("model", "attention"), f"flash_attention_2 on {device}"
    if spec.train.optimizer in ("adamw_bnb_8bit", "adamw_torch_fused"):
        yield ("train", "optimizer"), f"{spec.train.optimizer} on {device}"
    if spec.compute.strategy.startswith("zero"):
        yield ("compute", "strategy"), f"{spec.compute.strategy} on {device}: DeepSpeed is not engaged there"
    if spec.train.loader.pin_memory:
        yield ("train", "loader", "pin_memory"), f"page-locked memory on {device}"
    if spec.train.precision in HALF_PRECISION and device == "cpu":
        yield ("train", "precision"), f"{spec.train.precision} on a CPU"
    if spec.compute.gpu is not None:
        yield ("compute", "gpu"), f"a GPU of type {spec.compute.gpu!r} on {device}"


def _flash_precision(spec: AxolotlSpec) -> Broken:
    if spec.model.attention == "flash_attention_2" and spec.train.precision not in HALF_PRECISION:
        yield ("model", "attention"), f"flash_attention_2 with precision {spec.train.precision}"


def _strategy_fits(spec: AxolotlSpec) -> Broken:
    devices = spec.compute.nodes * spec.compute.gpus
    if devices > 1 and spec.compute.strategy == "none":
        yield ("compute", "strategy"), f"{devices} devices and no strategy: each would train alone"
    if devices == 1 and spec.compute.strategy == "ddp":
        yield ("compute", "strategy"), "ddp with one device"


def _one_node(spec: AxolotlSpec) -> Broken:
    if spec.compute.nodes > 1 and spec.compute.target == "local":
        yield ("compute", "nodes"), f"{spec.compute.nodes} nodes on this machine"


def _deepspeed_engaged(spec: AxolotlSpec) -> Broken:
    if spec.deepspeed and not spec.compute.strategy.startswith("zero"):
        yield ("deepspeed",), f"DeepSpeed keys with strategy {spec.compute.strategy!r}, which does not use it"


def _loader_fits(spec: AxolotlSpec) -> Broken:
    loader = spec.train.loader
    if loader.prefetch is not None and loader.workers == 0:
        yield ("train", "loader", "prefetch"), f"prefetch {loader.prefetch} with 0 workers"


_ADAM_ONLY = ("beta1", "beta2", "epsilon")


def _adam_options(spec: AxolotlSpec) -> Broken:
    if spec.train.optimizer.startswith("adamw"):
        return
    for name in _ADAM_ONLY:
        if name in given(spec.train):
            yield ("train", name), f"given with the optimiser {spec.train.optimizer!r}, which has none"


def _masters(spec: AxolotlSpec) -> Broken:
    whole = spec.method.name in ("full", "partial")
    if spec.train.precision == "fp16" and whole and not spec.compute.strategy.startswith("zero"):
        yield ("train", "precision"), f"fp16 with the method {spec.method.name!r} and no zero strategy"


# ---------------------------------------------------------------------------------------------- rest


def _remote_code(spec: AxolotlSpec) -> Broken:
    if spec.model.trust_remote_code and not COMMIT.fullmatch(spec.model.revision or ""):
        given = "no revision" if spec.model.revision is None else f"revision {spec.model.revision!r}"
        yield ("model", "trust_remote_code"), f"code from the hub with {given}"


def _revision_fits(spec: AxolotlSpec) -> Broken:
    model = spec.model
    local = model.base.startswith(("/", "./", "../")) or model.base == TINY_RANDOM
    if model.revision is not None and local:
        what = TINY_RANDOM if model.base == TINY_RANDOM else "a local folder"
        yield ("model", "revision"), f"a revision, but model.base is {what}"
    if model.base == TINY_RANDOM and model.adapter is not None:
        yield ("model", "adapter"), "an adapter for a model with random weights"


def _one_revision(spec: AxolotlSpec) -> Broken:
    tokenizer = spec.model.tokenizer
    if spec.model.revision is not None and tokenizer is not None and not tokenizer.startswith(("/", "$")):
        yield ("model", "revision"), f"also asked of {tokenizer!r}, which is another repository"


def _warmup_of_one(spec: AxolotlSpec) -> Broken:
    if spec.train.warmup_steps == 1:
        yield ("train", "warmup_steps"), "1 warm-up step: the engine makes it 2"


def _tasks_have_records(spec: AxolotlSpec) -> Broken:
    seen: set[tuple[str, str]] = set()
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, LmEvalTask) or (isinstance(task, EcgBenchTask) and task.file is not None):
            continue  # its records are its own
        if getattr(spec.data.split, task.split) == 0:
            yield ("evaluate", number, "split"), f"data.split.{task.split} is 0"
        name = name_of(task)
        if (name, task.split) in seen:
            yield ("evaluate", number), f"{name} on {task.split} stands twice"
        seen.add((name, task.split))


RULES: tuple[Rule[AxolotlSpec], ...] = (
    Rule(
        "R001",
        "give exactly one of train.epochs and train.steps",
        "Two lengths contradict each other, and without one nobody knows how long the run is.",
        "keep the one you mean",
        _one_length,
    ),
    Rule(
        "R002",
        "give at most one of train.warmup_steps and train.warmup_ratio",
        "They say the same thing in two ways; the engine refuses both together.",
        "keep the one you mean",
        _one_warmup,
    ),
    Rule(
        "R003",
        "train.batch.effective must divide by micro x devices",
        "The effective batch is over all devices; accumulation = effective / (micro x devices) must be whole.",
        "change effective, micro or the number of devices",
        _batch_divides,
    ),
    Rule(
        "R004",
        "evaluation while training needs validation records",
        "The engine skips an evaluation without records and says nothing.",
        "give data.split.validation a size, or take the key out",
        _evaluates_something,
    ),
    Rule(
        "R005",
        "early stopping needs train.evaluate_every and validation records",
        "Only an evaluation can tell that the validation loss has stopped falling.",
        "add them, or take train.early_stopping out",
        _stops_early,
    ),
    Rule(
        "R006",
        "keeping the best needs save_every to be a multiple of evaluate_every, in the same unit",
        "The engine switches `load_best_model_at_end` off without a word where saves and evaluations do "
        "not fall together, and ends with the last checkpoint.",
        "give both cadences, for example the same one",
        _best_is_saved,
    ),
    Rule(
        "R007",
        "a cadence has exactly one of steps and epochs",
        "Two cadences contradict each other.",
        "write {steps: 50} or {epochs: 1}",
        _one_cadence,
    ),
    Rule(
        "R008",
        "a split has three counts, or three ratios that add up to 1; `by: given` has neither",
        "A count is a whole number (350), a ratio a decimal one (0.7); a mixture of both is a slip.",
        "write for example {train: 0.8, validation: 0.1, test: 0.1}",
        _split_sizes,
    ),
    Rule(
        "R009",
        "the longest answer allowed must not be shorter than the shortest",
        "No record would be left.",
        "swap or change them",
        _filter_order,
    ),
    Rule(
        "R010",
        "a hub data set needs messages_column, or question_column and answer_column",
        "A record is made from one or the other.",
        "name the columns",
        _columns,
    ),
    Rule(
        "R011",
        "the chat template must be that of the model's family",
        "Special tokens that the tokenizer does not know are cut into pieces and mean nothing to the model.",
        "take `tokenizer`, `question_answer` or the family's own template",
        _template_fits,
    ),
    Rule(
        "R012",
        "give method.modules, or include and exclude",
        "Two descriptions of what gets an adapter contradict each other.",
        "keep the one you mean",
        _modules_or_groups,
    ),
    Rule(
        "R013",
        "include minus exclude must leave a module group, and train_fully none of them",
        "An adapter on nothing trains nothing.",
        "change include, exclude or train_fully",
        _groups_left,
    ),
    Rule(
        "R014",
        "partial training needs include or parameters",
        "With every weight frozen the loss cannot fall.",
        "name a module group or a parameter pattern",
        _partial_names_something,
    ),
    Rule(
        "R015",
        "a parameter pattern is a regular expression in which every dot is a literal dot",
        "Axolotl replaces `.` by `\\.`: a `.*` then matches nothing, and nothing says so.",
        "write [^ ]* for any text, \\d+ for a layer number",
        _parameter_patterns,
    ),
    Rule(
        "R016",
        "method.modules must be a regular expression",
        "It is matched against whole module names.",
        "mend it; `runner plan --rehearse` shows what it matches",
        _module_pattern,
    ),
    Rule(
        "R017",
        "model.adapter needs a LoRA method",
        "A LoRA adapter is trained on as an adapter; other methods have no place for it.",
        "merge the adapter into its base first, or take method lora",
        _adapter_needs_lora,
    ),
    Rule(
        "R018",
        "this needs a CUDA device",
        "What the spec asks for does not exist on the device that it names.",
        "set compute.device to cuda or auto, or choose what the device can do",
        needs_cuda,
    ),
    Rule(
        "R019",
        "flash_attention_2 computes in bf16 or fp16",
        "Its kernels have no 32-bit form.",
        "set train.precision: bf16, or model.attention: sdpa",
        _flash_precision,
    ),
    Rule(
        "R020",
        "the strategy must fit the number of devices",
        "Several devices without a strategy train apart from one another; ddp with one is nothing.",
        "set compute.strategy (ddp, zero1, zero2, zero3), nodes or gpus",
        _strategy_fits,
    ),
    Rule(
        "R021",
        "the local target has one node",
        "Several machines need a cluster's scheduler.",
        "set compute.nodes: 1",
        _one_node,
    ),
    Rule(
        "R022",
        "`deepspeed:` keys need a zero strategy",
        "Without DeepSpeed engaged the keys would be ignored.",
        "set compute.strategy to a zero stage, or take the keys out",
        _deepspeed_engaged,
    ),
    Rule(
        "R023",
        "train.loader.prefetch needs workers",
        "Without workers nothing is prepared ahead, and torch refuses the value.",
        "set train.loader.workers, or take prefetch out",
        _loader_fits,
    ),
    Rule(
        "R024",
        "beta1, beta2 and epsilon belong to Adam",
        "Another optimiser would ignore them.",
        "take them out, or choose an adamw optimiser",
        _adam_options,
    ),
    Rule(
        "R025",
        "trust_remote_code needs model.revision to be a full commit hash",
        "Code from a branch can change between two runs, and runs with your rights.",
        "write the 40-digit commit that you have read",
        _remote_code,
    ),
    Rule(
        "R026",
        "model.revision belongs to a hub id, model.adapter to pretrained weights",
        "A local folder has no revisions, and a random model nothing to adapt.",
        "take it out",
        _revision_fits,
    ),
    Rule(
        "R027",
        "an evaluation needs records, and each task stands once per split",
        "A task without records has no result; the same task twice overwrites its own.",
        "give the split a size, or take the task out",
        _tasks_have_records,
    ),
    Rule(
        "R028",
        "warm-up must be shorter than the training",
        "The learning rate would never reach its highest value.",
        "lower train.warmup_steps or raise train.steps",
        _warmup_fits,
    ),
    Rule(
        "R029",
        "fp16 needs an adapter method, or DeepSpeed's fp32 masters",
        "The engine loads the trained weights themselves in fp16, in which the gradient scaler cannot step.",
        "take bf16 or fp32, a LoRA method, or a zero strategy",
        _masters,
    ),
    Rule(
        "R030",
        "model.revision may not go with the tokenizer of another hub repository",
        "The engine asks both repositories for the one revision.",
        "download the tokenizer and give its folder, or take the revision out",
        _one_revision,
    ),
    Rule(
        "R031",
        "a warm-up has no steps or at least 2",
        "Axolotl turns 1 warm-up step into 2 without a word.",
        "write 0 or 2",
        _warmup_of_one,
    ),
    Rule(
        "R032",
        "each {name} in a prompt must be a column of the table, in our names",
        "A field that cannot be filled in would be asked about in every record as it stands.",
        "take one of the fields, or write a brace that is meant as one twice",
        prompt_fields,
    ),
    Rule(
        "R033",
        "the answers for absent and present must differ, in more than capitals and spaces",
        "A model cannot learn to tell apart what reads the same, and no parser could.",
        "write two different words",
        answers_differ,
    ),
    Rule(
        "R034",
        "limits are two numbers, the lower first, or null",
        "Every row, or none, would be outside.",
        "write for example [60, 260]",
        limits_in_order,
    ),
    Rule(
        "R035",
        "a split by features needs a table",
        "Only the rows of a table have values to compare; other records would each stand alone.",
        "split by question, focus, group or record",
        features_of_tables,
    ),
    Rule(
        "R040",
        "a judge on another machine needs allow_text_to_leave: true",
        "Answers and references are about patients, or written by people who may not have agreed to it; what has "
        "left cannot be called back. An endpoint on this machine (localhost, 127.0.0.1, ::1) needs no leave.",
        "ask the records' owners and set allow_text_to_leave: true, or name an endpoint on this machine",
        text_may_leave,
    ),
    Rule(
        "R041",
        "a judge's key goes to this machine or by https, and to nothing that takes none",
        "Whoever can see the network could read the key, and use it.",
        "write https://, or take key_variable out",
        key_is_encrypted,
    ),
    Rule(
        "R050",
        "the positive label must be one of the labels",
        "Precision, recall, F1, AUC and calibration are those of one label.",
        "name a label of the task",
        positive_is_a_label,
    ),
    Rule(
        "R051",
        "there are two labels or more, each with words of its own that hold a letter or digit",
        "An answer that could mean two labels could not be read.",
        "give each label at least one word that no other has",
        words_tell_labels_apart,
    ),
    Rule(
        "R052",
        "the labels of a table are its two answers",
        "A model that was taught to answer in other words than it is judged by would be judged wrongly.",
        "write each answer of data.answers as the first word of a label",
        labels_are_answers,
    ),
    Rule(
        "R053",
        "a temperature is fitted to likelihoods of validation records, and judged on others",
        "Fitted on the records that it is judged on, it would make the calibration look better than it is.",
        "give the split validation records and judge the test records, or take temperature_scaling out",
        temperature_is_fitted_elsewhere,
    ),
    Rule(
        "R054",
        "a floor that is fitted needs the features of a table",
        "A threshold, a regression or trees need numbers; text has none.",
        "take the floor out, or read the records from a table",
        floors_have_features,
    ),
    Rule(
        "R055",
        "top_p and seed belong to drawing, max_new_tokens to writing, normalise to likelihoods",
        "They would be ignored.",
        "take the key out, or say what reads it: a temperature above 0, scoring: [generation] or scoring: [likelihood]",
        nothing_is_ignored,
    ),
    Rule(
        "R056",
        "a label that is called like an answer of the table begins with it",
        "The likelihood of a label is that of its first word; the model was taught another.",
        "write the answer first, then other words for it",
        first_words_are_answers,
    ),
    Rule(
        "R057",
        "a small random model has positions for a prompt and its answer",
        "It has as many positions as model.context; the first answer would end the baseline.",
        "lower max_new_tokens of the task, or raise model.context",
        answers_have_room,
    ),
    Rule(
        "R119",
        "a small random model is built with at most 8,192 positions",
        "It would be a large one, made of positions that nothing uses; it shows the way, not how long texts are learned.",
        "lower model.context, or name real weights in model.base",
        tiny_models_stay_small,
    ),
    Rule(
        "R118",
        "sub-groups of a table are made by age_band, sex and, of hospitals side by side, site",
        "Its records say nothing else; it would be found out after a first evaluation.",
        "take one of these, or take the name out",
        subgroups_of_tables,
    ),
    Rule(
        "R060",
        "each task of lm-eval stands once, and at most one `lm_eval` has several of them",
        "The report tells results apart by their names: that of the one task, or `lm_eval` for several together.",
        "put the tasks into one list, or name one task or group in each",
        each_once,
    ),
    Rule(
        "R061",
        "thresholds are chosen on validation records, and judged on others",
        "Chosen on the records that they are judged on, they make every decision look better than it is. The likelihood "
        "of a name is no chance, so that one half says nothing about it.",
        "give the split validation records and judge the test records, or ask: each with thresholds: half",
        thresholds_are_chosen_elsewhere,
    ),
    Rule(
        "R062",
        "an ablation of images needs images",
        "Text has none to take away.",
        "take ablate out, or read images with kind: vlm",
        ablations_have_images,
    ),
)
