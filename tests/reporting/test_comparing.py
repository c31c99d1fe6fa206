"""Runs are compared where they were judged alike, record by record; otherwise refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judged_run import write_judged_run

from runner.cli import main
from runner.comparing import compare
from runner.spec.problems import UsageError

LOSS = ("loss", "test", "perplexity")


def test_differences_are_paired(tmp_path: Path) -> None:
    """Every label token costs exactly 0.25 nats less: paired, there is no doubt about that at all."""
    one = write_judged_run(tmp_path / "one")
    other = write_judged_run(tmp_path / "other", shift=-0.25)
    found = compare([one, other])
    change = found.changes["other"][LOSS]
    assert change == pytest.approx({"value": -0.25, "low": -0.25, "high": -0.25})
    assert found.warnings == ()


def test_the_models_may_differ_and_nothing_else(tmp_path: Path) -> None:
    one = write_judged_run(tmp_path / "one")
    other = write_judged_run(tmp_path / "other", precision="bf16", context=128)
    with pytest.raises(UsageError) as error:
        compare([one, other])
    assert "perplexity (test), one and other: context: 64 and 128" in str(error.value)
    assert "precision: 'fp32' and 'bf16'" in str(error.value)
    assert "--different-locks" in str(error.value)
    told = compare([one, other], different_locks=True)
    assert len(told.warnings) == 2
    assert told.changes["other"] == {}


def test_the_page_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, shift in (("one", 0.0), ("other", -0.25), ("third", 0.5)):
        write_judged_run(tmp_path / name, title=f"Run {name}", shift=shift)
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "one", "other", "third"])
    shown = capsys.readouterr().out
    assert "-0.25 (-0.25 to -0.25)" in shown
    assert "+0.5 (+0.5 to +0.5)" in shown
    assert shown.splitlines()[-1] == "comparison.html"
    page = (tmp_path / "comparison.html").read_text()
    assert "Run third" in page
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "one", "other", "--json", "--out", "c.html"])
    value = json.loads(capsys.readouterr().out)
    assert {d["metric"]: d["value"] for d in value["differences"]["other"]}["loss"] == pytest.approx(-0.25)


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
