"""Many files in two processes: the same problems in the same order, whatever becomes of the other process."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner import validate_many
from runner.spec.problems import Problem
from runner.spec_files import find_specs
from runner.validate import problems_of_each
from runner.validate_many import problems_in

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def files(tmp_path: Path, base_text: str, ecg_text: str, monkeypatch: pytest.MonkeyPatch) -> Sequence[Path]:
    """Six specs of two kinds, half of them with a misspelt key; one leaves its kind to the file that it extends."""
    for number in range(2):
        slip = "learning_rte" if number else "learning_rate"
        (tmp_path / f"a{number}.yaml").write_text(base_text.replace("learning_rate", slip), encoding="utf-8")
        (tmp_path / f"b{number}.yaml").write_text(ecg_text.replace("learning_rate", slip), encoding="utf-8")
        (tmp_path / f"c{number}.yaml").write_text(f"extends: b{number}.yaml\nname: c\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return find_specs([Path()])


def one_by_one(files: Sequence[Path]) -> list[Problem]:
    found = problems_of_each(files, [], {})
    return list(dict.fromkeys(problem for file in files for problem in found[file]))


def test_no_kind_is_in_both_processes(files: Sequence[Path]) -> None:
    here, beside = validate_many._shares(files)
    assert [file.name for file in here] == ["b0.yaml", "b1.yaml", "c0.yaml", "c1.yaml"]
    assert [file.name for file in beside] == ["a0.yaml", "a1.yaml"]


def test_the_problems_are_those_of_one_process_in_the_order_of_the_files(files: Sequence[Path]) -> None:
    found = problems_in(files, [], {})
    assert [problem.file for problem in found] == ["a1.yaml", "b1.yaml"]
    assert found == one_by_one(files)


def test_a_killed_process_loses_nothing(files: Sequence[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    us = os.getpid()

    def killed_elsewhere(*given: object) -> object:
        if os.getpid() != us:
            os.kill(os.getpid(), signal.SIGKILL)
        return problems_of_each(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(validate_many, "problems_of_each", killed_elsewhere)
    assert problems_in(files, [], {}) == one_by_one(files)


def test_the_specs_of_this_repository_are_sound() -> None:
    assert problems_in(find_specs([ROOT / "specs"]), [], {}) == []
