"""What the benchmark tries beside the trainer gives the trainer's numbers: else its times say nothing."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from benchmarks.native.arms import batch_of, estimator, started  # noqa: E402
from benchmarks.native.two_sides import in_channels_last, losses_at_once, rules_for_all  # noqa: E402
from runner.native.directions import Directions  # noqa: E402
from runner.native.model import backbone_part  # noqa: E402
from runner.native.objective import Objective  # noqa: E402
from runner.native.zeroth_order import FullBatch, Spsa  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("micro", [None, 2])
@pytest.mark.parametrize("rules", [False, True])
def test_both_sides_at_once_are_the_sides_one_after_the_other(micro: int | None, rules: bool) -> None:
    _, model = started("fusion", "tinylight", 4, CPU, micro)
    with torch.no_grad():
        for part in backbone_part(model).values():
            part.add_(torch.randn(part.shape, generator=torch.Generator().manual_seed(part.numel())) * 0.05)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    batch, options = batch_of(3, 256, CPU), estimator(micro)
    seen: list[float] = []
    loss = FullBatch(model, Objective(), options, batch)

    def remembered() -> float:
        seen.append(loss())
        return seen[-1]

    Spsa(backbone_part(model), options, seed=5).estimate(remembered, 7)
    directions = Directions(backbone_part(model), 5, None)
    with rules_for_all(model) if rules else nullcontext():
        at_once = losses_at_once(model, Objective(), options, batch, directions, 7)
    assert at_once == pytest.approx(seen, rel=1e-6)
    assert abs(seen[0] - seen[1]) > 1e-5 * seen[0], "else equal sides would pass for right ones"
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert FullBatch(model, Objective(), options, batch)() == pytest.approx(sum(seen) / 2, rel=1e-3)


def test_channels_last_changes_the_layout_alone() -> None:
    _, model = started("fusion", "tinylight", 4, CPU)
    batch = batch_of(3, 256, CPU)
    model.eval()
    plain = model(batch.signal).logits
    in_channels_last(model)
    assert torch.allclose(model(batch.signal).logits, plain, atol=1e-5)
