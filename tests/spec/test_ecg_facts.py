"""What the rules of an ECG spec know without torch is what the networks, readers and methods say."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any, get_args

import pytest

from converters.foreign_ecg import FOREIGN
from converters.records.ecg import cinc2021, code15, ptbxl, sph, synthetic, tabular
from converters.records.ecg.record import LEADS as LEADS_OF_RECORDS
from runner.native import backbone, distill, signals, xresnet
from runner.native.coefficients import PUBLISHED
from runner.native.method import METHODS
from runner.native.sparsify import Sparsity
from runner.native.watch import SELECTED_BY
from runner.native.zeroth_order import ZerothOrder
from runner.spec import ecg_sources
from runner.spec.ecg import EcgModel, EcgSpec, EcgTrain
from runner.spec.ecg_facts import CINC_HZ, LEADS, NETWORKS, shape_after
from runner.spec.ecg_method_rules import UPSTREAM_COEF
from runner.spec.ecg_methods import Adapters, EcgMethod, Fusion
from runner.spec.ecg_methods import Sparsity as SparsitySection
from runner.spec.ecg_methods import ZerothOrder as ZerothOrderSection
from runner.spec.ecg_sources import Cinc2021Data, Code15Data, EcgSplit, PtbxlData, SyntheticEcgData
from runner.spec.fields import field_at, leaves, literals_in

VARIANTS: tuple[Any, ...] = get_args(get_args(EcgMethod)[0])


def test_the_leads_are_the_records_leads() -> None:
    assert LEADS == LEADS_OF_RECORDS == get_args(ecg_sources.Lead) == EcgModel.model_fields["leads"].default


@pytest.mark.parametrize("name", backbone.SIZES)
def test_a_network_of_the_family(name: str) -> None:
    network = NETWORKS[name]
    assert network.blocks == backbone.SIZES[name].blocks
    assert (network.divisor, network.shortest, network.longest) == (
        backbone.DIVISOR,
        backbone.DIVISOR,
        backbone.LONGEST,
    )


def test_xresnet_and_the_groups_of_layers() -> None:
    model = xresnet.XResNet(2)
    assert NETWORKS["xresnet1d101"].shortest == xresnet.SHORTEST
    assert set(NETWORKS["xresnet1d101"].targets) == set(model.adapter_groups())
    assert set(NETWORKS["tinylight"].targets) == set(backbone.backbone("tinylight", 2).adapter_groups())
    assert NETWORKS.keys() == {*backbone.SIZES, "xresnet1d101"}
    assert literals_in(EcgModel.model_fields["backbone"].annotation) == tuple(NETWORKS)


def test_the_databases_of_the_challenge() -> None:
    leaf = field_at(Cinc2021Data, ("databases",))
    assert leaf is not None
    assert set(literals_in(leaf.field.annotation)) == cinc2021.COLUMNS.keys() == CINC_HZ.keys()
    assert code15.FS_HZ == 400
    assert sph.FS_HZ == 500


@pytest.mark.parametrize(
    ("section", "reader"),
    [
        (Cinc2021Data, cinc2021.Cinc2021),
        (PtbxlData, ptbxl.Ptbxl),
        (Code15Data, code15.Code15),
        (ecg_sources.SphData, sph.Sph),
        (ecg_sources.ArraysData, tabular.TabularEcg),
        (SyntheticEcgData, synthetic.SyntheticEcg),
    ],
)
def test_a_source_has_its_readers_words(section: Any, reader: Any) -> None:
    """`leads` stands under `model`, the classes of a table under `classes`; all else is the same, defaults too."""
    elsewhere = {"leads", "class_names", "statements"}
    for field in fields(reader):
        if field.name in elsewhere:
            continue
        ours = section.model_fields[field.name]
        assert ours.is_required() or field.name in ("databases", "root") or ours.default == field.default


def test_every_method_has_a_word_and_its_options() -> None:
    words = {literals_in(variant.model_fields["name"].annotation)[0] for variant in VARIANTS}
    assert words == METHODS.keys() - {"distill"}
    renamed = {"estimator": "zo", "coefficient": "coef"}
    for variant in VARIANTS:
        word = literals_in(variant.model_fields["name"].annotation)[0]
        if word == "linear_probe":
            continue
        options = {renamed.get(f.name, f.name) for f in fields(import_module(METHODS[word]).Options)}
        kept = (
            set(variant.model_fields)
            - {"name", "lora"}
            - (set(Adapters.model_fields) if word == "lora" else set())
        )
        assert options == kept, word


def test_the_options_within_a_method() -> None:
    assert {f.name for f in fields(ZerothOrder)} == set(ZerothOrderSection.model_fields)
    assert {f.name for f in fields(Sparsity)} == set(SparsitySection.model_fields)
    assert {
        "kind": None,
        "first": PUBLISHED.first,
        "then": PUBLISHED.then,
        "switch": PUBLISHED.switch,
    } == {**UPSTREAM_COEF, "kind": None}
    assert "coef" in Fusion.model_fields


def test_what_chooses_and_the_steps_of_a_pipeline() -> None:
    assert set(literals_in(EcgTrain.model_fields["select"].annotation)) == SELECTED_BY.keys()
    steps: tuple[Any, ...] = get_args(get_args(ecg_sources.PipelineStep)[0])
    words = {literals_in(step.model_fields["step"].annotation)[0]: step for step in steps}
    assert words.keys() == signals.STEPS.keys()
    for word, step in words.items():
        assert {f.name for f in fields(signals.STEPS[word])} == set(step.model_fields) - {"step"}


def test_a_students_leads() -> None:
    leaf = field_at(EcgSpec, ("distill", "leads"))
    assert leaf is not None
    assert set(literals_in(leaf.field.annotation)) == distill.LEADS.keys()


SPLIT = EcgSplit(by="patient", finetune_label_ratio=0.1)
PAD = {"step": "pad_or_crop", "samples": 6144}


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (Code15Data(source="code15", root="x", pipeline=(PAD,), split=SPLIT), (6144, 400.0)),
        (
            Code15Data(
                source="code15", root="x", pipeline=({"step": "resample", "fs_hz": 500.0}, PAD), split=SPLIT
            ),
            (6144, 500.0),
        ),
        (
            Code15Data(
                source="code15", root="x", pipeline=(PAD, {"step": "resample", "fs_hz": 500.0}), split=SPLIT
            ),
            (7680, 500.0),
        ),
        (
            PtbxlData(
                source="ptbxl",
                root="x",
                task="all",
                fs_hz=100,
                pipeline=({"step": "standardise"},),
                split=SPLIT,
            ),
            (1000, 100),
        ),
        (
            Cinc2021Data(
                source="cinc2021", root="x", databases=("ptb", "georgia"), pipeline=(PAD,), split=SPLIT
            ),
            (6144, None),
        ),
    ],
)
def test_the_shape_after_the_pipeline_by_hand(data: Any, shape: tuple[int | None, float | None]) -> None:
    """7680 = 6144 x 500 / 400."""
    assert shape_after(data) == shape


@pytest.mark.parametrize("samples", [999, 1000, 4097])
@pytest.mark.parametrize(("to_hz", "from_hz"), [(250.0, 500.0), (100.0, 257.0), (360.0, 100.0)])
def test_the_length_is_the_one_that_resampling_leaves(samples: int, to_hz: float, from_hz: float) -> None:
    pipeline = ({"step": "pad_or_crop", "samples": samples}, {"step": "resample", "fs_hz": to_hz})
    data = SyntheticEcgData(source="synthetic_ecg", records=10, fs_hz=from_hz, pipeline=pipeline, split=SPLIT)
    steps = (signals.PadOrCrop(samples), signals.Resample(to_hz))
    assert shape_after(data) == signals.traced(steps, 10_000, from_hz)


def test_every_foreign_word_leads_to_a_key() -> None:
    paths = {leaf.path for leaf in leaves(EcgSpec)}
    assert set(FOREIGN.values()) <= paths
    assert all(word == word.lower() for word in FOREIGN)
