"""Runs are compared where they were judged alike, record by record; otherwise refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from judged_run import write_judged_run

from runner.cli import main
from runner.comparing import compare
from runner.spec.problems import UsageError

LOSS = ("loss", "test", "perplexity")


def test_differences_are_paired(tmp_path: Path) -> None:
    """Every label token costs 0.20 or 0.30 nats less; the losses themselves spread by 0.3 nats."""
    one = write_judged_run(tmp_path / "one")
    other = write_judged_run(tmp_path / "other", shift=-0.25)
    found = compare([one, other])
    change = found.changes[0][LOSS]
    low, value, high = (change[name] or 0.0 for name in ("low", "value", "high"))
    assert -0.3 <= low < value < high <= -0.2
    assert found.warnings == ()


def test_the_models_may_differ_and_nothing_else(tmp_path: Path) -> None:
    one = write_judged_run(tmp_path / "one")
    other = write_judged_run(tmp_path / "other", precision="bf16", context=128)
    with pytest.raises(UsageError) as error:
        compare([one, other])
    assert "perplexity (test), judged one and judged other: context: 64 and 128" in str(error.value)
    assert "precision: 'fp32' and 'bf16'" in str(error.value)
    assert "--different-locks" in str(error.value)
    told = compare([one, other], different_locks=True)
    assert len(told.warnings) == 2
    assert told.changes == [{}]


def test_the_page_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, shift in (("one", 0.0), ("other", -0.25), ("third", 0.5)):
        write_judged_run(tmp_path / name, title=f"Run {name}", shift=shift)
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "one", "other", "third"])
    shown = capsys.readouterr().out
    assert re.search(r"-0\.2\d+ \(-0\.2\d+ to -0\.2\d+\)", shown)
    assert re.search(r"\+0\.[45]\d+ \(\+0\.[45]\d+ to \+0\.[45]\d+\)", shown)
    assert shown.splitlines()[-1] == "comparison.html"
    page = (tmp_path / "comparison.html").read_text()
    assert "Run third" in page
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "one", "other", "--json", "--out", "c.html"])
    value = json.loads(capsys.readouterr().out)
    (found,) = value["differences"]
    assert (found["label"], found["minus"]) == ("Run other", "Run one")
    assert {d["metric"]: d["value"] for d in found["metrics"]}["loss"] == pytest.approx(-0.25, abs=0.05)


def test_a_run_is_not_compared_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_judged_run(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is given twice: a run does not differ from itself"):
        compare([one, tmp_path / "." / "one"])
    link = tmp_path / "link"
    link.symlink_to(one)
    with pytest.raises(UsageError, match="is given twice"):
        compare([one, link])
    copy = Path(shutil.copytree(one, tmp_path / "elsewhere" / "copied"))
    with pytest.raises(UsageError, match=r"is given twice, and .*copied is a copy of it"):
        compare([one, copy])
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "one", "one"])
    assert not (tmp_path / "comparison.html").exists()


def test_runs_of_one_folder_name_stay_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three machines may each have made a run of this name; nothing of one is shown as the other's."""
    monkeypatch.chdir(tmp_path)
    for place, shift in (("a", 0.0), ("b", -0.25), ("c", 0.5)):
        write_judged_run(tmp_path / place / "same", shift=shift, started=f"of {place}")
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "a/same", "b/same", "c/same"])
    shown = capsys.readouterr().out
    assert "judged same (2) - first" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("loss (test)")]
    assert re.search(r"-0\.2\d+ \(-0\.2.* \+0\.[45]\d+ \(\+0\.[45]", line)
    page = (tmp_path / "comparison.html").read_text()
    assert "judged same (1)" in page
    assert "judged same (3)" in page


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = write_judged_run(tmp_path / "one")
    with pytest.raises(UsageError, match="at least two runs"):
        compare([one])
    empty = write_judged_run(tmp_path / "empty")
    (empty / "eval" / "tuned.json").unlink()
    with pytest.raises(UsageError, match="empty has no results to compare"):
        compare([one, empty])
    old = write_judged_run(tmp_path / "old")
    results = json.loads((old / "eval" / "tuned.json").read_text())
    del results["results"][0]["lock"]
    (old / "eval" / "tuned.json").write_text(json.dumps(results))
    with pytest.raises(UsageError, match="old have no evaluation lock"):
        compare([one, old])
    other = write_judged_run(tmp_path / "other")
    path = other / "eval" / "tuned" / "1_perplexity.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UsageError, match="39 after; 1 stand on one side only, the first is 'r39'"):
        compare([one, other])
