"""A run directory becomes its report: from files alone, whatever of them is there."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_run import BITING, write_run

from eval.report.card import render_card
from eval.report.format import MINUS
from eval.report.page import render
from eval.report.view import Page, Table
from runner.reporting.card import card_of, front_matter
from runner.reporting.compare import compare_page
from runner.reporting.data_part import split_checks
from runner.reporting.page import page_of
from runner.reporting.record import RunRecord, paired, read_run
from runner.reporting.run_part import plan_against_actual
from runner.spec.problems import MachineError
from runner.stages.report import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a finished run directory, written by hand."""
    return write_run(tmp_path / "run")


def cells(table: Table) -> dict[str, dict[str, str]]:
    """Return row title -> column -> text."""
    return {
        row[0].text: {column.name: cell.text for column, cell in zip(table.columns, row, strict=True)}
        for row in table.rows
    }


def top(page: Page) -> Table:
    table = page.sections[0].blocks[0]
    assert isinstance(table, Table)
    return table


def changed(run: Path, name: str, change: dict[str, Any]) -> RunRecord:
    path = run / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return read_run(run)


def test_every_file_of_the_report_is_written_and_nothing_else_is_touched(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / "report" / "plots").mkdir(parents=True)
    (run / "report" / "plots" / "of_an_earlier_report.png").write_bytes(b"old")
    written = write_report(run)
    after = {path.relative_to(run) for path in run.rglob("*") if path.is_file()}
    assert after - {path.relative_to(run) for path in before} == {
        written.page, written.card, written.results, *written.plots,
    }  # fmt: skip
    assert all(path.read_bytes() == content for path, content in before.items())
    assert {path.stem for path in written.plots} == {
        "dashboard", "loss", "token_accuracy", "learning_rate", "gradient_norm", "entropy",
        "task-1-reliability", "task-1-confusion", "task-1-per_class-f1", "task-1-subgroups-accuracy",
    }  # fmt: skip


def test_the_report_drawn_twice_is_the_same_to_the_byte(run: Path) -> None:
    written = write_report(run)
    files = [written.page, written.card, written.results, *written.plots]
    first = {path: (run / path).read_bytes() for path in files}
    write_report(run)
    assert {path: (run / path).read_bytes() for path in files} == first


def test_the_page_has_the_parts_that_a_reviewer_asks_for(run: Path) -> None:
    page = page_of(read_run(run))
    assert [section.title for section in page.sections] == [
        "Results", "Training curves", "Classification on the test records", "Perplexity on the test records",
        "Data", "Plan against actual", "Environment",
    ]  # fmt: skip
    assert cells(top(page))["Accuracy"] == {
        "Metric": "Accuracy", "Reference": "0.6643", "Best floor": "0.729", "Baseline": "0.500",
        "Tuned": "0.900", "Difference": "+0.400", "Comparable?": "partly",
    }  # fmt: skip
    assert cells(top(page))["AUC"]["Tuned"] == "\u2013"
    html = render(page)
    for text in ("diastolic above systolic", "row/9", "0123456789ab, unchanged", "zzz-last 1.0"):
        assert text in html


def test_text_of_the_records_never_becomes_part_of_the_page(run: Path) -> None:
    html = render(page_of(read_run(run)))
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "<script" not in render_card(card_of(read_run(run)))


HOSTILE = (
    "# 1. [x](javascript:alert(1)) ![i](https://example.org/p.png) <img src=x onerror=alert(1)> **b** ~~s~~ `c` $x$ "
    "a|b\n\n## Results\n\n| a |\n|---|\n---\n\x1b[31m \u202egnp.exe\r\n- item\n~~~\n</details>"
)
"""What a title, a name or a label may hold: Markdown, HTML, LaTeX, a terminal's colours, text turned around."""


