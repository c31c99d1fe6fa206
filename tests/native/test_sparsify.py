"""Acceptance test 13: how much of a direction is zeroed, and that all uses see one mask."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import ESTIMATOR  # noqa: E402 - after the skip
from torch import Tensor, nn  # noqa: E402

from runner.native.directions import Directions  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.sparsify import Sparsity, keep_mask  # noqa: E402
from runner.native.streams import generator  # noqa: E402
from runner.native.zeroth_order import Spsa  # noqa: E402

HALF = Sparsity(0.5, {}, "bernoulli", rescale=False)


def z(sparsity: Sparsity, step: int, size: int = 1000) -> Tensor:
    ((_, (drawn,)),) = Directions({"x": nn.Parameter(torch.zeros(size))}, 0, sparsity).drawn(step)
    return drawn


@pytest.mark.parametrize("kind", ["bernoulli", "exact"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_the_kept_share_is_what_was_asked_for(kind: str, share: float) -> None:
    """Test 13: 1 - s within 0.005 on a million entries, and to the entry where `exact`."""
    mask = keep_mask(torch.Size([1000, 1000]), share, kind, generator(1))
    assert float(mask.double().mean()) == pytest.approx(1 - share, abs=0.005 if kind == "bernoulli" else 1e-9)


@pytest.mark.parametrize(("share", "zeroed"), [(0.0, 0.5), (0.1, 0.54), (0.5, 0.69), (0.9, 0.82)])
def test_the_published_rule_zeroes_another_share(share: float, zeroed: float) -> None:
    """FUSION section 4: Phi(s), which is why `upstream` is for ablation only."""
    mask = keep_mask(torch.Size([1_000_000]), share, "upstream", generator(1))
    assert 1 - float(mask.double().mean()) == pytest.approx(zeroed, abs=0.006)


def test_both_sides_and_the_gradient_share_a_mask() -> None:
    """Test 13: entries that the plus side leaves alone are left alone by the minus side and the gradient."""
    part = nn.Parameter(torch.zeros(1000))
    spsa = Spsa({"x": part}, replace(ESTIMATOR, eps=1.0, sparsity=HALF), seed=0)
    seen: list[Tensor] = []
    estimate = spsa.estimate(lambda: seen.append(part.detach().clone()) or float(len(seen)), 5)
    ((_, (gradient,)),) = spsa.gradients(estimate)
    zeros = [values == 0 for values in (*seen, gradient)]
    assert 400 < int(zeros[0].sum()) < 600
    assert all(torch.equal(zeros[0], other) for other in zeros[1:])


def test_a_mask_lasts_one_step_and_the_published_one_the_whole_run() -> None:
    """Test 13: different across steps."""
    assert not torch.equal(z(HALF, 0) == 0, z(HALF, 1) == 0)
    fixed = replace(HALF, kind="upstream")
    assert torch.equal(z(fixed, 0) == 0, z(fixed, 1) == 0)


def test_kept_entries_are_those_of_the_dense_direction() -> None:
    dense, sparse = z(replace(HALF, fraction=0.0), 2), z(HALF, 2)
    assert torch.equal(sparse[sparse != 0], dense[sparse != 0])


def test_rescaling_keeps_the_second_moment() -> None:
    """E[z z^T] stays the identity: the mean square of what is drawn is 1, at any share."""
    for share in (0.5, 0.9):
        drawn = z(replace(HALF, fraction=share, rescale=True), 0, size=1_000_000)
        assert float(drawn.square().mean()) == pytest.approx(1, abs=0.02)


def test_a_tensor_may_have_a_share_of_its_own() -> None:
    parts = {name: nn.Parameter(torch.zeros(10_000)) for name in ("a", "b")}
    sparsity = Sparsity(0.5, {"b": 0.9}, "exact", rescale=False)
    ((_, drawn),) = Directions(parts, 0, sparsity).drawn(0)
    assert [int((values != 0).sum()) for values in drawn] == [5000, 1000]


def test_a_share_for_a_tensor_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        NativeError, match=r"\['c'\] name no tensor that is perturbed; there is for example a"
    ):
        Directions({"a": nn.Parameter(torch.zeros(2))}, 0, Sparsity(0.5, {"c": 0.9}, "exact", rescale=False))


@pytest.mark.parametrize("share", [1.0, -0.1, 7])
def test_shares_that_are_refused(share: float) -> None:
    with pytest.raises(NativeError, match=r"expected a share in \[0, 1\)"):
        Sparsity(share, {}, "bernoulli", rescale=False)
