"""Stored results become tables: what is said of each number is worked out here by hand."""

from __future__ import annotations

from typing import Any

import pytest

from eval.report.format import MINUS, UNBROKEN
from eval.report.judged import flat, task_sections
from eval.report.metrics import metric_name, verdict
from eval.report.top import top_table
from eval.report.view import Cell, Details, Examples, Pictures, Table, Text

ROW: dict[str, Any] = {
    "metric": "loss", "split": "test", "task": "perplexity", "unit": None, "published": 2.0423,
    "published_baseline": None, "floor": None, "baseline": 3.25, "baseline_interval": [3.0, 3.5],
    "tuned": 2.25, "interval": [2.0, 2.5], "difference": -1.0, "difference_interval": [-1.2, -0.8],
    "comparable": "partly", "note": "another split", "why_missing": None, "headline": True,
}  # fmt: skip


def cells(row: dict[str, Any]) -> dict[str, Cell]:
    table = top_table({"table": [row]})
    return {column.name: cell for column, cell in zip(table.columns, table.rows[0], strict=True)}


def plain(text: str) -> str:
    return text.replace(UNBROKEN, " ").replace(MINUS, "-")


def test_the_top_table_has_all_that_the_reader_needs_in_one_row() -> None:
    found = {name: (plain(cell.text), plain(cell.note)) for name, cell in cells(ROW).items()}
    assert found == {
        "Metric": ("Loss", "test, perplexity, nats per label token"),
        "Reference": ("2.0423", ""),
        "Baseline": ("3.25", "3.00 to 3.50"),
        "Tuned": ("2.25", "2.00 to 2.50"),
        "Difference": ("-1.00", "-1.20 to -0.80, better"),
        "Comparable?": ("partly", "another split"),
    }


def test_what_is_not_there_is_a_dash_and_says_why() -> None:
    lacking = dict.fromkeys(
        ("tuned", "interval", "baseline", "baseline_interval", "difference", "difference_interval")
    )
    found = cells({**ROW, **lacking, "why_missing": "not measured: no task in the spec gives it"})
    assert (found["Tuned"].text, found["Tuned"].note) == (
        "\u2013",
        "not measured: no task in the spec gives it",
    )
    assert found["Tuned"].sort is None
    assert (found["Difference"].text, found["Difference"].note) == ("\u2013", "")


def test_the_column_of_floors_is_there_only_with_a_floor() -> None:
    assert "Best floor" not in cells(ROW)
    floor = cells({**ROW, "floor": {"name": "one_rule", "value": 2.4}})["Best floor"]
    assert (floor.text, floor.note) == ("2.40", "one rule")


def test_a_row_that_is_no_headline_is_not_at_the_top() -> None:
    assert top_table({"table": [ROW, {**ROW, "headline": False}]}).rows == top_table({"table": [ROW]}).rows


@pytest.mark.parametrize(
    ("metric", "low", "high", "word"),
    [
        ("loss", -0.2, -0.1, "better"), ("loss", 0.1, 0.2, "worse"), ("accuracy", 0.1, 0.2, "better"),
        ("accuracy", -0.2, -0.1, "worse"), ("accuracy", -0.1, 0.2, "not different"),
        ("accuracy", 0.0, 0.2, "not different"), ("entropy", 0.1, 0.2, "higher"),
        ("unheard_of", -0.2, -0.1, "lower"), ("loss", None, 0.1, ""),
    ],
)  # fmt: skip
def test_a_difference_is_judged_by_its_interval_and_the_metric_s_direction(
    metric: str, low: float | None, high: float | None, word: str
) -> None:
    assert verdict(metric, low, high) == word


@pytest.mark.parametrize(
    ("name", "title", "unit", "better"),
    [
        ("f1_of_rbbb", "f1 of rbbb", "", None),
        ("generated_weighted_f1", "F1, weighted, written answers", "", "higher"),
        ("brier_scaled", "Brier score", "temperature fitted on validation records", "lower"),
        ("mmlu_virology.acc", "Accuracy, mmlu virology", "share of records", "higher"),
        ("exact_match,strict", "Exact match", "filter strict, share of records", "higher"),
        ("acc,none", "Accuracy", "share of records", "higher"),
    ],
)
def test_a_metric_says_what_it_is_of(name: str, title: str, unit: str, better: str | None) -> None:
    shown = metric_name(name)
    assert (shown.title, shown.unit, shown.better) == (title, unit, better)


