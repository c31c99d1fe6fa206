"""From the spec to the trainer, by value: what is written under a key is what the trainer that is made of it holds.

`tests/test_plan_ecg.py` shows that every key reaches the settings of a stage. Here the stage makes its trainer of those
settings and the value is looked up in it; nothing is trained, but for small runs at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

torch = pytest.importorskip("torch", reason="needs the train extra")

from ecg_places import PLACES, TEACHERS  # noqa: E402 - after the skip
from ecg_run import Run, inside, spec_of  # noqa: E402

from runner.events import EventWriter  # noqa: E402
from runner.native import addax, coefficients, first_order, fusion, hybrid, zeroth_order  # noqa: E402
from runner.native.adapters import LoraConv1d  # noqa: E402
from runner.native.assembly import network  # noqa: E402
from runner.native.checkpoints import save  # noqa: E402
from runner.native.dataset import open_records  # noqa: E402
from runner.native.train import Ended, Training  # noqa: E402
from runner.proof import INTERRUPTED  # noqa: E402
from runner.spec.ecg import EcgSpec  # noqa: E402
from runner.spec.fields import leaves  # noqa: E402
from runner.stages import ecg_worker  # noqa: E402
from tests.test_plan_ecg import values_of  # noqa: E402

ELSEWHERE = {
    "method.name": "chooses the method: `test_a_word_chooses_its_method`",
    "method.coef.kind": "chooses the schedule: `test_a_word_chooses_its_method`",
    "distill.train_teacher": "is another stage: `test_a_teachers_stage_is_that_of_a_training_of_its_own`",
}
"""Key -> why no value of it is looked up here. Sections are no keys with a value of their own."""

# ------------------------------------------------------------------------------------------- the specs

ADAPTERS = {"rank": 3, "scale": 0.5, "targets": ["conv", "ffn"], "train_bias": False, "path": "dense"}
SPARSE = {
    "fraction": 0.25,
    "per_tensor": {"encoder.0.conv1.lora_a": 0.125},
    "kind": "exact",
    "rescale": False,
}
ZO = {
    "eps": 3e-4,
    "sides": "one",
    "draws": 2,
    "micro_batch": 6,
    "bn": "batch",
    "restore": "arithmetic",
    "sparsity": SPARSE,
}
PROBED = {"lora": ADAPTERS, "zo": ZO}
FUSION = {"name": "fusion", **PROBED, "bp_batch": 3, "head": "tiny_batch", "norm_eps": 1e-5}
STUDENT = {
    "teacher": "old.safetensors",
    "leads": 3,
    "label_weight": 0.7,
    "kd_weight": 0.2,
    "temperature": 2.0,
}
TRAIN = {
    "steps": 8,
    "batch": 8,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "warmup_ratio": 0.25,
    "optimizer": "sgd",
    "weight_decay": 0.2,
    "decay": "matrices",
    "max_grad_norm": 0.8,
    "precision": "bf16",
    "aux": {"weight": 0.1, "normal": ["SB"]},
    "cutmix": 0.75,
    "evaluate_every": 3,
    "select": "macro_auc",
    "patience": 2,
    "evaluation_batch": 13,
    "save_every": 4,
    "log_every": 2,
    "seed": 5,
}
PLAIN = {"steps": 8, "batch": 8, "learning_rate": 0.01, "optimizer": "sgd"}
METHODS: Mapping[str, tuple[dict[str, Any], type, type | None]] = {
    "full": ({"name": "full", "bn": "running", "micro_batch": 4}, first_order.FirstOrder, None),
    "linear_probe": ({"name": "linear_probe"}, first_order.FirstOrder, None),
    "lora": ({"name": "lora", **ADAPTERS, "bn": "running", "micro_batch": 4}, first_order.FirstOrder, None),
    "zeroth_order": (
        {"name": "zeroth_order", **PROBED, "head": "zeroth_order", "sign": True, "update": "optimiser"},
        zeroth_order.MeZo,
        None,
    ),
    "fusion": (
        {**FUSION, "coef": {"kind": "constant", "value": 0.75}},
        fusion.Fusion,
        coefficients.Constant,
    ),
    "fusion-phases": (
        {**FUSION, "coef": {"kind": "two_phase", "first": 0.9, "then": 0.6, "switch": 0.4}},
        fusion.Fusion,
        coefficients.TwoPhase,
    ),
    "fusion-line": (
        {**FUSION, "coef": {"kind": "linear", "start": 0.9, "end": 0.6, "begin": 0.3, "until": 0.8}},
        fusion.Fusion,
        coefficients.Linear,
    ),
    "addax": ({"name": "addax", **PROBED, "bp_batch": 3, "alpha": 0.1}, addax.Addax, None),
    "hybrid": (
        {"name": "hybrid", **PROBED, "split": "intra", "deep_blocks": 1, "share": 0.2, "bp_batch": 3},
        hybrid.Hybrid,
        None,
    ),
}
"""Sections that say every key, its class in the trainer, and that of its coefficient."""
VARIANTS: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    **{
        name: (("method.",), {"method": section, "train": PLAIN}) for name, (section, _, _) in METHODS.items()
    },
    "train": (("train.",), {"train": TRAIN}),
    "epochs": (("train.epochs",), {"train": {**PLAIN, "steps": None, "epochs": 2.0}}),
    "student": (
        ("distill.", "method.bn"),
        {"distill": STUDENT, "train": PLAIN, "method": {"name": "full", "bn": "running"}},
    ),
}
"""Name -> the keys that it is there for, and its sections."""


def spec_with(name: str, path: str | None = None, value: Any = None) -> EcgSpec:
    """Return the spec of a variant, with another value at a dotted path."""
    changes = copy.deepcopy(dict(VARIANTS[name][1]))
    return spec_of(**changes, **({path.replace(".", "__"): value} if path else {}))


def at(spec: EcgSpec, path: str) -> Any:
    """Return what stands at a dotted path."""
    return reduce(getattr, path.split("."), spec)


def told(name: str) -> list[str]:
    """Return the keys that a variant is there for, and that have a value: sections have none of their own."""
    spec = spec_with(name)
    paths = [path for path, _ in values_of(spec) if path.startswith(VARIANTS[name][0])]
    given = [
        path for path in paths if at(spec, path) is not None and not isinstance(at(spec, path), BaseModel)
    ]
    return given + ["method.compat"] * (name == "fusion")  # none, unless it is wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run directory with the records of the small spec, and two teachers."""
    run = Run(tmp_path_factory.mktemp("run"), spec_of(data__classes=["AF", "SB", "LAD", "PVC"]))
    run.call("data")
    store = open_records(run.path / "data").store
    facts = {
        "backbone": "tinylight",
        "leads": "; ".join(store.leads),
        "classes": "; ".join(store.class_names),
    }
    for name, number in TEACHERS.items():
        made = network(
            {"backbone": "tinylight", "leads": store.leads}, len(store.class_names), aux=False, seed=number
        )
        save(made, run.path / name, facts)
    return run.path


