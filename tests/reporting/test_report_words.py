"""What the page and the card say about results: chance, narrow intervals, rehearsals, names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_run import write_run

from eval.report.card import render_card
from eval.report.cells import TOO_FEW
from eval.report.page import render
from eval.report.view import Cell, Notice, Page, Table
from runner.reporting.card import card_of
from runner.reporting.compare import compare_page
from runner.reporting.page import page_of
from runner.reporting.record import RunRecord, read_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a finished run directory, written by hand."""
    return write_run(tmp_path / "run")


def with_tuned(run: Path, **change: Any) -> RunRecord:
    """Return the run with its tuned classification changed."""
    record = read_run(run)
    first, *others = record.tuned
    return dataclasses.replace(record, tuned=[{**first, **change}, *others])


def rehearsed(record: RunRecord) -> RunRecord:
    return dataclasses.replace(record, settings={**record.settings, "rehearsal": True})


def tables(page: Page) -> list[Table]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, Table)]


def row_of(table: Table, title: str) -> dict[str, Cell]:
    row = next(row for row in table.rows if row[0].text == title)
    return dict(zip((column.name for column in table.columns), row, strict=True))


# ------------------------------------------------------------------------------------------ chance


CHANCE = {"metric": "generated_accuracy", "text": "generated_accuracy: 51% where guessing gives 50%."}


def test_a_result_that_guessing_would_reach_is_said_first_under_its_shown_title(run: Path) -> None:
    record = with_tuned(run, chance=[{**CHANCE, "within": True}], headline=["generated_accuracy"])
    notices = page_of(record).notices
    assert [(notice.title, notice.text) for notice in notices] == [
        (
            "Not told apart from chance.",
            "Accuracy, written answers (Classification): 51% where guessing gives 50%.",
        )
    ]
    (notice,) = page_of(
        with_tuned(run, chance=[{"metric": "auc", "within": True, "text": "its interval holds 0.5"}])
    ).notices
    assert notice.text == "AUC (Classification): its interval holds 0.5."


def test_subjects_of_many_that_guessing_would_reach_are_counted(run: Path) -> None:
    chance = [
        {"metric": name, "within": True, "text": "guessed"} for name in ("acc", "mmlu_a.acc", "mmlu_b.acc")
    ]
    value = {"value": 0.25, "low": 0.2, "high": 0.3}
    metrics = {item["metric"]: value for item in chance}
    record = with_tuned(run, name="mmlu_medical", chance=chance, metrics=metrics, headline=["acc"])
    assert page_of(record).notices[0].text == "Accuracy (MMLU medical): guessed; 2 more of MMLU medical."


@pytest.mark.parametrize(
    "change",
    [
        {"chance": [{**CHANCE, "within": False}]},
        {"notes": ["acc is different from chance: 90.0%, guessing gives 25.0%."]},
        {"notes": ["accuracy: not different from what was expected"], "chance": []},
        {},
    ],
    ids=["told apart", "a note", "another note", "nothing"],
)
def test_a_result_that_is_told_apart_is_not_called_chance(run: Path, change: dict[str, Any]) -> None:
    assert page_of(with_tuned(run, **change)).notices == ()


# ------------------------------------------------------------------------- intervals too narrow


@pytest.mark.parametrize(
    ("narrow", "said"),
    [
        ("too narrow, for there are only 7 groups", "Too narrow, for there are only 7 groups."),
        (True, "Too few groups"),
    ],
)
def test_too_few_groups_earn_no_verdict_in_any_table(run: Path, narrow: str | bool, said: str) -> None:
    page = page_of(with_tuned(run, narrow=narrow))
    top, task = (next(t for t in tables(page) if t.caption.startswith(c)) for c in ("Difference", "Metrics"))
    for table in (top, task):
        cell = row_of(table, "Accuracy")["Difference"]
        assert cell.note.endswith(f", {TOO_FEW}")
        assert cell.tone == ""
    section = next(section for section in page.sections if section.id == "task-1")
    assert isinstance(section.blocks[0], Notice), "beside the table, before any of its numbers"
    assert section.blocks[0].text.startswith(said)
    assert section.blocks[0].text in render(page)
    assert said in page.notices[0].text


