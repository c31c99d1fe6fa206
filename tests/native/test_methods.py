"""All methods through one door: they learn, resume bit for bit (test 36), and refuse what cannot work."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import ADAMW, ESTIMATOR, PLAIN_SGD, batch, gradients, learnable, lora_model, setup  # noqa: E402 - after the skip

from runner.native import adapters, addax, distill, first_order, fusion, hybrid, zeroth_order  # noqa: E402
from runner.native.backbone import Backbone, backbone  # noqa: E402
from runner.native.coefficients import PUBLISHED, Constant  # noqa: E402
from runner.native.directions import Directions  # noqa: E402
from runner.native.errors import DivergedError, NativeError  # noqa: E402
from runner.native.method import METHODS, Method  # noqa: E402
from runner.native.model import backbone_part, is_head, trainable  # noqa: E402
from runner.native.optimiser import OptimiserOptions, Update  # noqa: E402
from runner.native.states import load_state, save_state  # noqa: E402
from runner.native.streams import built  # noqa: E402
from runner.native.xresnet import XResNet  # noqa: E402

STILL = OptimiserOptions("sgd", 0.0, 0.0, "all", "constant", 0, 100, None)
WHOLE = first_order.Options(bn="batch", micro_batch=None)
HYBRID = hybrid.Options(ESTIMATOR, split="inter", deep_blocks=1, share=0.5, bp_batch=None)
Made = tuple[Backbone, Method]


def whole_model(**kwargs: Any) -> Backbone:
    return built(0, lambda: backbone("tinylight", 5, **kwargs))


def probe_model() -> Backbone:
    model = whole_model()
    adapters.train_heads(model)
    return model


def student() -> Backbone:
    return built(1, lambda: backbone("tinylight", 5))


def options_of(word: str) -> tuple[Callable[[], Backbone], Any]:
    """Return a maker of the model that `word` trains, and options for it."""
    return {
        "full": (whole_model, WHOLE),
        "linear_probe": (probe_model, WHOLE),
        "lora": (lora_model, WHOLE),
        "zeroth_order": (lora_model, zeroth_order.Options(ESTIMATOR, "full_batch", False, "optimiser")),
        "fusion": (lora_model, fusion.Options(ESTIMATOR, 2, PUBLISHED, "full_batch", 1e-6, None)),
        "addax": (lora_model, addax.Options(ESTIMATOR, bp_batch=2, alpha=1e-3)),
        "hybrid": (lora_model, HYBRID),
        "distill": (student, distill.Options(whole_model(), 1.0, 1.0, 1.0, 3, "batch")),
    }[word]


def started(word: str, optimiser: OptimiserOptions = ADAMW, **kwargs: Any) -> Made:
    make, options = options_of(word)
    model = make()
    method: Method = importlib.import_module(METHODS[word]).method(setup(model, optimiser, **kwargs), options)
    return model, method


def test_every_word_leads_to_a_method() -> None:
    assert set(METHODS) == {
        *("full", "linear_probe", "lora", "zeroth_order"),
        *("fusion", "addax", "hybrid", "distill"),
    }


@pytest.mark.parametrize("word", METHODS)
def test_two_runs_are_one_and_a_resumed_run_is_the_same(word: str, tmp_path: Path) -> None:
    """Test 36: five steps twice, and three steps, a file, a fresh model, two steps: the same bits each time."""
    ends = []
    for stop in (5, 5, 3):
        model, method = started(word)
        losses = [method.step(batch(seed=seed)).loss for seed in range(stop)]
        if stop < 5:
            save_state(tmp_path / "state", model, method, {"losses": losses, "best": None})
            model, method = started(word)
            method.step(batch(seed=99))  # what happened before loading does not matter
            losses = load_state(tmp_path / "state", model, method)["losses"]
            losses += [method.step(batch(seed=seed)).loss for seed in range(stop, 5)]
        ends.append((model.state_dict(), losses))
    for state, losses in ends[1:]:
        assert losses == ends[0][1]
        assert all(torch.equal(value, ends[0][0][name]) for name, value in state.items())


@pytest.mark.parametrize("word", METHODS)
def test_only_what_is_trained_moves(word: str) -> None:
    model, method = started(word, replace(ADAMW, warmup=0))
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    method.step(batch())
    method.step(batch(seed=8))
    moved = {name for name, part in model.named_parameters() if not torch.equal(part, before[name])}
    assert moved
    assert moved <= set(trainable(model))
    if word == "linear_probe":
        assert all(is_head(name) for name in moved)


@pytest.mark.parametrize("word", METHODS)
def test_statistics_of_a_step_are_numbers(word: str) -> None:
    _, method = started(word)
    stats = method.step(batch())
    assert 0 < stats.loss < 5
    assert stats.lr == pytest.approx(1.25e-3)  # the first of two warm-up steps
    assert stats.grad_norm > 0
    assert (stats.rho is not None) == (word in {"zeroth_order", "fusion", "addax", "hybrid"})
    assert (stats.coefficient is not None) == (word in {"fusion", "addax"})


@pytest.mark.parametrize("word", ["full", "lora", "linear_probe", "hybrid"])
def test_the_loss_of_one_batch_falls(word: str) -> None:
    _, method = started(word, replace(ADAMW, learning_rate=5e-3), steps=40)
    losses = [method.step(learnable(16, 5, 256, seed=1)).loss for _ in range(40)]
    assert losses[-1] < 0.85 * losses[0]


def test_a_loss_that_is_not_finite_stops_before_anything_moves() -> None:
    for word in ("full", "fusion", "hybrid", "distill"):
        model, method = started(word)
        before = {name: part.detach().clone() for name, part in model.named_parameters()}
        records = batch()
        records.signal[0, 0, 0] = float("nan")
        with pytest.raises(DivergedError, match="no weight was updated"):
            method.step(records)
        assert all(torch.equal(part, before[name]) for name, part in model.named_parameters())


def test_micro_batches_add_up_to_the_whole() -> None:
    """With stored statistics the gradient of parts is that of the whole, to round-off."""
    results = []
    for size in (None, 4):
        model = lora_model()
        options = first_order.Options(bn="running", micro_batch=size)
        stats = first_order.method(setup(model, STILL), options).step(batch(10))
        results.append((gradients(model), stats.loss))
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-6)
    for name, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][name], atol=1e-6, rtol=1e-4)


def test_addax_by_hand() -> None:
    """Alpha rho z from the records after the first two, (1 - alpha) of the gradient of those two."""
    model = lora_model()
    stats = addax.method(setup(model, STILL), addax.Options(ESTIMATOR, 2, 0.25)).step(batch())
    other = lora_model()
    alone = fusion.Options(ESTIMATOR, 2, Constant(1.0), "tiny_batch", 1e-6, None)
    fusion.method(setup(other, STILL), alone).step(batch())
    zs = [z for _, parts in Directions(trainable(model), 18, None).drawn(0) for z in parts]
    for (name, part), z in zip(trainable(model).items(), zs, strict=True):
        wanted = 0.25 * stats.rho * z + 0.75 * gradients(other)[name]
        torch.testing.assert_close(part.grad, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("records", [6, 3, 1])
def test_addax_probes_at_least_one_record_of_a_short_last_batch(records: int) -> None:
    """With bp_batch 6 a batch of 6 or fewer backpropagates all but one, and a lone record is both."""
    model = lora_model()
    short = batch().first(records)
    stats = addax.method(setup(model, STILL), addax.Options(ESTIMATOR, 6, 0.25)).step(short)
    assert stats.loss_records == 1
    other = lora_model()
    alone = fusion.Options(ESTIMATOR, max(records - 1, 1), Constant(1.0), "tiny_batch", 1e-6, None)
    fusion.method(setup(other, STILL), alone).step(short)
    zs = [z for _, parts in Directions(trainable(model), 18, None).drawn(0) for z in parts]
    for (name, part), z in zip(trainable(model).items(), zs, strict=True):
        wanted = 0.25 * stats.rho * z + 0.75 * gradients(other)[name]
        torch.testing.assert_close(part.grad, wanted, atol=1e-6, rtol=1e-5)


def test_hybrid_differentiates_the_deep_part_alone() -> None:
    """`inter`: deep blocks and heads hold autograd's gradient, the encoder holds rho z."""
    model = lora_model()
    stats = hybrid.method(setup(model, STILL), HYBRID).step(batch())
    other = lora_model()
    first_order.method(setup(other, STILL), first_order.Options("running", None)).step(batch())
    shallow = {name: part for name, part in backbone_part(model).items() if name.startswith("encoder")}
    zs = [z for _, parts in Directions(shallow, 18, None).drawn(0) for z in parts]
    for (name, part), z in zip(shallow.items(), zs, strict=True):
        torch.testing.assert_close(part.grad, stats.rho * z, msg=name)
    for name, value in gradients(model).items():
        if name not in shallow:
            torch.testing.assert_close(value, gradients(other)[name], atol=1e-6, rtol=1e-4)


