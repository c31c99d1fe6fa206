"""Every number of a report is made again; whatever was changed by hand is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_run import write_judged_run

from runner.cli import main
from runner.reporting.record import read_run
from runner.spec.problems import UsageError
from runner.stages.report import write_report
from runner.unequal import Unequal
from runner.verify import verify


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose report is written; tests change copies of it."""
    made = write_judged_run(tmp_path_factory.mktemp("verify") / "run")
    write_report(made)
    return made


@pytest.fixture
def run(reported: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, under the same name, which stands on its page."""
    return Path(shutil.copytree(reported, tmp_path / "run"))


def test_an_untouched_report_is_equal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify(run)
    assert found.equal, found.parts
    assert [part.file for part in found.parts] == [
        "eval/baseline.json", "eval/tuned.json", "report/results.json", "report/README.md", "report/report.html",
    ]  # fmt: skip
    assert found.parts[0].numbers == 21  # five metrics with their ends, and six counts
    with pytest.raises(SystemExit, match="0"):
        main(["verify", str(run)])
    assert "all equal" in capsys.readouterr().out


def json_file(path: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        value = json.loads((run / path).read_text())
        change(value)
        (run / path).write_text(json.dumps(value))

    return edit


def text_file(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        text = (run / path).read_text()
        assert old in text
        (run / path).write_text(text.replace(old, new, 1))

    return edit


def flatter(value: Any) -> None:
    value["results"][0]["metrics"]["loss"]["value"] -= 1e-6


def leave_out(value: Any) -> None:
    del value["results"][0]["metrics"]["entropy"]


def round_it(value: Any) -> None:
    row = next(row for row in value["table"] if row["metric"] == "perplexity")
    row["interval"][0] += 0.001


def claim(value: Any) -> None:
    value["table"][0]["comparable"] = "yes"


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (json_file("eval/tuned.json", flatter), "eval/tuned.json: perplexity (test): metrics: loss: value"),
        (
            json_file("eval/baseline.json", leave_out),
            "eval/baseline.json: perplexity (test): metrics: entropy",
        ),
        (json_file("report/results.json", round_it), "report/results.json: table"),
        (json_file("report/results.json", claim), "report/results.json: table[0]: comparable"),
        (text_file("eval/tuned/1_perplexity.jsonl", '"correct": ', '"correct": 1'), "token_accuracy"),
        (text_file("report/report.html", "judged", "better"), "report/report.html:"),
        (lambda run: (run / "report/report.html").unlink(), "report/report.html"),
        (lambda run: (run / "eval/tuned/1_perplexity.jsonl").unlink(), "eval/tuned.json: perplexity (test)"),
    ],
    ids=["metric", "left-out", "interval", "word", "prediction", "page", "no-page", "no-predictions"],
)
def test_what_was_changed_is_found(
    edit: Callable[[Path], None], place: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(run)
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(run)])
    shown = capsys.readouterr().out
    assert "not equal" in shown
    assert place in shown


def test_a_run_that_was_copied_to_another_folder_is_equal(reported: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(reported, tmp_path / "archive" / "of a friend"))
    found = verify(copied)
    assert found.equal, found.parts


def test_a_copied_run_whose_events_are_gone_is_equal_too(tmp_path: Path) -> None:
    run = write_judged_run(tmp_path / "run")
    (run / "events.jsonl").unlink()
    write_report(run)
    assert verify(Path(shutil.copytree(run, tmp_path / "other"))).equal
    assert read_run(run).run == "made of 2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (lambda run: (run / "eval/tuned/1_perplexity.jsonl").unlink(), "No such file or directory"),
        (text_file("eval/tuned/1_perplexity.jsonl", '{"id"', '{"id'), "1_perplexity.jsonl:1 is damaged"),
        (text_file("eval/tuned/1_perplexity.jsonl", '"nll"', '"nil"'), "cannot be judged: no value 'nll'"),
    ],
    ids=["gone", "damaged", "lacks"],
)
def test_predictions_that_cannot_be_judged_are_the_one_difference(
    edit: Callable[[Path], None], cause: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the table and the page say of them cannot be made, and is not held against those."""
    edit(run)
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(run)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "equal",
        "not",
        "eval/tuned.json:",
        "unproven",
        "unproven",
        "unproven",
        "1",
        "not",
        "not",
        "not",
    ]
    assert cause in lines[2]
    assert "rests on eval/tuned.json, which comes first" in lines[3]
    assert lines[6] == "1 place is not what the run left, or its predictions give"
    assert lines[7].startswith("not looked at: 1 file (they change")
    assert "no hash of them was written down" in lines[8]


def test_pictures_of_which_no_hash_is_known_are_not_looked_at(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_file("report/report.html", "<svg", "<svg><text>0.99</text></svg><svg")(run)
    with pytest.raises(SystemExit, match="0"):
        main(["verify", str(run)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("not looked at: 1 file (its pictures: no hash of it was written down")
    assert last.endswith("report/report.html")


def test_a_changed_result_is_not_found_a_second_time_in_what_was_made_of_it(run: Path) -> None:
    """The table was made before the change, or after it: either follows from one of the two."""
    json_file("eval/tuned.json", flatter)(run)
    before = verify(run)
    write_report(run)
    for found in (before, verify(run)):
        by_file = {part.file: part for part in found.parts}
        assert [item.place.split(": ")[-2:] for item in by_file["eval/tuned.json"].unequal] == [
            ["loss", "value"]
        ]
        assert by_file["report/results.json"].unequal == ()
        assert by_file["report/results.json"].rests_on == ("eval/tuned.json",)
        assert not found.equal


def test_what_was_changed_as_well_is_found_beside_a_cause(run: Path) -> None:
    json_file("eval/tuned.json", flatter)(run)
    json_file("report/results.json", claim)(run)
    (part,) = [part for part in verify(run).parts if part.file == "report/results.json"]
    assert [item.place for item in part.unequal] == ["report/results.json: table[0]: comparable"]


def test_a_value_and_its_interval_are_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def move(value: Any) -> None:
        loss = value["results"][0]["metrics"]["loss"]
        loss.update({name: end + 1 for name, end in loss.items()})

    json_file("eval/tuned.json", move)(run)
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(run)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "metrics: loss" in line]
    assert line.startswith("  eval/tuned.json: perplexity (test): metrics: loss: value: written ")
    assert line.endswith(", and its low and high")


def test_a_long_value_is_one_short_line() -> None:
    line = str(Unequal("place", ["a long sentence\n"] * 50, None))
    assert len(line) < 150
    assert "\n" not in line


def test_records_that_are_not_those_judged_are_found(tmp_path: Path) -> None:
    run = write_judged_run(tmp_path / "run", records="0" * 64)
    (run / "data" / "test.jsonl").write_text("{}\n")
    write_report(run)
    (part,) = [part for part in verify(run).parts if part.file == "eval/tuned.json"]
    assert "SHA-256 of data/test.jsonl" in str(part.unequal[0])


def test_a_run_without_a_report_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runner report"):
        verify(write_judged_run(tmp_path / "run"))


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_damaged_line_of_the_training_is_named(
    command: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (run / "train/metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    with pytest.raises(SystemExit, match="3"):
        main([command, str(run)])
    assert "train/metrics.jsonl:" in (said := capsys.readouterr().err)
    assert "is damaged" in said
