"""Sweeps with real processes: failed arms, a launcher that is killed, Ctrl-C, a second launch."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.cli import main
from runner.events import read_events
from runner.files import read_json
from runner.run_dir import RunDir
from runner.spec.problems import MachineError
from runner.sweeps.folder import SweepDir

if TYPE_CHECKING:
    from tests.sweeps.conftest import Sweep


def run_of(folder: SweepDir, arm: str) -> Path:
    (found,) = [state.run for state in folder.arm_states() if state.name == arm]
    assert found is not None
    return folder.run_path(found)


def test_arms_run_one_after_another_and_share_what_they_have_in_common(sweep: Sweep) -> None:
    folder = sweep.define("one", "two", "three")
    finished, said = sweep.launch(folder)
    assert finished.exit_code == 0, said
    assert sweep.calls() == ["prepare", "work one", "work two", "work three"]
    assert finished.text.splitlines()[-1] == str(folder.path)
    first, second = run_of(folder, "one"), run_of(folder, "two")
    for name in ("out/prepared", "out/undeclared"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).stat().st_ino != (second / name).stat().st_ino, (
            "a change of one must not be of both"
        )
    events = [e for e in read_events(second / "events.jsonl") if e["stage"] == "prepare"]
    assert [e["event"] for e in events] == ["note", "stage_taken"]
    assert events[1]["run"] == first.name
    assert RunDir(second).read_status()["stages"]["prepare"]["taken_from"] == first.name
    assert read_json(second / "config" / "prepare.result.json")["run"] == first.name
    assert folder.page.exists()
    names = [event["event"] for event in read_events(folder.events)]
    assert names == ["sweep_started", *["arm_started", "arm_finished"] * 3, "sweep_finished"]


def test_an_arm_that_is_done_is_looked_at_before_it_is_set_beside_others(sweep: Sweep) -> None:
    folder = sweep.define("one", "two")
    sweep.launch(folder)
    made = run_of(folder, "two")
    (made / "out" / "work").write_text("changed")
    finished, said = sweep.launch(folder)
    assert finished.exit_code == 0, said
    assert (made / "out" / "work").read_text() == "two"
    assert sweep.calls() == ["prepare", "work one", "work two", "work two"]
    assert "made again: out/work is not as the stage left it" in said


def test_the_table_says_which_arms_differ(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each arm's answers cost 0.25 nats a token less than those of the arm before."""
    folder = sweep.define("one", "two", "three")
    value = sweep.launch(folder)[0].summary
    assert [(arm["name"], arm["state"]) for arm in value["arms"]] == [
        (name, "done") for name in ("one", "two", "three")
    ]
    loss = {d["arm"]: d for d in value["comparison"]["differences"] if d["metric"] == "loss"}
    assert -0.3 < loss["two"]["value"] < -0.2
    assert (loss["two"]["says"], loss["two"]["real"]) == ("better", True)
    assert loss["three"]["value"] < loss["two"]["value"]
    monkeypatch.chdir(sweep.folder)
    with pytest.raises(SystemExit, match="0"):
        main(["compare", str(folder.path), "--control", "three", "--out", "page.html"])
    out = capsys.readouterr().out
    assert "worse" in out
    assert out.splitlines()[-1] == "page.html"
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(folder.path), "--control", "thre"])
    assert "nearest: three" in capsys.readouterr().err


def test_a_failed_arm_is_named_and_the_next_one_starts(sweep: Sweep) -> None:
    folder = sweep.define("one", "two", "three")
    (sweep.folder / "fail-two").touch()
    finished, said = sweep.launch(folder)
    assert (finished.exit_code, finished.summary["state"]) == (1, "failed")
    assert sweep.states(folder) == {"one": "done", "two": "failed", "three": "done"}
    assert "1 of 3 arms failed: two" in said
    assert "no luck with two" in said
    assert [arm["arm"] for arm in finished.summary["comparison"]["arms"]] == ["one", "three"]
    assert "The arm two failed." in folder.page.read_text()
    (sweep.folder / "fail-two").unlink()
    finished, said = sweep.launch(folder)
    assert finished.exit_code == 0, said
    assert sweep.calls() == ["prepare", "work one", "work three", "work two"], "nothing is run twice"


def test_all_arms_failed_leave_a_page_all_the_same(sweep: Sweep) -> None:
    folder = sweep.define("one", "two")
    (sweep.folder / "fail-one").touch()
    (sweep.folder / "fail-two").touch()
    finished, _ = sweep.launch(folder)
    assert finished.exit_code == 1
    assert finished.summary["comparison"]["arms"] == []
    assert "The arm one failed." in folder.page.read_text()


