"""Module groups against the real names of full-size models, built on the meta device."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from converters.architectures import ARCHITECTURES
from converters.modules import (
    anchored,
    as_axolotl_reads,
    fully_trained,
    group_problems,
    group_regexes,
    lora_groups,
    lora_modules,
    unfrozen_parameters,
)
from converters.raw_problem import ConvertError
from runner.spec.model import LlmSpec

MakeSpec = Callable[..., LlmSpec]

LORA = {"name": "lora", "rank": 4, "alpha": 8}


@cache
def names(architecture: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the module and the parameter names of the architecture at its class's full size."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    sees = architecture in ("gemma3", "mllama")
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.for_model(architecture))
    return tuple(n for n, _ in model.named_modules()), tuple(n for n, _ in model.named_parameters())


def lora(make_spec: MakeSpec, architecture: str, **changes: Any) -> LlmSpec:
    return make_spec({"model.architecture": architecture, "method": {**LORA, **changes}})


# Layers x projections, from the architectures' papers and default configs: (attention, mlp).
COUNTS = {
    "gpt2": (12 * 2, 12 * 2),
    "llama": (32 * 4, 32 * 3),
    "mistral": (32 * 4, 32 * 3),
    "qwen2": (32 * 4, 32 * 3),
    "qwen3": (32 * 4, 32 * 3),
    "phi3": (32 * 2, 32 * 2),
    "gemma2": (26 * 4, 26 * 3),
    "gemma3_text": (26 * 4, 26 * 3),
    "gemma3": (26 * 4, 26 * 3),
    "mllama": (32 * 4, 40 * 3),  # 8 of the 40 layers attend to the image instead
}


def test_every_architecture_is_counted() -> None:
    assert COUNTS.keys() == ARCHITECTURES.keys()


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("architecture", COUNTS)
def test_groups_match_what_they_name(architecture: str, make_spec: MakeSpec) -> None:
    modules, _ = names(architecture)
    regexes = group_regexes(lora(make_spec, architecture))
    matched = {group: [n for n in modules if re.fullmatch(regex, n)] for group, regex in regexes.items()}
    assert (len(matched["language.attention"]), len(matched["language.mlp"])) == COUNTS[architecture]
    assert not [name for group in matched.values() for name in group if "vision" in name]
    assert len([n for n in modules if re.fullmatch(lora_modules(lora(make_spec, architecture)), n)]) == sum(
        COUNTS[architecture]
    )


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("architecture", COUNTS)
def test_single_modules_match_once(architecture: str, make_spec: MakeSpec) -> None:
    modules, parameters = names(architecture)
    head = ARCHITECTURES[architecture].lm_head
    groups = ("embeddings",) if head is None else ("lm_head", "embeddings")
    for group in groups:
        spec = lora(make_spec, architecture, include=(group,))
        assert len([name for name in modules if re.fullmatch(lora_modules(spec), name)]) == 1
        partial = make_spec(
            {"model.architecture": architecture, "method": {"name": "partial", "include": (group,)}}
        )
        (pattern,) = unfrozen_parameters(partial)
        assert len([name for name in parameters if re.match(as_axolotl_reads(pattern), name)]) == 1
    assert ("lm_head.weight" in parameters) == (head is not None)


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("architecture", COUNTS)
def test_parameters_are_those_of_the_groups_modules(architecture: str, make_spec: MakeSpec) -> None:
    """Weights and, where there are any, biases of exactly the modules that LoRA would adapt."""
    modules, parameters = names(architecture)
    for group in ("language.attention", "language.mlp"):
        (regex,) = group_regexes(lora(make_spec, architecture, include=(group,))).values()
        method = {"name": "partial", "include": (group,)}
        (pattern,) = unfrozen_parameters(make_spec({"model.architecture": architecture, "method": method}))
        of_modules = {n for n in parameters if re.fullmatch(regex, n.rpartition(".")[0])}
        assert {n for n in parameters if re.match(as_axolotl_reads(pattern), n)} == of_modules
        assert {n.rpartition(".")[0] for n in of_modules} == {n for n in modules if re.fullmatch(regex, n)}


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_patterns_are_read_as_axolotl_reads_them(make_spec: MakeSpec) -> None:
    from axolotl.utils.freeze import LayerNamePattern

    _, parameters = names("gpt2")
    written = (
        "transformer.h.1.mlp.c_fc.weight",
        r"transformer\.h\.[0-3]\.ln_1\..+",
        "transformer.h.1[01].ln_2.bias",
    )
    method = {
        "name": "partial",
        "include": ("language.attention", "language.mlp", "embeddings"),
        "parameters": written,
    }
    patterns = unfrozen_parameters(make_spec({"model.architecture": "gpt2", "method": method}))
    for pattern in patterns:
        theirs = LayerNamePattern(pattern)
        ours = re.compile(as_axolotl_reads(pattern))
        assert theirs.range is None
        assert theirs.name_regex.pattern == ours.pattern
        assert (
            [n for n in parameters if theirs.match(n)] == [n for n in parameters if ours.fullmatch(n)] != []
        )


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_axolotl_trains_what_the_groups_name(make_spec: MakeSpec) -> None:
    """GPT-2 with n_embd 32: one layer's MLP has 32*128 + 128 + 128*32 + 32 = 8352 weights."""
    from axolotl.utils.freeze import freeze_layers_except

    model = tiny_gpt2()
    method = {"name": "partial", "include": ("language.mlp",)}
    freeze_layers_except(
        model, unfrozen_parameters(make_spec({"model.architecture": "gpt2", "method": method}))
    )
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * 8352


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_lora_works_on_the_layers_of_gpt2(make_spec: MakeSpec) -> None:
    """Rank 4, n_embd 32, 2 layers: 4 * (32 + 96 + 32 + 32 + 32 + 128 + 128 + 32) = 2048 a layer."""
    import peft

    spec = lora(make_spec, "gpt2")
    config = peft.LoraConfig(
        r=4, target_modules=lora_modules(spec), fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(tiny_gpt2(), config)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * 2048
    assert ARCHITECTURES["gpt2"].conv1d


def tiny_gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_layer=2, n_embd=32, n_head=2, n_positions=32))


