"""Where in a trainer of ECG models the value of each key of the spec is found, and another value to try there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import torch
from training_parts import same

from runner.native import distill
from runner.native.adapters import LoraConv1d, LoraLinear
from runner.native.assembly import network
from runner.native.dataset import SomeLeads
from runner.native.model import EcgModel, is_head
from runner.spec.ecg_facts import LEADS

Found: TypeAlias = Callable[[Any], Any]


def agreed(*values: Any) -> Any:
    """Return the value that several places agree on; all of them where they do not."""
    return values[0] if values and all(value == values[0] for value in values) else values


def tinylight(classes: int, seed: int, *, aux: bool = False) -> EcgModel:
    """Return the network of the small spec with the weights of a seed."""
    return network({"backbone": "tinylight", "leads": LEADS}, classes, aux=aux, seed=seed)


def option(name: str) -> Found:
    """Return what looks up an option of the method, such as `estimator.eps`."""
    return lambda trainer: reduce(getattr, name.split("."), trainer.method._options)


def update(name: str) -> Found:
    """Return what looks up an option of the optimiser."""
    return lambda trainer: getattr(trainer.method.setup.update.options, name)


def course(name: str) -> Found:
    """Return what looks up an option of the loop."""
    return lambda trainer: getattr(trainer.course, name)


def adapters(trainer: Any) -> list[Any]:
    """Return the adapted layers."""
    return [layer for layer in trainer.model.modules() if isinstance(layer, LoraLinear | LoraConv1d)]


def adapted(look: Found) -> Found:
    """Return what looks at every adapted layer."""
    return lambda trainer: agreed(*(look(layer) for layer in adapters(trainer)))


def rank(layer: Any) -> int:
    """Return the rank of an adapter; of a fused matrix each of three has it."""
    found: int = layer.lora_b.shape[1]
    return found


def targets(trainer: Any) -> tuple[str, ...]:
    """Return the groups of layers that carry adapters, every layer of them; some layers alone are an error."""
    found, with_one = [], set(adapters(trainer))
    for name, layers in trainer.model.adapter_groups().items():
        have = {trainer.model.get_submodule(layer) in with_one for layer in layers}
        assert len(have) <= 1, f"{name}: adapters on a part of {layers}"
        found += [name] if True in have else []
    return tuple(found)


def train_bias(trainer: Any) -> Any:
    """Return whether the biases of the backbone are trained."""
    named = trainer.model.named_parameters()
    return agreed(
        *(part.requires_grad for name, part in named if name.endswith(".bias") and not is_head(name))
    )


def steps(trainer: Any) -> Any:
    """Return the planned steps, of which the loop, the method and the schedule must know."""
    setup = trainer.method.setup
    return agreed(trainer.course.steps, setup.steps, setup.update.options.steps)


def optimizer(trainer: Any) -> Any:
    """Return the optimiser's word, which must be that of its class."""
    made = trainer.method.setup.update
    words = {torch.optim.AdamW: "adamw", torch.optim.SGD: "sgd"}
    return agreed(made.options.name, words[type(made.optimizer)])


def seed(trainer: Any) -> Any:
    """Return the seed of the loop, of the order of records, of the method and of the first weights."""
    started, model = trainer.course.seed, trainer.model
    fresh = tinylight(model.classes, started, aux=model.aux_classifier is not None)
    first = started if same(fresh, model) else "other weights"
    return agreed(started, trainer.feed.order.seed, trainer.method.setup.seed, first)


def aux_weight(trainer: Any) -> Any:
    """Return the weight of the auxiliary loss, which needs a head to be of."""
    weight = trainer.method.setup.objective.aux_weight
    return weight if trainer.model.aux_classifier is not None else f"{weight}, and no auxiliary head"


def normal(trainer: Any) -> tuple[str, ...]:
    """Return the names of the classes that the auxiliary target counts as normal."""
    names = trainer.feed.rows.store.class_names
    return tuple(names[place] for place in trainer.method.setup.objective.aux_target.normal)


def leads(trainer: Any) -> Any:
    """Return how many leads the student sees, in training and in evaluations."""
    held = trainer.held
    shown = distill.LEADS[12] if not isinstance(held, SomeLeads) else held.leads
    numbers = {places: number for number, places in distill.LEADS.items()}
    return agreed(trainer.method._options.leads, numbers[shown])


def teacher(trainer: Any) -> Any:
    """Return the name of the file whose weights the teacher has."""
    made = trainer.method._options.teacher
    return agreed(*(name for name, number in TEACHERS.items() if same(made, tinylight(made.classes, number))))