def test_nothing_that_was_given_is_markup_in_the_card(run: Path) -> None:
    """Title, summary, notes, reference, class names, package names, and names of modules of a model folder."""
    markdown_it = pytest.importorskip("markdown_it")
    plan = json.loads((run / "plan.json").read_text())
    settings = plan["stages"][-1]["settings"]
    settings |= {"title": HOSTILE, "summary": HOSTILE, "notes": HOSTILE}
    settings["reference"] |= {"source": HOSTILE, "notes": [HOSTILE]}
    settings["reference"]["metrics"].append({**settings["reference"]["metrics"][0], "metric": HOSTILE})
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    told = [
        {**event, "names": [HOSTILE], "matched": {HOSTILE: 1}} if event["event"] == "modules" else event
        for event in events
    ]
    tuned = json.loads((run / "eval/tuned.json").read_text())
    tuned["results"][0]["notes"] = [HOSTILE]
    manifest = json.loads((run / "data/manifest.json").read_text())
    manifest["dropped"][HOSTILE] = {"count": 1, "ids": [HOSTILE]}
    manifest["sources"][0]["name"] = HOSTILE
    plain = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(body_of(run))
    for name, value in (
        ("plan.json", plan),
        ("eval/tuned.json", tuned),
        ("data/manifest.json", manifest),
        (
            "environment.json",
            {"runner": HOSTILE, "python": HOSTILE, "packages": {"torch": HOSTILE}, "git": {}},
        ),
    ):
        (run / name).write_text(json.dumps(value))
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    body = body_of(run)
    assert "\x1b" not in body
    assert "\u202e" not in body
    parsed = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    assert kinds(parsed) <= kinds(plain), (
        "no heading, list, link, picture, HTML or code that was not there before"
    )
    headings = [parsed[n + 1].content for n, token in enumerate(parsed) if token.type == "heading_open"]
    assert len(headings) == sum(token.type == "heading_open" for token in plain)
    assert parsed[1].children is not None
    assert "".join(child.content for child in parsed[1].children) == " ".join(
        HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd").split()
    )


def body_of(run: Path) -> str:
    return render_card(card_of(read_run(run))).split("---\n", 2)[2]


def kinds(tokens: list[Any]) -> set[tuple[str, str]]:
    """Return the kinds of parts of a document, with the element that each becomes."""
    inner = [child for token in tokens for child in token.children or ()]
    return {(token.type, token.tag) for token in (*tokens, *inner)} - {("text_special", "")}


def with_examples(run: Path, word: str | None) -> str:
    """Draw the page with `report.examples`; None is a plan of before it was asked."""
    plan = json.loads((run / "plan.json").read_text())
    plan["stages"][-1]["settings"]["examples"] = word
    if word is None:
        del plan["stages"][-1]["settings"]["examples"]
    (run / "plan.json").write_text(json.dumps(plan))
    return render(page_of(read_run(run)))


@pytest.mark.parametrize("word", ["none", None])
def test_a_page_without_examples_holds_no_record(run: Path, word: str | None) -> None:
    html = with_examples(run, word)
    assert "No record is shown: report.examples is none" in html
    for text in ("Age 5", "row/", "\u27e6"):
        assert text not in html
    assert "diastolic above systolic" in html, "why records were dropped is no record"


def test_a_redacted_page_counts_words(run: Path) -> None:
    html = with_examples(run, "redacted")
    words = len(f"Age 50. {BITING}".split())
    assert f"[{words} words]" in html
    assert f"[{len(BITING.split())} words]\u27e6[1 word]\u27e7" in html
    assert "Words are counted and not shown: report.examples is redacted" in html
    for text in ("Age 5", "row/", "\u27e6answer"):
        assert text not in html


@pytest.mark.parametrize("word", ["none", "redacted", "full"])
def test_the_card_and_the_numbers_hold_no_record_whatever_the_page_does(run: Path, word: str) -> None:
    assert ("Age 50" in with_examples(run, word)) == (word == "full")
    written = write_report(run)
    for file in (written.card, written.results):
        text = (run / file).read_text(encoding="utf-8")
        assert "Age 5" not in text
        assert "row/" not in text
        assert "\u27e6" not in text


