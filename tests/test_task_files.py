"""Folders of task files are read before a run exists, and what lm-eval needs is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import missing
from runner.plan import make_plan
from runner.probe import probe_machine
from runner.rehearse import QUESTIONS, rehearsed
from runner.spec.model import LlmSpec
from runner.spec.problems import MachineError, UsageError
from runner.spec.tasks import LmEvalTask
from runner.task_files import refuse_code, unusable_tasks
from runner.validate import load_spec

MakeSpec = Callable[..., LlmSpec]
SPECS = Path(__file__).parent.parent / "specs"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a.yaml").write_text("task: heart_sounds\ntag: [hearts]\n")
    return folder


def loaded_with(tmp_path: Path, tasks: str, include: Path | str) -> Any:
    quick = (SPECS / "quickstart" / "llm.yaml").read_text(encoding="utf-8")
    file = tmp_path / "spec.yaml"
    line = "  - {task: perplexity, split: test}\n"
    assert quick.count(line) == 1
    file.write_text(quick.replace(line, f"  - task: lm_eval\n    tasks: {tasks}\n    include: {include}\n"))
    return load_spec(file, (), {"OWN": str(include)})


def test_names_of_the_folder_and_of_the_harness_are_known(tmp_path: Path, own: Path) -> None:
    loaded = loaded_with(tmp_path, "[heart_sounds, hearts, mmlu_anatomy]", own)
    assert list(unusable_tasks(loaded, {})) == []


def test_a_name_that_neither_has_is_said_with_its_place(tmp_path: Path, own: Path) -> None:
    loaded = loaded_with(tmp_path, "[mmlu_anatomy, heart_sound]", own)
    (problem,) = unusable_tasks(loaded, {})
    assert (problem.path, problem.code) == ("evaluate[0].tasks[1]", "harness-task")
    assert problem.hint == "nearest: heart_sounds"
    line = loaded.text.splitlines()[problem.line - 1]
    assert line[problem.column - 1 :].startswith("heart_sound")


def test_a_file_that_would_run_code_stops_the_launch(tmp_path: Path, own: Path) -> None:
    (own / "sub").mkdir()
    (own / "sub" / "b.yaml").write_text("task: b\ndoc_to_text: !function utils.f\n")
    loaded = loaded_with(tmp_path, "[heart_sounds]", own)
    with pytest.raises(
        UsageError, match=r"sub/b\.yaml:2:14: this task file would run code: !function utils\.f"
    ):
        list(unusable_tasks(loaded, {}))


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "is no YAML"), ("include: gone.yaml", "cannot read .*gone.yaml")]
)
def test_a_file_that_cannot_be_read_is_said(own: Path, text: str, says: str) -> None:
    (own / "b.yaml").write_text(text)
    with pytest.raises((UsageError, MachineError), match=says):
        refuse_code(own)


WHOLE = "task: {name}\ndataset_path: json\noutput_type: multiple_choice\n"


def test_a_task_without_a_split_to_ask_is_said(tmp_path: Path, own: Path) -> None:
    (own / "b.yaml").write_text(WHOLE.format(name="clinic"))
    (own / "c.yaml").write_text(WHOLE.format(name="with_split") + "validation_split: test\n")
    (own / "d.yaml").write_text(WHOLE.format(name="of_another") + "include: c.yaml\n")
    (problem,) = unusable_tasks(loaded_with(tmp_path, "[clinic, with_split, of_another]", own), {})
    assert problem.path == "evaluate[0].tasks[0]"
    assert problem.message == "the task file of 'clinic' names no split whose questions are asked"
    assert problem.hint.startswith("write test_split")


def test_a_task_file_of_another_ending_is_named(tmp_path: Path, own: Path) -> None:
    (own / "b.yml").write_text(WHOLE.format(name="clinic") + "test_split: test\n")
    (problem,) = unusable_tasks(loaded_with(tmp_path, "[clinic]", own), {})
    assert problem.hint == f"{own / 'b.yml'} has it, but lm-eval reads files that end in .yaml; rename it"


def test_a_task_file_that_is_a_pipe_is_not_waited_for(own: Path) -> None:
    os.mkfifo(own / "pipe.yaml")
    with pytest.raises(MachineError, match=r"pipe\.yaml'?: it is a pipe"):
        refuse_code(own)


def test_files_that_include_each_other_end(own: Path) -> None:
    (own / "b.yaml").write_text("include: c.yaml\n")
    (own / "c.yaml").write_text("include: b.yaml\n")
    refuse_code(own)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../other.yaml", "leads out of"),
        ("/etc/passwd", "leads out of"),
        ("linked.txt", "leads out of"),
        (r'"a\0b"', "cannot include"),
        ("/dev/zero", "leads out of"),
    ],
)
def test_nothing_is_included_from_elsewhere(tmp_path: Path, own: Path, name: str, says: str) -> None:
    (tmp_path / "other.yaml").write_text("x: 1\n")
    (own / "linked.txt").symlink_to(tmp_path / "other.yaml")
    (own / "b.yaml").write_text(f"include: {name}\n")
    with pytest.raises((UsageError, MachineError), match=says):
        refuse_code(own)


def test_a_task_file_is_a_regular_file_of_some_size(own: Path) -> None:
    (own / "b.yaml").write_text("[" * 5000)
    with pytest.raises(UsageError, match="nested too deeply"):
        refuse_code(own)
    with (own / "b.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MachineError, match=r"1,099,511,627,776 bytes; at most 1,048,576 are read"):
        refuse_code(own)
    (own / "b.yaml").unlink()
    (own / "b.yaml").symlink_to("/dev/zero")
    with pytest.raises(MachineError, match="it is a device"):
        refuse_code(own)


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    loaded = loaded_with(tmp_path, "[mmlu_anatomy]", tmp_path / "gone")
    (problem,) = missing.missing_files(loaded, {}, rehearse=False)
    assert (problem.path, problem.code) == ("evaluate[0].include", "missing-file")
    assert problem.hint == "change evaluate[0].include"


def test_an_empty_place_is_none(tmp_path: Path) -> None:
    loaded = loaded_with(tmp_path, "[mmlu_anatomy]", "${env:NOT_SET:-}")
    assert list(missing.missing_files(loaded, {}, rehearse=False)) == []
    assert list(unusable_tasks(loaded, {})) == []


def test_a_missing_harness_is_one_line(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    real = missing.find_spec
    monkeypatch.setattr(missing, "find_spec", lambda name: None if name == "lm_eval" else real(name))
    asked = make_spec({"evaluate": ({"task": "lm_eval", "tasks": ("mmlu_anatomy",)},)})
    lines = [line for line in missing.missing_packages(asked) if "lm-eval" in line]
    assert lines == [
        "lm-eval, which `evaluate` asks for: pip install -c constraints.txt '.[eval]' (in the checkout of runner)"
    ]
    assert not any("lm-eval" in line for line in missing.missing_packages(make_spec()))


def test_a_rehearsal_asks_few_questions_and_no_hub(make_spec: MakeSpec) -> None:
    asked = make_spec({"evaluate": ({"task": "lm_eval", "tasks": ("mmlu",), "limit": 500, "batch": 64},)})
    (task,) = rehearsed(asked).evaluate
    assert isinstance(task, LmEvalTask)
    assert (task.limit, task.batch, task.questions) == (QUESTIONS, 8, "invented")
    assert rehearsed(rehearsed(asked)).evaluate == (task,)
    small = make_spec({"evaluate": ({"task": "lm_eval", "tasks": ("mmlu",), "limit": 2},)})
    assert rehearsed(small).evaluate[0].limit == 2  # type: ignore[union-attr]  # it is of lm_eval


@pytest.mark.parametrize(
    ("changes", "offline"),
    [
        ({}, False),
        ({"data": "/mmlu"}, True),
        ({"data": "${env:M:-}"}, False),
        ({"questions": "invented"}, True),
    ],
)
def test_the_hub_is_open_only_where_questions_may_come_from_it(
    make_spec: MakeSpec, changes: dict[str, str], offline: bool
) -> None:
    task = {"task": "lm_eval", "tasks": ("mmlu_anatomy",), **changes}
    plan = make_plan(make_spec({"model.base": "/model", "evaluate": (task,)}), probe_machine())
    assert {stage.environment.get("HF_HUB_OFFLINE") for stage in plan.stages} == {"1" if offline else None}
