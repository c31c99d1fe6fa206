"""Trainable parameters worked out by hand, and compared with what PEFT makes of the same model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from runner.plugin_settings import MethodSettings, RunnerSettings
from runner.spec.problems import StageError
from runner.trainable import Trained, check, expected_trainable, matched_counts, measure, size_of


class Weight:
    """A parameter with as much of torch's interface as is used."""

    def __init__(self, *shape: int, trained: bool = True) -> None:
        self.shape, self.requires_grad = shape, trained

    def numel(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count


class Layer:
    def __init__(self, weights: Mapping[str, Weight], **shape: int) -> None:
        self.weights = dict(weights)
        for name, value in shape.items():
            setattr(self, name, value)

    def named_parameters(self) -> Iterator[tuple[str, Weight]]:
        yield from self.weights.items()


class Model:
    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        yield "", self
        yield from self.layers.items()

    def named_parameters(self) -> Iterator[tuple[str, Weight]]:
        seen: set[int] = set()
        for name, layer in self.layers.items():
            for part, weight in layer.named_parameters():
                if id(weight) not in seen:
                    seen.add(id(weight))
                    yield f"{name}.{part}", weight


def linear(inputs: int, outputs: int, bias: bool = False) -> Layer:
    weights = {"weight": Weight(outputs, inputs)} | ({"bias": Weight(outputs)} if bias else {})
    return Layer(weights, in_features=inputs, out_features=outputs)


def gpt2(tied: bool = True) -> Model:
    """One layer, width 8, vocabulary 20."""
    embeddings = Weight(20, 8)
    head = embeddings if tied else Weight(20, 8)
    return Model(
        {
            "transformer.wte": Layer({"weight": embeddings}, num_embeddings=20, embedding_dim=8),
            "transformer.h.0.attn.c_attn": Layer({"weight": Weight(8, 24), "bias": Weight(24)}, nx=8, nf=24),
            "transformer.h.0.mlp.c_fc": Layer({"weight": Weight(8, 32), "bias": Weight(32)}, nx=8, nf=32),
            "transformer.ln_f": Layer({"weight": Weight(8), "bias": Weight(8)}),
            "lm_head": Layer({"weight": head}, in_features=8, out_features=20),
        }
    )


def lora(pattern: str, **more: Any) -> MethodSettings:
    return MethodSettings(name=more.pop("name", "lora"), rank=4, pattern=pattern, **more)


def test_full_is_every_weight_once() -> None:
    """Embeddings 160 (the head is the same weight), attention 8*24+24, feed-forward 8*32+32, norm 16."""
    assert expected_trainable(MethodSettings(name="full"), gpt2()) == 160 + 216 + 288 + 16
    assert expected_trainable(MethodSettings(name="full"), gpt2(tied=False)) == 160 + 216 + 288 + 16 + 160


def test_lora_is_rank_times_in_plus_out() -> None:
    attention = r"transformer\.h\.\d+\.attn\.c_attn"
    assert expected_trainable(lora(attention), gpt2()) == 4 * (8 + 24)
    assert expected_trainable(lora(attention, name="dora"), gpt2()) == 4 * (8 + 24) + 24
    assert expected_trainable(lora(attention, train_fully=("wte",)), gpt2()) == 4 * (8 + 24) + 160
    assert expected_trainable(lora(r"transformer\.wte"), gpt2()) == 4 * (20 + 8)


def test_a_weight_that_stays_tied_is_copied_once() -> None:
    both = lora(r".*\.c_attn", train_fully=("wte", "lm_head"))
    assert expected_trainable(both, gpt2()) == 128 + 160 + 160
    assert expected_trainable(both, gpt2(), keep_tied=True) == 128 + 160


def test_partial_is_the_parameters_that_match_as_a_whole() -> None:
    method = MethodSettings(
        name="partial", parameters=(r"transformer\.h\.0\.mlp\.c_fc\.(weight|bias)", r"h\.0")
    )
    assert expected_trainable(method, gpt2()) == 288


def test_a_pattern_must_match_a_whole_name() -> None:
    with pytest.raises(StageError, match="'c_attn' matches no module") as error:
        expected_trainable(lora("c_attn"), gpt2())
    assert "transformer.h.*.attn.c_attn" in str(error.value)


def test_what_cannot_carry_an_adapter_is_named() -> None:
    with pytest.raises(StageError, match=r"'transformer.ln_f', a Layer, which cannot carry an adapter"):
        expected_trainable(lora(r"transformer\.ln_f"), gpt2())
    with pytest.raises(StageError, match="train_fully names 'embed_tokens', which is no module"):
        expected_trainable(lora(r".*\.c_attn", train_fully=("embed_tokens",)), gpt2())


def test_groups_are_counted_over_trained_modules() -> None:
    method = lora("a|b", groups={"language.attention": r"h\.\d+\.a", "language.mlp": r"h\.\d+\.b"})
    assert matched_counts(method, ["h.0.a", "h.1.a", "h.0.b"]) == {"language.attention": 2, "language.mlp": 1}
    with pytest.raises(StageError, match=r"module group 'language.mlp' has no trained module"):
        check(method, 5, Trained(5, 10, ("h.0.a",)), ["h.0.a", "h.0.b"])


def test_layers_known_by_number_must_be_those_of_the_model() -> None:
    """Llama 3.2 Vision looks at the image in layers 3, 8, ...; a model that does so elsewhere is not guessed at."""
    method = MethodSettings(
        name="partial",
        groups={"cross_attention.layers": r"m\.layers\.[0-9]*[38](\..+)?"},
        layers_told_by={"cross_attention.layers": r"m\.layers\.(\d+)\.cross_attn"},
    )
    trained = Trained(5, 10, ("m.layers.3", "m.layers.3.mlp.up", "m.layers.8.mlp.up"))
    there = ["m.layers.3", "m.layers.3.cross_attn", "m.layers.3.mlp.up", "m.layers.8.mlp.up", "m.layers.13"]
    check(method, 5, trained, [*there, "m.layers.8.cross_attn"])
    with pytest.raises(StageError, match="trains layers 3, 8; in this model it is layers 3\n"):
        check(method, 5, trained, there)
    with pytest.raises(StageError, match="trains layers 3, 8; in this model it is layers 3, 8, 12"):
        check(method, 5, trained, [*there, "m.layers.8.cross_attn", "m.layers.12.cross_attn"])


def test_another_number_than_expected_is_refused() -> None:
    method = lora("h.0.a")
    with pytest.raises(StageError, match="should train 1,000 parameters, the engine trains 5 of 10"):
        check(method, 1000, Trained(5, 10, ("h.0.a",)), ["h.0.a"])
    with pytest.raises(StageError, match="the engine trains 0 of 10"):
        check(MethodSettings(name="partial"), 0, Trained(0, 10, ("x",)), ["h.0.a"])
    check(method, 5, Trained(5, 10, ("h.0.a",)), ["h.0.a"])


def test_sharded_parameters_are_counted_whole() -> None:
    empty = Weight(0)
    empty.ds_numel = 4096  # type: ignore[attr-defined]  # what DeepSpeed ZeRO 3 leaves
    assert size_of(empty) == 4096


@pytest.mark.axolotl
@pytest.mark.filterwarnings("ignore")  # the engine's imports warn
@pytest.mark.parametrize("name", ["lora", "dora"])
@pytest.mark.parametrize("save", [(), ("lm_head",), ("embed_tokens",), ("embed_tokens", "lm_head")])
@pytest.mark.parametrize("tied", [False, True])
def test_peft_trains_what_was_counted(name: str, save: tuple[str, ...], tied: bool) -> None:
    peft = pytest.importorskip("peft", reason="needs the `train` extra")
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config)
    pattern = r"model\.layers\.\d+\.(self_attn\.(q|k)_proj|mlp\.down_proj)"
    expected = expected_trainable(lora(pattern, name=name, train_fully=save), model, keep_tied=tied)
    trained = measure(
        peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=4,
                target_modules=pattern,
                modules_to_save=list(save) or None,
                use_dora=name == "dora",
                ensure_weight_tying=tied,
                task_type="CAUSAL_LM",
            ),
        )
    )
    adapters = 2 * 4 * ((16 + 16) + (16 + 8) + (24 + 16)) + (2 * (16 + 8 + 16) if name == "dora" else 0)
    assert expected == trained.trainable == adapters + 800 * (min(len(save), 1) if tied else len(save))
    assert "model.layers.1.mlp.down_proj" in trained.modules


def test_settings_refuse_what_nobody_reads() -> None:
    good = {
        "events": "e",
        "metrics": "m",
        "proof": "p",
        "steps": 3,
        "log_every": 1,
        "method": {"name": "lora", "rank": 4, "pattern": "x"},
    }
    assert RunnerSettings.model_validate(good).method.rank == 4
    for wrong in (
        good | {"step": 3},
        good | {"steps": 0},
        good | {"method": {"name": "lora", "ranks": 4}},
        good | {"method": {"name": "lora", "pattern": "("}},
        good | {"method": {"name": "ia3"}},
    ):
        with pytest.raises(ValidationError):
            RunnerSettings.model_validate(wrong)
