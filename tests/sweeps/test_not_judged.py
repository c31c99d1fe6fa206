"""A task that could be judged in one arm alone: the sweep, the comparison and the report of that arm say why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judged_run import write_judged_run

from eval.judges import judge
from runner.cli import main
from runner.reporting.compare import compare_page
from runner.reporting.page import page_of
from runner.reporting.record import read_run
from runner.spec.tasks import MultilabelTask
from runner.sweeps.compared import Member, compare_arms

TASK = MultilabelTask(task="multilabel", label_set="superclasses").model_dump(mode="json")
WHY = "no record of the split test has labels of the set superclasses"
ANSWERS = [(["NORM"], "normal ECG"), (["MI"], "inferior infarction"), (["CD"], "LBBB"), ([], "none of these")]


def add_labels(run: Path, *, labelled: bool) -> None:
    """Judge the labels of a run too, before and after training: of four records, or of none that has labels."""
    lines = [
        {
            "id": f"r{number}", "group": f"p{number}", "split": "test", "labels": labels, "attributes": {},
            "prompt": "?", "reference": "", "prompt_cut": 0, "answer": answer, "n_tokens": 3, "ended": True,
        }
        for number, (labels, answer) in enumerate(ANSWERS)
    ]  # fmt: skip
    for name in ("baseline", "tuned"):
        kept = lines if labelled else []
        path = run / "eval" / name / "2_multilabel.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        place = run / "eval" / f"{name}.json"
        whole = json.loads(place.read_text(encoding="utf-8"))
        lock = {**whole["results"][0]["lock"], "task": TASK}
        result = {**judge("multilabel").judged(TASK, kept), "lock": lock}
        whole["results"].append({**result, "predictions": str(path.relative_to(run))})
        place.write_text(json.dumps(whole), encoding="utf-8")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Return a run whose records have labels, and one from which the source with labels was left out."""
    whole, without = (tmp_path / name for name in ("all_sources", "without_ptbxl"))
    for run in (whole, without):
        write_judged_run(run, title=run.name, groups=40)
        add_labels(run, labelled=run is whole)
    return whole, without


def test_an_arm_that_was_not_judged_is_named_with_the_reason(runs: tuple[Path, Path]) -> None:
    members = [Member(run.name, run.name, None, run) for run in runs]
    found = compare_arms(members, {"without_ptbxl": "all_sources"})
    told = [note for note in found.notes if "multilabel_superclasses" in note]
    assert told == [f"multilabel_superclasses (test): without_ptbxl was not judged: {WHY}"]
    assert {item.key[2] for item in found.changes} == {"perplexity"}


def test_the_pages_say_it(runs: tuple[Path, Path]) -> None:
    records = [read_run(run) for run in runs]
    beside = str(compare_page(records, [{}]).notices)
    assert f"without_ptbxl, multilabel_superclasses: {WHY}" in beside
    assert "all_sources" not in beside
    assert f"not judged: {WHY}" in str(page_of(records[1]))


def test_the_result_can_be_made_again(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """From no line at all, by `runner verify`; a task whose lines were lost is another matter."""
    for run in runs:
        with pytest.raises(SystemExit, match="0"):
            main(["report", str(run)])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["verify", str(runs[1])])
    (runs[0] / "eval" / "tuned" / "2_multilabel.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(runs[0])])
    assert "multilabel_superclasses" in capsys.readouterr().out