def test_a_split_that_leaks_is_said_in_words(run: Path) -> None:
    manifest = read_run(run).manifest
    told = [(check.passed, check.text) for check in split_checks(manifest)]
    assert told == [
        (True, "No group stands on two sides; split by patient, seed 42."),
        (True, "No question stands on two sides."),
        (False, "2 records have an equal one on another side; messages were compared byte for byte."),
    ]
    assert "**FAILED**: 2 records have an equal one" in render_card(card_of(read_run(run)))


def test_groups_that_a_split_by_record_tears_apart_are_no_proof(run: Path) -> None:
    split = {**read_run(run).manifest["split"], "by": "record", "crossing_groups": 14}
    first = split_checks(changed(run, "data/manifest.json", {"split": split}).manifest)[0]
    assert (first.passed, first.text) == (False, "14 groups stand on two sides; split by record, seed 42.")


def told_of(split: dict[str, Any], **more: Any) -> list[tuple[bool | None, str]]:
    base = {
        "by": "group",
        "seed": 1,
        "crossing": 0,
        "crossing_duplicates": 0,
        "without_key": 0,
        "shared_questions": {},
    }
    manifest = {"records": {"kept": 9}, "split": base | split, **more}
    return [(check.passed, check.text) for check in split_checks(manifest)]


def test_a_proof_says_what_was_looked_at_and_nothing_else() -> None:
    """Images: every row may have the same question. Recordings: they have none. Rows by themselves: no group is known."""
    pairs = {"train, test": 0}
    assert told_of({"shared_questions": pairs, "images": 9})[1:] == [
        (True, "No question stands on two sides with an image of the same name."),
        (
            True,
            "No record has an equal one on another side; messages and names of images were compared byte for byte.",
        ),
    ]
    assert told_of({"by": "patient"}, identical=[]) == [
        (True, "No patient stands on two sides; split by patient, seed 1."),
        (
            True,
            "No recording has an equal one on another side, byte for byte; copies that were cut or changed are not "
            "looked for.",
        ),
    ]
    for by in ("record", "given"):
        assert told_of({"by": by, "own_groups": 0})[0] == (
            None,
            f"No record names a group (patient, document), so that none was looked at; split by {by}, seed 1.",
        )
        assert told_of({"by": by, "own_groups": 5})[0][0] is True
    questions = {"by": "question", "shared_questions": pairs, "own_groups": 5, "crossing_groups": 2}
    assert [text for _, text in told_of(questions)][:2] == [
        "No question stands on two sides; split by question, seed 1.",
        "2 groups stand on two sides.",
    ]
    assert told_of({"by": "focus", "crossing": 3})[0] == (
        False,
        "3 foci stand on two sides; split by focus, seed 1.",
    )


def test_a_split_by_patient_is_not_proven_where_no_patient_is_known(run: Path) -> None:
    split = {**read_run(run).manifest["split"], "without_key": 25}
    record = changed(run, "data/manifest.json", {"split": split})
    first = split_checks(record.manifest)[0]
    assert first.passed is None
    assert first.text == (
        "25 of 390 records have no patient and were divided without it: that none stands on two sides is not proven; "
        "split by patient, seed 42."
    )
    assert "proven: No group" not in render_card(card_of(record))
    split["crossing"] = 1
    checks = split_checks(changed(run, "data/manifest.json", {"split": split}).manifest)
    assert (checks[0].passed, checks[0].text) == (
        False,
        "1 group stands on two sides; split by patient, seed 42.",
    )
    assert (checks[-1].passed, checks[-1].text) == (
        None,
        "25 of 390 records have no patient and were divided without it.",
    )


def test_what_was_planned_and_did_not_happen_is_seen(run: Path) -> None:
    rows = cells(plan_against_actual(read_run(run)))
    assert rows["Optimiser steps"] == {
        "Quantity": "Optimiser steps",
        "Planned": "60",
        "Actual": "60",
        "Agrees": "yes",
    }
    assert rows["Effective batch"]["Actual"] == "8"
    rows = cells(plan_against_actual(changed(run, "train/proof.json", {"steps": 59, "rows_seen": 472})))
    assert (rows["Optimiser steps"]["Actual"], rows["Optimiser steps"]["Agrees"]) == ("59", "no")
    assert (rows["Rows seen"]["Actual"], rows["Rows seen"]["Agrees"]) == ("472", "no")