@pytest.fixture
def trainer_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[EcgSpec], Any]:
    """Return a function that gives the trainer that the stage makes of a spec, and would run."""
    made: list[Training] = []

    def keep(trainer: Training) -> Ended:
        made.append(trainer)
        return Ended(INTERRUPTED, 0, stopped_early=False, best_step=None)

    def make(spec: EcgSpec) -> Training:
        with inside(folder):
            ecg_worker.work(
                Run(folder, spec).settings("train"), EventWriter(Path("events.jsonl"), "train"), {}
            )
        return made[-1]

    monkeypatch.setattr(Training, "run", keep)
    return make


# --------------------------------------------------------------------------------- made, and not trained


def test_there_is_a_place_for_every_key() -> None:
    """And a spec that has it; otherwise the next test would pass by looking at nothing."""
    keys = {leaf.path for leaf in leaves(EcgSpec) if leaf.path.startswith(("method.", "train.", "distill."))}
    keys -= {path for path in keys if any(other.startswith(f"{path}.") for other in keys)}
    elsewhere = {path for path in keys if any(f"{path}.".startswith(f"{one}.") for one in ELSEWHERE)}
    assert keys - elsewhere == PLACES.keys()
    tried = {path for name in VARIANTS for path in told(name)}
    assert PLACES.keys() <= tried


@pytest.mark.parametrize("name", VARIANTS)
def test_a_value_is_what_the_trainer_holds(trainer_of: Callable[[EcgSpec], Any], name: str) -> None:
    """As written, and as written anew: nothing on the way fixes it, drops it or takes another for it."""
    spec, wrong = spec_with(name), []
    first = trainer_of(spec)
    for path in told(name):
        if path in ELSEWHERE:
            continue
        other, look = PLACES[path]
        changed = spec_with(name, path, other)
        assert at(changed, path) != at(spec, path), f"{path}: {other!r} is no other value"
        for one, trainer in ((spec, first), (changed, trainer_of(changed))):
            if (found := look(trainer)) != at(one, path):
                wrong.append(f"{path}: {at(one, path)!r} in the spec, {found!r} in the trainer")
    assert wrong == []


