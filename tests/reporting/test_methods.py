"""The table of methods: scores beside memory, time and trained weights, of one run and of several."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from method_record import METHOD, PROOF, record, result, step, value

from eval.report.view import Table
from runner.methods import Cost, cost_of, median_step_s, method_row
from runner.reporting.compare import compare_page
from runner.reporting.method_part import method_section, method_table, method_text, teacher_table


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_median_step_by_hand() -> None:
    """8 records at 4, 8 and 2 a second are 2, 1 and 4 s; one event of two steps counts twice with its mean."""
    assert median_step_s([step(1, 8, 4.0), step(2, 16, 8.0), step(3, 24, 2.0)]) == 2.0
    assert median_step_s([step(1, 8, 4.0), step(3, 24, 16.0)]) == 0.5
    assert median_step_s([]) is None
    assert median_step_s([{**step(1, 8, 4.0), "records_per_s": None}]) is None


def test_memory_is_the_peak_of_all_processes_of_a_run() -> None:
    """The proof holds those of the last process; one before it was higher, at 3 GiB."""
    cost = cost_of([step(1, 8, 4.0, training=3072.0, whole=1024.0)], PROOF)
    assert (cost.memory_training_gib, cost.memory_run_gib) == (3.0, 1.5)
    assert (cost.reserved_training_gib, cost.reserved_run_gib) == (2.0, None)
    assert (cost.trainable, cost.total) == (80_594, 334_546)
    assert cost_of([], {}) == Cost()


def test_test_records_count_and_classes_that_are_present() -> None:
    both = [result(0.7, split="validation"), result(0.8, defined=12)]
    row = method_row("tuned", "lora", both, Cost())
    assert (row.split, row.classes, row.beta) == ("test", (12, 18), 2.0)
    assert row.scores["macro_auc"] == value(0.8)
    assert method_row("tuned", "lora", both[:1], Cost()).split == "validation"
    assert method_row("tuned", "lora", [], Cost()).scores == {}


def test_a_run_stands_beside_the_model_as_it_started() -> None:
    (section,) = (method_section(record()),)
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == [
        "Method", "AUC", "MAP", "F2", "Memory, training", "Memory, whole run", "Time per step", "Trained weights",
    ]  # fmt: skip
    assert cells(table) == [
        ["random weights", "0.500", "0.500", "0.600", "\u2013", "\u2013", "\u2013", "\u2013"],
        ["lora, rank 4", "0.900", "0.500", "0.600", "1.000", "1.500", "2.000", "80,594"],
    ]
    assert table.rows[1][1].note == "0.800\u00a0to\u00a01.000"
    assert table.rows[1][4].note == "2.000 reserved"
    assert table.caption == "Macro means over all 18 classes of the test records."
    json.dumps(record().results(), allow_nan=False)
    assert [row["who"] for row in record().results()["methods"]] == ["before training", "tuned"]


def test_runs_are_rows_of_one_table_on_the_page_and_in_the_terminal() -> None:
    runs = [record("one"), record("two", tuned=[result(0.7)])]
    page = compare_page(runs)
    (section,) = [section for section in page.sections if section.id == "methods"]
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [(row[0].text, row[0].note, row[1].text) for row in table.rows] == [
        ("lora, rank 4", "one", "0.900"), ("lora, rank 4", "two", "0.700"),
    ]  # fmt: skip
    rows, header = method_text([run.methods()[-1] for run in runs], ["one", "two"])
    assert header[:2] == ["Method", "AUC, 95 % interval"]
    assert rows[1][:2] == ["lora, rank 4 (two)", "0.700 (0.600 to 0.800)"]


def test_other_kinds_have_no_such_table() -> None:
    of_text = record(plan={**record().plan, "kind": "llm"})
    assert of_text.methods() == ()
    assert method_section(of_text) is None
    assert "methods" not in of_text.results()


def test_betas_that_differ_are_not_called_by_one_of_them() -> None:
    other = method_row("tuned", "x", [result(0.9, lock={"task": {"beta": 1.0}})], Cost())
    names = [column.name for column in method_table([record().methods()[-1], other]).columns]
    assert "F-beta" in names


def test_a_teacher_stands_beside_its_student() -> None:
    taught = {**record().plan["spec"], "distill": {"teacher": None}}
    told = [{"name": "teacher", "settings": {"method": {**METHOD, "rank": 16}}}, *record().plan["stages"]]
    plan = {**record().plan, "spec": taught, "stages": told}
    change = {"macro_auc": {"value": 0.05, "low": 0.02, "high": 0.08}}
    found = record(
        plan=plan,
        teacher=[result(0.85, student_minus=change)],
        teacher_proof={**PROOF, "trainable": 7, "started_from": {"tensors": 40, "new": []}},
    )
    assert [(row.who, row.method) for row in found.methods()] == [
        ("before training", "random weights"), ("teacher", "lora, rank 16"), ("tuned", "lora, rank 4, distilled"),
    ]  # fmt: skip
    assert found.methods()[1].cost.trainable == 7
    at_random = replace(found, teacher_proof={**PROOF, "started_from": None})
    assert at_random.methods()[1].method == "lora, rank 16, from random weights"
    rehearsed = replace(at_random, plan={**plan, "rehearsal": True})
    assert rehearsed.methods()[1].method == "lora, rank 16", "every model of a rehearsal is random"
    table = teacher_table(found)
    assert table is not None
    assert cells(table) == [["AUC, macro", "0.850", "0.500", "0.900", "+0.050"]]
    assert table.rows[0][-1].note == "+0.020\u00a0to\u00a0+0.080, better"
    lost = teacher_table(replace(found, teacher=[result(0.85, not_paired="records differ")]))
    assert lost is not None
    assert "Not paired: records differ." in lost.caption
    assert teacher_table(record()) is None


@pytest.mark.parametrize("told", [[], [step(1, 8, 4.0)]])
def test_a_run_that_ended_early_is_shown_as_far_as_it_came(told: list[dict[str, Any]]) -> None:
    section = method_section(record(tuned=(), proof={}, metrics=told))
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert cells(table)[1][1:4] == ["\u2013"] * 3