@pytest.mark.parametrize(
    ("steps", "rows", "processes", "first", "actual", "agrees"),
    [
        (24, 720, 1, 32, "32", "yes"),  # 2 epochs of 11 x 32 + 8
        (14, 424, 1, 32, "32", "yes"),  # stopped in the second epoch: 360 + 2 x 32
        (12, 360, 1, 30, "30", "no"),  # as many rows in as many steps, but no step of 32
        (24, 384, 1, 16, "16", "no"),
        (24, 719, 1, 32, "29.96 on average", "no"),
        (12, 360, 4, 32, "32", "yes"),  # 8 are left for the last step, two a process
        (12, 363, 7, 32, "30.25 on average", "no"),  # seven processes fill 360 up to 364
    ],
)
def test_a_shorter_last_batch_of_an_epoch_is_no_other_batch(
    run: Path, steps: int, rows: int, processes: int, first: int, actual: str, agrees: str
) -> None:
    """360 records at batch 32 are 12 steps, the last of 8: 30 rows a step on average, and yet batches of 32."""
    counts = {name: {**part, "records": 360} for name, part in read_run(run).manifest["splits"].items()}
    changed(run, "data/manifest.json", {"splits": counts})
    proof = {"steps": steps, "rows_seen": rows, "processes": processes}
    record = changed(run, "train/proof.json", proof)
    plan = {**record.plan, "kind": "ecg", "numbers": {**record.plan["numbers"], "effective": 32}}
    metrics = [{"event": "step", "step": 1, "rows_seen": first, "epoch": 0.1}]
    row = cells(plan_against_actual(dataclasses.replace(record, plan=plan, metrics=metrics)))[
        "Effective batch"
    ]
    assert (row["Actual"], row["Agrees"]) == (actual, agrees)


@pytest.mark.parametrize("name", ["data", "train", "eval", "events.jsonl", "environment.json", "resolved.yaml", "status.json"])  # fmt: skip
def test_a_run_that_lacks_a_part_still_has_a_report(run: Path, name: str) -> None:
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    written = write_report(run)
    assert (run / written.page).read_text().startswith("<!doctype html>")


def test_a_run_that_failed_says_so_first(run: Path) -> None:
    shutil.rmtree(run / "train")
    shutil.rmtree(run / "eval")
    page = page_of(changed(run, "status.json", {"state": "failed", "reason": "train: out of memory"}))
    assert [(notice.title, notice.text) for notice in page.notices] == [
        ("This run failed.", "train: out of memory What follows is what was there.")
    ]
    assert "The evaluation before and after training did not finish." in render(page)
    assert "No step of the training was logged." in render(page)


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "data" / "manifest.json").write_text("{")
    with pytest.raises(MachineError, match=r"manifest\.json is damaged"):
        write_report(run)


# ----------------------------------------------------------------------------------------- pairing


def perplexity(name: str, nll: float, folder: Path, **lock: Any) -> dict[str, Any]:
    """Write the predictions of two records in two groups, and return their result."""
    lines = [
        {"id": f"r{n}", "group": f"g{n}", "nll": nll * (n + 1), "label_tokens": 2, "answer_bytes": 4, "correct": 1,
         "entropy": 1.0, "cut": False}
        for n in range(2)
    ]  # fmt: skip
    path = folder / "eval" / name / "1_perplexity.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return {
        "task": "perplexity", "name": "perplexity", "split": "test", "notes": [],
        "predictions": str(path.relative_to(folder)), "lock": {"task": {"task": "perplexity"}, **lock},
    }  # fmt: skip


def test_differences_are_paired_from_the_stored_predictions(tmp_path: Path) -> None:
    """Loss (4 + 8) / 4 = 3 before and (2 + 4) / 4 = 1.5 after."""
    before, after = perplexity("baseline", 4.0, tmp_path), perplexity("tuned", 2.0, tmp_path)
    (found,) = paired(tmp_path, [before], [after])
    assert found["differences"]["loss"]["value"] == pytest.approx(-1.5)
    assert found["differences"]["loss"]["low"] <= -1.5 <= found["differences"]["loss"]["high"] < 0


