"""Module groups of Gemma 3 and Llama 3.2 Vision against the real names and sizes of the published models.

The configurations are written out (google/gemma-3-4b, which MedGemma 4 B has too; meta-llama/Llama-3.2-11B-Vision)
and built on the meta device: 34 x 7 + 27 x 6 = 400 linear maps, and 32 x 4 + 40 x 3 + 8 x 4 + 40 x 6 + 1 = 521.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from converters.modules import (
    as_axolotl_reads,
    fully_trained,
    group_problems,
    group_regexes,
    layers_told_by,
    lora_modules,
    unfrozen_parameters,
)
from runner.plugin_settings import MethodSettings
from runner.spec.vlm import VlmSpec
from runner.trainable import expected_trainable, matched_counts
from tests.support.vlm_changes import GEMMA3, MLLAMA

MakeSpec = Callable[..., VlmSpec]

pytestmark = [pytest.mark.axolotl, pytest.mark.usefixtures("engine")]

CHANGES = {"gemma3": GEMMA3, "mllama": MLLAMA}
ALL = {
    "gemma3": ("language.attention", "language.mlp", "vision"),
    "mllama": ("language.attention", "language.mlp", "cross_attention", "vision", "projector"),
}


@cache
def published(architecture: str) -> Any:
    """Return the model at its published size, without weights."""
    import torch
    from transformers import AutoModelForImageTextToText, Gemma3Config, MllamaConfig

    gemma3 = Gemma3Config(
        text_config={
            "vocab_size": 262208,
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
        },
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 896,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=256,
    )
    mllama = MllamaConfig(
        text_config={
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
        },
        vision_config={
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_global_layers": 8,
            "attention_heads": 16,
            "image_size": 560,
            "patch_size": 14,
            "intermediate_layers_indices": [3, 7, 15, 23, 30],
            "vision_output_dim": 7680,
        },
    )
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config({"gemma3": gemma3, "mllama": mllama}[architecture])


def lora(make_spec: MakeSpec, architecture: str, rank: int = 64, **changes: Any) -> VlmSpec:
    method = {"name": "lora", "rank": rank, "alpha": 2 * rank, **changes}
    return make_spec({**CHANGES[architecture], "method": method})


def partial(make_spec: MakeSpec, architecture: str, *groups: str) -> VlmSpec:
    return make_spec({**CHANGES[architecture], "method": {"name": "partial", "include": groups}})


def modules(architecture: str) -> list[str]:
    return [name for name, _ in published(architecture).named_modules() if name]


def adapted(make_spec: MakeSpec, architecture: str, **changes: Any) -> list[str]:
    regex = re.compile(lora_modules(lora(make_spec, architecture, **changes)))
    return [name for name in modules(architecture) if regex.fullmatch(name)]


def weights_of(spec: VlmSpec) -> dict[str, int]:
    """Return the parameters that Axolotl unfreezes, with their sizes."""
    patterns = [re.compile(as_axolotl_reads(pattern)) for pattern in unfrozen_parameters(spec)]
    named = published(spec.model.architecture).named_parameters()
    return {name: p.numel() for name, p in named if any(pattern.match(name) for pattern in patterns)}


def linears(architecture: str) -> set[str]:
    import torch

    return {n for n, m in published(architecture).named_modules() if isinstance(m, torch.nn.Linear)}


@pytest.mark.parametrize(
    ("architecture", "group", "count"),
    [
        ("gemma3", "language.attention", 34 * 4),
        ("gemma3", "language.mlp", 34 * 3),
        ("gemma3", "vision", 27 * 6),
        ("mllama", "language.attention", 32 * 4),
        ("mllama", "language.mlp", 40 * 3),
        ("mllama", "cross_attention", 8 * 4),
        ("mllama", "cross_attention.layers", 8 * 4 + 8 * 3),
        ("mllama", "vision", 40 * 6),
        ("mllama", "projector", 1),
        ("mllama", "lm_head", 1),
        ("mllama", "embeddings", 1),
    ],
)
def test_each_group_has_its_modules(architecture: str, group: str, count: int, make_spec: MakeSpec) -> None:
    assert len(adapted(make_spec, architecture, include=(group,))) == count


@pytest.mark.parametrize(("architecture", "count"), [("gemma3", 400), ("mllama", 521)])
def test_all_groups_are_every_linear_layer_but_the_output(
    architecture: str, count: int, make_spec: MakeSpec
) -> None:
    found = adapted(make_spec, architecture, include=ALL[architecture])
    assert len(found) == count
    assert set(found) == linears(architecture) - {"lm_head"}


def test_system_d_trains_269_million(make_spec: MakeSpec) -> None:
    """Rank 64: each linear map of `in` inputs and `out` outputs gets 64 x (in + out) weights."""
    attention = 2 * (4096 + 4096) + 2 * (4096 + 1024)  # 32 layers among the text, 8 to the image
    feed_forward = 3 * (4096 + 14336)
    seeing = 4 * (1280 + 1280) + 2 * (1280 + 5120)
    total = 64 * (40 * (attention + feed_forward) + 40 * seeing + (7680 + 4096))
    spec = lora(make_spec, "mllama", include=ALL["mllama"])
    assert expected_trainable(_settings(spec), published("mllama")) == total == 269_451_264


def test_system_a_trains_77_million_at_rank_32(make_spec: MakeSpec) -> None:
    spec = lora(make_spec, "gemma3", rank=32, include=ALL["gemma3"])
    assert round(expected_trainable(_settings(spec), published("gemma3")) / 1e6, 1) == 77.0


def _settings(spec: VlmSpec) -> MethodSettings:
    method = spec.method
    if method.name == "partial":
        patterns = tuple(as_axolotl_reads(pattern) for pattern in unfrozen_parameters(spec))
        return MethodSettings(name="partial", parameters=patterns, groups=group_regexes(spec))
    return MethodSettings(
        name="lora",
        rank=getattr(method, "rank", None),
        pattern=lora_modules(spec),
        train_fully=tuple(fully_trained(spec)),
        groups=group_regexes(spec),
    )


ATTENTION = 8 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 2 * 128)
"""Eight layers: q and o, k and v of 8 heads of 128, and the norms of q and k."""
PROJECTOR = 7680 * 4096 + 4096
FEED_FORWARD = 8 * 3 * 4096 * 14336


def test_partial_tuning_of_the_attention_alone(make_spec: MakeSpec) -> None:
    """Projector 2, projections and norms 48, gates 16: 367 million weights."""
    found = weights_of(partial(make_spec, "mllama", "projector", "cross_attention"))
    assert len(found) == 2 + 48 + 16
    assert sum(found.values()) == PROJECTOR + ATTENTION + 16
    assert round(sum(found.values()) / 1e6) == 367


def test_partial_tuning_of_whole_layers(make_spec: MakeSpec) -> None:
    """With the feed-forward part and the two norms of each of these layers: 1.78 billion."""
    found = weights_of(partial(make_spec, "mllama", "projector", "cross_attention.layers"))
    norms = 8 * 2 * 4096
    assert sum(found.values()) == PROJECTOR + ATTENTION + 16 + FEED_FORWARD + norms
    assert round(sum(found.values()) / 1e9, 2) == 1.78
    layers = {name.split(".")[3] for name in found if ".layers." in name}
    assert layers == {"3", "8", "13", "18", "23", "28", "33", "38"}


@pytest.mark.parametrize("architecture", ["gemma3", "mllama"])
def test_partial_groups_are_what_they_name(architecture: str, make_spec: MakeSpec) -> None:
    """Every weight of the tower and the projector, and no other; the expected count is the engine's."""
    named = dict(published(architecture).named_parameters())
    for group, prefixes in (
        ("vision", ("model.vision_tower.", "model.vision_model.")),
        ("projector", ("model.multi_modal_projector.",)),
    ):
        spec = partial(make_spec, architecture, group)
        assert weights_of(spec).keys() == {name for name in named if name.startswith(prefixes)}
        assert expected_trainable(_settings(spec), published(architecture)) == sum(weights_of(spec).values())