TEACHERS = {"old.safetensors": 3, "new.safetensors": 4}
"""File of a teacher -> seed of its weights."""
ESTIMATOR, SPARSITY = "estimator.{}", "estimator.sparsity.{}"
LAST_ADAPTER = "encoder.1.conv1.lora_b"
SAME_ADAPTER: Mapping[str, tuple[Any, Found]] = {
    "rank": (5, adapted(rank)),
    "scale": (0.25, adapted(lambda layer: layer.scale)),
    "targets": (("conv", "qkv", "proj", "head0"), targets),
    "train_bias": (True, train_bias),
    "path": ("low_rank", adapted(lambda layer: layer.path)),
}
PLACES: Mapping[str, tuple[Any, Found]] = {
    "method.bn": ("batch", option("bn")),
    "method.micro_batch": (5, option("micro_batch")),
    **{f"method.{name}": place for name, place in SAME_ADAPTER.items()},
    **{f"method.lora.{name}": place for name, place in SAME_ADAPTER.items()},
    "method.zo.eps": (5e-4, option(ESTIMATOR.format("eps"))),
    "method.zo.sides": ("two", option(ESTIMATOR.format("sides"))),
    "method.zo.draws": (4, option(ESTIMATOR.format("draws"))),
    "method.zo.micro_batch": (7, option(ESTIMATOR.format("micro_batch"))),
    "method.zo.bn": ("running", option(ESTIMATOR.format("bn"))),
    "method.zo.restore": ("snapshot", option(ESTIMATOR.format("restore"))),
    "method.zo.sparsity.fraction": (0.75, option(SPARSITY.format("fraction"))),
    "method.zo.sparsity.per_tensor": ({LAST_ADAPTER: 0.5}, option(SPARSITY.format("per_tensor"))),
    "method.zo.sparsity.kind": ("bernoulli", option(SPARSITY.format("kind"))),
    "method.zo.sparsity.rescale": (True, option(SPARSITY.format("rescale"))),
    "method.head": ("full_batch", option("head")),
    "method.sign": (False, option("sign")),
    "method.update": ("in_place", option("update")),
    "method.bp_batch": (4, option("bp_batch")),
    "method.coef.value": (0.25, option("coefficient.value")),
    "method.coef.first": (0.95, option("coefficient.first")),
    "method.coef.then": (0.55, option("coefficient.then")),
    "method.coef.switch": (0.45, option("coefficient.switch")),
    "method.coef.start": (0.95, option("coefficient.start")),
    "method.coef.end": (0.55, option("coefficient.end")),
    "method.coef.begin": (0.35, option("coefficient.begin")),
    "method.coef.until": (0.85, option("coefficient.until")),
    "method.norm_eps": (1e-3, option("norm_eps")),
    "method.compat": ("upstream", option("compat")),
    "method.alpha": (0.3, option("alpha")),
    "method.split": ("inter", option("split")),
    "method.deep_blocks": (0, option("deep_blocks")),
    "method.share": (0.3, option("share")),
    "train.epochs": (3.0, lambda trainer: steps(trainer) / trainer.feed.order.steps_per_epoch),
    "train.steps": (12, steps),
    "train.batch": (12, lambda trainer: trainer.feed.order.batch),
    "train.learning_rate": (0.07, update("learning_rate")),
    "train.schedule": ("linear", update("schedule")),
    "train.warmup_ratio": (0.5, lambda trainer: update("warmup")(trainer) / steps(trainer)),
    "train.optimizer": ("adamw", optimizer),
    "train.weight_decay": (0.3, update("weight_decay")),
    "train.decay": ("all", update("decay")),
    "train.max_grad_norm": (0.9, update("clip_norm")),
    "train.precision": (
        "fp32",
        lambda trainer: agreed(trainer.course.precision, trainer.method.setup.precision),
    ),
    "train.aux.weight": (0.4, aux_weight),
    "train.aux.target": ("any_label", lambda trainer: trainer.method.setup.objective.aux_target.kind),
    "train.aux.normal": (("AF",), normal),
    "train.cutmix": (0.5, lambda trainer: trainer.feed.cutmix),
    "train.evaluate_every": (5, course("evaluate_every")),
    "train.select": ("macro_map", lambda trainer: trainer.watch.select),
    "train.patience": (4, lambda trainer: trainer.watch.patience),
    "train.evaluation_batch": (11, course("evaluation_batch")),
    "train.save_every": (7, course("save_every")),
    "train.log_every": (3, course("log_every")),
    "train.seed": (19, seed),
    "distill.teacher": ("new.safetensors", teacher),
    "distill.leads": (1, leads),
    "distill.label_weight": (0.6, option("label_weight")),
    "distill.kd_weight": (0.3, option("kd_weight")),
    "distill.temperature": (3.0, option("temperature")),
}
"""Key of the spec -> another value than that of the specs below, and where it is found in a trainer."""
