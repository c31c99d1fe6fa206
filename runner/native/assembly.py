"""Sections of an ECG spec, as JSON -> the network, what of it is trained, and the method that trains it.

The sections are `model`, `method`, `train` and `distill` of `runner.spec.ecg`; the spec's classes have checked them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from runner.native import addax, coefficients, distill, first_order, fusion, hybrid, zeroth_order
from runner.native.adapters import LoraOptions, attach, train_all, train_heads
from runner.native.backbone import Backbone, backbone
from runner.native.checkpoints import Loaded, facts_of, load, load_upstream
from runner.native.errors import NativeError
from runner.native.method import METHODS, Method, Setup
from runner.native.model import EcgModel, count, trainable
from runner.native.objective import AuxTarget, Objective, with_aux
from runner.native.optimiser import OptimiserOptions, Update
from runner.native.sparsify import Sparsity
from runner.native.streams import built, generator, stream_seed
from runner.native.xresnet import XResNet
from runner.spec.ecg_facts import PUBLISHED_ENDINGS, PUBLISHED_HZ

XRESNET = "xresnet1d101"
WEIGHTS = "model.safetensors"
"""Name of the file with all weights of a trained model, adapters merged."""
IN_A_RUN = Path("train/final") / WEIGHTS

Section = Mapping[str, Any]

# ------------------------------------------------------------------------------------------- the network


def network(model: Section, classes: int, *, aux: bool, seed: int) -> EcgModel:
    """Return the network of the section `model` with weights that follow from `seed` alone."""
    leads = len(model["leads"])
    if model["backbone"] == XRESNET:
        return built(seed, lambda: XResNet(classes, leads=leads, aux=aux))
    return built(seed, lambda: backbone(model["backbone"], classes, aux=aux, leads=leads))


def start_from(model: EcgModel, checkpoint: Path) -> Loaded:
    """Set `model` to the weights of a checkpoint, and return what became of each tensor.

    Args:
        model: a head for other classes, and an auxiliary head that the file lacks, keep their random start.
        checkpoint: a `.safetensors` file, a run directory, a folder with `model.safetensors`, or a published
            `.pkl` or `.pt` file, which is read as weights alone.

    Raises:
        NativeError: no such checkpoint, damaged, or of another architecture.
    """
    if checkpoint.suffix in PUBLISHED_ENDINGS:
        if not isinstance(model, Backbone):
            raise NativeError(
                f"{checkpoint}: the published format holds the convolution-transformer family only"
            )
        return load_upstream(model, checkpoint)
    file = weights_file(checkpoint)
    loaded = load(model, file, other_classes="new_head", partial=model.aux_classifier is not None)
    lacking = [
        name for name in loaded.new if name not in loaded.left_out and not name.startswith("aux_classifier.")
    ]
    if lacking:
        raise NativeError(
            f"{file}: {len(lacking)} tensors of this model are missing, the first is {lacking[0]}"
        )
    return loaded


def unlike(checkpoint: Path, leads: Sequence[str], samples: int, fs_hz: float) -> list[str]:
    """Return, in words, how the recordings differ from those that a checkpoint was trained on, as far as it is known.

    Args:
        checkpoint: as for `start_from`.
        leads: of the recordings, in their order.
        samples: of each recording.
        fs_hz: their sampling rate.
    """
    published = checkpoint.suffix in PUBLISHED_ENDINGS
    facts = {"fs_hz": f"{PUBLISHED_HZ:g}"} if published else facts_of(weights_file(checkpoint))
    here = {"fs_hz": f"{fs_hz:g}", "samples": str(samples), "leads": "; ".join(leads)}
    words = {"fs_hz": "{} Hz", "samples": "{} samples", "leads": "the leads {}"}
    return [
        f"{word.format(facts[name])}, here {word.format(here[name])}"
        for name, word in words.items()
        if name in facts and facts[name] != here[name]
    ]


def weights_file(place: Path) -> Path:
    """Return the safetensors file that a checkpoint's place means.

    Raises:
        NativeError: a folder without weights; says which names were looked for.
    """
    if not place.is_dir():
        return place
    for name in (IN_A_RUN, Path(WEIGHTS)):
        if (place / name).is_file():
            return place / name
    raise NativeError(
        f"{place}: neither {IN_A_RUN} nor {WEIGHTS} is in this folder; name a run that has finished"
    )


# ---------------------------------------------------------------------------------------- what is trained


def choose_trained(model: EcgModel, method: Section, seed: int) -> dict[str, tuple[str, ...]]:
    """Put adapters on `model` where the method wants them, set what is trained, and return it by kind."""
    name = method["name"]
    if name == "linear_probe":
        train_heads(model)
        return {"heads": tuple(trainable(model))}
    adapters = method if name == "lora" else method.get("lora")
    if adapters is None:
        train_all(model)
        return {"all": tuple(trainable(model))}
    aux = "upstream" if method.get("compat") == "upstream" else "whole"
    options = LoraOptions(
        rank=adapters["rank"],
        scale=adapters["scale"],
        targets=tuple(adapters["targets"]),
        train_bias=adapters["train_bias"],
        path=adapters["path"],
        aux=aux,  # type: ignore[arg-type]  # one of two words
    )
    names = attach(model, options, generator(stream_seed(seed, "adapter")))
    return {"adapters": names}


def trained_facts(model: EcgModel, chosen: Mapping[str, Sequence[str]], update: Update) -> dict[str, Any]:
    """Return for the proof how many parameters the method wants trained, and how many the optimiser has."""
    total = count(model)
    return {
        "expected_trainable": count(model, trained_only=True),
        "trainable": sum(part.numel() for part in update.parameters),
        "total": total,
        "matched": {kind: len(names) for kind, names in chosen.items()},
        "names": [name for names in chosen.values() for name in names][:20],
    }


# ------------------------------------------------------------------------------------------- the method


def objective_of(
    train: Section, class_names: Sequence[str], labels: torch.Tensor, *, check: bool = True
) -> Objective:
    """Return the loss, with an auxiliary part where `train.aux` asks for one.

    Args:
        train: the section.
        class_names: names of the columns.
        labels: (record, class) of the training records.
        check: refuse an auxiliary target that is the same for all of them; `compat: upstream` does not.

    Raises:
        NativeError: a normal class that there is not, or a target that nothing can be learnt from.
    """
    aux = train["aux"]
    if aux is None:
        return Objective()
    if unknown := [name for name in aux["normal"] if name not in class_names]:
        raise NativeError(f"train.aux.normal: {unknown} are no classes; there are: {', '.join(class_names)}")
    target = AuxTarget(aux["target"], tuple(class_names.index(name) for name in aux["normal"]))
    return with_aux(aux["weight"], target, labels) if check else Objective(aux["weight"], target)


def update_of(model: EcgModel, train: Section, steps: int, warmup: int) -> Update:
    """Return the optimiser of the section `train` over what is trained."""
    options = OptimiserOptions(
        name=train["optimizer"],
        learning_rate=train["learning_rate"],
        weight_decay=train["weight_decay"],
        decay=train["decay"],
        schedule=train["schedule"],
        warmup=warmup,
        steps=steps,
        clip_norm=train["max_grad_norm"],
    )
    return Update(model.parameters(), options)


def method_of(setup: Setup, method: Section, under: distill.Options | None = None) -> Method:
    """Return the method of the section `method`, ready for its first step; `under` a teacher where there is one.

    Raises:
        NativeError: a teacher beside a method that cannot have one.
    """
    name = method["name"]
    if under is not None:
        if name != "full":
            raise NativeError(f"distill: the student's method must be full, got {name}")
        return distill.method(setup, under)
    made: Method = import_module(METHODS[name]).method(setup, _options(method))
    return made


def _options(method: Section) -> Any:
    match method["name"]:
        case "full" | "lora":
            return first_order.Options(method["bn"], method["micro_batch"])
        case "linear_probe":
            return first_order.Options("running", None)
        case "zeroth_order":
            return zeroth_order.Options(_probed(method), method["head"], method["sign"], method["update"])
        case "fusion":
            return fusion.Options(
                _probed(method),
                method["bp_batch"],
                _coefficient(method["coef"]),
                method["head"],
                method["norm_eps"],
                method["compat"],
            )
        case "addax":
            return addax.Options(_probed(method), method["bp_batch"], method["alpha"])
        case "hybrid":
            rest = (method[key] for key in ("split", "deep_blocks", "share", "bp_batch"))
            return hybrid.Options(_probed(method), *rest)
    raise NativeError(f"method.name: unknown value {method['name']!r}; allowed: {', '.join(METHODS)}")


def _probed(method: Section) -> zeroth_order.ZerothOrder:
    zo = dict(method["zo"])
    sparsity = zo.pop("sparsity")
    return zeroth_order.ZerothOrder(**zo, sparsity=None if sparsity is None else Sparsity(**sparsity))


def _coefficient(coef: Section) -> coefficients.Coefficient:
    kinds = {
        "constant": coefficients.Constant,
        "two_phase": coefficients.TwoPhase,
        "linear": coefficients.Linear,
    }
    values = {key: value for key, value in coef.items() if key != "kind"}
    made: coefficients.Coefficient = kinds[coef["kind"]](**values)
    return made
