"""The results table: what was published, with its unit and the number before tuning, beside the measured."""

from __future__ import annotations

import re
from typing import Any

import pytest

from runner.results import results_of
from runner.show import learned_from, results_text

LOSS: dict[str, Any] = {
    "metric": "loss",
    "value": 2.0423,
    "baseline": None,
    "unit": "nats per token",
    "split": "test",
    "comparable": "partly",
    "note": None,
}
ROUGE: dict[str, Any] = {**LOSS, "metric": "rouge1", "value": 0.2235, "unit": None, "comparable": "no"}


def cells(line: str) -> list[str]:
    return re.split(" {2,}", line)


@pytest.fixture
def shown() -> Any:
    """Return a function from published numbers to the lines of the table; loss was measured twice."""

    def lines(*published: dict[str, Any]) -> list[str]:
        def measured(value: float, low: float, high: float) -> list[dict[str, Any]]:
            return [{"split": "test", "metrics": {"loss": {"value": value, "low": low, "high": high}}}]

        results = results_of(
            {"source": "a paper", "metrics": published},
            baseline=measured(3.5, 3.4, 3.6),
            tuned=measured(2.25, 2.0, 2.5),
            metrics=[],
            rehearsal=False,
            best_step=None,
        )
        return results_text(results).splitlines()

    return lines


def test_a_unit_stands_behind_the_metric(shown: Any) -> None:
    header, _, loss, rouge = [cells(line) for line in shown(LOSS, ROUGE)]
    assert header == [
        "metric", "published", "baseline", "tuned (95 % interval)", "tuned - baseline", "comparable",
    ]  # fmt: skip
    assert loss == [
        "loss (test), nats per token", "2.042", "3.5", "2.25 (2 to 2.5)", "-1.25", "partly",
    ]  # fmt: skip
    assert rouge == [
        "rouge1 (test), F-measure", "0.2235", "-", "not measured: no task in the spec gives it", "-", "no",
    ]  # fmt: skip


def test_the_number_published_before_tuning_has_a_column_where_there_is_one(shown: Any) -> None:
    header, _, loss, rouge = shown({**LOSS, "unit": None}, {**ROUGE, "baseline": 0.125})
    assert cells(header)[:4] == ["metric", "published before", "published", "baseline"]
    assert cells(loss)[:4] == ["loss (test), nats per label token", "-", "2.042", "3.5"]
    assert cells(rouge)[:4] == ["rouge1 (test), F-measure", "0.125", "0.2235", "-"]


def test_a_number_published_as_zero_before_tuning_is_shown(shown: Any) -> None:
    header, _, loss = shown({**LOSS, "baseline": 0.0})
    assert "published before" in header
    assert cells(loss)[1:4] == ["0", "2.042", "3.5"]


def test_where_nothing_was_published_no_column_is_empty_and_our_own_unit_is_shown(shown: Any) -> None:
    header, _, loss = [cells(line) for line in shown()]
    assert header == ["metric", "baseline", "tuned (95 % interval)", "tuned - baseline"]
    assert loss == ["loss (test), nats per label token", "3.5", "2.25 (2 to 2.5)", "-1.25"]


def test_a_narrow_terminal_shows_a_block_a_metric() -> None:
    results = results_of(
        {"source": "a paper", "metrics": [LOSS]}, baseline=[], metrics=[], rehearsal=False, best_step=None,
        tuned=[{"split": "test", "metrics": {"loss": {"value": 2.25, "low": 2.0, "high": 2.5}}}],
    )  # fmt: skip
    narrow = results_text(results, 58)
    assert narrow.splitlines() == [
        "loss (test), nats per token",
        "  published              2.042",
        "  baseline               -",
        "  tuned (95 % interval)  2.25 (2 to 2.5)",
        "  tuned - baseline       -",
        "  comparable             partly",
    ]
    assert results_text(results, 200) == results_text(results)


def test_floors_and_paired_intervals_are_shown_and_tasks_of_one_metric_are_told_apart() -> None:
    def result(name: str, value: float) -> dict[str, Any]:
        return {
            "name": name, "split": "test", "headline": ["acc"],
            "metrics": {"acc": {"value": value, "low": 0.25, "high": 0.75}, "other": {"value": 1.0}},
            "differences": {"acc": {"value": 0.25, "low": -0.125, "high": 0.5}},
            "floors": {"majority": {"acc": {"value": 0.375}}, "one_rule": {"acc": {"value": 0.25}}},
        }  # fmt: skip

    results = results_of(
        None,
        baseline=[result("anatomy", 0.25), result("virology", 0.5)],
        tuned=[result("anatomy", 0.5), result("virology", 0.75)],
        metrics=[],
        rehearsal=False,
        best_step=None,
    )
    header, _, anatomy, virology = [cells(line) for line in results_text(results).splitlines()]
    assert header[1:3] == ["best floor", "baseline"]
    assert anatomy == [
        "anatomy: acc (test), share of records", "0.375 (majority)", "0.25", "0.5 (0.25 to 0.75)", "+0.25 (-0.125 to +0.5)",
    ]  # fmt: skip
    assert virology[0] == "virology: acc (test), share of records"


def test_rows_with_images_are_said_to_be_a_part() -> None:
    """Of 100 rows with images 8 were made into tokens before the training; of text all are."""
    modules = {"event": "modules", "trainable": 1, "total": 2, "share": 0.5, "matched": {}, "names": []}
    dataset = {
        "event": "dataset", "split": "train", "rows": 100, "inspected": 8, "tokens": 50, "label_tokens": 10,
        "label_share": 0.2, "first": "Q ⟦A⟧",
    }  # fmt: skip
    assert "10 of 50 tokens (20.0%) carry loss in the 8 rows that were looked at." in learned_from(
        [modules, dataset]
    )
    whole = learned_from([modules, {**dataset, "inspected": 100}])
    assert whole.endswith("10 of 50 tokens (20.0%) carry loss."), (
        "and no record: a card and a log are passed on"
    )
