"""Results that runs share: linked where their maker linked them, and no reason to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.events import read_events
from runner.execute import execute
from runner.lineage import in_common
from runner.machine import Machine
from runner.places import content_of
from runner.plan import Plan, make_plan
from runner.progress import Silent
from runner.run_dir import RunDir
from runner.stage import Stage
from runner.stage_results import StageResults

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
STAGE = """
import os
from pathlib import Path
Path("data").mkdir(exist_ok=True)
Path("data/split").write_text("own")
store = Path(os.environ["STORE"])
if not store.exists(): store.write_bytes(b"gigabytes")
Path("data/records").unlink(missing_ok=True)
os.link(store, "data/records")
"""


@pytest.fixture
def plan(tmp_path: Path, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Plan:
    (tmp_path / "linking_stage.py").write_text(STAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    stage = Stage("linking", "linking_stage", (), ("data/split", "data/records"), {"root": "${env:STORE}"})
    return replace(make_plan(make_spec(), CPU), stages=(stage,), files=())


def executed(plan: Plan, run: Path, results: StageResults) -> RunDir:
    run.mkdir()
    found = RunDir(run)
    outcome = execute(plan, found, Silent(), environ=os.environ, say=print, shared=results)
    assert outcome.state == "done", outcome.reason
    return found


def names(run: RunDir) -> list[str]:
    return [event["event"] for event in read_events(run.events) if event["stage"] == "linking"]


def test_what_was_linked_is_linked_and_the_rest_copied(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"gigabytes")
    results = StageResults(tmp_path / "shared", in_common([plan, plan]), dict(os.environ))
    one, other = (executed(plan, tmp_path / name, results).path for name in ("one", "other"))
    assert (one / "data/records").samefile(other / "data/records")
    assert (one / "data/split").read_text() == (other / "data/split").read_text()
    assert not (one / "data/split").samefile(other / "data/split")
    assert names(RunDir(other)) == ["stage_taken"]


def test_a_result_that_nobody_else_needs_is_not_kept(plan: Plan, tmp_path: Path) -> None:
    results = StageResults(tmp_path / "shared", in_common([plan]), dict(os.environ))
    executed(plan, tmp_path / "one", results)
    assert not (tmp_path / "shared").exists()


def test_a_result_that_cannot_be_kept_is_a_note(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("no folder")
    results = StageResults(tmp_path / "shared", in_common([plan, plan]), dict(os.environ))
    run = executed(plan, tmp_path / "one", results)
    notes = [event["text"] for event in read_events(run.events) if event["event"] == "note"]
    assert any("could not be kept for the other arms: cannot write" in note for note in notes)


def test_another_value_of_a_variable_is_another_result(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("store", "store2"):
        (tmp_path / name).write_bytes(b"gigabytes")
    common = in_common([plan, plan])
    executed(plan, tmp_path / "one", StageResults(tmp_path / "shared", common, dict(os.environ)))
    monkeypatch.setenv("STORE", str(tmp_path / "store2"))
    other = executed(plan, tmp_path / "other", StageResults(tmp_path / "shared", common, dict(os.environ)))
    assert "stage_taken" not in names(other)


def test_a_place_is_known_by_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("1")
    before = content_of(tmp_path)
    assert list(before) == [str(tmp_path / "a" / "b")]
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    assert content_of(tmp_path) != before
    assert content_of(tmp_path / "nothing") == {}
