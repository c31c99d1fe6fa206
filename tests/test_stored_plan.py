"""A run directory made by somebody else: its plan is made again and compared, and nothing is written outside of it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.numbers import Counts
from runner.cli import main
from runner.files import write_json
from runner.launching import resumed
from runner.machine import Machine
from runner.plan import complete, make_plan, plan_to_json
from runner.previewing.alone import data_alone
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, UsageError
from runner.stored_plan import stored_plan

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)


@pytest.fixture
def run(tmp_path: Path, make_spec: Callable[..., Any]) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    write_json(path / "plan.json", plan_to_json(make_plan(make_spec(), CPU)))
    return path


def change(run: Path, edit: Callable[[Any], None]) -> None:
    value = json.loads((run / "plan.json").read_text())
    edit(value)
    (run / "plan.json").write_text(json.dumps(value))


def test_a_plan_of_this_release_is_taken_rehearsed_counted_or_of_the_data_alone(
    run: Path, make_spec: Callable[..., Any]
) -> None:
    ratios = make_spec({"data.split": {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "record"}})
    counted = complete(make_plan(ratios, CPU), Counts(600, 200, 200))
    rehearsed = make_plan(make_spec(), CPU, rehearse=True)
    for plan in (counted, rehearsed, data_alone(rehearsed, 3), data_alone(rehearsed, None)):
        write_json(run / "plan.json", plan_to_json(plan))
        assert stored_plan(run / "plan.json") == plan


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda plan: plan["stages"][0].update(module="evil"), "stages[0].module: written 'evil', planned 'runner.stages.data'"),
        (lambda plan: plan["stages"][0]["environment"].update(LD_PRELOAD="/tmp/x.so"), "stages[0].environment.LD_PRELOAD: not planned"),
        (lambda plan: plan["stages"][0].update(writes=["../../other"]), "stages[0].writes"),
        (lambda plan: plan["stages"][0]["settings"].update(cache="../../../home"), "stages[0].settings.cache: written '../../../home'"),
        (lambda plan: plan["files"].append({"path": "/etc/cron.d/x", "text": "x"}), "files: written "),
        (lambda plan: plan["stages"].pop(), "stages"),
        (lambda plan: plan["numbers"].update(effective=1), "numbers.effective: written 1, planned "),
        (lambda plan: plan["spec"].update(kind="other"), "KeyError: 'other'"),
        (lambda plan: plan.update(name="../../x"), "name: written '../../x'"),
        (lambda plan: plan.update(format=True), "has format True"),
        (lambda plan: plan.update(machine=3), "TypeError"),
    ],
    ids=["module", "variable", "writes", "settings", "file", "stage", "numbers", "kind", "name", "format", "machine"],
)  # fmt: skip
def test_what_a_plan_says_beside_its_spec_is_not_taken(
    edit: Callable[[Any], None], said: str, run: Path
) -> None:
    change(run, edit)
    with pytest.raises(UsageError, match=r"nothing was started") as refused:
        resumed(run)
    assert said in str(refused.value)
    assert sorted(path.name for path in run.iterdir()) == ["plan.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"x"', '{"format": 1}', "[" * 99_999, '{"format": NaN}', "1" * 5_000, "\0"],
)
def test_a_plan_of_another_form_is_an_error_in_words(text: str, run: Path) -> None:
    (run / "plan.json").write_text(text)
    with pytest.raises((UsageError, MachineError), match=r"plan\.json"):
        resumed(run)


@pytest.mark.parametrize("name", ["events.jsonl", "logs", "data", ".lock", "train/checkpoints"])
def test_a_link_out_of_the_run_is_refused_and_not_written_to(name: str, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(target)
    with pytest.raises(UsageError, match="outside of the run"):
        resumed(run)
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(run)])
    assert target.read_text() == "mine"


def test_the_lock_is_never_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (run / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(MachineError, match="cannot write"), RunDir(run).lock():
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_pipe_is_refused_and_not_waited_for(run: Path) -> None:
    os.mkfifo(run / "events.jsonl")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        resumed(run)
    (run / "plan.json").unlink()
    os.mkfifo(run / "plan.json")
    with pytest.raises(UsageError):
        resumed(run)


def test_a_link_within_the_run_is_followed(run: Path) -> None:
    (run / "a").mkdir()
    (run / "b").symlink_to("a")
    assert resumed(run).resumed


def test_a_live_run_is_refused_before_a_word_of_going_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is held through another description of the file, as by another process."""
    (run / ".lock").write_text("process 1 on there\n")
    with (run / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="3"):
            main(["launch", "--resume", str(run)])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"runner: {run} is being run by process 1 on there; nothing was started")


def test_what_is_no_run_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"is a file, not a run directory; its run: {run}"):
        resumed(run / "plan.json")
    with pytest.raises(UsageError, match="is not there"):
        resumed(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"holds no plan\.json; runs in it: run"):
        resumed(tmp_path)
    (run / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match="is the folder of a sweep, not of a run"):
        resumed(run)
