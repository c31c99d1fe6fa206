"""Acceptance tests 2 and 5: what is trained, and that an adapter is what it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import LORA, lora_model, normal  # noqa: E402 - after the skip
from torch import nn  # noqa: E402

from runner.native import adapters  # noqa: E402
from runner.native.backbone import FusedQkv, backbone  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.model import backbone_part, head_part, trainable  # noqa: E402
from runner.native.streams import built, generator  # noqa: E402


def test_trained_names() -> None:
    """Test 2: all adapters, all biases, the last head weight, the whole aux head; nothing else."""
    model = lora_model(aux=True)
    expected = {
        name
        for name, _ in model.named_parameters()
        if "lora_" in name or name.endswith(".bias") or name.startswith("aux_classifier.")
    } | {"classifier.1.weight"}
    assert set(trainable(model)) == expected
    assert len([name for name in expected if name.endswith("lora_a")]) == 9 + 3 + 1
    assert "classifier.0.weight" not in expected
    assert "encoder.0.bn1.weight" not in expected


def test_upstream_leaves_the_aux_heads_last_weight_at_its_random_start() -> None:
    """Test 2, `aux: upstream`: an adapter on its first layer, biases, and no weight."""
    names = {name for name in trainable(lora_model(aux=True, aux_mode="upstream")) if name.startswith("aux")}
    parts = ("0.bias", "0.lora_a", "0.lora_b", "2.bias")
    assert names == {f"aux_classifier.{part}" for part in parts}


def test_trained_set_of_medium_splits_as_published() -> None:
    """FUSION 3.2: 39,488 scalars are perturbed for tinylight at rank 8; the rest of 41,746 is the head's."""
    model = lora_model(8, classes=18)
    assert sum(part.numel() for part in backbone_part(model).values()) == 39_488
    assert sum(part.numel() for part in head_part(model).values()) == 41_746 - 39_488


def test_without_biases_only_adapters_and_the_last_layer_are_trained() -> None:
    names = set(trainable(lora_model(train_bias=False)))
    assert {name for name in names if "lora_" not in name} == {"classifier.1.weight", "classifier.1.bias"}


def test_adapters_start_as_nothing() -> None:
    """Test 5: at its start the adapted model is the base model, bit for bit."""
    signal = normal(3, 12, 1024)
    base = built(0, lambda: backbone("tinylight", 5)).eval()
    adapted = lora_model(awake=False).eval()
    with torch.no_grad():
        assert torch.equal(base(signal).logits, adapted(signal).logits)


@pytest.mark.parametrize("rank", [1, 16])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.Linear(32, 48), (5, 7, 32)),
        (lambda: FusedQkv(32, 96), (5, 7, 32)),
        (lambda: nn.Conv1d(8, 16, 9, stride=4, padding=4), (3, 8, 64)),
        (lambda: nn.Conv1d(8, 16, 1), (3, 8, 64)),
    ],
    ids=["linear", "qkv", "conv", "conv1x1"],
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_low_rank_path_is_the_dense_one(layer, shape, rank, scale) -> None:  # type: ignore[no-untyped-def]
    """Test 5: values at unit scale agree to 1e-5, and so do the gradients of the factors."""
    base = built(3, layer)
    settings = replace(LORA, rank=rank, scale=scale)
    adapted = adapters._adapted(base, settings, generator(4))
    with torch.no_grad():
        adapted.lora_b.normal_(0, 1, generator=generator(5))
    inputs = normal(*shape)
    results = []
    for path in ("low_rank", "dense"):
        adapters.set_path(adapted, path)
        adapted.zero_grad()
        outputs = adapted(inputs)
        outputs.square().mean().backward()
        results.append((outputs.detach(), adapted.lora_a.grad.clone(), adapted.lora_b.grad.clone()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_qkv_adapters_are_independent() -> None:
    """The factor of the query moves the first third of the outputs only; numbers by hand, rank 1."""
    adapted = adapters._adapted(nn.Linear(1, 1), replace(LORA, rank=1), generator(0))
    qkv = adapters._adapted(FusedQkv(2, 6, bias=False), replace(LORA, rank=1), generator(0))
    with torch.no_grad():
        qkv.weight.zero_()
        qkv.lora_a.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        qkv.lora_b.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]))
        assert qkv(torch.tensor([[10.0, 1.0]])).tolist() == [[10.0, 20.0, 3.0, 4.0, 55.0, 66.0]]
    assert isinstance(adapted, adapters.LoraLinear)


def test_merged_model_says_the_same_under_the_original_names() -> None:
    """Test 5: logits agree to 1e-5."""
    signal = normal(3, 12, 1024)
    model = lora_model(rank=8).eval()
    with torch.no_grad():
        before = model(signal).logits
        merged = adapters.merge(model)
        assert (merged(signal).logits - before).abs().max() <= 1e-5
    assert set(merged.state_dict()) == set(backbone("tinylight", 5).state_dict())
    assert not any("Lora" in type(layer).__name__ for layer in merged.modules())


def test_merging_takes_the_scale_along() -> None:
    model = lora_model(rank=2, scale=3.0).eval()
    signal = normal(2, 12, 512)
    with torch.no_grad():
        before = model(signal).logits
        torch.testing.assert_close(adapters.merge(model)(signal).logits, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "lora.rank: expected a whole number of at least 1, got 0"),
        (
            {"targets": ("conv", "gates")},
            r"lora.targets: \['gates'\] name no module here; allowed: conv, qkv",
        ),
        ({"targets": ("aux0",)}, "name no module here"),
    ],
)
def test_options_that_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(NativeError, match=message):
        adapters.attach(backbone("tinylight", 2), replace(LORA, **changes), generator(0))


def test_adapters_go_on_once() -> None:
    with pytest.raises(NativeError, match="carries adapters already"):
        adapters.attach(lora_model(), LORA, generator(0))


def test_the_output_projection_can_be_chosen() -> None:
    model = backbone("tinylight", 2)
    names = adapters.attach(model, replace(LORA, targets=("proj",)), generator(0))
    assert names == ("blocks.0.attention.proj",)
    assert "blocks.0.attention.proj.lora_a" in trainable(model)


def test_linear_probe_trains_the_heads_alone() -> None:
    model = backbone("tinylight", 2, aux=True)
    adapters.train_heads(model)
    assert {name.split(".")[0] for name in trainable(model)} == {"classifier", "aux_classifier"}