def test_enough_groups_earn_a_verdict(run: Path) -> None:
    page = page_of(with_tuned(run, narrow=None))
    cell = row_of(tables(page)[0], "Accuracy")["Difference"]
    assert cell.note.endswith(", better")
    assert cell.tone == "good"
    assert not any(isinstance(block, Notice) for section in page.sections for block in section.blocks)


def test_runs_side_by_side_earn_no_verdict_either(run: Path) -> None:
    key = ("accuracy", "test", "classification")
    change = [{key: {"value": 0.1, "low": 0.05, "high": 0.15}}]
    narrow = with_tuned(run, narrow="too narrow, for there are only 7 groups")
    notes = [
        tables(compare_page([read_run(run), other], change))[0].rows[0][-1].note
        for other in (read_run(run), narrow)
    ]
    assert notes[0].endswith("better")
    assert notes[1].endswith(TOO_FEW)


# ---------------------------------------------------------------------------------------- rehearsals


def test_a_rehearsal_brings_no_good_news(run: Path) -> None:
    page = page_of(rehearsed(read_run(run)))
    found = [
        cell.tone
        for table in tables(page)
        if any(column.name == "Difference" for column in table.columns)
        for row in table.rows
        for cell in row
    ]
    assert found
    assert not {"good", "bad"} & set(found)
    real = tables(page_of(read_run(run)))
    assert any(cell.tone == "good" for table in real[:1] for row in table.rows for cell in row)
    assert dict(page.facts)["Base model"] == "none: random weights in the place of some/model"


def test_a_rehearsal_side_by_side_brings_none(run: Path) -> None:
    change = [{("accuracy", "test", "classification"): {"value": 0.1, "low": 0.05, "high": 0.15}}]
    page = compare_page([read_run(run), rehearsed(read_run(run))], change)
    assert tables(page)[0].rows[0][-1].tone == ""


def test_the_card_of_a_rehearsal_claims_no_base_model(run: Path) -> None:
    _, front, body = render_card(card_of(rehearsed(read_run(run)))).split("---\n", 2)
    found = yaml.safe_load(front)
    assert not [key for key in found if key.startswith("base_model")]
    assert "rehearsal" in found["tags"]
    assert "**A rehearsal, with random weights.** It was not made from some/model" in body
    assert "repetition of the result" not in body


# --------------------------------------------------------------------------------------------- names


def test_likelihoods_and_written_answers_are_named_apart_everywhere(run: Path) -> None:
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    metrics = {"accuracy": value, "generated_accuracy": value, "auc": value}
    notes = ["generated_accuracy: worse than majority", "auc: low", "no loss of accuracy"]
    record = with_tuned(run, metrics=metrics, headline=list(metrics), notes=notes)
    page = page_of(record)
    names = ["Accuracy, by likelihood", "Accuracy, written answers", "AUC"]
    for table in tables(page):
        if table.caption.startswith(("Difference", "Metrics of this task. The first")):
            assert [row[0].text for row in table.rows if row[0].text.startswith(("Acc", "AUC"))] == names
    shown = [row[0].text for row in tables(compare_page([record, record]))[0].rows]
    assert set(names) <= set(shown)
    for text in (render(page), render_card(card_of(record))):
        assert "Accuracy, written answers: worse than majority" in text
        assert "generated_accuracy" not in text.partition("## Data")[0] or text.startswith("<!doctype")
    assert "no loss of accuracy" in render(page)


def test_the_best_floor_says_where_it_was_found_best(run: Path) -> None:
    (column,) = [c for c in tables(page_of(read_run(run)))[0].columns if c.name == "Best floor"]
    assert column.note == "best on the test records"


def test_the_steps_are_said_so_that_they_are_understood(run: Path) -> None:
    assert dict(page_of(read_run(run)).facts)["Training"] == "60 steps, 8 records each"
    plan = json.loads((run / "plan.json").read_text())
    plan["numbers"]["effective"] = 1
    (run / "plan.json").write_text(json.dumps(plan))
    assert dict(page_of(read_run(run)).facts)["Training"] == "60 steps, 1 record each"