def test_hybrid_within_layers_mixes_by_entry() -> None:
    """`intra`: each entry is one of the two gradients, a half of each, the same entries at each step."""
    model = lora_model()
    stats = hybrid.method(setup(model, STILL), replace(HYBRID, split="intra")).step(batch())
    other = lora_model()
    first_order.method(setup(other, STILL), first_order.Options("running", None)).step(batch())
    theta = backbone_part(model)
    zs = [z for _, parts in Directions(theta, 18, None).drawn(0) for z in parts]
    first = zeroth = 0
    for (name, part), z in zip(theta.items(), zs, strict=True):
        is_zeroth = torch.isclose(part.grad, stats.rho * z, atol=1e-7)
        is_first = torch.isclose(part.grad, gradients(other)[name], atol=1e-7)
        assert bool((is_zeroth | is_first).all()), name
        first, zeroth = first + int(is_first.sum()), zeroth + int(is_zeroth.sum())
    assert first / (first + zeroth) == pytest.approx(0.5, abs=0.02)


def test_hybrid_needs_a_model_that_can_be_cut() -> None:
    with pytest.raises(NativeError, match="XResNet cannot be cut in two"):
        hybrid.method(setup(XResNet(5)), HYBRID)
    with pytest.raises(NativeError, match="deep_blocks: expected 0 to 1, got 3"):
        hybrid.method(setup(lora_model()), replace(HYBRID, deep_blocks=3))


