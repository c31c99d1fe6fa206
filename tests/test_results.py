"""What the training tells of itself goes into the results as it was measured on the final weights."""

from __future__ import annotations

from typing import Any

import pytest

from runner.results import results_of

EVALUATIONS: list[dict[str, Any]] = [
    {"event": "evaluation", "step": step, "loss": loss} for step, loss in ((0, 9.0), (12, 3.0), (24, 4.0))
]


@pytest.mark.parametrize(("best_step", "loss"), [(None, 4.0), (12, 3.0), (24, 4.0)])
def test_the_validation_loss_is_that_of_the_final_weights(best_step: int | None, loss: float) -> None:
    """The last evaluation is not of the final weights where these are an earlier checkpoint."""
    results = results_of(
        None, baseline=(), tuned=(), metrics=EVALUATIONS, rehearsal=False, best_step=best_step
    )
    assert [(row["metric"], row["tuned"]) for row in results["table"]] == [("loss", loss)]
