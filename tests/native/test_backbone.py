"""Acceptance tests 1, 3 and 4: parameter counts, lengths, causality."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import LORA, lora_model, normal  # noqa: E402 - after the skip

from runner.native.adapters import attach  # noqa: E402
from runner.native.backbone import SIZES, CausalAttention, backbone, sinusoids  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.model import count  # noqa: E402
from runner.native.streams import built, generator  # noqa: E402

# FUSION 2.1, for 18 classes: full, aux head, trained with rank 16, 8, 4 without aux, the same with aux.
TABLE = {
    "tinylight": (256_850, 2_113, (80_594, 41_746, 22_322), (82_163, 42_547, 22_739)),
    "tiny": (1_600_018, 8_321, (261_778, 135_890, 72_946), (264_915, 137_491, 73_779)),
    "base": (9_504_786, 33_025, (795_026, 413_138, 222_194), (801_299, 416_339, 223_859)),
    "medium": (50_493_458, 131_585, (2_134_930, 1_109_970, 597_490), (2_147_475, 1_116_371, 600_819)),
    "mediumv2": (37_883_922, 131_585, (1_588_114, 825_298, 443_890), (1_600_659, 831_699, 447_219)),
    "large": (113_488_914, 295_681, (3_201_426, 1_664_466, 895_986), (3_220_243, 1_674_067, 900_979)),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("classes", [16, 18, 19, 23])
def test_parameter_counts_are_those_of_the_table(name: str, classes: int) -> None:
    """Test 1. Another class adds width + 1 everywhere; weightless tensors, so `large` costs nothing."""
    full, aux = TABLE[name][:2]
    more = (classes - 18) * (SIZES[name].width + 1)
    with torch.device("meta"):
        assert count(backbone(name, classes)) == full + more
        assert count(backbone(name, classes, aux=True)) == full + aux + more


@pytest.mark.parametrize("name", ["tinylight", "tiny", "base"])
@pytest.mark.parametrize(("rank", "column"), [(16, 0), (8, 1), (4, 2)])
@pytest.mark.parametrize("aux", [False, True])
def test_trained_counts_are_those_of_the_table(name: str, rank: int, column: int, aux: bool) -> None:
    """Test 1, trained set, at each class count; the aux columns count what upstream trains of that head."""
    for classes in (16, 18, 19, 23):
        more = (classes - 18) * (SIZES[name].width + 1)
        assert _trained(name, classes, rank, aux, "upstream") == TABLE[name][3 if aux else 2][column] + more


@pytest.mark.parametrize("name", ["medium", "mediumv2", "large"])
def test_trained_counts_of_the_large_members(name: str) -> None:
    """Test 1 for the sizes that cost seconds to adapt: without weights, at each rank and class count."""
    for column, rank in enumerate((16, 8, 4)):
        for classes in (16, 18, 19, 23):
            more = (classes - 18) * (SIZES[name].width + 1)
            assert _trained(name, classes, rank, False, "upstream") == TABLE[name][2][column] + more
            assert _trained(name, classes, rank, True, "upstream") == TABLE[name][3][column] + more


def test_our_trained_set_holds_the_whole_aux_head() -> None:
    """Test 1, our choice: all 2,113 scalars of the auxiliary head are trained, and no adapter sits on it."""
    assert _trained("tinylight", 18, 8, True, "whole") == 41_746 + 2_113


def _trained(name: str, classes: int, rank: int, aux: bool, of_aux: str) -> int:
    with torch.device("meta"):
        model = backbone(name, classes, aux=aux)
    attach(model, replace(LORA, rank=rank, aux=of_aux), generator(0))
    return count(model, trained_only=True)


@pytest.mark.parametrize("samples", [6144, 5120, 4096])
def test_lengths_that_are_taken(samples: int) -> None:
    """Test 3: 96 tokens and (record, class) for 6144; 4096 and 5120 as well."""
    model = built(0, lambda: backbone("tinylight", 18)).eval()
    signal = normal(2, 12, samples)
    with torch.no_grad():
        assert model.shallow(signal, 0).shape == (2, samples // 64, 64)
        logits, aux = model(signal)
    assert logits.shape == (2, 18)
    assert aux is None


@pytest.mark.parametrize(("samples", "advice"), [(5000, "4992"), (6400, "6144"), (32, "64")])
def test_lengths_that_are_refused(samples: int, advice: str) -> None:
    """Test 3: the message names the divisor 64, the maximum, and a length that fits."""
    model = built(0, lambda: backbone("tinylight", 18))
    with pytest.raises(NativeError, match=rf"{samples} samples.*multiple of 64, at most 6144.*{advice}"):
        model(normal(1, 12, samples))


def test_another_number_of_leads_is_refused() -> None:
    model = built(0, lambda: backbone("tinylight", 18))
    with pytest.raises(NativeError, match=r"12 leads, got \(1, 3, 4096\)"):
        model(normal(1, 3, 4096))


def test_an_unknown_member_is_named_with_those_there_are() -> None:
    with pytest.raises(NativeError, match=r"'huge'.*tinylight, tiny, base"):
        backbone("huge", 18)


@pytest.mark.parametrize("changed", [1, 40, 95])
def test_attention_sees_no_later_token(changed: int) -> None:
    """Test 4: a change of token j moves no output before j, and does move that of j."""
    attention = built(0, lambda: CausalAttention(64))
    tokens = normal(1, 96, 64)
    other = tokens.clone()
    other[:, changed] += 1
    with torch.no_grad():
        difference = (attention(tokens) - attention(other)).abs().amax(dim=2)[0]
    assert difference[:changed].max() <= 1e-6
    assert difference[changed] > 1e-3


def test_positions_are_told_apart() -> None:
    """The published table: 200 x width, row 0 is 0, 1, 0, 1, ...; column 1 of row 3 is cos 3."""
    table = sinusoids(200, 64)
    assert table[0].tolist() == [0.0, 1.0] * 32
    torch.testing.assert_close(table[3, 1], torch.tensor(3.0).cos())


def test_a_model_follows_from_its_seed_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (built(seed, lambda: backbone("tinylight", 3)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.1.weight"], other["classifier.1.weight"])
    assert torch.equal(state, torch.get_rng_state())


def test_shallow_then_deep_is_the_whole() -> None:
    model = lora_model().eval()
    signal = normal(2, 12, 512)
    with torch.no_grad():
        assert torch.equal(model.deep(model.shallow(signal, 1), 1), model.features(signal))
