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


def judged(name: str, loss: float | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "split": "test",
        "metrics": {"loss": {"value": loss, "low": 1.0, "high": 2.0}},
        **more,
    }


def published(metric: str) -> dict[str, Any]:
    return {"source": "a paper", "metrics": [{
        "metric": metric, "split": "test", "value": 1.0, "baseline": None, "unit": None, "comparable": "yes",
        "note": None,
    }]}  # fmt: skip


def rows(reference: Any = None, **more: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {
        "baseline": (),
        "tuned": (),
        "metrics": (),
        "rehearsal": False,
        "best_step": None,
    }
    found: list[dict[str, Any]] = results_of(reference, **{**given, **more})["table"]
    return found


@pytest.mark.parametrize(("metric", "task"), [("loss", "one"), ("two.loss", "two")])
def test_a_published_number_stands_beside_the_task_it_names(metric: str, task: str) -> None:
    first, second = rows(published(metric), tuned=[judged("one", 1.25), judged("two", 1.5)])
    assert (first["task"], first["published"]) == (task, 1.0)
    assert (second["task"] != task, second["published"]) == (True, None)


def test_what_was_judged_comes_before_what_the_training_tells_of_a_published_metric() -> None:
    """Both give a loss; the training's is of the validation records."""
    found = rows(published("loss"), tuned=[judged("one", 1.25)], metrics=EVALUATIONS)
    assert [(row["task"], row["split"]) for row in found] == [("one", "test"), (None, "validation")]


def test_a_task_that_was_judged_before_training_alone_is_not_lost() -> None:
    (row,) = rows(baseline=[judged("one", 1.5)])
    assert (row["baseline"], row["tuned"], row["difference"]) == (1.5, None, None)
    assert row["why_missing"] == "not measured after training"


def test_a_metric_that_does_not_exist_says_so() -> None:
    (row,) = rows(tuned=[judged("one", None)])
    assert row["why_missing"] == "does not exist on these records"


@pytest.mark.parametrize(("metric", "name"), [("loss", "low"), ("accuracy", "high")])
def test_the_best_floor_is_the_hardest_to_beat(metric: str, name: str) -> None:
    floors = {
        "low": {metric: {"value": 0.25}},
        "high": {metric: {"value": 0.5}},
        "none": {metric: {"value": None}},
    }
    result = {"name": "one", "split": "test", "metrics": {metric: {"value": 0.3}}, "floors": floors}
    (row,) = rows(tuned=[result])
    assert row["floor"]["name"] == name


def test_the_difference_has_the_paired_interval() -> None:
    change = {"loss": {"value": -0.25, "low": -0.5, "high": -0.125}}
    (row,) = rows(baseline=[judged("one", 1.5)], tuned=[judged("one", 1.25, differences=change)])
    assert (row["difference"], row["difference_interval"]) == (-0.25, [-0.5, -0.125])