def test_killed_in_the_second_arm_a_sweep_goes_on_there(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep.define("one", "two", "three")
    (sweep.folder / "slow-two").touch()
    process = sweep.start_launch(folder)
    sweep.wait_until((sweep.folder / "began-two").exists)
    process.kill()
    process.communicate()
    # its stage outlives it, and holds the run
    second = run_of(folder, "two")
    pid = RunDir(second).read_status()["stage_pid"]
    with pytest.raises(MachineError, match=f"kill {pid}"):
        sweep.launch(folder)
    with pytest.raises(SystemExit, match="0"):
        main(["status", str(folder.path)])
    assert capsys.readouterr().out.startswith("interrupted  its process is gone")
    (sweep.folder / "slow-two").unlink()
    os.kill(pid, signal.SIGKILL)
    sweep.wait_until(lambda: not RunDir(second).is_held())
    before = {file: file.stat().st_mtime_ns for file in run_of(folder, "one").rglob("*")}
    finished, said = sweep.launch(folder)
    assert finished.exit_code == 0, said
    assert "arm 1 of 3, one: it is done, by the same plan" in said
    assert run_of(folder, "two") == second, "the arm that was cut off goes on in its own directory"
    assert [call for call in sweep.calls() if call != "prepare"] == ["work one", "work two", "work three"]
    assert {file: file.stat().st_mtime_ns for file in run_of(folder, "one").rglob("*")} == before


def test_ctrl_c_ends_the_arm_and_starts_no_other(sweep: Sweep) -> None:
    folder = sweep.define("one", "two", "three")
    (sweep.folder / "slow-two").touch()
    process = sweep.start_launch(folder)
    sweep.wait_until((sweep.folder / "began-two").exists)
    with pytest.raises(MachineError, match=f"is being run by process {process.pid}"):
        sweep.launch(folder)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: runner launch --resume" in err
    assert out.splitlines()[-1].endswith("sweep-00000000")
    assert sweep.states(folder) == {"one": "done", "two": "interrupted", "three": "pending"}
    names = [event["event"] for event in read_events(folder.events)]
    assert names == ["sweep_started", *["arm_started", "arm_finished"] * 2, "sweep_finished"]


def test_an_interrupt_in_the_last_stage_of_an_arm_starts_no_other(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm itself is then done; the request to stop must not be lost with it."""
    folder = sweep.define("one", "two")
    module = sweep.modules / "report_of_sweep.py"
    first = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    last = "os.kill(os.getppid(), signal.SIGINT)\n"
    module.write_text(first + module.read_text() + last)
    finished, _ = sweep.launch(folder)
    assert finished.exit_code == 130
    assert sweep.states(folder) == {"one": "done", "two": "pending"}


def test_a_heading_that_is_mended_does_not_train_again(sweep: Sweep) -> None:
    folder = sweep.define("one", "two")
    assert sweep.launch(folder)[0].exit_code == 0
    file = folder.path / "arms" / "001.json"
    value = read_json(file)
    value["plan"]["stages"][2]["settings"]["title"] = "mended"
    value["plan"]["spec"]["summary"] = "mended"
    file.write_text(json.dumps(value))
    before = run_of(folder, "one")
    finished, said = sweep.launch(folder)
    assert finished.exit_code == 0, said
    assert run_of(folder, "one") == before
    assert read_json(before / "config" / "report.json")["title"] == "mended"
    assert sweep.calls() == ["prepare", "work one", "work two"]


@pytest.mark.parametrize("damaged", [False, True])
def test_an_arm_that_is_added_takes_what_was_kept_or_makes_it_again(sweep: Sweep, damaged: bool) -> None:
    folder = sweep.define("one", "two")
    assert sweep.launch(folder)[0].exit_code == 0
    if damaged:
        (kept,) = folder.shared.glob("*/out/prepared")
        kept.write_bytes(b"something else")
    folder = sweep.define("one", "two", "three")
    assert sweep.launch(folder)[0].exit_code == 0
    assert sweep.calls() == ["prepare", "work one", "work two", *["prepare"] * damaged, "work three"]
    notes = [e["text"] for e in read_events(run_of(folder, "three") / "events.jsonl") if e["event"] == "note"]
    assert any("is damaged, so it is made again" in note for note in notes) is damaged


def test_data_that_changed_between_two_launches_are_not_taken(sweep: Sweep) -> None:
    root = sweep.folder / "set"
    root.mkdir()
    (root / "a").write_text("1")
    assert sweep.launch(sweep.define("one", "two", root=str(root)))[0].exit_code == 0
    (root / "a").write_text("22")
    folder = sweep.define("one", "two", "three", root=str(root))
    assert sweep.launch(folder)[0].exit_code == 0
    assert sweep.calls().count("prepare") == 2
    assert "taken_from" not in RunDir(run_of(folder, "three")).read_status()["stages"]["prepare"]


def test_a_place_that_a_variable_names_is_part_of_the_plan(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan keeps the variable; with another value the arm is not done."""
    for name in ("first", "second"):
        (sweep.folder / name).mkdir()
    monkeypatch.setenv("SET", str(sweep.folder / "first"))
    folder = sweep.define("one", "two", root="${env:SET}")
    for number in (1, 2):
        file = folder.path / "arms" / f"{number:03}.json"
        value = read_json(file)
        value["plan"]["spec"]["data"]["root"] = "${env:SET}"
        file.write_text(json.dumps(value))
    assert sweep.launch(folder)[0].exit_code == 0
    first = run_of(folder, "one")
    assert sweep.launch(folder)[0].exit_code == 0
    assert run_of(folder, "one") == first
    monkeypatch.setenv("SET", str(sweep.folder / "second"))
    assert sweep.launch(folder)[0].exit_code == 0
    assert run_of(folder, "one") != first
    assert sweep.calls().count("prepare") == 2