def test_a_written_answer_is_set_against_the_same_floor() -> None:
    floors = {"majority": {"accuracy": {"value": 0.5, "low": None, "high": None}}}
    value = {"value": 0.25, "low": 0.2, "high": 0.3}
    (section,) = task_sections(
        [], [{**result(0.2), "metrics": {"generated_accuracy": value}, "floors": floors}]
    )
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == ["Accuracy, written answers", "0.5000", "0.250"]


def test_metrics_that_are_no_headlines_are_folded_away_where_they_are_many() -> None:
    value = {"value": 0.5, "low": None, "high": None}
    metrics = {f"m{n}": value for n in range(9)}
    (section,) = task_sections([], [{**result(0.2), "metrics": metrics, "headline": ["m3"]}])
    table, more = section.blocks[:2]
    assert isinstance(table, Table)
    assert isinstance(more, Details)
    assert [row[0].text for row in table.rows] == ["m3"]
    assert more.summary == "8 more metrics"


def test_notes_on_the_baseline_are_not_those_on_the_tuned_model() -> None:
    (section,) = task_sections([result(0.2, notes=["one"])], [result(0.3, notes=["two"])])
    text, folded = section.blocks[1:3]
    assert isinstance(text, Text)
    assert isinstance(folded, Details)
    assert text.lines == ("two",)
    assert folded.summary == "Notes on the baseline"


def test_tables_of_two_kinds_of_answers_are_both_drawn() -> None:
    confusion = {"columns": ["true", "no", "unparsed"], "rows": [["no", 3, 1]]}
    suppressed = {
        "columns": ["attribute", "value", "records", "metric", "value_", "low", "high"],
        "rows": [["sex", "x", 3, "fewer than 20 records", None, None, None]],
    }
    tables = {"confusion": confusion, "generated_confusion": confusion, "subgroups": suppressed}
    (section,) = task_sections([], [result(0.2, tables=tables)])
    pictures = next(block for block in section.blocks if isinstance(block, Pictures))
    assert [item.title for item in pictures.items] == [
        "Confusion, by likelihood",
        "Confusion, written answers",
    ]
    assert len({item.name for item in pictures.items}) == 2


def result(who: float, **more: Any) -> dict[str, Any]:
    return {
        "task": "classification", "name": "classification", "split": "test", "n_records": 4, "n_groups": 4,
        "metrics": {"accuracy": {"value": who, "low": who - 0.1, "high": who + 0.1}}, "method": "m", "notes": [],
        **more,
    }  # fmt: skip


def test_floors_baseline_and_tuned_stand_in_one_table() -> None:
    floors = {"majority": {"accuracy": {"value": 0.5, "low": None, "high": None}}}
    (section,) = task_sections([result(0.25)], [result(0.75, floors=floors)])
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == [
        "Metric",
        "Majority",
        "Baseline",
        "Tuned",
        "Difference",
    ]
    assert [cell.text for cell in table.rows[0]] == ["Accuracy", "0.5000", "0.250", "0.750", "+0.5000"]


def test_the_same_task_twice_stays_two_sections() -> None:
    sections = task_sections([result(0.2), result(0.3)], [result(0.4), result(0.5)])
    texts = [[c.text for c in s.blocks[0].rows[0]] for s in sections if isinstance(s.blocks[0], Table)]
    assert [row[1:3] for row in texts] == [["0.200", "0.400"], ["0.300", "0.500"]]
    assert len({section.id for section in sections}) == 2


def test_an_answer_stands_with_that_of_the_other_model_and_the_rest_is_folded_away() -> None:
    def examples(who: str) -> list[dict[str, str]]:
        return [{"id": f"r{n}", "prompt": "p", "answer": f"{who}{n}", "reference": ""} for n in range(5)]

    sides = [result(0.2, examples=examples("b"))], [result(0.3, examples=examples("t"))]
    (section,) = task_sections(*sides, examples="full")
    shown = next(block for block in section.blocks if isinstance(block, Examples))
    assert shown.items[0].answers == (("baseline", "b0"), ("tuned", "t0"))
    assert shown.items[0].reference == "(empty)"
    folded = next(block for block in section.blocks if isinstance(block, Details))
    assert folded.summary == "2 more examples"
    assert isinstance(folded.blocks[0], Examples)
    assert [item.id for item in folded.blocks[0].items] == ["r3", "r4"]