def test_fusion_needs_a_trained_backbone() -> None:
    with pytest.raises(NativeError, match="nothing of the backbone is trained"):
        fusion.method(setup(probe_model()), options_of("fusion")[1])


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(NativeError, match="no parameter is trained"):
        Update(whole_model().requires_grad_(False).parameters(), ADAMW)


def test_a_state_of_another_seed_is_refused(tmp_path: Path) -> None:
    model, method = started("fusion")
    save_state(tmp_path / "state", model, method, {})
    other, with_other_seed = started("fusion", seed=19)
    with pytest.raises(NativeError, match="the state has seed 18, this run 19"):
        load_state(tmp_path / "state", other, with_other_seed)


@pytest.mark.parametrize("word", ["full", "fusion", "distill"])
def test_mixed_precision_keeps_masters_in_fp32(word: str) -> None:
    model, method = started(word, precision="bf16")
    wide, in_fp32 = started(word)
    stats, exact = method.step(batch()), in_fp32.step(batch())
    assert {part.dtype for part in model.parameters()} == {torch.float32}
    assert stats.loss == pytest.approx(exact.loss, rel=0.02)
    assert wide is not model


def test_xresnet_trains_with_and_without_adapters() -> None:
    """The supervised baseline through `full` and `fusion`; 2.5 s at 100 Hz."""
    records = batch(4, samples=250)
    first_order.method(setup(built(0, lambda: XResNet(5)), ADAMW), WHOLE).step(records)
    model = built(0, lambda: XResNet(5))
    lora = adapters.LoraOptions(2, 1.0, ("conv", "head0"), True, "low_rank", "whole")
    adapters.attach(model, lora, torch.Generator().manual_seed(0))
    stats = fusion.method(setup(model, ADAMW), options_of("fusion")[1]).step(records)
    assert stats.rho is not None


def test_xresnet_has_its_documented_size_and_shapes() -> None:
    model = built(0, lambda: XResNet(18)).eval()
    assert sum(part.numel() for part in model.parameters()) == 1_873_938
    with torch.no_grad():
        assert model(torch.zeros(2, 12, 250)).logits.shape == (2, 18)
    with pytest.raises(NativeError, match="at least 32"):
        model(torch.zeros(1, 12, 16))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [0.5, 1, 1, 1]), ("linear", [0.5, 1, 1, 0.5]), ("cosine", [0.5, 1, 1, 0.5])],
)
def test_learning_rates(schedule: Any, rates: list[float]) -> None:
    options = replace(ADAMW, learning_rate=1.0, schedule=schedule, warmup=2, steps=4)
    assert [options.rate(step) for step in range(4)] == pytest.approx(rates)


def test_clipping_reports_the_norm_before() -> None:
    model, method = started("full", replace(ADAMW, name="sgd", clip_norm=1e-3, weight_decay=0.0, warmup=0))
    before = torch.cat([part.detach().flatten() for part in model.parameters()])
    stats = method.step(batch())
    after = torch.cat([part.detach().flatten() for part in model.parameters()])
    assert stats.grad_norm > 1e-3
    assert float((after - before).norm()) == pytest.approx(stats.lr * 1e-3, rel=0.03)  # fp32 weights round it


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """Join a group of this one process, over gloo."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_wrapped_model_trains_like_the_bare_one(micro_batch: int | None) -> None:
    """`full` through data-parallel training, in parts and as a whole: the same weights."""
    ends = []
    for wrap in (False, True):
        model = whole_model()
        parts = setup(model, PLAIN_SGD)
        wrapped = torch.nn.parallel.DistributedDataParallel(model) if wrap else None
        options = first_order.Options(bn="running", micro_batch=micro_batch)
        method = first_order.method(replace(parts, wrapped=wrapped), options)
        for seed in range(2):
            method.step(batch(seed=seed))
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: setup(lora_model(), precision="fp16"),
            "precision: unknown value 'fp16'; allowed: fp32, bf16",
        ),
        (lambda: setup(lora_model(), steps=0), "steps: expected at least 1, got 0"),
        (lambda: replace(ADAMW, clip_norm=0.0), "clip_norm: expected a number above 0, got 0.0"),
        (lambda: replace(ADAMW, warmup=300), "a warm-up within them, got 200 and 300"),
        (
            lambda: first_order.method(setup(lora_model()), replace(WHOLE, micro_batch=0)),
            "at least 1 record, got 0",
        ),
        (lambda: replace(HYBRID, share=1.5), r"hybrid.share: expected a number in \[0, 1\]"),
        (lambda: addax.Options(ESTIMATOR, 2, -0.5), r"addax.alpha: expected a number in \[0, 1\]"),
    ],
)
def test_options_that_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(NativeError, match=message):
        make()
