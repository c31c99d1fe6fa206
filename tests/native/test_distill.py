"""Acceptance tests 27 and 28: what a student learns from a teacher, and which leads it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import PLAIN_SGD, batch, normal, setup  # noqa: E402 - after the skip
from torch.nn import functional  # noqa: E402

from runner.native import distill  # noqa: E402
from runner.native.backbone import Backbone, backbone  # noqa: E402
from runner.native.distill import LEADS, Options, teacher_loss  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.objective import mask_leads  # noqa: E402
from runner.native.streams import built  # noqa: E402
from runner.spec.ecg import Distill  # noqa: E402


def tiny(seed: int, classes: int = 5) -> Backbone:
    return built(seed, lambda: backbone("tinylight", classes))


@pytest.fixture
def options() -> Options:
    return Options(tiny(7).train(), label_weight=1.0, kd_weight=1.0, temperature=1.0, leads=12, bn="batch")


def test_gradient_of_a_logit() -> None:
    """Test 27: (sigmoid(s) - sigmoid(t)) / (records * classes) to 1e-7; zero where they agree."""
    student, teacher = normal(4, 3, seed=1).requires_grad_(), normal(4, 3, seed=2)
    (gradient,) = torch.autograd.grad(teacher_loss(student, teacher, 1.0), student)
    wanted = (student.detach().sigmoid() - teacher.sigmoid()) / 12
    torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=0)
    (gradient,) = torch.autograd.grad(teacher_loss(student, student.detach(), 1.0), student)
    assert float(gradient.abs().max()) <= 1e-8


def test_a_temperature_softens_both_sides() -> None:
    """By hand: T = 2, s = 2, t = 4: 4 * BCE(1, sigmoid(2))."""
    loss = teacher_loss(torch.tensor([[2.0]]), torch.tensor([[4.0]]), 2.0)
    wanted = 4 * functional.binary_cross_entropy_with_logits(torch.tensor(1.0), torch.tensor(2.0).sigmoid())
    assert float(loss) == pytest.approx(float(wanted))


def test_the_published_loss(options: Options) -> None:
    """Test 27: BCE on labels plus BCE on the teacher's probabilities, both with weight 1."""
    student, records = tiny(1), batch()
    expected_student, teacher = tiny(1).train(), options.teacher.eval()
    with torch.no_grad():
        logits, wanted = expected_student(records.signal).logits, teacher(records.signal).logits.sigmoid()
    expected = sum(
        functional.binary_cross_entropy_with_logits(logits, target) for target in (records.target, wanted)
    )
    stats = distill.method(setup(student, PLAIN_SGD), options).step(records)
    assert stats.loss == pytest.approx(float(expected), abs=1e-6)


def test_a_spec_that_says_nothing_gets_the_published_weights() -> None:
    """Test 27: weights 1 and 1, temperature 1, all leads."""
    found = Distill(teacher="run")
    assert (found.label_weight, found.kd_weight, found.temperature, found.leads) == (1, 1, 1, 12)


def test_the_teacher_is_left_alone(options: Options) -> None:
    """Test 27: no gradient, statistics of its own, unchanged buffers, also where it came in training mode."""
    before = {name: value.clone() for name, value in options.teacher.state_dict().items()}
    distill.method(setup(tiny(1), PLAIN_SGD), options).step(batch())
    assert all(torch.equal(value, before[name]) for name, value in options.teacher.state_dict().items())
    assert all(part.grad is None for part in options.teacher.parameters())


@pytest.mark.parametrize(("leads", "kept"), [(12, set(range(12))), (3, {1, 6, 10}), (1, {0})])
def test_lead_masks(leads: int, kept: set[int]) -> None:
    """Test 28: II, V1, V5 or I; the signal that came in is not written to."""
    signal = normal(2, 12, 64)
    before = signal.clone()
    masked = mask_leads(signal, LEADS[leads])
    assert torch.equal(signal, before)
    for lead in range(12):
        assert torch.equal(masked[:, lead], signal[:, lead] if lead in kept else torch.zeros(2, 64))


def test_the_teacher_sees_all_leads_and_the_student_its_own(options: Options) -> None:
    """Test 28."""
    seen = {}
    student = tiny(1)
    for name, model in (("teacher", options.teacher), ("student", student)):
        model.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, inputs[0].clone())
        )
    records = batch()
    signal = records.signal.clone()
    distill.method(setup(student, PLAIN_SGD), replace(options, leads=3)).step(records)
    assert torch.equal(seen["teacher"], signal)
    assert torch.equal(seen["student"], mask_leads(signal, (1, 6, 10)))
    assert torch.equal(records.signal, signal)


def test_another_number_of_classes_is_refused(options: Options) -> None:
    with pytest.raises(NativeError, match="the teacher has 4 classes, the student 5"):
        distill.method(setup(tiny(1)), replace(options, teacher=tiny(2, 4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"leads": 2}, "unknown value 2; allowed: 12, 3, 1"), ({"temperature": 0.0}, "above 0")],
)
def test_options_that_are_refused(options: Options, change: dict[str, float], message: str) -> None:
    with pytest.raises(NativeError, match=message):
        replace(options, **change)