@pytest.mark.parametrize("name", METHODS)
def test_a_word_chooses_its_method(trainer_of: Callable[[EcgSpec], Any], name: str) -> None:
    section, kind, coefficient = METHODS[name]
    trainer = trainer_of(spec_with(name))
    assert coefficient is None or type(trainer.method._options.coefficient) is coefficient
    assert type(trainer.method) is kind
    trained = {part for part, value in trainer.model.named_parameters() if value.requires_grad}
    assert all(part.startswith("classifier.") for part in trained) is (section["name"] == "linear_probe")
    everything = {part for part, _ in trainer.model.named_parameters()}
    assert (trained == everything) is (section["name"] == "full")


def test_what_is_left_out_is_not_there(trainer_of: Callable[[EcgSpec], Any]) -> None:
    method = {"name": "fusion", "bp_batch": 3, "coef": {"kind": "constant", "value": 0.75}}
    trainer = trainer_of(spec_of(method=method, train=PLAIN))
    estimator, update = trainer.method._options.estimator, trainer.method.setup.update
    assert (estimator.sparsity, trainer.method._options.compat, update.options.clip_norm) == (
        None,
        None,
        None,
    )
    assert (trainer.watch.patience, trainer.feed.cutmix, trainer.model.aux_classifier) == (None, None, None)
    assert trainer.method.setup.objective.aux_target is None
    assert not any(isinstance(layer, LoraConv1d) for layer in trainer.model.modules())


def test_adapters_start_from_the_seed(trainer_of: Callable[[EcgSpec], Any]) -> None:
    models = [trainer_of(spec_with("lora", "train.seed", seed)).model for seed in (18, 18, 19)]
    starts = [model.get_submodule("encoder.0.conv1").lora_a for model in models]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_a_teachers_stage_is_that_of_a_training_of_its_own(tmp_path: Path) -> None:
    """`out` names its folder; everything else is what a run of the teacher alone would be told."""
    own = {"model": {"backbone": "tiny"}, "method": METHODS["fusion"][0], "train": TRAIN}
    taught = Run(tmp_path, spec_of(distill={"train_teacher": own})).settings("teacher")
    assert taught == Run(tmp_path, spec_of(**own)).settings("train") | {"out": "teacher"}


# ------------------------------------------------------------------------------------------- trained


@pytest.fixture
def fresh(folder: Path, tmp_path: Path) -> Callable[[str, EcgSpec], Run]:
    """Return a function that makes a run of its own of the same records and teachers."""

    def make(name: str, spec: EcgSpec) -> Run:
        run = Run(tmp_path / name, spec)
        for file in ("data", *TEACHERS):
            (run.path / file).symlink_to(folder / file)
        return run

    return make


@pytest.mark.parametrize(("patience", "steps"), [(1, 2), (None, 8)])
def test_a_patience_of_one_ends_a_training_early(
    fresh: Callable[[str, EcgSpec], Run], patience: int | None, steps: int
) -> None:
    """At a learning rate of 1e-30 no weight moves: the evaluation after step 2 is no better than that at the start."""
    train = {**PLAIN, "learning_rate": 1e-30, "evaluate_every": 2, "patience": patience}
    run = fresh("run", spec_of(method={"name": "linear_probe"}, train=train))
    assert run.call("train") == 0
    proof = run.read("train/proof.json")
    assert (proof["steps"], proof["stopped_early"], proof["best_step"]) == (steps, patience == 1, 0)


def test_a_student_of_three_leads_sees_zeros_in_the_others(
    fresh: Callable[[str, EcgSpec], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in evaluations; its teacher sees all twelve."""
    seen: dict[str, list[Any]] = {"student": [], "evaluated": [], "teacher": []}
    run = Training.run

    def watched(trainer: Any) -> Ended:
        def of_student(model: Any, signals: Any) -> None:
            seen["student" if torch.is_grad_enabled() else "evaluated"].append(signals[0].clone())

        def of_teacher(model: Any, signals: Any) -> None:
            seen["teacher"].append(signals[0].clone())

        trainer.model.register_forward_pre_hook(of_student)
        trainer.method._options.teacher.register_forward_pre_hook(of_teacher)
        return run(trainer)

    monkeypatch.setattr(Training, "run", watched)
    assert fresh("run", spec_with("student", "train.steps", 2)).call("train") == 0
    chest = (1, 6, 10)
    for who, leads in (("student", chest), ("evaluated", chest), ("teacher", tuple(range(12)))):
        assert seen[who], who
        assert {tuple(wave.abs().sum((0, 2)).nonzero().flatten().tolist()) for wave in seen[who]} == {
            leads
        }, who