def test_results_with_unequal_locks_are_not_paired_and_say_which_part(tmp_path: Path) -> None:
    before = perplexity("baseline", 4.0, tmp_path, context=64)
    (found,) = paired(tmp_path, [before], [perplexity("tuned", 2.0, tmp_path, context=128)])
    assert "differences" not in found
    assert found["notes"] == [
        "Tuned and baseline are not paired: the evaluation locks differ: context: 64 and 128."
    ]


def test_predictions_that_are_gone_are_named(tmp_path: Path) -> None:
    before, after = perplexity("baseline", 4.0, tmp_path), perplexity("tuned", 2.0, tmp_path)
    (tmp_path / before["predictions"]).unlink()
    (found,) = paired(tmp_path, [before], [after])
    assert "baseline/1_perplexity.jsonl" in found["notes"][0]


# -------------------------------------------------------------------------------------------- card


def test_the_front_matter_is_what_a_hub_reads(run: Path) -> None:
    card = render_card(card_of(read_run(run)))
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "some/model", "base_model_relation": "adapter", "library_name": "peft",
        "pipeline_tag": "text-generation", "license": "unknown",
        "tags": ["medical", "method:lora", "data:cardio", "not-for-clinical-use"],
        "metrics": ["accuracy", "perplexity"],
    }  # fmt: skip
    assert "**Not for clinical use.**" in body
    assert "| Accuracy (test, classification, share of records) | 0.6643 (before tuning 0.2741) |" in body
    assert "Published but not measured here: ROUGE-1." in body


@pytest.mark.parametrize("base", ["tiny-random", "./models/x", "/srv/models/x", "${env:MODEL}"])
def test_a_base_model_that_is_on_no_hub_is_not_named_as_if_it_were(run: Path, base: str) -> None:
    record = read_run(run)
    spec = {**record.spec, "model": {**record.spec["model"], "base": base}, "method": {"name": "full"}}
    found = front_matter(dataclasses.replace(record, plan={**record.plan, "spec": spec}), record.results())
    assert "base_model" not in found
    assert found["library_name"] == "transformers"


def test_no_template_promises_clinical_quality() -> None:
    folder = Path(__file__).parents[2] / "eval" / "report" / "templates"
    texts = [path.read_text().lower() for path in folder.iterdir()]
    assert len(texts) > 3
    assert not [text for text in texts if "clinical-grade" in text or "clinically" in text]


# ----------------------------------------------------------------------------------------- compare


def test_runs_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", title="second")
    key = ("accuracy", "test", "classification")
    page = compare_page(
        [read_run(run), read_run(other)],
        [{key: {"value": 0.0, "low": -0.02, "high": 0.03}}],
        ["a lock"],
    )
    table = top(page)
    assert [column.name for column in table.columns] == [
        "Metric", "Reference", "hand-made run", "second", f"second {MINUS} first",
    ]  # fmt: skip
    row = table.rows[0]
    assert [cell.text for cell in row] == ["Accuracy", "0.6643", "0.900", "0.900", "0.000"]
    assert row[-1].note.endswith("not different")
    assert next(r for r in table.rows if r[0].text == "Perplexity")[-1].note == "not paired"
    assert page.notices[0].text == "a lock"
    assert len(page.pictures()) == 4
    assert render(page)


def test_runs_of_one_title_are_told_apart_and_what_differs_is_named(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "20260102T030405Z-89abcdef")
    plan = json.loads((other / "plan.json").read_text())
    plan["spec"]["method"]["rank"] = 64
    (other / "plan.json").write_text(json.dumps(plan))
    page = compare_page([read_run(run), read_run(other)])
    (table,) = next(section for section in page.sections if section.id == "specs").blocks
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == ["Key", "hand-made run run", "hand-made run 89abcdef"]
    assert [[cell.text for cell in row] for row in table.rows] == [["method.rank", "16", "64"]]