# ---------------------------------------------------------------------------------------- no model needed


def test_excluded_groups_are_left_out(make_spec: MakeSpec) -> None:
    spec = lora(make_spec, "llama", include=("language.mlp", "lm_head"), exclude=("lm_head",))
    assert lora_groups(spec) == ("language.mlp",)
    assert not re.fullmatch(lora_modules(spec), "lm_head")


def test_a_regular_expression_is_given_as_it_is(make_spec: MakeSpec) -> None:
    pattern = r"model\.layers\.(0|1)\.self_attn\.q_proj"
    spec = lora(make_spec, "some_new_model", modules=pattern)
    assert lora_modules(spec) == pattern
    assert group_regexes(spec) == {}


def test_modules_trained_in_full(make_spec: MakeSpec) -> None:
    assert fully_trained(lora(make_spec, "llama", train_fully=("embeddings", "lm_head"))) == [
        "lm_head",
        "embed_tokens",
    ]
    assert fully_trained(lora(make_spec, "gpt2", train_fully=("embeddings",))) == ["wte"]


@pytest.mark.parametrize(
    "method",
    [
        {**LORA, "include": ("lm_head",)},
        {**LORA, "train_fully": ("lm_head",)},
        {"name": "partial", "include": ("language.mlp", "lm_head")},
    ],
)
def test_a_tied_output_layer_is_refused(method: dict[str, Any], make_spec: MakeSpec) -> None:
    spec = make_spec({"model.architecture": "gpt2", "method": method})
    (problem,) = group_problems(spec)
    assert problem.code == "module-group"
    assert "'lm_head' matches nothing: gpt2 has one weight" in problem.message
    assert problem.hint == "name `embeddings` instead"


@pytest.mark.parametrize(
    ("method", "path", "advice"),
    [
        (LORA, ("method", "include"), "`method.modules`"),
        ({"name": "partial", "include": ("language.mlp",)}, ("method", "include"), "`method.parameters`"),
        (
            {**LORA, "modules": "x", "train_fully": ("lm_head",)},
            ("method", "train_fully"),
            "`method.modules`",
        ),
    ],
)
def test_groups_of_an_unknown_architecture_are_refused(
    method: dict[str, Any], path: tuple[str, ...], advice: str, make_spec: MakeSpec
) -> None:
    spec = make_spec({"model.architecture": "mamba", "method": method})
    (problem,) = group_problems(spec)
    assert problem.path == path
    assert "architecture 'mamba' are not known" in problem.message
    assert advice in problem.hint
    with pytest.raises(ConvertError, match="are not known"):
        group_regexes(spec)


def test_a_word_of_peft_is_no_regular_expression(make_spec: MakeSpec) -> None:
    with pytest.raises(ConvertError, match="'all-linear' is a word of PEFT"):
        lora_modules(lora(make_spec, "llama", modules="all-linear"))


def test_full_training_has_no_groups(make_spec: MakeSpec) -> None:
    spec = make_spec({"model.architecture": "mamba"})
    assert group_problems(spec) == ()
    assert group_regexes(spec) == {}
    with pytest.raises(ConvertError, match="'full' has no adapters"):
        lora_modules(spec)
    with pytest.raises(ConvertError, match="'full' freezes nothing"):
        unfrozen_parameters(spec)


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("model.norm.weight", "^(model.norm.weight)$"),
        (r"^model\.norm\.weight$", "^(model.norm.weight)$"),
        ("model.layers.1[01].mlp.up_proj.weight", "^(model.layers.1[01].mlp.up_proj.weight)$"),
        ("a.weight|b.weight", "^(a.weight|b.weight)$"),
    ],
)
def test_patterns_are_anchored_with_bare_dots(written: str, given: str) -> None:
    assert anchored(written) == given
