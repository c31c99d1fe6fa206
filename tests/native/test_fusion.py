"""Acceptance tests 14 to 23: the fused gradient, its schedules, its heads, its buffers, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import (  # noqa: E402 - after the skip
    ADAMW,
    ESTIMATOR,
    PLAIN_SGD,
    batch,
    gradients,
    learnable,
    lora_model,
    normal,
    setup,
)
from torch import Tensor  # noqa: E402

from runner.native import first_order, fusion  # noqa: E402
from runner.native.backbone import Backbone  # noqa: E402
from runner.native.coefficients import PUBLISHED, Constant, Linear, TwoPhase  # noqa: E402
from runner.native.directions import Directions  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.fusion import Options, fuse  # noqa: E402
from runner.native.model import backbone_part, head_part, is_head  # noqa: E402
from runner.native.normalisation import mode  # noqa: E402
from runner.native.objective import AuxTarget, Objective  # noqa: E402
from runner.native.optimiser import OptimiserOptions  # noqa: E402
from runner.native.sparsify import Sparsity  # noqa: E402

FUSION = Options(
    ESTIMATOR, bp_batch=2, coefficient=Constant(0.9), head="full_batch", norm_eps=1e-6, compat=None
)
STILL = OptimiserOptions("sgd", 0.0, 0.0, "all", "constant", 0, 100, None)  # leaves the gradients to look at


class Calls:
    """Counts the records that pass through the backbone, call by call."""

    def __init__(self, model: Backbone) -> None:
        self.records: list[int] = []
        model.encoder[0].register_forward_pre_hook(lambda _, inputs: self.records.append(len(inputs[0])))


def after_a_step(options: Options, *, model: Backbone | None = None, **kwargs: Any) -> tuple[Backbone, Any]:
    """Return the model, with its gradients and its weights unmoved, and the statistics of the step."""
    model = model or lora_model(aux=kwargs.pop("aux", False))
    return model, fusion.method(setup(model, STILL, **kwargs), options).step(batch())


def autograd(model: Backbone, records: Any, objective: Objective | None = None) -> dict[str, Tensor]:
    names = {name: part for name, part in model.named_parameters() if part.requires_grad}
    with mode(model, "running", train=True):
        loss = (objective or Objective())(model(records.signal), records.target)
        values = torch.autograd.grad(loss, list(names.values()))
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(("head", "records"), [("tiny_batch", [2]), ("full_batch", [6, 2])])
def test_a_coefficient_of_one_is_the_tiny_batchs_gradient(head: str, records: list[int]) -> None:
    """Test 14: bitwise, and no perturbed forward; heads on the full batch cost one unperturbed forward."""
    model = lora_model()
    calls = Calls(model)
    _, stats = after_a_step(replace(FUSION, coefficient=Constant(1.0), head=head), model=model)
    assert calls.records == records
    assert stats.rho is None
    expected = autograd(lora_model(), batch().first(2))
    for name in backbone_part(model):
        assert torch.equal(gradients(model)[name], expected[name]), name


def test_a_coefficient_of_zero_is_the_direction_at_the_first_order_norm() -> None:
    """Test 15: norm ||g_fo,i|| to 1e-5, direction sign(rho) z_i / ||z_i||. The first-order norms are needed still."""
    model, stats = after_a_step(replace(FUSION, coefficient=Constant(0.0)))
    expected = autograd(lora_model(), batch().first(2))
    theta = backbone_part(model)
    zs = [z for _, parts in Directions(theta, 18, None).drawn(0) for z in parts]
    for (name, part), z in zip(theta.items(), zs, strict=True):
        norm = float(expected[name].norm())
        assert float(part.grad.norm()) == pytest.approx(norm, rel=1e-5, abs=1e-7 + 1e-6 * norm)
        if norm > 1e-4:
            wanted = math.copysign(1, stats.rho) * z / z.norm()
            torch.testing.assert_close(part.grad / norm, wanted, atol=1e-4, rtol=1e-4)


def test_only_the_sign_of_the_slope_survives() -> None:
    """Test 16: scaling rho moves the result by less than 1e-3; turning it over turns the zeroth-order part."""
    first, z = [normal(40, seed=1)], normal(40, seed=2)
    base, scaled, turned = (fuse(first, [rho * z], 0.9, 1e-6)[0] for rho in (0.02, 5.0, -0.02))
    assert float((base - scaled).norm() / base.norm()) < 1e-3
    torch.testing.assert_close(turned - 0.9 * first[0], -(base - 0.9 * first[0]), rtol=1e-4, atol=1e-6)


def test_no_first_order_gradient_no_fused_gradient() -> None:
    """Test 17: zero in, zero out, no NaN; also for a direction of zeros."""
    zero = torch.zeros(5)
    assert torch.equal(fuse([zero], [normal(5)], 0.5, 1e-6)[0], zero)
    assert torch.equal(fuse([torch.ones(5)], [torch.zeros(5)], 0.5, 1e-6)[0], torch.full((5,), 0.5))


@pytest.mark.parametrize("c", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("rho", [1e-9, -0.4, 300.0])
def test_the_fused_norm_is_bounded(c: float, rho: float) -> None:
    """Test 17: ||g|| <= ||g_fo|| (c + 1 - c)."""
    for seed in range(20):
        first = normal(30, seed=seed)
        fused = fuse([first], [rho * normal(30, seed=seed + 100)], c, 1e-6)[0]
        assert float(fused.norm()) <= float(first.norm()) * (1 + 1e-6)


def test_fused_by_hand() -> None:
    """Test 18: two tensors, each with its own norms. ||(3, 4)|| = 5, ||(0, 2)|| = 2; ||(1,)|| = 1, ||(-4,)|| = 4."""
    first = [torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)]
    zeroth = [torch.tensor([0.0, 2.0], dtype=torch.float64), torch.tensor([-4.0], dtype=torch.float64)]
    one, other = fuse(first, zeroth, 0.75, 0.0)
    assert one.tolist() == pytest.approx([0.75 * 3, 0.75 * 4 + 0.25 * 5], abs=1e-12)
    assert other.tolist() == pytest.approx([0.75 - 0.25], abs=1e-12)
    (with_eps,) = fuse(first[:1], [torch.tensor([0.0, 2.0], dtype=torch.float64)], 0.75, 0.5)
    assert with_eps.tolist() == pytest.approx([2.25, 3 + 0.25 * 5 * 2 / 2.5], abs=1e-7)


def test_a_tensor_that_the_loss_ignores_is_named() -> None:
    """Test 17: a missing first-order gradient is an error with the tensor's name."""
    model = lora_model()
    model.blocks[0].register_parameter("spare", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(NativeError, match=r"blocks.0.spare is trained but the loss does not depend on it"):
        after_a_step(FUSION, model=model)


def test_the_schedule_as_published_code_executes_it() -> None:
    """Test 19."""
    assert [PUBLISHED.at(progress) for progress in (0, 0.1999, 0.2, 1)] == [0.99, 0.99, 0.90, 0.90]


def test_the_coefficient_is_the_configured_one() -> None:
    """Test 19: a constant is honoured, a schedule follows the planned steps, and nothing is written to it."""
    schedule = TwoPhase(0.99, 0.9, 0.2)
    method = fusion.method(setup(lora_model(), steps=5), replace(FUSION, coefficient=schedule))
    assert [method.step(batch()).coefficient for _ in range(3)] == [0.99, 0.9, 0.9]
    assert schedule == TwoPhase(0.99, 0.9, 0.2)
    constant = fusion.method(setup(lora_model()), replace(FUSION, coefficient=Constant(0.85)))
    assert constant.step(batch()).coefficient == 0.85
    assert Linear(0.88, 0.96, 0.2, 1.0).at(0.6) == pytest.approx(0.92)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_coefficient_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(NativeError, match=r"coef.value: expected a number in \[0, 1\]"):
        Constant(value)


@pytest.mark.parametrize("aux", [False, True])
def test_heads_follow_the_full_batch(aux: bool) -> None:
    """Test 20: autograd on the full batch, at theta - eps z, to 1e-6; without noise from the other estimate."""
    objective = Objective(0.5, AuxTarget("abnormal", (0,))) if aux else Objective()
    model, _ = after_a_step(FUSION, aux=aux, objective=objective)
    moved = lora_model(aux=aux)
    theta = backbone_part(moved)
    with torch.no_grad():
        zs = [z for _, parts in Directions(theta, 18, None).drawn(0) for z in parts]
        for part, z in zip(theta.values(), zs, strict=True):
            part.sub_(z, alpha=ESTIMATOR.eps)
    expected = autograd(moved, batch(), objective)
    for name, part in head_part(model).items():
        torch.testing.assert_close(part.grad, expected[name], atol=1e-6, rtol=0)


def test_heads_follow_the_tiny_batch() -> None:
    """Test 20."""
    model, _ = after_a_step(replace(FUSION, head="tiny_batch"))
    expected = autograd(lora_model(), batch().first(2))
    for name, part in head_part(model).items():
        assert torch.equal(part.grad, expected[name])


@pytest.mark.parametrize("head", ["tiny_batch", "full_batch"])
@pytest.mark.parametrize("optimiser", [PLAIN_SGD, ADAMW], ids=["sgd", "adamw"])
def test_all_of_the_batch_at_a_coefficient_of_one_is_lora(head: str, optimiser: OptimiserOptions) -> None:
    """Test 21: five steps of both, weights within 1e-6 (AdamW divides by small numbers: 1e-5 there)."""
    fused, ordinary = lora_model(), lora_model()
    options = replace(FUSION, bp_batch=6, coefficient=Constant(1.0), head=head)
    methods = (
        fusion.method(setup(fused, optimiser), options),
        first_order.method(setup(ordinary, optimiser), first_order.Options(bn="running", micro_batch=None)),
    )
    for seed in range(5):
        one, other = (method.step(batch(seed=seed)) for method in methods)
        assert one.loss == pytest.approx(other.loss, abs=1e-6)
    tolerance = 1e-6 if optimiser is PLAIN_SGD else 1e-5
    for one, other in zip(fused.parameters(), ordinary.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("bn", "micro_batch", "updates"), [("running", None, 0), ("batch", None, 1), ("batch", 4, 2)]
)
def test_buffers_change_as_documented(bn: Any, micro_batch: int | None, updates: int) -> None:
    """Test 22: nothing with stored statistics; with `batch` once for each micro-batch; never in the tiny pass."""
    model = lora_model()
    before = {name: value.clone() for name, value in model.named_buffers()}
    after_a_step(replace(FUSION, estimator=replace(ESTIMATOR, bn=bn, micro_batch=micro_batch)), model=model)
    for name, value in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert int(value) == updates
        elif updates == 0:
            assert torch.equal(value, before[name])


def test_micro_batches_leave_the_step_as_it_is() -> None:
    """Test 25: the same slope to 1e-6 / (2 eps) and the same heads, whatever the size of a forward."""
    whole, one = after_a_step(FUSION)
    parts, other = after_a_step(replace(FUSION, estimator=replace(ESTIMATOR, micro_batch=4)))
    assert one.rho == pytest.approx(other.rho, abs=1e-6 / (2 * ESTIMATOR.eps))
    for name, part in head_part(parts).items():
        torch.testing.assert_close(part.grad, head_part(whole)[name].grad, atol=1e-6, rtol=0)


def test_heads_never_get_noise() -> None:
    """Test 20: the heads' gradient does not depend on the seed's direction beyond the moved features."""
    one, _ = after_a_step(replace(FUSION, head="tiny_batch"), seed=1)
    other, _ = after_a_step(replace(FUSION, head="tiny_batch"), seed=2)
    for name, value in gradients(one).items():
        assert torch.equal(value, gradients(other)[name]) == is_head(name), name


def test_fusion_learns() -> None:
    """Test 23: 120 steps bring the loss below 60 % of its start; the control c = 1 is run beside it."""
    ends = {}
    for c in (0.9, 1.0):
        model = lora_model(4, classes=4, awake=False)
        options = replace(FUSION, coefficient=Constant(c), bp_batch=4)
        optimiser = replace(ADAMW, learning_rate=7e-3, steps=120)
        method = fusion.method(setup(model, optimiser, steps=120), options)
        losses = [method.step(learnable(16, 4, 256, seed)).loss for seed in range(120)]
        ends[c] = sum(losses[-10:]) / sum(losses[:10])
    print(f"loss at the end / at the start: fusion {ends[0.9]:.3f}, control c = 1 {ends[1.0]:.3f}")
    assert ends[0.9] < 0.6
    assert ends[1.0] < 0.6


class TestUpstream:
    """`compat: upstream` has the defects that it is for; ours has none of them."""

    OBJECTIVE = Objective(1.0, AuxTarget("any_label"))
    UPSTREAM = replace(FUSION, compat="upstream", estimator=replace(ESTIMATOR, eps=1e-3))

    def slopes(self, options: Options) -> list[float]:
        model = lora_model(aux=True, aux_mode="upstream")
        method = fusion.method(setup(model, STILL, objective=self.OBJECTIVE), options)
        return [method.step(batch()).rho for _ in range(10)]

    def test_the_slope_is_swamped_by_the_auxiliary_loss(self) -> None:
        """Defect 1: about L_aux / (2 eps) = 350, positive in every draw; ours is small, of either sign."""
        theirs = self.slopes(self.UPSTREAM)
        assert min(theirs) > 200
        ours = self.slopes(replace(self.UPSTREAM, compat=None))
        assert max(map(abs, ours)) < 5
        assert min(ours) < 0 < max(ours)

    def test_the_configured_coefficient_and_head_are_ignored(self) -> None:
        """Defects 3 and 4."""
        options = replace(self.UPSTREAM, coefficient=Constant(0.5))
        model = lora_model(aux=True, aux_mode="upstream")
        stats = fusion.method(setup(model, STILL, objective=self.OBJECTIVE), options).step(batch())
        assert stats.coefficient == 0.99

    def test_statistics_are_learnt_at_both_sides(self) -> None:
        """Defect 7."""
        model = lora_model(aux=True)
        fusion.method(setup(model, STILL, objective=self.OBJECTIVE), self.UPSTREAM).step(batch())
        assert int(model.encoder[0].bn1.num_batches_tracked) == 2

    def test_its_mask_is_the_published_one(self) -> None:
        """Defect 8."""
        sparsity = Sparsity(0.5, {}, "bernoulli", rescale=True)
        options = replace(self.UPSTREAM, estimator=replace(ESTIMATOR, sparsity=sparsity))
        method = fusion.method(setup(lora_model(), STILL), options)
        assert method._options.estimator.sparsity == Sparsity(0.5, {}, "upstream", rescale=False)

    def test_parameters_drift(self) -> None:
        """Defect 5: at a learning rate of 0 the trained weights move all the same."""
        model = lora_model(aux=True)
        before = {name: part.detach().clone() for name, part in backbone_part(model).items()}
        after_a_step(self.UPSTREAM, model=model, objective=self.OBJECTIVE)
        drift = max(
            float((part.detach() - before[name]).abs().max()) for name, part in backbone_part(model).items()
        )
        assert 0 < drift < 1e-6
