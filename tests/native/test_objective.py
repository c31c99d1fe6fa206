"""Acceptance test 32, and the loss and CutMix by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import labels, normal  # noqa: E402 - after the skip

from runner.native.errors import NativeError  # noqa: E402
from runner.native.model import Outputs  # noqa: E402
from runner.native.objective import AuxTarget, Objective, _beta, cutmix, with_aux  # noqa: E402
from runner.native.streams import generator  # noqa: E402

LABELLED = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])  # class 0 is sinus rhythm


def test_a_target_without_variance_is_refused() -> None:
    """Test 32: every record has a label, so "any label" is 1 throughout."""
    with pytest.raises(
        NativeError, match=r"any_label: the target is 1 for all 3 training records.*normal classes"
    ):
        with_aux(0.02, AuxTarget("any_label"), LABELLED)


def test_an_explicit_mapping_to_normal_is_taken() -> None:
    """Test 32: only sinus rhythm is normal; a record with it and another finding is not."""
    target = AuxTarget("abnormal", normal=(0,))
    assert target.of(LABELLED).tolist() == [[0.0], [1.0], [1.0]]
    assert with_aux(0.02, target, LABELLED).aux_weight == 0.02


def test_a_mapping_in_which_all_is_normal_is_refused() -> None:
    with pytest.raises(NativeError, match="every class counts as normal"):
        with_aux(1.0, AuxTarget("abnormal", (0, 1, 2)), LABELLED)


def test_the_loss_by_hand() -> None:
    """Logits of 0 cost log 2 each; the auxiliary part adds its weight times log 2."""
    outputs = Outputs(torch.zeros(3, 3), torch.zeros(3, 1))
    assert float(Objective()(outputs, LABELLED)) == pytest.approx(math.log(2))
    both = with_aux(0.5, AuxTarget("abnormal", (0,)), LABELLED)
    assert float(both(outputs, LABELLED)) == pytest.approx(1.5 * math.log(2))
    assert float(both.main(outputs, LABELLED)) == pytest.approx(math.log(2))


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(NativeError, match=r"expected \(record, class\) = \(3, 4\), got \(3, 3\)"):
        Objective()(Outputs(torch.zeros(3, 4), None), LABELLED)
    with pytest.raises(NativeError, match="no auxiliary head"):
        with_aux(1.0, AuxTarget("abnormal", (0,)), LABELLED)(Outputs(torch.zeros(3, 3), None), LABELLED)


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_mixes_labels_by_the_area_that_was_pasted(seed: int) -> None:
    """A signal of the record's own number: the share of other numbers in it is the share of the other's labels."""
    signal = torch.arange(6.0)[:, None, None].expand(6, 12, 100).clone()
    target = torch.eye(6)
    mixed, soft = cutmix(signal, target, generator(seed))
    share = torch.stack([(mixed == number).double().mean(dim=(1, 2)) for number in range(6)], dim=1)
    torch.testing.assert_close(soft.double(), share, atol=1e-6, rtol=0)
    assert torch.equal(signal[:, 0, 0], torch.arange(6.0))


def test_cutmix_follows_from_its_generator_alone() -> None:
    signal, target = normal(8, 12, 64), labels(8, 5)
    state = torch.get_rng_state()
    one, same, other = (cutmix(signal, target, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(state, torch.get_rng_state())


def test_lambda_is_beta_distributed() -> None:
    """Beta(0.75, 0.75): mean 1/2, variance 1/10; the pasted area is 1 - lambda before clipping."""
    draw = generator(0)
    values = torch.tensor([_beta(0.75, draw) for _ in range(20_000)])
    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(values.var()) == pytest.approx(0.1, abs=0.004)