def test_an_unknown_table_is_shown_as_it_is() -> None:
    raw = {"columns": ["class", "threshold", "fitted"], "rows": [["AF", 0.25, True], ["I|AVB", None, False]]}
    (section,) = task_sections([], [result(0.2, tables={"thresholds": raw})])
    table = section.blocks[1]
    assert isinstance(table, Table)
    assert table.caption == "Thresholds, tuned"
    assert [column.number for column in table.columns] == [False, True, False]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["AF", "0.2500", "True"], ["I|AVB", "\u2013", "False"],
    ]  # fmt: skip


def test_an_empty_table_is_no_picture() -> None:
    empty = {
        name: {"columns": ["a"], "rows": []}
        for name in ("reliability", "confusion", "per_class", "subgroups")
    }
    (section,) = task_sections([], [result(0.2, tables=empty)])
    assert [block.kind for block in section.blocks] == ["table", "details"], (
        "the metrics, and how they were made"
    )


def test_nested_values_are_named_by_their_path() -> None:
    assert flat({"a": {"b": [], "c": None}, "d": True}) == [("a.b", None), ("a.c", None), ("d", True)]


def test_brier_score_and_calibration_error_are_never_folded_away() -> None:
    value = {"value": 0.2, "low": 0.1, "high": 0.3}
    names = ["accuracy", "brier", "calibration_error", "brier_scaled", *(f"m{n}" for n in range(9))]
    (section,) = task_sections(
        [], [{**result(0.2), "metrics": dict.fromkeys(names, value), "headline": ["accuracy"]}]
    )
    table, more = section.blocks[:2]
    assert isinstance(table, Table)
    assert [row[0].text for row in table.rows] == ["Accuracy", "Brier score", "Calibration error"]
    assert isinstance(more, Details)
    assert more.summary == "10 more metrics"


def test_a_caption_says_in_a_sentence_what_it_is_of() -> None:
    bins = {
        "columns": ["low", "high", "count", "mean_score", "share_positive"],
        "rows": [[0, 1, 4, 0.4, 0.5]],
    }
    confusion = {"columns": ["true", "no", "unparsed"], "rows": [["no", 3, 1]]}
    tables = {
        "reliability": bins, "reliability_scaled": bins, "confusion": confusion, "generated_confusion": confusion,
    }  # fmt: skip
    (section,) = task_sections([], [result(0.2, tables=tables)])
    pictures = next(block for block in section.blocks if isinstance(block, Pictures)).items
    starts = [item.caption.partition(".")[0] for item in pictures]
    assert starts[1] == (
        "The same scores after temperature scaling; the temperature was fitted on the validation records"
    )
    assert starts[2:] == ["Of the likeliest label, whatever the model would write", "Of the written answers"]
    (folded,) = [b for b in section.blocks if isinstance(b, Details) and "pictures" in b.summary]
    assert [block.caption for block in folded.blocks if isinstance(block, Table)] == [
        "Reliability, tuned", "Reliability, with a fitted temperature, tuned", "Confusion, by likelihood, tuned",
        "Confusion, written answers, tuned",
    ]  # fmt: skip


def test_sub_groups_that_are_too_small_are_said_in_a_line_that_is_not_folded_away() -> None:
    table = {
        "columns": ["attribute", "value", "records", "metric", "value_", "low", "high"],
        "rows": [
            ["sex", "female", 60, "accuracy", 0.5, 0.4, 0.6],
            ["sex", "male", 12, "fewer than 30 records", None, None, None],
            ["age_band", "80+", 3, "fewer than 30 records", None, None, None],
        ],
    }
    sides = [result(0.2, tables={"subgroups": table})]
    (section,) = task_sections(sides, sides)
    lines = [line for block in section.blocks if isinstance(block, Text) for line in block.lines]
    assert lines == [
        "Sub-groups too small to be judged, fewer than 30 records: sex male (12), age band 80+ (3)."
    ]


def test_sub_groups_with_intervals_that_are_too_narrow_are_said() -> None:
    table = {
        "columns": ["attribute", "value", "records", "metric", "value_", "low", "high", "warning"],
        "rows": [
            ["sex", "female", 60, "accuracy", 0.5, 0.4, 0.6, None],
            ["sex", "male", 40, "accuracy", 0.5, 0.4, 0.6, "too narrow, for there are only 8 groups"],
            ["sex", "male", 40, "auc", 0.5, 0.4, 0.6, "too narrow, for there are only 8 groups"],
        ],
    }
    sides = [result(0.2, tables={"subgroups": table})]
    (section,) = task_sections(sides, sides)
    lines = [line for block in section.blocks if isinstance(block, Text) for line in block.lines]
    assert lines == ["Too few groups, or too few of a class, to trust these intervals: sex male (40)."]
