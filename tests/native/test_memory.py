"""Acceptance tests 24 to 26: what is held for a backward pass, and the peak of a step."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import ADAMW, ESTIMATOR, LORA, labels, lora_model, normal, setup  # noqa: E402 - after the skip

from runner.native import first_order, fusion  # noqa: E402
from runner.native.adapters import attach, set_path  # noqa: E402
from runner.native.backbone import Backbone, backbone  # noqa: E402
from runner.native.coefficients import Constant  # noqa: E402
from runner.native.memory import held_by, peak, saved_bytes  # noqa: E402
from runner.native.method import Batch  # noqa: E402
from runner.native.objective import Objective  # noqa: E402
from runner.native.streams import built, generator  # noqa: E402
from runner.native.zeroth_order import FullBatch, features_without_graph  # noqa: E402

MB, GIB = 1e6, 2**30
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def medium() -> Backbone:
    """Return an unadapted medium, of which no test here moves a weight."""
    return built(0, lambda: backbone("medium", 18))


def saved(model: Backbone, records: int, samples: int = 6144) -> int:
    """Return the bytes that the loss of `records` records saves, the signal itself left out."""
    signal, target = normal(records, 12, samples), labels(records, model.classes)
    return saved_bytes(lambda: Objective()(model(signal), target), [*held_by(model), signal, target])


def test_what_a_record_saves_in_tinylight() -> None:
    """Test 24: at most 4.6 MB a record for full fine-tuning (the published graph has 4.574)."""
    one, two = (saved(built(0, lambda: backbone("tinylight", 18)), records) for records in (1, 2))
    assert (two - one) / MB <= 4.6
    assert one / MB <= 4.6


def test_what_a_record_saves_in_medium(medium: Backbone) -> None:
    """Test 24: at most 71.5 MB a record (the published graph has 70.98); in-place activations make it about 50."""
    assert saved(medium.train(), 1) / MB <= 52


def test_saved_bytes_grow_with_the_tiny_batch_alone() -> None:
    """Test 24: 128 records save 64 times what 2 do, within 1 (short records: the share is the same)."""
    model = lora_model(16)
    ratio = saved(model, 128, 256) / saved(model, 2, 256)
    assert ratio == pytest.approx(64, abs=1)


def test_the_low_rank_path_has_no_constant_part(medium: Backbone) -> None:
    """Test 24: below 20 MB whatever the batch; the dense path of the published code has 189.5 MB."""
    model = built(0, lambda: backbone("medium", 18))
    attach(model, replace(LORA, rank=16), generator(0))
    constants = {}
    for path in ("low_rank", "dense"):
        set_path(model, path)
        one, two = (saved(model, records, 512) for records in (1, 2))
        constants[path] = (2 * one - two) / MB
    assert constants["low_rank"] < 20
    assert constants["dense"] == pytest.approx(189.5, abs=3)


def test_probing_a_loss_saves_nothing() -> None:
    """Test 25: no graph is made in a zeroth-order forward."""
    model = lora_model()
    loss = FullBatch(model, Objective(), ESTIMATOR, Batch(normal(4, 12, 512), labels(4, 5)))
    assert saved_bytes(loss, []) == 0


def test_the_peak_of_a_forward_grows_with_its_micro_batch() -> None:
    """Test 25: 16 records in parts of 2 peak at about a quarter of parts of 8, above the features themselves."""
    model = lora_model(16).eval()
    signal = normal(16, 12, 6144)

    def at(size: int) -> int:
        return peak(lambda: features_without_graph(model, signal, size), CPU).allocated

    at(2)  # the first call prepares kernels
    two, eight = at(2), at(8)
    assert 3 < eight / two < 4.5
    assert eight / MB <= 8 * 3.5 * 64 * 1536 * 4 / MB  # at most three and a half block-1 tensors a record


def test_the_peak_of_a_forward_of_medium(medium: Backbone) -> None:
    """Test 25: 9.44 MB a record, three of its largest tensors (512 x 1536 in fp32), and no more for the next part."""
    medium.eval()
    signal = normal(4, 12, 6144)
    peaks = {
        (records, size): peak(
            lambda r=records, m=size: features_without_graph(medium, signal[:r], m), CPU
        ).allocated
        for records, size in ((1, 1), (1, 1), (2, 2), (4, 1))
    }
    assert (peaks[2, 2] - peaks[1, 1]) / MB <= 9.6
    assert peaks[4, 1] / peaks[1, 1] < 1.1


def test_a_step_of_fusion_holds_less_than_one_of_lora() -> None:
    """On a CPU, tinylight, 32 records: the activations of 2 records in place of those of 32."""
    records = Batch(normal(32, 12, 1024), labels(32, 5))
    peaks = {}
    options = fusion.Options(replace(ESTIMATOR, micro_batch=2), 2, Constant(0.9), "full_batch", 1e-6, None)
    for name, module, chosen in (
        ("fusion", fusion, options),
        ("lora", first_order, first_order.Options(bn="batch", micro_batch=None)),
    ):
        method = module.method(setup(lora_model(), ADAMW), chosen)
        method.step(records)  # the optimiser's state exists afterwards
        peaks[name] = peak(lambda method=method: method.step(records), CPU).allocated
    assert peaks["lora"] / peaks["fusion"] > 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peaks_on_a_gpu() -> None:
    """Test 26: medium, 128 records of 6144, 2 backpropagated, rank 16, fp32."""
    from benchmarks.native.memory import measured  # what it measures is what the benchmark prints

    peaks = {
        name: measured(name, "medium", 128, 6144, torch.device("cuda")) for name in ("fusion", "lora", "full")
    }
    assert peaks["fusion"].total / GIB <= 0.75
    assert peaks["fusion"].reserved >= peaks["fusion"].total
    assert peaks["lora"].total / GIB <= 9.0
    assert peaks["full"].total / GIB <= 9.4