@pytest.mark.parametrize("architecture", ["gemma3", "mllama"])
def test_the_proof_counts_every_trained_module_of_a_group(architecture: str, make_spec: MakeSpec) -> None:
    groups = ("projector", "vision", *(("cross_attention",) if architecture == "mllama" else ()))
    for group in groups:
        spec = partial(make_spec, architecture, group)
        owners = {name.rpartition(".")[0] for name in weights_of(spec)}
        assert matched_counts(_settings(spec), owners) == {group: len(owners)}


def test_the_layers_that_look_at_the_image_are_told_by_what_they_have(make_spec: MakeSpec) -> None:
    spec = partial(make_spec, "mllama", "cross_attention.layers")
    (told_by,) = layers_told_by(spec).values()
    layers = [found[1] for name in modules("mllama") if (found := re.fullmatch(told_by, name))]
    assert layers == ["3", "8", "13", "18", "23", "28", "33", "38"]
    assert layers_told_by(partial(make_spec, "mllama", "cross_attention", "vision")) == {}


def test_axolotl_reads_the_patterns_as_we_do(make_spec: MakeSpec) -> None:
    from axolotl.utils.freeze import LayerNamePattern

    names = [name for name, _ in published("mllama").named_parameters()]
    spec = partial(make_spec, "mllama", *ALL["mllama"], "cross_attention.layers", "lm_head", "embeddings")
    for pattern in unfrozen_parameters(spec):
        theirs, ours = LayerNamePattern(pattern), re.compile(as_axolotl_reads(pattern))
        assert theirs.range is None
        assert [n for n in names if theirs.match(n)] == [n for n in names if ours.fullmatch(n)] != []


def test_gemma_3s_projector_is_trained_in_full_or_refused(make_spec: MakeSpec) -> None:
    refused = lora(make_spec, "gemma3", include=("language.mlp", "projector"))
    (problem,) = group_problems(refused)
    assert problem.path == ("method", "include")
    assert "the projector of gemma3 is a bare weight" in problem.message
    assert "train_fully: [projector]" in problem.hint
    spec = lora(make_spec, "gemma3", rank=4, include=("language.attention",), train_fully=("projector",))
    assert fully_trained(spec) == ["multi_modal_projector"]
    matched = [name for name in modules("gemma3") if name.endswith("multi_modal_projector")]
    assert matched == ["model.multi_modal_projector"]
    alone = lora(make_spec, "gemma3", rank=4, include=("language.attention",))
    more = [expected_trainable(_settings(one), published("gemma3")) for one in (spec, alone)]
    assert more[0] - more[1] == math.prod((1152, 2560)) + 1152


def test_a_part_that_an_architecture_lacks_is_refused(make_spec: MakeSpec) -> None:
    (problem,) = group_problems(partial(make_spec, "gemma3", "cross_attention.layers"))
    assert problem.message == "group 'cross_attention.layers' matches nothing: gemma3 has no such part"
    assert problem.hint == "it has language.attention, language.mlp, vision, projector, embeddings"


def test_the_output_layer_of_llama_has_fewer_classes_than_there_are_embeddings() -> None:
    """The image token, 128256, can be read and not written: its label must be masked."""
    model = published("mllama")
    assert model.lm_head.weight.shape[0] == model.config.image_token_index == 128256
    assert model.get_input_embeddings().weight.shape[0] == 128264
